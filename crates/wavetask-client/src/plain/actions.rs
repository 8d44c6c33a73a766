//! What may be done to tasks that are there: look, start, stop, run again, delete, read the log, fetch results.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use serde_json::value::RawValue;
use wavetask_document::{Digest, Document};
use wavetask_protocol::native::{
    ApiError, LogPart, LogQuery, ResultAnswer, ResultOutcome, ResultsRequest, TaskAnswer, TaskAnswers,
    TaskSelection, WantedBlock,
};
use wavetask_protocol::{TaskId, TaskKind, TaskState};

use super::journey::summary;
use super::results::{Stored, blocking};
use super::row::TaskRow;
use super::shared::Shared;
use super::table::Wish;
use crate::error::{ClientError, ErrorGroup};
use crate::server::{ResultSink, TaskAction};

/// Bytes that may come with results without having been asked for one by one.
const INLINE: u64 = 64 << 20;
/// Results and tasks at once; what lies below has bounds of its own.
const AT_ONCE: usize = 16;

fn not_found(id: &TaskId) -> ApiError {
    ApiError { code: "task.not_found".to_owned(), message: format!("there is no task {id}"), hint: None }
}

pub(super) fn none_such(id: &TaskId) -> ClientError {
    let error = not_found(id);
    ClientError::new(ErrorGroup::NotFound, error.code, error.message).task(id.clone())
}

fn as_api(error: &ClientError) -> ApiError {
    ApiError { code: error.code.clone(), message: error.message.clone(), hint: error.hint.clone() }
}

impl Shared {
    pub(super) async fn row(&self, id: &TaskId) -> Result<Option<TaskRow>, ClientError> {
        let id = id.clone();
        self.in_table(move |table| table.task(&id)).await
    }

    pub(super) async fn act(
        self: &Arc<Self>,
        action: TaskAction,
        selection: &TaskSelection,
    ) -> Result<TaskAnswers, ClientError> {
        let last_event = self.board.last();
        let priority = selection.priority;
        let tasks = futures::stream::iter(selection.tasks.clone())
            .map(|id| {
                let shared = Arc::clone(self);
                async move { shared.act_on(action, &id, priority).await }
            })
            .buffered(AT_ONCE)
            .collect::<Vec<Result<TaskAnswer, ClientError>>>()
            .await;
        let mut answers = Vec::with_capacity(tasks.len());
        for answer in tasks {
            match answer {
                Ok(answer) => answers.push(answer),
                // What concerns all of them ends all of them; the rest belongs to its task.
                Err(error) if error.group.may_pass() || error.group == ErrorGroup::Unauthorized => {
                    return Err(error);
                }
                Err(error) => answers.push(TaskAnswer::Refused { error: as_api(&error) }),
            }
        }
        Ok(TaskAnswers { tasks: answers, last_event })
    }

    async fn act_on(
        self: &Arc<Self>,
        action: TaskAction,
        id: &TaskId,
        priority: i32,
    ) -> Result<TaskAnswer, ClientError> {
        let Some(row) = self.row(id).await? else { return self.act_on_foreign(action, id, priority).await };
        match action {
            TaskAction::Status => self.follow(row).await?,
            TaskAction::Start => {
                self.wish(&row, Wish::Start).await?;
                if row.state == TaskState::Validated {
                    // So that whoever has started it is not told afterwards that it is held.
                    let gone_on = self
                        .board
                        .until(id, |task| task.is_none_or(|task| task.state != TaskState::Validated));
                    let _ = tokio::time::timeout(Duration::from_secs(10), gone_on).await;
                }
            }
            TaskAction::Cancel if row.state.is_final() => {}
            TaskAction::Cancel => self.stop(&row, Wish::Cancel).await?,
            TaskAction::Delete => {
                if row.state.is_final() {
                    self.delete_ended(row).await?;
                } else {
                    self.stop(&row, Wish::Delete).await?;
                }
                self.board.forget(id);
                return Ok(TaskAnswer::Deleted);
            }
            TaskAction::Retry => {
                if let Some(error) = self.retry(row).await? {
                    return Ok(TaskAnswer::Refused { error });
                }
            }
        }
        let row = self.row(id).await?;
        let task = match (self.board.task(id), row) {
            (_, Some(row)) if row.state == TaskState::Deleted => return Ok(TaskAnswer::Deleted),
            (Some(task), _) => task,
            (None, Some(row)) => summary(&row, None),
            (None, None) => return Ok(TaskAnswer::Refused { error: not_found(id) }),
        };
        Ok(TaskAnswer::Task { task: Box::new(task) })
    }

    /// Tells whoever drives a task: this process at once, another one through the table.
    async fn wish(self: &Arc<Self>, row: &TaskRow, wish: Wish) -> Result<(), ClientError> {
        let id = row.id.clone();
        self.in_table(move |table| table.set_wish(&id, wish)).await?;
        self.follow(row.clone()).await?;
        if let Some(sender) = self.steering().get(&row.id) {
            sender.send_replace(Some(wish));
        }
        Ok(())
    }

    /// Stops a task that has not ended, and waits a little until it has.
    async fn stop(self: &Arc<Self>, row: &TaskRow, wish: Wish) -> Result<(), ClientError> {
        self.wish(row, wish).await?;
        if !self.steering().contains_key(&row.id) {
            // Nobody drives it here: a draft that waits for its blocks, or another process's.
            let id = row.id.clone();
            let claimed = self
                .in_table(move |table| if table.claim(&id)? { table.task(&id) } else { Ok(None) })
                .await?;
            if let Some(row) = claimed.filter(|row| !row.state.is_final()) {
                self.drive(row.clone(), None, true);
                if let Some(sender) = self.steering().get(&row.id) {
                    sender.send_replace(Some(wish));
                }
            }
        }
        let ended = self.board.until(&row.id, |task| task.is_some_and(|task| task.state.is_final()));
        // A server that takes longer is heard of by an event.
        let _ = tokio::time::timeout(Duration::from_secs(10), ended).await;
        Ok(())
    }

    async fn delete_ended(self: &Arc<Self>, mut row: TaskRow) -> Result<(), ClientError> {
        let ids =
            [row.solve.id.clone(), row.mesh.as_ref().and_then(|mesh| mesh.id.clone()), row.earlier.clone()];
        for id in ids.into_iter().flatten() {
            self.rest.delete(&id).await?;
            self.results.forget(&id);
        }
        row.state = TaskState::Deleted;
        row.ended_there = true;
        row.earlier = None;
        let saved = row.clone();
        self.in_table(move |table| table.save(&saved)).await?;
        self.note(&row);
        Ok(())
    }

    /// Runs a task again that ended without success; why not, if not.
    async fn retry(self: &Arc<Self>, mut row: TaskRow) -> Result<Option<ApiError>, ClientError> {
        let refused = |code: &str, message: &str| {
            Ok(Some(ApiError { code: code.to_owned(), message: message.to_owned(), hint: None }))
        };
        if !row.state.is_final() {
            self.follow(row).await?;
            return Ok(None);
        }
        if matches!(row.state, TaskState::Success | TaskState::Deleted) {
            return refused("task.cannot_retry", "only a task that ended without success can be run again");
        }
        row.again();
        if !self.has_content(&row).await? {
            return refused(
                "plain.data_needed",
                "its simulation did not reach the server; submit it again to run it again",
            );
        }
        let id = row.id.clone();
        if self.in_table(move |table| table.claim(&id)).await? {
            let saved = row.clone();
            self.in_table(move |table| {
                table.clear_wish(&saved.id)?;
                table.save(&saved)
            })
            .await?;
            self.drive(row, None, true);
        }
        Ok(None)
    }

    /// A task of the server's that was not made here.
    async fn act_on_foreign(
        self: &Arc<Self>,
        action: TaskAction,
        id: &TaskId,
        priority: i32,
    ) -> Result<TaskAnswer, ClientError> {
        let detail = self.rest.detail(id.as_str()).await?;
        let mut task = self.foreign(&detail);
        if task.state == TaskState::Deleted {
            return Ok(match action {
                TaskAction::Delete => TaskAnswer::Deleted,
                _ => TaskAnswer::Refused { error: not_found(id) },
            });
        }
        match action {
            TaskAction::Status => {}
            TaskAction::Start => self.rest.start(id.as_str(), true, priority).await?,
            TaskAction::Cancel if task.state.is_final() => {}
            TaskAction::Cancel => self.rest.abort(id.as_str(), task.kind).await?,
            TaskAction::Delete => {
                self.rest.delete(id.as_str()).await?;
                self.results.forget(id.as_str());
                self.board.forget(id);
                return Ok(TaskAnswer::Deleted);
            }
            TaskAction::Retry => {
                let error = ApiError {
                    code: "plain.cannot_retry".to_owned(),
                    message: "the protocol cannot run a task again, and this one was not submitted here"
                        .to_owned(),
                    hint: Some("Submit its simulation as a new task.".to_owned()),
                };
                return Ok(TaskAnswer::Refused { error });
            }
        }
        if action != TaskAction::Status {
            task = self.foreign(&self.rest.detail(id.as_str()).await?);
        }
        self.look_at(id).await?;
        Ok(TaskAnswer::Task { task: Box::new(task) })
    }

    pub(super) async fn log(self: &Arc<Self>, id: &TaskId, query: &LogQuery) -> Result<LogPart, ClientError> {
        let deadline =
            tokio::time::Instant::now() + Duration::from_millis(query.wait_milliseconds.min(60_000));
        loop {
            let (remote, done) = match self.row(id).await? {
                Some(row) => (row.solve.id.clone(), row.state.is_final()),
                None => {
                    let task = self.foreign(&self.rest.detail(id.as_str()).await?);
                    if task.state == TaskState::Deleted {
                        return Err(none_such(id));
                    }
                    (Some(id.as_str().to_owned()), task.state.is_final())
                }
            };
            let text = match remote {
                Some(remote) => self.text(&remote, "output/tidy3d.log").await?.unwrap_or_default(),
                None => String::new(),
            };
            // Whole lines only, unless nothing will follow.
            let end = if done { text.len() } else { text.rfind('\n').map_or(0, |at| at + 1) };
            let start = usize::try_from(query.offset).unwrap_or(usize::MAX).min(end);
            let start = text.ceil_char_boundary(start);
            if start < end || done || tokio::time::Instant::now() >= deadline {
                let mut part = text.get(start..end).unwrap_or_default().to_owned();
                if !part.is_empty() && !part.ends_with('\n') {
                    part.push('\n');
                }
                return Ok(LogPart { text: part, next: end.max(start) as u64, complete: done });
            }
            // The protocol has whole logs only, so they are not asked for often.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// The server's task that has the result of a task, with its kind and whether it diverged; or why there is none.
    async fn source(
        self: &Arc<Self>,
        id: &TaskId,
    ) -> Result<Result<(String, TaskKind, bool), ResultOutcome>, ClientError> {
        let none = |code: &str| Ok(Err(ResultOutcome::None { code: code.to_owned() }));
        let (remote, kind, state, error) = match self.row(id).await? {
            Some(row) => (row.solve.id, row.kind, row.state, row.error),
            None => {
                let detail = self.rest.detail(id.as_str()).await?;
                let task = self.foreign(&detail);
                (Some(detail.id), task.kind, task.state, task.error)
            }
        };
        match (state, remote, error) {
            (TaskState::Success | TaskState::Diverged, Some(remote), _) => {
                Ok(Ok((remote, kind, state == TaskState::Diverged)))
            }
            (TaskState::Error, _, Some(error)) => Ok(Err(ResultOutcome::Failed { error })),
            (TaskState::Aborted, ..) => none("task.aborted"),
            (TaskState::Deleted, ..) => none("task.not_found"),
            _ => none("task.not_ended"),
        }
    }

    pub(super) async fn results(
        self: &Arc<Self>,
        request: &ResultsRequest,
        take: &mut ResultSink<'_>,
    ) -> Result<(), ClientError> {
        let mut coming = futures::stream::iter(request.tasks.clone())
            .map(|id| {
                let shared = Arc::clone(self);
                async move {
                    let found = match shared.source(&id).await? {
                        Ok((remote, kind, diverged)) => Ok((shared.result(&remote, kind).await, diverged)),
                        Err(outcome) => Err(outcome),
                    };
                    Ok::<_, ClientError>((id, found))
                }
            })
            .buffer_unordered(AT_ONCE);
        let mut inlined = 0;
        let mut failed = None;
        while let Some(one) = coming.next().await {
            let (task, found) = one?;
            let outcome = match found {
                Err(outcome) => outcome,
                // The others still come; the caller asks for this one again.
                Ok((Err(error), _)) => {
                    failed = Some(error.task(task));
                    continue;
                }
                Ok((Ok(stored), diverged)) => {
                    let inline = inlined < INLINE
                        && stored.document.array_bytes() <= request.inline_bytes.min(INLINE - inlined);
                    if inline {
                        inlined += stored.document.array_bytes();
                    }
                    self.hand_over(task, &stored, inline, diverged, request.simulation, take).await?;
                    continue;
                }
            };
            (take.result)(ResultAnswer { task, outcome })?;
        }
        failed.map_or(Ok(()), Err)
    }

    async fn hand_over(
        &self,
        task: TaskId,
        stored: &Arc<Stored>,
        inline: bool,
        diverged: bool,
        with_simulation: bool,
        take: &mut ResultSink<'_>,
    ) -> Result<(), ClientError> {
        let json = serde_json::to_string(&stored.document).and_then(RawValue::from_string);
        let document = json.map_err(super::table::broken)?;
        (take.result)(ResultAnswer {
            task,
            outcome: ResultOutcome::Document { document, inline, diverged },
        })?;
        if inline {
            for digest in result_blocks(&stored.document, with_simulation) {
                let (from, wanted) = (Arc::clone(stored), digest);
                let bytes = blocking(move || from.block(&wanted)).await?.map_err(damaged)?;
                if let Some(bytes) = bytes {
                    (take.block)(digest, bytes)?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn fetch_blocks(
        self: &Arc<Self>,
        blocks: &[WantedBlock],
        take: &(dyn Fn(Digest, Bytes) -> Result<(), ClientError> + Send + Sync),
    ) -> Result<(), ClientError> {
        let mut seen = std::collections::HashSet::new();
        for wanted in blocks {
            let digest = wanted.digest;
            if !seen.insert(digest) {
                continue;
            }
            let unknown = || {
                ClientError::new(
                    ErrorGroup::NotFound,
                    "block.not_found",
                    "no result that was fetched by this process has this block",
                )
                .hint("This server has whole files only: ask for the result first.")
            };
            let remote = self.results.origin(&digest).ok_or_else(unknown)?;
            // The kind decides nothing but the file's name, which is one of two.
            let stored = match self.result(&remote, TaskKind::HeatCharge).await {
                Err(error) if error.group == ErrorGroup::NotFound => {
                    self.result(&remote, TaskKind::ModeSolver).await?
                }
                stored => stored?,
            };
            let bytes = blocking(move || stored.block(&digest)).await?.map_err(damaged)?;
            take(digest, bytes.ok_or_else(unknown)?)?;
        }
        Ok(())
    }
}

/// The blocks of a result, each once; those of the simulation in it only if they are wanted.
fn result_blocks(document: &Document, with_simulation: bool) -> Vec<Digest> {
    let mut seen = std::collections::HashSet::new();
    document
        .arrays
        .iter()
        .filter(|(path, _)| with_simulation || !path.starts_with("simulation/"))
        .flat_map(|(_, array)| array.blocks.iter().copied())
        .filter(|digest| seen.insert(*digest))
        .collect()
}

fn damaged(error: std::io::Error) -> ClientError {
    ClientError::new(
        ErrorGroup::DataCorrupted,
        "plain.damaged",
        format!("the copy of a result is damaged: {error}"),
    )
    .hint("Check the disk, and fetch it again.")
    .caused_by(error)
}
