//! What the caller gives to a running calculation and hears from it.

use std::fmt;
use std::ops::ControlFlow;

/// Limits and a channel back to the caller of a calculation whose parts are called `Stage`.
pub struct Controls<'a, Stage> {
    /// Threads to use; 0 for one per core.
    pub threads: usize,
    /// Memory in bytes that the calculation may use; `None` for no limit.
    pub memory_limit: Option<u64>,
    /// Called a few times per second, from any thread; `Break` stops the calculation soon after.
    pub progress: &'a (dyn Fn(Progress<Stage>) -> ControlFlow<()> + Sync),
}

impl<Stage> fmt::Debug for Controls<'_, Stage> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Controls")
            .field("threads", &self.threads)
            .field("memory_limit", &self.memory_limit)
            .finish_non_exhaustive()
    }
}

/// Where a calculation stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress<Stage> {
    /// What is being done.
    pub stage: Stage,
    /// How much of the whole calculation is done, from 0 to 1; never goes back.
    pub fraction: f64,
    /// Residual of the linear equations relative to the right-hand side, while they are iterated on.
    pub residual: Option<f64>,
    /// A line for the log, without a line end; may be empty.
    pub message: String,
}
