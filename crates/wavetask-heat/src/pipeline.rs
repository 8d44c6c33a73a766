//! From a problem to its solution.

use crate::controls::Controls;
use crate::error::SolveError;
use crate::model::{Monitor, Problem};
use crate::solution::Solution;

pub(crate) fn solve(problem: &Problem, controls: &Controls<'_>) -> Result<Solution, SolveError> {
    let _ = (problem, controls);
    Err(SolveError::Internal("the mesher is not connected yet".into()))
}

pub(crate) fn mesh(
    problem: &Problem,
    monitors: &[Monitor],
    controls: &Controls<'_>,
) -> Result<Solution, SolveError> {
    let _ = (problem, monitors, controls);
    Err(SolveError::Internal("the mesher is not connected yet".into()))
}
