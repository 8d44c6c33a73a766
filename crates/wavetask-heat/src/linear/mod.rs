//! Sparse symmetric positive definite equations, from elements to solution.
//!
//! ```text
//! Elements ─► Pattern ─► Assembler ─► CsrMatrix ─► Multigrid ─┐
//!                                        └────────────────────┴─► conjugate_gradient ─► x, Statistics
//! ```
//!
//! ```
//! use std::ops::ControlFlow;
//! use wavetask_heat::linear::{
//!     Assembler, Elements, Multigrid, MultigridOptions, Options, Pattern, conjugate_gradient,
//! };
//!
//! // A rod of ten segments of conductance 2, held at 1 and 3.
//! let segments: Vec<[u32; 2]> = (0..10).map(|i| [i, i + 1]).collect();
//! let elements = Elements::new(11, &segments, 2)?;
//! let mut assembler = Assembler::new(Pattern::from_elements(&[&elements])?);
//! assembler.add::<2>(&elements, |_, local| *local = [[2.0, -2.0], [-2.0, 2.0]])?;
//! let mut matrix = assembler.finish();
//! let mut right_hand_side = vec![0.0; 11];
//! let mut fixed = vec![None; 11];
//! (fixed[0], fixed[10]) = (Some(1.0), Some(3.0));
//! matrix.fix_unknowns(&fixed, &mut right_hand_side)?;
//!
//! let multigrid = Multigrid::new(&matrix, &MultigridOptions::default())?;
//! let mut x = vec![0.0; 11];
//! let mut progress = |_iteration: usize, _relative_residual: f64| ControlFlow::Continue(());
//! let statistics =
//!     conjugate_gradient(&matrix, &multigrid, &right_hand_side, &mut x, &Options::default(), &mut progress)?;
//! assert!((x[5] - 2.0).abs() < 1e-9);
//! assert!(statistics.iterations <= 2);
//! # Ok::<(), wavetask_heat::linear::LinearError>(())
//! ```
//!
//! Why iterative: a sparse Cholesky factor of a million tetrahedral unknowns holds thousands of millions of
//! entries, and its time grows with the square of the unknowns; multigrid needs a few hundred bytes per
//! unknown and a time in proportion to them. Why own code: no maintained algebraic multigrid crate was found,
//! and the contrasts and thin layers of heaters need control over what is aggregated.
//!
//! What to expect: 15 to 30 iterations to 1e-10 whatever the number of unknowns, the contrast and the grading;
//! 40 to 80 when cut cells leave many slivers (dihedral angles of a few degrees), whose large positive
//! couplings no aggregate can represent. `examples/linear_throughput.rs` measures it.
//!
//! Everything here gives the same bits on any number of threads of the rayon pool it runs in.

mod aggregation;
mod assembly;
mod conjugate_gradient;
mod dense;
mod error;
mod matrix;
mod memory;
mod multigrid;
mod vector;

pub use assembly::{Assembler, Elements, Pattern};
pub use conjugate_gradient::{
    Jacobi, Options, Preconditioner, SetupStatistics, Statistics, conjugate_gradient,
};
pub use error::LinearError;
pub use matrix::CsrMatrix;
pub use memory::{MemoryEstimate, estimate_memory};
pub use multigrid::{Multigrid, MultigridOptions, MultigridWorkspace};
