//! What a simulation will cost, known in milliseconds.
//!
//! The number of mesh points is the integral of the density that the field of cell sizes implies, over the solids.
//! The integral is taken over boxes that are halved until the size varies little inside them, always with the smallest
//! size in the box, so the estimate is rather too high. Memory and time are proportional to the points, with
//! factors measured on layered and round scenes.

use wavetask_grid::mesh;

use crate::model::Problem;
use crate::region::{Regions, longest_axis};
use crate::sizing::{Interfaces, Sizing};

/// An estimate made before anything is meshed, for scheduling and for the client's cost query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Number of mesh points, which is the number of unknowns.
    pub unknowns: u64,
    /// Memory in bytes at the peak; meant to be above what is used.
    pub memory_bytes: u64,
    /// Processor time in seconds over all threads.
    pub cpu_seconds: f64,
}

/// Points per (area / size²) of triangles.
const POINTS_PER_SQUARE: f64 = 2.8;

/// Points per (volume / size³) of tetrahedra.
const POINTS_PER_CUBE: f64 = 11.0;

/// Bytes per unknown at the peak, in two and three dimensions.
const BYTES_PER_UNKNOWN: [f64; 2] = [900.0, 1200.0];

/// Processor seconds per unknown, all stages together, in two and three dimensions.
const SECONDS_PER_UNKNOWN: [f64; 2] = [8e-6, 12e-6];

/// Boxes looked at, at most.
const MAXIMUM_BOXES: usize = 20_000;

/// Estimates the cost of a problem.
pub(crate) fn estimate(problem: &Problem) -> Estimate {
    let regions = Regions::new(problem);
    let sizing = Sizing::new(problem, &regions, &Interfaces::find_roughly(problem, &regions));
    let points = points(problem, &regions, &sizing).max(4.0);
    let volume = usize::from(problem.flat_axis().is_none());
    Estimate {
        unknowns: points as u64,
        memory_bytes: (50e6 + points * BYTES_PER_UNKNOWN[volume]) as u64,
        cpu_seconds: 0.05 + points * SECONDS_PER_UNKNOWN[volume],
    }
}

fn points(problem: &Problem, regions: &Regions<'_>, sizing: &Sizing) -> f64 {
    let bounds = problem.solved_bounds();
    let density = if problem.flat_axis().is_some() { POINTS_PER_SQUARE } else { POINTS_PER_CUBE };
    let mut count = 0.0;
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
            count += cells * density;
        }
    }
    count
}
