//! Why a subpixel averaging cannot be done.

use crate::permittivity::PermittivityError;
use crate::reading::SceneError;

/// The averaging that the simulation asks for is not available.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubpixelError {
    /// The method is unknown, or it does not exist for this use.
    #[error("{path}: {what} is not supported")]
    Unsupported {
        /// JSON path of the method.
        path: String,
        /// What is not supported, as a noun phrase.
        what: String,
    },
    /// The specification is not what the schema of the client allows.
    #[error(transparent)]
    Specification(#[from] SceneError),
    /// The question about the grid cannot be answered.
    #[error(transparent)]
    Permittivity(#[from] PermittivityError),
}

impl SubpixelError {
    /// A stable code for programs and for the table of errors.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "subpixel-unsupported",
            Self::Specification(error) => error.code(),
            Self::Permittivity(error) => error.code(),
        }
    }

    /// What the author of the simulation can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => {
                "choose another method in `subpixel`; for lossy metals VolumetricAveraging or Staircasing, \
                 or set `penetrable` of the medium"
            }
            Self::Specification(error) => error.hint(),
            Self::Permittivity(error) => error.hint(),
        }
    }
}
