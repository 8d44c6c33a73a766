//! The decisions: given where a task stands, what a command makes of it.

use wavetask_document::Digest;
use wavetask_protocol::worker::Verdict;
use wavetask_protocol::{ErrorKind, LeaseId, TaskError, TaskId, TaskState};

use crate::command::{Command, Context, Decision, Effect, Input, InputOutcome, Refusal};
use crate::event::Event;
use crate::record::{Lease, TaskRecord};

/// Decides what a command makes of a task.
///
/// # Errors
/// A [`Refusal`] if it changes nothing; [`Refusal::AlreadyDone`] is a success to the one who asked.
pub fn decide(record: &TaskRecord, command: &Command, context: &Context<'_>) -> Result<Decision, Refusal> {
    let events = events_of(record, command, context)?;
    let mut next = record.clone();
    for event in &events {
        next.evolve(event, context.now);
    }
    let effects = effects_between(record, &next, &events);
    Ok(Decision { record: next, events, effects })
}

/// What the worker that reports under this lease should do.
pub fn verdict(record: &TaskRecord, lease: &LeaseId) -> Verdict {
    if !record.is_leased_by(lease) {
        Verdict::Lost
    } else if record.state == TaskState::Aborting {
        Verdict::Abort
    } else {
        Verdict::Continue
    }
}

fn events_of(record: &TaskRecord, command: &Command, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
    use TaskState::{
        Aborted, Aborting, Deleted, Diverged, Draft, Error, Queued, Running, Validated, Validating,
    };
    let state = record.state;
    let refuse = |verb| Err(Refusal::NotAllowed { state, verb });
    match command {
        Command::ReceiveUpload => match state {
            Draft | Validated => one(Event::UploadReceived),
            _ => refuse("take uploads"),
        },
        Command::StartValidation => match state {
            Draft => one(Event::ValidationStarted),
            Validating | Validated => Err(Refusal::AlreadyDone),
            _ if record.submitted_at.is_some() => Err(Refusal::AlreadyDone),
            _ => refuse("be validated"),
        },
        Command::AcceptUpload { estimate, input } => match state {
            Validating => one(Event::Validated { estimate: *estimate, input: *input }),
            Validated if record.input == Some(*input) => Err(Refusal::AlreadyDone),
            _ => refuse("be accepted"),
        },
        Command::AcceptTemplate { template, references } => {
            let mut referred = template.slots.iter().map(|slot| &slot.task).chain(references);
            if let Some(task) = referred.find(|task| !record.task.dependencies.contains(task)) {
                return Err(Refusal::NotADependency { task: task.clone() });
            }
            match state {
                Validating => one(Event::TemplateAccepted { template: Box::new(template.clone()) }),
                Validated if record.template.as_ref() == Some(template) => Err(Refusal::AlreadyDone),
                _ => refuse("be accepted"),
            }
        }
        Command::RefuseUpload { error, solver_version } => match state {
            Validating => one(Event::Failed { error: error.clone(), solver_version: solver_version.clone() }),
            _ => refuse("be refused"),
        },
        Command::InterruptValidation => match state {
            Validating => one(Event::ValidationInterrupted),
            Draft => Err(Refusal::AlreadyDone),
            _ => refuse("interrupt its validation"),
        },
        Command::Submit { priority } => {
            submission(record)?;
            let waiting_for = unfinished(context.inputs);
            let mut events = vec![Event::Submitted { priority: *priority, waiting_for }];
            events.extend(
                first_failed(context.inputs).map(|input| failed(input_error(&input.task, Some(input)))),
            );
            Ok(events)
        }
        Command::SubmitSolved { result, solver_version } => {
            submission(record)?;
            if record.is_unresolved() {
                return refuse("be solved before its input has been made");
            }
            let submitted = Event::Submitted { priority: record.priority, waiting_for: Vec::new() };
            Ok(vec![submitted, published(*result, false, solver_version)])
        }
        Command::ResolveInput { input } => match state {
            Queued if record.waiting_for.contains(input) => {
                one(Event::InputResolved { input: input.clone() })
            }
            _ => Err(Refusal::AlreadyDone),
        },
        Command::Resolve { estimate, input } => {
            unresolved(record)?;
            one(Event::Resolved { estimate: *estimate, input: *input })
        }
        Command::ResolveSolved { estimate, input, result, solver_version } => {
            unresolved(record)?;
            let resolved = Event::Resolved { estimate: *estimate, input: *input };
            Ok(vec![resolved, published(*result, false, &Some(solver_version.clone()))])
        }
        Command::RefuseResolution { error, solver_version } => {
            unresolved(record)?;
            one(Event::Failed { error: error.clone(), solver_version: solver_version.clone() })
        }
        Command::FailInput { input } => match state {
            Queued if record.waiting_for.contains(input) => {
                let known = context.inputs.iter().find(|known| known.task == *input);
                one(failed(input_error(input, known)))
            }
            _ => Err(Refusal::AlreadyDone),
        },
        Command::RetryAfterInput { input } => {
            let failed_for_it = state == Error
                && record.error.as_ref().is_some_and(|error| error.code == INPUT_FAILED)
                && record.task.dependencies.contains(input);
            if failed_for_it && record.can_run() && first_failed(context.inputs).is_none() {
                one(Event::Retried { waiting_for: unfinished(context.inputs) })
            } else {
                Err(Refusal::AlreadyDone)
            }
        }
        Command::Lease { lease, worker } => match state {
            Queued if record.is_ready() => {
                let expires_at = context.now.plus(context.policy.lease_length);
                let lease = Lease { id: lease.clone(), worker: worker.clone(), expires_at };
                one(Event::Leased { lease })
            }
            _ if record.is_leased_by(lease) => Err(Refusal::AlreadyDone),
            _ => refuse("be leased"),
        },
        Command::Heartbeat { lease, progress } => {
            held(record, lease)?;
            let expires_at = context.now.plus(context.policy.lease_length);
            one(Event::Progressed { expires_at, progress: progress.clone() })
        }
        Command::BeginPublish { lease } => match reported(record, lease)? {
            Running => one(Event::PublishingStarted),
            Aborting => Err(Refusal::AbortRequested),
            _ => Err(Refusal::AlreadyDone),
        },
        Command::InterruptPublish { lease } => match reported(record, lease)? {
            TaskState::Publishing => one(Event::PublishingInterrupted),
            _ => Err(Refusal::AlreadyDone),
        },
        Command::Publish { lease, result, diverged, solver_version } => match reported(record, lease)? {
            Aborting => Err(Refusal::AbortRequested),
            _ => one(published(*result, *diverged, solver_version)),
        },
        Command::Fail { lease, error, solver_version } => match reported(record, lease)? {
            Aborting => one(Event::Aborted),
            _ if error.kind == ErrorKind::Solver => {
                one(Event::Failed { error: error.clone(), solver_version: solver_version.clone() })
            }
            _ => one(after_failure(record, error.clone(), context)),
        },
        Command::Return { lease } => match reported(record, lease)? {
            Aborting => one(Event::Aborted),
            _ => one(Event::Requeued { error: None }),
        },
        Command::ConfirmAbort { lease } => match reported(record, lease)? {
            Aborting => one(Event::Aborted),
            _ => refuse("confirm an abort that nobody asked for"),
        },
        Command::ExpireLease => match &record.lease {
            Some(lease) if lease.expires_at > context.now => Err(Refusal::LeaseStillValid),
            Some(lease) => one(after_lost_lease(record, &lease.id, context)),
            None => Err(Refusal::AlreadyDone),
        },
        Command::LoseWorker { lease } => {
            reported(record, lease)?;
            one(after_lost_lease(record, lease, context))
        }
        Command::Recover => recovery(record, context),
        Command::RefuseOversize { largest_memory_bytes } => match state {
            Queued => one(failed(oversize_error(record, *largest_memory_bytes))),
            _ => refuse("be refused for its size"),
        },
        Command::Abort => match state {
            Draft | Validating | Validated | Queued => one(Event::Aborted),
            Running | TaskState::Publishing => one(Event::AbortRequested),
            Deleted => refuse("be aborted"),
            _ => Err(Refusal::AlreadyDone),
        },
        Command::Retry => match state {
            Error | Aborted | Diverged if record.can_run() => {
                let waiting_for = unfinished(context.inputs);
                let mut events = vec![Event::Retried { waiting_for }];
                let input = first_failed(context.inputs);
                events.extend(input.map(|input| failed(input_error(&input.task, Some(input)))));
                Ok(events)
            }
            Queued | Running | TaskState::Publishing => Err(Refusal::AlreadyDone),
            _ => refuse("be run again"),
        },
        Command::Delete => match state {
            Deleted => Err(Refusal::AlreadyDone),
            _ if !context.users.is_empty() => Err(Refusal::InUse { users: context.users.to_vec() }),
            _ => one(Event::Deleted),
        },
    }
}

fn one(event: Event) -> Result<Vec<Event>, Refusal> {
    Ok(vec![event])
}

const fn failed(error: TaskError) -> Event {
    Event::Failed { error, solver_version: None }
}

fn published(result: Option<Digest>, diverged: bool, solver_version: &Option<String>) -> Event {
    Event::Published { result, diverged, solver_version: solver_version.clone() }
}

/// Whether the task can be submitted now.
fn submission(record: &TaskRecord) -> Result<(), Refusal> {
    match record.state {
        TaskState::Validated => Ok(()),
        TaskState::Deleted => Err(Refusal::NotAllowed { state: record.state, verb: "be submitted" }),
        _ if record.submitted_at.is_some() => Err(Refusal::AlreadyDone),
        state => Err(Refusal::NotAllowed { state, verb: "be submitted" }),
    }
}

/// Whether the task waits for its input to be made. If not, somebody was faster, or it has ended or been sent back to
/// wait for a result.
fn unresolved(record: &TaskRecord) -> Result<(), Refusal> {
    if record.awaits_resolution() { Ok(()) } else { Err(Refusal::AlreadyDone) }
}

/// The state of a task whose worker speaks under this lease, which must be the current one.
fn held(record: &TaskRecord, lease: &LeaseId) -> Result<TaskState, Refusal> {
    if record.is_leased_by(lease) {
        Ok(record.state)
    } else {
        Err(Refusal::LeaseLost { lease: lease.clone() })
    }
}

/// As [`held`], but what comes a second time under the lease that has just ended is a repetition.
///
/// An ended lease cannot tell "the worker's own report ended it" from "it expired", except by what
/// became of the task: after an expiry the task waits for, or is in, another attempt, and the worker
/// must drop what it has. A repetition in that situation is answered the same way, which costs nothing.
fn reported(record: &TaskRecord, lease: &LeaseId) -> Result<TaskState, Refusal> {
    if record.last_lease.as_ref() == Some(lease) && record.lease.is_none() && record.state.is_final() {
        return Err(Refusal::AlreadyDone);
    }
    held(record, lease)
}

/// An infrastructure error is tried again until the attempts are used up; any other is final, for the
/// same input would end the same way.
fn after_failure(record: &TaskRecord, error: TaskError, context: &Context<'_>) -> Event {
    let used = record.failures.saturating_add(1);
    if error.kind == ErrorKind::Infrastructure && used < context.policy.maximum_attempts {
        Event::Requeued { error: Some(error) }
    } else {
        failed(error)
    }
}

fn after_lost_lease(record: &TaskRecord, lease: &LeaseId, context: &Context<'_>) -> Event {
    if record.state == TaskState::Aborting {
        return Event::Aborted;
    }
    let worker = record.lease.as_ref().map_or("unknown", |held| held.worker.as_str());
    let error = TaskError {
        kind: ErrorKind::Infrastructure,
        code: "worker.lost".to_owned(),
        message: format!(
            "The worker {worker} was lost during attempt {} (lease {lease}). If this keeps happening, look at \
             the worker's log and at the memory of its machine.",
            record.attempt
        ),
    };
    after_failure(record, error, context)
}

/// A validation that was cut off starts over when the client asks again. A publication that was cut off
/// goes back to running: the worker still has the result, and its lease is renewed so that it has time to
/// find the server again; if the worker is gone too, the lease ends by itself.
fn recovery(record: &TaskRecord, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
    if record.state == TaskState::Validating {
        return one(Event::ValidationInterrupted);
    }
    if record.lease.is_none() {
        return Err(Refusal::AlreadyDone);
    }
    let renewed = Event::LeaseRenewed { expires_at: context.now.plus(context.policy.lease_length) };
    Ok(if record.state == TaskState::Publishing {
        vec![Event::PublishingInterrupted, renewed]
    } else {
        vec![renewed]
    })
}

fn unfinished(inputs: &[Input]) -> Vec<TaskId> {
    let waiting = inputs.iter().filter(|input| input.state != Some(TaskState::Success));
    waiting.map(|input| input.task.clone()).collect()
}

/// The first dependency that can no longer succeed by itself.
fn first_failed(inputs: &[Input]) -> Option<&Input> {
    let failed =
        |input: &&Input| input.state.is_none_or(|state| state.is_final() && state != TaskState::Success);
    inputs.iter().find(failed)
}

/// The code of a task that failed because of one that it depends on.
const INPUT_FAILED: &str = "task.input_failed";

/// Characters of another task's error that are repeated.
const CAUSE: usize = 600;

fn input_error(input: &TaskId, known: Option<&Input>) -> TaskError {
    let known = known.filter(|known| known.state == Some(TaskState::Error));
    let error = known.and_then(|known| known.error.as_ref());
    let message = match error {
        // The one that it depends on has failed for the same reason: that is where the user has to look, however long
        // the chain is.
        Some(error) if error.code == INPUT_FAILED => error.message.clone(),
        error => {
            let cause = error.map_or("It was stopped or deleted.", |error| error.message.as_str());
            let cause: String = cause.chars().take(CAUSE).collect();
            format!(
                "A task that it depends on, {input}, ended without a result. Once that task is run again, this one \
                 is, too. What happened to that task: {cause}"
            )
        }
    };
    TaskError { kind: ErrorKind::Dependency, code: INPUT_FAILED.to_owned(), message }
}

fn oversize_error(record: &TaskRecord, largest_memory_bytes: u64) -> TaskError {
    let needed = record.estimate.map_or(0, |estimate| estimate.memory_bytes);
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    TaskError {
        kind: ErrorKind::Resources,
        code: "task.too_large".to_owned(),
        message: format!(
            "It is estimated to need {:.1} GB of memory, and the largest worker may use {:.1} GB. Use a \
             coarser grid, or give a worker more memory.",
            gigabytes(needed),
            gigabytes(largest_memory_bytes)
        ),
    }
}

fn effects_between(before: &TaskRecord, after: &TaskRecord, events: &[Event]) -> Vec<Effect> {
    let mut effects = Vec::new();
    if let Some(lease) = &before.lease {
        // A worker that has just spoken needs no call; one that is overruled does.
        let overruled = events.iter().any(|event| matches!(event, Event::AbortRequested | Event::Deleted));
        if overruled {
            effects.push(Effect::CancelLease { lease: lease.id.clone() });
        }
    }
    let ended = after.state.is_final() && (!before.state.is_final() || events.len() > 1);
    if ended {
        effects.push(Effect::NotifyDependents(if after.state == TaskState::Success {
            InputOutcome::Resolved
        } else {
            InputOutcome::Failed
        }));
        if after.state != TaskState::Deleted
            && let Some(url) = &after.task.callback
        {
            effects.push(Effect::PostCallback { url: url.clone() });
        }
    }
    let retried = matches!(events, [Event::Retried { .. }]);
    if retried {
        effects.push(Effect::NotifyDependents(InputOutcome::Retried));
    }
    if after.state == TaskState::Deleted && before.state != TaskState::Deleted {
        effects.push(Effect::ReleaseEverything);
    } else {
        if before.result.is_some() && after.result.is_none() {
            effects.push(Effect::ReleaseResult);
        }
        if retried_anew(before, after) {
            effects.push(Effect::ReleaseInput);
        }
    }
    if after.is_ready() && !before.is_ready() {
        effects.push(Effect::WakeScheduler);
    }
    if after.awaits_resolution() && !before.awaits_resolution() {
        effects.push(Effect::Resolve);
    }
    effects
}

/// Whether the task lost the input that was made for it, for another to be made.
const fn retried_anew(before: &TaskRecord, after: &TaskRecord) -> bool {
    after.template.is_some() && before.input.is_some() && after.input.is_none()
}
