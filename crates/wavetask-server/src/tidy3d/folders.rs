//! Folders, which the client calls projects, and lists of tasks.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};
use wavetask_core::Timestamp;
use wavetask_protocol::{FolderId, TaskState};
use wavetask_store::{Cursor, Folder, TaskFilter};

use super::detail::detail_json;
use super::tasks::done;
use crate::answer::Refused;
use crate::app::{App, now};
use crate::extract::{Body, Caller};

/// Longest name of a folder or a task, in characters.
pub(super) const NAME: usize = 500;

/// Tasks that are read at once.
const PAGE: usize = 500;

/// Most tasks that one list answers with; the client has no way to ask for more pages.
const LIST: usize = 20_000;

#[derive(Debug, serde::Deserialize)]
pub(super) struct ByName {
    #[serde(rename = "projectName")]
    name: String,
}

/// The folder of a name, `null` if there is none: the client takes a 404 for an error.
pub(super) async fn by_name(
    caller: Caller,
    State(app): State<Arc<App>>,
    query: Result<Query<ByName>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Refused> {
    let Query(query) = query.map_err(|error| Refused::bad_request(error.body_text()))?;
    let folder = app.blocking(move |app| Ok(app.tasks.folder_by_name(caller.id(), &query.name)?)).await?;
    Ok(Json(json!({ "data": folder.as_ref().map(folder_json) })))
}

/// All folders.
pub(super) async fn list(caller: Caller, State(app): State<Arc<App>>) -> Result<Json<Value>, Refused> {
    let folders = app.blocking(move |app| Ok(app.tasks.folders(caller.id())?)).await?;
    let folders: Vec<_> = folders.iter().map(folder_json).collect();
    Ok(Json(json!({ "data": folders })))
}

/// Makes a folder, or finds the one of this name.
pub(super) async fn create(
    caller: Caller,
    State(app): State<Arc<App>>,
    Body(query): Body<ByName>,
) -> Result<Json<Value>, Refused> {
    check_name(&query.name)?;
    let folder = app
        .blocking(move |app| {
            let id = FolderId::from_uuid(uuid::Uuid::now_v7());
            Ok(app.tasks.create_folder(caller.id(), &id, &query.name, now())?)
        })
        .await?;
    Ok(Json(json!({ "data": folder_json(&folder) })))
}

/// Deletes a folder and its tasks.
pub(super) async fn remove(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(folder): Path<String>,
) -> Result<Json<Value>, Refused> {
    let folder = folder_id(&folder)?;
    app.blocking(move |app| {
        if app.tasks.folder(caller.id(), &folder)?.is_none() {
            return Err(Refused::no_such_folder());
        }
        for applied in app.tasks.delete_folder(caller.id(), &folder, now())? {
            app.carry_out(&applied.effects);
        }
        Ok(())
    })
    .await?;
    Ok(done())
}

/// The tasks of a folder.
pub(super) async fn tasks(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(folder): Path<String>,
) -> Result<Json<Value>, Refused> {
    let folder = folder_id(&folder)?;
    let tasks = app
        .blocking(move |app| {
            let Some(folder) = app.tasks.folder(caller.id(), &folder)? else {
                return Err(Refused::no_such_folder());
            };
            let filter = TaskFilter {
                owner: Some(caller.id().clone()),
                folder: Some(folder.id.clone()),
                ..TaskFilter::default()
            };
            list_json(app, &filter, |_| folder.name.clone())
        })
        .await?;
    Ok(Json(json!({ "data": tasks })))
}

/// The tasks that are under way.
pub(super) async fn running(caller: Caller, State(app): State<Arc<App>>) -> Result<Json<Value>, Refused> {
    let tasks = app
        .blocking(move |app| {
            let folders = app.tasks.folders(caller.id())?;
            let filter = TaskFilter {
                owner: Some(caller.id().clone()),
                states: vec![
                    TaskState::Queued,
                    TaskState::Running,
                    TaskState::Publishing,
                    TaskState::Aborting,
                ],
                ..TaskFilter::default()
            };
            list_json(app, &filter, |id| {
                folders
                    .iter()
                    .find(|folder| folder.id == *id)
                    .map_or_else(String::new, |folder| folder.name.clone())
            })
        })
        .await?;
    Ok(Json(json!({ "data": tasks })))
}

fn list_json(
    app: &App,
    filter: &TaskFilter,
    folder_name: impl Fn(&FolderId) -> String,
) -> Result<Vec<Value>, Refused> {
    let mut tasks = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let page = app.tasks.list_tasks(filter, after.as_ref(), PAGE)?;
        for record in &page.tasks {
            tasks.push(detail_json(record, &folder_name(&record.task.folder), None));
        }
        match page.next {
            Some(next) if tasks.len() < LIST => after = Some(next),
            _ => return Ok(tasks),
        }
    }
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Age {
    #[serde(rename = "daysOld")]
    days_old: u32,
}

/// Deletes the tasks of a folder that are older than some days, and answers with their number.
pub(super) async fn remove_old(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(folder): Path<String>,
    query: Result<Query<Age>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Refused> {
    let Query(age) = query.map_err(|error| Refused::bad_request(error.body_text()))?;
    let folder = folder_id(&folder)?;
    let deleted = app
        .blocking(move |app| {
            if app.tasks.folder(caller.id(), &folder)?.is_none() {
                return Err(Refused::no_such_folder());
            }
            let age = Duration::from_secs(u64::from(age.days_old) * 24 * 60 * 60);
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            let now = now();
            let before = Timestamp::from_milliseconds(now.as_milliseconds().saturating_sub(age));
            Ok(app.tasks.delete_old(caller.id(), &folder, before, now)?)
        })
        .await?;
    Ok(Json(json!({ "data": deleted })))
}

/// Refuses names that nobody could read in a list.
pub(super) fn check_name(name: &str) -> Result<(), Refused> {
    if name.is_empty() || name.chars().count() > NAME || name.chars().any(char::is_control) {
        let message = format!("a name has 1 to {NAME} characters, none of them control characters");
        return Err(Refused::bad_request(message));
    }
    Ok(())
}

pub(super) fn folder_id(text: &str) -> Result<FolderId, Refused> {
    text.parse().map_err(|_| Refused::no_such_folder())
}

fn folder_json(folder: &Folder) -> Value {
    json!({ "projectId": folder.id, "projectName": folder.name })
}
