//! The REST part of the tidy3d door: the endpoints that the unmodified client calls.
//!
//! A translation at the edge and nothing else: tasks, folders and files are the store's, states are put
//! into the client's words in [`status`], and what it uploads and downloads goes through [`crate::s3`].
//! Only 200 is success to this client, any other answer ends what it was doing, and it never tries again
//! on 429 or 503; so a busy server answers late, not with a refusal.

mod account;
pub(crate) mod detail;
mod files;
mod folders;
mod mode_solvers;
pub(crate) mod status;
mod tasks;
pub(crate) mod unsupported;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post, put};

use crate::app::App;

/// The routes of this part.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/apikey", get(account::apikey))
        .route("/health", get(account::health))
        .route("/tidy3d/py/account", get(account::account))
        .route("/tidy3d/libraries", get(account::libraries))
        .route("/tidy3d/diagnostics/download-url", get(account::download_url))
        .route("/tidy3d/diagnostics/download", get(account::download))
        .route("/tidy3d/project", get(folders::by_name))
        .route("/tidy3d/projects", get(folders::list).post(folders::create))
        .route("/tidy3d/projects/{folder}", delete(folders::remove))
        .route("/tidy3d/projects/{folder}/tasks", get(folders::tasks).post(tasks::create))
        .route("/tidy3d/tasks/abort", put(tasks::abort))
        .route("/tidy3d/tasks/{task}", get(detail::detail).delete(tasks::remove))
        .route("/tidy3d/tasks/{task}/tasks", delete(folders::remove_old))
        .route("/tidy3d/tasks/{task}/detail", get(detail::detail))
        .route("/tidy3d/tasks/{task}/progress", get(detail::progress))
        .route("/tidy3d/tasks/{task}/metadata", post(tasks::validate))
        .route("/tidy3d/tasks/{task}/submit", post(tasks::submit))
        .route("/tidy3d/py/tasks", get(folders::running))
        .route("/tidy3d/py/tasks/{task}/file", get(files::credentials))
        .route("/tidy3d/modesolver/py", post(mode_solvers::create))
        .route("/tidy3d/modesolver/py/{task}/{solver}", get(mode_solvers::state).delete(mode_solvers::remove))
        .route("/tidy3d/modesolver/py/{task}/{solver}/run", post(mode_solvers::run))
        .merge(unsupported::routes())
}
