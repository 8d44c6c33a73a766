//! What all tasks of one server share, and what is known about them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, Semaphore, watch};
use wavetask_document::Digest;
use wavetask_protocol::native::TaskSummary;
use wavetask_protocol::{FolderId, Progress, TaskId, TaskKind, TaskState};

use super::board::Board;
use super::content::Content;
use super::journey::{Journey, result_names, summary};
use super::object::{Endpoint, Object};
use super::rest::{Detail, Rest};
use super::results::{Results, Stored, blocking};
use super::row::{Part, TaskRow};
use super::table::{Table, Wish};
use super::transport::Failure;
use super::upload;
use super::watcher::Watcher;
use super::words::{result_file, standing};
use crate::error::{ClientError, ErrorGroup};
use crate::member::BlockPlace;

/// How often the table is asked about a task that another process drives.
const OBSERVE: Duration = Duration::from_secs(2);

/// How this server is spoken to.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// Whether heat takes two tasks.
    pub(super) two_tasks: bool,
    /// Level of the gzip layer of uploads; none: plain HDF5.
    pub(super) gzip: Option<u32>,
    /// Whether results without a gzip layer are asked for first.
    pub(super) plain_results: bool,
    /// Bytes of a part of an upload.
    pub(super) part_bytes: u64,
    /// A name for the account at this server.
    pub(super) account: String,
    /// What the server says that it is.
    pub(super) name: String,
}

/// What all tasks share.
pub(super) struct Shared {
    pub(super) rest: Arc<Rest>,
    pub(super) endpoint: Endpoint,
    pub(super) manner: Manner,
    pub(super) table: Arc<Table>,
    pub(super) board: Board,
    pub(super) watcher: Arc<Watcher>,
    pub(super) results: Results,
    pub(super) kept: Mutex<Kept>,
    pub(super) creating: Semaphore,
    pub(super) sending: Semaphore,
    pub(super) fetching: Semaphore,
    parts: Semaphore,
    steering: Mutex<HashMap<TaskId, watch::Sender<Option<Wish>>>>,
    /// Tasks that are followed though others drive them.
    observed: Mutex<HashSet<TaskId>>,
    folders: Mutex<HashMap<String, Arc<OnceCell<String>>>>,
    lists: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<List>>>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("manner", &self.manner).finish_non_exhaustive()
    }
}

/// A folder's tasks, and when they were asked for.
#[derive(Debug)]
struct List {
    asked: Instant,
    /// Ids by the token at the end of the name; of several, the one created first.
    tokens: HashMap<String, (Option<i64>, String)>,
}

/// Blocks that were handed over and wait for their members.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) places: HashMap<Digest, BlockPlace>,
    wanted_by: HashMap<Digest, HashSet<TaskId>>,
    wants: HashMap<TaskId, Vec<Digest>>,
}

impl Kept {
    /// Keeps these blocks for a task until it is released.
    pub(super) fn want(&mut self, task: &TaskId, blocks: impl IntoIterator<Item = Digest>) {
        let wants = self.wants.entry(task.clone()).or_default();
        for digest in blocks {
            if self.wanted_by.entry(digest).or_default().insert(task.clone()) {
                wants.push(digest);
            }
        }
    }

    /// Lets go of what only this task wanted.
    pub(super) fn release(&mut self, task: &TaskId) {
        for digest in self.wants.remove(task).unwrap_or_default() {
            if let Some(tasks) = self.wanted_by.get_mut(&digest) {
                tasks.remove(task);
                if tasks.is_empty() {
                    self.wanted_by.remove(&digest);
                    self.places.remove(&digest);
                }
            }
        }
    }
}

impl Shared {
    pub(super) fn new(
        rest: Arc<Rest>,
        endpoint: Endpoint,
        manner: Manner,
        table: Table,
        results: Results,
        tempo: super::watcher::Tempo,
    ) -> Arc<Self> {
        Arc::new(Self {
            watcher: Watcher::new(Arc::clone(&rest), tempo),
            rest,
            endpoint,
            manner,
            table: Arc::new(table),
            board: Board::new(),
            results,
            kept: Mutex::default(),
            creating: Semaphore::new(16),
            sending: Semaphore::new(8),
            fetching: Semaphore::new(8),
            parts: Semaphore::new(8),
            steering: Mutex::default(),
            observed: Mutex::default(),
            folders: Mutex::default(),
            lists: Mutex::default(),
        })
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journeys of this process and how to steer them.
    pub(super) fn steering(&self) -> MutexGuard<'_, HashMap<TaskId, watch::Sender<Option<Wish>>>> {
        self.steering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something in the table, where blocking harms nobody.
    pub(super) async fn in_table<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Table) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let table = Arc::clone(&self.table);
        blocking(move || work(&table)).await?
    }

    /// Tells how a row stands.
    pub(super) fn note(&self, row: &TaskRow) {
        let progress =
            self.board.task(&row.id).filter(|_| !row.state.is_final()).and_then(|task| task.progress);
        self.board.note(summary(row, progress));
    }

    /// As [`note`](Self::note), with what the server says about progress.
    pub(super) fn note_progress(
        &self,
        row: &TaskRow,
        part: Part,
        percent: Option<f64>,
        residual: Option<f64>,
    ) {
        let progress = percent.filter(|_| part == Part::Solve).map(|percent| Progress {
            percent: percent.clamp(0.0, 100.0),
            residual,
            stage: "solve".to_owned(),
        });
        let mesh =
            (part == Part::Mesh).then(|| Progress { percent: 0.0, residual: None, stage: "mesh".to_owned() });
        self.board.note(summary(row, progress.or(mesh)));
    }

    /// The id of a folder, asked for once.
    pub(super) async fn folder(&self, name: &str) -> Result<String, Failure> {
        let cell = {
            let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(folders.entry(name.to_owned()).or_default())
        };
        cell.get_or_try_init(|| self.rest.folder(name)).await.cloned()
    }

    /// The task in a folder whose name ends with a token, by a list that was asked for after this call began. Many
    /// calls at once share one list.
    pub(super) async fn find(&self, folder: &str, token: &str) -> Result<Option<String>, Failure> {
        let begun = Instant::now();
        let list = {
            let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(lists.entry(folder.to_owned()).or_default())
        };
        let mut list = list.lock().await;
        if list.as_ref().is_none_or(|list| list.asked < begun) {
            let asked = Instant::now();
            let mut tokens: HashMap<String, (Option<i64>, String)> = HashMap::new();
            for task in self.rest.tasks(folder).await? {
                let Some(at) = task.name.rfind("[wt:") else { continue };
                let found = (task.created, task.id);
                let earliest = tokens.entry(task.name[at..].to_owned()).or_insert_with(|| found.clone());
                if found < *earliest {
                    *earliest = found;
                }
            }
            *list = Some(List { asked, tokens });
        }
        Ok(list.as_ref().and_then(|list| list.tokens.get(token)).map(|(_, id)| id.clone()))
    }

    /// Uploads a simulation.
    pub(super) async fn send(&self, remote: &str, file: &str, content: &Content) -> Result<(), ClientError> {
        let place = self.rest.file(remote, file).await?;
        let object = Object::new(&self.rest.transport, &self.endpoint, place)?;
        upload::send(&object, content, self.manner.gzip, &self.parts, self.manner.part_bytes).await
    }

    /// Downloads a file and takes it apart; `None` if it is not there.
    pub(super) async fn fetch(&self, remote: &str, file: &str) -> Result<Option<Stored>, ClientError> {
        let _permit = self.fetching.acquire().await;
        let place = self.rest.file(remote, file).await?;
        let object = Object::new(&self.rest.transport, &self.endpoint, place)?;
        self.results.fetch(&object).await
    }

    /// A small file as text; `None` if it is not there.
    pub(super) async fn text(&self, remote: &str, file: &str) -> Result<Option<String>, Failure> {
        let place = match self.rest.file(remote, file).await {
            Err(failure) if failure.status().is_some_and(|status| status.as_u16() == 404) => return Ok(None),
            place => place?,
        };
        match Object::new(&self.rest.transport, &self.endpoint, place)?.whole().await {
            Ok(answer) => Ok(Some(String::from_utf8_lossy(&answer.body).into_owned())),
            Err(failure) if failure.status().is_some_and(|status| status.as_u16() == 404) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Why a task failed, from a file of the server's that may not be there.
    pub(super) async fn reason(&self, remote: &str, file: &str, member: &str) -> Option<String> {
        let text = self.text(remote, file).await.ok()??;
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(json) => match json.get(member) {
                Some(serde_json::Value::String(reason)) => Some(reason.clone()),
                Some(other) if !other.is_null() => Some(other.to_string()),
                _ => None,
            },
            Err(_) => Some(text.chars().take(4_000).collect()),
        }
        .filter(|reason| !reason.trim().is_empty())
    }

    /// The result of one of the server's tasks.
    pub(super) async fn result(&self, remote: &str, kind: TaskKind) -> Result<Arc<Stored>, ClientError> {
        self.results
            .get(remote, || async move {
                for name in result_names(kind, self.manner.plain_results) {
                    if let Some(stored) = self.fetch(remote, &name).await? {
                        return Ok(stored);
                    }
                }
                Err(ClientError::new(
                    ErrorGroup::NotFound,
                    "plain.no_result",
                    format!("the server has no file {} of the task {remote}", result_file(kind)),
                )
                .hint("It may have been deleted; run the task again."))
            })
            .await
    }

    /// What was uploaded for an earlier task: it can be had from the server.
    pub(super) async fn sent_earlier(&self, remote: &str, file: &str) -> Result<Content, ClientError> {
        let stored = self.fetch(remote, file).await?.ok_or_else(|| {
            ClientError::new(
                ErrorGroup::Infrastructure,
                "plain.content_lost",
                "the server does not have the simulation of the earlier attempt any more",
            )
            .hint("Submit it again.")
        })?;
        let stored = Arc::new(stored);
        Ok(Content { document: stored.document.clone(), blocks: stored })
    }

    /// Begins to drive a task that this process has claimed, unless it does already; the answer hears when its
    /// simulation has been sent.
    pub(super) fn drive(
        self: &Arc<Self>,
        row: TaskRow,
        content: Option<Content>,
        resumed: bool,
    ) -> Option<watch::Receiver<bool>> {
        let (steer, steering) = watch::channel(None);
        let (sent, is_sent) = watch::channel(false);
        match self.steering().entry(row.id.clone()) {
            std::collections::hash_map::Entry::Occupied(_) => return None,
            std::collections::hash_map::Entry::Vacant(place) => place.insert(steer),
        };
        self.note(&row);
        let journey = Journey { server: Arc::clone(self), row, content, steering, resumed, sent };
        tokio::spawn(journey.run());
        Some(is_sent)
    }

    /// Whether a row can be driven without anybody's handing over its simulation.
    pub(super) async fn has_content(&self, row: &TaskRow) -> Result<bool, ClientError> {
        if !row.needs_content() || row.earlier.is_some() {
            return Ok(true);
        }
        let id = row.id.clone();
        Ok(self.in_table(move |table| table.content(&id)).await?.is_some())
    }

    /// Goes on with a task that a process left, or watches what another makes of it.
    pub(super) async fn follow(self: &Arc<Self>, row: TaskRow) -> Result<(), ClientError> {
        if row.state.is_final() {
            self.note(&row);
            return Ok(());
        }
        if self.steering().contains_key(&row.id) {
            return Ok(());
        }
        if self.take_over(&row).await? {
            return Ok(());
        }
        self.note(&row);
        if self.observed.lock().unwrap_or_else(PoisonError::into_inner).insert(row.id.clone()) {
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                shared.observe(&row.id).await;
                shared.observed.lock().unwrap_or_else(PoisonError::into_inner).remove(&row.id);
            });
        }
        Ok(())
    }

    /// Drives a task from where its last driver left it, if it has none and nobody needs to hand anything over.
    async fn take_over(self: &Arc<Self>, row: &TaskRow) -> Result<bool, ClientError> {
        if !self.has_content(row).await? {
            return Ok(false);
        }
        let id = row.id.clone();
        // What is in the table after the claim is newer than what was read before it.
        let claimed =
            self.in_table(move |table| if table.claim(&id)? { table.task(&id) } else { Ok(None) }).await?;
        if let Some(row) = claimed.filter(|row| !row.state.is_final()) {
            self.drive(row, None, true);
            return Ok(true);
        }
        Ok(false)
    }

    /// Watches what another process makes of a task, and goes on with it if that one ends.
    async fn observe(self: &Arc<Self>, id: &TaskId) {
        loop {
            tokio::time::sleep(OBSERVE).await;
            if self.steering().contains_key(id) {
                return;
            }
            let wanted = id.clone();
            let Ok(Some(row)) = self.in_table(move |table| table.task(&wanted)).await else { return };
            self.note(&row);
            if row.state.is_final() || self.take_over(&row).await.unwrap_or(false) {
                return;
            }
        }
    }

    /// Sees to it that the board hears of a task, ours or not.
    pub(super) async fn look_at(self: &Arc<Self>, id: &TaskId) -> Result<(), ClientError> {
        let wanted = id.clone();
        if let Some(row) = self.in_table(move |table| table.task(&wanted)).await? {
            return self.follow(row).await;
        }
        let detail = self.rest.detail(id.as_str()).await?;
        let summary = self.foreign(&detail);
        let done = summary.state.is_final();
        self.board.note(summary);
        let fresh = self.observed.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        if done || !fresh {
            return Ok(());
        }
        let (shared, id) = (Arc::clone(self), id.clone());
        tokio::spawn(async move {
            let heard = shared
                .watcher
                .until(&detail.folder, &detail.id, |news| {
                    let summary = shared.foreign(news);
                    let done = summary.state.is_final();
                    shared.board.note(summary);
                    done
                })
                .await;
            drop(heard);
            shared.observed.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
        Ok(())
    }

    /// A task of the server's that was not made here.
    pub(super) fn foreign(&self, detail: &Detail) -> TaskSummary {
        let (state, kind) = standing(detail.status.as_deref().unwrap_or("running"));
        let nameless = || FolderId::from_uuid(uuid::Uuid::nil());
        TaskSummary {
            task: detail.id.parse().unwrap_or_else(|_| super::row::task_id(&self.manner.account, &detail.id)),
            name: detail.name.clone(),
            folder: detail.folder.parse().unwrap_or_else(|_| nameless()),
            folder_name: detail.folder_name.clone(),
            kind: detail.kind.unwrap_or(TaskKind::Fdtd),
            state,
            progress: detail.percent.filter(|_| state == TaskState::Running).map(|percent| Progress {
                percent: percent.clamp(0.0, 100.0),
                residual: detail.residual,
                stage: "solve".to_owned(),
            }),
            error: (state == TaskState::Error).then(|| wavetask_protocol::TaskError {
                kind: kind.unwrap_or(wavetask_protocol::ErrorKind::Solver),
                code: format!("plain.{}", detail.status.as_deref().unwrap_or("error")),
                message: detail
                    .error
                    .clone()
                    .unwrap_or_else(|| "the server does not say why it failed".to_owned()),
            }),
            attempts: 1,
            created_milliseconds: detail.created.unwrap_or_default(),
            started_milliseconds: detail.started,
            ended_milliseconds: detail.finished,
        }
    }
}
