//! The life of a task at the client's request: create, validate, submit, abort, delete.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use wavetask_core::{Command, NewTask, TaskRecord};
use wavetask_protocol::{FolderId, TaskId, TaskKind};
use wavetask_store::TaskRequest;

use super::detail::task_id;
use super::folders::{check_name, folder_id};
use super::unsupported::{missing, sentence};
use crate::answer::Refused;
use crate::app::{App, now};
use crate::extract::{Body, Caller};
use crate::quota::Room;
use crate::{callback, documents, validation};

/// Attribute of a task: the ids that the client named as its parents.
pub(super) const PARENTS: &str = "tidy3d.parent_tasks";

/// Attribute of a task: the client's version.
const CLIENT: &str = "tidy3d.client_version";

/// Most parents that a task may name.
const MAXIMUM_PARENTS: usize = 100;

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewTaskRequest {
    task_name: String,
    task_type: String,
    #[serde(default)]
    callback_url: Option<String>,
    #[serde(default)]
    simulation_type: Option<String>,
    #[serde(default)]
    parent_tasks: Option<Vec<String>>,
}

/// Creates a task. The answer must not have the keys `taskType` and `folder_name`: the client adds them
/// itself and fails if they are there.
pub(super) async fn create(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(folder): Path<String>,
    headers: HeaderMap,
    Body(request): Body<NewTaskRequest>,
) -> Result<Json<Value>, Refused> {
    let folder = folder_id(&folder)?;
    check_name(&request.task_name)?;
    let kind =
        request.task_type.parse::<TaskKind>().map_err(|error| Refused::bad_request(error.to_string()))?;
    if request.simulation_type.as_deref().is_some_and(|kind| kind.starts_with("autograd")) {
        return Err(unsupported(
            "gradients computed by the server (use td.config.adjoint.local_gradient = True)",
        ));
    }
    let callback = request.callback_url.filter(|url| !url.is_empty());
    if let Some(url) = &callback {
        callback::check_url(url, app.config.allow_private_callbacks)
            .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "callback.refused", error.to_string()))?;
    }
    let parents = request.parent_tasks.unwrap_or_default();
    if parents.len() > MAXIMUM_PARENTS {
        return Err(Refused::bad_request(format!("a task names {MAXIMUM_PARENTS} parents at most")));
    }
    let parent_ids =
        parents.iter().map(|parent| task_id(parent)).collect::<Result<Vec<TaskId>, Refused>>()?;
    let mut attributes = BTreeMap::new();
    if !parents.is_empty() {
        attributes.insert(PARENTS.to_owned(), parents.join(" "));
    }
    let draft = Draft { folder, name: request.task_name, kind, parents: parent_ids, callback, attributes };
    let record = create_draft(&app, caller, &headers, draft).await?;
    Ok(Json(json!({ "data": {
        "taskId": record.id(),
        "folderId": record.task.folder,
        "status": "draft",
        "createdAt": null,
    } })))
}

/// What a client says of a task that it makes.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) folder: FolderId,
    pub(super) name: String,
    pub(super) kind: TaskKind,
    /// Tasks that it names as the new one's parents: they must exist.
    pub(super) parents: Vec<TaskId>,
    pub(super) callback: Option<String>,
    pub(super) attributes: BTreeMap<String, String>,
}

/// Makes a task in a folder of the caller's, if there is room for one, and writes the client's version down with it.
pub(super) async fn create_draft(
    app: &Arc<App>,
    caller: Caller,
    headers: &HeaderMap,
    mut draft: Draft,
) -> Result<TaskRecord, Refused> {
    if let Some(version) = headers.get("tidy3d-python-version").and_then(|version| version.to_str().ok()) {
        draft.attributes.insert(CLIENT.to_owned(), version.chars().take(40).collect());
    }
    app.blocking(move |app| {
        Room::of(app, &caller.key)?.take_task()?;
        if app.tasks.folder(caller.id(), &draft.folder)?.is_none() {
            return Err(Refused::no_such_folder());
        }
        for parent in &draft.parents {
            app.task_of(caller.id(), parent)?;
        }
        let task = NewTask {
            id: TaskId::from_uuid(uuid::Uuid::now_v7()),
            owner: caller.id().clone(),
            folder: draft.folder,
            name: draft.name,
            kind: draft.kind,
            // A mesh is not an input of the heat task that names it as its parent: the solver makes its own, and
            // deleting the one must not stop the other.
            dependencies: Vec::new(),
            callback: draft.callback,
            attributes: draft.attributes,
        };
        Ok(app.tasks.create_task(&TaskRequest { task, idempotency_key: None }, now())?.record)
    })
    .await
}

/// Changes a task of the caller's by the command that is chosen once the task has been looked up.
pub(super) async fn order(
    app: &Arc<App>,
    caller: Caller,
    task: TaskId,
    command: impl FnOnce(&App, &TaskRecord) -> Result<Command, Refused> + Send + 'static,
) -> Result<Json<Value>, Refused> {
    app.blocking(move |app| {
        let record = app.task_of(caller.id(), &task)?;
        app.apply(&task, &command(app, &record)?)?;
        Ok(())
    })
    .await?;
    Ok(done())
}

/// The answer to a request after which there is nothing to tell.
pub(super) fn done() -> Json<Value> {
    Json(json!({ "data": {} }))
}

/// Reads and checks what was uploaded; all is done when this answers. What cannot be run is told by the
/// task's detail and its file `output/tidy3d_validation.json`, not by a status here.
pub(super) async fn validate(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(task): Path<String>,
) -> Result<Json<Value>, Refused> {
    let task = task_id(&task)?;
    let key = caller.id().clone();
    let record = {
        let task = task.clone();
        app.blocking(move |app| app.task_of(&key, &task)).await?
    };
    if let Some(what) = missing(record.task.kind) {
        validation::refuse_kind(&app, &record, sentence(what)).await?;
    } else {
        validation::validate(&app, &record).await?;
    }
    Ok(done())
}

#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Submission {
    #[serde(default)]
    priority: Option<i32>,
}

/// Starts a task. May be repeated.
pub(super) async fn submit(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(task): Path<String>,
    Body(submission): Body<Option<Submission>>,
) -> Result<Json<Value>, Refused> {
    let task = task_id(&task)?;
    let priority = submission.and_then(|submission| submission.priority).unwrap_or(0).clamp(0, 10);
    order(&app, caller, task, move |app, record| {
        Ok(if documents::is_done_at_once(app, record.task.kind, record.id())? {
            Command::SubmitSolved { result: None, solver_version: None }
        } else {
            Command::Submit { priority }
        })
    })
    .await
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Abortion {
    #[serde(rename = "taskId")]
    task: String,
}

/// Stops a task. May be repeated.
pub(super) async fn abort(
    caller: Caller,
    State(app): State<Arc<App>>,
    Body(abortion): Body<Abortion>,
) -> Result<Json<Value>, Refused> {
    let task = task_id(&abortion.task)?;
    order(&app, caller, task, |_, _| Ok(Command::Abort)).await
}

/// Deletes a task.
pub(super) async fn remove(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(task): Path<String>,
) -> Result<Json<Value>, Refused> {
    let task = task_id(&task)?;
    order(&app, caller, task, |_, _| Ok(Command::Delete)).await
}

fn unsupported(what: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "feature.unsupported", sentence(what))
}
