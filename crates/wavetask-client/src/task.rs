//! One task, as its user holds it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Instant;

use serde_json::Value;
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{LogPart, LogQuery, TaskSummary};

use crate::batch::{Batch, BatchCell};
use crate::engine::{Engine, save};
use crate::error::{ClientError, ErrorGroup};
use crate::flow::{Input, MemberId};
use crate::result::ResultDocument;
use crate::server::TaskAction;
use crate::signal::Signal;
use crate::status::{Phase, TaskStatus};

/// A task on its way from packing to its result.
///
/// A handle: cheap to clone, usable from any thread, with a blocking and an async form of each operation that
/// waits. The work goes on whether anybody holds it or not.
#[derive(Clone)]
pub struct Task {
    pub(crate) cell: Arc<TaskCell>,
}

/// What all handles of a task share.
pub(crate) struct TaskCell {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) position: usize,
    pub(crate) parameters: BTreeMap<String, Value>,
    pub(crate) batch: Weak<BatchCell>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) state: Signal<TaskCellState>,
}

pub(crate) struct TaskCellState {
    /// What the flow calls it now: a task that is run again gets a new name.
    pub(crate) member: MemberId,
    pub(crate) id: Option<TaskId>,
    pub(crate) status: TaskStatus,
    /// Whether its user wants it stopped.
    pub(crate) unwanted: bool,
    /// Whether its user wants it started once it is held.
    pub(crate) to_start: bool,
    on_done: Vec<OnDone>,
    on_change: Vec<OnChange>,
}

type OnDone = Box<dyn FnOnce(&Task) + Send>;
type OnChange = Arc<dyn Fn(&Task, &TaskStatus) + Send + Sync>;

impl TaskCell {
    pub(crate) fn new(
        engine: Arc<Engine>,
        batch: Weak<BatchCell>,
        identity: (String, String, usize, BTreeMap<String, Value>),
        member: MemberId,
        id: Option<TaskId>,
        phase: Phase,
    ) -> Arc<Self> {
        let (key, name, position, parameters) = identity;
        let status = TaskStatus::new(phase);
        let (unwanted, to_start, on_done, on_change) = (false, false, Vec::new(), Vec::new());
        let state = TaskCellState { member, id, status, unwanted, to_start, on_done, on_change };
        Arc::new(Self { key, name, position, parameters, batch, engine, state: Signal::new(state) })
    }

    /// Changes the status as the flow says, and tells everybody. `id` is set once it is known.
    pub(crate) fn update(self: &Arc<Self>, member: MemberId, change: impl FnOnce(&mut TaskCellState)) {
        let told = self.state.change(|state| {
            // News of an earlier run.
            if state.member != member {
                return None;
            }
            let was_final = state.status.phase.is_final();
            change(state);
            let is_final = state.status.phase.is_final();
            let done = if is_final { std::mem::take(&mut state.on_done) } else { Vec::new() };
            let listeners = state.on_change.clone();
            let status = if listeners.is_empty() { None } else { Some(state.status.clone()) };
            Some((done, listeners, status, is_final && !was_final))
        });
        let Some((done, listeners, status, ended)) = told else { return };
        if let Some(batch) = self.batch.upgrade() {
            batch.news(self.position, ended);
        }
        let task = Task { cell: self.clone() };
        if let Some(status) = status {
            for listener in listeners {
                listener(&task, &status);
            }
        }
        for callback in done {
            callback(&task);
        }
    }
}

impl fmt::Debug for TaskCell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TaskCell").field("key", &self.key).finish_non_exhaustive()
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, phase) = self.cell.state.read(|state| (state.id.clone(), state.status.phase));
        formatter
            .debug_struct("Task")
            .field("key", &self.cell.key)
            .field("id", &id)
            .field("phase", &phase)
            .finish_non_exhaustive()
    }
}

impl Task {
    /// Its name within its batch.
    pub fn key(&self) -> &str {
        &self.cell.key
    }

    /// Its name for people.
    pub fn name(&self) -> &str {
        &self.cell.name
    }

    /// Its place within its batch.
    pub fn position(&self) -> usize {
        self.cell.position
    }

    /// Numbers, texts and truth values that it can be found by.
    pub fn parameters(&self) -> &BTreeMap<String, Value> {
        &self.cell.parameters
    }

    /// Its batch, unless it was opened by itself.
    pub fn batch(&self) -> Option<Batch> {
        self.cell.batch.upgrade().map(Batch::from_cell)
    }

    /// Its id on the server, once the server has accepted it.
    pub fn id(&self) -> Option<TaskId> {
        self.cell.state.read(|state| state.id.clone())
    }

    /// Where it stands, as far as it is known here; asks nobody.
    pub fn status(&self) -> TaskStatus {
        self.cell.state.read(|state| state.status.clone())
    }

    /// Whether it has ended in one way or another.
    pub fn is_done(&self) -> bool {
        self.cell.state.read(|state| state.status.phase.is_final())
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// `TimedOut` at the deadline; the task goes on.
    pub fn wait(&self, deadline: Option<Instant>) -> Result<TaskStatus, ClientError> {
        self.cell.state.wait(deadline, ended).ok_or_else(timed_out)
    }

    /// As [`wait`](Self::wait), for async code of any runtime.
    pub async fn wait_async(&self) -> TaskStatus {
        self.cell.state.until(ended).await
    }

    /// Waits until the server has accepted it, or it has ended: from then on, it needs this program no more.
    ///
    /// # Errors
    /// `TimedOut` at the deadline; the task goes on.
    pub fn wait_placed(&self, deadline: Option<Instant>) -> Result<TaskStatus, ClientError> {
        self.cell.state.wait(deadline, placed).ok_or_else(timed_out)
    }

    /// Calls this once when it has ended; at once if it has. From a thread of the engine: be quick.
    pub fn on_done(&self, callback: impl FnOnce(&Self) + Send + 'static) {
        let mut callback = Some(callback);
        self.cell.state.change(|state| {
            if !state.status.phase.is_final()
                && let Some(callback) = callback.take()
            {
                state.on_done.push(Box::new(callback));
            }
        });
        if let Some(callback) = callback {
            callback(self);
        }
    }

    /// Calls this with each change of its status. From a thread of the engine: be quick.
    pub fn on_change(&self, callback: impl Fn(&Self, &TaskStatus) + Send + Sync + 'static) {
        let callback: OnChange = Arc::new(callback);
        self.cell.state.change(|state| state.on_change.push(callback));
    }

    /// Its result, as soon as there is one.
    ///
    /// # Errors
    /// `TimedOut` at the deadline; otherwise why there is no result.
    pub fn result(&self, deadline: Option<Instant>) -> Result<ResultDocument, ClientError> {
        let status = self.wait(deadline)?;
        let task = self.succeeded(status)?;
        match self.cell.engine.cached_result(&task) {
            Some(result) => Ok(result),
            None => self.cell.engine.block(fetch_result(self.cell.engine.clone(), task)),
        }
    }

    /// As [`result`](Self::result), for async code of any runtime.
    ///
    /// # Errors
    /// Why there is no result.
    pub async fn result_async(&self) -> Result<ResultDocument, ClientError> {
        let status = self.wait_async().await;
        let task = self.succeeded(status)?;
        match self.cell.engine.cached_result(&task) {
            Some(result) => Ok(result),
            None => self.cell.engine.run(fetch_result(self.cell.engine.clone(), task)).await,
        }
    }

    /// Its simulation, which needs no result: text and descriptors, the arrays when they are asked for.
    ///
    /// # Errors
    /// `Usage` if it is not on the server yet; `NotFound` while results that it is made of are not there, and where
    /// the server gives no simulations; else those of the connection.
    pub fn simulation(&self) -> Result<ResultDocument, ClientError> {
        let task = self.on_server()?;
        let engine = self.cell.engine.clone();
        self.cell.engine.block(async move {
            let document = engine.server().simulation(&task).await?;
            Ok(ResultDocument::new(engine.clone(), task, Arc::new(document), false))
        })
    }

    fn succeeded(&self, status: TaskStatus) -> Result<TaskId, ClientError> {
        match (status.phase, status.error, self.id()) {
            (Phase::Done, _, Some(task)) => Ok(task),
            (_, Some(error), _) => Err(error),
            (phase, None, _) => Err(ClientError::new(
                ErrorGroup::Internal,
                "task.no_result",
                format!("The task is {phase} and says nothing about why."),
            )),
        }
    }

    /// Why it ended without a result, as soon as it has ended; `None` if it has one.
    ///
    /// # Errors
    /// `TimedOut` at the deadline.
    pub fn error(&self, deadline: Option<Instant>) -> Result<Option<ClientError>, ClientError> {
        self.wait(deadline).map(|status| status.error)
    }

    /// Stops it, wherever it is; returns at once. One that has ended is left as it is.
    pub fn cancel(&self) {
        let member = self.cell.state.change(|state| {
            state.unwanted = true;
            state.member
        });
        self.cell.engine.send(Input::Wanted { member, action: TaskAction::Cancel });
    }

    /// Whether it has ended, and not well.
    pub(crate) fn is_unsuccessful(&self) -> bool {
        let status = self.status();
        matches!(status.phase, Phase::Failed | Phase::Cancelled) || status.diverged
    }

    /// Leaves its result on the server until it is asked for: others are made of it there. One that is on its way here
    /// comes all the same.
    pub fn leave_result(&self) {
        let member = self.cell.state.read(|state| state.member);
        self.cell.engine.send(Input::LeftThere { member });
    }

    /// Runs it again if it ended without success; returns once the server has agreed. What failed at the server because
    /// of it is run again by the server, when it has ended well; handles of this connection follow that.
    ///
    /// # Errors
    /// `Usage` if the server never had it or it cannot be run again, else those of the connection.
    pub fn retry(&self) -> Result<(), ClientError> {
        self.cell.engine.block(act(self.clone(), TaskAction::Retry))
    }

    /// As [`retry`](Self::retry), for async code of any runtime.
    ///
    /// # Errors
    /// As [`retry`](Self::retry).
    pub async fn retry_async(&self) -> Result<(), ClientError> {
        self.cell.engine.run(act(self.clone(), TaskAction::Retry)).await
    }

    /// Starts it if it was submitted with `hold`. One that is still on its way to the server is started when it is
    /// there, as long as this process lives.
    ///
    /// # Errors
    /// `Usage` if it cannot be started, else those of the connection.
    pub fn start(&self) -> Result<(), ClientError> {
        let coming = self.cell.state.change(|state| {
            state.to_start = is_on_its_way(state.status.phase);
            state.to_start.then_some(state.member)
        });
        if let Some(member) = coming {
            self.cell.engine.send(Input::Wanted { member, action: TaskAction::Start });
            return Ok(());
        }
        self.cell.engine.block(act(self.clone(), TaskAction::Start))
    }

    /// Starts it as soon as the server holds it.
    pub(crate) fn start_when_held(&self) {
        let member = self.cell.state.read(|state| state.member);
        self.cell.engine.send(Input::Wanted { member, action: TaskAction::Start });
    }

    /// Deletes it with its result.
    ///
    /// # Errors
    /// `Usage` if it is not on the server, else those of the connection.
    pub fn delete(&self) -> Result<(), ClientError> {
        self.cell.engine.block(act(self.clone(), TaskAction::Delete))
    }

    /// A part of its log.
    ///
    /// # Errors
    /// `Usage` if it is not on the server yet, else those of the connection.
    pub fn log(&self, query: &LogQuery) -> Result<LogPart, ClientError> {
        let task = self.on_server()?;
        let (server, query) = (self.cell.engine.server().clone(), query.clone());
        self.cell.engine.block(async move { server.log(&task, &query).await })
    }

    /// What the server says about it now.
    ///
    /// # Errors
    /// `Usage` if it is not on the server yet, else those of the connection.
    pub fn summary(&self) -> Result<TaskSummary, ClientError> {
        let task = self.on_server()?;
        let engine = self.cell.engine.clone();
        self.cell.engine.block(async move { engine.look(&task).await.map(|(summary, _)| summary) })
    }

    /// Writes its result as an HDF5 file that tidy3d reads, as soon as there is a result.
    ///
    /// The file is built beside the path as `<path>.partial`, and takes its place once it is whole and durable.
    /// An earlier attempt that was cut off goes on where it stopped: blocks that are in the partial file with the
    /// right bytes are not fetched again.
    ///
    /// # Errors
    /// As [`result`](Self::result); `Usage` if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, deadline: Option<Instant>) -> Result<(), ClientError> {
        let result = self.result(deadline)?;
        let (engine, path) = (self.cell.engine.clone(), path.as_ref().to_owned());
        self.cell.engine.block(async move { save::save(engine, result, path).await })
    }

    /// As [`save`](Self::save), for async code of any runtime.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn save_async(&self, path: impl AsRef<Path>) -> Result<(), ClientError> {
        let result = self.result_async().await?;
        let (engine, path) = (self.cell.engine.clone(), path.as_ref().to_owned());
        self.cell.engine.run(async move { save::save(engine, result, path).await }).await
    }

    pub(crate) fn on_server(&self) -> Result<TaskId, ClientError> {
        self.id().ok_or_else(|| {
            ClientError::new(ErrorGroup::Usage, "task.not_placed", "The task is not on the server yet.")
                .hint("Wait for it, or for its batch, first.")
        })
    }
}

fn ended(state: &mut TaskCellState) -> Option<TaskStatus> {
    state.status.phase.is_final().then(|| state.status.clone())
}

fn placed(state: &mut TaskCellState) -> Option<TaskStatus> {
    (!is_on_its_way(state.status.phase)).then(|| state.status.clone())
}

/// Whether the server does not have all of a task yet.
pub(crate) const fn is_on_its_way(phase: Phase) -> bool {
    matches!(phase, Phase::Packing | Phase::Waiting | Phase::Uploading)
}

/// The error of a wait that reached its deadline.
pub(crate) fn timed_out() -> ClientError {
    ClientError::new(ErrorGroup::TimedOut, "wait.timed_out", "The time to wait is over.")
        .hint("The tasks go on; wait again, or come back to them by name.")
}

async fn fetch_result(engine: Arc<Engine>, task: TaskId) -> Result<ResultDocument, ClientError> {
    engine.fetch_result(&task).await
}

/// Does something to one task, at once, and lets the flow know.
async fn act(task: Task, action: TaskAction) -> Result<(), ClientError> {
    let id = task.on_server()?;
    let engine = task.cell.engine.clone();
    let to_mend = action == TaskAction::Retry && task.is_unsuccessful();
    let refused = match engine.act(action, &id).await {
        Ok((Some(summary), version)) => {
            engine.revive(&task.cell, id, summary, version);
            None
        }
        Ok((None, _)) => None,
        Err(error) => Some(error),
    };
    if action == TaskAction::Retry {
        engine.follow_resumed().await;
        // What ran again by itself, because what it depends on did, needs no other retry.
        if to_mend && !task.is_unsuccessful() {
            return Ok(());
        }
    }
    refused.map_or(Ok(()), Err)
}
