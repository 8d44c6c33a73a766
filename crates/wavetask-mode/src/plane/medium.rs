//! The media of a plane as the equations need them: transformed, conductors replaced, classified.

use num_complex::Complex;

use super::conductors::Conductors;
use super::differences::is_complex;
use super::problem::{PlaneProblem, Tensor};
use super::transformation::{Field, Jacobians, Matrix};

type C = Complex<f64>;

/// Magnitudes at least this large stand for perfect conductors (the client writes -1e8).
pub(super) const CONDUCTOR: f64 = 0.9e8;
/// The magnitude with which the client marks conductors.
const MARK: f64 = 1e8;
/// Off-diagonal elements up to this magnitude count as zero.
const OFF_DIAGONAL: f64 = 1e-6;

/// The character of the media in the plane, after the transformations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediumCharacter {
    /// Diagonal everywhere (`"diagonal"` in the client's data).
    Diagonal,
    /// Off-diagonal elements, permittivity real (`"tensorial_real"`).
    TensorialReal,
    /// Off-diagonal elements, permittivity complex (`"tensorial_complex"`).
    TensorialComplex,
}

/// Tensors for every cell.
#[derive(Clone, Debug)]
pub(super) struct Media {
    pub(super) permittivity: Vec<Matrix<C>>,
    pub(super) permeability: Vec<Matrix<C>>,
}

impl Media {
    /// The media in the transformed coordinates, with what conductors that the grid conforms to do to them.
    pub(super) fn of(problem: &PlaneProblem, jacobians: &Jacobians, conductors: Option<&Conductors>) -> Self {
        let cells = problem.permittivity.0[0].len();
        let ones = || vec![C::new(1.0, 0.0); cells];
        let unit = || Tensor::diagonal(ones(), ones(), ones());
        let (mut permittivity, mut permeability) = (None, None);
        if let Some(conductors) = conductors {
            let own = problem.permeability.clone().unwrap_or_else(unit);
            conductors.apply(permittivity.insert(problem.permittivity.clone()), permeability.insert(own));
        }
        let permittivity = permittivity.as_ref().unwrap_or(&problem.permittivity);
        let permeability = permeability.as_ref().or(problem.permeability.as_ref());
        let gather = |tensor: &Tensor, cell: usize| std::array::from_fn(|index| tensor.0[index][cell]);
        let transform = |field, cell, tensor| {
            if jacobians.are_identity() { tensor } else { jacobians.medium(field, cell, tensor) }
        };
        let mut one = [C::default(); 9];
        for index in [0, 4, 8] {
            one[index] = C::new(1.0, 0.0);
        }
        let transformed = |field, tensor: Option<&Tensor>| {
            (0..cells)
                .map(|cell| transform(field, cell, tensor.map_or(one, |tensor| gather(tensor, cell))))
                .collect()
        };
        Self {
            permittivity: transformed(Field::Electric, Some(permittivity)),
            permeability: transformed(Field::Magnetic, permeability),
        }
    }

    /// Replaces the mark of perfect conductors by a conductivity that is large beside the differences' square.
    pub(super) fn replace_conductors(&mut self, largest_difference: f64) {
        let conductivity = (MARK * largest_difference.powi(2).max(1.0)).min(1e70);
        for value in self.permittivity.iter_mut().chain(&mut self.permeability).flatten() {
            if value.norm() >= CONDUCTOR {
                *value = C::new(1.0, conductivity);
            }
        }
    }

    /// Whether there is a conductor, after their replacement.
    pub(super) fn have_conductors(&self) -> bool {
        self.permittivity.iter().chain(&self.permeability).flatten().any(|value| value.norm() >= CONDUCTOR)
    }

    pub(super) fn character(&self) -> MediumCharacter {
        let off_diagonal =
            |tensor: &Matrix<C>| [1, 2, 3, 5, 6, 7].iter().any(|index| tensor[*index].norm() > OFF_DIAGONAL);
        if !self.permittivity.iter().chain(&self.permeability).any(off_diagonal) {
            MediumCharacter::Diagonal
        } else if is_complex(self.permittivity.iter().flatten()) {
            MediumCharacter::TensorialComplex
        } else {
            MediumCharacter::TensorialReal
        }
    }

    /// Whether either material has complex values.
    pub(super) fn are_complex(&self) -> bool {
        is_complex(self.permittivity.iter().flatten()) || is_complex(self.permeability.iter().flatten())
    }

    /// Whether the tensors are symmetric, so that modes are orthogonal to each other without conjugation.
    pub(super) fn are_reciprocal(&self) -> bool {
        let symmetric = |tensor: &Matrix<C>| {
            [(1, 3), (2, 6), (5, 7)].iter().all(|(a, b)| (tensor[*a] - tensor[*b]).norm() <= OFF_DIAGONAL)
        };
        self.permittivity.iter().chain(&self.permeability).all(symmetric)
    }
}

/// The largest refractive index of a plane, conductors left out: where modes are sought without a target.
pub(super) fn largest_index(tensor: &Tensor) -> f64 {
    tensor
        .0
        .iter()
        .flatten()
        .map(|value| value.norm())
        .filter(|value| *value < MARK)
        .fold(0.0, f64::max)
        .sqrt()
}
