//! Single tasks, and lists of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use wavetask_core::{Command, TaskRecord};
use wavetask_document::Document;
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{LogPart, LogQuery, TaskFilter, TaskList, TaskSummary};
use wavetask_store::{Cursor, DocumentRole, TaskFilter as StoreFilter};

use super::summary::summarize;
use super::{Asked, Routes, Segment, asked, conditions};
use crate::answer::Refused;
use crate::app::App;
use crate::documents;
use crate::extract::Caller;
use crate::logs;

/// Tasks that one list answers with at most.
const LIST: u32 = 1_000;

/// Tasks that are read at once.
const PAGE: usize = 500;

/// Longest time that an answer is held.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often a log that is waited for is looked at: lines come with heartbeats, of which nobody tells.
const LOOK: Duration = Duration::from_millis(300);

/// Bytes of log that one answer holds at most.
const LOG_PART: usize = 1 << 20;

/// The routes of this part.
pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/tasks", list)
        .get("/api/v1/tasks/{task}", summary)
        .delete("/api/v1/tasks/{task}", remove)
        .get("/api/v1/tasks/{task}/simulation", simulation)
        .get("/api/v1/tasks/{task}/log", log)
        .post("/api/v1/tasks/{task}/cancel", cancel)
}

/// Goes through tasks, newest first, until `take` says that it is enough; answers whether that happened.
pub(super) fn each_task(
    app: &App,
    filter: &StoreFilter,
    mut after: Option<Cursor>,
    mut take: impl FnMut(&TaskRecord) -> bool,
) -> Result<bool, Refused> {
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
    let list = app.blocking(move |app| listed(app, &caller, &query)).await?;
    Ok(Json(list))
}

fn listed(app: &App, caller: &Caller, query: &TaskFilter) -> Result<TaskList, Refused> {
    // The newest number first: what happens while the list is made is told by an event after it.
    let last_event = app.tasks.latest_sequence()?;
    let limit = query.limit.unwrap_or(LIST).min(LIST) as usize;
    let mut filter = StoreFilter {
        owner: Some(caller.id().clone()),
        states: query.state.into_iter().collect(),
        name_contains: query.name.clone(),
        tag: query.tag.clone(),
        without_tag: query.without_tag.clone(),
        batch: query.batch.clone(),
        parameters: conditions::parse(query.conditions.as_deref().unwrap_or(""))?,
        ..StoreFilter::default()
    };
    if let Some(name) = &query.folder {
        match app.tasks.folder_by_name(caller.id(), name)? {
            Some(folder) => filter.folder = Some(folder.id),
            None => return Ok(TaskList { tasks: Vec::new(), more: false, last_event }),
        }
    }
    let after = match &query.after {
        Some(task) => {
            let record = app.task_of(caller.id(), task)?;
            Some(Cursor { created_at: record.created_at, task: task.clone() })
        }
        None => None,
    };
    let mut records = Vec::new();
    let more = each_task(app, &filter, after, |record| {
        let wanted = query.id_prefix.as_ref().is_none_or(|prefix| record.id().as_str().starts_with(prefix));
        if wanted && records.len() < limit {
            records.push(record.clone());
            return true;
        }
        !wanted
    })?;
    let tasks = records.iter().map(|record| summarize(app, record)).collect::<Result<_, _>>()?;
    Ok(TaskList { tasks, more, last_event })
}

async fn summary(
    caller: Caller,
    State(app): State<Arc<App>>,
    task: Segment,
) -> Result<Json<TaskSummary>, Refused> {
    let task = task.task()?;
    let summary = app
        .blocking(move |app| {
            let record = app.task_of(caller.id(), &task)?;
            summarize(app, &record)
        })
        .await?;
    Ok(Json(summary))
}

async fn simulation(
    caller: Caller,
    State(app): State<Arc<App>>,
    task: Segment,
) -> Result<Json<Document>, Refused> {
    let task = task.task()?;
    let found = app
        .blocking(move |app| {
            app.task_of(caller.id(), &task)?;
            documents::load(app, &task, DocumentRole::Input)?.ok_or_else(|| no_simulation(&task))
        })
        .await?;
    Ok(Json(found))
}

fn no_simulation(task: &TaskId) -> Refused {
    let message = format!("there is no simulation of the task {task} yet");
    Refused::new(StatusCode::NOT_FOUND, "task.no_simulation", message)
        .hint("it is there once it has been sent completely, and the results that it is made of are there")
}

async fn log(
    caller: Caller,
    State(app): State<Arc<App>>,
    task: Segment,
    query: Asked<LogQuery>,
) -> Result<Json<LogPart>, Refused> {
    let query = asked(query)?;
    let task = task.task()?;
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
    task: Segment,
) -> Result<Json<TaskSummary>, Refused> {
    let task = task.task()?;
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
    task: Segment,
) -> Result<Json<serde_json::Value>, Refused> {
    let task = task.task()?;
    app.blocking(move |app| {
        app.task_of(caller.id(), &task)?;
        app.apply(&task, &Command::Delete)?;
        Ok(())
    })
    .await?;
    Ok(Json(serde_json::json!({})))
}
