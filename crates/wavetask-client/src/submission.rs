//! Submitting: members come one by one, from any thread, and leave as they come.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use wavetask_protocol::TaskId;

use crate::batch::Batch;
use crate::engine::referring::{self, Awaited};
use crate::engine::{Engine, packing};
use crate::error::{ClientError, ErrorGroup};
use crate::flow::{Input, SubmissionId};
use crate::member::PackedSimulation;
use crate::status::Phase;
use crate::task::{Task, TaskCell};

/// What holds for all members of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmissionOptions {
    /// The batch's name, unique within the account: submitting to a name that exists updates that batch. `None`
    /// makes one from the program's name and the time.
    pub name: Option<String>,
    /// Words to find the batch by.
    pub tags: Vec<String>,
    /// Whether a result that is known for the same content will do. Without it, every submission runs anew. One that was
    /// cut off before something was decided about all of its members goes on when it is repeated: under its name, or,
    /// if it has none, by the same program with the same first member.
    pub cache: bool,
    /// Whether tasks wait to be started by [`Task::start`](crate::Task::start).
    pub hold: bool,
    /// Whether results stay on the server until they are asked for.
    pub lazy: bool,
    /// The folder that the tasks are kept in.
    pub folder: String,
    /// Higher runs first.
    pub priority: i32,
    /// Tasks that must succeed before these start, unless their results are known. [`Pending::after`] takes such as the
    /// server does not know yet.
    pub after: Vec<TaskId>,
    /// What to name a batch after that has no name, and to know it by if it is cut off; `None` is this program. An
    /// interpreter names the script.
    pub program: Option<String>,
}

impl Default for SubmissionOptions {
    fn default() -> Self {
        Self {
            name: None,
            tags: Vec::new(),
            cache: true,
            hold: false,
            lazy: false,
            folder: "default".to_owned(),
            priority: 0,
            after: Vec::new(),
            program: None,
        }
    }
}

/// What holds for one member.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemberOptions {
    /// Its name within the batch, unique there: `I=4mA`, or `0`; paths of nested containers are joined with `/`.
    pub key: String,
    /// Its task's name for people; `None` is the key.
    pub name: Option<String>,
    /// Numbers, texts and truth values to find it by.
    pub parameters: BTreeMap<String, Value>,
}

/// A submission under way: add members, then [`finish`](Self::finish). Dropping it finishes it, too.
pub struct Submission {
    engine: Arc<Engine>,
    id: SubmissionId,
    batch: Batch,
    finished: bool,
}

impl fmt::Debug for Submission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Submission").field("batch", &self.batch).finish_non_exhaustive()
    }
}

impl Submission {
    pub(crate) const fn new(engine: Arc<Engine>, id: SubmissionId, batch: Batch) -> Self {
        Self { engine, id, batch, finished: false }
    }

    /// The batch, to which members are being added.
    pub const fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Announces a member that is still to be packed, so that there is a handle for it at once.
    ///
    /// # Errors
    /// `Usage` if the batch has a member of this key, or the key is none.
    pub fn add(&self, options: MemberOptions) -> Result<Pending, ClientError> {
        let MemberOptions { key, name, parameters } = options;
        if key.is_empty() || key.len() > 1_000 || key.chars().any(char::is_control) {
            let message = "A member's key has 1 to 1000 bytes and no control characters.";
            return Err(ClientError::new(ErrorGroup::Usage, "member.bad_key", message));
        }
        let member = self.engine.new_member();
        let name = name.unwrap_or_else(|| key.clone());
        let batch = self.batch.cell();
        let cell = batch.add(&key, |position| {
            let identity = (key.clone(), name, position, parameters);
            TaskCell::new(self.engine.clone(), Arc::downgrade(batch), identity, member, None, Phase::Packing)
        });
        let Some(cell) = cell else {
            let message = format!("The batch has a member `{key}` already.");
            return Err(ClientError::new(ErrorGroup::Usage, "member.key_taken", message));
        };
        self.engine.register(member, &cell);
        self.engine.send(Input::Announced { member, submission: self.id });
        let (engine, submission, task) = (self.engine.clone(), self.id, Task { cell });
        Ok(Pending { engine, submission, task, after: Vec::new(), packed: false })
    }

    /// Adds a member that is packed, or that could not be. Blocks only while the byte budget is used up.
    ///
    /// # Errors
    /// As [`add`](Self::add). An error of packing is the member's own: it is in its status.
    pub fn push(
        &self,
        options: MemberOptions,
        simulation: Result<PackedSimulation, ClientError>,
    ) -> Result<Task, ClientError> {
        let pending = self.add(options)?;
        let task = pending.task().clone();
        pending.packed(simulation);
        Ok(task)
    }

    /// No more members come. The batch.
    pub fn finish(mut self) -> Batch {
        self.end();
        self.batch.clone()
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            self.batch.cell().seal();
            self.engine.send(Input::Sealed { submission: self.id });
        }
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        self.end();
    }
}

/// A member that is announced and not yet packed. Dropped unpacked, its task fails.
#[derive(Debug)]
pub struct Pending {
    engine: Arc<Engine>,
    submission: SubmissionId,
    task: Task,
    after: Vec<Task>,
    packed: bool,
}

impl Pending {
    /// The task that it will be.
    pub const fn task(&self) -> &Task {
        &self.task
    }

    /// Tasks that must succeed before this one starts, besides those of the submission. They need not be known to the
    /// server yet: this one is named as soon as they are, and fails with `InputFailed` if one of them never becomes a
    /// task.
    pub fn after(&mut self, tasks: Vec<Task>) {
        self.after = tasks;
    }

    /// Hands the member over, or the reason why it could not be packed. From any thread; blocks only while the
    /// byte budget is used up.
    pub fn packed(mut self, simulation: Result<PackedSimulation, ClientError>) {
        match simulation {
            Ok(simulation) if self.after.is_empty() => {
                self.packed = true;
                packing::hand_over(&self.engine, self.submission, &self.task, simulation, &[]);
            }
            Ok(simulation) => {
                let bytes = simulation.bytes();
                self.refers(Vec::new(), bytes, move |_| Ok(simulation));
            }
            Err(error) => {
                self.packed = true;
                self.fail(error);
            }
        }
    }

    /// Hands over a member that names other tasks: it is made of their ids, in this order, as soon as the server has
    /// accepted all of them. If one never becomes a task, this one fails with `InputFailed`. `bytes` is what `make` holds
    /// until then; blocks while members of its submission hold too many of them.
    pub fn refers(
        mut self,
        others: Vec<Task>,
        bytes: u64,
        make: impl FnOnce(&[TaskId]) -> Result<PackedSimulation, ClientError> + Send + 'static,
    ) {
        self.packed = true;
        if !self.after.is_empty() && !self.engine.server().evaluates() {
            self.fail(no_order());
            return;
        }
        let awaited = Awaited { others, after: std::mem::take(&mut self.after) };
        referring::refer(&self.engine, self.submission, &self.task, awaited, bytes, make);
    }

    fn fail(&self, error: ClientError) {
        packing::fail(&self.engine, self.submission, &self.task, error);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.packed {
            let message = "The simulation was announced and never handed over.";
            self.fail(ClientError::new(ErrorGroup::Usage, "member.not_packed", message));
        }
    }
}

/// Why nothing runs after other tasks on a server that does not hold tasks back.
pub(crate) fn no_order() -> ClientError {
    let message = "This server cannot have tasks wait for others: `after` is not supported by its protocol.";
    ClientError::new(ErrorGroup::Usage, "submit.after_unsupported", message)
        .hint("Wait for the others, then submit these.")
}
