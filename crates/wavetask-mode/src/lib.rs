//! Waveguide modes: from a `ModeSolver` or a `ModeSimulation` to a `ModeSolverData`.
//!
//! ```text
//! JSON ─ document ─► task ─ scene ─► layout, permittivity ─ plane ─► modes ─ gauge ─ postprocess ─► data ─ publish ─► JSON
//! ```
//!
//! [`validate`] costs milliseconds and refuses by name what cannot be done; [`solve`] does it. Between them and the
//! eigenproblem lies what the client's post-processing relies on: which cells a plane takes (`layout`), where fields lie
//! and how they are mirrored (`projection`), phase, order and following of modes (`gauge`, `postprocess`).
//!
//! [`plane`] states and solves the problem of one cross-section at one frequency; [`eigen`] finds eigenpairs of sparse
//! matrices near a number and knows no optics. Lengths are micrometres, frequencies hertz, time varies as
//! `exp(-i ω t)`, so that positive imaginary parts of permittivities and indices mean loss.

mod controls;
mod document;
pub mod eigen;
mod error;
mod estimate;
mod fields;
mod gauge;
mod layout;
mod pipeline;
pub mod plane;
mod postprocess;
mod projection;
mod publish;
mod rotation;
mod scene;
mod solution;

pub use controls::{Controls, Progress, Stage};
pub use error::SolveError;
pub use solution::Solution;
pub use wavetask_solver::{Estimate, Refusal, Refused};

use serde_json::Value;
use wavetask_document::ArraySource;

/// Checks a `ModeSolver` or a `ModeSimulation` and estimates its cost; takes milliseconds.
///
/// `document` is the object itself as the client uploaded it, `arrays` the arrays beside it by their paths below that
/// object.
///
/// # Errors
/// Every reason why it cannot be computed: what is not supported by its class name, and input that contradicts
/// itself.
pub fn validate(document: &Value, arrays: &dyn ArraySource) -> Result<Estimate, Refused> {
    let task = document::ModeTask::read(document)?;
    let planes = pipeline::Planes::read(&task, document, arrays)?;
    let (task, scene) = planes.solved(&task);
    Ok(estimate::estimate(task, &scene.layout, scene.has_tensors()))
}

/// Finds the modes of a `ModeSolver` or a `ModeSimulation`.
///
/// # Errors
/// [`SolveError::Refused`] exactly when [`validate`] refuses, or when the modes that were found show that the request
/// cannot be met; the other variants say what the caller can do.
pub fn solve(
    document: &Value,
    arrays: &dyn ArraySource,
    controls: &Controls<'_>,
) -> Result<Solution, SolveError> {
    let task = document::ModeTask::read(document)?;
    pipeline::solve(&task, document, arrays, controls)
}

#[cfg(test)]
mod oracle_tests;
