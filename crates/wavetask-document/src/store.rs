//! Arrays into blocks and back: cutting, hashing, and loading within a memory limit.
//!
//! Arrays come in C order. A block of an array in one line is whole as soon as its bytes have come; bricks are whole
//! when a layer of them has, a slab, which is held until then.

use std::io;

use crate::block::AHEAD;
use crate::boxes::{BoxCopy, Place};
use crate::bytes::texts;
use crate::descriptor::element_count;
use crate::error::within;
use crate::layout::BrickGrid;
use crate::{
    Array, ArrayDescriptor, ArrayError, ArraySource, BlockSink, BlockSource, Digest, Document, DocumentError,
    ElementType, Layout, SLAB_BYTES, Values,
};

/// Cuts the bytes of one array into blocks as they come, holding at most one block, or one slab of bricks.
pub struct ArrayWriter<'s> {
    element_type: ElementType,
    shape: Vec<u64>,
    layout: Layout,
    /// Bytes that are gathered before they are cut: one block, or the largest slab.
    gather_bytes: usize,
    slabs: Option<Slabs>,
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
        let gather_bytes = usize::try_from(block_bytes).unwrap_or(usize::MAX);
        Self::gathering(element_type, shape, Layout::Linear { block_bytes }, gather_bytes, None, sink)
    }

    /// An array of this type and shape, whose bricks of these extents go to `sink`. One layer of bricks across the
    /// outermost dimension along which they have more than one element is held in memory: of extents that
    /// [`brick_extents`](crate::brick_extents) gives at most [`SLAB_BYTES`].
    ///
    /// # Errors
    /// `Malformed` if the array cannot be cut into such bricks.
    pub fn in_bricks(
        element_type: ElementType,
        shape: Vec<u64>,
        extents: Vec<u64>,
        sink: &'s mut dyn BlockSink,
    ) -> Result<Self, DocumentError> {
        let grid = BrickGrid::new(element_type, &shape, &extents)
            .map_err(|what| DocumentError::malformed(what, "a new array"))?;
        let slabs = Slabs::new(grid);
        let gather_bytes = slabs.length();
        Ok(Self::gathering(element_type, shape, Layout::Bricks { extents }, gather_bytes, Some(slabs), sink))
    }

    fn gathering(
        element_type: ElementType,
        shape: Vec<u64>,
        layout: Layout,
        gather_bytes: usize,
        slabs: Option<Slabs>,
        sink: &'s mut dyn BlockSink,
    ) -> Self {
        Self {
            element_type,
            shape,
            layout,
            gather_bytes,
            slabs,
            sink,
            pending: Vec::new(),
            blocks: Vec::new(),
            byte_length: 0,
            whole: blake3::Hasher::new(),
        }
    }

    /// Appends bytes: little-endian elements in C order.
    ///
    /// # Errors
    /// Those of the sink; `InvalidInput` if bricks are made and more comes than the shape says.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.byte_length += bytes.len() as u64;
        if self.pending.is_empty() && self.slabs.is_none() {
            // Whole blocks go through without being copied.
            while bytes.len() > self.gather_bytes {
                let (block, rest) = bytes.split_at(self.gather_bytes);
                self.flush(Some(block))?;
                bytes = rest;
            }
        }
        while !bytes.is_empty() {
            // A full block is flushed only when more follows: the last one decides about `whole`.
            if self.pending.len() == self.gather_bytes {
                self.flush(None)?;
            }
            if self.slabs.is_some() && self.pending.is_empty() {
                // A slab is large: it is not to be moved as it grows.
                self.pending.reserve_exact(self.gather_bytes);
            }
            let length = bytes.len().min(self.gather_bytes - self.pending.len());
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
        match &mut self.slabs {
            None => self.blocks.push(self.sink.put(bytes)?),
            Some(slabs) => {
                slabs.cut(bytes, |brick| {
                    self.blocks.push(self.sink.put(brick)?);
                    Ok(())
                })?;
                self.gather_bytes = slabs.length();
            }
        }
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
        let digest = if self.blocks.is_empty() && self.slabs.is_none() {
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
            layout: self.layout,
            blocks: self.blocks,
        };
        descriptor
            .check("a new array")
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(descriptor)
    }
}

/// Layers of bricks, cut one after the other.
struct Slabs {
    grid: BrickGrid,
    /// The dimension that they lie across.
    axis: usize,
    /// How many were cut.
    cut: u64,
    brick: Vec<u8>,
}

impl Slabs {
    fn new(grid: BrickGrid) -> Self {
        Self { axis: grid.slab_axis(), grid, cut: 0, brick: Vec::new() }
    }

    /// Bricks of each slab.
    fn bricks(&self) -> u64 {
        self.grid.counts[self.axis + 1..].iter().product()
    }

    /// Extents of the next slab, one along the dimensions before its own.
    fn extents(&self) -> Vec<u64> {
        let across = self.grid.indices(self.cut * self.bricks())[self.axis].clone();
        let mut extents = self.grid.shape.clone();
        extents[..self.axis].fill(1);
        extents[self.axis] = across.end - across.start;
        extents
    }

    /// Bytes of the next slab; nothing after the last.
    fn length(&self) -> usize {
        if self.cut * self.bricks() >= self.grid.number() {
            return 0;
        }
        let bytes = self.extents().iter().product::<u64>() * self.grid.size;
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Cuts the next slab.
    fn cut(&mut self, slab: &[u8], mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if slab.len() != self.length() || slab.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the bytes do not fit the shape"));
        }
        let (shape, bricks, size) = (self.extents(), self.bricks(), self.grid.size as usize);
        for brick in self.cut * bricks..(self.cut + 1) * bricks {
            let indices = self.grid.indices(brick);
            let extents: Vec<u64> = indices.iter().map(|range| range.end - range.start).collect();
            let mut from: Vec<u64> = indices.iter().map(|range| range.start).collect();
            from[..=self.axis].fill(0);
            let to = vec![0; extents.len()];
            self.brick.clear();
            self.brick.resize(extents.iter().product::<u64>() as usize * size, 0);
            let (from, to) = (Place { shape: &shape, first: &from }, Place { shape: &extents, first: &to });
            BoxCopy::new(&extents, size, from, to).copy(slab, &mut self.brick);
            take(&self.brick)?;
        }
        self.cut += 1;
        Ok(())
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
        self.write_to(ArrayWriter::new(self.values().element_type(), self.extents(), block_bytes, sink))
    }

    /// Cuts the array into bricks of these extents, stores them, and returns the descriptor.
    ///
    /// # Errors
    /// Those of the sink; `InvalidInput` if the array cannot be cut so.
    pub fn store_in_bricks(&self, sink: &mut dyn BlockSink, extents: &[u64]) -> io::Result<ArrayDescriptor> {
        let element_type = self.values().element_type();
        let writer = ArrayWriter::in_bricks(element_type, self.extents(), extents.to_vec(), sink);
        self.write_to(writer.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?)
    }

    fn extents(&self) -> Vec<u64> {
        self.shape().iter().map(|&extent| extent as u64).collect()
    }

    fn write_to(&self, mut writer: ArrayWriter<'_>) -> io::Result<ArrayDescriptor> {
        self.values().for_each_piece(1 << 18, |bytes| writer.write(bytes))?;
        writer.finish()
    }
}

impl ArrayDescriptor {
    /// Loads the whole array from its blocks, if it has at most `limit` bytes.
    ///
    /// Memory: the array, and beside it one block, or of bricks as much as [`SLAB_BYTES`] (for strings: twice the array).
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
        if !self.is_linear() {
            for window in self.windows(&[], SLAB_BYTES)? {
                self.read_part(&self.blocks_of(&window)?, blocks, &mut text)?;
                values.extend_from_bytes(&text)?;
            }
            return self.array_of(values);
        }
        self.for_each_block(blocks, |block| {
            if self.element_type == ElementType::Text {
                text.extend_from_slice(block);
                Ok(())
            } else {
                values.extend_from_bytes(block)
            }
        })?;
        values.extend_from_bytes(&text)?;
        self.array_of(values)
    }

    fn array_of(&self, values: Values) -> Result<Array, DocumentError> {
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
        let group = self.blocks_ahead();
        for index in 0..self.blocks.len() {
            if index.is_multiple_of(group) {
                blocks.announce(&self.blocks[index..self.blocks.len().min(index + group)]);
            }
            self.read_block(blocks, index, &mut buffer)?;
            take(&buffer)?;
        }
        Ok(())
    }

    /// How many blocks are announced together.
    pub(crate) fn blocks_ahead(&self) -> usize {
        (AHEAD / self.block_bytes().max(1)).clamp(1, 256) as usize
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
        if buffer.len() as u64 != self.block_length(index) {
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
