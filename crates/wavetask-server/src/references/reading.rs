//! What a worker that evaluates a recipe reads: the documents that the recipe names, and their blocks.
//!
//! A lease opens the documents of the tasks that its own task depends on, and nothing else. They stay as long as the
//! lease: what somebody depends on is not deleted.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use wavetask_document::pack::Compression;
use wavetask_document::{Digest, Document};
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{MAXIMUM_BLOCKS, WantedBlock};
use wavetask_protocol::worker::InputBlocks;
use wavetask_store::DocumentRole;

use crate::answer::Refused;
use crate::app::App;
use crate::extract::{Body, WorkerCaller};
use crate::native::PackOfBlocks;
use crate::workers::{lease_id, lost};

/// The routes of this part.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/worker/leases/{lease}/documents/{document}", get(document))
        .route("/api/v1/worker/leases/{lease}/documents/{document}/blocks", post(blocks))
}

async fn document(
    _: WorkerCaller,
    State(app): State<Arc<App>>,
    Path((lease, document)): Path<(String, String)>,
) -> Result<Json<Document>, Refused> {
    let found = app
        .blocking(move |app| {
            let (task, role) = named(app, &lease, &document)?;
            let kept = app.tasks.document(&task, role)?.ok_or_else(no_such_part)?;
            Ok(wavetask_store::get_document(&*app.blocks, &kept)?)
        })
        .await?;
    Ok(Json(found))
}

async fn blocks(
    _: WorkerCaller,
    State(app): State<Arc<App>>,
    Path((lease, document)): Path<(String, String)>,
    Body(request): Body<InputBlocks>,
) -> Result<Response, Refused> {
    let pack = app
        .blocking(move |app| {
            let (task, role) = named(app, &lease, &document)?;
            let wanted = request.blocks;
            if wanted.len() > MAXIMUM_BLOCKS || app.tasks.needed(&task, role, &wanted)?.contains(&false) {
                return Err(no_such_part());
            }
            let blocks = wanted.into_iter().map(|digest| WantedBlock { digest, width: 1 }).collect();
            // Workers are near, or many: what is saved on the way is paid with the server's cores.
            PackOfBlocks::new(app, blocks, Compression::Never)
        })
        .await?;
    Ok(pack.answer(app))
}

/// The task that the lease's task depends on and whose document that is, and which of its documents. Blocks.
fn named(app: &App, lease: &str, document: &str) -> Result<(TaskId, DocumentRole), Refused> {
    let record = app.tasks.task_by_lease(&lease_id(lease)?)?.ok_or_else(lost)?;
    let digest: Digest = document.parse().map_err(|_| no_such_part())?;
    for task in record.task.dependencies {
        let Some(input) = app.tasks.task(&task)? else { continue };
        if input.result == Some(digest) {
            return Ok((task, DocumentRole::Result));
        }
        if input.input == Some(digest) {
            return Ok((task, DocumentRole::Input));
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
