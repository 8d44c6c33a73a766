//! Blocks: the pieces of bytes that arrays are cut into, named by what they contain.
//!
//! A block's name is the BLAKE3 digest of its bytes, so equal pieces are stored once, whoever sent
//! them, and a damaged block is noticed when it is read.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::str::FromStr;

/// The BLAKE3 digest of some bytes: 32 bytes, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

/// The text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct NotADigest;

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// A digest from its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(|_| NotADigest)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Self, NotADigest> {
        text.parse()
    }
}

/// Takes blocks while a document is read. Implemented by the store, and by maps in tests.
pub trait BlockSink {
    /// Stores the bytes and returns their digest; storing the same bytes again is cheap.
    ///
    /// A block handed over is safe from garbage collection until the sink is dropped.
    fn put(&mut self, bytes: &[u8]) -> io::Result<Digest>;
}

/// Gives blocks back by their digest. Implemented by the store, and by maps in tests.
pub trait BlockSource: Sync {
    /// Reads one block into `buffer` (cleared first). The implementation verifies the digest.
    ///
    /// # Errors
    /// `NotFound` if there is no such block, `InvalidData` if its bytes no longer match its digest.
    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()>;
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
}
