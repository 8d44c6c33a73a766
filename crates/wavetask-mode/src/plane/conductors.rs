//! Grids that conform to perfect conductors.
//!
//! Faraday's law is stated for the part of each face that is outside of conductors: along a cut edge the field counts
//! with the open length, the flux through a cut face with the open area; Ampère's law is as everywhere (S. Dey and R.
//! Mittra, IEEE Microw. Guided Wave Lett. 7, 273, 1997; S. Benkler, N. Chavannes and N. Kuster, IEEE Trans. Antennas
//! Propag. 54, 1843, 2006). Of a cross-section that is, with the open parts `p` of the edges and `a` of the cells,
//!
//! ```text
//! i n Ex = (μ h)y + ∂x Ez / px        hz = (∂x (py Ey) - ∂y (px Ex)) / (a μzz)
//! i n Ey = -(μ h)x + ∂y Ez / py       Ex = hy = 0 where px = 0, Ey = hx = 0 where py = 0, Ez = 0 in conductors
//! ```
//!
//! The faces of Hx and Hy are edges of the plane times a length along the guide: their open parts are those of Ey and
//! Ex. Without the second equation's divisions the wall would be moved to grid lines; with them the error of the index
//! falls with the square of the step. In frequency nothing is unstable, however small an opening is, so nothing like the
//! shorter time step of solvers in time (`timestep_reduction`) is needed.
//!
//! **Edges of conductors.** Near a straight edge fields grow as `r^(ν-1)`, with `ν = 1/2` at the end of a sheet and `2/3`
//! at a right angle, and the mean of a field along an edge of the grid is not that over the face across it. The field is
//! that of a charged wedge there, the gradient of `r^ν sin ν(θ - θ₀)`; where the conductor's edge lies on a corner of the
//! grid, with its faces along grid lines, the ratio of both means is known in closed form and multiplies the permittivity;
//! of the magnetic field, at the same place and turned by a right angle, it divides the permeability (as for wires: R. Holland and
//! L. Simpson, IEEE Trans. Electromagn. Compat. 23, 88, 1981).

use std::f64::consts::{FRAC_PI_2, PI};

use super::medium::CONDUCTOR;
use super::problem::{PlaneProblem, Symmetry, Tensor};

/// Smaller open parts of an edge count as closed; so do the edges of a cell with a smaller open part.
const SMALLEST: [f64; 2] = [1e-3, 1e-4];

/// Parts that differ from 0 or 1 by less are whole.
const WHOLE: f64 = 1e-6;

/// What perfect conductors leave open of the plane's grid. All arrays are row-major with the second axis running fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Openings {
    /// Open parts of the edges along the two axes, from 0 to 1, where Ex and Ey are.
    pub edges: [Vec<f64>; 2],
    /// Open parts of the cells, where Hz is.
    pub cells: Vec<f64>,
    /// Open (1) or closed (0) corners of cells, where Ez is.
    pub corners: Vec<f64>,
    /// Whether fields at edges of conductors that lie on the grid are corrected for their singularity.
    pub corrects_edges: bool,
}

/// The conductors as the equations see them.
#[derive(Clone, Debug)]
pub(super) struct Conductors {
    /// Open parts of the edges; zero is closed.
    pub(super) edges: [Vec<f64>; 2],
    /// Reciprocals of the open parts of cells; zero where there is none.
    pub(super) flux: Vec<f64>,
    /// Whether Ez vanishes.
    pub(super) closed: Vec<bool>,
    /// What multiplies the permittivity and divides the permeability at edges.
    pub(super) factors: [Vec<f64>; 2],
}

impl Conductors {
    /// Makes openings consistent: a field that borders on nothing open is zero.
    ///
    /// Sheets that conduct perfectly are in the permittivity, as conductors on grid lines.
    pub(super) fn of(problem: &PlaneProblem, openings: &Openings) -> Self {
        let shape = problem.shape();
        let conducts =
            |element: usize, cell: usize| problem.permittivity.0[element][cell].norm() >= CONDUCTOR;
        let count = shape[0] * shape[1];
        let mut edges = openings.edges.clone();
        for (axis, parts) in edges.iter_mut().enumerate() {
            for (cell, part) in parts.iter_mut().enumerate() {
                if *part < SMALLEST[0] || conducts(4 * axis, cell) {
                    *part = 0.0;
                }
            }
        }
        let flux = (0..count)
            .map(|cell| {
                let part = openings.cells[cell];
                if part >= SMALLEST[1] {
                    return part.recip();
                }
                let [row, column] = [cell / shape[1], cell % shape[1]];
                edges[0][cell] = 0.0;
                edges[1][cell] = 0.0;
                if column + 1 < shape[1] {
                    edges[0][cell + 1] = 0.0;
                }
                if row + 1 < shape[0] {
                    edges[1][cell + shape[1]] = 0.0;
                }
                0.0
            })
            .collect();
        let closed = (0..count)
            .map(|cell| {
                let before = [cell.checked_sub(shape[1]), (cell % shape[1] > 0).then(|| cell - 1)];
                let meets_closed = (0..2).any(|axis| {
                    let is_closed = |cell: usize| edges[axis][cell] == 0.0;
                    shape[axis] > 1 && (is_closed(cell) || before[axis].is_some_and(is_closed))
                });
                meets_closed || openings.corners[cell] < 1.0 || conducts(8, cell)
            })
            .collect();
        let factors = if openings.corrects_edges {
            singular_factors(problem, &edges, &openings.cells)
        } else {
            [(); 2].map(|()| vec![1.0; count])
        };
        Self { edges, flux, closed, factors }
    }

    /// Puts vacuum in the place of conductors, in which no field is calculated, and the factors of edges into the media.
    pub(super) fn apply(&self, permittivity: &mut Tensor, permeability: &mut Tensor) {
        for axis in [0, 1] {
            let diagonal = 4 * axis;
            for (cell, (part, factor)) in self.edges[axis].iter().zip(&self.factors[axis]).enumerate() {
                if *part == 0.0 {
                    for column in 0..3 {
                        permittivity.0[3 * axis + column][cell] = f64::from(u8::from(column == axis)).into();
                    }
                }
                permittivity.0[diagonal][cell] *= factor;
                // Hy lies where Ex does, Hx where Ey does.
                permeability.0[4 - diagonal][cell] /= factor;
            }
        }
        for cell in (0..self.closed.len()).filter(|&cell| self.closed[cell]) {
            for column in 0..3 {
                permittivity.0[6 + column][cell] = f64::from(u8::from(column == 2)).into();
            }
        }
    }

    /// Whether an unknown (Ex, Ey, hx, hy) vanishes.
    pub(super) fn is_closed(&self, component: usize, cell: usize) -> bool {
        let axis = if component < 2 { component } else { 3 - component };
        self.edges[axis][cell] == 0.0
    }
}

/// Directions along the axes as right angles counted from the first axis to the second.
const DIRECTIONS: [(usize, bool); 4] = [(0, true), (1, true), (0, false), (1, false)];

/// At edges beside an edge of a conductor, the mean of the field over the face across them over that along them.
fn singular_factors(problem: &PlaneProblem, edges: &[Vec<f64>; 2], cells: &[f64]) -> [Vec<f64>; 2] {
    let shape = problem.shape();
    let mut factors = [(); 2].map(|()| vec![1.0; shape[0] * shape[1]]);
    if shape.contains(&1) {
        return factors;
    }
    let is_whole = |part: f64| !(WHOLE..=1.0 - WHOLE).contains(&part);
    for row in 0..shape[0] {
        for column in 0..shape[1] {
            let Some(around) = Around::of(problem, [row, column]) else { continue };
            let beside: [(usize, usize); 4] = DIRECTIONS.map(|(axis, up)| (axis, around.edge(axis, up)));
            let parts = beside.map(|(axis, cell)| edges[axis][cell]);
            // The cell between a direction and the next.
            let areas = around.cells().map(|cell| cells[cell]);
            if !parts.iter().chain(&areas).all(|part| is_whole(*part)) {
                continue;
            }
            let closed = parts.map(|part| part < 0.5);
            let filled = areas.map(|part| part < 0.5);
            let count = |flags: [bool; 4]| flags.iter().filter(|flag| **flag).count();
            let wedge = match (count(closed), count(filled)) {
                (1, 0) => closed.iter().position(|flag| *flag).map(|first| (first, 0.5)),
                (2, 1) => filled
                    .iter()
                    .position(|flag| *flag)
                    .filter(|first| closed[*first] && closed[(first + 1) % 4])
                    .map(|first| ((first + 1) % 4, 2.0 / 3.0)),
                _ => None,
            };
            let Some((start, exponent)) = wedge else { continue };
            for (direction, &(axis, cell)) in beside.iter().enumerate() {
                // On a mirror both sides are one edge.
                if !closed[direction] && (DIRECTIONS[direction].1 || !around.is_mirrored(axis)) {
                    factors[axis][cell] *= around.ratio(direction, start, exponent);
                }
            }
        }
    }
    factors
}

/// A corner of the grid and what is around it, mirrored where it lies on a magnetic mirror.
struct Around {
    place: [usize; 2],
    /// Indices of the intervals below and above along each axis.
    intervals: [[usize; 2]; 2],
    /// Their sizes.
    sizes: [[f64; 2]; 2],
    columns: usize,
}

impl Around {
    /// `None` at the edge of the plane, which is a conductor by itself.
    fn of(problem: &PlaneProblem, place: [usize; 2]) -> Option<Self> {
        let mut intervals = [[0; 2]; 2];
        for axis in [0, 1] {
            let is_mirror = problem.symmetry[axis] == Symmetry::Magnetic;
            intervals[axis] = match place[axis] {
                0 if is_mirror => [0, 0],
                0 => return None,
                index => [index - 1, index],
            };
        }
        let size = |axis: usize, interval: usize| {
            let lines = &problem.boundaries[axis];
            lines[interval + 1] - lines[interval]
        };
        let sizes = [0, 1].map(|axis| intervals[axis].map(|interval| size(axis, interval)));
        Some(Self { place, intervals, sizes, columns: problem.shape()[1] })
    }

    fn is_mirrored(&self, axis: usize) -> bool {
        self.intervals[axis][0] == self.intervals[axis][1]
    }

    fn edge(&self, axis: usize, up: bool) -> usize {
        let mut place = self.place;
        place[axis] = self.intervals[axis][usize::from(up)];
        place[0] * self.columns + place[1]
    }

    /// The four cells, the first between the directions of both axes, on as angles go.
    fn cells(&self) -> [usize; 4] {
        [[1, 1], [0, 1], [0, 0], [1, 0]].map(|[first, second]: [usize; 2]| {
            self.intervals[0][first] * self.columns + self.intervals[1][second]
        })
    }

    /// The mean field across the face of an edge over that along the edge, for a conductor whose surface begins in the
    /// direction `start`, from where angles to the field's place are counted.
    fn ratio(&self, direction: usize, start: usize, exponent: f64) -> f64 {
        let (axis, up) = DIRECTIONS[direction];
        let length = self.sizes[axis][usize::from(up)];
        let turn = |quarters: usize| quarters as f64 * FRAC_PI_2;
        let angle = turn((direction + 4 - start) % 4);
        let potential = length.powf(exponent) * (exponent * angle).sin();
        // The face across reaches half-way to the neighbours, on as angles go and back.
        let side = |ahead: bool| {
            let (other, other_up) = DIRECTIONS[(direction + if ahead { 1 } else { 3 }) % 4];
            self.sizes[other][usize::from(other_up)] / 2.0
        };
        let flux = |ahead: bool| {
            let aside = side(ahead);
            let (distance, tilt) = ((length / 2.0).hypot(aside), aside.atan2(length / 2.0));
            let angle = if ahead { angle + tilt } else { angle - tilt };
            debug_assert!((0.0..=2.0 * PI).contains(&angle));
            -distance.powf(exponent) * (exponent * angle).cos()
        };
        (flux(true) - flux(false)) / (side(true) + side(false)) / (potential / length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_at_square_cells_have_closed_forms() {
        let around = Around { place: [1, 1], intervals: [[0, 1]; 2], sizes: [[0.3; 2]; 2], columns: 2 };
        // A sheet: 2^(3/4) sin(π/8) on all sides; a right angle: 2^(-1/3).
        let sheet = 2.0_f64.powf(0.75) * (PI / 8.0).sin();
        for start in 0..4 {
            for turned in 1..4 {
                let found = around.ratio((start + turned) % 4, start, 0.5);
                assert!((found - sheet).abs() < 1e-14, "{start} {turned}: {found}");
            }
            for turned in 1..3 {
                let found = around.ratio((start + turned) % 4, start, 2.0 / 3.0);
                assert!((found - 0.5_f64.cbrt()).abs() < 1e-14, "{start} {turned}: {found}");
            }
        }
    }
}
