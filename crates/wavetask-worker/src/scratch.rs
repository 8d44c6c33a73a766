//! Blocks of one task, in a file without a name in its work folder: a solver reads its arrays from there
//! one at a time, so that an upload of many gigabytes never lies in memory as a whole.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use wavetask_document::{BlockSink, BlockSource, Digest};

/// Where a block lies in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    length: usize,
}

/// Blocks in a temporary file, which vanishes with this value.
#[derive(Debug)]
pub(crate) struct ScratchBlocks {
    file: File,
    length: u64,
    places: HashMap<Digest, Place>,
}

impl ScratchBlocks {
    /// An empty file in `folder`.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(folder)?, length: 0, places: HashMap::new() })
    }
}

impl BlockSink for ScratchBlocks {
    fn put(&mut self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        if !self.places.contains_key(&digest) {
            self.file.write_all(bytes)?;
            self.places.insert(digest, Place { offset: self.length, length: bytes.len() });
            self.length += bytes.len() as u64;
        }
        Ok(digest)
    }
}

impl BlockSource for ScratchBlocks {
    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()> {
        let place = self.places.get(digest).ok_or(io::ErrorKind::NotFound)?;
        buffer.clear();
        buffer.resize(place.length, 0);
        self.file.read_exact_at(buffer, place.offset)?;
        if Digest::of(buffer) == *digest { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_and_equal_ones_are_stored_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut blocks = ScratchBlocks::new(folder.path()).unwrap();
        let one = blocks.put(b"one").unwrap();
        let empty = blocks.put(b"").unwrap();
        let two = blocks.put(b"two!").unwrap();
        assert_eq!(blocks.put(b"one").unwrap(), one);
        assert_eq!(blocks.length, 7);
        let mut buffer = vec![1, 2, 3];
        for (digest, content) in [(two, &b"two!"[..]), (empty, b""), (one, b"one")] {
            blocks.get(&digest, &mut buffer).unwrap();
            assert_eq!(buffer, content);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
        let unknown = blocks.get(&Digest::of(b"three"), &mut buffer).unwrap_err();
        assert_eq!(unknown.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_damaged_block_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let mut blocks = ScratchBlocks::new(folder.path()).unwrap();
        let digest = blocks.put(b"content").unwrap();
        blocks.file.write_all_at(b"C", 0).unwrap();
        assert_eq!(blocks.get(&digest, &mut Vec::new()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
