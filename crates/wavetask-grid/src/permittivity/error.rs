//! Why a permittivity cannot be calculated.

/// The question cannot be answered; the scene itself is sound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PermittivityError {
    /// More points than this server accepts in one array.
    #[error("the permittivity on {points} points is asked for, more than the limit of {limit}")]
    TooManyPoints {
        /// How many points the coordinates make, saturating.
        points: usize,
        /// The limit.
        limit: usize,
    },
    /// A frequency that is no positive number.
    #[error("the permittivity is asked for at the frequency {frequency}, which is not a positive number")]
    Frequency {
        /// The frequency in hertz.
        frequency: f64,
    },
    /// A coordinate is not a number, or coordinates do not ascend.
    #[error("the coordinates along {axis} do not ascend")]
    Coordinates {
        /// `x`, `y` or `z`.
        axis: char,
    },
    /// The scene has media without thickness and knows no grid that gives them one.
    #[error("{path}: a two-dimensional medium has no thickness before the grid is known")]
    UnplacedSheet {
        /// JSON path of the structure.
        path: String,
    },
}

impl PermittivityError {
    /// A stable code for programs and for the table of errors.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooManyPoints { .. } => "permittivity-too-many-points",
            Self::Frequency { .. } => "permittivity-frequency",
            Self::Coordinates { .. } => "permittivity-coordinates",
            Self::UnplacedSheet { .. } => "permittivity-sheet-unplaced",
        }
    }

    /// What the caller can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::TooManyPoints { .. } => "use a coarser grid or a smaller region",
            Self::Frequency { .. } => "ask at a frequency above zero",
            Self::Coordinates { .. } => "give coordinates in ascending order",
            Self::UnplacedSheet { .. } => "give the scene the boundaries of the simulation's grid first",
        }
    }
}
