//! Which cells of the simulation's grid the plane takes, and where the result's fields lie.
//!
//! Three grids are in play, and their differences are what the client's post-processing relies on:
//!
//! - the *solver grid*, the cells between the plane's ends snapped outwards to cell boundaries, is where the
//!   eigenproblem lives, with a conductor around it;
//! - the *output grid* has one more cell at every end, so that fields can be interpolated anywhere in the plane;
//!   there fields are zero. Clients before 2.12 solve on all of it, and so are their documents solved;
//! - the *expanded grid* is the output grid with the half that a symmetry leaves out; the client mirrors fields to it.
//!
//! [`ModePlane`] makes all of them; what is here is what a solver and its result need to know of them. Everything is a
//! function of the simulation's grid, so it can be checked without materials.

use wavetask_grid::boundaries::{Grid, GridError, Location, ModePlane, Span as Cells, middles, snapped};

use crate::document::{ModeTask, PlaneBox};

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
    /// Whether fields mean something between the plane's snapped ends only.
    ends_at_plane: bool,
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
#[derive(Debug, thiserror::Error)]
pub(crate) enum Misplaced {
    #[error("the plane has no cell of the grid along axis {axis}")]
    NoCells { axis: usize },
    #[error(transparent)]
    Grid(GridError),
}

impl From<GridError> for Misplaced {
    fn from(error: GridError) -> Self {
        match error {
            GridError::NoGrid { axis, .. } => Self::NoCells { axis },
            other => Self::Grid(other),
        }
    }
}

impl Layout {
    /// Places the plane of a task on the simulation's grid.
    pub(crate) fn new(task: &ModeTask, grid: &Grid) -> Result<Self, Misplaced> {
        let plane = ModePlane::new(grid, task.plane.region())?;
        let (normal, tangential) = (plane.normal_axis(), plane.tangential_axes());
        let (surrounding, center) = surroundings(grid, &plane.covered_span());
        let mut solver_symmetry = plane.symmetry();
        for (mirror, axis) in solver_symmetry.iter_mut().zip(tangential) {
            if surrounding[axis] == 0 {
                *mirror = 0;
            }
        }
        let span = plane.solver_span();
        if let Some(&axis) = tangential.iter().find(|&&axis| span[axis][1] <= span[axis][0]) {
            return Err(Misplaced::NoCells { axis });
        }
        let (solver, padding) = if task.before_2_12 {
            (plane.output_grid(), [[0, 0]; 3])
        } else {
            (plane.solver_grid(), plane.padding())
        };
        let (boundaries, place) = (grid.boundaries(), task.plane.center[normal]);
        Ok(Self {
            normal,
            tangential,
            symmetry: surrounding,
            center,
            solver_symmetry,
            solver: solver.boundaries().clone(),
            ends_at_plane: !task.before_2_12,
            padding: tangential.map(|axis| padding[axis]),
            output: plane.snapped_grid()?.boundaries().clone(),
            expanded: plane.expanded_grid(false)?.boundaries().clone(),
            expanded_colocated: plane.expanded_grid(true)?.boundaries().clone(),
            distances_primal: nearest_distances(&boundaries[normal], place),
            distances_dual: nearest_distances(&middles(&boundaries[normal]), place),
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

    /// Bounds along the tangential axes within which fields on the expanded grid mean something: the snapped plane, less
    /// the cells that were added for interpolation where the plane ends with the simulation.
    pub(crate) fn meaningful_bounds(&self, plane: &PlaneBox, colocated: bool) -> [Span; 3] {
        let expanded = if colocated { &self.expanded_colocated } else { &self.expanded };
        let bounds = plane.region().bounds();
        std::array::from_fn(|axis| {
            if axis == plane.normal {
                return None;
            }
            if !self.ends_at_plane {
                return Some([f64::NEG_INFINITY, f64::INFINITY]);
            }
            let grid = &expanded[axis];
            let [mut low, mut high] = snapped(grid, bounds[axis]);
            if is_close_to(high, grid[grid.len() - 1], TOLERANCE) {
                high = grid[grid.len() - 2];
            }
            if !colocated && is_close_to(low, grid[0], TOLERANCE) {
                low = grid[1];
            }
            Some([low, high])
        })
    }
}

/// Coordinates of a component (in the order of [`COMPONENTS`](crate::document::COMPONENTS)) on a grid.
pub(crate) fn component_coordinates(grid: &Boundaries, component: usize) -> [Vec<f64>; 3] {
    Location::FIELDS[component].coordinates(grid)
}

/// Symmetry and centre of the part of the simulation around the plane. A symmetry counts where that part lies on both
/// sides of the mirror.
fn surroundings(grid: &Grid, covered: &Cells) -> ([i8; 3], [f64; 3]) {
    let (mut symmetry, mut center) = (grid.symmetry(), grid.center());
    for axis in 0..3 {
        let boundaries = &grid.boundaries()[axis];
        if boundaries.len() <= 2 {
            symmetry[axis] = 0;
            continue;
        }
        let clamp = |index: isize| usize::try_from(index).unwrap_or(0).min(boundaries.len() - 1);
        let low = boundaries[clamp(covered[axis][0] - 1)];
        let high = boundaries[clamp(covered[axis][1] + 1)];
        if symmetry[axis] != 0 && low < center[axis] && high > center[axis] {
            continue;
        }
        symmetry[axis] = 0;
        center[axis] = (low + high) / 2.0;
    }
    (symmetry, center)
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
