//! Steady heat conduction on unstructured meshes: problem in, solution out.
//!
//! The problem is the JSON of a tidy3d `HeatChargeSimulation` (or the older `HeatSimulation`) and its
//! arrays; the solution is the JSON and arrays of one `TemperatureData` per monitor. The equation is
//! `-∇·(k ∇T) = q` in the solids, in micrometres, kelvin and watts.
//!
//! ```text
//! JSON ─ model ─► Problem ─ meshing ─► simplices ─ assembly ─► matrix ─ linear ─► nodal T ─ sampling ─► data
//! ```
//!
//! [`validate`] costs milliseconds and refuses by name whatever the solver cannot do, so a client hears of it
//! before anything is queued. [`solve`] meshes, assembles, solves and samples; it reports progress
//! through [`Controls`] and stops within a fraction of a second when the callback says so. Nothing here
//! knows tasks, files or sockets.
//!
//! Why not a regular grid: heaters are a hundred nanometres thick in domains of tens of micrometres, and
//! the client's grid specifications ask for triangles and tetrahedra that fit interfaces exactly.

mod conditions;
mod contact;
mod controls;
mod equations;
mod error;
mod estimate;
pub mod linear;
mod meshing;
mod model;
mod pipeline;
mod region;
mod sampling;
mod sizing;
mod solution;

pub use controls::{Controls, Progress, Stage};
pub use error::SolveError;
pub use solution::{Solution, Statistics};
pub use wavetask_solver::{Estimate, Refusal, Refused};

use serde_json::Value;
use wavetask_document::ArraySource;

/// Checks a `HeatSimulation` or `HeatChargeSimulation` and estimates its cost; takes milliseconds.
///
/// `simulation` is the simulation object itself as the client uploaded it, `arrays` the arrays beside it by
/// their paths below that object.
///
/// # Errors
/// Every reason why the simulation cannot be solved: what is not supported by its class name, and input that
/// contradicts itself.
pub fn validate(simulation: &Value, arrays: &dyn ArraySource) -> Result<Estimate, Refused> {
    let problem = model::Problem::read(simulation, arrays)?;
    Ok(estimate::estimate(&problem))
}

/// Solves a `HeatSimulation` or `HeatChargeSimulation`.
///
/// # Errors
/// [`SolveError::Refused`] exactly when [`validate`] refuses, or when the mesh shows that the problem has no unique
/// solution; the other variants say what the caller can do.
pub fn solve(
    simulation: &Value,
    arrays: &dyn ArraySource,
    controls: &Controls<'_>,
) -> Result<Solution, SolveError> {
    let problem = model::Problem::read(simulation, arrays)?;
    pipeline::solve(&problem, controls)
}

/// Checks a `VolumeMesher` and estimates its cost; takes milliseconds.
///
/// # Errors
/// As [`validate`], and for monitors that are not `VolumeMeshMonitor`s.
pub fn validate_mesher(mesher: &Value, arrays: &dyn ArraySource) -> Result<Estimate, Refused> {
    let (problem, _) = model::read_mesher(mesher, arrays)?;
    Ok(estimate::estimate(&problem))
}

/// Meshes the simulation inside a `VolumeMesher` and records the mesh at its monitors.
///
/// `mesher` is the `VolumeMesher` object: its simulation, under either class name, and its monitors.
///
/// # Errors
/// As [`solve`].
pub fn mesh_data(
    mesher: &Value,
    arrays: &dyn ArraySource,
    controls: &Controls<'_>,
) -> Result<Solution, SolveError> {
    let (problem, monitors) = model::read_mesher(mesher, arrays)?;
    pipeline::mesh(&problem, &monitors, controls)
}
