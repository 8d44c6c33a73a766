//! Blocks that are kept in memory for those who will ask for them again in a moment.
//!
//! A file of an array in bricks is asked for in ranges of a few megabytes, by several requests at once, and every range
//! touches a whole layer of bricks; planes beside each other are in the same bricks. Each brick is read and compared
//! with its digest once and kept for as long as there is room and it is used.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wavetask_document::{BlockSource, Digest, SLAB_BYTES};

/// Bytes that are kept at most: a client that fetches a file takes ten ranges of eight megabytes at once, which lie in
/// two slabs, or three.
const BYTES: u64 = 4 * SLAB_BYTES;

/// Locks that they are spread over. A block is read under its lock, so that nobody else reads it meanwhile.
const SHARDS: usize = 32;

/// How long a block is kept that nobody asks for.
const UNUSED: Duration = Duration::from_secs(60);

/// The blocks.
#[derive(Debug)]
pub(crate) struct KeptBlocks {
    shards: [Mutex<Shard>; SHARDS],
    /// Bytes that a shard keeps.
    each: usize,
}

#[derive(Debug, Default)]
struct Shard {
    blocks: HashMap<Digest, Kept>,
    bytes: usize,
    /// Counts looks, so that the block that was not looked at for longest goes first.
    looks: u64,
}

#[derive(Debug)]
struct Kept {
    bytes: Arc<Vec<u8>>,
    look: u64,
    at: Instant,
}

impl Default for KeptBlocks {
    fn default() -> Self {
        Self::new(BYTES)
    }
}

impl KeptBlocks {
    fn new(bytes: u64) -> Self {
        Self { shards: Default::default(), each: usize::try_from(bytes).unwrap_or(usize::MAX) / SHARDS }
    }

    /// Blocks of this source, of which those that are [looked](BlockSource::look) at are kept.
    pub(crate) fn over<'k>(&'k self, source: &'k dyn BlockSource) -> Keeping<'k> {
        Keeping { kept: self, source }
    }

    /// Forgets what nobody has asked for lately.
    pub(crate) fn forget_unused(&self) {
        for shard in &self.shards {
            lock(shard).retain(|kept| kept.at.elapsed() < UNUSED);
        }
    }

    fn shard(&self, digest: &Digest) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(digest.as_bytes()[1]) % SHARDS])
    }

    fn look(&self, digest: &Digest, source: &dyn BlockSource) -> io::Result<Arc<Vec<u8>>> {
        let mut shard = self.shard(digest);
        shard.looks += 1;
        let look = shard.looks;
        if let Some(kept) = shard.blocks.get_mut(digest) {
            kept.look = look;
            kept.at = Instant::now();
            return Ok(Arc::clone(&kept.bytes));
        }
        let mut bytes = Vec::new();
        source.get(digest, &mut bytes)?;
        let bytes = Arc::new(bytes);
        if bytes.len() <= self.each {
            shard.bytes += bytes.len();
            while shard.bytes > self.each {
                let Some(oldest) = shard.blocks.values().map(|kept| kept.look).min() else { break };
                shard.retain(|kept| kept.look != oldest);
            }
            let kept = Kept { bytes: Arc::clone(&bytes), look, at: Instant::now() };
            shard.blocks.insert(*digest, kept);
        }
        Ok(bytes)
    }
}

impl Shard {
    fn retain(&mut self, keep: impl Fn(&Kept) -> bool) {
        let bytes = &mut self.bytes;
        self.blocks.retain(|_, kept| {
            let stays = keep(kept);
            if !stays {
                *bytes -= kept.bytes.len();
            }
            stays
        });
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // A source that panics has changed nothing.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A source, and what is kept of it.
pub(crate) struct Keeping<'k> {
    kept: &'k KeptBlocks,
    source: &'k dyn BlockSource,
}

impl BlockSource for Keeping<'_> {
    fn announce(&self, digests: &[Digest]) {
        let is_kept = |digest: &Digest| self.kept.shard(digest).blocks.contains_key(digest);
        let lacking: Vec<Digest> = digests.iter().filter(|digest| !is_kept(digest)).copied().collect();
        self.source.announce(&lacking);
    }

    /// Those who copy a block go through an array once: it is not kept.
    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.source.get(digest, buffer)
    }

    fn look(&self, digest: &Digest, _: &mut Vec<u8>, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        take(&self.kept.look(digest, self.source)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Blocks whose bytes are their digest, and how often they were read.
    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl BlockSource for Counted {
        fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::SeqCst);
            if digest.as_bytes()[0] == 255 {
                return Err(io::ErrorKind::NotFound.into());
            }
            buffer.clear();
            buffer.extend_from_slice(digest.as_bytes());
            Ok(())
        }
    }

    fn digest(first: u8, shard: u8) -> Digest {
        let mut bytes = [0; 32];
        bytes[0] = first;
        bytes[1] = shard;
        Digest::from_bytes(bytes)
    }

    #[test]
    fn what_was_looked_at_last_is_kept_within_bounds() {
        // Three blocks in each shard.
        let kept = KeptBlocks::new(3 * 32 * SHARDS as u64);
        let source = Counted::default();
        let over = kept.over(&source);
        let look = |number: u8| {
            let before = source.0.load(Ordering::SeqCst);
            let mut seen = Vec::new();
            over.look(&digest(number, 7), &mut Vec::new(), &mut |bytes| seen.extend_from_slice(bytes))
                .unwrap();
            assert_eq!(seen, digest(number, 7).as_bytes());
            source.0.load(Ordering::SeqCst) > before
        };
        assert_eq!([1, 2, 3, 1, 2, 3].map(look), [true, true, true, false, false, false]);
        assert_eq!([1, 4].map(look), [false, true], "the fourth takes the place of the second");
        assert_eq!([1, 3, 4, 2].map(look), [false, false, false, true]);
        assert_eq!(lock(&kept.shards[7]).bytes, 96);
        assert!(over.look(&digest(255, 0), &mut Vec::new(), &mut |_| {}).is_err());
        let mut buffer = Vec::new();
        over.get(&digest(9, 7), &mut buffer).unwrap();
        assert!(look(9), "what is copied is not kept");
        kept.forget_unused();
        assert!(!look(9));
    }

    #[test]
    fn several_at_once_read_a_block_once() {
        let (kept, source) = (KeptBlocks::default(), Counted::default());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for number in 0..100 {
                        let over = kept.over(&source);
                        over.look(&digest(number, number), &mut Vec::new(), &mut |_| {}).unwrap();
                    }
                });
            }
        });
        assert_eq!(source.0.load(Ordering::SeqCst), 100);
    }
}
