//! Subpixel averaging: the permittivity of cells that an interface cuts.
//!
//! A grid that gives each location the medium at its point moves interfaces by up to half a cell, and its errors fall
//! with the cell's size. Averaging over the cell by the rules of continuity at an interface makes them fall with
//! its square. What is left with that order belongs to the differences of a solver, not to a permittivity: on grid lines
//! that lie on the interfaces all of the rules below agree. The mode solver removes it afterwards.
//!
//! ```text
//! Specification::read(simulation.subpixel)        which method at which interfaces
//! Cells::of_yee(boundaries, component)            locations and the cells around them
//! on_grid(scene, specification, cells, component, coupling, frequency)
//!   ├ content     shares of media and directions of interfaces in a cell
//!   └ formula     effective tensor: isotropic (Farjadpour), anisotropic (Kottke), diagonal (Mohammadi)
//! openings(scene, edges or faces)                 their parts outside of perfect conductors
//! magnetic_conductors(scene, specification, …)    where the magnetic field vanishes
//! ```
//!
//! | interface | method | what is done |
//! | --- | --- | --- |
//! | dielectrics | `PolarizedAveraging` | the averaged tensor, or its diagonal ([`Coupling`]) |
//! | | `ContourPathAveraging` | the same with means along the field's edge and over the face across it |
//! | metals (real part below one) | `VolumetricAveraging` | the mean; components largely across stay staircased unless told otherwise |
//! | perfect conductors | `HeuristicPECStaircasing` | components largely along the interface conduct wherever it cuts their cell; of magnetic ones, those of the magnetic field |
//! | | `PECConformal` | what is outside of the conductor fills the cell; [`openings`] says how much of edges and faces is |
//! | lossy metals | `SurfaceImpedance` | refused by name |
//! | custom media | | averaged if the medium sets `subpixel`, as in the client |
//! | all | `Staircasing` | the medium at the location |
//!
//! A component is *largely along* an interface if the square of the normal's part along it is below one
//! half. In a cell with several kinds of interfaces the one farthest down in this table decides. Fully
//! anisotropic media are averaged, which the client does not offer.

mod cells;
mod content;
mod error;
mod formula;
mod grid;
mod halfspace;
mod magnetic;
mod opening;
mod specification;

pub use cells::Cells;
pub use error::SubpixelError;
pub use grid::{Coupling, on_grid};
pub use magnetic::magnetic_conductors;
pub use opening::{Opening, is_solid_conductor, openings};
pub use specification::{Conductor, Dielectric, Metal, Specification};
