//! Why a medium was refused, grouped by what the caller does next.

use wavetask_document::ArrayError;

use crate::geometry::GeometryError;

/// A medium, or a scene of media, cannot be used.
///
/// Every variant carries the JSON path of the offending value, such as `structures/3/medium/poles/0`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediumError {
    /// The type of the medium is unknown: the scene has to be described with another one.
    #[error("{path}: the medium type `{kind}` is not supported")]
    UnsupportedType {
        /// JSON path of the medium.
        path: String,
        /// The value of its `type` field.
        kind: String,
    },
    /// The type is known, this option of it is not supported.
    #[error("{path}: {what} is not supported")]
    UnsupportedOption {
        /// JSON path of the medium or of the option.
        path: String,
        /// What is not supported, as a noun phrase.
        what: String,
    },
    /// The value is not what the schema of the client allows: missing, of another type, not finite, empty.
    #[error("{path}: {reason}")]
    Invalid {
        /// JSON path of the value.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A count exceeds what this server accepts.
    #[error("{path}: {what} exceed the limit of {limit}")]
    LimitExceeded {
        /// JSON path of the medium or of the array.
        path: String,
        /// What there is too much of, in the plural.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The JSON announces an array that the document does not hold.
    #[error("{path}: the document holds no array at `{array}`")]
    MissingArray {
        /// JSON path of the data.
        path: String,
        /// Path of the array that was looked for.
        array: String,
    },
    /// An array is there and cannot be read.
    #[error("{path}: an array of the medium cannot be read")]
    UnreadableArray {
        /// JSON path of the data.
        path: String,
        /// Why.
        #[source]
        source: ArrayError,
    },
    /// The geometry of a structure was refused.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}

impl MediumError {
    /// A stable code for programs and for the table of errors.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedType { .. } => "medium-type-unsupported",
            Self::UnsupportedOption { .. } => "medium-option-unsupported",
            Self::Invalid { .. } => "medium-invalid",
            Self::LimitExceeded { .. } => "medium-limit-exceeded",
            Self::MissingArray { .. } => "medium-array-missing",
            Self::UnreadableArray { .. } => "medium-array-unreadable",
            Self::Geometry(error) => error.code(),
        }
    }

    /// What the author of the scene can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::UnsupportedType { .. } => {
                "use Medium, a dispersive or a custom medium, AnisotropicMedium, FullyAnisotropicMedium, \
                 Medium2D, PECMedium or PMCMedium"
            }
            Self::UnsupportedOption { .. } => "change the named option, or leave it at its default",
            Self::Invalid { .. } => "correct the named value and submit again",
            Self::LimitExceeded { .. } => "reduce the named data",
            Self::MissingArray { .. } => "write the simulation with its data (an .hdf5 file, not .json)",
            Self::UnreadableArray { .. } => "upload the simulation again",
            Self::Geometry(error) => error.hint(),
        }
    }

    /// The JSON path of the offending value.
    pub fn path(&self) -> &str {
        match self {
            Self::UnsupportedType { path, .. }
            | Self::UnsupportedOption { path, .. }
            | Self::Invalid { path, .. }
            | Self::LimitExceeded { path, .. }
            | Self::MissingArray { path, .. }
            | Self::UnreadableArray { path, .. } => path,
            Self::Geometry(error) => error.path(),
        }
    }

    pub(crate) fn invalid(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { path: path.into(), reason: reason.into() }
    }

    pub(crate) fn unsupported(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self::UnsupportedOption { path: path.into(), what: what.into() }
    }
}
