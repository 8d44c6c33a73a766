//! Why a geometry was refused, grouped by what the caller does next.

use wavetask_document::ArrayError;

/// A geometry of the document cannot be used.
///
/// Every variant carries the JSON path of the offending value, such as
/// `structures/3/geometry/geometries/1/vertices`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// The type of the geometry is unknown: the scene has to be drawn with other shapes.
    #[error("{path}: the geometry type `{kind}` is not supported")]
    UnsupportedType {
        /// JSON path of the geometry.
        path: String,
        /// The value of its `type` field.
        kind: String,
    },
    /// The type is known, this combination of its parameters is not supported.
    #[error("{path}: {what} is not supported")]
    UnsupportedOption {
        /// JSON path of the geometry or of the parameter.
        path: String,
        /// What is not supported, as a noun phrase.
        what: String,
    },
    /// The value is not what the schema of the client allows: missing, of another type, not finite, degenerate.
    #[error("{path}: {reason}")]
    Invalid {
        /// JSON path of the value.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A count or a depth exceeds what this server accepts.
    #[error("{path}: {what} exceed the limit of {limit}")]
    LimitExceeded {
        /// JSON path of the geometry.
        path: String,
        /// What there is too much of, in the plural.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The JSON announces an array that the document does not hold.
    #[error("{path}: the document holds no array at `{array}`")]
    MissingArray {
        /// JSON path of the geometry.
        path: String,
        /// Path of the array that was looked for.
        array: String,
    },
    /// An array is there and cannot be read.
    #[error("{path}: an array of the geometry cannot be read")]
    UnreadableArray {
        /// JSON path of the geometry.
        path: String,
        /// Why.
        #[source]
        source: ArrayError,
    },
}

impl GeometryError {
    /// A stable code for programs and for the table of errors.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedType { .. } => "geometry-type-unsupported",
            Self::UnsupportedOption { .. } => "geometry-option-unsupported",
            Self::Invalid { .. } => "geometry-invalid",
            Self::LimitExceeded { .. } => "geometry-limit-exceeded",
            Self::MissingArray { .. } => "geometry-array-missing",
            Self::UnreadableArray { .. } => "geometry-array-unreadable",
        }
    }

    /// What the author of the scene can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::UnsupportedType { .. } => {
                "draw the structure with Box, Sphere, Cylinder, PolySlab, TriangleMesh, GeometryGroup, \
                 GeometryArray, Transformed or ClipOperation"
            }
            Self::UnsupportedOption { .. } => {
                "change the named parameter, or approximate the shape with others"
            }
            Self::Invalid { .. } => "correct the named value and submit again",
            Self::LimitExceeded { .. } => "simplify the geometry, or split it over several structures",
            Self::MissingArray { .. } => "write the simulation with its data (an .hdf5 file, not .json)",
            Self::UnreadableArray { .. } => "upload the simulation again",
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
        }
    }

    pub(super) fn invalid(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { path: path.into(), reason: reason.into() }
    }

    pub(super) fn unsupported(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self::UnsupportedOption { path: path.into(), what: what.into() }
    }
}
