//! Why a part of a scene was refused, grouped by what the caller does next.

use std::fmt;

use wavetask_document::ArrayError;

/// What a part of a scene is: the codes and hints of its errors say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The shape of a structure, or the domain.
    Geometry,
    /// What a structure is made of, and what a scene says of its media.
    Medium,
}

impl Part {
    const fn noun(self) -> &'static str {
        match self {
            Self::Geometry => "geometry",
            Self::Medium => "medium",
        }
    }

    /// The error about a value at this path.
    pub(crate) fn error(self, path: impl Into<String>, fault: Fault) -> SceneError {
        SceneError { part: self, path: path.into(), fault }
    }

    pub(crate) fn invalid(self, path: impl Into<String>, reason: impl Into<String>) -> SceneError {
        self.error(path, Fault::Invalid { reason: reason.into() })
    }

    pub(crate) fn unsupported(self, path: impl Into<String>, what: impl Into<String>) -> SceneError {
        self.error(path, Fault::UnsupportedOption { what: what.into() })
    }

    pub(crate) fn unknown_type(self, path: impl Into<String>, kind: impl Into<String>) -> SceneError {
        self.error(path, Fault::UnsupportedType { kind: kind.into() })
    }

    pub(crate) fn too_many(self, path: impl Into<String>, what: &'static str, limit: usize) -> SceneError {
        self.error(path, Fault::LimitExceeded { what, limit })
    }
}

/// What is wrong with a value of a scene.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The type of the part is unknown: the scene has to be described with others.
    UnsupportedType {
        /// The value of its `type` field.
        kind: String,
    },
    /// The type is known, this option of it, or this combination of its parameters, is not supported.
    UnsupportedOption {
        /// What is not supported, as a noun phrase.
        what: String,
    },
    /// The value is not what the schema of the client allows: missing, of another type, not finite, degenerate.
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// A count or a depth exceeds what this server accepts.
    LimitExceeded {
        /// What there is too much of, in the plural.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The JSON announces an array that the document does not hold.
    MissingArray {
        /// Path of the array that was looked for.
        array: String,
    },
    /// An array is there and cannot be read.
    UnreadableArray(ArrayError),
}

/// A part of a scene cannot be used.
#[derive(Debug)]
pub struct SceneError {
    part: Part,
    path: String,
    fault: Fault,
}

impl SceneError {
    /// What the part is.
    pub const fn part(&self) -> Part {
        self.part
    }

    /// The JSON path of the offending value, such as `structures/3/geometry/geometries/1/vertices`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong with it.
    pub const fn fault(&self) -> &Fault {
        &self.fault
    }

    /// A stable code for programs and for the table of errors.
    pub const fn code(&self) -> &'static str {
        match (self.part, &self.fault) {
            (Part::Geometry, Fault::UnsupportedType { .. }) => "geometry-type-unsupported",
            (Part::Geometry, Fault::UnsupportedOption { .. }) => "geometry-option-unsupported",
            (Part::Geometry, Fault::Invalid { .. }) => "geometry-invalid",
            (Part::Geometry, Fault::LimitExceeded { .. }) => "geometry-limit-exceeded",
            (Part::Geometry, Fault::MissingArray { .. }) => "geometry-array-missing",
            (Part::Geometry, Fault::UnreadableArray(_)) => "geometry-array-unreadable",
            (Part::Medium, Fault::UnsupportedType { .. }) => "medium-type-unsupported",
            (Part::Medium, Fault::UnsupportedOption { .. }) => "medium-option-unsupported",
            (Part::Medium, Fault::Invalid { .. }) => "medium-invalid",
            (Part::Medium, Fault::LimitExceeded { .. }) => "medium-limit-exceeded",
            (Part::Medium, Fault::MissingArray { .. }) => "medium-array-missing",
            (Part::Medium, Fault::UnreadableArray(_)) => "medium-array-unreadable",
        }
    }

    /// What the author of the scene can do about it.
    pub const fn hint(&self) -> &'static str {
        match (&self.fault, self.part) {
            (Fault::UnsupportedType { .. }, Part::Geometry) => {
                "draw the structure with Box, Sphere, Cylinder, PolySlab, TriangleMesh, GeometryGroup, \
                 GeometryArray, Transformed or ClipOperation"
            }
            (Fault::UnsupportedType { .. }, Part::Medium) => {
                "use Medium, a dispersive or a custom medium, AnisotropicMedium, FullyAnisotropicMedium, \
                 Medium2D, PECMedium or PMCMedium"
            }
            (Fault::UnsupportedOption { .. }, Part::Geometry) => {
                "change the named parameter, or approximate the shape with others"
            }
            (Fault::UnsupportedOption { .. }, Part::Medium) => {
                "change the named option, or leave it at its default"
            }
            (Fault::Invalid { .. }, _) => "correct the named value and submit again",
            (Fault::LimitExceeded { .. }, Part::Geometry) => {
                "simplify the geometry, or split it over several structures"
            }
            (Fault::LimitExceeded { .. }, Part::Medium) => "reduce the named data",
            (Fault::MissingArray { .. }, _) => {
                "write the simulation with its data (an .hdf5 file, not .json)"
            }
            (Fault::UnreadableArray(_), _) => "upload the simulation again",
        }
    }
}

impl fmt::Display for SceneError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = self.part.noun();
        write!(formatter, "{}: ", self.path)?;
        match &self.fault {
            Fault::UnsupportedType { kind } => write!(formatter, "the {part} type `{kind}` is not supported"),
            Fault::UnsupportedOption { what } => write!(formatter, "{what} is not supported"),
            Fault::Invalid { reason } => formatter.write_str(reason),
            Fault::LimitExceeded { what, limit } => write!(formatter, "{what} exceed the limit of {limit}"),
            Fault::MissingArray { array } => write!(formatter, "the document holds no array at `{array}`"),
            Fault::UnreadableArray(_) => write!(formatter, "an array of the {part} cannot be read"),
        }
    }
}

impl std::error::Error for SceneError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::UnreadableArray(source) => Some(source),
            _ => None,
        }
    }
}
