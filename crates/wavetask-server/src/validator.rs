//! What the server asks about a simulation without knowing any solver.

use wavetask_document::ArraySource;
use wavetask_protocol::{Estimate, TaskKind};

/// Tells whether a simulation can be solved here and what that will need.
///
/// The server knows no solver; whoever builds the program gives it one of these. A call may take
/// seconds and is made on a thread that may block.
pub trait Validator: Send + Sync {
    /// Checks one simulation.
    ///
    /// `simulation_json` is the client's text, whose root is the class that the kind stands for:
    /// `HeatChargeSimulation` or `HeatSimulation` for [`TaskKind::Heat`] and [`TaskKind::HeatCharge`],
    /// `VolumeMesher` (with the simulation inside) for [`TaskKind::VolumeMesh`]. `arrays` holds its
    /// arrays by path.
    ///
    /// # Errors
    /// Everything that keeps it from being solved, not just the first thing.
    fn validate(
        &self,
        kind: TaskKind,
        simulation_json: &str,
        arrays: &dyn ArraySource,
    ) -> Result<Estimate, Vec<Refusal>>;

    /// Names what would solve a task of this kind: the same content, solved by the same version, has the same
    /// result, so that one that is known need not be computed again, and is refused for the same reasons. Must change
    /// whenever results may, and whenever more can be run.
    fn solver_version(&self, kind: TaskKind) -> String;
}

/// One reason why a simulation cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Refusal {
    /// Where in the simulation, as a JSON path such as `structures/3/medium`; empty for the whole.
    pub path: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "{}: {}", self.path, self.message)
        }
    }
}
