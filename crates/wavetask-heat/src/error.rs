//! What can go wrong, grouped by what the caller does next: refuse the task, stop, free memory, or report.

use wavetask_solver::{Refusal, Refused};

/// What the refusals here are about.
pub(crate) const SUBJECT: &str = "heat simulation";

/// One refusal, with its place in the client's notation, what is refused, and a sentence for the engineer.
pub(crate) fn refused(
    path: impl Into<String>,
    feature: impl Into<String>,
    message: impl Into<String>,
) -> Refused {
    Refused::single(SUBJECT, Refusal::new(path, feature, message))
}

/// Why a simulation that was tried has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SolveError {
    /// The simulation asks for something that is not supported, or contradicts itself. Solving it again
    /// gives the same answer.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The caller asked to stop.
    #[error("the calculation was cancelled while {stage}")]
    Cancelled {
        /// What was being done.
        stage: &'static str,
    },
    /// The problem needs more memory or more cells than allowed. More memory or a coarser grid helps.
    #[error("the problem is too large: {needed} needed, {allowed} allowed")]
    TooLarge {
        /// What the problem needs, with its unit.
        needed: String,
        /// What is allowed, with its unit.
        allowed: String,
    },
    /// The iteration for the temperature stopped before its residual was small enough.
    #[error("the iteration stopped after {iterations} steps with relative residual {residual:e}: {reason}")]
    NotConverged {
        /// Iterations done.
        iterations: usize,
        /// Residual relative to the right-hand side.
        residual: f64,
        /// Why it stopped.
        reason: String,
    },
    /// The quantities of the simulation lie so far apart that the equations lose all precision.
    #[error("the equations lose all precision: {reason}")]
    IllConditioned {
        /// What was seen.
        reason: String,
    },
    /// The geometry could not be meshed.
    #[error("the geometry could not be meshed")]
    Mesh(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An array of the simulation could not be read.
    #[error(transparent)]
    Array(#[from] wavetask_document::ArrayError),
    /// A fault of the solver itself.
    #[error("fault in the heat solver: {0}")]
    Internal(String),
}

impl SolveError {
    /// A stable name for the kind of failure, for logs, programs and documentation.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "heat/refused",
            Self::Cancelled { .. } => "heat/cancelled",
            Self::TooLarge { .. } => "heat/too-large",
            Self::NotConverged { .. } => "heat/not-converged",
            Self::IllConditioned { .. } => "heat/ill-conditioned",
            Self::Mesh(_) => "heat/mesh",
            Self::Array(_) => "heat/array",
            Self::Internal(_) => "heat/internal",
        }
    }

    /// What the engineer can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Refused(_) => "Change the simulation as the message says.",
            Self::Cancelled { .. } => "Submit the simulation again if it is still wanted.",
            Self::TooLarge { .. } => {
                "Use a larger cell size in `grid_spec`, a smaller domain or symmetry, or give the worker more memory."
            }
            Self::NotConverged { .. } | Self::IllConditioned { .. } => {
                "Look for materials whose conductivities differ by more than ten orders of magnitude, and for cells much thinner than wide."
            }
            Self::Mesh(_) => {
                "Look for structures that are thinner than the cell size allowed by `relative_min_dl`, or that almost touch."
            }
            Self::Array(_) => "Upload the simulation again.",
            Self::Internal(_) => "Please report this simulation: it found a fault in the solver.",
        }
    }
}
