//! Arrays into blocks and back: cutting, hashing, and loading within a memory limit.

use std::io;

use crate::bytes::texts;
use crate::descriptor::element_count;
use crate::error::within;
use crate::{
    Array, ArrayDescriptor, ArrayError, ArraySource, BlockSink, BlockSource, Digest, Document, DocumentError,
    ElementType, Layout, Values,
};

/// Cuts the bytes of one array into blocks as they come, holding at most one block.
pub struct ArrayWriter<'s> {
    element_type: ElementType,
    shape: Vec<u64>,
    block_bytes: usize,
    sink: &'s mut dyn BlockSink,
    pending: Vec<u8>,
    blocks: Vec<Digest>,
    byte_length: u64,
    /// The digest of everything; not needed while all of it fits one block.
    whole: blake3::Hasher,
}

impl std::fmt::Debug for ArrayWriter<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ArrayWriter")
            .field("element_type", &self.element_type)
            .field("shape", &self.shape)
            .field("byte_length", &self.byte_length)
            .finish_non_exhaustive()
    }
}

impl<'s> ArrayWriter<'s> {
    /// An array of this type and shape, whose blocks of `block_bytes` go to `sink`.
    ///
    /// # Panics
    /// If `block_bytes` is zero or not a multiple of 16.
    pub fn new(
        element_type: ElementType,
        shape: Vec<u64>,
        block_bytes: u64,
        sink: &'s mut dyn BlockSink,
    ) -> Self {
        assert!(
            block_bytes > 0 && block_bytes.is_multiple_of(16),
            "the block size must be a positive multiple of 16"
        );
        let block_bytes = usize::try_from(block_bytes).unwrap_or(usize::MAX);
        let whole = blake3::Hasher::new();
        Self {
            element_type,
            shape,
            block_bytes,
            sink,
            pending: Vec::new(),
            blocks: Vec::new(),
            byte_length: 0,
            whole,
        }
    }

    /// Appends bytes: little-endian elements in C order.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.byte_length += bytes.len() as u64;
        if self.pending.is_empty() {
            // Whole blocks go through without being copied.
            while bytes.len() > self.block_bytes {
                let (block, rest) = bytes.split_at(self.block_bytes);
                self.flush(Some(block))?;
                bytes = rest;
            }
        }
        while !bytes.is_empty() {
            // A full block is flushed only when more follows: the last one decides about `whole`.
            if self.pending.len() == self.block_bytes {
                self.flush(None)?;
            }
            let length = bytes.len().min(self.block_bytes - self.pending.len());
            let (part, rest) = bytes.split_at(length);
            self.pending.extend_from_slice(part);
            bytes = rest;
        }
        Ok(())
    }

    /// Stores `block`, or what is pending.
    fn flush(&mut self, block: Option<&[u8]>) -> io::Result<()> {
        let bytes = block.unwrap_or(&self.pending);
        self.whole.update(bytes);
        self.blocks.push(self.sink.put(bytes)?);
        if block.is_none() {
            self.pending.clear();
        }
        Ok(())
    }

    /// The array's descriptor, once all bytes are written.
    ///
    /// # Errors
    /// Those of the sink; `InvalidInput` if the bytes do not fit the shape.
    pub fn finish(mut self) -> io::Result<ArrayDescriptor> {
        let digest = if self.blocks.is_empty() {
            let digest = Digest::of(&self.pending);
            if !self.pending.is_empty() {
                self.blocks.push(self.sink.put(&self.pending)?);
            }
            digest
        } else {
            self.flush(None)?;
            Digest::from_bytes(*self.whole.finalize().as_bytes())
        };
        let descriptor = ArrayDescriptor {
            element_type: self.element_type,
            shape: self.shape,
            byte_length: self.byte_length,
            digest,
            layout: Layout::Linear { block_bytes: self.block_bytes as u64 },
            blocks: self.blocks,
        };
        descriptor
            .check("a new array")
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(descriptor)
    }
}

impl Array {
    /// Cuts the array into blocks of `block_bytes`, stores them, and returns the descriptor.
    ///
    /// # Errors
    /// Those of the sink; `InvalidInput` for a string of 4 GiB or more.
    ///
    /// # Panics
    /// If `block_bytes` is zero or not a multiple of 16.
    pub fn store(&self, sink: &mut dyn BlockSink, block_bytes: u64) -> io::Result<ArrayDescriptor> {
        if let Values::Text(texts) = self.values()
            && texts.iter().any(|text| u32::try_from(text.len()).is_err())
        {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a string of 4 GiB or more"));
        }
        let shape = self.shape().iter().map(|&extent| extent as u64).collect();
        let mut writer = ArrayWriter::new(self.values().element_type(), shape, block_bytes, sink);
        self.values().for_each_piece(1 << 18, |bytes| writer.write(bytes))?;
        writer.finish()
    }
}

impl ArrayDescriptor {
    /// Loads the whole array from its blocks, if it has at most `limit` bytes.
    ///
    /// Memory: the array, and one block beside it (for strings: twice the array).
    ///
    /// # Errors
    /// `TooLarge` beyond the limit, `Io` if a block is missing or damaged, `Malformed` if the
    /// descriptor or the blocks do not agree.
    pub fn load(&self, blocks: &dyn BlockSource, limit: u64) -> Result<Array, DocumentError> {
        self.check("an array")?;
        within("array_bytes", limit, self.byte_length)?;
        let count = element_count(&self.shape).unwrap_or(0);
        let mut values = Values::with_capacity(self.element_type, to_size(count)?);
        let mut text = Vec::new();
        self.for_each_block(blocks, |block| {
            if self.element_type == ElementType::Text {
                text.extend_from_slice(block);
                Ok(())
            } else {
                values.extend_from_bytes(block)
            }
        })?;
        values.extend_from_bytes(&text)?;
        let shape = self.shape.iter().map(|&extent| to_size(extent)).collect::<Result<_, _>>()?;
        Array::new(shape, values).map_err(|error| DocumentError::malformed(error.to_string(), "an array"))
    }

    /// Reads the blocks one after the other; each has the length that the layout says.
    pub(crate) fn for_each_block(
        &self,
        blocks: &dyn BlockSource,
        mut take: impl FnMut(&[u8]) -> Result<(), DocumentError>,
    ) -> Result<(), DocumentError> {
        let mut buffer = Vec::new();
        for index in 0..self.blocks.len() {
            self.read_block(blocks, index, &mut buffer)?;
            take(&buffer)?;
        }
        Ok(())
    }

    /// Reads one block and checks its length.
    pub(crate) fn read_block(
        &self,
        blocks: &dyn BlockSource,
        index: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<(), DocumentError> {
        let digest = &self.blocks[index];
        blocks.get(digest, buffer).map_err(DocumentError::io("reading a block"))?;
        let start = index as u64 * self.block_bytes();
        if buffer.len() as u64 != self.block_bytes().min(self.byte_length - start) {
            return Err(DocumentError::malformed("a block has the wrong length", digest.to_string()));
        }
        Ok(())
    }

    /// Reads all bytes of an array that is known to be small.
    pub(crate) fn read_bytes(&self, blocks: &dyn BlockSource, limit: u64) -> Result<Vec<u8>, DocumentError> {
        within("text_bytes", limit, self.byte_length)?;
        let mut bytes = Vec::with_capacity(to_size(self.byte_length)?);
        self.for_each_block(blocks, |block| {
            bytes.extend_from_slice(block);
            Ok(())
        })?;
        // Refuses bytes that are not strings here, before anyone builds on them.
        let mut count = 0;
        for text in texts(&bytes) {
            text?;
            count += 1;
        }
        if Some(count) != self.element_count() {
            return Err(DocumentError::malformed("not as many strings as the shape says", "a text array"));
        }
        Ok(bytes)
    }
}

/// A document's arrays, loaded by path from its blocks, each within a memory limit.
#[derive(Clone, Copy)]
pub struct DocumentArrays<'a> {
    /// The document.
    pub document: &'a Document,
    /// Where its blocks are.
    pub blocks: &'a dyn BlockSource,
    /// Bytes that one array may have in memory.
    pub array_bytes: u64,
}

impl std::fmt::Debug for DocumentArrays<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DocumentArrays")
            .field("arrays", &self.document.arrays.len())
            .field("array_bytes", &self.array_bytes)
            .finish_non_exhaustive()
    }
}

impl ArraySource for DocumentArrays<'_> {
    fn load(&self, path: &str) -> Result<Option<Array>, ArrayError> {
        let Some(descriptor) = self.document.arrays.get(path) else { return Ok(None) };
        match descriptor.load(self.blocks, self.array_bytes) {
            Ok(array) => Ok(Some(array)),
            Err(error) => Err(ArrayError { path: path.to_owned(), source: Box::new(error) }),
        }
    }
}

fn to_size(value: u64) -> Result<usize, DocumentError> {
    usize::try_from(value).map_err(|_| DocumentError::TooLarge {
        limit: "array_bytes",
        allowed: usize::MAX as u64,
        found: value,
    })
}
