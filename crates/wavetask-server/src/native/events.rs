//! What happens to an account's tasks: asked for page by page, or as one stream that stays open.
//!
//! A stream costs the server an open connection and, when there is news of its own account, two queries. Pages are
//! read when the one before has been taken by the connection: for a slow reader they become fewer and longer, and
//! nobody else notices. Of several events of one task the stream tells the last, since it comes with the task as it
//! is *now*: a batch of thousands would otherwise be told four times over.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;
use wavetask_protocol::native::{EventPage, EventQuery, TaskEvent, TaskSummary};
use wavetask_protocol::{FolderId, KeyId, TaskId, TaskKind, TaskState};
use wavetask_store::LoggedEvent;

use super::summary::{records, summarize};
use super::{Asked, Routes, asked, bad};
use crate::answer::Refused;
use crate::app::App;
use crate::extract::Caller;

/// Events that one page holds at most.
const EVENTS: u32 = 1_000;

/// Longest time that an answer is held.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A stream is never silent for longer: the other end, and what lies between, learn that it is alive.
const COMMENT: Duration = Duration::from_secs(8);

/// Pages of a stream come no faster than this: what happens in between is told together.
const SPACING: Duration = Duration::from_millis(10);

/// How often a stream tells how far running tasks have come.
const PROGRESS: Duration = Duration::from_millis(500);

/// The routes of this part.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/api/v1/events", events).get("/api/v1/events/stream", stream_events)
}

/// What was read at once.
struct Read {
    page: EventPage,
    /// Whether there may be more at once.
    full: bool,
}

async fn events(
    caller: Caller,
    State(app): State<Arc<App>>,
    query: Asked<EventQuery>,
) -> Result<Json<EventPage>, Refused> {
    let query = asked(query)?;
    let limit = query.limit.unwrap_or(EVENTS).clamp(1, EVENTS) as usize;
    let wait = Duration::from_millis(query.wait_milliseconds).min(LONGEST_WAIT);
    let deadline = Instant::now() + wait;
    let mut news = app.watch.follow(caller.id());
    let mut after = query.after;
    loop {
        // Listen first, look second: what happens in between is not missed.
        news.borrow_and_update();
        let key = caller.id().clone();
        let read = app.blocking(move |app| read(app, &key, after, limit, false)).await?;
        if !read.page.events.is_empty() {
            return Ok(Json(read.page));
        }
        after = read.page.last;
        if read.full {
            // Nothing but the past of deleted tasks: what can be told may come behind it.
            continue;
        }
        tokio::select! {
            Ok(()) = news.changed() => {}
            () = tokio::time::sleep_until(deadline) => return Ok(Json(read.page)),
            () = app.stopping.cancelled() => return Ok(Json(read.page)),
        }
    }
}

/// Reads a page. Blocks.
fn read(app: &App, key: &KeyId, after: u64, limit: usize, last_only: bool) -> Result<Read, Refused> {
    // The newest number first: events that come while the page is made are not passed over.
    let latest = app.tasks.latest_sequence()?;
    if after > latest {
        // Numbers of another data folder: what happened here since would never be told.
        return Err(Refused::events_gone());
    }
    let mut found = app.tasks.events_after(after, Some(key), limit)?;
    let full = found.len() == limit;
    let last = if full { 0 } else { latest };
    let last = found.last().map_or(last, |event| event.sequence.max(last)).max(after);
    if last_only {
        let mut told = HashSet::new();
        found.reverse();
        found.retain(|event| told.insert(event.task.clone()));
        found.reverse();
    }
    let mut tasks: Vec<TaskId> = found.iter().map(|event| event.task.clone()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let records = records(app, key, &tasks)?;
    let mut events = Vec::with_capacity(found.len());
    for event in found {
        match records.get(&event.task) {
            Some(record) => events.push(TaskEvent {
                sequence: event.sequence,
                at_milliseconds: event.at.as_milliseconds(),
                state: event.state,
                task: summarize(app, record)?,
            }),
            // A task that was deleted since is told by its last word only.
            None if event.state == TaskState::Deleted => events.push(deleted(&event)),
            None => {}
        }
    }
    Ok(Read { page: EventPage { events, last }, full })
}

/// The last word about a task: of what it was, only the id is left.
fn deleted(event: &LoggedEvent) -> TaskEvent {
    TaskEvent {
        sequence: event.sequence,
        at_milliseconds: event.at.as_milliseconds(),
        state: event.state,
        task: TaskSummary {
            task: event.task.clone(),
            name: String::new(),
            folder: FolderId::from_uuid(uuid::Uuid::nil()),
            folder_name: String::new(),
            kind: TaskKind::HeatCharge,
            state: TaskState::Deleted,
            progress: None,
            error: None,
            attempts: 0,
            created_milliseconds: event.at.as_milliseconds(),
            started_milliseconds: None,
            ended_milliseconds: Some(event.at.as_milliseconds()),
        },
    }
}

async fn stream_events(
    caller: Caller,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    query: Asked<EventQuery>,
) -> Result<Response, Refused> {
    let query = asked(query)?;
    // What a client says that comes back goes before the address that it came with first.
    let after = match headers.get("last-event-id") {
        Some(id) => {
            let number = id.to_str().ok().and_then(|text| text.trim().parse().ok());
            number.ok_or_else(|| bad("`last-event-id` is the `id` of a message of this stream"))?
        }
        None => query.after,
    };
    let follower = Follower {
        news: app.watch.follow(caller.id()),
        revocations: app.revocations(),
        progress: app.watch.progressed_since(u64::MAX).1,
        key: caller.id().clone(),
        limit: query.limit.unwrap_or(EVENTS).clamp(1, EVENTS) as usize,
        after,
        told: after,
        app,
    };
    // The first page before the head: a number that cannot be gone on from is refused, not hung up on.
    let (key, limit) = (follower.key.clone(), follower.limit);
    let first = follower.app.blocking(move |app| read(app, &key, after, limit, true)).await?;
    let pages = stream::unfold((follower, Some(first)), |(mut follower, first)| async move {
        let message = follower.next(first).await?;
        Some((Ok::<_, Infallible>(message), (follower, None)))
    });
    let mut response = Body::from_stream(pages).into_response();
    let head = response.headers_mut();
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // For proxies that gather what they pass on.
    head.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// One open stream.
struct Follower {
    app: Arc<App>,
    key: KeyId,
    news: Receiver<u64>,
    revocations: Receiver<u64>,
    /// Number of the report of progress up to which it has been told.
    progress: u64,
    limit: usize,
    /// Number of the last event looked at.
    after: u64,
    /// The same, as far as the other end knows.
    told: u64,
}

impl Follower {
    /// The next message, once there is one; `None` at the end.
    async fn next(&mut self, first: Option<Read>) -> Option<Bytes> {
        if let Some(first) = first {
            let more = first.full;
            let message = self.message(first.page);
            if more {
                self.news.mark_changed();
            }
            return Some(message);
        }
        let comment = Instant::now() + COMMENT;
        loop {
            tokio::select! {
                biased;
                () = self.app.stopping.cancelled() => return None,
                Ok(()) = self.revocations.changed() => {
                    if !self.is_valid().await? {
                        return None;
                    }
                }
                Ok(()) = self.news.changed() => {
                    tokio::time::sleep(SPACING).await;
                    self.news.borrow_and_update();
                    let read = self.read().await?;
                    if read.full {
                        self.news.mark_changed();
                    }
                    if read.page.events.is_empty() {
                        self.after = read.page.last;
                    } else {
                        return Some(self.message(read.page));
                    }
                }
                () = tokio::time::sleep(PROGRESS.min(comment.saturating_duration_since(Instant::now()))) => {
                    if let Some(page) = self.progress().await? {
                        return Some(self.message(page));
                    }
                    if Instant::now() >= comment {
                        // A number that is far behind would be of no use after a break.
                        return Some(if self.after > self.told {
                            self.message(EventPage { events: Vec::new(), last: self.after })
                        } else {
                            Bytes::from_static(b": still here\n\n")
                        });
                    }
                }
            }
        }
    }

    fn message(&mut self, page: EventPage) -> Bytes {
        self.after = page.last;
        self.told = page.last;
        let mut text = format!("id: {}\ndata: ", page.last).into_bytes();
        // Plain numbers and texts, which always can be written.
        if serde_json::to_writer(&mut text, &page).is_err() {
            text.extend_from_slice(b"{}");
        }
        text.extend_from_slice(b"\n\n");
        text.into()
    }

    /// Reads the next page; `None` if that fails: the stream ends, and the other end asks anew and hears why.
    async fn read(&self) -> Option<Read> {
        let (key, after, limit) = (self.key.clone(), self.after, self.limit);
        self.app.blocking(move |app| read(app, &key, after, limit, true)).await.ok()
    }

    async fn is_valid(&self) -> Option<bool> {
        let key = self.key.clone();
        self.app.blocking(move |app| Ok(app.key_is_valid(&key)?)).await.ok()
    }

    /// How far running tasks have come, if they have come further. Such news have the number of the last event.
    async fn progress(&mut self) -> Option<Option<EventPage>> {
        let (tasks, count) = self.app.watch.progressed_since(self.progress);
        self.progress = count;
        if tasks.is_empty() {
            return Some(None);
        }
        let (key, last) = (self.key.clone(), self.after);
        let page = self.app.blocking(move |app| {
            let records = records(app, &key, &tasks)?;
            let running = records.values().filter(|record| record.state == TaskState::Running);
            let events = running
                .map(|record| {
                    Ok(TaskEvent {
                        sequence: last,
                        at_milliseconds: crate::app::now().as_milliseconds(),
                        state: record.state,
                        task: summarize(app, record)?,
                    })
                })
                .collect::<Result<Vec<_>, Refused>>()?;
            Ok(EventPage { events, last })
        });
        page.await.ok().map(|page| (!page.events.is_empty()).then_some(page))
    }
}
