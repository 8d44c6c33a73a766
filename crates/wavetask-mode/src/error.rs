//! What can go wrong, grouped by what the caller does next: refuse the task, stop, free memory, or report.

use wavetask_solver::{Refusal, Refused};

/// What the refusals here are about.
pub(crate) const SUBJECT: &str = "mode calculation";

/// One refusal, with its place in the client's notation, what is refused, and a sentence for the engineer.
pub(crate) fn refused(
    path: impl Into<String>,
    feature: impl Into<String>,
    message: impl Into<String>,
) -> Refused {
    Refused::single(SUBJECT, Refusal::new(path, feature, message))
}

/// Why a calculation that was tried has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SolveError {
    /// The document asks for something that is not supported, or contradicts itself. Solving it again gives the
    /// same answer.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The caller asked to stop.
    #[error("the calculation was cancelled while {stage}")]
    Cancelled {
        /// What was being done.
        stage: &'static str,
    },
    /// The plane needs more memory than allowed. More memory or a coarser grid helps.
    #[error("the plane is too large: {needed} needed, {allowed} allowed")]
    TooLarge {
        /// What the calculation needs, with its unit.
        needed: String,
        /// What is allowed, with its unit.
        allowed: String,
    },
    /// The eigensolver found no modes, or fewer than asked for.
    #[error("the modes at {frequency:.6e} Hz could not be found")]
    Modes {
        /// The frequency in hertz.
        frequency: f64,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An array of the simulation could not be read.
    #[error(transparent)]
    Array(#[from] wavetask_document::ArrayError),
    /// A fault of the solver itself.
    #[error("fault in the mode solver: {0}")]
    Internal(String),
}

impl SolveError {
    /// A stable name for the kind of failure, for logs, programs and documentation.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "mode/refused",
            Self::Cancelled { .. } => "mode/cancelled",
            Self::TooLarge { .. } => "mode/too-large",
            Self::Modes { .. } => "mode/modes",
            Self::Array(_) => "mode/array",
            Self::Internal(_) => "mode/internal",
        }
    }

    /// What the engineer can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Refused(_) => "Change the mode solver as the message says.",
            Self::Cancelled { .. } => "Submit the mode solver again if it is still wanted.",
            Self::TooLarge { .. } => {
                "Use a smaller plane, a coarser grid or symmetry, ask for fewer modes, or give the worker more memory."
            }
            Self::Modes { .. } => {
                "Ask for fewer modes, or set `target_neff` near the effective index of the modes that are wanted."
            }
            Self::Array(_) => "Upload the mode solver again.",
            Self::Internal(_) => "Please report this mode solver: it found a fault.",
        }
    }
}
