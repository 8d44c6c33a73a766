//! Temporary credentials for one file of one task.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wavetask_protocol::TaskState;

use super::detail::task_id;
use crate::answer::Refused;
use crate::app::{App, now};
use crate::extract::Caller;
use crate::files::{is_upload, task_file};
use crate::s3::BUCKET;
use crate::secret::{Grant, Verb};

#[derive(Debug, serde::Deserialize)]
pub(super) struct Wanted {
    filename: String,
}

/// Credentials for a file. Whether it is there is found out when they are used: the client asks for a
/// name and turns to another one when that is not there.
pub(super) async fn credentials(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(task): Path<String>,
    query: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Refused> {
    let Query(wanted) = query.map_err(|error| Refused::bad_request(error.body_text()))?;
    let task = task_id(&task)?;
    let key = caller.id().clone();
    let record = app.blocking(move |app| app.task_of(&key, &task)).await?;
    let kind = record.task.kind;
    if task_file(kind, &wanted.filename).is_none() {
        let shown: String = wanted.filename.chars().take(100).collect();
        let message = format!("a {kind} task has no file {shown:?}");
        return Err(Refused::new(StatusCode::BAD_REQUEST, "file.unknown", message));
    }
    let is_upload = is_upload(kind, &wanted.filename) && record.state == TaskState::Draft;
    let lifetime = i64::try_from(app.config.file_credentials.as_secs()).unwrap_or(i64::MAX);
    let expires = (now().as_milliseconds() / 1000).saturating_add(lifetime);
    let grant = Grant {
        key: caller.id().clone(),
        task: record.id().clone(),
        file: wanted.filename,
        verb: if is_upload { Verb::Write } else { Verb::Read },
        expires,
    };
    let credentials = app.secret.credentials(&grant);
    let expiration = OffsetDateTime::from_unix_timestamp(expires)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .ok_or_else(|| Refused::bad_request("the credentials' lifetime is beyond the calendar"))?;
    Ok(Json(json!({ "data": {
        "cloudpath": format!("s3://{BUCKET}/{}/{}", grant.task, grant.file),
        "userCredentials": {
            "accessKeyId": credentials.access_key_id,
            "secretAccessKey": credentials.secret_access_key,
            "sessionToken": credentials.session_token,
            "expiration": expiration,
        },
    } })))
}
