//! Which medium is where, and the permittivity of a scene on the points of a grid.
//!
//! ```text
//! Scene::read(simulation, path, arrays)          structures in order of precedence, media, background
//!   └ place_sheets(boundaries)                   media without thickness get the grid's
//!       └ on_grid(scene, coordinates, component, frequency)    one tensor entry on a tensor product of coordinates
//! ```
//!
//! The answer is what the client's `epsilon_on_grid` gives without subpixel averaging: at each point the
//! medium of the structure that covers all others there, surfaces included. A Yee grid asks once for
//! each component of the field, at that component's locations; entries beside the diagonal are asked for
//! at the cell corners, where the client samples them.
//!
//! Points are visited in rows along z. Each row asks the tree of bounding boxes once for the structures that
//! it can meet and lets them claim its points from the highest precedence down, so that the cost per point is
//! that of the few structures around it, however many the scene has. Rows are independent and run on all
//! cores. Memory is that of the answer, 16 bytes a point, and the samples of custom media at the frequency.

mod component;
mod error;
mod grid;
mod scene;
mod sheet;

pub use component::Component;
pub use error::PermittivityError;
pub use grid::{MAXIMUM_POINTS, on_grid, on_points, tensor_on_grid};
pub(crate) use grid::{check, value};
pub use scene::Scene;
