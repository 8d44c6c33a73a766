//! Which cells of the simulation's grid the plane takes, and where the result's fields lie.
//!
//! Three grids are in play, and their differences are what the client's post-processing relies on:
//!
//! - the *solver grid*, the cells between the plane's ends snapped outwards to cell boundaries, is where the
//!   eigenproblem lives, with a conductor around it;
//! - the *output grid* has one more cell at every end, so that fields can be interpolated anywhere in the plane;
//!   there fields are zero;
//! - the *expanded grid* is the output grid with the half that a symmetry leaves out; the client mirrors fields to it.
//!
//! Everything here is a function of cell boundaries, so it can be checked without a scene.

use crate::document::{DomainBox, ModeTask, PlaneBox};

/// The client's tolerance for coordinates: the spacing of 32-bit floats at one.
pub(crate) const TOLERANCE: f64 = f32::EPSILON as f64;

/// Boundaries of cells along the three axes.
pub(crate) type Boundaries = [Vec<f64>; 3];

/// Bounds along an axis, where there are any.
pub(crate) type Span = Option<[f64; 2]>;

/// The plane on the grid.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) normal: usize,
    pub(crate) tangential: [usize; 2],
    /// Symmetry of the part of the simulation around the plane, along all axes: what the result tells the client.
    pub(crate) symmetry: [i8; 3],
    /// Centre of that part.
    pub(crate) center: [f64; 3],
    /// Symmetry at the lower end of each tangential axis, for the eigenproblem.
    pub(crate) solver_symmetry: [i8; 2],
    /// Boundaries of the cells in which materials are needed; along the normal the cell that holds the plane.
    pub(crate) solver: Boundaries,
    /// Cells of the output grid before and after the solver grid, along each tangential axis.
    pub(crate) padding: [[usize; 2]; 2],
    /// The output grid, collapsed to the plane along its normal and to the centre where the simulation is flat.
    pub(crate) output: Boundaries,
    /// The expanded grid of fields on the Yee locations, collapsed in the same way.
    pub(crate) expanded: Boundaries,
    /// The expanded grid of fields at cell corners.
    pub(crate) expanded_colocated: Boundaries,
    /// Distances along the normal from the plane to the nearest cell boundaries.
    pub(crate) distances_primal: Vec<f64>,
    /// Distances along the normal from the plane to the nearest cell centres.
    pub(crate) distances_dual: Vec<f64>,
}

/// The plane does not fit the grid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plane has no cell of the grid along axis {axis}")]
pub(crate) struct NoCells {
    /// Index of the axis.
    pub(crate) axis: usize,
}

impl Layout {
    /// Places the plane of a task on the simulation's grid.
    pub(crate) fn new(task: &ModeTask, grid: &Boundaries) -> Result<Self, NoCells> {
        let (plane, domain) = (&task.plane, &task.domain);
        let normal = plane.normal;
        let tangential = plane.tangential();
        let single: [bool; 3] = std::array::from_fn(|axis| grid[axis].len() <= 2);
        let covered = covered_cells(plane, grid)?;

        // One cell more at every end, also before those that are not colocated.
        let mut span = covered.map(|[begin, end]| [begin - 1, end + 1]);
        span[normal] = covered[normal];
        for axis in 0..3 {
            if single[axis] {
                span[axis] = [0, 1];
            }
        }
        let (symmetry, center) = surroundings(domain, grid, &covered, &single);
        let symmetric: [i8; 2] = tangential
            .map(|axis| if is_close(center[axis], plane.center[axis]) { symmetry[axis] } else { 0 });
        let expanded = collapse(subgrid(grid, domain, span), plane, domain, &single, None);
        let mut corners = span;
        for axis in 0..3 {
            if axis == normal || !single[axis] {
                corners[axis] = [covered[axis][0], covered[axis][1] + 1];
            }
        }
        let expanded_colocated = collapse(subgrid(grid, domain, corners), plane, domain, &single, None);

        for (index, &axis) in tangential.iter().enumerate() {
            if symmetric[index] != 0 {
                span[axis][0] += (span[axis][1] - span[axis][0]) / 2;
            }
        }
        let whole = subgrid(grid, domain, span);
        let snapped = snapped_plane(grid, plane);
        let mut solver = whole.clone();
        let mut padding = [[0, 0]; 2];
        for (index, &axis) in tangential.iter().enumerate() {
            let cells = whole[axis].len() - 1;
            if cells <= 1 {
                continue;
            }
            let begin =
                if symmetric[index] == 0 { locate(&whole[axis], snapped[axis][0], Side::Lower) } else { 0 };
            let end = locate(&whole[axis], snapped[axis][1], Side::Upper);
            if end <= begin {
                return Err(NoCells { axis });
            }
            solver[axis] = whole[axis][begin..=end].to_vec();
            padding[index] = [begin, cells - end];
        }
        Ok(Self {
            normal,
            tangential,
            symmetry,
            center,
            solver_symmetry: symmetric,
            solver,
            padding,
            output: collapse(whole, plane, domain, &single, Some(normal)),
            expanded,
            expanded_colocated,
            distances_primal: nearest_distances(&grid[normal], plane.center[normal]),
            distances_dual: nearest_distances(&centers(&grid[normal]), plane.center[normal]),
        })
    }

    /// Number of cells of the solver grid along the tangential axes.
    pub(crate) fn solver_cells(&self) -> [usize; 2] {
        self.tangential.map(|axis| self.solver[axis].len() - 1)
    }

    /// Number of cells of the output grid along the tangential axes.
    pub(crate) fn output_cells(&self) -> [usize; 2] {
        self.tangential.map(|axis| self.output[axis].len() - 1)
    }

    /// Corners to which fields are interpolated, along the tangential axes that have more than one cell.
    pub(crate) fn colocation(&self) -> [Option<Vec<f64>>; 2] {
        std::array::from_fn(|index| {
            let boundaries = &self.output[self.tangential[index]];
            if boundaries.len() <= 2 {
                return None;
            }
            let first = usize::from(self.solver_symmetry[index] == 0);
            Some(boundaries[first..boundaries.len() - 1].to_vec())
        })
    }
}

/// Where a component of the fields lies: at cell centres along its axis for E, along the others for H.
pub(crate) fn component_is_centered(component: usize, axis: usize) -> bool {
    (component % 3 == axis) == (component < 3)
}

/// Coordinates of a component (in the order of [`COMPONENTS`](crate::document::COMPONENTS)) on a grid.
pub(crate) fn component_coordinates(grid: &Boundaries, component: usize) -> [Vec<f64>; 3] {
    std::array::from_fn(|axis| {
        if component_is_centered(component, axis) {
            centers(&grid[axis])
        } else {
            grid[axis][..grid[axis].len() - 1].to_vec()
        }
    })
}

/// Bounds along the tangential axes within which fields on an expanded grid mean something: the snapped plane, less
/// the cells that were added for interpolation where the plane ends with the simulation.
pub(crate) fn meaningful_bounds(expanded: &Boundaries, plane: &PlaneBox, colocated: bool) -> [Span; 3] {
    let snapped = snapped_plane(expanded, plane);
    std::array::from_fn(|axis| {
        if axis == plane.normal {
            return None;
        }
        let grid = &expanded[axis];
        let [mut low, mut high] = snapped[axis];
        if is_close_to(high, grid[grid.len() - 1], TOLERANCE) {
            high = grid[grid.len() - 2];
        }
        if !colocated && is_close_to(low, grid[0], TOLERANCE) {
            low = grid[1];
        }
        Some([low, high])
    })
}

/// Midpoints between neighbours.
pub(crate) fn centers(boundaries: &[f64]) -> Vec<f64> {
    boundaries.windows(2).map(|pair| (pair[1] + pair[0]) / 2.0).collect()
}

/// First cell and the one after the last that the plane meets, along each axis; the plane is made a little larger, so
/// that rounding adds a cell rather than takes one.
fn covered_cells(plane: &PlaneBox, grid: &Boundaries) -> Result<[[isize; 2]; 3], NoCells> {
    let mut covered = [[0, 0]; 3];
    for axis in 0..3 {
        let size = if plane.size[axis] > TOLERANCE { plane.size[axis] + TOLERANCE } else { plane.size[axis] };
        let (low, high) = (plane.center[axis] - size / 2.0, plane.center[axis] + size / 2.0);
        let boundaries = &grid[axis];
        let mut begin = boundaries.partition_point(|&boundary| boundary <= low).saturating_sub(1);
        let end = boundaries.partition_point(|&boundary| boundary <= high).min(boundaries.len() - 1);
        if axis == plane.normal && begin + 1 == boundaries.len() {
            begin -= 1; // A plane on the domain's end lies in the last cell.
        }
        if begin >= end {
            return Err(NoCells { axis });
        }
        covered[axis] = [begin.cast_signed(), end.cast_signed()];
    }
    Ok(covered)
}

/// Symmetry and centre of the part of the simulation around the plane. A symmetry counts where that part lies on both
/// sides of the mirror.
fn surroundings(
    domain: &DomainBox,
    grid: &Boundaries,
    covered: &[[isize; 2]; 3],
    single: &[bool; 3],
) -> ([i8; 3], [f64; 3]) {
    let (mut symmetry, mut center) = (domain.symmetry, domain.center);
    for axis in 0..3 {
        if single[axis] {
            symmetry[axis] = 0;
            continue;
        }
        let last = grid[axis].len() - 1;
        let clamp = |index: isize| usize::try_from(index).unwrap_or(0).min(last);
        let low = grid[axis][clamp(covered[axis][0] - 1)];
        let high = grid[axis][clamp(covered[axis][1] + 1)];
        if domain.symmetry[axis] != 0 && low < domain.center[axis] && high > domain.center[axis] {
            continue;
        }
        symmetry[axis] = 0;
        center[axis] = (low + high) / 2.0;
    }
    (symmetry, center)
}

/// Boundaries of a range of cells. Cells outside of the grid repeat it where it is periodic, and mirror it elsewhere.
fn subgrid(grid: &Boundaries, domain: &DomainBox, span: [[isize; 2]; 3]) -> Boundaries {
    std::array::from_fn(|axis| {
        let boundaries = &grid[axis];
        let cells = boundaries.len().cast_signed() - 1;
        let (first, last) = (boundaries[0], boundaries[boundaries.len() - 1]);
        (span[axis][0]..=span[axis][1])
            .map(|index| {
                let turn = index.div_euclid(cells);
                let within = index.rem_euclid(cells).cast_unsigned();
                let length = last - first;
                if (0..=cells).contains(&index) {
                    boundaries[index.cast_unsigned()]
                } else if domain.periodic[axis] || turn % 2 == 0 {
                    boundaries[within] + turn as f64 * length
                } else {
                    let mirrored = boundaries[cells.cast_unsigned() - within];
                    first + last - mirrored + turn as f64 * length
                }
            })
            .collect()
    })
}

/// Replaces the boundaries by the plane's place along its normal, and by the centre where the simulation has one cell;
/// along `kept` the simulation counts as flat only if its size says so.
fn collapse(
    mut grid: Boundaries,
    plane: &PlaneBox,
    domain: &DomainBox,
    single: &[bool; 3],
    kept: Option<usize>,
) -> Boundaries {
    grid[plane.normal] = vec![plane.center[plane.normal]; 2];
    for axis in 0..3 {
        if domain.size[axis] == 0.0 || (single[axis] && kept != Some(axis)) {
            grid[axis] = vec![domain.center[axis]; 2];
        }
    }
    grid
}

/// The plane's ends moved outwards to cell boundaries, along axes with more than one cell.
fn snapped_plane(grid: &Boundaries, plane: &PlaneBox) -> [[f64; 2]; 3] {
    let mut bounds = plane.bounds();
    for axis in 0..3 {
        let boundaries = &grid[axis];
        if axis == plane.normal || boundaries.len() <= 2 {
            continue;
        }
        let [low, high] = bounds[axis];
        let last = boundaries.len() - 1;
        let above_low = boundaries.partition_point(|&boundary| boundary < low);
        let lower = if above_low <= last && is_close_to(boundaries[above_low], low, TOLERANCE) {
            above_low
        } else {
            above_low.saturating_sub(1)
        };
        let above_high = boundaries.partition_point(|&boundary| boundary < high);
        let upper = if above_high > 0 && is_close_to(boundaries[above_high - 1], high, TOLERANCE) {
            above_high - 1
        } else {
            above_high.min(last)
        };
        let (lower, upper) = match (lower, upper) {
            (0, 0) => (0, 1),
            (lower, upper) if lower == upper => (lower - 1, upper),
            pair => pair,
        };
        bounds[axis] = [boundaries[lower], boundaries[upper]];
    }
    bounds
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Lower,
    Upper,
}

/// Index of the boundary at a place, or of the nearest on one side of it.
fn locate(boundaries: &[f64], place: f64, side: Side) -> usize {
    let close = |value: f64| (value - place).abs() <= TOLERANCE * value.abs().max(place.abs()).max(1.0);
    let after = boundaries.partition_point(|&boundary| boundary < place);
    let index = match side {
        Side::Upper if after >= 1 && close(boundaries[after - 1]) => after - 1,
        Side::Upper => after,
        Side::Lower if after < boundaries.len() && close(boundaries[after]) => after,
        Side::Lower => after.saturating_sub(1),
    };
    index.min(boundaries.len() - 1)
}

/// Signed distances from a place to the two nearest coordinates around it; one if there is only one.
fn nearest_distances(coordinates: &[f64], place: f64) -> Vec<f64> {
    if coordinates.len() == 1 {
        return vec![coordinates[0] - place];
    }
    let closest = (0..coordinates.len())
        .min_by(|&a, &b| (coordinates[a] - place).abs().total_cmp(&(coordinates[b] - place).abs()))
        .unwrap_or(0);
    // Before the first and after the last coordinate the nearest two are extrapolated from.
    let first = if coordinates[closest] > place { closest.saturating_sub(1) } else { closest };
    let first = first.min(coordinates.len() - 2);
    vec![coordinates[first] - place, coordinates[first + 1] - place]
}

/// Equal up to a relative error, as Python's `math.isclose`.
fn is_close_to(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * a.abs().max(b.abs())
}

/// Equal but for rounding.
fn is_close(a: f64, b: f64) -> bool {
    is_close_to(a, b, 1e-9) || (a - b).abs() < 1e-12
}
