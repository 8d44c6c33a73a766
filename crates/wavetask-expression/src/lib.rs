//! Evaluation of expressions over arrays of results, reading only what they depend on.
//!
//! ```text
//!  Expression ──infer──► Inferred ──plan──► Plan ──evaluate(&dyn Reader)──► Evaluated
//!      wavetask-document::expression          steps by position                labels, values
//! ```
//!
//! A [`Plan`](wavetask_document::expression::Plan) says which indices of which fields are read and what is done with
//! them; here it is done. Labels have no part in it any more, so that each step is a loop over numbers. All arithmetic
//! is in 64-bit floats and pairs of them.
//!
//! Where the numbers come from is the [`Reader`]'s affair, which is asked for boxes of indices. [`RecentBlocks`] keeps it
//! from reading a block again for the next box, and counts the bytes.
//!
//! Nothing here allocates more than the plan's limits allow: shapes are known before the first number is read.

mod arithmetic;
mod arrange;
mod blocks;
mod documents;
mod evaluate;
mod interpolate;
mod lookup;
mod mesh;
mod numbers;
mod read;
mod reduce;

pub use blocks::RecentBlocks;
pub use evaluate::evaluate;
pub use mesh::{MeshGeometry, WithMeshes};
pub use numbers::{Evaluated, Numbers};
pub use read::Reader;
