//! What a calculation costs, before it is done.

/// An estimate made in milliseconds, for scheduling and for the client's cost query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Unknowns of the equations: mesh points, or the field values of one eigenproblem.
    pub unknowns: u64,
    /// Memory in bytes at the peak; meant to be above what is used.
    pub memory_bytes: u64,
    /// Processor time in seconds over all threads, on a current machine.
    pub cpu_seconds: f64,
}
