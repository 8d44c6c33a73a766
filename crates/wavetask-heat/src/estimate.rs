//! What a simulation will cost, known in milliseconds.

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

/// Bytes per unknown at the peak, while the multigrid hierarchy stands beside mesh and matrix.
const BYTES_PER_UNKNOWN: f64 = 1500.0;

/// Processor seconds per unknown, all stages together.
const SECONDS_PER_UNKNOWN: f64 = 60e-6;

/// Estimates by assuming the smallest cell size that the grid asks for.
pub(crate) fn estimate(problem: &crate::model::Problem) -> Estimate {
    let volume: f64 =
        problem.solved_bounds().iter().map(|[low, high]| high - low).filter(|extent| *extent > 0.0).product();
    let dimension = if problem.flat_axis().is_some() { 2 } else { 3 };
    let unknowns = (volume / problem.grid.bulk_size().powi(dimension)).max(1.0);
    Estimate {
        unknowns: unknowns as u64,
        memory_bytes: (64e6 + unknowns * BYTES_PER_UNKNOWN) as u64,
        cpu_seconds: 0.05 + unknowns * SECONDS_PER_UNKNOWN,
    }
}
