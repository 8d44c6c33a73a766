//! Geometry of a tidy3d scene: shapes, containment, interfaces and feature coordinates; its optical media and
//! their permittivity on a grid.

pub mod boundaries;
pub mod geometry;
mod linear;
pub mod media;
pub mod mesh;
pub mod permittivity;
mod reading;
pub mod subpixel;

pub use reading::{Fault, Part, SceneError};
