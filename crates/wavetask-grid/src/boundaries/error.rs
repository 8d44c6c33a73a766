//! Why a simulation has no grid, grouped by what the caller does next.

use crate::reading::SceneError;

/// The grid of a simulation cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// The value is not what the schema of the client allows: missing, of another type, out of range.
    #[error("{path}: {reason}")]
    Invalid {
        /// JSON path of the value.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The specification is valid, this part of it is not supported.
    #[error("{path}: {what} is not supported")]
    Unsupported {
        /// JSON path of the part.
        path: String,
        /// What is not supported, as a noun phrase.
        what: String,
    },
    /// An automatic grid needs a wavelength, and neither the grid specification nor the sources name one.
    #[error("{path}: an automatic grid needs a `wavelength`, or sources of one central frequency")]
    WavelengthUnknown {
        /// JSON path of the grid specification.
        path: String,
    },
    /// The grid would be larger than this server accepts.
    #[error("{path}: {what} exceed the limit of {limit}")]
    LimitExceeded {
        /// JSON path of the specification.
        path: String,
        /// What there is too much of, in the plural.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The specification leads to no usable grid: the client refuses it too.
    #[error("no grid along {axis}: {reason}", axis = ["x", "y", "z"].get(*.axis).unwrap_or(&"?"))]
    NoGrid {
        /// The axis, 0 to 2.
        axis: usize,
        /// Why.
        reason: String,
    },
    /// A structure or an override structure cannot be read, or the refractive index of its medium is not known.
    #[error(transparent)]
    Scene(#[from] SceneError),
}

impl GridError {
    /// A stable code for programs and for the table of errors.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "grid-invalid",
            Self::Unsupported { .. } => "grid-option-unsupported",
            Self::WavelengthUnknown { .. } => "grid-wavelength-unknown",
            Self::LimitExceeded { .. } => "grid-limit-exceeded",
            Self::NoGrid { .. } => "grid-impossible",
            Self::Scene(error) => error.code(),
        }
    }

    /// What the author of the simulation can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "correct the named value and submit again",
            Self::Unsupported { .. } => {
                "leave the named part out, or state the grid with `CustomGridBoundaries`"
            }
            Self::WavelengthUnknown { .. } => "set `wavelength` in the `grid_spec`",
            Self::LimitExceeded { .. } => "use a coarser grid or a smaller domain",
            Self::NoGrid { .. } => "check the sizes and their unit, micrometres, along this axis",
            Self::Scene(error) => error.hint(),
        }
    }

    /// The JSON path of the offending value; empty where the grid as a whole is at fault.
    pub fn path(&self) -> &str {
        match self {
            Self::Invalid { path, .. }
            | Self::Unsupported { path, .. }
            | Self::WavelengthUnknown { path }
            | Self::LimitExceeded { path, .. } => path,
            Self::Scene(error) => error.path(),
            Self::NoGrid { .. } => "",
        }
    }

    pub(super) fn invalid(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { path: path.into(), reason: reason.into() }
    }

    pub(super) fn unsupported(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Unsupported { path: path.into(), what: what.into() }
    }

    pub(super) fn none(axis: usize, reason: impl Into<String>) -> Self {
        Self::NoGrid { axis, reason: reason.into() }
    }
}
