//! Blocks: the pieces of bytes that arrays are cut into, named by what they contain.
//!
//! A block's name is the BLAKE3 digest of its bytes, so equal pieces are stored once, whoever sent
//! them, and a damaged block is noticed when it is read.

use std::collections::HashMap;
use std::io;

pub use wavetask_protocol::{Digest, NotADigest};

/// Takes blocks while a document is read. Implemented by the store, and by maps in tests.
pub trait BlockSink {
    /// Stores the bytes and returns their digest; storing the same bytes again is cheap.
    ///
    /// A block handed over is safe from garbage collection until the sink is dropped.
    fn put(&mut self, bytes: &[u8]) -> io::Result<Digest>;
}

/// Blocks of about so many bytes are [announced](BlockSource::announce) together.
pub(crate) const AHEAD: u64 = 8 << 20;

/// Gives blocks back by their digest. Implemented by the store, and by maps in tests.
pub trait BlockSource: Sync {
    /// Says that these will be read next, in this order. A source that is slow to answer and quick to deliver, as
    /// disks and other machines are, reads them ahead; what is wrong is said when they are read.
    fn announce(&self, digests: &[Digest]) {
        let _ = digests;
    }

    /// Reads one block into `buffer` (cleared first). The implementation verifies the digest.
    ///
    /// # Errors
    /// `NotFound` if there is no such block, `InvalidData` if its bytes no longer match its digest.
    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()>;

    /// Shows one block: for those who keep blocks in memory and need not copy them. `buffer` is what others may use
    /// on the way.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn look(&self, digest: &Digest, buffer: &mut Vec<u8>, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.get(digest, buffer)?;
        take(buffer);
        Ok(())
    }
}

impl<B: BlockSource + ?Sized> BlockSource for &B {
    fn announce(&self, digests: &[Digest]) {
        (**self).announce(digests);
    }

    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()> {
        (**self).get(digest, buffer)
    }

    fn look(&self, digest: &Digest, buffer: &mut Vec<u8>, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        (**self).look(digest, buffer, take)
    }
}

/// Blocks in memory: for tests and small tools.
#[derive(Clone, Debug, Default)]
pub struct MemoryBlocks {
    blocks: HashMap<Digest, Box<[u8]>>,
}

impl MemoryBlocks {
    /// No blocks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of different blocks.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

impl BlockSink for MemoryBlocks {
    fn put(&mut self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        self.blocks.entry(digest).or_insert_with(|| bytes.into());
        Ok(digest)
    }
}

impl BlockSource for MemoryBlocks {
    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        let block = self.blocks.get(digest).ok_or(io::ErrorKind::NotFound)?;
        buffer.extend_from_slice(block);
        Ok(())
    }

    fn look(&self, digest: &Digest, _: &mut Vec<u8>, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        take(self.blocks.get(digest).ok_or(io::ErrorKind::NotFound)?);
        Ok(())
    }
}
