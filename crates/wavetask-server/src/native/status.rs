//! How the server is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use wavetask_protocol::native::{ServerStatus, StateCount};
use wavetask_store::{KeyRole, TaskFilter};

use super::Routes;
use super::tasks::each_task;
use crate::answer::Refused;
use crate::app::{App, now};
use crate::extract::Caller;

/// The routes of this part.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/api/v1/status", status)
}

async fn status(caller: Caller, State(app): State<Arc<App>>) -> Result<Json<ServerStatus>, Refused> {
    let status = app
        .blocking(move |app| {
            let filter = TaskFilter { owner: Some(caller.id().clone()), ..TaskFilter::default() };
            let mut counts = BTreeMap::new();
            each_task(app, &filter, None, |record| {
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
