//! What can go wrong between a sparse matrix and its solution.

use std::borrow::Cow;

/// A failure of assembly, multigrid set-up or the iterative solve.
///
/// The variants are grouped by what the caller does next: the first four are wrong input and will fail
/// again unchanged; [`Singular`](Self::Singular), [`NonPositiveDiagonal`](Self::NonPositiveDiagonal),
/// [`NotPositiveDefinite`](Self::NotPositiveDefinite) and
/// [`PreconditionerNotPositive`](Self::PreconditionerNotPositive) say that the physics or the mesh does not
/// give a solvable problem; [`Stagnated`](Self::Stagnated) and [`NotConverged`](Self::NotConverged) may go
/// away with a looser tolerance; [`Cancelled`](Self::Cancelled) was asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinearError {
    /// Two things that must have the same size do not.
    #[error("{what}: expected {expected} but found {found}")]
    SizeMismatch {
        /// What was measured.
        what: &'static str,
        /// The size that the other arguments imply.
        expected: usize,
        /// The size that was given.
        found: usize,
    },
    /// An element refers to an unknown that does not exist, or a matrix to a column that does not exist.
    #[error("{what} {index} refers to unknown {unknown}, but there are only {unknowns}")]
    UnknownOutOfRange {
        /// `"element"` or `"row"`.
        what: &'static str,
        /// Which element or row.
        index: usize,
        /// The unknown referred to.
        unknown: usize,
        /// How many unknowns there are.
        unknowns: usize,
    },
    /// The structure of a matrix is not usable: unsorted columns, a missing diagonal, entries outside of the
    /// pattern, or more of something than 32-bit indices can count.
    #[error("sparse structure: {reason}")]
    Structure {
        /// What is wrong, with the place.
        reason: Cow<'static, str>,
    },
    /// A number that should be finite is infinite or not a number.
    #[error("{what} is not finite at index {index}")]
    NotFinite {
        /// Which array or element matrix.
        what: &'static str,
        /// Where in it.
        index: usize,
    },
    /// A diagonal entry is zero or negative, so the matrix is not positive definite.
    #[error("the diagonal of row {row} is {value:e}, not positive: no conductivity reaches this unknown")]
    NonPositiveDiagonal {
        /// The first such row.
        row: usize,
        /// Its diagonal.
        value: f64,
    },
    /// A connected set of unknowns is tied to nothing: adding a constant to all of them changes nothing.
    #[error(
        "the matrix is singular: {rows} connected unknowns (the first is {first_row}) float, because nothing \
         fixes their level"
    )]
    Singular {
        /// How many unknowns float together.
        rows: usize,
        /// The lowest of them.
        first_row: usize,
    },
    /// A direction of zero or negative energy was met.
    #[error("the matrix is not positive definite (found in {stage}, energy {energy:e})")]
    NotPositiveDefinite {
        /// Where it was noticed.
        stage: &'static str,
        /// The energy `pᵀ A p`, or the pivot, that should have been positive.
        energy: f64,
    },
    /// The preconditioner returned a vector that is not a descent direction.
    #[error("the preconditioner is not positive definite at iteration {iteration} (rᵀ B r = {product:e})")]
    PreconditionerNotPositive {
        /// The iteration, from 0.
        iteration: usize,
        /// `rᵀ B r`, which should have been positive.
        product: f64,
    },
    /// The residual stopped falling above the tolerance.
    #[error(
        "the solve stagnated at iteration {iteration}: relative residual {relative_residual:e}, wanted \
         {tolerance:e}"
    )]
    Stagnated {
        /// The iteration at which it was given up.
        iteration: usize,
        /// The best relative residual reached.
        relative_residual: f64,
        /// The relative residual asked for.
        tolerance: f64,
    },
    /// The iterations were used up.
    #[error(
        "not converged in {iterations} iterations: relative residual {relative_residual:e}, wanted {tolerance:e}"
    )]
    NotConverged {
        /// How many iterations were done.
        iterations: usize,
        /// The relative residual reached.
        relative_residual: f64,
        /// The relative residual asked for.
        tolerance: f64,
    },
    /// The callback asked to stop.
    #[error("cancelled at iteration {iteration}")]
    Cancelled {
        /// The iteration whose callback said so.
        iteration: usize,
    },
}

impl LinearError {
    /// A short name that stays the same between releases, for logs and programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::SizeMismatch { .. } => "linear.size_mismatch",
            Self::UnknownOutOfRange { .. } => "linear.unknown_out_of_range",
            Self::Structure { .. } => "linear.structure",
            Self::NotFinite { .. } => "linear.not_finite",
            Self::NonPositiveDiagonal { .. } => "linear.non_positive_diagonal",
            Self::Singular { .. } => "linear.singular",
            Self::NotPositiveDefinite { .. } => "linear.not_positive_definite",
            Self::PreconditionerNotPositive { .. } => "linear.preconditioner_not_positive",
            Self::Stagnated { .. } => "linear.stagnated",
            Self::NotConverged { .. } => "linear.not_converged",
            Self::Cancelled { .. } => "linear.cancelled",
        }
    }

    /// What to try next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::SizeMismatch { .. } | Self::UnknownOutOfRange { .. } | Self::Structure { .. } => {
                "this is a fault in how the equations were put together, not in the simulation; please report it"
            }
            Self::NotFinite { .. } => {
                "look for infinite or undefined conductivities, sources, boundary values or degenerate cells"
            }
            Self::NonPositiveDiagonal { .. } => {
                "every meshed region needs a positive conductivity and cells of positive volume"
            }
            Self::Singular { .. } => {
                "give each connected solid region a temperature or convection boundary condition"
            }
            Self::NotPositiveDefinite { .. } | Self::PreconditionerNotPositive { .. } => {
                "look for negative conductivities or convection coefficients, inverted cells, or a problem whose \
                 coefficients span more than about fourteen orders of magnitude"
            }
            Self::Stagnated { .. } | Self::NotConverged { .. } => {
                "loosen the tolerance, or look for extremely flat cells and extreme ratios of conductivity"
            }
            Self::Cancelled { .. } => "the solve was stopped on request",
        }
    }
}
