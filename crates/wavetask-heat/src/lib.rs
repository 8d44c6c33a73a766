//! Steady heat conduction on unstructured meshes: problem in, solution out.

pub mod linear;
