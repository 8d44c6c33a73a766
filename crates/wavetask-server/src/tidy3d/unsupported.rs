//! Endpoints of features that are not there: refused by name, so that the client's user reads which.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{any, get, post};
use wavetask_protocol::TaskKind;

use crate::answer::Refused;
use crate::app::App;
use crate::extract::{Body, Caller};

/// Where a user finds what is supported.
pub(crate) const TABLE: &str = "README.md, table \"Supported features\"";

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/rf/task", post(modeler))
        // Asked about every task id to find out whether it is a modeler's: none is.
        .route("/rf/task/{task}/statistics", get(no_modeler))
        .route("/rf/task/{task}/{*rest}", any(no_modeler))
        .route("/tidy3d/group", any(no_modeler))
        .route("/tidy3d/group/{*rest}", any(no_modeler))
        .route("/tidy3d/fitter/{*rest}", any(fitter))
}

/// Why a kind of task cannot be run here; `None` if it can.
pub(crate) fn missing(kind: TaskKind) -> Option<&'static str> {
    Some(match kind {
        TaskKind::Heat
        | TaskKind::HeatCharge
        | TaskKind::VolumeMesh
        | TaskKind::Mode
        | TaskKind::ModeSolver
        | TaskKind::Evaluation => return None,
        TaskKind::Fdtd => "time-domain simulations (FDTD)",
        TaskKind::Eme => "eigenmode expansion (EME)",
        TaskKind::ModalCm => "modal component modelers (MODAL_CM)",
        TaskKind::TerminalCm => "terminal component modelers (TERMINAL_CM)",
        TaskKind::Rf => "radio-frequency simulations (RF)",
        _ => "this kind of simulation",
    })
}

/// The sentence for a feature that is missing.
pub(crate) fn sentence(what: &str) -> String {
    format!("This server does not support {what} yet. What it supports: {TABLE}.")
}

fn refusal(what: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "feature.unsupported", sentence(what))
}

async fn modeler(_: Caller, Body(request): Body<serde_json::Value>) -> Refused {
    let kind = request["taskType"].as_str().and_then(|name| name.parse::<TaskKind>().ok());
    refusal(kind.and_then(missing).unwrap_or("component modelers"))
}

async fn no_modeler(_: Caller) -> Refused {
    Refused::no_such_task()
}

async fn fitter(_: Caller, Path(_): Path<String>) -> Refused {
    refusal("the material fitter; td.plugins.dispersion.FastDispersionFitter runs in the client")
}
