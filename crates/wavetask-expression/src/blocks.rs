//! Blocks that were read a moment ago are not read again.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use wavetask_document::{BlockSource, Digest};

/// Blocks from another source, of which the last ones are kept, with a count of the bytes that were read.
///
/// A plane across a large array touches the same blocks in many short runs.
#[derive(Debug)]
pub struct RecentBlocks<S> {
    source: S,
    /// Bytes that are kept at most; one block is kept in any case.
    capacity: usize,
    kept: Mutex<VecDeque<(Digest, Arc<[u8]>)>>,
    bytes_read: AtomicU64,
}

impl<S: BlockSource> RecentBlocks<S> {
    /// Blocks from this source, of which at most so many bytes are kept.
    pub fn new(source: S, capacity: usize) -> Self {
        Self { source, capacity, kept: Mutex::default(), bytes_read: AtomicU64::new(0) }
    }

    /// Bytes that were read from the source so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }
}

impl<S: BlockSource> BlockSource for RecentBlocks<S> {
    fn announce(&self, digests: &[Digest]) {
        let lacking: Vec<Digest> = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let is_kept = |digest: &Digest| kept.iter().any(|(other, _)| other == digest);
            digests.iter().filter(|digest| !is_kept(digest)).copied().collect()
        };
        self.source.announce(&lacking);
    }

    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()> {
        let found = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.iter().position(|(other, _)| other == digest).and_then(|place| {
                let block = kept.remove(place)?;
                let bytes = block.1.clone();
                kept.push_back(block);
                Some(bytes)
            })
        };
        if let Some(bytes) = found {
            buffer.clear();
            buffer.extend_from_slice(&bytes);
            return Ok(());
        }
        self.source.get(digest, buffer)?;
        self.bytes_read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((*digest, buffer.as_slice().into()));
        let mut held: usize = kept.iter().map(|(_, bytes)| bytes.len()).sum();
        while held > self.capacity && kept.len() > 1 {
            held -= kept.pop_front().map_or(0, |(_, bytes)| bytes.len());
        }
        Ok(())
    }
}
