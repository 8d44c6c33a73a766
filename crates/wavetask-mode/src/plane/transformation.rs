//! Bends and angles as media: transformation optics.
//!
//! In coordinates `r'(r)` in which the waveguide is straight and along the normal, Maxwell's equations keep their form
//! with `ε' = J ε Jᵀ / det J`, `μ' = J μ Jᵀ / det J`, `J = ∂r'/∂r`, and fields `E = Jᵀ E'`, `H = Jᵀ H'` (A. J. Ward and
//! J. B. Pendry, J. Mod. Opt. 43, 773, 1996). Everything is evaluated where the plane lies, at `z = 0`.
//!
//! * Angle: `u = x - z tan θ cos φ`, `v = y - z tan θ sin φ`, `w = z`. A wave vector `n'` along `w` has the length
//!   `n' cos θ` along the waveguide.
//! * Bend of radius R about the axis y: `u = √(x² + z²)`, `w = R asin(z / u)`, hence `∂w/∂z = R / x` with x counted
//!   from the centre of curvature. E is taken at the left edges of the cells, H at their centres.

use num_complex::Complex;

use super::problem::PlaneProblem;

/// A 3 x 3 matrix by rows.
pub(super) type Matrix<T> = [T; 9];

/// The Jacobians at the locations of E and of H.
#[derive(Clone, Debug)]
pub(super) struct Jacobians {
    shear: [f64; 2],
    /// Axis across the bend, and `∂w/∂z` along it for E and for H.
    stretch: Option<(usize, [Vec<f64>; 2])>,
    columns: usize,
}

/// E or H.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Electric,
    Magnetic,
}

impl Jacobians {
    pub(super) fn of(problem: &PlaneProblem) -> Self {
        let slope = problem.angle_theta.tan();
        let shear = [-slope * problem.angle_phi.cos(), -slope * problem.angle_phi.sin()];
        let stretch = problem.bend.map(|bend| {
            let across = 1 - bend.axis;
            let lines = &problem.boundaries[across];
            let distance = |line: f64| line + (bend.radius - bend.center[across]);
            let edges = lines[..lines.len() - 1].iter().map(|line| bend.radius / distance(*line)).collect();
            let centres = lines
                .windows(2)
                .map(|pair| bend.radius / (distance(pair[0]) + distance(pair[1])) * 2.0)
                .collect();
            (across, [edges, centres])
        });
        Self { shear, stretch, columns: problem.shape()[1] }
    }

    /// Whether the coordinates are those of the plane.
    pub(super) fn are_identity(&self) -> bool {
        self.shear == [0.0, 0.0] && self.stretch.is_none()
    }

    /// The Jacobian of a cell: the bend's after the angle's.
    pub(super) fn at(&self, field: Field, cell: usize) -> Matrix<f64> {
        let index = usize::from(field == Field::Magnetic);
        let stretch = self.stretch.as_ref().map_or(1.0, |(axis, values)| {
            values[index][if *axis == 0 { cell / self.columns } else { cell % self.columns }]
        });
        [1.0, 0.0, self.shear[0], 0.0, 1.0, self.shear[1], 0.0, 0.0, stretch]
    }

    /// `J T Jᵀ / det J`.
    pub(super) fn medium(
        &self,
        field: Field,
        cell: usize,
        tensor: Matrix<Complex<f64>>,
    ) -> Matrix<Complex<f64>> {
        let jacobian = self.at(field, cell);
        let mut result = [Complex::default(); 9];
        for row in 0..3 {
            for column in 0..3 {
                let mut sum = Complex::default();
                for i in 0..3 {
                    for j in 0..3 {
                        sum += tensor[3 * i + j] * (jacobian[3 * row + i] * jacobian[3 * column + j]);
                    }
                }
                // The Jacobian is upper triangular with ones but for its last element.
                result[3 * row + column] = sum / jacobian[8];
            }
        }
        result
    }

    /// `Jᵀ F'` for the three components of a field on the cells, in place.
    pub(super) fn restore(&self, field: Field, components: &mut [Vec<Complex<f64>>; 3]) {
        if self.are_identity() {
            return;
        }
        for cell in 0..components[0].len() {
            let jacobian = self.at(field, cell);
            let values = [components[0][cell], components[1][cell], components[2][cell]];
            for (column, component) in components.iter_mut().enumerate() {
                component[cell] = (0..3).map(|row| values[row] * jacobian[3 * row + column]).sum();
            }
        }
    }
}
