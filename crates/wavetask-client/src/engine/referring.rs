//! How members are made that refer to others, for when those are tasks.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use wavetask_protocol::TaskId;

use super::{Engine, packing};
use crate::error::{ClientError, ErrorGroup};
use crate::flow::{Input, MemberId, SubmissionId};
use crate::member::PackedSimulation;
use crate::signal::lock;
use crate::task::Task;

type Make = Box<dyn FnOnce() + Send>;

/// Members that wait for others, and what makes them.
#[derive(Default)]
pub(crate) struct Referring {
    waiting: Mutex<HashMap<MemberId, Make>>,
}

impl fmt::Debug for Referring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Referring").field("waiting", &lock(&self.waiting).len()).finish()
    }
}

impl Referring {
    /// What makes a member, once.
    pub(crate) fn take(&self, member: MemberId) -> Option<Make> {
        lock(&self.waiting).remove(&member)
    }
}

/// Has a member made of the ids of these tasks as soon as all of them have one.
pub(crate) fn refer(
    engine: &Arc<Engine>,
    submission: SubmissionId,
    task: &Task,
    others: Vec<Task>,
    make: impl FnOnce(&[TaskId]) -> Result<PackedSimulation, ClientError> + Send + 'static,
) {
    let member = task.cell.state.read(|state| state.member);
    // Those of another engine are asked for what they know.
    let own = others.iter().filter(|other| Arc::ptr_eq(&other.cell.engine, engine));
    let needs = own.map(|other| other.cell.state.read(|state| state.member)).collect();
    let (own_engine, own_task) = (engine.clone(), task.clone());
    let made = move || {
        let ids: Result<Vec<TaskId>, ClientError> = others.iter().map(id).collect();
        match ids.and_then(|ids| make(&ids)) {
            Ok(simulation) => packing::hand_over(&own_engine, submission, &own_task, simulation),
            Err(error) => packing::fail(&own_engine, submission, &own_task, error),
        }
    };
    lock(&engine.parts.referring.waiting).insert(member, Box::new(made));
    engine.send(Input::Refers { member, needs });
}

/// The id of a task that is referred to.
fn id(other: &Task) -> Result<TaskId, ClientError> {
    other.id().ok_or_else(|| {
        let message = format!("`{}`, which it refers to, did not become a task of the server.", other.name());
        let error = ClientError::new(ErrorGroup::InputFailed, "task.input_not_submitted", message);
        match other.status().error {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    })
}
