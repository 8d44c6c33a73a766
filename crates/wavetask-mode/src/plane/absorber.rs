//! Absorbers at the edges: coordinates stretched into the complex plane.
//!
//! `∂/∂x → s⁻¹ ∂/∂x` with `s = κ + i σ / (ω ε₀)` (W. C. Chew and W. H. Weedon, Microw. Opt. Technol. Lett. 7, 599,
//! 1994). Over the absorber's depth `d`, `κ = 1 + 2 (x/d)³` and `σ = 2 (x/d)³ v / (η₀ Δ)` with the cell size Δ at the
//! edge and `v` the speed of light there relative to vacuum, from the mean of the media's diagonals in the absorber.

use num_complex::Complex;

use super::transformation::Matrix;

type C = Complex<f64>;

/// Speed of light in micrometres per second.
pub(super) const LIGHT_SPEED: f64 = 2.99792458e14;
/// Vacuum permeability in henries per micrometre, as the client has it.
const VACUUM_PERMEABILITY: f64 = 1.25663706212e-12;

/// Vacuum permittivity in farads per micrometre.
fn vacuum_permittivity() -> f64 {
    1.0 / (VACUUM_PERMEABILITY * LIGHT_SPEED * LIGHT_SPEED)
}

/// Impedance of vacuum in ohms.
pub(super) fn vacuum_impedance() -> f64 {
    (VACUUM_PERMEABILITY / vacuum_permittivity()).sqrt()
}

/// Which samples of the stretching are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampling {
    /// At the centres of the cells, where forward differences lie.
    Centres,
    /// At their lower edges, where backward differences lie.
    Edges,
}

/// The absorbers along an axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Absorber {
    /// Cells in the absorber at each edge.
    pub(super) cells: usize,
    /// Whether there is one at the lower edge.
    pub(super) at_lower_edge: bool,
    /// Relative speeds of light at the lower and the upper edge.
    pub(super) speeds: [C; 2],
    /// Angular frequency.
    pub(super) angular_frequency: f64,
}

impl Absorber {
    /// The factors `s` for cells whose steps are given.
    pub(super) fn factors(&self, steps: &[f64], sampling: Sampling) -> Vec<C> {
        let (count, depth) = (steps.len(), self.cells);
        let mut factors = vec![C::new(1.0, 0.0); count];
        if depth == 0 {
            return factors;
        }
        let half = if sampling == Sampling::Centres { 0.5 } else { 0.0 };
        for (cell, factor) in factors.iter_mut().enumerate() {
            if cell < depth && self.at_lower_edge {
                let share = ((depth - cell) as f64 - half) / depth as f64;
                *factor = self.factor(steps[0], share, self.speeds[0]);
            } else if cell + depth >= count {
                let share = ((cell + depth - count) as f64 + half) / depth as f64;
                if share > 0.0 {
                    *factor = self.factor(steps[count - 1], share, self.speeds[1]);
                }
            }
        }
        factors
    }

    fn factor(&self, step: f64, share: f64, speed: C) -> C {
        let cubed = share.powi(3);
        let conductivity = speed * (2.0 * cubed / (vacuum_impedance() * step));
        1.0 + 2.0 * cubed + C::i() * conductivity / (self.angular_frequency * vacuum_permittivity())
    }
}

/// Relative speeds of light in the absorbers at the lower and the upper edge along an axis.
///
/// The mean over the upper absorber leaves its innermost cell out; over no cells it is one.
pub(super) fn speeds(shape: [usize; 2], axis: usize, cells: usize, media: [&[Matrix<C>]; 2]) -> [C; 2] {
    let count = shape[axis];
    // An absorber deeper than the plane: the client counts the excess from the end.
    let inner = (count + 1).checked_sub(cells).unwrap_or_else(|| count.saturating_sub(cells - count - 1));
    let ranges = [0..cells.min(count), inner..count];
    ranges.map(|range| {
        let product: C = media
            .iter()
            .map(|tensors| {
                let (mut sum, mut count) = (C::default(), 0_usize);
                for (cell, tensor) in tensors.iter().enumerate() {
                    let index = if axis == 0 { cell / shape[1] } else { cell % shape[1] };
                    if range.contains(&index) {
                        sum += tensor[0] + tensor[4] + tensor[8];
                        count += 3;
                    }
                }
                if count == 0 { C::new(1.0, 0.0) } else { sum / count as f64 }
            })
            .product();
        product.sqrt().inv()
    })
}
