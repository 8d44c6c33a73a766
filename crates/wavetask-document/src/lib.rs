//! Documents, arrays and blocks, and their translation from and to the HDF5 files that tidy3d writes.
//!
//! ```text
//!  upload.hdf5.gz ──unpack──► upload.hdf5 ──hdf5::read──► Document { json, arrays: path → ArrayDescriptor }
//!                                               │                                          │ digests
//!                                               └──── blocks ────► BlockSink … BlockSource ◄┘
//!                                                                                │
//!  result.hdf5 ◄──────────────── hdf5::FilePlan ◄── Document ◄── ResultBuilder ──┘
//! ```
//!
//! A [`Document`] is small (text and digests) and says everything; the bytes are in blocks, wherever
//! the caller keeps them. Memory stays bounded whatever the size of the arrays, and whatever a
//! hostile file claims: [`Limits`] names every bound.

mod array;
mod block;
mod boxes;
mod bytes;
mod classes;
mod describe;
mod descriptor;
mod error;
pub mod expression;
pub mod hdf5;
mod json;
mod layout;
mod limits;
mod number;
pub mod pack;
pub mod positioned;
mod result;
mod select;
mod store;
pub mod unpack;

pub use array::{Array, ArrayError, ArraySource, ElementType, ShapeMismatch, VALUES_DATASET, Values};
pub use block::{BlockSink, BlockSource, Digest, MemoryBlocks, NotADigest};
pub use classes::dimensions_of;
pub use describe::{ArrayView, describe, describe_on, text_bytes};
pub use descriptor::{ArrayDescriptor, Document};
pub use error::DocumentError;
pub use layout::{BRICK_BYTES, BRICKS_FROM, Layout, SLAB_BYTES, brick_extents};
pub use limits::{BLOCK_BYTES, Limits};
pub use number::number;
pub use result::ResultBuilder;
pub use select::{BlockRange, Part, Ranges};
pub use store::{ArrayWriter, DocumentArrays};
