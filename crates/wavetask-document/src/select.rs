//! Parts of arrays: which blocks a range of indices touches, and where in them its bytes are.
//!
//! A monitor that recorded a gigabyte is seldom looked at as a whole: one frequency, one plane. The part is a range of
//! indices in each dimension. Of an array in one line its bytes lie in runs, and the runs of a range in the leading
//! dimension are one; of an array in bricks they lie in boxes. [`Part::place`] puts what a block holds where it belongs,
//! block by block, in any order, for both.

use std::ops::Range;

use crate::boxes::{BoxCopy, Place};
use crate::error::within;
use crate::layout::BrickGrid;
use crate::{Array, ArrayDescriptor, BlockSource, Digest, DocumentError, ElementType, Layout, Values};

/// A part of an array: a range of indices in each dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Extent of the part in each dimension.
    pub shape: Vec<u64>,
    /// Bytes of the part.
    pub byte_length: u64,
    cut: Cut,
}

/// How the part's bytes lie in blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cut {
    Linear(Runs),
    Bricks {
        grid: BrickGrid,
        /// The part's indices in each dimension.
        ranges: Vec<Range<u64>>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Runs {
    block_bytes: u64,
    /// Bytes of the whole array.
    array_bytes: u64,
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

const PART: &str = "a part of an array";

impl ArrayDescriptor {
    /// The part of the array in these ranges of indices, outermost dimension first; dimensions that are not named are
    /// taken whole, so one range is a slice of the leading axis.
    ///
    /// # Errors
    /// `Malformed` if a range does not fit the shape or the descriptor does not agree with itself, `Unsupported` for
    /// a proper part of an array of strings, whose places are unknown.
    pub fn blocks_of(&self, ranges: &[Range<u64>]) -> Result<Part, DocumentError> {
        self.check("an array")?;
        let ranges = self.all_ranges(ranges)?;
        let shape: Vec<u64> = ranges.iter().map(|range| range.end - range.start).collect();
        let cut = match &self.layout {
            Layout::Linear { block_bytes } => Cut::Linear(self.runs(&ranges, &shape, *block_bytes)?),
            Layout::Bricks { extents } => {
                let grid = BrickGrid::new(self.element_type, &self.shape, extents)
                    .map_err(|what| DocumentError::malformed(what, PART))?;
                Cut::Bricks { grid, ranges }
            }
        };
        // The products are those of the shape, which `check` has found to fit.
        let byte_length = match self.element_type.size() {
            None => self.byte_length,
            Some(_) if shape.contains(&0) => 0,
            Some(size) => size as u64 * shape.iter().product::<u64>(),
        };
        Ok(Part { shape, byte_length, cut })
    }

    /// The ranges of all dimensions.
    fn all_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Range<u64>>, DocumentError> {
        if ranges.len() > self.shape.len() {
            return Err(DocumentError::malformed(
                format!("{} ranges for {} dimensions", ranges.len(), self.shape.len()),
                PART,
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
                    PART,
                ));
            }
        }
        Ok(ranges)
    }

    /// The runs of an array in one line.
    fn runs(&self, ranges: &[Range<u64>], shape: &[u64], block_bytes: u64) -> Result<Runs, DocumentError> {
        let array_bytes = self.byte_length;
        let mut runs = Runs { block_bytes, array_bytes, run_bytes: array_bytes, first: 0, steps: Vec::new() };
        if shape == self.shape {
            return Ok(runs);
        }
        let Some(size) = self.element_type.size() else {
            return Err(DocumentError::unsupported("a part of an array of strings", PART));
        };
        runs.run_bytes = size as u64;
        if shape.contains(&0) {
            runs.run_bytes = 0;
            return Ok(runs);
        }
        // From the innermost dimension outwards: runs grow while everything inside is whole.
        let mut stride = size as u64;
        let mut gapless = true;
        for ((range, &extent), &taken) in ranges.iter().zip(&self.shape).zip(shape).rev() {
            runs.first += range.start * stride;
            if gapless {
                runs.run_bytes = taken * stride;
                gapless = taken == extent;
            } else if taken > 1 {
                runs.steps.insert(0, (taken, stride));
            }
            stride *= extent;
        }
        Ok(runs)
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
        let mut bytes = Vec::new();
        self.read_part(&part, blocks, &mut bytes)?;
        let shape: Vec<usize> = part.shape.iter().map(|&extent| extent as usize).collect();
        let mut values = Values::with_capacity(self.element_type, shape.iter().product());
        values.extend_from_bytes(&bytes)?;
        Array::new(shape, values).map_err(|error| DocumentError::malformed(error.to_string(), "an array"))
    }

    /// Reads the bytes of a part of this array into a buffer (cleared first), each block that it touches once and no
    /// other. The caller has bounded its length.
    ///
    /// # Errors
    /// `Io` if a block is missing or damaged, `Malformed` if it has another length than the layout says.
    pub fn read_part(
        &self,
        part: &Part,
        blocks: &dyn BlockSource,
        bytes: &mut Vec<u8>,
    ) -> Result<(), DocumentError> {
        bytes.clear();
        bytes.resize(usize::try_from(part.byte_length).unwrap_or(usize::MAX), 0);
        let mut buffer = Vec::new();
        let numbers: Vec<usize> = part.blocks().collect();
        for group in numbers.chunks(self.blocks_ahead()) {
            let digests = self.digests_of(group)?;
            blocks.announce(&digests);
            for (&block, digest) in group.iter().zip(&digests) {
                let mut placed = Ok(());
                blocks
                    .look(digest, &mut buffer, &mut |content| placed = part.place(block, content, bytes))
                    .map_err(DocumentError::io("reading a block"))?;
                placed?;
            }
        }
        Ok(())
    }

    /// Announces the blocks that the part in these ranges begins with, for whoever reads that soon.
    ///
    /// # Errors
    /// Those of [`blocks_of`](Self::blocks_of).
    pub fn announce_part(
        &self,
        ranges: &[Range<u64>],
        blocks: &dyn BlockSource,
    ) -> Result<(), DocumentError> {
        let part = self.blocks_of(ranges)?;
        let first: Vec<usize> = part.blocks().take(self.blocks_ahead()).collect();
        blocks.announce(&self.digests_of(&first)?);
        Ok(())
    }

    fn digests_of(&self, numbers: &[usize]) -> Result<Vec<Digest>, DocumentError> {
        let digest = |&number: &usize| {
            self.blocks.get(number).copied().ok_or_else(|| {
                DocumentError::malformed("the part is of another array", format!("block {number}"))
            })
        };
        numbers.iter().map(digest).collect()
    }

    /// Cuts the part in these ranges into parts of at most `bytes` bytes (one element at least) that follow each other
    /// in C order, so that their bytes one after the other are those of the part. Where it can be so they end where
    /// bricks end, so that going through them reads each brick once.
    ///
    /// # Errors
    /// Those of [`blocks_of`](Self::blocks_of).
    pub fn windows(&self, ranges: &[Range<u64>], bytes: u64) -> Result<Vec<Vec<Range<u64>>>, DocumentError> {
        self.check("an array")?;
        let mut ranges = self.all_ranges(ranges)?;
        let whole = ranges.iter().zip(&self.shape).all(|(range, &extent)| *range == (0..extent));
        let mut windows = Vec::new();
        match self.element_type.size() {
            None if !whole => return Err(DocumentError::unsupported("a part of an array of strings", PART)),
            None => windows.push(ranges),
            Some(_) if ranges.iter().any(Range::is_empty) => {}
            Some(size) => {
                let thick = match &self.layout {
                    Layout::Linear { .. } => vec![1; ranges.len()],
                    Layout::Bricks { extents } => extents.clone(),
                };
                cut_windows(&mut ranges, 0, &thick, size as u64, bytes, &mut windows);
            }
        }
        Ok(windows)
    }
}

/// Cuts along a dimension; those before it have one index.
fn cut_windows(
    ranges: &mut Vec<Range<u64>>,
    axis: usize,
    thick: &[u64],
    size: u64,
    bytes: u64,
    windows: &mut Vec<Vec<Range<u64>>>,
) {
    let row = ranges.iter().skip(axis + 1).fold(size, |product, range| product * (range.end - range.start));
    let Some(all) = ranges.get(axis).cloned() else { return windows.push(ranges.clone()) };
    if row * (all.end - all.start) <= bytes {
        return windows.push(ranges.clone());
    }
    if row > bytes {
        for index in all.clone() {
            ranges[axis] = index..index + 1;
            cut_windows(ranges, axis + 1, thick, size, bytes, windows);
        }
    } else {
        let most = bytes / row;
        let mut start = all.start;
        while start < all.end {
            let begin = start / thick[axis] * thick[axis];
            // Up to the last end of bricks that fits, or within a brick if none does.
            let aligned = (start + most) / thick[axis] * thick[axis];
            let end = if aligned > start { aligned } else { (start + most).min(begin + thick[axis]) };
            let end = end.min(all.end);
            ranges[axis] = start..end;
            windows.push(ranges.clone());
            start = end;
        }
    }
    ranges[axis] = all;
}

impl Runs {
    /// Where the run of this number begins in the array.
    fn begin(&self, run: u64) -> u64 {
        let (mut rest, mut begin) = (run, self.first);
        for (count, stride) in self.steps.iter().rev() {
            begin += rest % count * stride;
            rest /= count;
        }
        begin
    }

    /// Copies what a block holds of the runs; `runs` of them make the part.
    fn place(&self, block: u64, content: &[u8], output: &mut [u8], runs: u64) {
        let start = block * self.block_bytes;
        let end = start + content.len() as u64;
        // Runs ascend: the first one that ends behind the block's beginning.
        let (mut run, mut beyond) = (0, runs);
        while run < beyond {
            let middle = run.midpoint(beyond);
            if self.begin(middle) + self.run_bytes > start {
                beyond = middle;
            } else {
                run = middle + 1;
            }
        }
        while run < runs {
            let begin = self.begin(run);
            if begin >= end {
                break;
            }
            let (from, to) = (begin.max(start), (begin + self.run_bytes).min(end));
            let source = &content[(from - start) as usize..(to - start) as usize];
            let at = (run * self.run_bytes + from - begin) as usize;
            output[at..at + source.len()].copy_from_slice(source);
            run += 1;
        }
    }
}

impl Part {
    /// The part's bytes in C order of the part, as places in blocks. In one line blocks come in ascending order, and
    /// ranges that touch within a block are one; in bricks each range is of one row of a brick.
    pub fn ranges(&self) -> Ranges<'_> {
        Ranges { part: self, at: 0 }
    }

    /// The numbers of the blocks that the part touches, ascending, each once.
    pub fn blocks(&self) -> impl Iterator<Item = usize> + '_ {
        let mut last = None;
        let in_line = matches!(self.cut, Cut::Linear(_)).then(|| {
            self.ranges().map(|range| range.block).filter(move |&block| last.replace(block) != Some(block))
        });
        let in_bricks = match &self.cut {
            Cut::Bricks { grid, ranges } if self.byte_length > 0 => Some(touched(grid, ranges)),
            _ => None,
        };
        in_line.into_iter().flatten().chain(in_bricks.into_iter().flatten())
    }

    /// Copies what a block holds of the part to its places in the part's bytes, which are in C order.
    ///
    /// # Errors
    /// `Malformed` if the block has another length than the layout says or the output another than the part.
    pub fn place(&self, block: usize, content: &[u8], output: &mut [u8]) -> Result<(), DocumentError> {
        let wrong = |what: &'static str| DocumentError::malformed(what, format!("block {block}"));
        if output.len() as u64 != self.byte_length {
            return Err(wrong("the bytes of the part have another length"));
        }
        let found = content.len() as u64;
        let short = || wrong("a block has the wrong length");
        match &self.cut {
            Cut::Linear(runs) => {
                let start = runs.block_bytes.saturating_mul(block as u64);
                if start >= runs.array_bytes || found != runs.block_bytes.min(runs.array_bytes - start) {
                    return Err(short());
                }
                if let Some(count) = self.byte_length.checked_div(runs.run_bytes) {
                    runs.place(block as u64, content, output, count);
                }
            }
            Cut::Bricks { grid, ranges } => {
                if block as u64 >= grid.number() || found != grid.length(block as u64) {
                    return Err(short());
                }
                let indices = grid.indices(block as u64);
                let lows = indices.iter().zip(ranges).map(|(brick, part)| brick.start.max(part.start));
                let lows: Vec<u64> = lows.collect();
                let highs = indices.iter().zip(ranges).map(|(brick, part)| brick.end.min(part.end));
                let extents: Vec<u64> =
                    highs.zip(&lows).map(|(high, &low)| high.saturating_sub(low)).collect();
                if extents.contains(&0) {
                    return Ok(());
                }
                let first_of = |within: &[Range<u64>]| -> Vec<u64> {
                    lows.iter().zip(within).map(|(low, range)| low - range.start).collect()
                };
                let shape: Vec<u64> = indices.iter().map(|range| range.end - range.start).collect();
                let (from, to) = (first_of(&indices), first_of(ranges));
                BoxCopy::new(
                    &extents,
                    grid.size as usize,
                    Place { shape: &shape, first: &from },
                    Place { shape: &self.shape, first: &to },
                )
                .copy(content, output);
            }
        }
        Ok(())
    }

    /// The other way round: fills `block` (cleared first) with a block's bytes from those of the part, which are in C
    /// order; answers whether the part has all of them.
    pub fn take(&self, number: usize, part: &[u8], block: &mut Vec<u8>) -> bool {
        block.clear();
        let Cut::Bricks { grid, ranges } = &self.cut else { return self.take_from_runs(number, part, block) };
        if part.len() as u64 != self.byte_length || number as u64 >= grid.number() {
            return false;
        }
        let indices = grid.indices(number as u64);
        if indices.iter().zip(ranges).any(|(brick, part)| brick.start < part.start || brick.end > part.end) {
            return false;
        }
        let extents: Vec<u64> = indices.iter().map(|range| range.end - range.start).collect();
        let first: Vec<u64> =
            indices.iter().zip(ranges).map(|(brick, part)| brick.start - part.start).collect();
        block.resize(grid.length(number as u64) as usize, 0);
        let to = vec![0; extents.len()];
        BoxCopy::new(
            &extents,
            grid.size as usize,
            Place { shape: &self.shape, first: &first },
            Place { shape: &extents, first: &to },
        )
        .copy(part, block);
        true
    }

    fn take_from_runs(&self, number: usize, part: &[u8], block: &mut Vec<u8>) -> bool {
        let Cut::Linear(runs) = &self.cut else { return false };
        let start = runs.block_bytes.saturating_mul(number as u64);
        let end = runs.array_bytes.min(start.saturating_add(runs.block_bytes));
        if start >= end || runs.run_bytes == 0 || part.len() as u64 != self.byte_length {
            return false;
        }
        // The last run that begins before the block or with it.
        let (mut run, mut beyond) = (0, self.byte_length / runs.run_bytes);
        while beyond - run > 1 {
            let middle = run.midpoint(beyond);
            if runs.begin(middle) <= start {
                run = middle;
            } else {
                beyond = middle;
            }
        }
        let begin = runs.begin(run);
        if begin > start || begin + runs.run_bytes < end {
            return false;
        }
        let at = run * runs.run_bytes + start - begin;
        block.extend_from_slice(&part[at as usize..(at + end - start) as usize]);
        true
    }

    /// The run of bytes at this place of the part.
    fn locate(&self, at: u64) -> BlockRange {
        match &self.cut {
            Cut::Linear(runs) => {
                let begin = runs.begin(at / runs.run_bytes);
                let (start, end) = (begin + at % runs.run_bytes, begin + runs.run_bytes);
                let block = start / runs.block_bytes;
                let first = block * runs.block_bytes;
                let end = end.min(first + runs.block_bytes);
                BlockRange { block: block as usize, bytes: start - first..end - first }
            }
            Cut::Bricks { grid, ranges } => {
                let (mut rest, mut block, mut blocks) = (at / grid.size, 0, 1);
                let (mut start, mut stride, mut length) = (0, grid.size, 0);
                for axis in (0..ranges.len()).rev() {
                    let index = ranges[axis].start + rest % self.shape[axis];
                    rest /= self.shape[axis];
                    let (brick, thick) = (index / grid.extents[axis], grid.extents[axis]);
                    let end = grid.shape[axis].min((brick + 1) * thick);
                    block += brick * blocks;
                    blocks *= grid.counts[axis];
                    start += (index - brick * thick) * stride;
                    stride *= end - brick * thick;
                    if axis + 1 == ranges.len() {
                        length = (end.min(ranges[axis].end) - index) * grid.size;
                    }
                }
                BlockRange { block: block as usize, bytes: start..start + length }
            }
        }
    }
}

/// The numbers of the bricks that these ranges touch, ascending.
fn touched<'p>(grid: &'p BrickGrid, ranges: &'p [Range<u64>]) -> impl Iterator<Item = usize> + 'p {
    // Along each dimension: the first brick, and how many.
    let along: Vec<(u64, u64)> = ranges
        .iter()
        .zip(&grid.extents)
        .map(|(range, thick)| {
            let first = range.start / thick;
            (first, range.end.div_ceil(*thick) - first)
        })
        .collect();
    let number: u64 = along.iter().map(|(_, count)| count).product();
    (0..number).map(move |place| {
        let (mut rest, mut brick, mut bricks) = (place, 0, 1);
        for ((first, count), all) in along.iter().zip(&grid.counts).rev() {
            brick += (first + rest % count) * bricks;
            rest /= count;
            bricks *= all;
        }
        brick as usize
    })
}

/// Iterates over [`Part::ranges`].
#[derive(Clone, Debug)]
pub struct Ranges<'p> {
    part: &'p Part,
    /// How much of the part has been handed out.
    at: u64,
}

impl Iterator for Ranges<'_> {
    type Item = BlockRange;

    fn next(&mut self) -> Option<BlockRange> {
        if self.at >= self.part.byte_length {
            return None;
        }
        let range = self.part.locate(self.at);
        self.at += range.bytes.end - range.bytes.start;
        Some(range)
    }
}
