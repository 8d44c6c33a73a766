//! Parts of arrays: which blocks a range of indices touches, and where in them its bytes are.
//!
//! A monitor that recorded a gigabyte is seldom looked at as a whole: one frequency, one plane. The part is a range of
//! indices in each dimension; in C order its bytes lie in runs, and the runs of a range in the leading dimension are
//! one.

use std::ops::Range;

use crate::error::within;
use crate::{Array, ArrayDescriptor, BlockSource, DocumentError, ElementType, Values};

/// A part of an array: a range of indices in each dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Extent of the part in each dimension.
    pub shape: Vec<u64>,
    /// Bytes of the part.
    pub byte_length: u64,
    block_bytes: u64,
    /// Bytes of one run.
    run_bytes: u64,
    /// Where the first run begins.
    first: u64,
    /// How many steps and how many bytes from one to the next, outermost dimension first, for the dimensions
    /// outside of runs.
    steps: Vec<(u64, u64)>,
}

/// Bytes of a part that lie in one block without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRange {
    /// Number of the block in [`ArrayDescriptor::blocks`].
    pub block: usize,
    /// Where in the block.
    pub bytes: Range<u64>,
}

impl ArrayDescriptor {
    /// The part of the array in these ranges of indices, outermost dimension first; dimensions that are not named are
    /// taken whole, so one range is a slice of the leading axis.
    ///
    /// # Errors
    /// `Malformed` if a range does not fit the shape or the descriptor does not agree with itself, `Unsupported` for
    /// a proper part of an array of strings, whose places are unknown.
    pub fn blocks_of(&self, ranges: &[Range<u64>]) -> Result<Part, DocumentError> {
        self.check("an array")?;
        if ranges.len() > self.shape.len() {
            return Err(DocumentError::malformed(
                format!("{} ranges for {} dimensions", ranges.len(), self.shape.len()),
                "a part of an array",
            ));
        }
        let ranges: Vec<Range<u64>> = self
            .shape
            .iter()
            .enumerate()
            .map(|(axis, &extent)| ranges.get(axis).cloned().unwrap_or(0..extent))
            .collect();
        for (axis, (range, &extent)) in ranges.iter().zip(&self.shape).enumerate() {
            if range.start > range.end || range.end > extent {
                return Err(DocumentError::malformed(
                    format!("{}..{} of dimension {axis}, which has {extent}", range.start, range.end),
                    "a part of an array",
                ));
            }
        }
        let shape: Vec<u64> = ranges.iter().map(|range| range.end - range.start).collect();
        let whole = shape == self.shape;
        let block_bytes = self.block_bytes();
        let size = match self.element_type.size() {
            _ if whole => {
                let byte_length = self.byte_length;
                return Ok(Part {
                    shape,
                    byte_length,
                    block_bytes,
                    run_bytes: byte_length,
                    first: 0,
                    steps: Vec::new(),
                });
            }
            Some(size) => size as u64,
            None => {
                return Err(DocumentError::unsupported(
                    "a part of an array of strings",
                    "a part of an array",
                ));
            }
        };
        // From the innermost dimension outwards: runs grow while everything inside is whole. The products are those
        // of the shape, which `check` has found to fit.
        let mut part =
            Part { shape, byte_length: 0, block_bytes, run_bytes: size, first: 0, steps: Vec::new() };
        if part.shape.contains(&0) {
            part.run_bytes = 0;
            return Ok(part);
        }
        part.byte_length = size * part.shape.iter().product::<u64>();
        let mut stride = size;
        let mut gapless = true;
        for ((range, &extent), &taken) in ranges.iter().zip(&self.shape).zip(&part.shape).rev() {
            part.first += range.start * stride;
            if gapless {
                part.run_bytes = taken * stride;
                gapless = taken == extent;
            } else if taken > 1 {
                part.steps.insert(0, (taken, stride));
            }
            stride *= extent;
        }
        Ok(part)
    }

    /// Loads the part in these ranges, if it has at most `limit` bytes, reading each block that it touches once and
    /// no other.
    ///
    /// # Errors
    /// Those of [`blocks_of`](Self::blocks_of) and of [`load`](Self::load).
    pub fn load_part(
        &self,
        ranges: &[Range<u64>],
        blocks: &dyn BlockSource,
        limit: u64,
    ) -> Result<Array, DocumentError> {
        let part = self.blocks_of(ranges)?;
        if self.element_type == ElementType::Text {
            return self.load(blocks, limit);
        }
        within("array_bytes", limit, part.byte_length)?;
        let mut bytes = Vec::with_capacity(usize::try_from(part.byte_length).unwrap_or(0));
        let mut buffer = Vec::new();
        let mut held = None;
        for range in part.ranges() {
            if held != Some(range.block) {
                self.read_block(blocks, range.block, &mut buffer)?;
                held = Some(range.block);
            }
            // Within the block, whose length `read_block` has checked, so it fits an index.
            bytes.extend_from_slice(&buffer[range.bytes.start as usize..range.bytes.end as usize]);
        }
        let shape: Vec<usize> = part.shape.iter().map(|&extent| extent as usize).collect();
        let mut values = Values::with_capacity(self.element_type, shape.iter().product());
        values.extend_from_bytes(&bytes)?;
        Array::new(shape, values).map_err(|error| DocumentError::malformed(error.to_string(), "an array"))
    }
}

impl Part {
    /// The part's bytes in C order of the part, as places in blocks. Blocks come in ascending order, and ranges that
    /// touch within a block are one.
    pub fn ranges(&self) -> Ranges<'_> {
        Ranges {
            part: self,
            counters: vec![0; self.steps.len()],
            rest: self.first..self.first,
            left: self.byte_length,
        }
    }

    /// The numbers of the blocks that the part touches, ascending, each once.
    pub fn blocks(&self) -> impl Iterator<Item = usize> + '_ {
        let mut last = None;
        self.ranges().map(|range| range.block).filter(move |&block| last.replace(block) != Some(block))
    }
}

/// Iterates over [`Part::ranges`].
#[derive(Clone, Debug)]
pub struct Ranges<'p> {
    part: &'p Part,
    counters: Vec<u64>,
    /// What is left of the run that was begun.
    rest: Range<u64>,
    /// Bytes of the part that have not been handed out.
    left: u64,
}

impl Iterator for Ranges<'_> {
    type Item = BlockRange;

    fn next(&mut self) -> Option<BlockRange> {
        if self.left == 0 {
            return None;
        }
        if self.rest.is_empty() {
            let start = self.part.first
                + self
                    .counters
                    .iter()
                    .zip(&self.part.steps)
                    .map(|(count, (_, stride))| count * stride)
                    .sum::<u64>();
            self.rest = start..start + self.part.run_bytes;
            // Count up, innermost dimension first.
            for (counter, (steps, _)) in self.counters.iter_mut().zip(&self.part.steps).rev() {
                *counter += 1;
                if *counter < *steps {
                    break;
                }
                *counter = 0;
            }
        }
        let block = self.rest.start / self.part.block_bytes;
        let begin = block * self.part.block_bytes;
        let end = self.rest.end.min(begin + self.part.block_bytes);
        let bytes = self.rest.start - begin..end - begin;
        self.left -= end - self.rest.start;
        self.rest.start = end;
        Some(BlockRange { block: block as usize, bytes })
    }
}
