//! The record of one task: all that the state machine knows about it.

use std::collections::BTreeMap;

use wavetask_document::Digest;
use wavetask_protocol::native::InputSlot;
use wavetask_protocol::{
    Estimate, FolderId, KeyId, LeaseId, Progress, TaskError, TaskId, TaskKind, TaskState, WorkerId,
};

use crate::Timestamp;

/// What is known of a task when it is created; none of it changes afterwards.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NewTask {
    /// Its name for programs.
    pub id: TaskId,
    /// The account that it belongs to.
    pub owner: KeyId,
    /// The folder that it is listed in.
    pub folder: FolderId,
    /// Its name for people; need not be unique.
    pub name: String,
    /// Which solver it needs.
    pub kind: TaskKind,
    /// Tasks that must succeed before this one runs.
    #[serde(default)]
    pub dependencies: Vec<TaskId>,
    /// Where to announce its end, if the user wants that.
    #[serde(default)]
    pub callback: Option<String>,
    /// Words of the door that created it (client version, simulation type, tags); opaque here.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// What a task's input is made of once the tasks that it depends on have succeeded.
///
/// Such a task is *unresolved* until then: it has no input document, nobody knows what it will need, and no worker
/// can lease it. It is resolved anew whenever it is run again, because its dependencies may have other results.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Template {
    /// Canonical digest of the template's document, which names results by the tasks that will have them, or lacks the
    /// arrays of the slots.
    pub document: Digest,
    /// Where the results' arrays go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<InputSlot>,
    /// Whether a result that is known for the same resolved input will do.
    pub cache: bool,
}

/// One worker's right to run one attempt of a task.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lease {
    /// Its id, which every report of the worker names.
    pub id: LeaseId,
    /// Who holds it.
    pub worker: WorkerId,
    /// When it ends unless a heartbeat comes before.
    pub expires_at: Timestamp,
}

/// A task and where it stands.
///
/// Made by [`TaskRecord::create`], changed by [`evolve`](TaskRecord::evolve) with the events that
/// [`decide`](crate::decide) returns, and by nothing else: the events of a task, replayed, give the
/// same record again.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TaskRecord {
    /// What was known at its creation.
    #[serde(flatten)]
    pub task: NewTask,
    /// Where it stands.
    pub state: TaskState,
    /// Higher runs first.
    pub priority: i32,
    /// Number of attempts begun so far, which is also the number of the current one; 0 before the
    /// first. Never goes back, so that log lines of different attempts stay apart.
    pub attempt: u32,
    /// Attempts since it was submitted (or retried by the user) that ended by a fault of the
    /// infrastructure.
    pub failures: u32,
    /// The worker that runs it now.
    pub lease: Option<Lease>,
    /// The latest lease that has ended; its worker's repeated reports are answered as the first was.
    pub last_lease: Option<LeaseId>,
    /// Those of its dependencies that a submitted task still waits for.
    pub waiting_for: Vec<TaskId>,
    /// What it is expected to need; known once validated.
    pub estimate: Option<Estimate>,
    /// How far the current attempt is.
    pub progress: Option<Progress>,
    /// Why it failed; kept while it is tried again, until it succeeds.
    pub error: Option<TaskError>,
    /// What its input is made of, if that takes the results of other tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// Canonical digest of its input document; known once validated, or once resolved if there is a template.
    pub input: Option<Digest>,
    /// Canonical digest of its result document.
    pub result: Option<Digest>,
    /// Version of the solver that found the result, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solver_version: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// When the user started it.
    pub submitted_at: Option<Timestamp>,
    /// When it last became ready to run: queued, with all its inputs there.
    pub ready_at: Option<Timestamp>,
    /// When the current or last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it reached a final state.
    pub finished_at: Option<Timestamp>,
}

impl TaskRecord {
    /// The record of a task that has just been created.
    pub fn create(task: NewTask, now: Timestamp) -> Self {
        Self {
            task,
            state: TaskState::Draft,
            priority: 0,
            attempt: 0,
            failures: 0,
            lease: None,
            last_lease: None,
            waiting_for: Vec::new(),
            estimate: None,
            progress: None,
            error: None,
            template: None,
            input: None,
            result: None,
            solver_version: None,
            created_at: now,
            changed_at: now,
            submitted_at: None,
            ready_at: None,
            started_at: None,
            finished_at: None,
        }
    }

    /// Its id.
    pub const fn id(&self) -> &TaskId {
        &self.task.id
    }

    /// The account that it belongs to.
    pub const fn owner(&self) -> &KeyId {
        &self.task.owner
    }

    /// Whether a worker may take it now.
    pub fn is_ready(&self) -> bool {
        self.state == TaskState::Queued && self.waiting_for.is_empty() && !self.is_unresolved()
    }

    /// Whether its input is still to be made of the results of other tasks.
    pub const fn is_unresolved(&self) -> bool {
        self.template.is_some() && self.input.is_none()
    }

    /// Whether its input can be made now: all results that it is made of are there.
    pub fn awaits_resolution(&self) -> bool {
        self.state == TaskState::Queued && self.waiting_for.is_empty() && self.is_unresolved()
    }

    /// Whether there is something to run: an input that was checked, or what it will be made of.
    pub const fn can_run(&self) -> bool {
        self.template.is_some() || (self.input.is_some() && self.estimate.is_some())
    }

    /// Whether a worker holds this lease on it now.
    pub fn is_leased_by(&self, lease: &LeaseId) -> bool {
        self.lease.as_ref().is_some_and(|held| held.id == *lease)
    }

    /// The same record without what heartbeats write, which is not in the event log: progress and the
    /// time at which the lease ends.
    #[must_use]
    pub fn without_heartbeats(mut self) -> Self {
        self.progress = None;
        if let Some(lease) = &mut self.lease {
            lease.expires_at = Timestamp::default();
        }
        self
    }
}
