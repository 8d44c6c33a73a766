//! A server as the protocol describes it, made of the real state machine of tasks: what is durable survives its
//! restarts, everything else does not exist.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use wavetask_core::{
    Command, Context, Effect, Input, InputOutcome, Policy, Refusal, TaskRecord, Timestamp, decide,
};
use wavetask_document::Digest;
use wavetask_protocol::native::{
    ApiError, EventPage, MemberAnswer, SubmitAnswer, TaskAnswer, TaskAnswers, TaskEvent, TaskSummary,
};
use wavetask_protocol::{
    BatchId, ErrorKind, Estimate, LeaseId, TaskError, TaskId, TaskKind, TaskState, WorkerId,
};

use crate::error::{ClientError, ErrorGroup};
use crate::flow::ResultNews;
use crate::server::TaskAction;

/// What a simulation does when somebody tries to run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Nature {
    Good,
    /// Its validation fails.
    Invalid,
    /// Its solver finds no solution.
    Unsolvable,
    /// Its document is refused.
    Malformed,
    /// A request that holds it is refused as a whole.
    Poison,
    /// Its result cannot be fetched.
    Unfetchable,
    /// It cannot be packed: the server never sees it.
    Unpackable,
}

/// What a request says of a member.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) key: String,
    pub(super) content: Digest,
    pub(super) nature: Nature,
    pub(super) blocks: Vec<Digest>,
    pub(super) cache: bool,
    /// Whether it waits to be started.
    pub(super) hold: bool,
    /// Tasks that must succeed before.
    pub(super) after: Vec<TaskId>,
}

/// Rules that a test may break, to see that the invariants notice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Honesty {
    pub(super) idempotency: bool,
    pub(super) possession: bool,
    pub(super) memo: bool,
    pub(super) events: bool,
}

impl Honesty {
    pub(super) const FULL: Self = Self { idempotency: true, possession: true, memo: true, events: true };
}

struct Task {
    record: TaskRecord,
    named: Named,
}

pub(super) struct Server {
    honesty: Honesty,
    policy: Policy,
    tasks: BTreeMap<TaskId, Task>,
    by_key: HashMap<String, TaskId>,
    solved: HashMap<Digest, TaskId>,
    pub(super) possessed: HashSet<Digest>,
    events: Vec<TaskEvent>,
    forgotten: u64,
    leases: u64,
    /// Solver runs that ended with a result, by content.
    pub(super) solves: HashMap<Digest, usize>,
}

impl Server {
    pub(super) fn new(honesty: Honesty) -> Self {
        Self {
            honesty,
            policy: Policy { maximum_attempts: 1_000, lease_length: Duration::from_millis(500) },
            tasks: BTreeMap::new(),
            by_key: HashMap::new(),
            solved: HashMap::new(),
            possessed: HashSet::new(),
            events: Vec::new(),
            forgotten: 0,
            leases: 0,
            solves: HashMap::new(),
        }
    }

    /// Applies a command, and writes the event down; heartbeats are not used here, so every change is one. Those that
    /// depend on the task are told.
    fn apply(&mut self, id: &TaskId, command: &Command, now: u64) -> Result<(), Refusal> {
        let inputs: Vec<_> = self.tasks[id].named.after.iter().map(|input| self.input(input)).collect();
        let Some(task) = self.tasks.get_mut(id) else { panic!("no task {id}") };
        let context = Context { now: at(now), policy: &self.policy, inputs: &inputs, users: &[] };
        let decision = decide(&task.record, command, &context)?;
        task.record = decision.record;
        self.tell(id, now);
        for effect in decision.effects {
            let Effect::NotifyDependents(outcome) = effect else { continue };
            let depends = |(_, task): &(&TaskId, &Task)| task.named.after.contains(id);
            let dependents: Vec<_> =
                self.tasks.iter().filter(depends).map(|(dependent, _)| dependent.clone()).collect();
            for dependent in dependents {
                let input = id.clone();
                let command = match outcome {
                    InputOutcome::Resolved => Command::ResolveInput { input },
                    InputOutcome::Failed => Command::FailInput { input },
                    InputOutcome::Retried => Command::RetryAfterInput { input },
                };
                let _ = self.apply(&dependent, &command, now);
            }
        }
        Ok(())
    }

    fn input(&self, id: &TaskId) -> Input {
        let record = self.tasks.get(id).map(|task| &task.record);
        let (state, error) =
            (record.map(|record| record.state), record.and_then(|record| record.error.clone()));
        Input { task: id.clone(), state, error }
    }

    fn tell(&mut self, id: &TaskId, now: u64) {
        let summary = self.summary(id);
        let sequence = self.events.len() as u64 + 1;
        let at_milliseconds = at(now).as_milliseconds();
        self.events.push(TaskEvent { sequence, at_milliseconds, state: summary.state, task: summary });
    }

    fn summary(&self, id: &TaskId) -> TaskSummary {
        let record = &self.tasks[id].record;
        TaskSummary {
            task: id.clone(),
            name: record.task.name.clone(),
            folder: record.task.folder.clone(),
            folder_name: "default".into(),
            kind: record.task.kind,
            state: record.state,
            progress: None,
            error: record.error.clone(),
            attempts: record.attempt,
            created_milliseconds: record.created_at.as_milliseconds(),
            started_milliseconds: None,
            ended_milliseconds: None,
        }
    }

    fn last_event(&self) -> u64 {
        self.events.len() as u64
    }

    pub(super) fn submit(
        &mut self,
        members: &[Named],
        busy: bool,
        now: u64,
    ) -> Result<SubmitAnswer, ClientError> {
        if members.iter().any(|member| member.nature == Nature::Poison) {
            return Err(ClientError::new(ErrorGroup::Internal, "test.poison", "The server chokes on it."));
        }
        let answers = members.iter().map(|member| self.member(member, busy, now)).collect();
        let batch: BatchId = "batch-1".parse().unwrap();
        Ok(SubmitAnswer { batch, members: answers, last_event: self.last_event() })
    }

    fn member(&mut self, named: &Named, busy: bool, now: u64) -> MemberAnswer {
        if named.nature == Nature::Malformed {
            let error = ApiError { code: "document_malformed".into(), message: "No.".into(), hint: None };
            return MemberAnswer::Refused { error, again_later: false };
        }
        if busy {
            let error = ApiError { code: "disk.full".into(), message: "Later.".into(), hint: None };
            return MemberAnswer::Refused { error, again_later: true };
        }
        let known = if self.honesty.idempotency { self.by_key.get(&named.key).cloned() } else { None };
        let new = known.is_none();
        let id = known.unwrap_or_else(|| self.create(named, now));
        let record = &self.tasks[&id].record;
        let retried = record.state == TaskState::Aborted
            || record.error.as_ref().is_some_and(|error| {
                record.state == TaskState::Error
                    && !matches!(error.kind, ErrorKind::Validation | ErrorKind::Solver)
            });
        if retried && record.input.is_some() {
            let _ = self.apply(&id, &Command::Retry, now);
            return MemberAnswer::Accepted { task: self.summary(&id), new: false };
        }
        if retried {
            // It was stopped as a draft: it begins anew.
            self.by_key.remove(&named.key);
            let fresh = self.create(named, now);
            return self.begin(&fresh, named, true, now);
        }
        if record.state != TaskState::Draft {
            return MemberAnswer::Accepted { task: self.summary(&id), new };
        }
        self.begin(&id, named, new, now)
    }

    fn begin(&mut self, id: &TaskId, named: &Named, new: bool, now: u64) -> MemberAnswer {
        let solved = self.solved.get(&named.content);
        if named.cache && self.honesty.memo && solved.is_some() {
            self.validate(id, named, now);
            let result = Some(named.content);
            self.apply(id, &Command::SubmitSolved { result, solver_version: None }, now).unwrap();
            return MemberAnswer::Accepted { task: self.summary(id), new };
        }
        let lacks = |digest: &&Digest| !self.possessed.contains(*digest);
        let blocks: Vec<_> = named.blocks.iter().filter(lacks).copied().collect();
        if !blocks.is_empty() {
            return MemberAnswer::Missing { task: id.clone(), blocks };
        }
        if named.nature == Nature::Invalid {
            self.apply(id, &Command::StartValidation, now).unwrap();
            self.apply(
                id,
                &Command::RefuseUpload {
                    error: fault(ErrorKind::Validation, "test.invalid"),
                    solver_version: None,
                },
                now,
            )
            .unwrap();
        } else {
            self.validate(id, named, now);
            if !named.hold {
                self.apply(id, &Command::Submit { priority: 0 }, now).unwrap();
            }
        }
        MemberAnswer::Accepted { task: self.summary(id), new }
    }

    fn create(&mut self, named: &Named, now: u64) -> TaskId {
        let id: TaskId = format!("task-{}", self.tasks.len()).parse().unwrap();
        let task = wavetask_core::NewTask {
            id: id.clone(),
            owner: "key-1".parse().unwrap(),
            folder: "folder-1".parse().unwrap(),
            name: named.key.clone(),
            kind: TaskKind::Heat,
            dependencies: named.after.clone(),
            callback: None,
            attributes: BTreeMap::new(),
        };
        let record = TaskRecord::create(task, at(now));
        self.tasks.insert(id.clone(), Task { record, named: named.clone() });
        self.by_key.insert(named.key.clone(), id.clone());
        self.tell(&id, now);
        id
    }

    fn validate(&mut self, id: &TaskId, named: &Named, now: u64) {
        self.apply(id, &Command::StartValidation, now).unwrap();
        let accept = Command::AcceptUpload { estimate: Estimate::default(), input: named.content };
        self.apply(id, &accept, now).unwrap();
    }

    pub(super) fn arrive(&mut self, digest: Digest) {
        if self.honesty.possession {
            self.possessed.insert(digest);
        }
    }

    /// Gives a ready task to a worker.
    pub(super) fn lease(&mut self, choose: usize, now: u64) -> Option<(TaskId, LeaseId)> {
        let ready: Vec<_> =
            self.tasks.iter().filter(|(_, task)| task.record.is_ready()).map(|(id, _)| id.clone()).collect();
        let id = ready.get(choose % ready.len().max(1))?.clone();
        for input in &self.tasks[&id].named.after {
            assert_eq!(self.tasks[input].record.state, TaskState::Success, "{id} runs before {input}");
        }
        self.leases += 1;
        let lease: LeaseId = format!("lease-{}", self.leases).parse().unwrap();
        let worker: WorkerId = "worker-1".parse().unwrap();
        self.apply(&id, &Command::Lease { lease: lease.clone(), worker }, now).unwrap();
        Some((id, lease))
    }

    /// A worker is through with a task.
    pub(super) fn solve(&mut self, id: &TaskId, lease: LeaseId, now: u64) {
        let named = self.tasks[id].named.clone();
        if named.nature == Nature::Unsolvable {
            let error = fault(ErrorKind::Solver, "test.unsolvable");
            let _ = self.apply(id, &Command::Fail { lease, error, solver_version: None }, now);
            return;
        }
        let publish = Command::Publish {
            lease: lease.clone(),
            result: Some(named.content),
            diverged: false,
            solver_version: None,
        };
        match self.apply(id, &publish, now) {
            Ok(()) => {
                *self.solves.entry(named.content).or_insert(0) += 1;
                self.solved.insert(named.content, id.clone());
            }
            Err(Refusal::AbortRequested) => {
                let _ = self.apply(id, &Command::ConfirmAbort { lease }, now);
            }
            Err(_) => {}
        }
    }

    /// Leases whose time is over.
    pub(super) fn expire(&mut self, now: u64) {
        let leased: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.record.lease.is_some())
            .map(|(id, _)| id.clone())
            .collect();
        for id in leased {
            let _ = self.apply(&id, &Command::ExpireLease, now);
        }
    }

    pub(super) fn restart(&mut self, now: u64) {
        let leased: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.record.lease.is_some())
            .map(|(id, _)| id.clone())
            .collect();
        for id in leased {
            let _ = self.apply(&id, &Command::Recover, now);
        }
    }

    pub(super) fn forget_events(&mut self) {
        self.forgotten = self.last_event();
    }

    /// The events after this number; `None` while there are none.
    pub(super) fn events_after(&self, after: u64) -> Option<Result<EventPage, ClientError>> {
        if after < self.forgotten {
            return Some(Err(ClientError::new(ErrorGroup::NotFound, "events.gone", "Gone.")));
        }
        if !self.honesty.events {
            return None;
        }
        let start = usize::try_from(after).unwrap();
        let events: Vec<_> = self.events.get(start..)?.iter().take(50).cloned().collect();
        let last = events.last()?.sequence;
        Some(Ok(EventPage { events, last }))
    }

    pub(super) fn act(&mut self, action: TaskAction, tasks: &[TaskId], now: u64) -> TaskAnswers {
        let answers = tasks
            .iter()
            .map(|id| {
                let outcome = match action {
                    TaskAction::Cancel => self.apply(id, &Command::Abort, now),
                    TaskAction::Start => self.apply(id, &Command::Submit { priority: 0 }, now),
                    _ => Ok(()),
                };
                match outcome {
                    Ok(()) | Err(Refusal::AlreadyDone) => {
                        TaskAnswer::Task { task: Box::new(self.summary(id)) }
                    }
                    Err(refusal) => {
                        let (code, message) = (refusal.code().into(), refusal.to_string());
                        TaskAnswer::Refused { error: ApiError { code, message, hint: None } }
                    }
                }
            })
            .collect();
        TaskAnswers { tasks: answers, last_event: self.last_event() }
    }

    pub(super) fn result(&self, id: &TaskId, inline: bool) -> ResultNews {
        let task = &self.tasks[id];
        match task.record.state {
            TaskState::Success if task.named.nature == Nature::Unfetchable => {
                let message = "Bytes are not what their digest says.";
                let error = ClientError::new(ErrorGroup::DataCorrupted, "test.unfetchable", message);
                ResultNews::Unreadable(error)
            }
            TaskState::Success if inline => ResultNews::Whole,
            TaskState::Success => ResultNews::DocumentOnly,
            TaskState::Error => match &task.record.error {
                Some(error) => ResultNews::Failed(error.clone()),
                None => ResultNews::None("task.not_found".into()),
            },
            TaskState::Aborted => ResultNews::None("task.aborted".into()),
            _ => ResultNews::None("task.not_ended".into()),
        }
    }

    /// The key that a task was named by.
    pub(super) fn key(&self, id: &TaskId) -> &str {
        &self.tasks[id].named.key
    }

    /// How a task is, and the newest event then.
    pub(super) fn look(&self, id: &TaskId) -> (TaskSummary, u64) {
        (self.summary(id), self.last_event())
    }

    /// A key with several tasks that were not stopped as drafts, and how many.
    pub(super) fn created_again(&self) -> Option<(&str, usize)> {
        let stopped = |task: &Task| task.record.state == TaskState::Aborted && task.record.input.is_none();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for task in self.tasks.values().filter(|task| !stopped(task)) {
            *counts.entry(&task.named.key).or_insert(0) += 1;
        }
        counts.into_iter().find(|(_, count)| *count > 1)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.tasks.values().all(|task| task.record.lease.is_none() && task.record.state != TaskState::Queued)
    }
}

fn at(now: u64) -> Timestamp {
    Timestamp::from_milliseconds(i64::try_from(now).unwrap())
}

fn fault(kind: ErrorKind, code: &str) -> TaskError {
    TaskError { kind, code: code.into(), message: "As the test wants it.".into() }
}
