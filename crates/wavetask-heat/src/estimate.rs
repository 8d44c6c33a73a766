//! What a simulation will cost, known in milliseconds.
//!
//! The number of mesh points is the integral of the density that the field of cell sizes implies, over the solids.
//! The integral is taken over boxes that are halved until the size varies little inside them, always with the smallest
//! size in the box, so the estimate is rather too high. Memory and time are proportional to the points, with
//! factors measured on layered and round scenes.
//!
//! Memory has two peaks: solving, and recording, when the equations are gone but the data of all monitors gathers. A
//! monitor of the whole volume in a domain with three symmetries holds eight times the points that were solved for.

use wavetask_grid::geometry::Bounds;
use wavetask_grid::mesh;
use wavetask_solver::Estimate;

use crate::model::Problem;
use crate::region::{Regions, longest_axis};
use crate::sampling::{inside, is_on_cells, regular_values};
use crate::sizing::{Interfaces, Sizing};

/// Points per (area / size²) of triangles.
const POINTS_PER_SQUARE: f64 = 2.8;

/// Points per (volume / size³) of tetrahedra.
const POINTS_PER_CUBE: f64 = 11.0;

/// Bytes per unknown at the peak, in two and three dimensions.
const BYTES_PER_UNKNOWN: [f64; 2] = [800.0, 1100.0];

/// Bytes per unknown of mesh and temperatures while monitors are recorded.
const BYTES_OF_FIELD: f64 = 350.0;

/// Bytes per recorded point of a monitor with cells: what it keeps, and what making it takes besides.
const BYTES_PER_RECORDED: [f64; 2] = [150.0, 200.0];

/// Bytes per value of a monitor on a regular grid.
const BYTES_PER_VALUE: f64 = 24.0;

/// Processor seconds per unknown, all stages together, in two and three dimensions.
const SECONDS_PER_UNKNOWN: [f64; 2] = [8e-6, 12e-6];

/// Boxes looked at, at most.
const MAXIMUM_BOXES: usize = 20_000;

/// Estimates the cost of a problem.
pub(crate) fn estimate(problem: &Problem) -> Estimate {
    let regions = Regions::new(problem);
    let sizing = Sizing::new(problem, &regions, &Interfaces::find_roughly(problem, &regions));
    let parts = parts(problem, &regions, &sizing);
    let points = parts.iter().map(|part| part.points).sum::<f64>().max(4.0);
    let volume = usize::from(problem.flat_axis().is_none());
    let memory = (points * BYTES_PER_UNKNOWN[volume]).max(recording(problem, &parts, points));
    Estimate {
        unknowns: points as u64,
        memory_bytes: (50e6 + memory) as u64,
        cpu_seconds: 0.05 + points * SECONDS_PER_UNKNOWN[volume],
    }
}

/// Bytes while monitors are recorded.
fn recording(problem: &Problem, parts: &[Part], points: f64) -> f64 {
    let (mut kept, mut passing) = (0.0, 0.0_f64);
    for monitor in &problem.monitors {
        let Some(bounds) = inside(problem, monitor) else { continue };
        if is_on_cells(monitor, &bounds) {
            let recorded = recorded_points(problem, &bounds, parts);
            kept += recorded * BYTES_PER_RECORDED[0];
            passing = passing.max(recorded * BYTES_PER_RECORDED[1]);
        } else {
            kept += regular_values(problem, &bounds) * BYTES_PER_VALUE;
        }
    }
    points * BYTES_OF_FIELD + kept + passing
}

/// Points that a monitor with cells records in this part of the whole domain.
fn recorded_points(problem: &Problem, bounds: &Bounds, parts: &[Part]) -> f64 {
    // Each mirrored half of the monitor sees the solved part of the domain again.
    let mut images = vec![*bounds];
    for axis in (0..3).filter(|&axis| problem.symmetry[axis] && problem.size[axis] > 0.0) {
        let center = problem.center[axis];
        let [low, high] = bounds[axis];
        images = images
            .into_iter()
            .flat_map(|image| {
                [[low.max(center), high], [(2.0 * center - high).max(center), 2.0 * center - low]]
                    .into_iter()
                    .filter(|range| range[0] < range[1] || low == high && range[0] == range[1])
                    .map(move |range| {
                        let mut image = image;
                        image[axis] = range;
                        image
                    })
            })
            .collect();
    }
    images.iter().flat_map(|image| parts.iter().map(|part| part.points_within(image))).sum()
}

/// A box of the solved domain.
struct Part {
    bounds: Bounds,
    points: f64,
    /// The smallest size of cells in it.
    smallest: f64,
}

impl Part {
    /// Those of its points that a monitor records.
    fn points_within(&self, monitor: &Bounds) -> f64 {
        let share = |axis: usize| {
            let ([low, high], [from, to]) = (self.bounds[axis], monitor[axis]);
            if from > high || to < low {
                0.0
            } else if high == low {
                1.0
            } else if from == to {
                // A plane cuts more edges than there are points in the layer of cells around it.
                (2.0 * self.smallest / (high - low)).min(1.0)
            } else {
                (to.min(high) - from.max(low)) / (high - low)
            }
        };
        self.points * share(0) * share(1) * share(2)
    }
}

/// Boxes that hold all solids, with their points.
fn parts(problem: &Problem, regions: &Regions<'_>, sizing: &Sizing) -> Vec<Part> {
    let bounds = problem.solved_bounds();
    let density = if problem.flat_axis().is_some() { POINTS_PER_SQUARE } else { POINTS_PER_CUBE };
    let mut parts = Vec::new();
    let mut boxes = 1;
    // Breadth first, so that a limited number of boxes resolves all of the domain alike.
    let mut open = std::collections::VecDeque::from([bounds]);
    while let Some(part) = open.pop_front() {
        let low = part.map(|range| range[0]);
        let high = part.map(|range| range[1]);
        let owner = mesh::Scene::uniform(regions, low, high);
        if owner.is_some_and(|region| !problem.medium(Regions::structure(region)).is_solid()) {
            continue;
        }
        let smallest = sizing.in_box(&part, 0.0);
        let center = part.map(|[low, high]| (low + high) / 2.0);
        let longest = longest_axis(low, high);
        let length = high[longest] - low[longest];
        let varies = sizing.in_box(&center.map(|coordinate| [coordinate; 2]), 0.0) > 1.25 * smallest
            || owner.is_none();
        if varies && length > 2.0 * smallest && boxes < MAXIMUM_BOXES {
            boxes += 2;
            let (mut lower, mut upper) = (part, part);
            lower[longest][1] = center[longest];
            upper[longest][0] = center[longest];
            open.extend([lower, upper]);
        } else {
            // Along thin extents there is at least one layer of cells.
            let cells: f64 = (0..3)
                .filter(|&axis| problem.size[axis] > 0.0)
                .map(|axis| (high[axis] - low[axis]) / smallest.min(bounds[axis][1] - bounds[axis][0]))
                .product();
            parts.push(Part { bounds: part, points: cells * density, smallest });
        }
    }
    parts
}
