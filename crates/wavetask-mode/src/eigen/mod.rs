//! Eigenpairs of a large sparse matrix near a number.
//!
//! The eigenvalues nearest to `σ` are those of largest magnitude of `(A - σ)⁻¹`, so the matrix is factorised once
//! ([`Symbolic`], [`Factor`]) and a Krylov method does the rest. Nothing here knows optics, but for one thing: the
//! unknowns belong to the cells of a grid, from which [`dissection`] derives the order of elimination.
//!
//! The mode solver's matrices need far more time for solutions with the factors than for the factors, and a
//! solution costs what reading the factors costs. Hence blocks of vectors, and factors in single precision
//! wherever corrections with residuals in double precision reach the accuracy asked for.

pub mod dissection;
mod factor;
mod kernels;
mod krylov;
mod matrix;
mod scalar;
mod schur;
mod shifted;
mod symbolic;

pub use factor::Factor;
pub use matrix::SparseMatrix;
pub use scalar::{Scalar, View, ViewMut};
pub use schur::symmetric_inverse_square_root;
pub use shifted::{Eigenpairs, Request, Workspace, nearest};
pub use symbolic::Symbolic;

/// Why eigenpairs were not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EigenError {
    /// More were asked for than the matrix has, or than the method can find.
    #[error("{wanted} eigenvalues of a matrix with {size} rows were asked for; at most {most} can be found")]
    TooMany {
        /// Eigenvalues asked for.
        wanted: usize,
        /// Rows of the matrix.
        size: usize,
        /// Eigenvalues that can be found.
        most: usize,
    },
    /// The iteration ended without the accuracy asked for, or met numbers that are not finite.
    #[error("the eigenvalue iteration did not converge: {message}")]
    NotConverged {
        /// What was reached.
        message: String,
    },
    /// The caller asked to stop.
    #[error("the calculation was cancelled")]
    Cancelled,
}
