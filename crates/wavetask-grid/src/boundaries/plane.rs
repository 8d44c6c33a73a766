//! The cells of a mode plane: what a mode solver's equations and its data are on.
//!
//! Four grids play a part, and the client tells them apart:
//!
//! - the **output grid** covers what the data of a monitor at the plane needs, and is a half or a quarter where
//!   the plane has the simulation's symmetry;
//! - the **solver grid** is the part of it whose cells touch the plane: equations are solved there, and
//!   data around it is padded;
//! - the **snapped grid** is the output grid flattened onto the plane: coordinates of the data;
//! - the **reduced grid** is that of the smaller simulation that is made for the solver.

use super::Grid;
use super::closeness::{TOLERANCE, first_not_below, near, within};
use super::error::GridError;
use super::fixed::{Extent, mirrored};
use super::part::{BoxRegion, Span, signed, snapped};

/// A plane of a simulation on which modes are sought.
#[derive(Clone, Debug)]
pub struct ModePlane<'a> {
    grid: &'a Grid,
    plane: BoxRegion,
    normal: usize,
    /// The cells that the plane meets.
    covered: Span,
}

impl<'a> ModePlane<'a> {
    /// The plane of this box, which must have no extent along exactly one axis and meet the grid. A plane on the grid's
    /// end lies in its last cell.
    pub fn new(grid: &'a Grid, plane: BoxRegion) -> Result<Self, GridError> {
        let Some(normal) = plane.normal_axis() else {
            return Err(GridError::invalid("plane", "a plane has no extent along exactly one axis"));
        };
        let mut covered = grid.covered(&plane);
        let (place, end) = (plane.center[normal], grid.boundaries[normal].last().copied());
        if end.is_some_and(|end| place >= end && within(place, end, TOLERANCE, TOLERANCE)) {
            covered[normal][0] = covered[normal][1] - 1;
        }
        if let Some(axis) = (0..3).find(|&axis| covered[axis][0] >= covered[axis][1]) {
            return Err(GridError::none(axis, "the plane does not meet the grid"));
        }
        Ok(Self { grid, plane, normal, covered })
    }

    /// The axis normal to the plane.
    pub fn normal_axis(&self) -> usize {
        self.normal
    }

    /// The two axes in the plane, ascending.
    pub fn tangential_axes(&self) -> [usize; 2] {
        match self.normal {
            0 => [1, 2],
            1 => [0, 2],
            _ => [0, 1],
        }
    }

    /// The symmetry along the tangential axes: the simulation's where the plane is centred as the simulation is.
    pub fn symmetry(&self) -> [i8; 2] {
        self.tangential_axes().map(|axis| {
            if near(self.grid.center[axis], self.plane.center[axis], 0.0) {
                self.grid.symmetry[axis]
            } else {
                0
            }
        })
    }

    /// The cells that the plane meets.
    pub fn covered_span(&self) -> Span {
        self.covered
    }

    /// The cells that data at the plane needs; `keep_layers` keeps the cells before and after it along the
    /// normal, `truncate` leaves out the mirrored cells.
    pub fn output_span(&self, keep_layers: bool, truncate: bool) -> Span {
        let mut span = self.covered.map(|[start, end]| [start - 1, end + 1]);
        if !keep_layers {
            span[self.normal] = self.covered[self.normal];
        }
        for (range, cells) in span.iter_mut().zip(self.grid.cells()) {
            if cells <= 1 {
                *range = [0, 1];
            }
        }
        if truncate {
            for (axis, symmetry) in self.tangential_axes().into_iter().zip(self.symmetry()) {
                if symmetry != 0 {
                    span[axis][0] += (span[axis][1] - span[axis][0]).div_euclid(2);
                }
            }
        }
        span
    }

    /// The grid of the data, one cell thick, without mirrored cells: the client's `_output_grid`.
    pub fn output_grid(&self) -> Grid {
        self.grid.part(&self.output_span(false, true))
    }

    /// The cells of the output grid on which equations are solved: the client's `_solver_grid_span_inds`.
    pub fn solver_span(&self) -> Span {
        let output = self.output_grid();
        let mut span = output.cells().map(|cells| [0, signed(cells)]);
        for (axis, symmetry) in self.tangential_axes().into_iter().zip(self.symmetry()) {
            let lines = &output.boundaries[axis];
            if lines.len() <= 2 {
                continue;
            }
            let [low, high] = snapped(&self.grid.boundaries[axis], self.plane.bounds()[axis]);
            let close = |index: usize, value: f64| within(lines[index], value, TOLERANCE, TOLERANCE);
            let last = lines.len() - 1;
            if symmetry == 0 {
                let above = first_not_below(lines, low);
                let start = if above <= last && close(above, low) { above } else { above.saturating_sub(1) };
                span[axis][0] = signed(start.min(last));
            } else {
                span[axis][0] = 0;
            }
            let above = first_not_below(lines, high);
            let end = if above >= 1 && close(above - 1, high) { above - 1 } else { above };
            span[axis][1] = signed(end.min(last));
        }
        span
    }

    /// The grid on which equations are solved: the client's `_solver_grid`.
    pub fn solver_grid(&self) -> Grid {
        let output = self.output_grid();
        let span = self.solver_span();
        let boundaries = std::array::from_fn(|axis| output.continued(axis, span[axis], true));
        Grid { boundaries, ..output }
    }

    /// How many cells of the output grid are before and after the solver grid, along each axis.
    pub fn padding(&self) -> [[usize; 2]; 3] {
        let cells = self.output_grid().cells();
        let span = self.solver_span();
        std::array::from_fn(|axis| {
            let [start, end] = span[axis];
            let unsigned = |count: isize| usize::try_from(count).unwrap_or(0);
            [unsigned(start), unsigned(signed(cells[axis]) - end)]
        })
    }

    /// The output grid flattened onto the plane: the client's `grid_snapped`.
    pub fn snapped_grid(&self) -> Result<Grid, GridError> {
        self.flattened(self.output_grid(), Some(self.normal))
    }

    /// The grid of a monitor's data at the plane, mirrored cells included: the client's `grid_expanded`. `colocate` is
    /// whether the data is interpolated to the cells' corners.
    pub fn expanded_grid(&self, colocate: bool) -> Result<Grid, GridError> {
        let before = isize::from(!colocate);
        self.flattened(self.grid.part(&self.covered.map(|[start, end]| [start - before, end + 1])), None)
    }

    /// A part of the grid without extent where the plane or the domain has none: along the normal at the plane, but a
    /// grid of one cell is at the domain's centre wherever in that cell the plane is; `kept` as in
    /// [`Grid::flattened_as_domain`].
    fn flattened(&self, part: Grid, kept: Option<usize>) -> Result<Grid, GridError> {
        let mut part = self.grid.flattened_as_domain(part, kept)?;
        let normal = self.normal;
        if self.grid.size[normal] == 0.0 {
            return part.flattened(&self.plane);
        }
        if self.grid.cells()[normal] > 1 || kept == Some(normal) {
            part.boundaries[normal] = vec![self.plane.center[normal]; 2];
        }
        Ok(part)
    }

    /// The domain and the grid of the smaller simulation that the client solves in place of the whole: its
    /// `reduced_simulation_copy`, which has no absorbers.
    pub fn reduced_grid(&self) -> Result<Grid, GridError> {
        let grid = self.grid;
        let region = grid.part(&self.output_span(true, false));
        let ends = |lines: &[f64]| [lines[0], lines[lines.len() - 1]];
        let (domain, thickness) = (self.domain_bounds(), self.absorber_thickness());
        let mut bounds: [[f64; 2]; 3] = std::array::from_fn(|axis| {
            // The client makes a box of the region, and takes its bounds again.
            let [low, high] = BoxRegion::from_bounds([ends(&region.boundaries[axis]); 3]).bounds()[0];
            let [before, after] = thickness[axis];
            [low.max(domain[axis][0] - before), high.min(domain[axis][1] + after)]
        });
        // A little smaller, so that a boundary at the end does not take in the cell beyond.
        let inner = BoxRegion {
            center: bounds.map(|[low, high]| (low + high) / 2.0),
            size: bounds.map(|[low, high]| (high - low - 2.0 * TOLERANCE).max(0.0)),
        };
        let span = grid.span_of(&inner, false);
        for axis in 0..3 {
            if bounds[axis][0] != bounds[axis][1] {
                let line = |index: isize| {
                    let last = grid.boundaries[axis].len() - 1;
                    grid.boundaries[axis][usize::try_from(index).unwrap_or(0).min(last)]
                };
                bounds[axis] = span[axis].map(line);
            }
        }
        let mut symmetry = [0; 3];
        for axis in 0..3 {
            let [low, high] = bounds[axis];
            let center = grid.center[axis];
            if grid.symmetry[axis] != 0 && low < center && high > center {
                symmetry[axis] = grid.symmetry[axis];
                if !near((low + high) / 2.0, center, 0.0) {
                    bounds[axis][0] = 2.0 * center - high;
                }
            }
        }
        let domain = BoxRegion::from_bounds(bounds);
        let mut boundaries = [const { Vec::new() }; 3];
        let mut periodic = grid.periodic;
        for axis in 0..3 {
            let extent = Extent { axis, center: domain.center[axis], size: domain.size[axis] };
            let lines = extent.fitted(grid.boundaries[axis].clone(), false)?;
            boundaries[axis] = if symmetry[axis] == 0 { lines } else { mirrored(lines, extent.center) };
            periodic[axis] |= domain.size[axis] == 0.0;
        }
        Ok(Grid {
            boundaries,
            center: domain.center,
            size: domain.size,
            symmetry,
            periodic,
            absorber_layers: [[0.0; 2]; 3],
            wavelength: grid.wavelength,
        })
    }

    fn domain_bounds(&self) -> [[f64; 2]; 3] {
        BoxRegion { center: self.grid.center, size: self.grid.size }.bounds()
    }

    /// The thickness of the absorbers: of the outermost layers of cells.
    fn absorber_thickness(&self) -> [[f64; 2]; 3] {
        std::array::from_fn(|axis| {
            let lines = &self.grid.boundaries[axis];
            let last = lines.len() - 1;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked when read")]
            let layers = self.grid.absorber_layers[axis].map(|layers| (layers as usize).min(last));
            [lines[layers[0]] - lines[0], lines[last] - lines[last - layers[1]]]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid::of_boundaries([vec![0.0, 1.0, 2.0, 3.0], vec![0.0, 1.0, 2.0], vec![0.0, 4.0]])
            .expect("ascending boundaries")
    }

    fn plane(grid: &Grid, center: [f64; 3], size: [f64; 3]) -> Result<ModePlane<'_>, GridError> {
        ModePlane::new(grid, BoxRegion { center, size })
    }

    #[test]
    fn a_plane_on_the_grids_end_lies_in_the_last_cell() {
        let grid = grid();
        let at = |place| plane(&grid, [place, 1.0, 2.0], [0.0, 2.0, 4.0]);
        for (place, cell) in
            [(0.0, [0, 1]), (1.0, [1, 2]), (2.5, [2, 3]), (3.0, [2, 3]), (3.0 + 1e-12, [2, 3])]
        {
            let plane = at(place).expect("a plane");
            assert_eq!(plane.covered_span()[0], cell, "{place}");
            assert_eq!(plane.solver_grid().boundaries()[0], [cell[0] as f64, cell[1] as f64]);
            assert_eq!(plane.snapped_grid().expect("a grid").boundaries()[0], [place; 2]);
        }
        for place in [-0.1, 3.1] {
            assert!(at(place).is_err(), "{place}");
        }
    }

    #[test]
    fn data_is_at_the_plane_or_at_the_centre_of_a_single_cell() {
        let grid = grid();
        let across = plane(&grid, [1.5, 1.0, 1.0], [3.0, 2.0, 0.0]).expect("a plane");
        for colocate in [false, true] {
            assert_eq!(across.expanded_grid(colocate).expect("a grid").boundaries()[2], [2.0; 2]);
        }
        assert_eq!(across.snapped_grid().expect("a grid").boundaries()[2], [1.0; 2]);
        let along = plane(&grid, [1.5, 1.0, 2.0], [0.0, 1.0, 4.0]).expect("a plane");
        let [staggered, colocated] =
            [false, true].map(|colocate| along.expanded_grid(colocate).expect("a grid"));
        assert_eq!(staggered.boundaries()[0], [1.5; 2]);
        assert_eq!(staggered.boundaries()[1], [-1.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!(colocated.boundaries()[1], [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(colocated.boundaries()[2], [2.0; 2]);
    }
}
