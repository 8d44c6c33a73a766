//! How members are made that refer to others, or run after them, for when those are tasks.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use wavetask_protocol::TaskId;

use super::{Engine, packing};
use crate::error::{ClientError, ErrorGroup};
use crate::flow::{Input, MemberId, SubmissionId};
use crate::member::PackedSimulation;
use crate::signal::Signal;
use crate::task::Task;

/// What makes a member.
pub(crate) type Make = Box<dyn FnOnce() + Send>;

/// Bytes that the members of one submission hold while they wait for others, before whoever packs them waits, too. Each
/// submission has its own: those that others wait for are never kept from leaving by those that wait.
const WAITING: u64 = 64 << 20;

/// Members that wait for others, and what makes them.
pub(crate) struct Referring {
    waiting: Signal<Waiting>,
}

#[derive(Default)]
struct Waiting {
    members: HashMap<MemberId, (SubmissionId, u64, Make)>,
    /// What the members of a submission hold.
    bytes: HashMap<SubmissionId, u64>,
}

impl Default for Referring {
    fn default() -> Self {
        Self { waiting: Signal::new(Waiting::default()) }
    }
}

impl fmt::Debug for Referring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiting.read(|waiting| waiting.members.len());
        formatter.debug_struct("Referring").field("waiting", &waiting).finish()
    }
}

impl Referring {
    /// What makes a member, once.
    pub(crate) fn take(&self, member: MemberId) -> Option<Make> {
        // Most members wait for nobody, and whoever waits need not be woken for them.
        if !self.waiting.read(|waiting| waiting.members.contains_key(&member)) {
            return None;
        }
        self.waiting.change(|waiting| {
            let (submission, bytes, make) = waiting.members.remove(&member)?;
            if let Some(held) = waiting.bytes.get_mut(&submission) {
                *held -= bytes;
                if *held == 0 {
                    waiting.bytes.remove(&submission);
                }
            }
            Some(make)
        })
    }

    fn put(&self, member: MemberId, submission: SubmissionId, bytes: u64, make: Make) {
        self.waiting.change(|waiting| {
            waiting.members.insert(member, (submission, bytes, make));
            *waiting.bytes.entry(submission).or_default() += bytes;
        });
    }

    /// Blocks while the members of a submission hold more than they should.
    fn wait(&self, submission: SubmissionId) {
        let few = |waiting: &mut Waiting| waiting.bytes.get(&submission).is_none_or(|held| *held <= WAITING);
        self.waiting.wait(None, |waiting| few(waiting).then_some(()));
    }
}

/// Whom a member waits for.
pub(crate) struct Awaited {
    /// Those that it is made of, in this order.
    pub(crate) others: Vec<Task>,
    /// Those that must succeed before it starts.
    pub(crate) after: Vec<Task>,
}

/// Has a member made of the ids of others as soon as all that it waits for have one. `bytes` is what that holds.
pub(crate) fn refer(
    engine: &Arc<Engine>,
    submission: SubmissionId,
    task: &Task,
    awaited: Awaited,
    bytes: u64,
    make: impl FnOnce(&[TaskId]) -> Result<PackedSimulation, ClientError> + Send + 'static,
) {
    let member = task.cell.state.read(|state| state.member);
    // Those of another engine are asked for what they know.
    let all = awaited.others.iter().chain(&awaited.after);
    let own = all.filter(|other| Arc::ptr_eq(&other.cell.engine, engine));
    let needs = own.map(|other| other.cell.state.read(|state| state.member)).collect();
    let (own_engine, own_task) = (engine.clone(), task.clone());
    let made = move || {
        let Awaited { others, after } = awaited;
        let ids = |tasks: &[Task]| tasks.iter().map(id).collect::<Result<Vec<TaskId>, ClientError>>();
        let found = ids(&others).and_then(|others| Ok((others, ids(&after)?)));
        match found.and_then(|(others, after)| Ok((make(&others)?, after))) {
            Ok((simulation, after)) => {
                packing::hand_over(&own_engine, submission, &own_task, simulation, &after);
            }
            Err(error) => packing::fail(&own_engine, submission, &own_task, error),
        }
    };
    engine.parts.referring.put(member, submission, bytes, Box::new(made));
    engine.send(Input::Refers { member, needs });
    engine.parts.referring.wait(submission);
}

/// The id of a task that is waited for.
fn id(other: &Task) -> Result<TaskId, ClientError> {
    other.id().ok_or_else(|| {
        let message = format!("`{}`, which it waits for, did not become a task of the server.", other.name());
        let cause = other.status().error;
        // Where nothing was decided about the other, nothing is decided about this one.
        let group = match &cause {
            Some(cause) if cause.is_resumable() => cause.group,
            _ => ErrorGroup::InputFailed,
        };
        let error = ClientError::new(group, "task.input_not_submitted", message);
        match cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_packs_waits_while_too_much_is_held_for_others_of_its_submission() {
        let referring = Arc::new(Referring::default());
        let (one, other) = (SubmissionId(1), SubmissionId(2));
        for member in 0..2 {
            referring.put(MemberId(member), one, WAITING, Box::new(|| {}));
        }
        referring.put(MemberId(2), other, WAITING, Box::new(|| {}));
        referring.wait(other);
        let passed = Arc::new(AtomicBool::new(false));
        let waiting = std::thread::spawn({
            let (referring, passed) = (referring.clone(), passed.clone());
            move || {
                referring.wait(one);
                passed.store(true, Ordering::SeqCst);
            }
        });
        assert!(referring.take(MemberId(2)).is_some() && referring.take(MemberId(2)).is_none());
        std::thread::sleep(Duration::from_millis(50));
        assert!(!passed.load(Ordering::SeqCst), "another submission's bytes are no concern of it");
        assert!(referring.take(MemberId(0)).is_some());
        waiting.join().unwrap();
    }
}
