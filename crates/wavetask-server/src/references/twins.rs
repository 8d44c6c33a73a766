//! Tasks whose inputs turn out to be the same while none of them has a result: one is computed, the others wait for it.
//!
//! When a task succeeds, everything that was to be made of it is resolved at once; what is equal among that (the same
//! expression in many batches, say) is known to be so only then. The first to be resolved goes to a worker. The others
//! stay unresolved until it has ended, however that is: then its result is known, or the next of them goes.
//!
//! Only this process's memory says who waits for whom. After a restart the others are found as unresolved tasks again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use wavetask_core::TaskRecord;
use wavetask_document::Digest;
use wavetask_protocol::{KeyId, TaskId, TaskKind};
use wavetask_store::{EventListener, LoggedEvent};

use crate::answer::Refused;
use crate::app::App;

/// What two tasks have in common that have the same result.
type Input = (KeyId, TaskKind, Digest);

/// Whose inputs are being made, and whose ends are waited for.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    made: HashMap<Input, TaskId>,
    awaited: HashSet<TaskId>,
    over: Vec<TaskId>,
}

/// A task's right to make this input, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    twins: Arc<Twins>,
    input: Input,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.twins.state().made.remove(&self.input);
    }
}

impl Twins {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that nobody else makes this input at the same time; the task that does if somebody does.
    fn claim(self: &Arc<Self>, record: &TaskRecord, input: &Digest) -> Result<Claim, TaskId> {
        let input = (record.owner().clone(), record.task.kind, *input);
        let mut state = self.state();
        match state.made.get(&input) {
            Some(other) => Err(other.clone()),
            None => {
                state.made.insert(input.clone(), record.id().clone());
                drop(state);
                Ok(Claim { twins: Arc::clone(self), input })
            }
        }
    }

    /// The end of this task will be told.
    pub(super) fn wait_for(&self, task: &TaskId) {
        self.state().awaited.insert(task.clone());
    }

    /// Whether the end of this task is still to be told.
    pub(super) fn is_awaited(&self, task: &TaskId) -> bool {
        self.state().awaited.contains(task)
    }

    /// Tells the end of a task to those that wait for it.
    pub(super) fn end(&self, task: &TaskId) {
        let mut state = self.state();
        if let Some(task) = state.awaited.take(task) {
            state.over.push(task);
            self.ended.notify_waiters();
        }
    }

    /// Becomes ready when a task has ended that was waited for.
    pub(super) fn ended(&self) -> Notified<'_> {
        self.ended.notified()
    }

    /// The tasks that have ended since this was asked for last, of those that were waited for.
    pub(super) fn over(&self) -> Vec<TaskId> {
        std::mem::take(&mut self.state().over)
    }
}

impl EventListener for Twins {
    fn committed(&self, events: &[LoggedEvent]) {
        for event in events.iter().filter(|event| event.state.is_final()) {
            self.end(&event.task);
        }
    }

    fn progressed(&self, _: &[TaskId]) {}
}

/// The right to make this input; the task to wait for if another one with this input is under way. Blocks.
pub(super) fn claim(
    app: &App,
    record: &TaskRecord,
    input: &Digest,
) -> Result<Result<Claim, TaskId>, Refused> {
    let claim = match app.twins.claim(record, input) {
        Ok(claim) => claim,
        Err(other) => return Ok(Err(other)),
    };
    // What is more urgent does not wait for what is less, and nobody for what waits for others itself.
    let is_twin = |other: &TaskRecord| {
        other.task.kind == record.task.kind
            && other.id() != record.id()
            && other.priority >= record.priority
            && other.waiting_for.is_empty()
    };
    let unfinished = app.tasks.unfinished_tasks(record.owner(), input, LOOKED_AT)?;
    Ok(match unfinished.into_iter().find(is_twin) {
        Some(other) => Err(other.task.id),
        None => Ok(claim),
    })
}

/// Unfinished tasks with the same input that are looked at.
const LOOKED_AT: usize = 8;
