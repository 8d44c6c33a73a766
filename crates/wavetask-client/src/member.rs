//! A simulation that is ready to be sent: its document, and where the bytes of its blocks can be read.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use wavetask_document::{Digest, Document};
use wavetask_protocol::TaskKind;
use wavetask_protocol::native::InputSlot;

/// The bytes of one array, little-endian in C order, kept alive and unchanged for as long as this lives: a view of
/// somebody's memory, or bytes of our own.
pub trait ArrayBytes: Send + Sync {
    /// All bytes.
    fn bytes(&self) -> &[u8];
}

impl ArrayBytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Where one block's bytes are.
#[derive(Clone)]
pub struct BlockPlace {
    /// The array.
    pub array: Arc<dyn ArrayBytes>,
    /// Where in it the block begins, in bytes.
    pub offset: usize,
    /// Its length in bytes.
    pub length: usize,
    /// Bytes per number, for the byte shuffle.
    pub width: u8,
}

impl BlockPlace {
    /// The block's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.array.bytes()[self.offset..self.offset + self.length]
    }
}

impl fmt::Debug for BlockPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BlockPlace")
            .field("offset", &self.offset)
            .field("length", &self.length)
            .field("width", &self.width)
            .finish_non_exhaustive()
    }
}

/// A simulation as it is sent: nothing in it is copied from its arrays.
#[derive(Clone, Debug)]
pub struct PackedSimulation {
    /// What it asks for.
    pub kind: TaskKind,
    /// Text and descriptors.
    pub document: Document,
    /// The canonical digest of the document.
    pub digest: Digest,
    /// Where the bytes of each block are; equal blocks once.
    pub blocks: HashMap<Digest, BlockPlace>,
    /// Bytes of all arrays together.
    pub array_bytes: u64,
    /// Arrays that come from evaluations, which are tasks already.
    pub inputs: Vec<InputSlot>,
}

impl PackedSimulation {
    /// Bytes that it keeps in memory.
    pub fn bytes(&self) -> u64 {
        self.array_bytes.saturating_add(self.document.json.len() as u64)
    }
}
