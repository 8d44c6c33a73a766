//! Random commands, late and repeated messages and crashes never bring a task into an illegal state.
//!
//! The model is the smallest store there is: records in memory, events in a list, dependents told at once.
//! Everything that is promised about tasks is checked after every step.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first fault, as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use wavetask_core::{
    Command, Context, Decision, Effect, Event, Input, InputOutcome, NewTask, Policy, Refusal, TaskRecord,
    Template, Timestamp, decide,
};
use wavetask_document::Digest;
use wavetask_protocol::native::InputSlot;
use wavetask_protocol::{ErrorKind, Estimate, LeaseId, Progress, TaskError, TaskId, TaskKind, TaskState};

const TASKS: usize = 4;

/// What may happen, with small numbers in the place of ids: leases are chosen among all that were ever given.
#[derive(Clone, Debug)]
enum Step {
    ReceiveUpload,
    StartValidation,
    Accept,
    /// Accepts a template that refers to this task.
    AcceptTemplate(usize),
    Resolve,
    ResolveSolved,
    RefuseResolution,
    RefuseUpload,
    InterruptValidation,
    Submit(i32),
    SubmitSolved,
    Lease,
    Heartbeat(usize),
    BeginPublish(usize),
    InterruptPublish(usize),
    Publish(usize, bool),
    Fail(usize, ErrorKind),
    Return(usize),
    ConfirmAbort(usize),
    LoseWorker(usize),
    ExpireLease,
    RefuseOversize,
    Abort,
    Retry,
    Delete,
    Pass(u64),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let lease = 0..8_usize;
    let kind = prop_oneof![
        3 => Just(ErrorKind::Infrastructure),
        1 => Just(ErrorKind::Solver),
        1 => Just(ErrorKind::Resources),
    ];
    prop_oneof![
        1 => Just(Step::ReceiveUpload),
        3 => Just(Step::StartValidation),
        4 => Just(Step::Accept),
        3 => (0..TASKS).prop_map(Step::AcceptTemplate),
        4 => Just(Step::Resolve),
        1 => Just(Step::ResolveSolved),
        1 => Just(Step::RefuseResolution),
        1 => Just(Step::RefuseUpload),
        1 => Just(Step::InterruptValidation),
        4 => (0..3).prop_map(Step::Submit),
        1 => Just(Step::SubmitSolved),
        6 => Just(Step::Lease),
        2 => lease.clone().prop_map(Step::Heartbeat),
        3 => lease.clone().prop_map(Step::BeginPublish),
        1 => lease.clone().prop_map(Step::InterruptPublish),
        3 => (lease.clone(), any::<bool>()).prop_map(|(lease, diverged)| Step::Publish(lease, diverged)),
        2 => (lease.clone(), kind).prop_map(|(lease, kind)| Step::Fail(lease, kind)),
        1 => lease.clone().prop_map(Step::Return),
        1 => lease.clone().prop_map(Step::ConfirmAbort),
        1 => lease.prop_map(Step::LoseWorker),
        2 => Just(Step::ExpireLease),
        1 => Just(Step::RefuseOversize),
        1 => Just(Step::Abort),
        2 => Just(Step::Retry),
        1 => Just(Step::Delete),
        2 => (0..30_000_u64).prop_map(Step::Pass),
        1 => Just(Step::Crash),
    ]
}

struct Model {
    now: Timestamp,
    policy: Policy,
    tasks: BTreeMap<TaskId, TaskRecord>,
    events: Vec<(TaskId, Timestamp, Event)>,
    leases: Vec<LeaseId>,
    /// Tasks whose input is to be made, as the effects said.
    to_resolve: BTreeSet<TaskId>,
    published: BTreeSet<LeaseId>,
}

fn id(number: usize) -> TaskId {
    format!("task-{number}").parse().unwrap()
}

fn failure(kind: ErrorKind) -> TaskError {
    TaskError { kind, code: "test".to_owned(), message: "test".to_owned() }
}

const fn estimate() -> Estimate {
    Estimate { unknowns: 10, memory_bytes: 1 << 20, cpu_seconds: 0.1 }
}

fn template(referred: usize) -> Template {
    let slot = InputSlot { path: "medium/permittivity".to_owned(), task: id(referred), output: 0 };
    Template { document: Digest::of(b"template"), slots: vec![slot], cache: true }
}

impl Model {
    /// Task 1 needs 0, task 2 needs 0 and 1, task 3 needs nothing.
    fn new() -> Self {
        let now = Timestamp::from_milliseconds(1_000);
        let mut model = Self {
            now,
            policy: Policy::default(),
            tasks: BTreeMap::new(),
            events: Vec::new(),
            leases: Vec::new(),
            to_resolve: BTreeSet::new(),
            published: BTreeSet::new(),
        };
        for (number, dependencies) in
            [vec![], vec![id(0)], vec![id(0), id(1)], vec![]].into_iter().enumerate()
        {
            let task = NewTask {
                id: id(number),
                owner: "key-a".parse().unwrap(),
                folder: "folder-a".parse().unwrap(),
                name: format!("task {number}"),
                kind: TaskKind::HeatCharge,
                dependencies,
                callback: (number == 3).then(|| "http://example.org".to_owned()),
                attributes: BTreeMap::new(),
            };
            model.events.push((id(number), now, Event::Created { task: Box::new(task.clone()) }));
            model.tasks.insert(id(number), TaskRecord::create(task, now));
        }
        model
    }

    fn lease(&self, number: usize) -> LeaseId {
        let latest = self.leases.len().checked_sub(1 + number);
        latest.map_or_else(|| "lease-of-nobody".parse().unwrap(), |index| self.leases[index].clone())
    }

    fn command(&mut self, task: usize, step: &Step) -> Option<Command> {
        Some(match *step {
            Step::ReceiveUpload => Command::ReceiveUpload,
            Step::StartValidation => Command::StartValidation,
            Step::Accept => Command::AcceptUpload {
                estimate: estimate(),
                input: Digest::of(id(task).as_str().as_bytes()),
            },
            Step::AcceptTemplate(referred) => {
                Command::AcceptTemplate { template: template(referred), references: vec![id(0)] }
            }
            Step::Resolve => Command::Resolve { estimate: estimate(), input: Digest::of(b"resolved") },
            Step::ResolveSolved => Command::ResolveSolved {
                estimate: estimate(),
                input: Digest::of(b"resolved"),
                result: Some(Digest::of(b"known")),
                solver_version: "1".to_owned(),
            },
            Step::RefuseResolution => Command::RefuseResolution {
                error: failure(ErrorKind::Validation),
                solver_version: Some("1".to_owned()),
            },
            Step::RefuseUpload => Command::RefuseUpload {
                error: failure(ErrorKind::Validation),
                solver_version: Some("1".to_owned()),
            },
            Step::InterruptValidation => Command::InterruptValidation,
            Step::Submit(priority) => Command::Submit { priority },
            Step::SubmitSolved => {
                Command::SubmitSolved { result: Some(Digest::of(b"known")), solver_version: None }
            }
            Step::Lease => {
                let lease: LeaseId = format!("lease-{}", self.leases.len()).parse().unwrap();
                self.leases.push(lease.clone());
                Command::Lease { lease, worker: "worker-a".parse().unwrap() }
            }
            Step::Heartbeat(lease) => Command::Heartbeat {
                lease: self.lease(lease),
                progress: Some(Progress { percent: 50.0, residual: None, stage: "solving".to_owned() }),
            },
            Step::BeginPublish(lease) => Command::BeginPublish { lease: self.lease(lease) },
            Step::InterruptPublish(lease) => Command::InterruptPublish { lease: self.lease(lease) },
            Step::Publish(lease, diverged) => {
                let lease = self.lease(lease);
                let result = Some(Digest::of(lease.as_str().as_bytes()));
                Command::Publish { lease, result, diverged, solver_version: Some("1".to_owned()) }
            }
            Step::Fail(lease, kind) => {
                Command::Fail { lease: self.lease(lease), error: failure(kind), solver_version: None }
            }
            Step::Return(lease) => Command::Return { lease: self.lease(lease) },
            Step::ConfirmAbort(lease) => Command::ConfirmAbort { lease: self.lease(lease) },
            Step::LoseWorker(lease) => Command::LoseWorker { lease: self.lease(lease) },
            Step::ExpireLease => Command::ExpireLease,
            Step::RefuseOversize => Command::RefuseOversize { largest_memory_bytes: 1 },
            Step::Abort => Command::Abort,
            Step::Retry => Command::Retry,
            Step::Delete => Command::Delete,
            Step::Pass(milliseconds) => {
                self.now = self.now.plus(Duration::from_millis(milliseconds));
                return None;
            }
            Step::Crash => {
                for number in 0..TASKS {
                    let _ = self.apply(number, &Command::Recover);
                }
                return None;
            }
        })
    }

    fn decide(&self, task: usize, command: &Command) -> Result<Decision, Refusal> {
        let record = &self.tasks[&id(task)];
        let inputs: Vec<Input> = record
            .task
            .dependencies
            .iter()
            .map(|input| {
                let known = self.tasks.get(input);
                let error = known.and_then(|task| task.error.clone());
                Input { task: input.clone(), state: known.map(|task| task.state), error }
            })
            .collect();
        let users = self.users(record.id());
        let context = Context { now: self.now, policy: &self.policy, inputs: &inputs, users: &users };
        decide(record, command, &context)
    }

    /// Those that depend on the task, were submitted and have not ended.
    fn users(&self, task: &TaskId) -> Vec<TaskId> {
        let uses = |record: &&TaskRecord| {
            record.task.dependencies.contains(task)
                && record.submitted_at.is_some()
                && !record.state.is_final()
        };
        self.tasks.values().filter(uses).map(|record| record.id().clone()).collect()
    }

    fn apply(&mut self, task: usize, command: &Command) -> Result<(), Refusal> {
        let decision = self.decide(task, command)?;
        assert!(!decision.events.is_empty(), "what changes nothing is refused: {command:?}");
        let mut before = self.tasks[&id(task)].clone();
        for event in &decision.events {
            let mut after = before.clone();
            after.evolve(event, self.now);
            check_transition(before.state, after.state, event);
            before = after;
            if let (Event::Published { .. }, Command::Publish { lease, .. }) = (event, command) {
                assert!(self.published.insert(lease.clone()), "the lease {lease} published twice");
            }
            if event.is_logged() {
                self.events.push((id(task), self.now, event.clone()));
            }
        }
        self.to_resolve.retain(|waiting| *waiting != id(task) || decision.record.awaits_resolution());
        self.tasks.insert(id(task), decision.record);
        for effect in decision.effects {
            if effect == Effect::Resolve {
                assert!(self.to_resolve.insert(id(task)), "{} is to be resolved twice", id(task));
            }
            if let Effect::NotifyDependents(outcome) = effect {
                for dependent in 0..TASKS {
                    if !self.tasks[&id(dependent)].task.dependencies.contains(&id(task)) {
                        continue;
                    }
                    let command = match outcome {
                        InputOutcome::Resolved => Command::ResolveInput { input: id(task) },
                        InputOutcome::Failed => Command::FailInput { input: id(task) },
                        InputOutcome::Retried => Command::RetryAfterInput { input: id(task) },
                    };
                    match self.apply(dependent, &command) {
                        Ok(()) | Err(Refusal::AlreadyDone) => {}
                        Err(refusal) => panic!("dependents can always be told: {refusal}"),
                    }
                }
            }
        }
        Ok(())
    }

    fn check(&self) {
        for record in self.tasks.values() {
            check_record(record, &self.policy);
            assert_eq!(self.to_resolve.contains(record.id()), record.awaits_resolution(), "{}", record.id());
            for input in &record.waiting_for {
                let state = self.tasks[input].state;
                assert!(!state.is_final(), "{} waits for {input}, which is {state}", record.id());
            }
        }
    }

    /// The log explains every record, and both survive being written down.
    fn check_log(&self) {
        for record in self.tasks.values() {
            let mut replayed = TaskRecord::create(record.task.clone(), Timestamp::default());
            let mut publications = 0;
            for (_, at, event) in self.events.iter().filter(|(task, ..)| task == record.id()) {
                let stored = serde_json::to_string(event).unwrap();
                replayed.evolve(&serde_json::from_str(&stored).unwrap(), *at);
                match event {
                    Event::Published { .. } => publications += 1,
                    Event::Retried { .. } => publications = 0,
                    _ => {}
                }
                assert!(publications <= 1, "{} was published twice", record.id());
            }
            assert_eq!(replayed.without_heartbeats(), record.clone().without_heartbeats());
            let stored = serde_json::to_string(record).unwrap();
            assert_eq!(serde_json::from_str::<TaskRecord>(&stored).unwrap(), *record);
        }
    }

    /// From wherever this is, workers that do their work bring everything that waits to its end.
    fn finish(&mut self) {
        for _ in 0..100 {
            self.now = self.now.plus(Duration::from_secs(60));
            for number in 0..TASKS {
                let _ = self.apply(number, &Command::ExpireLease);
                let resolve = Command::Resolve { estimate: estimate(), input: Digest::of(b"resolved") };
                let _ = self.apply(number, &resolve);
                let lease: LeaseId = format!("lease-{}", self.leases.len()).parse().unwrap();
                let command = Command::Lease { lease: lease.clone(), worker: "worker-b".parse().unwrap() };
                if self.apply(number, &command).is_ok() {
                    self.leases.push(lease.clone());
                    self.apply(number, &Command::BeginPublish { lease: lease.clone() }).unwrap();
                    let result = Some(Digest::of(b"x"));
                    let publish = Command::Publish { lease, result, diverged: false, solver_version: None };
                    self.apply(number, &publish).unwrap();
                }
            }
        }
        for record in self.tasks.values() {
            let waits_for_a_draft = !record.waiting_for.is_empty();
            let waits_for_the_user =
                matches!(record.state, TaskState::Draft | TaskState::Validating | TaskState::Validated);
            assert!(
                record.state.is_final() || waits_for_a_draft || waits_for_the_user,
                "{} is {} for ever",
                record.id(),
                record.state
            );
        }
    }
}

fn check_transition(from: TaskState, to: TaskState, event: &Event) {
    use TaskState::*;
    let legal = match from {
        Draft => matches!(to, Draft | Validating | Aborted | Deleted),
        Validating => matches!(to, Draft | Validated | Error | Aborted | Deleted),
        Validated => matches!(to, Draft | Queued | Aborted | Deleted),
        // A task that is solved already goes from queued to its end within one decision.
        Queued => matches!(to, Queued | Running | Success | Error | Aborted | Deleted),
        Running => {
            matches!(to, Running | Publishing | Success | Diverged | Queued | Error | Aborting | Deleted)
        }
        Publishing => {
            matches!(to, Publishing | Running | Success | Diverged | Queued | Error | Aborting | Deleted)
        }
        Aborting => matches!(to, Aborting | Aborted | Deleted),
        Error | Aborted | Diverged => matches!(to, Queued | Deleted),
        Success => to == Deleted,
        _ => false,
    };
    assert!(legal, "{event:?} led from {from} to {to}");
}

fn check_record(record: &TaskRecord, policy: &Policy) {
    use TaskState::*;
    let state = record.state;
    let held = matches!(state, Running | Publishing | Aborting);
    assert_eq!(record.lease.is_some(), held, "{state}");
    assert_eq!(record.ready_at.is_some(), record.is_ready(), "{state}");
    assert_eq!(record.finished_at.is_some(), state.is_final(), "{state}");
    assert!(record.waiting_for.is_empty() || state == Queued, "{state}");
    assert!(record.result.is_none() || matches!(state, Success | Diverged | Deleted), "{state}");
    assert!(record.error.is_some() || state != Error);
    assert!(record.error.is_none() || !matches!(state, Success | Diverged));
    assert!(record.failures < policy.maximum_attempts);
    assert!(record.failures <= record.attempt);
    assert_eq!(record.input.is_some(), record.estimate.is_some(), "{state}");
    if matches!(state, Validated | Queued) {
        assert!(record.can_run(), "{state}");
    }
    if held || record.is_ready() {
        assert!(!record.is_unresolved() && record.input.is_some(), "{state}");
    }
    for slot in record.template.iter().flat_map(|template| &template.slots) {
        assert!(record.task.dependencies.contains(&slot.task), "references cannot go round in circles");
    }
}

/// Commands that a client or worker may send again because an answer was lost.
fn is_repeatable(command: &Command) -> bool {
    matches!(
        command,
        Command::StartValidation
            | Command::Submit { .. }
            | Command::AcceptTemplate { .. }
            | Command::Resolve { .. }
            | Command::ResolveSolved { .. }
            | Command::RefuseResolution { .. }
            | Command::SubmitSolved { .. }
            | Command::BeginPublish { .. }
            | Command::Publish { .. }
            | Command::ConfirmAbort { .. }
            | Command::Abort
            | Command::Delete
            | Command::InterruptValidation
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_commands_leads_astray(
        steps in proptest::collection::vec((0..TASKS, step()), 0..120),
    ) {
        let mut model = Model::new();
        for (task, step) in &steps {
            let Some(command) = model.command(*task, step) else { model.check(); continue };
            let applied = model.apply(*task, &command);
            model.check();
            if applied.is_ok() && is_repeatable(&command) {
                prop_assert_eq!(model.apply(*task, &command), Err(Refusal::AlreadyDone), "{:?}", command);
            }
        }
        model.check_log();
        model.finish();
        model.check();
        model.check_log();
    }
}

/// The random sequences are of use only if they get anywhere.
#[test]
fn the_way_to_success_is_open() {
    let mut model = Model::new();
    for number in 0..TASKS {
        for step in [Step::StartValidation, Step::Accept, Step::Submit(0)] {
            let command = model.command(number, &step).unwrap();
            model.apply(number, &command).unwrap();
        }
    }
    model.finish();
    model.check();
    model.check_log();
    assert!(model.tasks.values().all(|task| task.state == TaskState::Success));
    assert_eq!(model.published.len(), TASKS);
}

/// Three stages of which the later two refer to the earlier ones, submitted before anything has run.
#[test]
fn a_chain_of_references_runs_from_its_beginning_to_its_end() {
    let mut model = Model::new();
    for number in 0..3 {
        let accept = if number == 0 { Step::Accept } else { Step::AcceptTemplate(number - 1) };
        for step in [Step::StartValidation, accept, Step::Submit(0)] {
            let command = model.command(number, &step).unwrap();
            model.apply(number, &command).unwrap();
            model.check();
        }
    }
    let lease = Command::Lease { lease: "lease-x".parse().unwrap(), worker: "worker-a".parse().unwrap() };
    assert!(matches!(model.apply(1, &lease), Err(Refusal::NotAllowed { .. })), "it waits for a result");
    assert!(model.to_resolve.is_empty());
    model.finish();
    model.check_log();
    let succeeded = |number| model.tasks[&id(number)].state == TaskState::Success;
    assert!((0..3).all(succeeded));
}

#[test]
fn a_template_refers_to_its_dependencies_only() {
    let mut model = Model::new();
    model.apply(1, &Command::StartValidation).unwrap();
    for referred in [1, 2, 3] {
        let command = model.command(1, &Step::AcceptTemplate(referred)).unwrap();
        let refused = model.apply(1, &command);
        assert_eq!(refused, Err(Refusal::NotADependency { task: id(referred) }), "later tasks, and itself");
    }
    let command = model.command(1, &Step::AcceptTemplate(0)).unwrap();
    model.apply(1, &command).unwrap();
}

/// A task that was run once with some results is given those that are there when it is run again.
#[test]
fn what_is_run_again_is_resolved_again() {
    let mut model = Model::new();
    for number in 0..2 {
        let accept = if number == 0 { Step::Accept } else { Step::AcceptTemplate(0) };
        for step in [Step::StartValidation, accept, Step::Submit(0)] {
            let command = model.command(number, &step).unwrap();
            model.apply(number, &command).unwrap();
        }
    }
    let command = model.command(0, &Step::Lease).unwrap();
    model.apply(0, &command).unwrap();
    let command = model.command(0, &Step::Publish(0, false)).unwrap();
    model.apply(0, &command).unwrap();
    for step in [Step::Resolve, Step::Abort, Step::Retry] {
        let command = model.command(1, &step).unwrap();
        let decision = model.decide(1, &command).unwrap();
        if matches!(step, Step::Retry) {
            assert!(decision.effects.contains(&Effect::ReleaseInput), "{:?}", decision.effects);
        }
        model.apply(1, &command).unwrap();
        model.check();
    }
    assert!(model.tasks[&id(1)].awaits_resolution());
    model.finish();
    assert_eq!(model.tasks[&id(1)].state, TaskState::Success);
}

/// Records and events of before there were templates read as they did.
#[test]
fn records_of_before_there_were_templates_are_read() {
    let mut model = Model::new();
    for step in [Step::StartValidation, Step::Accept, Step::Submit(0)] {
        let command = model.command(0, &step).unwrap();
        model.apply(0, &command).unwrap();
    }
    let record = &model.tasks[&id(0)];
    let stored = serde_json::to_value(record).unwrap();
    assert!(stored.get("template").is_none(), "an older server can read it, too: {stored}");
    assert_eq!(serde_json::from_value::<TaskRecord>(stored).unwrap(), *record);
}
