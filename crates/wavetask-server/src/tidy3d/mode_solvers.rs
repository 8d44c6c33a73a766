//! The older interface for mode solvers, which `tidy3d.plugins.mode.web` still speaks.
//!
//! There a mode solver has a task around it, for a drawing of the simulation in a browser. Here both are one task:
//! its two ids are the same, and the drawing's file is taken and forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use wavetask_core::{Command, TaskRecord};
use wavetask_protocol::{TaskId, TaskKind, TaskState};

use super::detail::{task_id, time_text};
use super::folders::{check_name, folder_id};
use super::status::{is_under_way, status_word};
use super::tasks::{Draft, create_draft, done, order};
use crate::answer::Refused;
use crate::app::App;
use crate::extract::{Body, Caller, OnConnection};
use crate::validation;

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewModeSolver {
    project_id: String,
    task_name: String,
}

/// Creates a mode solver.
pub(super) async fn create(
    caller: Caller,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(request): Body<NewModeSolver>,
) -> Result<Json<Value>, Refused> {
    let folder = folder_id(&request.project_id)?;
    check_name(&request.task_name)?;
    let draft = Draft {
        folder,
        name: request.task_name,
        kind: TaskKind::ModeSolver,
        parents: Vec::new(),
        callback: None,
        attributes: BTreeMap::new(),
    };
    let record = create_draft(&app, caller, &headers, draft).await?;
    Ok(Json(json!({ "data": state_json(&record) })))
}

/// Where a mode solver stands. While it is under way the answer may be held back until there is news.
pub(super) async fn state(
    caller: Caller,
    OnConnection(connection): OnConnection,
    State(app): State<Arc<App>>,
    Path(ids): Path<(String, String)>,
) -> Result<Json<Value>, Refused> {
    let task = id(&ids)?;
    let mut record = load(&app, &caller, &task).await?;
    let mut held = false;
    if is_under_way(record.state) {
        held =
            app.watch.hold(caller.id(), &task, connection, status_word(record.state), app.config.hold).await;
        if held {
            record = load(&app, &caller, &task).await?;
        }
    }
    app.watch.tell(caller.id(), &task, connection, status_word(record.state), held);
    Ok(Json(json!({ "data": state_json(&record) })))
}

/// Reads and checks what was uploaded, and starts it. This interface has no place for the reasons why a mode solver
/// cannot be run but the answer to this request.
pub(super) async fn run(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(ids): Path<(String, String)>,
) -> Result<Json<Value>, Refused> {
    let task = id(&ids)?;
    let record = load(&app, &caller, &task).await?;
    validation::validate(&app, &record).await?;
    let record = load(&app, &caller, &task).await?;
    if let (TaskState::Error, Some(error)) = (record.state, &record.error) {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "validation.refused", error.message.clone()));
    }
    order(&app, caller, task, |_, _| Ok(Command::Submit { priority: 0 })).await
}

/// Answers the first of two requests to delete; the second one, for the task around it, deletes.
pub(super) async fn remove(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(ids): Path<(String, String)>,
) -> Result<Json<Value>, Refused> {
    load(&app, &caller, &id(&ids)?).await?;
    Ok(done())
}

/// The task that both ids name.
fn id((task, solver): &(String, String)) -> Result<TaskId, Refused> {
    if task == solver { task_id(task) } else { Err(Refused::no_such_task()) }
}

async fn load(app: &Arc<App>, caller: &Caller, task: &TaskId) -> Result<TaskRecord, Refused> {
    let (key, task) = (caller.id().clone(), task.clone());
    app.blocking(move |app| {
        let record = app.task_of(&key, &task)?;
        if record.task.kind == TaskKind::ModeSolver { Ok(record) } else { Err(Refused::no_such_task()) }
    })
    .await
}

/// The JSON that the client reads as `ModeSolverTask`. It polls until one of four words; of a task that was stopped it
/// would ask for ever, so that is an error to it.
fn state_json(record: &TaskRecord) -> Value {
    let status = match record.state {
        TaskState::Aborted => "error",
        state => status_word(state),
    };
    let spent = match (record.state, record.started_at, record.finished_at) {
        (TaskState::Success | TaskState::Diverged, Some(started), Some(finished)) => {
            Some(finished.since(started).as_secs_f64().max(0.001))
        }
        _ => None,
    };
    json!({
        "refId": record.id(),
        "id": record.id(),
        "status": status,
        "createdAt": time_text(record.created_at),
        "fileType": "Gz",
        "charge": spent,
    })
}
