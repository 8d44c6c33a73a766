//! What a document is once it has been taken apart: JSON text, and descriptors of its arrays.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Digest, ElementType};

/// A document: the client's JSON text, verbatim, and where its arrays' blocks are.
///
/// The text is kept as it came because results echo it: clients of other versions reject keys that
/// they do not know, so it must not be written anew from a parsed form.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Document {
    /// The JSON exactly as the client wrote it.
    pub json: Arc<str>,
    /// The arrays by their path in the file, without a leading slash.
    pub arrays: BTreeMap<String, ArrayDescriptor>,
}

/// One array: element type, shape, and the blocks that hold its bytes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ArrayDescriptor {
    /// Type of the elements; bytes are little-endian.
    pub element_type: ElementType,
    /// Extent of each dimension.
    pub shape: Vec<u64>,
    /// Number of bytes in all.
    pub byte_length: u64,
    /// Digest of all the array's bytes in C order, whatever the layout.
    pub digest: Digest,
    /// How the bytes are cut into blocks.
    pub layout: Layout,
    /// The blocks' digests in the order of the layout.
    pub blocks: Vec<Digest>,
}

/// How an array's bytes are cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Layout {
    /// C order, cut every `block_bytes` bytes; the last block may be shorter.
    Linear {
        /// Bytes per block.
        block_bytes: u64,
    },
}
