//! How an array's bytes are cut into blocks: in one line, or in bricks.
//!
//! **In one line**: C order, cut every so many bytes. What a client describes from its memory is cut so, since nothing
//! has to be moved for it; and equal beginnings of arrays are equal blocks. A plane along the leading dimension is one
//! run of bytes, but a plane across the last dimension has an element in every row, so that it touches every block.
//!
//! **In bricks**: boxes of indices, each a block. A plane touches the bricks that it cuts through, one layer of them
//! whichever way it lies. Large arrays of results are cut so; [`brick_extents`] says how large bricks are, and why.
//!
//! An array's digest is of its bytes in C order whatever the layout, so an array is the same array in both.

use std::ops::Range;

use crate::descriptor::element_count;
use crate::{ArrayDescriptor, ElementType};

/// Bytes of a brick, at most.
///
/// A plane reads whole bricks, so smaller ones are better for planes; a descriptor names each of them, a database or
/// folder keeps each, so larger ones are better for everything else. With this a gibibyte is nine thousand bricks
/// (300 kB of digests) rather than a thousand blocks, and the planes of a cube of that size touch between 2.5 and
/// 7.2 % of it.
pub const BRICK_BYTES: u64 = 128 << 10;

/// Bytes of a slab of bricks, at most: whoever needs an array in C order (a file, a digest of the whole) has to hold
/// one layer of bricks across the leading dimension at once. [`brick_extents`] makes bricks so thin that a layer has
/// no more bytes than this.
pub const SLAB_BYTES: u64 = 64 << 20;

/// Arrays from this length on are cut into bricks: below, every plane is a few blocks in any case.
pub const BRICKS_FROM: u64 = 16 << 20;

/// How an array's bytes are cut into blocks.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Layout {
    /// C order, cut every `block_bytes` bytes; the last block may be shorter.
    Linear {
        /// Bytes per block, a multiple of 16 so that no number is cut in two.
        block_bytes: u64,
    },
    /// Boxes of indices, in C order of the boxes; the elements within each are in C order, too. Boxes at the upper
    /// end of a dimension end with the array.
    Bricks {
        /// Extent of a box along each dimension: one at least, and no more than the array has.
        extents: Vec<u64>,
    },
}

/// The extents of the bricks that a result's array of this type and shape is cut into; `None` if it is better left
/// in one line: if it is shorter than [`BRICKS_FROM`], is longer than one along fewer than three dimensions, or holds
/// texts.
///
/// The dimensions of what tidy3d records are x, y, z, then frequency, time or the number of a mode. A plane across a
/// dimension reads as many times its own bytes as bricks are thick along that dimension, so extents are chosen by
/// what is selected most often:
///
/// - A brick has one element along each dimension after the third, as long as others fill it: one frequency of a
///   hundred reads a hundredth.
/// - It is a third as thick along z as along x and y: structures lie in layers along z, so the x-y plane is looked at
///   most, and it was the worst in one line.
/// - The layer across the leading dimension has at most [`SLAB_BYTES`], which bounds what makes a file of the array.
///
/// Within that, bricks are as large as [`BRICK_BYTES`] allows, and are made a little smaller where that avoids thin
/// ones at the upper end. The result depends on nothing else, so equal arrays are cut into equal bricks.
pub fn brick_extents(element_type: ElementType, shape: &[u64]) -> Option<Vec<u64>> {
    let size = element_type.size()? as u64;
    let length = element_count(shape)?.checked_mul(size)?;
    if length < BRICKS_FROM || shape.iter().filter(|&&extent| extent > 1).count() < 3 {
        return None;
    }
    let most = most(size, shape, length);
    // Along each dimension: how much thicker a brick would be along x.
    let weight = |axis: usize| match axis {
        0 | 1 => 1,
        2 => 3,
        _ => 64,
    };
    let extents = |thickness: u64| {
        let along = |(axis, &most): (usize, &u64)| (thickness / weight(axis)).clamp(1, most);
        most.iter().enumerate().map(along).collect::<Vec<u64>>()
    };
    let fits = |thickness: u64| {
        extents(thickness).iter().fold(size, |product, &extent| product.saturating_mul(extent)) <= BRICK_BYTES
    };
    // The largest thickness that fits; one always does, and the brick grows with it.
    let (mut fitting, mut beyond) = (1, BRICK_BYTES.saturating_mul(64));
    while beyond - fitting > 1 {
        let middle = fitting.midpoint(beyond);
        if fits(middle) {
            fitting = middle;
        } else {
            beyond = middle;
        }
    }
    let balanced = |(&extent, thick): (&u64, u64)| extent.div_ceil(extent.div_ceil(thick));
    Some(shape.iter().zip(&extents(fitting)).map(|(extent, &thick)| balanced((extent, thick))).collect())
}

/// The largest extents with which a layer has at most [`SLAB_BYTES`].
fn most(size: u64, shape: &[u64], length: u64) -> Vec<u64> {
    let mut row = length;
    let mut open = true;
    shape
        .iter()
        .map(|&extent| {
            row /= extent;
            if !open {
                return extent;
            }
            // As soon as one place along this dimension fits, those within it are free.
            open = row > SLAB_BYTES;
            (SLAB_BYTES / row.max(size)).clamp(1, extent)
        })
        .collect()
}

/// Bricks as they lie in an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrickGrid {
    pub(crate) shape: Vec<u64>,
    pub(crate) extents: Vec<u64>,
    /// Bricks along each dimension.
    pub(crate) counts: Vec<u64>,
    /// Bytes per element.
    pub(crate) size: u64,
}

impl BrickGrid {
    /// The bricks of an array; fails if it cannot be cut so.
    pub(crate) fn new(
        element_type: ElementType,
        shape: &[u64],
        extents: &[u64],
    ) -> Result<Self, &'static str> {
        let Some(size) = element_type.size() else { return Err("texts are not cut into bricks") };
        if extents.is_empty() || extents.len() != shape.len() {
            return Err("a brick has not as many dimensions as the array");
        }
        if extents.iter().zip(shape).any(|(&thick, &extent)| thick == 0 || thick > extent) {
            return Err("a brick is empty or larger than the array");
        }
        let counts: Vec<u64> =
            shape.iter().zip(extents).map(|(extent, &thick)| extent.div_ceil(thick)).collect();
        // No more bricks than elements, and those have to fit; neither is zero.
        if element_count(shape).is_none() {
            return Err("the shape overflows");
        }
        Ok(Self { shape: shape.to_vec(), extents: extents.to_vec(), counts, size: size as u64 })
    }

    /// How many bricks there are.
    pub(crate) fn number(&self) -> u64 {
        self.counts.iter().product()
    }

    /// The indices of a brick.
    pub(crate) fn indices(&self, brick: u64) -> Vec<Range<u64>> {
        let mut ranges = vec![0..0; self.counts.len()];
        let mut rest = brick;
        for axis in (0..self.counts.len()).rev() {
            let start = rest % self.counts[axis] * self.extents[axis];
            rest /= self.counts[axis];
            ranges[axis] = start..self.shape[axis].min(start + self.extents[axis]);
        }
        ranges
    }

    /// Bytes of a brick.
    pub(crate) fn length(&self, brick: u64) -> u64 {
        self.size * self.indices(brick).iter().map(|range| range.end - range.start).product::<u64>()
    }

    /// The dimension across which a slab lies: bricks have one element along those before it, so the slab's bytes
    /// are one run in C order.
    pub(crate) fn slab_axis(&self) -> usize {
        let thick = self.extents.iter().position(|&extent| extent > 1);
        thick.unwrap_or(self.extents.len() - 1)
    }
}

impl ArrayDescriptor {
    /// Bytes of the longest block.
    pub fn block_bytes(&self) -> u64 {
        match &self.layout {
            Layout::Linear { block_bytes } => *block_bytes,
            Layout::Bricks { extents } => {
                let size = self.element_type.size().unwrap_or(1) as u64;
                extents.iter().fold(size, |product, &extent| product.saturating_mul(extent))
            }
        }
    }

    /// Bytes of the block of this number; of an array that agrees with itself ([`check`](Self::check)).
    pub fn block_length(&self, block: usize) -> u64 {
        match &self.layout {
            Layout::Linear { block_bytes } => {
                let start = block_bytes.saturating_mul(block as u64).min(self.byte_length);
                (*block_bytes).min(self.byte_length - start)
            }
            Layout::Bricks { extents } => BrickGrid::new(self.element_type, &self.shape, extents)
                .ok()
                .filter(|grid| (block as u64) < grid.number())
                .map_or(0, |grid| grid.length(block as u64)),
        }
    }

    /// Whether blocks are cut from the array's bytes in C order, so that each lies in them as it is.
    pub const fn is_linear(&self) -> bool {
        matches!(self.layout, Layout::Linear { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of an array's bytes that the plane across each dimension touches, at most, in parts of a thousand.
    fn shares(element_type: ElementType, shape: &[u64]) -> Vec<u64> {
        let extents = brick_extents(element_type, shape).unwrap();
        extents.iter().zip(shape).map(|(thick, extent)| (1000 * thick).div_ceil(*extent)).collect()
    }

    #[test]
    fn planes_of_large_arrays_touch_little() {
        assert_eq!(brick_extents(ElementType::Float64, &[512; 3]), Some(vec![32, 37, 13]));
        for (element_type, extent) in
            [(ElementType::Float64, 500), (ElementType::Float32, 645), (ElementType::Complex128, 400)]
        {
            let shares = shares(element_type, &[extent; 3]);
            assert!(shares[2] <= 27 && shares[0] <= 70 && shares[1] <= 80, "{shares:?}");
        }
        // One frequency or time is read alone.
        for shape in [[200, 200, 100, 50], [300, 300, 1, 400], [60, 60, 60, 500]] {
            assert_eq!(brick_extents(ElementType::Complex128, &shape).unwrap()[3], 1, "{shape:?}");
        }
        // Where there is nothing else to fill a brick with, it has many of them.
        assert!(brick_extents(ElementType::Complex128, &[2, 2, 2, 1 << 20]).unwrap()[3] > 500);
    }

    #[test]
    fn small_flat_and_textual_arrays_stay_in_one_line() {
        for shape in
            [&[100, 100, 100][..], &[1 << 24], &[1 << 20, 4], &[1 << 12, 1, 1 << 12], &[0, 9, 9], &[]]
        {
            assert_eq!(brick_extents(ElementType::Float64, shape), None, "{shape:?}");
        }
        assert_eq!(brick_extents(ElementType::Text, &[1000; 3]), None);
        assert_eq!(brick_extents(ElementType::Float64, &[u64::MAX; 3]), None);
    }

    #[test]
    fn bricks_and_slabs_are_bounded_and_none_is_a_sliver() {
        let extents = [1, 2, 3, 17, 100, 513, 4096];
        for x in extents {
            for (y, z) in extents.into_iter().flat_map(|y| extents.map(|z| (y, z))) {
                for f in [1, 5, 700] {
                    let shape = [x, y, z, f];
                    let Some(bricks) = brick_extents(ElementType::Complex128, &shape) else { continue };
                    let grid = BrickGrid::new(ElementType::Complex128, &shape, &bricks).unwrap();
                    assert!(grid.length(0) <= BRICK_BYTES);
                    let axis = grid.slab_axis();
                    let slab = 16 * bricks[axis] * shape[axis + 1..].iter().product::<u64>();
                    assert!(slab <= SLAB_BYTES.max(BRICK_BYTES), "{shape:?} {bricks:?}");
                    let last = grid.indices(grid.number() - 1);
                    for ((range, thick), count) in last.iter().zip(&bricks).zip(&grid.counts) {
                        assert!(thick - (range.end - range.start) < *count, "{shape:?} {bricks:?}");
                    }
                }
            }
        }
    }
}
