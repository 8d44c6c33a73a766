//! What can go wrong, grouped by what the caller does next: refuse the task, stop, free memory, or report.

use std::fmt;

/// One reason why a mode calculation is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where in the JSON, in the client's notation: `mode_spec.angle_rotation`.
    pub path: String,
    /// What is refused: the class or field that is not supported, or the rule that is broken.
    pub feature: String,
    /// A sentence for the engineer: what is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "{}: {}", self.path, self.message)
        }
    }
}

/// A mode calculation that cannot be done as it is, with every reason found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    refusals: Vec<Refusal>,
}

impl Refused {
    /// Groups refusals; `None` if there is nothing to refuse.
    pub(crate) fn from_refusals(refusals: Vec<Refusal>) -> Option<Self> {
        (!refusals.is_empty()).then_some(Self { refusals })
    }

    /// One refusal.
    pub(crate) fn single(
        path: impl Into<String>,
        feature: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            refusals: vec![Refusal { path: path.into(), feature: feature.into(), message: message.into() }],
        }
    }

    /// The reasons, in the order of the document's fields.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        formatter.write_str("The mode calculation is not accepted.")?;
        for (index, refusal) in self.refusals.iter().take(SHOWN).enumerate() {
            write!(formatter, " ({}) {refusal}", index + 1)?;
        }
        if self.refusals.len() > SHOWN {
            write!(formatter, " … and {} more.", self.refusals.len() - SHOWN)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

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
