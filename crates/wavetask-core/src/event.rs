//! What can happen to a task, and what each event makes of its record.

use wavetask_document::Digest;
use wavetask_protocol::{Estimate, Progress, TaskError, TaskId, TaskState};

use crate::record::{Lease, NewTask, TaskRecord, Template};
use crate::time::Timestamp;

/// Something that has happened to a task. Written to the event log in the order of its numbers; the
/// names of the variants and fields are part of the stored format.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// It was created.
    Created {
        /// What is known of it from the beginning.
        task: Box<NewTask>,
    },
    /// A file arrived that has not been validated.
    UploadReceived,
    /// Its upload is being read.
    ValidationStarted,
    /// Reading its upload was cut off, by a restart of the server or for want of disk space.
    ValidationInterrupted,
    /// It can be run.
    Validated {
        /// What it will need.
        estimate: Estimate,
        /// Canonical digest of the input document.
        input: Digest,
    },
    /// It can be run as soon as its input can be made, as far as that can be told.
    TemplateAccepted {
        /// What the input will be made of.
        template: Box<Template>,
    },
    /// The user started it.
    Submitted {
        /// Higher runs first.
        priority: i32,
        /// Dependencies that have not succeeded yet.
        waiting_for: Vec<TaskId>,
    },
    /// A dependency succeeded.
    InputResolved {
        /// Which.
        input: TaskId,
    },
    /// Its input has been made of the results that it refers to.
    Resolved {
        /// What it will need.
        estimate: Estimate,
        /// Canonical digest of the input document.
        input: Digest,
    },
    /// A worker took it.
    Leased {
        /// The worker's right to it.
        lease: Lease,
    },
    /// A heartbeat: not written to the event log.
    Progressed {
        /// The new end of the lease.
        expires_at: Timestamp,
        /// How far it is, if the worker said so.
        progress: Option<Progress>,
    },
    /// The server came back and gives the worker time to find it: not written to the event log.
    LeaseRenewed {
        /// The new end of the lease.
        expires_at: Timestamp,
    },
    /// The result is being made durable.
    PublishingStarted,
    /// Making the result durable was cut off; the worker still has it.
    PublishingInterrupted,
    /// The result is durable, and visible from now on.
    Published {
        /// Canonical digest of the result document, if it has one.
        result: Option<Digest>,
        /// Whether the solution diverged.
        diverged: bool,
        /// Version of the solver, if it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        solver_version: Option<String>,
    },
    /// The attempt ended without a result, and the task waits for the next one.
    Requeued {
        /// What went wrong; nothing if the worker gave it back unharmed.
        error: Option<TaskError>,
    },
    /// It ended without a result.
    Failed {
        /// Why.
        error: TaskError,
        /// Version of the solver that cannot run it or failed at it, if that is why and is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        solver_version: Option<String>,
    },
    /// The user wants it stopped; a worker has it.
    AbortRequested,
    /// It stopped because the user wanted so.
    Aborted,
    /// The user wants it run again.
    Retried {
        /// Dependencies that have not succeeded yet.
        waiting_for: Vec<TaskId>,
    },
    /// The user deleted it.
    Deleted,
}

impl Event {
    /// Whether it belongs in the event log. Heartbeats do not: they come every second, and what they
    /// change means nothing after the attempt.
    pub const fn is_logged(&self) -> bool {
        !matches!(self, Self::Progressed { .. } | Self::LeaseRenewed { .. })
    }
}

impl TaskRecord {
    /// Changes the record as the event says.
    ///
    /// It does not check whether the event may happen: [`decide`](crate::decide) does, and is the only
    /// maker of events. [`Event::Created`] makes the record anew.
    pub fn evolve(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::Created { task } => *self = Self::create((**task).clone(), at),
            Event::UploadReceived => {
                self.enter(TaskState::Draft, at);
                self.forget_input();
                self.template = None;
            }
            Event::ValidationStarted => self.enter(TaskState::Validating, at),
            Event::ValidationInterrupted => self.enter(TaskState::Draft, at),
            Event::Validated { estimate, input } => {
                self.enter(TaskState::Validated, at);
                self.estimate = Some(*estimate);
                self.input = Some(*input);
            }
            Event::TemplateAccepted { template } => {
                self.enter(TaskState::Validated, at);
                self.forget_input();
                self.template = Some((**template).clone());
            }
            Event::Submitted { priority, waiting_for } => {
                self.priority = *priority;
                self.submitted_at = Some(at);
                self.enqueue(waiting_for.clone(), at);
            }
            Event::InputResolved { input } => {
                self.waiting_for.retain(|waiting| waiting != input);
                self.ready_at = self.is_ready().then_some(at);
            }
            Event::Resolved { estimate, input } => {
                self.estimate = Some(*estimate);
                self.input = Some(*input);
                self.ready_at = self.is_ready().then_some(at);
            }
            Event::Leased { lease } => {
                self.enter(TaskState::Running, at);
                self.attempt = self.attempt.saturating_add(1);
                self.lease = Some(lease.clone());
                self.progress = None;
                self.started_at = Some(at);
                self.ready_at = None;
            }
            Event::Progressed { expires_at, progress } => {
                self.renew(*expires_at);
                if progress.is_some() {
                    self.progress.clone_from(progress);
                }
            }
            Event::LeaseRenewed { expires_at } => self.renew(*expires_at),
            Event::PublishingStarted => self.enter(TaskState::Publishing, at),
            Event::PublishingInterrupted => self.enter(TaskState::Running, at),
            Event::Published { result, diverged, solver_version } => {
                self.finish(if *diverged { TaskState::Diverged } else { TaskState::Success }, at);
                self.result = *result;
                self.solver_version.clone_from(solver_version);
                self.error = None;
            }
            Event::Requeued { error } => {
                self.end_lease();
                if error.is_some() {
                    self.failures = self.failures.saturating_add(1);
                    self.error.clone_from(error);
                }
                self.progress = None;
                self.enqueue(Vec::new(), at);
            }
            Event::Failed { error, solver_version } => {
                self.error = Some(error.clone());
                if solver_version.is_some() {
                    self.solver_version.clone_from(solver_version);
                }
                self.finish(TaskState::Error, at);
            }
            Event::AbortRequested => self.enter(TaskState::Aborting, at),
            Event::Aborted => self.finish(TaskState::Aborted, at),
            Event::Retried { waiting_for } => {
                self.failures = 0;
                self.error = None;
                self.result = None;
                self.solver_version = None;
                self.progress = None;
                self.finished_at = None;
                self.submitted_at = Some(at);
                if self.template.is_some() {
                    self.forget_input();
                }
                self.enqueue(waiting_for.clone(), at);
            }
            Event::Deleted => {
                // The time at which it ended stays true for one that had ended before.
                let finished_at = self.finished_at;
                self.finish(TaskState::Deleted, at);
                self.finished_at = finished_at.or(Some(at));
            }
        }
    }

    fn enter(&mut self, state: TaskState, at: Timestamp) {
        self.state = state;
        self.changed_at = at;
    }

    fn enqueue(&mut self, waiting_for: Vec<TaskId>, at: Timestamp) {
        self.enter(TaskState::Queued, at);
        self.waiting_for = waiting_for;
        self.ready_at = self.is_ready().then_some(at);
    }

    const fn forget_input(&mut self) {
        self.estimate = None;
        self.input = None;
    }

    fn end_lease(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.last_lease = Some(lease.id);
        }
    }

    fn finish(&mut self, state: TaskState, at: Timestamp) {
        self.enter(state, at);
        self.end_lease();
        self.waiting_for.clear();
        self.ready_at = None;
        self.finished_at = Some(at);
    }

    fn renew(&mut self, expires_at: Timestamp) {
        if let Some(lease) = &mut self.lease {
            lease.expires_at = expires_at;
        }
    }
}
