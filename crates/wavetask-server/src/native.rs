//! The native API as far as the command line needs it; its types are in [`wavetask_protocol::native`].

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use wavetask_core::{Command, TaskRecord};
use wavetask_protocol::native::{
    CreatedKey, EventPage, EventQuery, KeyList, KeySummary, LogPart, LogQuery, NewKey, ServerStatus,
    StateCount, TaskEvent, TaskFilter, TaskList, TaskSummary,
};
use wavetask_protocol::{KeyId, TaskId, TaskState};
use wavetask_store::{Cursor, Key, KeyRole, SecretHash, TaskFilter as StoreFilter};

use crate::answer::Refused;
use crate::app::{App, now};
use crate::extract::{Body, Caller};
use crate::{logs, secret};

/// Tasks that one list answers with at most.
const LIST: u32 = 1_000;

/// Tasks that are read at once.
const PAGE: usize = 500;

/// Events that one page holds at most.
const EVENTS: u32 = 1_000;

/// Longest time that an answer is held.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often a log that is waited for is looked at: lines come with heartbeats, of which nobody tells.
const LOOK: Duration = Duration::from_millis(300);

/// Bytes of log that one answer holds at most.
const LOG_PART: usize = 1 << 20;

/// The routes of this part.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/tasks", get(list))
        .route("/api/v1/tasks/{task}", get(summary).delete(remove))
        .route("/api/v1/tasks/{task}/log", get(log))
        .route("/api/v1/tasks/{task}/cancel", post(cancel))
        .route("/api/v1/events", get(events))
        .route("/api/v1/keys", get(keys).post(add_key))
        .route("/api/v1/keys/{key}", delete(revoke_key))
}

type Asked<T> = Result<Query<T>, axum::extract::rejection::QueryRejection>;

fn asked<T: DeserializeOwned>(query: Asked<T>) -> Result<T, Refused> {
    query.map(|Query(query)| query).map_err(|error| Refused::bad_request(error.body_text()))
}

async fn status(caller: Caller, State(app): State<Arc<App>>) -> Result<Json<ServerStatus>, Refused> {
    let status = app
        .blocking(move |app| {
            let filter = StoreFilter { owner: Some(caller.id().clone()), ..StoreFilter::default() };
            let mut counts = std::collections::BTreeMap::new();
            each_task(app, &filter, |record| {
                *counts.entry(record.state).or_insert(0) += 1;
                true
            })?;
            Ok(ServerStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                now_milliseconds: now().as_milliseconds(),
                started_milliseconds: app.started.as_milliseconds(),
                disk_free_bytes: app.staging.free_bytes()?,
                key: caller.id().clone(),
                key_name: caller.key.name.clone(),
                administrator: caller.key.role == KeyRole::Administrator,
                tasks: counts.into_iter().map(|(state, count)| StateCount { state, count }).collect(),
                workers: app.workers.status(),
            })
        })
        .await?;
    Ok(Json(status))
}

/// Goes through tasks, newest first, until `take` says that it is enough; answers whether that happened.
fn each_task(
    app: &App,
    filter: &StoreFilter,
    mut take: impl FnMut(&TaskRecord) -> bool,
) -> Result<bool, Refused> {
    let mut after: Option<Cursor> = None;
    loop {
        let page = app.tasks.list_tasks(filter, after.as_ref(), PAGE)?;
        for record in &page.tasks {
            if !take(record) {
                return Ok(true);
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(false),
        }
    }
}

async fn list(
    caller: Caller,
    State(app): State<Arc<App>>,
    query: Asked<TaskFilter>,
) -> Result<Json<TaskList>, Refused> {
    let query = asked(query)?;
    let list = app
        .blocking(move |app| {
            let last_event = app.tasks.latest_sequence()?;
            let limit = query.limit.unwrap_or(LIST).min(LIST) as usize;
            let mut filter = StoreFilter {
                owner: Some(caller.id().clone()),
                states: query.state.into_iter().collect(),
                ..StoreFilter::default()
            };
            if let Some(name) = &query.folder {
                match app.tasks.folder_by_name(caller.id(), name)? {
                    Some(folder) => filter.folder = Some(folder.id),
                    None => return Ok(TaskList { tasks: Vec::new(), more: false, last_event }),
                }
            }
            let mut records = Vec::new();
            let more = each_task(app, &filter, |record| {
                let wanted =
                    query.id_prefix.as_ref().is_none_or(|prefix| record.id().as_str().starts_with(prefix));
                if wanted && records.len() < limit {
                    records.push(record.clone());
                    return true;
                }
                !wanted
            })?;
            let tasks = records.iter().map(|record| summarize(app, record)).collect::<Result<_, _>>()?;
            Ok(TaskList { tasks, more, last_event })
        })
        .await?;
    Ok(Json(list))
}

async fn summary(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(task): Path<String>,
) -> Result<Json<TaskSummary>, Refused> {
    let task = task_id(&task)?;
    let summary = app
        .blocking(move |app| {
            let record = app.task_of(caller.id(), &task)?;
            summarize(app, &record)
        })
        .await?;
    Ok(Json(summary))
}

fn summarize(app: &App, record: &TaskRecord) -> Result<TaskSummary, Refused> {
    Ok(TaskSummary {
        task: record.id().clone(),
        name: record.task.name.clone(),
        folder: record.task.folder.clone(),
        folder_name: app.folder_name(record.owner(), &record.task.folder)?,
        kind: record.task.kind,
        state: record.state,
        progress: record.progress.clone(),
        error: record.error.clone(),
        attempts: record.attempt,
        created_milliseconds: record.created_at.as_milliseconds(),
        started_milliseconds: record.started_at.map(wavetask_core::Timestamp::as_milliseconds),
        ended_milliseconds: record.finished_at.map(wavetask_core::Timestamp::as_milliseconds),
    })
}

async fn log(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(task): Path<String>,
    query: Asked<LogQuery>,
) -> Result<Json<LogPart>, Refused> {
    let query = asked(query)?;
    let task = task_id(&task)?;
    let wait = Duration::from_millis(query.wait_milliseconds).min(LONGEST_WAIT);
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let (key, task) = (caller.id().clone(), task.clone());
        let part = app
            .blocking(move |app| {
                let record = app.task_of(&key, &task)?;
                let ended = record.state.is_final();
                let mut skip = usize::try_from(query.offset).unwrap_or(usize::MAX);
                let (mut text, mut rest) = (String::new(), false);
                logs::each_line(app, &record, None, |line| {
                    let length = line.text.len() + 1;
                    if skip >= length {
                        skip -= length;
                    } else if text.len() + length > LOG_PART && !text.is_empty() {
                        rest = true;
                    } else if !rest {
                        text.push_str(&line.text);
                        text.push('\n');
                    }
                })?;
                let next = query.offset + text.len() as u64;
                Ok(LogPart { text, next, complete: ended && !rest })
            })
            .await?;
        if !part.text.is_empty() || part.complete || tokio::time::Instant::now() + LOOK > deadline {
            return Ok(Json(part));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = app.stopping.cancelled() => return Ok(Json(part)),
        }
    }
}

async fn cancel(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(task): Path<String>,
) -> Result<Json<TaskSummary>, Refused> {
    let task = task_id(&task)?;
    let summary = app
        .blocking(move |app| {
            let record = app.task_of(caller.id(), &task)?;
            if record.state.is_final() {
                return summarize(app, &record);
            }
            let applied = app.apply(&task, &Command::Abort)?;
            summarize(app, &applied.record)
        })
        .await?;
    Ok(Json(summary))
}

async fn remove(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(task): Path<String>,
) -> Result<Json<serde_json::Value>, Refused> {
    let task = task_id(&task)?;
    app.blocking(move |app| {
        app.task_of(caller.id(), &task)?;
        app.apply(&task, &Command::Delete)?;
        Ok(())
    })
    .await?;
    Ok(Json(serde_json::json!({})))
}

async fn events(
    caller: Caller,
    State(app): State<Arc<App>>,
    query: Asked<EventQuery>,
) -> Result<Json<EventPage>, Refused> {
    let query = asked(query)?;
    let limit = query.limit.unwrap_or(EVENTS).clamp(1, EVENTS) as usize;
    let wait = Duration::from_millis(query.wait_milliseconds).min(LONGEST_WAIT);
    let deadline = tokio::time::Instant::now() + wait;
    let mut after = query.after;
    loop {
        // Listen first, look second: what happens in between is not missed.
        let event = app.watch.any_event();
        tokio::pin!(event);
        event.as_mut().enable();
        let key = caller.id().clone();
        let (page, full) = app
            .blocking(move |app| {
                // The newest number first: events that come while the page is made are not passed over.
                let latest = app.tasks.latest_sequence()?;
                let found = app.tasks.events_after(after, Some(&key), limit)?;
                let full = found.len() == limit;
                let last = if full { 0 } else { latest };
                let last = found.last().map_or(last, |event| event.sequence.max(last));
                let mut events = Vec::with_capacity(found.len());
                for event in found {
                    // A task that was deleted since is told by its last word only.
                    let Some(record) = app.tasks.task_of(&key, &event.task)? else {
                        if event.state == TaskState::Deleted {
                            events.push(deleted(&event));
                        }
                        continue;
                    };
                    events.push(TaskEvent {
                        sequence: event.sequence,
                        at_milliseconds: event.at.as_milliseconds(),
                        state: event.state,
                        task: summarize(app, &record)?,
                    });
                }
                Ok((EventPage { events, last: last.max(after) }, full))
            })
            .await?;
        if !page.events.is_empty() {
            return Ok(Json(page));
        }
        after = page.last;
        if full {
            // Nothing but the past of deleted tasks: what can be told may come behind it.
            continue;
        }
        tokio::select! {
            () = event => {}
            () = tokio::time::sleep_until(deadline) => return Ok(Json(page)),
            () = app.stopping.cancelled() => return Ok(Json(page)),
        }
    }
}

/// The last word about a task: of what it was, only the id is left.
fn deleted(event: &wavetask_store::LoggedEvent) -> TaskEvent {
    TaskEvent {
        sequence: event.sequence,
        at_milliseconds: event.at.as_milliseconds(),
        state: event.state,
        task: TaskSummary {
            task: event.task.clone(),
            name: String::new(),
            folder: wavetask_protocol::FolderId::from_uuid(uuid::Uuid::nil()),
            folder_name: String::new(),
            kind: wavetask_protocol::TaskKind::HeatCharge,
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

async fn keys(caller: Caller, State(app): State<Arc<App>>) -> Result<Json<KeyList>, Refused> {
    caller.must_administer()?;
    let keys = app.blocking(|app| Ok(app.tasks.keys()?)).await?;
    let keys = keys.iter().filter(|key| key.role != KeyRole::Worker).map(key_summary).collect();
    Ok(Json(KeyList { keys }))
}

fn key_summary(key: &Key) -> KeySummary {
    KeySummary {
        key: key.id.clone(),
        name: key.name.clone(),
        created_milliseconds: key.created_at.as_milliseconds(),
        administrator: key.role == KeyRole::Administrator,
        revoked_milliseconds: key.revoked_at.map(wavetask_core::Timestamp::as_milliseconds),
        quota: wavetask_protocol::native::Quota::default(),
        usage: wavetask_protocol::native::Usage::default(),
    }
}

async fn add_key(
    caller: Caller,
    State(app): State<Arc<App>>,
    Body(new): Body<NewKey>,
) -> Result<Json<CreatedKey>, Refused> {
    caller.must_administer()?;
    let length = new.name.chars().count();
    if !(1..=100).contains(&length) || new.name.chars().any(char::is_control) {
        return Err(Refused::bad_request("a key's name has 1 to 100 printable characters"));
    }
    let created = app
        .blocking(move |app| {
            let taken = |key: &Key| key.revoked_at.is_none() && key.name == new.name;
            if app.tasks.keys()?.iter().any(taken) {
                let message = "there is a valid key of this name already";
                return Err(Refused::new(StatusCode::CONFLICT, "key.name_taken", message));
            }
            let secret = secret::random_text().map_err(|error| Refused::internal(&error))?;
            let id = KeyId::from_uuid(uuid::Uuid::now_v7());
            let key = app.tasks.create_key(&id, &new.name, KeyRole::User, &SecretHash::of(&secret), now())?;
            Ok(CreatedKey { summary: key_summary(&key), secret })
        })
        .await?;
    Ok(Json(created))
}

async fn revoke_key(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
) -> Result<Json<serde_json::Value>, Refused> {
    caller.must_administer()?;
    let missing = || Refused::new(StatusCode::NOT_FOUND, "key.not_found", "there is no such key");
    let key: KeyId = key.parse().map_err(|_| missing())?;
    if key == *caller.id() {
        let message = "a key cannot revoke itself: nobody could manage keys any more";
        return Err(Refused::new(StatusCode::CONFLICT, "key.own", message));
    }
    app.blocking(move |app| {
        let known = app.tasks.keys()?;
        let is_worker = known.iter().any(|known| known.id == key && known.role == KeyRole::Worker);
        if is_worker || !app.tasks.revoke_key(&key, now())? {
            return Err(missing());
        }
        app.forget_keys();
        Ok(())
    })
    .await?;
    Ok(Json(serde_json::json!({})))
}

fn task_id(text: &str) -> Result<TaskId, Refused> {
    text.parse().map_err(|_| Refused::no_such_task())
}
