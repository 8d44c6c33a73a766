//! One task's way through the protocol, step by step; each step is written down when it is done, and each may be
//! done again.
//!
//! The one that may not is the creation of a task: its answer may be lost although the server did it. So each task
//! carries a token at the end of its name. A creation whose answer did not come, and one that a killed process may
//! have begun, is preceded by a look through the folder's list for the token. What this cannot exclude: a server that
//! creates the task only *after* that look (a request that hung in the network meanwhile). Then an empty draft is
//! left in the folder; it is never started, for only recorded tasks are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use wavetask_protocol::native::TaskSummary;
use wavetask_protocol::{ErrorKind, FolderId, Progress, TaskError, TaskKind, TaskState};

use super::content::{Content, mesher, read_blocks};
use super::results::blocking;
use super::row::{Part, Step, TaskRow, now};
use super::shared::Shared;
use super::table::Wish;
use super::transport::{Failure, pause};
use super::words::{Check, check, result_file, standing, upload_file};
use crate::error::{ClientError, ErrorGroup};

/// Looks for the token of a creation whose answer was lost: after these pauses.
const LOOKS: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];
/// Tries of a step that the key is not good for.
const TRIES: u32 = 5;
/// The longest pause between tries while the server cannot be reached.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How a journey is steered from outside.
pub(super) type Steering = watch::Receiver<Option<Wish>>;

/// Why a step was not done.
enum Stop {
    /// The task has failed for good.
    Failed(TaskError),
    /// It was stopped by somebody.
    Wished(Wish),
    /// It may be done later, by this process or another.
    Later(ClientError),
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        let kind = match error.group {
            group if group.may_pass() => return Self::Later(error),
            ErrorGroup::Unauthorized => return Self::Later(error),
            ErrorGroup::InvalidSimulation | ErrorGroup::Usage => ErrorKind::Validation,
            _ => ErrorKind::Infrastructure,
        };
        Self::Failed(TaskError { kind, code: error.code, message: error.message })
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        ClientError::from(failure).into()
    }
}

/// Drives a task of ours to its end.
pub(super) struct Journey {
    pub(super) server: Arc<Shared>,
    pub(super) row: TaskRow,
    /// What is to be sent, as long as it is needed.
    pub(super) content: Option<Content>,
    pub(super) steering: Steering,
    /// Whether a killed process may have been here before.
    pub(super) resumed: bool,
    /// Told once the simulation has been sent, or never will be.
    pub(super) sent: watch::Sender<bool>,
}

impl Journey {
    /// Goes on until the task has ended.
    pub(super) async fn run(mut self) {
        let mut tries = 0;
        loop {
            let step = self.row.next_step();
            if step == Step::Done {
                break;
            }
            let mut steering = self.steering.clone();
            let result = tokio::select! {
                result = self.step(step) => result,
                Some(wish) = stop_wish(&mut steering) => Err(Stop::Wished(wish)),
            };
            match result {
                Ok(()) => tries = 0,
                Err(Stop::Failed(error)) => self.fail(error),
                Err(Stop::Wished(wish)) => self.stop(wish).await,
                // A key that is not accepted any more will not become good by waiting.
                Err(Stop::Later(error)) if error.group == ErrorGroup::Unauthorized && tries >= TRIES => {
                    self.fail(task_error(&error));
                }
                Err(Stop::Later(_)) => {
                    tries += 1;
                    // A start or a creation may have been done although it failed; the step will look.
                    self.resumed = true;
                    let mut steering = self.steering.clone();
                    tokio::select! {
                        () = pause(tries) => {}
                        _ = stop_wish(&mut steering) => {}
                    }
                    if tries > 6 {
                        tokio::time::sleep(LONGEST_PAUSE.min(Duration::from_secs(u64::from(tries)))).await;
                    }
                }
            }
            self.save().await;
        }
        let id = self.row.id.clone();
        // A claim that stays ends with this process.
        let _ = self.server.in_table(move |table| table.release(&id)).await;
        self.sent.send_replace(true);
        self.server.steering().remove(&self.row.id);
    }

    fn fail(&mut self, error: TaskError) {
        self.row.state = TaskState::Error;
        self.row.error = Some(error);
        self.row.ended = Some(now());
    }

    /// Writes down and tells how the task stands. A table that cannot be written costs repetition after a crash,
    /// which is harmless, so the task goes on.
    async fn save(&mut self) {
        let row = self.row.clone();
        let saved = self.server.in_table(move |table| table.save(&row)).await;
        // Whoever hears of it may look into the table next.
        self.server.note(&self.row);
        if !self.row.needs_content() {
            self.content = None;
            self.sent.send_replace(true);
        }
        if let Ok(Some(wish)) = saved
            && let Some(sender) = self.server.steering().get(&self.row.id)
        {
            sender.send_if_modified(|known| {
                let new = *known != Some(wish);
                *known = Some(wish);
                new
            });
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), Stop> {
        match step {
            Step::Create(part) => self.create(part).await,
            Step::Send(part) => self.send(part).await,
            Step::Check(part) => self.check(part).await,
            Step::Hold => self.hold().await,
            Step::Start(part) => self.start(part).await,
            Step::Await(part) => self.wait(part).await,
            Step::Done => Ok(()),
        }
    }

    fn kind(&self, part: Part) -> TaskKind {
        match part {
            Part::Mesh => TaskKind::VolumeMesh,
            Part::Solve => self.row.kind,
        }
    }

    /// The server's id of a part, which is there once it was created.
    fn remote(&self, part: Part) -> String {
        self.row.remote(part).and_then(|remote| remote.id.clone()).unwrap_or_default()
    }

    fn folder(&self) -> String {
        self.row.folder_id.clone().unwrap_or_default()
    }

    async fn create(&mut self, part: Part) -> Result<(), Stop> {
        let server = Arc::clone(&self.server);
        let folder = match &self.row.folder_id {
            Some(folder) => folder.clone(),
            None => server.folder(&self.row.folder).await?,
        };
        self.row.folder_id = Some(folder.clone());
        let name = self.row.remote_name(part);
        let token = self.row.token(part);
        let parent = self.row.mesh.as_ref().filter(|_| part == Part::Solve).and_then(|mesh| mesh.id.clone());
        let id = if self.resumed { server.find(&folder, &token).await? } else { None };
        let id = match id {
            Some(id) => id,
            None => {
                let created = {
                    let _permit = server.creating.acquire().await;
                    server.rest.create(&folder, &name, self.kind(part), parent.as_deref()).await
                };
                match created {
                    Ok(id) => id,
                    Err(failure) if failure.was_not_done() => return Err(failure.into()),
                    // Perhaps it was done. It is looked for before anything else is tried.
                    Err(failure) => {
                        let mut found = None;
                        for look in LOOKS {
                            tokio::time::sleep(look).await;
                            found = server.find(&folder, &token).await?;
                            if found.is_some() {
                                break;
                            }
                        }
                        self.resumed = true;
                        match found {
                            Some(id) => id,
                            None if failure.may_pass() => return Err(failure.into()),
                            None => return Err(Stop::Failed(task_error(&failure.into()))),
                        }
                    }
                }
            }
        };
        self.row.remote_mut(part).id = Some(id);
        Ok(())
    }

    async fn content(&mut self) -> Result<Content, Stop> {
        if let Some(content) = &self.content {
            return Ok(content.clone());
        }
        let id = self.row.id.clone();
        if let Some((document, blocks)) = self.server.in_table(move |table| table.content(&id)).await? {
            let content = blocking(move || {
                let document = serde_json::from_str(&document).map_err(super::table::broken)?;
                Ok::<_, ClientError>(Content { document, blocks: Arc::new(read_blocks(&blocks)) })
            })
            .await??;
            self.content = Some(content.clone());
            return Ok(content);
        }
        if let (Some(earlier), Some(file)) = (self.row.earlier.clone(), upload_file(self.row.kind)) {
            let content = self.server.sent_earlier(&earlier, file).await?;
            self.content = Some(content.clone());
            return Ok(content);
        }
        Err(Stop::Failed(TaskError {
            kind: ErrorKind::Infrastructure,
            code: "plain.content_lost".to_owned(),
            message: "the process that was sending this simulation ended before all of it was sent; submit it again"
                .to_owned(),
        }))
    }

    async fn send(&mut self, part: Part) -> Result<(), Stop> {
        let server = Arc::clone(&self.server);
        let kind = self.kind(part);
        let Some(file) = upload_file(kind) else {
            return Err(Stop::Failed(unsupported(kind)));
        };
        let mut content = self.content().await?;
        if part == Part::Mesh {
            content.document = mesher(&content.document);
        }
        let remote = self.remote(part);
        let sent = {
            let _permit = server.sending.acquire().await;
            server.send(&remote, file, &content).await
        };
        if let Err(error) = sent {
            // A server that has checked the upload already takes no other.
            let detail = server.rest.detail(&remote).await?;
            let good = check(detail.metadata.as_deref(), detail.status.as_deref()) == Check::Good;
            if !(self.resumed && good) {
                return Err(error.into());
            }
        }
        self.row.remote_mut(part).sent = true;
        Ok(())
    }

    async fn check(&mut self, part: Part) -> Result<(), Stop> {
        let server = Arc::clone(&self.server);
        let remote = self.remote(part);
        if part == Part::Solve || self.row.state == TaskState::Draft {
            self.row.state = TaskState::Validating;
            server.note(&self.row);
        }
        server.rest.check(&remote).await?;
        let read = |detail: &super::rest::Detail| check(detail.metadata.as_deref(), detail.status.as_deref());
        // Many servers are done when they answer.
        let mut verdict = read(&server.rest.detail(&remote).await?);
        if verdict == Check::Pending {
            let detail = server
                .watcher
                .until(&self.folder(), &remote, |detail| read(detail) != Check::Pending)
                .await?;
            verdict = read(&detail);
        }
        if verdict == Check::Bad {
            let why = server.reason(&remote, "output/tidy3d_validation.json", "validation_error").await;
            self.row.ended_there = true;
            return Err(Stop::Failed(TaskError {
                kind: ErrorKind::Validation,
                code: "plain.invalid".to_owned(),
                message: why.unwrap_or_else(|| "the server does not say what is wrong with it".to_owned()),
            }));
        }
        self.row.remote_mut(part).checked = true;
        Ok(())
    }

    async fn hold(&mut self) -> Result<(), Stop> {
        self.row.state = TaskState::Validated;
        self.save().await;
        let mut steering = self.steering.clone();
        loop {
            if *steering.borrow_and_update() == Some(Wish::Start) {
                break;
            }
            let id = self.row.id.clone();
            if self.server.in_table(move |table| table.wish(&id)).await? == Some(Wish::Start) {
                break;
            }
            tokio::select! {
                _ = steering.changed() => {}
                // Another process may have started it.
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
        self.row.hold = false;
        // It may still have to wait for others, but for nobody's word.
        self.row.state = TaskState::Queued;
        Ok(())
    }

    async fn start(&mut self, part: Part) -> Result<(), Stop> {
        let server = Arc::clone(&self.server);
        self.inputs().await?;
        let remote = self.remote(part);
        if self.resumed {
            // It may have been started by whoever was here before.
            let detail = server.rest.detail(&remote).await?;
            if !matches!(
                detail.status.as_deref().map(|word| standing(word).0),
                None | Some(TaskState::Draft | TaskState::Validating | TaskState::Validated)
            ) {
                self.row.remote_mut(part).started = true;
                return Ok(());
            }
        }
        server.rest.start(&remote, self.row.cache, self.row.priority).await?;
        self.row.remote_mut(part).started = true;
        self.row.state = TaskState::Queued;
        Ok(())
    }

    /// Waits for the tasks that must succeed before.
    async fn inputs(&self) -> Result<(), Stop> {
        for input in &self.row.after {
            self.server.look_at(input).await?;
            let mut state = TaskState::Draft;
            self.server
                .board
                .until(input, |task| {
                    state = task.map_or(TaskState::Draft, |task| task.state);
                    state.is_final()
                })
                .await;
            if state != TaskState::Success {
                return Err(Stop::Failed(TaskError {
                    kind: ErrorKind::Dependency,
                    code: "task.input_failed".to_owned(),
                    message: format!("the task {input}, which must succeed before, ended as {state}"),
                }));
            }
        }
        Ok(())
    }

    async fn wait(&mut self, part: Part) -> Result<(), Stop> {
        let server = Arc::clone(&self.server);
        let (folder, remote) = (self.folder(), self.remote(part));
        let row = &mut self.row;
        let detail = server
            .watcher
            .until(&folder, &remote, |detail| {
                let (state, _) = standing(detail.status.as_deref().unwrap_or("running"));
                if state.is_final() {
                    return true;
                }
                if state == TaskState::Running && row.run.is_none() {
                    row.run = Some(now());
                }
                // A mesh is a part of the work, and a draft that was started will be queued.
                row.state = match state {
                    TaskState::Draft | TaskState::Validating | TaskState::Validated => TaskState::Queued,
                    TaskState::Publishing if part == Part::Mesh => TaskState::Running,
                    state => state,
                };
                server.note_progress(row, part, detail.percent, detail.residual);
                false
            })
            .await?;
        let (state, kind) = standing(detail.status.as_deref().unwrap_or_default());
        // The server knows better than who looks now and then. Of two tasks, the first one's begin is the begin.
        if part == Part::Mesh || self.row.mesh.is_none() {
            self.row.run = detail.started.or(self.row.run);
        }
        if state == TaskState::Success {
            self.row.remote_mut(part).ended = true;
            if part == Part::Mesh {
                return Ok(());
            }
        }
        if state == TaskState::Error {
            let why = server.reason(&remote, "output/tidy3d_error.json", "msg").await;
            self.row.error = Some(TaskError {
                kind: kind.unwrap_or(ErrorKind::Solver),
                code: format!("plain.{}", detail.status.as_deref().unwrap_or("error")),
                message: why
                    .or_else(|| detail.error.clone())
                    .unwrap_or_else(|| "the server does not say why it failed".to_owned()),
            });
        }
        self.row.state = state;
        self.row.ended = detail.finished.or_else(|| Some(now()));
        self.row.ended_there = true;
        Ok(())
    }

    /// Stops the server's tasks. What cannot be reached now is tried again by the caller's loop.
    async fn stop(&mut self, wish: Wish) {
        let creating = self.row.next_step();
        self.row.state = TaskState::Aborting;
        self.server.note(&self.row);
        let mut tries = 0;
        for part in [Part::Solve, Part::Mesh] {
            let mut id = self.row.remote(part).and_then(|remote| remote.id.clone());
            if let (Some(folder), true) = (&self.row.folder_id, creating == Step::Create(part)) {
                // It may have been created while it was stopped.
                id = self.server.find(folder, &self.row.token(part)).await.unwrap_or_default();
            }
            let Some(id) = id else { continue };
            loop {
                let done = match wish {
                    Wish::Delete => self.server.rest.delete(&id).await,
                    _ => self.server.rest.abort(&id, self.kind(part)).await,
                };
                match done {
                    Err(failure) if failure.may_pass() => {
                        tries += 1;
                        pause(tries).await;
                    }
                    // A task that has ended is left as it is.
                    _ => break,
                }
            }
        }
        self.row.ended = Some(now());
        self.row.ended_there = true;
        self.row.state = match wish {
            Wish::Delete => TaskState::Deleted,
            _ => self.after_abort().await,
        };
    }

    /// A task that ended just before it was stopped has ended.
    async fn after_abort(&mut self) -> TaskState {
        if let Some(id) = self.row.solve.id.clone().filter(|_| self.row.solve.started)
            && let Ok(detail) = self.server.rest.detail(&id).await
            && let Some((state @ (TaskState::Success | TaskState::Diverged), _)) =
                detail.status.as_deref().map(standing)
        {
            self.row.solve.ended = state == TaskState::Success;
            return state;
        }
        TaskState::Aborted
    }
}

/// Waits for the wish to stop.
async fn stop_wish(steering: &mut Steering) -> Option<Wish> {
    loop {
        let wish = *steering.borrow_and_update();
        if let Some(Wish::Cancel | Wish::Delete) = wish {
            return wish;
        }
        if steering.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// As a task's error.
pub(super) fn task_error(error: &ClientError) -> TaskError {
    TaskError { kind: ErrorKind::Infrastructure, code: error.code.clone(), message: error.message.clone() }
}

/// For kinds that need other requests than these.
pub(super) fn unsupported(kind: TaskKind) -> TaskError {
    TaskError {
        kind: ErrorKind::Validation,
        code: "plain.unsupported_kind".to_owned(),
        message: format!(
            "tasks of the kind {kind} cannot be sent over the plain tidy3d protocol by this client"
        ),
    }
}

/// How a row looks to others.
pub(super) fn summary(row: &TaskRow, progress: Option<Progress>) -> TaskSummary {
    let folder = row.folder_id.as_deref().and_then(|id| id.parse().ok());
    TaskSummary {
        task: row.id.clone(),
        name: row.name.clone(),
        folder: folder.unwrap_or_else(|| FolderId::from_uuid(uuid::Uuid::nil())),
        folder_name: row.folder.clone(),
        kind: row.kind,
        state: row.state,
        progress,
        error: row.error.clone(),
        attempts: row.attempt,
        created_milliseconds: row.created,
        started_milliseconds: row.run,
        ended_milliseconds: row.ended,
    }
}

/// The file names that a result may have, the likelier one first.
pub(super) fn result_names(kind: TaskKind, plain_first: bool) -> [String; 2] {
    let plain = result_file(kind).to_owned();
    let layered = format!("{plain}.gz");
    if plain_first { [plain, layered] } else { [layered, plain] }
}
