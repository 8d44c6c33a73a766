//! The sparse solver against dense solves, closed forms, and the matrices that break solvers.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first fault, as tests do")]

mod accuracy;
mod common;
mod components;
mod iteration;
mod random_matrices;
mod simplices;
