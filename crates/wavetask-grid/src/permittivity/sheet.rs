//! Media without thickness, given that of the grid.
//!
//! A sheet (graphene, a thin metal film) is described by the permittivity of a layer of one micrometre;
//! what counts is its surface conductivity. On a grid it fills half a cell on both sides of the boundary
//! nearest to it, its strength divided by that thickness and added to what the neighbouring media
//! contribute there:
//!
//! ```text
//! tangential  ε = 1 + Σ w (ε_neighbour - 1) + (ε_sheet - 1) / d      normal  ε = ε_above
//! ```
//!
//! with the weights `w` of the neighbours' shares of the thickness `d`. This is the client's
//! `volumetric_equivalent`. It cuts the sheet into polygons of equal neighbours; here each point asks for
//! its own neighbours just below and above the plane, which also answers for neighbours that vary in space.
//! Where a sheet has several pairs of neighbours the client cuts it at the simulation's domain; here
//! it continues into absorbing layers as all structures do.

use num_complex::Complex64;

use super::component::Component;
use crate::media::{PERFECT_CONDUCTOR, Spectral};

/// Where a sheet is on the grid.
#[derive(Clone, Debug)]
pub(crate) struct Sheet {
    /// The axis of its normal.
    pub(super) axis: usize,
    /// Where the document has it.
    pub(super) position: f64,
    /// The grid boundary that it was moved to.
    pub(super) snapped: f64,
    /// Where the neighbours below and above are looked for.
    neighbours: [f64; 2],
    /// The sizes of the cells below and above.
    cells: [f64; 2],
}

/// The least distance from the sheet at which neighbours are looked for (µm), as in the client: the
/// epsilon of 32-bit floats.
const OFFSET: f64 = f32::EPSILON as f64;

impl Sheet {
    /// A sheet on the boundary nearest to it, the lower of two; `None` without a cell on both sides.
    pub(super) fn new(axis: usize, position: f64, boundaries: &[f64]) -> Option<Self> {
        let distance = |index: usize| (boundaries[index] - position).abs();
        let nearest = (0..boundaries.len())
            .reduce(|best, index| if distance(index) < distance(best) { index } else { best })?;
        let (below, above) = (nearest.checked_sub(1)?, nearest + 1);
        let snapped = boundaries[nearest];
        let cells = [snapped - boundaries[below], boundaries.get(above)? - snapped];
        #[expect(clippy::cast_possible_truncation, reason = "the client's step is one of 32-bit floats")]
        let coarse = position as f32;
        let down = (f64::from(coarse.next_down()) - position).min(-OFFSET);
        let up = (f64::from(coarse.next_up()) - position).max(OFFSET);
        Some(Self { axis, position, snapped, neighbours: [position + down, position + up], cells })
    }

    /// The point with another coordinate along the normal.
    pub(super) fn with_normal(&self, mut point: [f64; 3], coordinate: f64) -> [f64; 3] {
        point[self.axis] = coordinate;
        point
    }

    /// Where the neighbours of a point of the sheet are looked for: below, above.
    pub(super) fn sides(&self, point: [f64; 3]) -> [[f64; 3]; 2] {
        self.neighbours.map(|coordinate| self.with_normal(point, coordinate))
    }

    /// The component of the equivalent volume, from the sheet's medium and its neighbours'.
    pub(super) fn equivalent(
        &self,
        component: Component,
        medium: &Spectral<'_>,
        neighbours: [&Spectral<'_>; 2],
        point: [f64; 3],
    ) -> Complex64 {
        match component {
            Component::Mean => {
                let entry = |axis| self.entry(axis, medium, neighbours, point);
                (entry(0) + entry(1) + entry(2)) / 3.0
            }
            Component::Entry(row, column) if row == column => self.entry(row, medium, neighbours, point),
            Component::Entry(..) => Complex64::default(),
        }
    }

    fn entry(
        &self,
        axis: usize,
        medium: &Spectral<'_>,
        neighbours: [&Spectral<'_>; 2],
        point: [f64; 3],
    ) -> Complex64 {
        let sides = neighbours.map(|neighbour| neighbour.entry(axis, axis, point));
        if axis == self.axis {
            return sides[1];
        }
        // The plane's two directions, in the order of the axes, stand in the first places.
        let place = if axis > self.axis { axis - 1 } else { axis };
        let own = medium.entry(place, place, point);
        let conductor = Complex64::from(PERFECT_CONDUCTOR);
        if sides.contains(&conductor) || own == conductor {
            return conductor;
        }
        let thickness = f64::midpoint(self.cells[0], self.cells[1]);
        let whole = self.cells[0] + self.cells[1];
        let background =
            1.0 + (sides[0] - 1.0) * (self.cells[0] / whole) + (sides[1] - 1.0) * (self.cells[1] / whole);
        background + (own - 1.0) / thickness
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_need_a_cell_on_both_sides() {
        let boundaries = [0.0, 1.0, 3.0];
        let sheet = Sheet::new(2, 1.4, &boundaries).unwrap();
        assert_eq!((sheet.snapped, sheet.cells), (1.0, [1.0, 2.0]));
        assert!(Sheet::new(2, 0.2, &boundaries).is_none());
        assert!(Sheet::new(2, 7.0, &boundaries).is_none());
        assert!(Sheet::new(2, 7.0, &[]).is_none());
    }
}
