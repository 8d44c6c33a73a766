//! The modes of a waveguide's cross-section at one frequency.
//!
//! ```text
//! PlaneProblem ─ transformation ─► media, differences ─ equations ─► matrix ─ eigen ─► E, H, index ─ normalisation
//! ```
//!
//! The discretisation is that of the client's own solver, so that indices agree to rounding: Yee's grid, bends and
//! angles as media, absorbers as complex stretching. Where it is told to, the grid conforms to perfect conductors, which the
//! client's solver does not offer.

mod absorber;
mod conductors;
mod differences;
mod equations;
mod estimate;
mod medium;
mod normalisation;
mod problem;
mod solving;
mod transformation;
mod truncation;

use num_complex::Complex;

pub use conductors::Openings;
pub use estimate::{PlaneEstimate, estimate};
pub use medium::MediumCharacter;
pub use problem::{Bend, Controls, Direction, ModeError, PlaneProblem, Precision, Symmetry, Tensor};
pub use solving::{PlaneWorkspace, solve, solve_with};
pub use truncation::{WithinCells, remove_grid_error};

/// A mode: its index and its fields on the cells of the plane, row-major with the second axis running fastest.
///
/// E and H are at their places on Yee's grid, in units whose ratio is ohms; the scale is that of the module
/// `normalisation`: the product of the mode with itself, without conjugation, is one (watts), its sign is open. Where
/// that product vanishes, or the media are not reciprocal, the scale is open too. Time varies as `exp(-i ω t)`.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaneMode {
    /// Effective index; the imaginary part is positive for loss.
    pub index: Complex<f64>,
    /// Components of the electric field along axes 0, 1 and the normal.
    pub e: [Vec<Complex<f64>>; 3],
    /// Components of the magnetic field.
    pub h: [Vec<Complex<f64>>; 3],
}

/// The modes of a plane.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaneSolution {
    /// Modes by descending real part of the index, as the eigensolver found it.
    pub modes: Vec<PlaneMode>,
    /// The media after the transformations.
    pub character: MediumCharacter,
    /// Solutions with the factors that were needed.
    pub solutions: usize,
}
