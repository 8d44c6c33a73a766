//! Chunked datasets, read a band of chunks at a time.
//!
//! The client writes none, but h5py users do, and the client loads them, so results and uploads
//! that went through other hands may have them. The index is a version 1 B-tree; filters are
//! deflate, shuffle and Fletcher's checksum.

use std::io::Read;

use super::header::{Dataset, Filter};
use super::source::{Fields, Reader, place};
use crate::error::within;
use crate::{DocumentError, Limits};

const LEVELS: u8 = 32;
/// Memory of one entry of the index, roughly.
const ENTRY_BYTES: u64 = 64;

/// A stored chunk: its number in C order of the grid of chunks, and where its bytes are.
#[derive(Clone, Copy)]
struct Chunk {
    number: u64,
    address: u64,
    stored: u32,
    /// Filters that were skipped for it, by bit.
    skipped: u32,
}

/// The geometry of the chunks of a dataset.
struct Grid<'d> {
    shape: &'d [u64],
    chunk: &'d [u64],
    /// Chunks along each dimension.
    counts: Vec<u64>,
    element: u64,
}

/// Hands over the stored bytes of all elements in C order, band by band.
pub(super) fn read(
    reader: &Reader<'_>,
    dataset: &Dataset,
    tree: Option<u64>,
    chunk: &[u64],
    filters: &[Filter],
    limits: &Limits,
    take: &mut dyn FnMut(&[u8]) -> Result<(), DocumentError>,
) -> Result<(), DocumentError> {
    let element = dataset.coding.stored_bytes();
    let counts: Vec<u64> =
        dataset.shape.iter().zip(chunk).map(|(extent, chunk)| extent.div_ceil(*chunk)).collect();
    let grid = Grid { shape: &dataset.shape, chunk, counts, element };
    // One band of chunks in memory, and one chunk beside it. Both products are of extents that were
    // checked not to overflow, but chunks may be larger than the dataset.
    let row = product(&dataset.shape[1..]).saturating_mul(element);
    let band_bytes = row.saturating_mul(chunk[0].min(dataset.shape[0]));
    let chunk_bytes = product(chunk).saturating_mul(element);
    within("working_bytes", limits.working_bytes, band_bytes.saturating_add(chunk_bytes))?;
    within("working_bytes", limits.working_bytes, product(&grid.counts).saturating_mul(ENTRY_BYTES))?;
    let chunks = match tree {
        Some(tree) => index(reader, tree, &grid)?,
        None => Vec::new(),
    };
    let per_band = product(&grid.counts[1..]);
    let mut rest = chunks.as_slice();
    for band in 0..grid.counts[0] {
        let rows = chunk[0].min(dataset.shape[0] - band * chunk[0]);
        let mut bytes = blank(&dataset.fill, row * rows);
        let (here, later) = rest.split_at(rest.partition_point(|chunk| chunk.number / per_band == band));
        rest = later;
        for chunk in here {
            let elements = load(reader, chunk, filters, element, chunk_bytes, limits)?;
            grid.place(chunk.number % per_band, rows, &elements, &mut bytes);
        }
        take(&bytes)?;
    }
    Ok(())
}

/// Bytes of elements that were never written.
pub(super) fn blank(fill: &[u8], length: u64) -> Vec<u8> {
    if fill.iter().all(|&byte| byte == 0) {
        return vec![0; length as usize];
    }
    fill.iter().copied().cycle().take(length as usize).collect()
}

fn product(extents: &[u64]) -> u64 {
    extents.iter().fold(1, |product, &extent| product.saturating_mul(extent))
}

/// Lists the chunks by number.
fn index(reader: &Reader<'_>, tree: u64, grid: &Grid<'_>) -> Result<Vec<Chunk>, DocumentError> {
    let what = "a B-tree of chunks";
    let rank = grid.shape.len();
    let most = product(&grid.counts);
    let root = reader.small::<8>(tree, what)?[5];
    if root >= LEVELS {
        return Err(DocumentError::malformed("a B-tree of chunks is too deep", place(tree)));
    }
    let mut chunks = Vec::new();
    let mut nodes = vec![(tree, root)];
    while let Some((address, level)) = nodes.pop() {
        let head = reader.small::<24>(address, what)?;
        let mut fields = Fields::new(&head, what, address);
        fields.signature(b"TREE\x01")?;
        if fields.u8()? != level {
            return fields.malformed("has a node of the wrong level");
        }
        let count = fields.u16()?;
        let entry = 8 + 8 * (rank as u64 + 1) + 8;
        let body = reader.bytes(address + 24, u64::from(count) * entry, what)?;
        let mut fields = Fields::new(&body, what, address);
        for _ in 0..count {
            let (stored, skipped) = (fields.u32()?, fields.u32()?);
            let mut number = 0;
            let mut inside = true;
            for axis in 0..rank {
                let offset = fields.u64()?;
                inside &= offset < grid.shape[axis] && offset.is_multiple_of(grid.chunk[axis]);
                number = if inside { number * grid.counts[axis] + offset / grid.chunk[axis] } else { 0 };
            }
            fields.u64()?;
            let address = fields.u64()?;
            if level > 0 {
                nodes.push((address, level - 1));
                continue;
            }
            if !inside {
                return fields.malformed("has a chunk outside its dataset");
            }
            if chunks.len() as u64 >= most {
                return fields.malformed("has more chunks than its dataset");
            }
            chunks.push(Chunk { number, address, stored, skipped });
        }
    }
    chunks.sort_unstable_by_key(|chunk| chunk.number);
    if chunks.windows(2).any(|pair| pair[0].number == pair[1].number) {
        return Err(DocumentError::malformed("a B-tree of chunks has one chunk twice", place(tree)));
    }
    Ok(chunks)
}

/// Reads a chunk and undoes its filters; the result has exactly the bytes of a chunk.
fn load(
    reader: &Reader<'_>,
    chunk: &Chunk,
    filters: &[Filter],
    element: u64,
    chunk_bytes: u64,
    limits: &Limits,
) -> Result<Vec<u8>, DocumentError> {
    within("working_bytes", limits.working_bytes, u64::from(chunk.stored))?;
    let damaged = |what: &'static str| Err(DocumentError::malformed(what, place(chunk.address)));
    let mut bytes = reader.bytes(chunk.address, u64::from(chunk.stored), "a chunk")?;
    // No step of undoing may exceed a chunk and the checksums that are still on it.
    let most = chunk_bytes + 4 * filters.len() as u64;
    for (position, filter) in filters.iter().enumerate().rev() {
        if chunk.skipped >> position & 1 != 0 {
            continue;
        }
        match filter {
            Filter::Deflate => {
                let mut inflated = Vec::new();
                let mut decoder = flate2::read::ZlibDecoder::new(bytes.as_slice()).take(most + 1);
                if decoder.read_to_end(&mut inflated).is_err() || inflated.len() as u64 > most {
                    return damaged("a deflated chunk is damaged");
                }
                bytes = inflated;
            }
            Filter::Shuffle => bytes = unshuffle(&bytes, element as usize),
            Filter::Fletcher32 => {
                let Some((data, sum)) = bytes.split_last_chunk::<4>() else {
                    return damaged("a chunk has no checksum");
                };
                if fletcher32(data) != u32::from_le_bytes(*sum) {
                    return damaged("a chunk's checksum is wrong");
                }
                bytes.truncate(bytes.len() - 4);
            }
        }
    }
    if bytes.len() as u64 != chunk_bytes {
        return damaged("a chunk has the wrong size");
    }
    Ok(bytes)
}

/// Undoes the shuffle filter: first bytes of all elements, then second bytes, …; a remainder that
/// is no whole element was left where it was.
fn unshuffle(bytes: &[u8], element: usize) -> Vec<u8> {
    let count = bytes.len() / element;
    let mut output = vec![0; bytes.len()];
    for place in 0..element {
        let from = &bytes[place * count..(place + 1) * count];
        for (&byte, to) in from.iter().zip(output.iter_mut().skip(place).step_by(element)) {
            *to = byte;
        }
    }
    output[count * element..].copy_from_slice(&bytes[count * element..]);
    output
}

/// The checksum of the Fletcher32 filter: 16-bit big-endian words, sums folded to 16 bits.
fn fletcher32(bytes: &[u8]) -> u32 {
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    let (mut first, mut second) = (0_u32, 0_u32);
    // 360 words is the most that cannot overflow 32 bits.
    for part in bytes.chunks(720) {
        for word in part.chunks(2) {
            first += u32::from(word[0]) << 8 | word.get(1).map_or(0, |&byte| u32::from(byte));
            second += first;
        }
        first = fold(first);
        second = fold(second);
    }
    fold(second) << 16 | fold(first)
}

impl Grid<'_> {
    /// Copies a chunk, by its number within the band, to its place among the band's rows.
    fn place(&self, number: u64, rows: u64, elements: &[u8], band: &mut [u8]) {
        let rank = self.shape.len();
        // Where the chunk begins, and how much of it lies inside the dataset, along each dimension.
        let mut start = vec![0; rank];
        let mut rest = number;
        for axis in (1..rank).rev() {
            start[axis] = rest % self.counts[axis] * self.chunk[axis];
            rest /= self.counts[axis];
        }
        let inside: Vec<u64> = (0..rank)
            .map(|axis| if axis == 0 { rows } else { self.chunk[axis].min(self.shape[axis] - start[axis]) })
            .collect();
        let last = rank - 1;
        let run = (inside[last] * self.element) as usize;
        let mut at = vec![0; rank];
        loop {
            let (mut from, mut to) = (0, 0);
            for axis in 0..rank {
                let extent = if axis == 0 { rows } else { self.shape[axis] };
                from = from * self.chunk[axis] + at[axis];
                to = to * extent + start[axis] + at[axis];
            }
            let (from, to) = ((from * self.element) as usize, (to * self.element) as usize);
            band[to..to + run].copy_from_slice(&elements[from..from + run]);
            // The next run: count up all dimensions but the last.
            let mut axis = last;
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                at[axis] += 1;
                if at[axis] < inside[axis] {
                    break;
                }
                at[axis] = 0;
            }
        }
    }
}
