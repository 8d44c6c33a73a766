//! What a worker that evaluates a recipe reads: the documents that the recipe names, and their blocks.
//!
//! A lease opens the documents of the tasks that its own task depends on, and nothing else. They stay as long as the
//! lease: what somebody depends on is not deleted.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use wavetask_document::{Digest, Document};
use wavetask_store::{DocumentRole, StoreError, StoredDocument};

use crate::answer::Refused;
use crate::app::App;
use crate::extract::WorkerCaller;
use crate::workers::{lease_id, lost};

/// The routes of this part.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/worker/leases/{lease}/documents/{document}", get(document))
        .route("/api/v1/worker/leases/{lease}/documents/{document}/blocks/{block}", get(block))
}

async fn document(
    _: WorkerCaller,
    State(app): State<Arc<App>>,
    Path((lease, document)): Path<(String, String)>,
) -> Result<Json<Document>, Refused> {
    let found = app
        .blocking(move |app| {
            let stored = named(app, &lease, &document)?;
            Ok(wavetask_store::get_document(&*app.blocks, &stored)?)
        })
        .await?;
    Ok(Json(found))
}

async fn block(
    _: WorkerCaller,
    State(app): State<Arc<App>>,
    Path((lease, document, block)): Path<(String, String, String)>,
) -> Result<Response, Refused> {
    let bytes = app
        .blocking(move |app| {
            let stored = named(app, &lease, &document)?;
            let block: Digest = block.parse().map_err(|_| no_such_part())?;
            if stored.blocks.binary_search(&block).is_err() {
                return Err(no_such_part());
            }
            let mut bytes = Vec::new();
            let read = app.blocks.get(&block, &mut bytes);
            read.map_err(|error| StoreError::from_io("read a block", error))?;
            Ok(bytes)
        })
        .await?;
    Ok(bytes.into_response())
}

/// A document that one of the tasks has that the lease's task depends on. Blocks.
fn named(app: &App, lease: &str, document: &str) -> Result<StoredDocument, Refused> {
    let record = app.tasks.task_by_lease(&lease_id(lease)?)?.ok_or_else(lost)?;
    let digest: Digest = document.parse().map_err(|_| no_such_part())?;
    for task in &record.task.dependencies {
        let Some(input) = app.tasks.task(task)? else { continue };
        let role = if input.result == Some(digest) {
            DocumentRole::Result
        } else if input.input == Some(digest) {
            DocumentRole::Input
        } else {
            continue;
        };
        if let Some(stored) = app.tasks.document(task, role)? {
            return Ok(stored);
        }
    }
    Err(no_such_part())
}

fn no_such_part() -> Refused {
    Refused::new(
        // Not 403, upon which a worker reads its key anew and asks again.
        axum::http::StatusCode::BAD_REQUEST,
        "input.not_named",
        "the task of this lease does not refer to that",
    )
    .hint("a lease opens the documents of the tasks that its task depends on")
}
