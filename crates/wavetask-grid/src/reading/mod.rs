//! Reading the parts of a scene, its geometries and its media, from the client's JSON.
//!
//! Both are read in the same way: field by field, with the path at hand, until the first value that cannot be used. So
//! they share what holds a place in the document ([`Fields`]) and what says that it cannot be used ([`SceneError`]); a
//! medium that lies in a structure whose geometry is refused is refused for that reason and no other.

mod error;
mod fields;

pub use error::{Fault, Part, SceneError};
pub(crate) use fields::{Fields, join};
