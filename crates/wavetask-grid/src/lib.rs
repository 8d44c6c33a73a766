//! Geometry of a tidy3d scene: shapes, containment, interfaces and feature coordinates.

pub mod boundaries;
pub mod geometry;
mod linear;
pub mod media;
pub mod mesh;
