//! Documents, arrays and blocks, and their translation from and to the HDF5 files that tidy3d writes.

mod array;
mod block;
mod descriptor;

pub use array::{Array, ArrayError, ArraySource, ElementType, ShapeMismatch, VALUES_DATASET, Values};
pub use block::{BlockSink, BlockSource, Digest, NotADigest};
pub use descriptor::{ArrayDescriptor, Document, Layout};
