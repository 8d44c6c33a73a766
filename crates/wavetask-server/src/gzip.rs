//! A gzip layer that compresses nothing, any byte of which can be made without the bytes before it.
//!
//! The client unpacks what is called `.gz`, and asks for large files in parallel ranges. Stored blocks of
//! deflate have a fixed length, so a range of the layer follows from a range of the content; only the
//! check value at the end needs all of it once.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::OnceLock;

/// Content bytes per stored block, the most that deflate allows.
const BLOCK: u64 = 65_535;
/// Bytes before each block: the final flag, the length and its complement.
const BLOCK_HEAD: u64 = 5;
/// Magic, method (deflate), no flags, no time, no hints, system unknown.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// CRC-32 and length.
const TAIL: u64 = 8;

/// The layer around content of some length.
#[derive(Debug)]
pub(crate) struct StoredGzip {
    content: u64,
    crc32: OnceLock<u32>,
}

impl StoredGzip {
    pub(crate) fn new(content: u64) -> Self {
        Self { content, crc32: OnceLock::new() }
    }

    fn blocks(&self) -> u64 {
        self.content.div_ceil(BLOCK).max(1)
    }

    /// Length with the layer.
    pub(crate) fn length(&self) -> u64 {
        HEAD.len() as u64 + self.blocks() * BLOCK_HEAD + self.content + TAIL
    }

    /// Writes a range of the layered file. `write_content` writes a range of the content.
    pub(crate) fn write_range<E: From<io::Error>>(
        &self,
        range: Range<u64>,
        output: &mut dyn Write,
        mut write_content: impl FnMut(Range<u64>, &mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = range.end.min(self.length());
        let mut at = range.start;
        let head = HEAD.len() as u64;
        let stride = BLOCK + BLOCK_HEAD;
        let body_end = self.length() - TAIL;
        while at < end {
            if at < head {
                at += write_part(&HEAD, at, end, output)?;
            } else if at >= body_end {
                let crc32 = match self.crc32.get() {
                    Some(crc32) => *crc32,
                    None => {
                        let mut hasher = Crc(crc32fast::Hasher::new());
                        write_content(0..self.content, &mut hasher)?;
                        *self.crc32.get_or_init(|| hasher.0.finalize())
                    }
                };
                let mut tail = [0; TAIL as usize];
                tail[..4].copy_from_slice(&crc32.to_le_bytes());
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the length modulo 2^32, as the format wants"
                )]
                tail[4..].copy_from_slice(&(self.content as u32).to_le_bytes());
                at += write_part(&tail, at - body_end, end - body_end, output)?;
            } else {
                let block = (at - head) / stride;
                let within = (at - head) % stride;
                let start = block * BLOCK;
                let length = BLOCK.min(self.content - start);
                if within < BLOCK_HEAD {
                    #[expect(clippy::cast_possible_truncation, reason = "at most 65535")]
                    let length = length as u16;
                    let [low, high] = length.to_le_bytes();
                    let last = u8::from(block + 1 == self.blocks());
                    at += write_part(&[last, low, high, !low, !high], within, within + (end - at), output)?;
                } else {
                    let from = start + (within - BLOCK_HEAD);
                    let until = (start + length).min(from + (end - at));
                    write_content(from..until, output)?;
                    at += until - from;
                }
            }
        }
        Ok(())
    }
}

/// Writes the bytes `at..end` of a piece, and says how many that were.
fn write_part(piece: &[u8], at: u64, end: u64, output: &mut dyn Write) -> io::Result<u64> {
    let (Ok(at), end) = (usize::try_from(at), usize::try_from(end).unwrap_or(usize::MAX)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let part = &piece[at..end.min(piece.len())];
    output.write_all(part)?;
    Ok(part.len() as u64)
}

struct Crc(crc32fast::Hasher);

impl Write for Crc {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layered(content: &[u8], range: Range<u64>) -> Vec<u8> {
        let gzip = StoredGzip::new(content.len() as u64);
        let mut output = Vec::new();
        gzip.write_range(range, &mut output, |range, output| {
            output.write_all(
                &content[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()],
            )
        })
        .unwrap();
        output
    }

    #[test]
    fn every_length_unpacks_and_every_range_is_a_range_of_the_whole() {
        for length in [0_usize, 1, 9, 65_534, 65_535, 65_536, 200_000] {
            #[expect(clippy::cast_possible_truncation, reason = "any bytes will do")]
            let content: Vec<u8> = (0..length).map(|index| (index * 7 % 251) as u8).collect();
            let whole = layered(&content, 0..u64::MAX);
            assert_eq!(whole.len() as u64, StoredGzip::new(length as u64).length());
            let mut unpacked = Vec::new();
            let unpacking = wavetask_document::unpack::unpack(
                &mut &whole[..],
                &mut unpacked,
                &wavetask_document::Limits::default(),
            );
            // Content that is no HDF5 file is unpacked all the same.
            unpacking.unwrap();
            assert!(unpacked == content, "length {length}");
            let mut cuts = vec![0, 3, 10, 12, 15, 16, 65_549, 65_550, 65_551, 65_556, 131_090];
            cuts.extend([
                whole.len() as u64,
                whole.len().saturating_sub(4) as u64,
                whole.len().saturating_sub(8) as u64,
            ]);
            cuts.sort_unstable();
            cuts.retain(|cut| *cut <= whole.len() as u64);
            for pair in cuts.windows(2) {
                let part = layered(&content, pair[0]..pair[1]);
                assert!(
                    part == whole[usize::try_from(pair[0]).unwrap()..usize::try_from(pair[1]).unwrap()],
                    "{pair:?} of {length}"
                );
            }
        }
    }
}
