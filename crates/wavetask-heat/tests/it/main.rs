//! Tests of the heat solver from a simulation's JSON to its result.

mod cases;
mod closed_forms;
mod common;
mod conditions;
mod demo;
mod hostile;
mod monitors;
mod python;
mod refusals;
mod symmetry;
