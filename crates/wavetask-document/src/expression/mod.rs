//! Expressions over arrays of results: what to compute, as data.
//!
//! A result's field is seldom wanted as it is: one plane of it, interpolated to another grid, the difference of two.
//! Such a wish is an [`Expression`]: a tree that travels as JSON, has a digest under which its value can be kept, and
//! is bounded before anything is computed. Labels decide what it means, as they do in xarray: `a + b` joins the
//! coordinates of both, `interp` names the dimension.
//!
//! ```text
//!  JSON ──from_json──► Expression ──infer(&dyn Schema)──► Inferred ──plan──► Plan ──► wavetask-expression
//!            limits        │ digest      coordinates of      dims, coords,      which indices of which
//!                          ▼             the fields          shape, dtype,      field are read, and what
//!                   name of its value                        bytes              is done with them
//! ```
//!
//! What has labels can be known before anything is fetched: [`infer()`] needs the fields' coordinates and no values. A
//! [`Plan`] has the labels resolved: selections have moved down to the fields, so that a plane of a large field reads
//! one plane, and what remains is arithmetic by position.
//!
//! Why trees and not programs: a tree cannot loop, so its size bounds its work, and equal trees are equal text.
//!
//! Numbers are computed as 64-bit floats and pairs of them; single precision is widened when it is read. Where xarray
//! has several meanings (an integer's power, a sum of booleans), the one for floats holds, or it is refused.

mod alignment;
mod combine;
mod documents;
mod error;
mod flux;
mod form;
mod infer;
mod interpolation;
mod labels;
mod limits;
mod lookup;
mod mesh;
mod narrow;
mod node;
mod plan;
mod recipe;
mod selection;
mod symmetry;

pub use documents::Documents;
pub use error::ExpressionError;
pub use flux::Flux;
pub use infer::{FieldType, Inferred, Schema, infer};
pub use labels::{Coordinate, DataType, Dimension, Label, Labels};
pub use limits::ExpressionLimits;
pub use mesh::{EdgePoint, EditedMesh, EditedShape, MeshEdit, MeshKind, MeshType};
pub use node::{
    BinaryFunction, Expression, Field, FieldSource, Fill, Indexer, InterpolationMethod, Part, Places,
    Reduction, SelectionMethod, Selector, UnaryFunction,
};
pub use plan::{Operand, Operation, Plan, Sample, Step};
pub use recipe::{MAXIMUM_OUTPUTS, Recipe};
pub use selection::Taken;
pub use symmetry::{Mirror, Mirroring, Mirrors, Whole, whole};
