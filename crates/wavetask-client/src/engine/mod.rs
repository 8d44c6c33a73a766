//! The shell around the flow: it does what the flow decides, on threads of its own.

mod driver;
mod fallen;
mod holdings;
pub(crate) mod packing;
pub(crate) mod referring;
pub(crate) mod results;
pub(crate) mod save;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{MAXIMUM_TASKS, TaskAnswer, TaskSelection, TaskSummary};

use crate::batch::BatchCell;
use crate::error::{ClientError, ErrorGroup};
use crate::flow::{Attached, Input, MemberId, SubmissionId};
use crate::journal::JournalThread;
use crate::server::{Server, TaskAction};
use crate::settings::Settings;
use crate::signal::{Signal, lock};
use crate::status::{Phase, TaskStatus};
use crate::task::{Task, TaskCell};

pub(crate) use holdings::{Holdings, Payload};
pub(crate) use packing::Nonce;
pub(crate) use referring::Referring;
use results::ResultCache;

/// What holds for all members of a submission, once it has begun.
#[derive(Debug)]
pub(crate) struct SubmissionFacts {
    pub(crate) row: i64,
    pub(crate) batch: String,
    pub(crate) named: bool,
    pub(crate) token: String,
    pub(crate) nonce: Nonce,
    pub(crate) tags: Vec<String>,
    pub(crate) cache: bool,
    pub(crate) hold: bool,
    pub(crate) lazy: bool,
    pub(crate) folder: String,
    pub(crate) priority: i32,
    pub(crate) after: Vec<TaskId>,
}

/// What the driver and the handles share.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) server: Arc<dyn Server>,
    pub(crate) holdings: Holdings,
    pub(crate) results: ResultCache,
    pub(crate) journal: JournalThread,
    pub(crate) facts: Mutex<HashMap<SubmissionId, Arc<SubmissionFacts>>>,
    /// How members that refer to others are made.
    pub(crate) referring: Referring,
    pub(crate) fallen: fallen::Fallen,
    /// Why the server cannot be reached, while it cannot.
    pub(crate) trouble: Signal<Option<ClientError>>,
}

/// What the driver hears.
pub(crate) enum Message {
    /// A member, and who is to be told of it.
    Member(MemberId, Arc<TaskCell>),
    /// Something for the flow.
    Input(Input),
    /// Somebody waits until all that was sent before has been taken in.
    Settled(std::sync::mpsc::Sender<()>),
}

/// The engine. It lives as long as somebody holds a handle of it or a task of it is under way.
pub(crate) struct Engine {
    pub(crate) parts: Arc<Parts>,
    messages: mpsc::UnboundedSender<Message>,
    runtime: Option<Runtime>,
    next: AtomicU64,
    batches: Mutex<HashMap<String, Weak<BatchCell>>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Engine").field("server", &self.parts.server).finish_non_exhaustive()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The last handle may be dropped on one of the runtime's own threads, which cannot wait for itself.
            runtime.shutdown_background();
        }
    }
}

impl Engine {
    /// Starts the engine for this server.
    pub(crate) fn start(
        settings: Settings,
        server: Arc<dyn Server>,
        journal: JournalThread,
        runtime: Runtime,
    ) -> Arc<Self> {
        let (messages, queue) = mpsc::unbounded_channel();
        let parts = Arc::new(Parts {
            holdings: Holdings::new(settings.send_budget, settings.document_budget),
            results: ResultCache::new(settings.result_budget, settings.result_document_budget),
            settings,
            server,
            journal,
            facts: Mutex::default(),
            referring: Referring::default(),
            fallen: fallen::Fallen::default(),
            trouble: Signal::new(None),
        });
        let driver = driver::Driver::new(parts.clone(), queue, messages.downgrade(), random_seed());
        runtime.spawn(driver.run());
        Arc::new(Self {
            parts,
            messages,
            runtime: Some(runtime),
            next: AtomicU64::new(1),
            batches: Mutex::default(),
        })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.parts.settings
    }

    pub(crate) fn server(&self) -> &Arc<dyn Server> {
        &self.parts.server
    }

    pub(crate) fn send(&self, input: Input) {
        // The driver lives as long as the engine.
        let _ = self.messages.send(Message::Input(input));
    }

    /// Waits until all that was sent before has been taken in: handles then say what the server has said.
    pub(crate) fn settle(&self) {
        let (settled, wait) = std::sync::mpsc::channel();
        let _ = self.messages.send(Message::Settled(settled));
        // It fails if the driver has panicked; whoever asks next learns that.
        let _ = wait.recv();
    }

    pub(crate) fn new_member(&self) -> MemberId {
        MemberId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Lets the driver know whom to tell of this member.
    pub(crate) fn register(&self, member: MemberId, cell: &Arc<TaskCell>) {
        let _ = self.messages.send(Message::Member(member, cell.clone()));
    }

    /// Tells the flow, which has just heard of this task, that its user wanted it started before that.
    pub(crate) fn start_if_wanted(&self, cell: &TaskCell) {
        let wanted = cell.state.read(|state| state.to_start.then_some(state.member));
        if let Some(member) = wanted {
            self.send(Input::Wanted { member, action: TaskAction::Start });
        }
    }

    /// A submission has begun; `whole` says whether all of its members will come.
    pub(crate) fn open_submission(&self, facts: SubmissionFacts, whole: bool) -> SubmissionId {
        let submission = SubmissionId(self.next.fetch_add(1, Ordering::Relaxed));
        lock(&self.parts.facts).insert(submission, Arc::new(facts));
        self.send(Input::Opened { submission, whole });
        submission
    }

    pub(crate) fn facts(&self, submission: SubmissionId) -> Option<Arc<SubmissionFacts>> {
        lock(&self.parts.facts).get(&submission).cloned()
    }

    /// The batch of this name that this process holds already.
    pub(crate) fn live_batch(&self, name: &str) -> Option<Arc<BatchCell>> {
        lock(&self.batches).get(name).and_then(Weak::upgrade)
    }

    pub(crate) fn keep_batch(&self, batch: &Arc<BatchCell>) {
        let mut batches = lock(&self.batches);
        batches.retain(|_, batch| batch.strong_count() > 0);
        batches.insert(batch.name.clone(), Arc::downgrade(batch));
    }

    /// Runs a future on the engine's threads and waits for it, from any thread, one of another runtime included.
    pub(crate) fn block<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, ClientError>> + Send + 'static,
    ) -> Result<T, ClientError> {
        let Some(runtime) = &self.runtime else { return Err(stopped()) };
        let (answer, wait) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let _ = answer.send(future.await);
        });
        wait.recv().unwrap_or_else(|_| Err(stopped()))
    }

    /// Runs a future on the engine's threads, for callers of any runtime.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, ClientError>> + Send + 'static,
    ) -> Result<T, ClientError> {
        let Some(runtime) = &self.runtime else { return Err(stopped()) };
        runtime.spawn(future).await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Runs a future to its end on the engine's threads, unless the engine stops first.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(future);
        }
    }

    /// What the server says about a task now, and the number of the newest event then.
    pub(crate) async fn look(&self, task: &TaskId) -> Result<(TaskSummary, u64), ClientError> {
        match self.act(TaskAction::Status, task).await? {
            (Some(summary), version) => Ok((summary, version)),
            (None, _) => Err(ClientError::new(ErrorGroup::NotFound, "task.deleted", "The task was deleted.")),
        }
    }

    /// Does something to one task now.
    pub(crate) async fn act(
        &self,
        action: TaskAction,
        task: &TaskId,
    ) -> Result<(Option<TaskSummary>, u64), ClientError> {
        let selection = TaskSelection { tasks: vec![task.clone()], priority: 0 };
        let answers = self.server().act(action, &selection).await?;
        match answers.tasks.into_iter().next() {
            Some(TaskAnswer::Task { task }) => Ok((Some(*task), answers.last_event)),
            Some(TaskAnswer::Deleted) => {
                self.parts.results.forget(task);
                Ok((None, answers.last_event))
            }
            Some(TaskAnswer::Refused { error }) => {
                let group =
                    if error.code == "task.not_found" { ErrorGroup::NotFound } else { ErrorGroup::Usage };
                let mut refusal = ClientError::new(group, error.code, error.message).task(task.clone());
                refusal.hint = error.hint;
                Err(refusal)
            }
            _ => Err(ClientError::new(
                ErrorGroup::Internal,
                "server.no_answer",
                "The server's answer leaves the task out.",
            )),
        }
    }

    /// A task that had ended, or is followed already, is as `summary` says now: follow it (again).
    pub(crate) fn revive(&self, cell: &Arc<TaskCell>, task: TaskId, summary: TaskSummary, version: u64) {
        let over = cell.state.read(|state| state.status.phase.is_final());
        if !over {
            return;
        }
        self.parts.results.forget(&task);
        let member = self.new_member();
        cell.state.change(|state| {
            state.member = member;
            (state.unwanted, state.to_start) = (false, false);
            state.status = TaskStatus::new(Phase::Queued);
            state.status.learn(&summary);
        });
        self.register(member, cell);
        self.send(Input::Attached(Attached {
            member,
            submission: None,
            task,
            summary: Some(Box::new(summary)),
            version,
            lazy: false,
            first: TaskAction::Status,
        }));
    }

    /// Starts tasks, or runs them again; those that could not be, and why.
    pub(crate) async fn set_going(&self, action: TaskAction, tasks: Vec<Task>) -> Vec<(Task, ClientError)> {
        let mut refused = Vec::new();
        let mut known = Vec::new();
        for task in tasks {
            match task.on_server() {
                Ok(id) => known.push((task, id)),
                Err(error) => refused.push((task, error)),
            }
        }
        for part in known.chunks(MAXIMUM_TASKS) {
            let selection =
                TaskSelection { tasks: part.iter().map(|(_, id)| id.clone()).collect(), priority: 0 };
            match self.server().act(action, &selection).await {
                Ok(answers) => {
                    for ((task, id), answer) in part.iter().zip(answers.tasks) {
                        match answer {
                            TaskAnswer::Task { task: summary } => {
                                self.revive(&task.cell, id.clone(), *summary, answers.last_event);
                            }
                            TaskAnswer::Refused { error } => {
                                let error = ClientError::new(ErrorGroup::Usage, error.code, error.message);
                                refused.push((task.clone(), error.task(id.clone())));
                            }
                            _ => {}
                        }
                    }
                }
                Err(error) => refused.extend(part.iter().map(|(task, _)| (task.clone(), error.clone()))),
            }
        }
        if action == TaskAction::Retry {
            self.follow_resumed().await;
            // What ran again by itself, because what it depends on did, needs no other retry.
            refused.retain(|(task, _)| task.is_unsuccessful());
        }
        refused
    }
}

fn stopped() -> ClientError {
    ClientError::new(
        ErrorGroup::Internal,
        "engine.stopped",
        "The engine has stopped, or a step of it has panicked.",
    )
}

/// Milliseconds since 1970 (UTC).
pub(crate) fn now_milliseconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Chance for jitter: it need not be good, only different in each process.
fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        return u64::from(std::process::id());
    }
    u64::from_le_bytes(bytes)
}
