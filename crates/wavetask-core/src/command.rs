//! What may be asked of a task, and the answers: a decision, or a refusal that says what to do next.

use std::time::Duration;

use wavetask_document::Digest;
use wavetask_protocol::{Estimate, LeaseId, Progress, TaskError, TaskId, TaskState, WorkerId};

use crate::event::Event;
use crate::record::{TaskRecord, Template};
use crate::time::Timestamp;

/// Something that a user, a worker or the server wants to happen to a task.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// A file of its upload has arrived: what was validated before no longer counts.
    ReceiveUpload,
    /// Begin to read and check the upload.
    StartValidation,
    /// The upload is good.
    AcceptUpload {
        /// What the task will need.
        estimate: Estimate,
        /// Canonical digest of the input document.
        input: Digest,
    },
    /// What was sent is good as far as that can be told before the tasks that it refers to have results.
    AcceptTemplate {
        /// What the input will be made of.
        template: Template,
        /// The tasks that the document itself refers to, besides those of the slots.
        references: Vec<TaskId>,
    },
    /// The upload cannot be run.
    RefuseUpload {
        /// Why.
        error: TaskError,
        /// Version of the solver that cannot run it; `None` if no solver was asked. Another version may.
        solver_version: Option<String>,
    },
    /// The upload could not be read to the end for a reason outside of it (no disk space): back to
    /// draft, to be validated again.
    InterruptValidation,
    /// Start it.
    Submit {
        /// Higher runs first.
        priority: i32,
    },
    /// Start it, and it is done at once: its result is known or made only when it is asked for.
    SubmitSolved {
        /// Canonical digest of the result document, if it has one.
        result: Option<Digest>,
        /// Version of the solver that found that result; `None` if no solver did, and then the task's result
        /// is never given to another task.
        solver_version: Option<String>,
    },
    /// One of its dependencies succeeded.
    ResolveInput {
        /// Which.
        input: TaskId,
    },
    /// Its input was made of the results that it refers to, and can be run.
    Resolve {
        /// What the task will need.
        estimate: Estimate,
        /// Canonical digest of the input document.
        input: Digest,
    },
    /// Its input was made of the results that it refers to, and another task of the account has solved it.
    ResolveSolved {
        /// What the task would need.
        estimate: Estimate,
        /// Canonical digest of the input document, the same for both.
        input: Digest,
        /// Canonical digest of the result document, if it has one.
        result: Option<Digest>,
        /// Version of the solver that found that result.
        solver_version: String,
    },
    /// Its input cannot be made of the results that it refers to, or cannot be run.
    RefuseResolution {
        /// Why.
        error: TaskError,
        /// Version of the solver that cannot run it; `None` if no solver was asked.
        solver_version: Option<String>,
    },
    /// One of its dependencies ended without success.
    FailInput {
        /// Which.
        input: TaskId,
    },
    /// One of its dependencies, for whose failure it failed, is run again: it waits once more. Changes
    /// nothing while another dependency stands failed.
    RetryAfterInput {
        /// Which.
        input: TaskId,
    },
    /// A worker takes it. The lease ends [`Policy::lease_length`] from now.
    Lease {
        /// The new lease's id, never used before.
        lease: LeaseId,
        /// Who takes it.
        worker: WorkerId,
    },
    /// Its worker is alive.
    Heartbeat {
        /// The worker's lease.
        lease: LeaseId,
        /// How far it is, if that is known.
        progress: Option<Progress>,
    },
    /// Its worker begins to hand over the result.
    BeginPublish {
        /// The worker's lease.
        lease: LeaseId,
    },
    /// Handing over the result was cut off or found no disk space; the worker keeps it and tries again.
    InterruptPublish {
        /// The worker's lease.
        lease: LeaseId,
    },
    /// The result is durable: make it visible.
    Publish {
        /// The worker's lease.
        lease: LeaseId,
        /// Canonical digest of the result document, if it has one.
        result: Option<Digest>,
        /// Whether the solution diverged.
        diverged: bool,
        /// Version of the solver: the result is good for the same input as long as the solver is the same.
        /// `None` if it is not known, and then the result is never given to another task.
        solver_version: Option<String>,
    },
    /// Its worker ended without a result.
    Fail {
        /// The worker's lease.
        lease: LeaseId,
        /// Why; infrastructure errors are tried again.
        error: TaskError,
        /// Version of the solver, if it is known: at what one version fails another may succeed.
        solver_version: Option<String>,
    },
    /// Its worker gives it back unharmed. Does not count as a failure.
    Return {
        /// The worker's lease.
        lease: LeaseId,
    },
    /// Its worker stopped it because it was told to.
    ConfirmAbort {
        /// The worker's lease.
        lease: LeaseId,
    },
    /// End the lease if its time is over.
    ExpireLease,
    /// End the lease before its time: its worker is known to be gone.
    LoseWorker {
        /// The lease that the worker held.
        lease: LeaseId,
    },
    /// The server has been restarted: go back to the last point that can be continued from.
    Recover,
    /// It needs more memory than any worker has.
    RefuseOversize {
        /// Memory of the largest worker in bytes.
        largest_memory_bytes: u64,
    },
    /// Stop it.
    Abort,
    /// Run it again.
    Retry,
    /// Delete it.
    Delete,
}

/// The rules that an operator may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Attempts in all before an infrastructure error is final.
    pub maximum_attempts: u32,
    /// How long a lease lasts after the last heartbeat.
    pub lease_length: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        // Ten, because none of these attempts is the task's fault: a crash of the solver itself, or want of
        // memory, is final at once, so only an operator or a failing machine can use them up.
        Self { maximum_attempts: 10, lease_length: Duration::from_secs(15) }
    }
}

/// One of the task's dependencies as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The dependency.
    pub task: TaskId,
    /// Where it stands; `None` if there is no such task.
    pub state: Option<TaskState>,
    /// Why it failed, if it did.
    pub error: Option<TaskError>,
}

/// What a decision depends on besides the record and the command.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time.
    pub now: Timestamp,
    /// The rules.
    pub policy: &'a Policy,
    /// The task's dependencies, read in the same transaction. Looked at by [`Command::Submit`],
    /// [`Command::SubmitSolved`], [`Command::FailInput`], [`Command::Retry`] and [`Command::RetryAfterInput`] only;
    /// may be empty for others.
    pub inputs: &'a [Input],
    /// Tasks that depend on this one, were submitted and have not ended, read in the same transaction.
    /// Looked at by [`Command::Delete`] only; may be empty for others.
    pub users: &'a [TaskId],
}

/// What a dependency's end means to those who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputOutcome {
    /// Its result is there: [`Command::ResolveInput`].
    Resolved,
    /// There will be none: [`Command::FailInput`].
    Failed,
    /// It is run again: [`Command::RetryAfterInput`].
    Retried,
}

/// Something to be done outside of the task because of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Tell the tasks that wait for this one, in the same transaction.
    NotifyDependents(InputOutcome),
    /// Announce the end at this address, once the transaction is durable.
    PostCallback {
        /// The address that the user gave.
        url: String,
    },
    /// The input document is no longer used: it will be made anew.
    ReleaseInput,
    /// The result document is no longer used.
    ReleaseResult,
    /// Input document, result document, log and uploaded files are no longer used.
    ReleaseEverything,
    /// The worker that holds or held this lease should stop: wake it if it can be reached.
    CancelLease {
        /// The lease.
        lease: LeaseId,
    },
    /// A task became ready: wake the workers that wait for one.
    WakeScheduler,
    /// The results that the task's input is made of are there: make it, and say what came of it
    /// ([`Command::Resolve`], [`Command::ResolveSolved`], [`Command::RefuseResolution`]).
    Resolve,
}

/// What follows from a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The record after all events.
    pub record: TaskRecord,
    /// What has happened, in order.
    pub events: Vec<Event>,
    /// What is to be done besides.
    pub effects: Vec<Effect>,
}

/// Why a command changes nothing, by what the caller should do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is so already: answer as if it had just been done. Requests may be repeated.
    #[error("this has been done already")]
    AlreadyDone,
    /// Not in this state: tell the caller.
    #[error("a task that is {state} cannot {verb}")]
    NotAllowed {
        /// Where the task stands.
        state: TaskState,
        /// What was wanted, as a verb.
        verb: &'static str,
    },
    /// The lease is not, or no longer, the task's: the worker should drop the work.
    #[error("the lease {lease} is no longer valid")]
    LeaseLost {
        /// The lease that was named.
        lease: LeaseId,
    },
    /// The user wants the task stopped: the worker should drop the work, and the caller may apply
    /// [`Command::ConfirmAbort`] in its name.
    #[error("the task is being aborted")]
    AbortRequested,
    /// Others depend on it and have not ended: delete or stop them first.
    #[error("the task is still needed by {}", named(users))]
    InUse {
        /// Who needs it.
        users: Vec<TaskId>,
    },
    /// It refers to a task that it was not created to depend on: change what it refers to, or make another task.
    #[error("the task was not created to depend on {task}, which it refers to now")]
    NotADependency {
        /// What it refers to.
        task: TaskId,
    },
    /// The lease has not ended yet: nothing to do.
    #[error("the lease has not ended yet")]
    LeaseStillValid,
}

impl Refusal {
    /// A stable code for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AlreadyDone => "task.already_done",
            Self::NotAllowed { .. } => "task.not_allowed",
            Self::LeaseLost { .. } => "lease.lost",
            Self::AbortRequested => "task.abort_requested",
            Self::InUse { .. } => "task.in_use",
            Self::NotADependency { .. } => "task.not_a_dependency",
            Self::LeaseStillValid => "lease.still_valid",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::AlreadyDone => "nothing to do",
            Self::NotAllowed { .. } => "look at the task's state first",
            Self::LeaseLost { .. } => "drop the work: another worker has it or will get it",
            Self::AbortRequested => "stop the solver and confirm",
            Self::InUse { .. } => "wait for the tasks that need it, or stop or delete them first",
            Self::NotADependency { .. } => "use another idempotency key: other references make another task",
            Self::LeaseStillValid => "wait until it has ended",
        }
    }
}

/// The first few of these tasks, and how many there are besides.
fn named(tasks: &[TaskId]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = tasks.iter().take(SHOWN).map(TaskId::as_str).collect();
    let rest = tasks.len().saturating_sub(SHOWN);
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    format!("{}{more}", shown.join(", "))
}
