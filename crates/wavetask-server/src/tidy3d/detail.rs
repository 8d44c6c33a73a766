//! A task as the client sees it: the answer that it polls for, and its progress.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wavetask_core::{TaskRecord, Timestamp};
use wavetask_protocol::native::TaskDetail;
use wavetask_protocol::{TaskId, TaskKind, TaskState};

use super::status::{is_under_way, metadata_word, status_word};
use crate::answer::Refused;
use crate::app::App;
use crate::extract::{Caller, OnConnection};

/// A task. While it is under way the answer may be held back until there is news ([`crate::watch`]).
pub(super) async fn detail(
    caller: Caller,
    OnConnection(connection): OnConnection,
    State(app): State<Arc<App>>,
    Path(task): Path<String>,
) -> Result<Json<Value>, Refused> {
    let task = task_id(&task)?;
    let (mut record, folder, same) = load(&app, &caller, &task).await?;
    let mut held = false;
    if is_under_way(record.state) {
        let word = status_word(record.state);
        held = app.watch.hold(caller.id(), &task, connection, word, app.config.hold).await;
        if held {
            record = load(&app, &caller, &task).await?.0;
        }
    }
    app.watch.tell(caller.id(), &task, connection, status_word(record.state), held);
    Ok(Json(json!({ "data": detail_json(&record, &folder, same.as_deref()) })))
}

/// The task, its folder's name, and the name of the simulation in it.
async fn load(
    app: &Arc<App>,
    caller: &Caller,
    task: &TaskId,
) -> Result<(TaskRecord, String, Option<String>), Refused> {
    let (key, task) = (caller.id().clone(), task.clone());
    app.blocking(move |app| {
        let record = app.task_of(&key, &task)?;
        let folder = app.folder_name(&key, &record.task.folder)?;
        let same = simulation_digest(app, &record)?;
        Ok((record, folder, same))
    })
    .await
}

/// What a mesh and the heat task that uses it must have in common: the digest of the simulation, which is
/// the whole upload of the one and a part of the other's.
fn simulation_digest(app: &App, record: &TaskRecord) -> Result<Option<String>, Refused> {
    let Some(input) = record.input else { return Ok(None) };
    if record.task.kind != TaskKind::VolumeMesh {
        return Ok(Some(input.to_string()));
    }
    app.mesh_simulation(record.id(), &input).map(|digest| digest.map(|digest| digest.to_string()))
}

/// The JSON that the client reads as `TaskInfo` and `SimulationTask`. It needs `fileMd5` and
/// `childFileMd5` to be there, whatever they are; they are no MD5 sums, and it only compares them.
///
/// Cost: one unit is one second of one processor core, estimated before and counted afterwards from the
/// start to the end of the last attempt. It is no price.
pub(super) fn detail_json(record: &TaskRecord, folder_name: &str, simulation: Option<&str>) -> Value {
    let estimate = record.estimate.map(|estimate| estimate.cpu_seconds.max(0.001));
    let ran = match (record.started_at, record.finished_at) {
        (Some(started), Some(finished)) => Some(finished.since(started).as_secs_f64().max(0.001)),
        _ => None,
    };
    let spent = ran.filter(|_| matches!(record.state, TaskState::Success | TaskState::Diverged));
    let is_mesh = record.task.kind == TaskKind::VolumeMesh;
    json!({
        "taskId": record.id(),
        "taskName": record.task.name,
        "taskType": record.task.kind.as_str(),
        "folderId": record.task.folder,
        "folderName": folder_name,
        "createdAt": time_text(record.created_at),
        "createAt": time_text(record.created_at),
        "startSolverTime": record.started_at.and_then(time_text),
        "finishSolverTime": record.finished_at.and_then(time_text),
        "completedAt": record.finished_at.and_then(time_text),
        "totalSolverTime": ran.map(f64::round),
        "status": status_word(record.state),
        "metadataStatus": metadata_word(record),
        "estFlexUnit": estimate.unwrap_or(0.0),
        "realFlexUnit": spent,
        "oriRealFlexUnit": spent,
        "realCost": spent,
        "solverVersion": concat!("wavetask-", env!("CARGO_PKG_VERSION")),
        "callbackUrl": record.task.callback,
        "errorMessages": record.error.as_ref().map(|error| &error.message),
        "fileMd5": simulation.filter(|_| !is_mesh),
        "childFileMd5": simulation.filter(|_| is_mesh),
        "parentTasks": record.task.attributes.get(super::tasks::PARENTS),
    })
}

pub(super) fn time_text(at: Timestamp) -> Option<String> {
    let nanoseconds = i128::from(at.as_milliseconds()) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?.format(&Rfc3339).ok()
}

/// A task in the client's words: what it is told of one when it asks for its detail, and for its progress.
pub(crate) fn told(app: &App, record: &TaskRecord) -> Result<TaskDetail, Refused> {
    let folder = app.folder_name(record.owner(), &record.task.folder)?;
    let same = simulation_digest(app, record)?;
    Ok(TaskDetail { detail: detail_json(record, &folder, same.as_deref()), progress: progress_json(record) })
}

/// How far a task is.
pub(super) async fn progress(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(task): Path<String>,
) -> Result<Json<Value>, Refused> {
    let task = task_id(&task)?;
    let record = app.blocking(move |app| app.task_of(caller.id(), &task)).await?;
    Ok(Json(json!({ "data": progress_json(&record) })))
}

/// Never `null` while it runs: the client sleeps at the sight of that.
fn progress_json(record: &TaskRecord) -> Value {
    let percent = match record.state {
        TaskState::Draft | TaskState::Validating | TaskState::Validated => None,
        TaskState::Success | TaskState::Diverged => Some(100.0),
        _ => Some(record.progress.as_ref().map_or(0.0, |progress| progress.percent.clamp(0.0, 100.0))),
    };
    let residual = record.progress.as_ref().and_then(|progress| progress.residual).unwrap_or(1.0);
    let decay = if residual.is_finite() { residual.clamp(0.0, 1.0) } else { 1.0 };
    json!({ "perc_done": percent, "field_decay": percent.map(|_| decay) })
}

pub(super) fn task_id(text: &str) -> Result<TaskId, Refused> {
    text.parse().map_err(|_| Refused::no_such_task())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_text_that_python_reads() {
        assert_eq!(
            time_text(Timestamp::from_milliseconds(1_700_000_000_123)).as_deref(),
            Some("2023-11-14T22:13:20.123Z")
        );
    }
}
