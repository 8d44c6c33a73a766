//! Handles of tasks that failed because a task that they depend on did.
//!
//! When that one is run again the server runs them again, too. Their handles have ended and are no longer followed, so
//! after every retry the server is asked how they are.

use std::sync::{Arc, Mutex, Weak};

use wavetask_protocol::TaskState;
use wavetask_protocol::native::{MAXIMUM_TASKS, TaskAnswer, TaskSelection};

use super::Engine;
use crate::error::{ClientError, ErrorGroup};
use crate::server::TaskAction;
use crate::signal::lock;
use crate::task::TaskCell;

/// The handles that somebody still holds.
#[derive(Default)]
pub(crate) struct Fallen {
    cells: Mutex<Vec<Weak<TaskCell>>>,
}

impl std::fmt::Debug for Fallen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Fallen").field("handles", &lock(&self.cells).len()).finish()
    }
}

impl Fallen {
    /// Remembers a task that has just ended, if it may be run again without its user.
    pub(crate) fn note(&self, cell: &Arc<TaskCell>) {
        if is_fallen(cell) {
            let mut cells = lock(&self.cells);
            // Those that nobody holds any longer are dropped before the list would grow.
            if cells.len() == cells.capacity() {
                cells.retain(|cell| cell.strong_count() > 0);
            }
            cells.push(Arc::downgrade(cell));
        }
    }

    fn take(&self) -> Vec<Arc<TaskCell>> {
        let cells = std::mem::take(&mut *lock(&self.cells));
        cells.iter().filter_map(Weak::upgrade).filter(is_fallen).collect()
    }
}

/// Whether the task failed at the server because of another one.
fn is_fallen(cell: &Arc<TaskCell>) -> bool {
    cell.state.read(|state| {
        let for_another = |error: &ClientError| error.group == ErrorGroup::InputFailed;
        state.id.is_some() && state.status.error.as_ref().is_some_and(for_another)
    })
}

impl Engine {
    /// Follows again what the server runs again, or has run again.
    pub(crate) async fn follow_resumed(&self) {
        let cells = self.parts.fallen.take();
        for part in cells.chunks(MAXIMUM_TASKS) {
            let id = |cell: &Arc<TaskCell>| cell.state.read(|state| state.id.clone());
            let tasks = part.iter().filter_map(id).collect();
            let answers = self.server().act(TaskAction::Status, &TaskSelection { tasks, priority: 0 }).await;
            // Who cannot be asked now is asked after the next retry.
            let mut told = answers.ok().map(|answers| (answers.tasks.into_iter(), answers.last_event));
            for cell in part {
                match told.as_mut().and_then(|(tasks, last_event)| Some((tasks.next()?, *last_event))) {
                    Some((TaskAnswer::Task { task }, version)) if task.state != TaskState::Error => {
                        self.revive(cell, task.task.clone(), *task, version);
                    }
                    _ => self.parts.fallen.note(cell),
                }
            }
        }
    }
}
