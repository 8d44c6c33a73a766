//! Writing blocks.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wavetask_document::{BlockSink, Digest};

use super::small::MAXIMUM_SMALL;
use super::{Inner, Temporary};
use crate::block_store::{BlockSession, Usage};
use crate::error::{Result, StoreError};
use crate::faults::DiskOperation;

/// How many files are synced at the same time: more does not help a disk, fewer does not let the file
/// system's journal combine them.
const SYNC_THREADS: usize = 8;

/// How many bytes of small blocks a session gathers before it stores them.
const GATHER: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct DiskSession {
    inner: Arc<Inner>,
    /// Every block that this session pinned, and whether its bytes are known to be there.
    pins: HashMap<Digest, bool>,
    /// Blocks that are written and neither synced nor in place.
    pending: Vec<Pending>,
    /// Small blocks that are not stored yet.
    small: Vec<(Digest, Arc<[u8]>)>,
    small_bytes: usize,
    /// Blocks that others put in place and have not synced yet.
    unsynced: Vec<Digest>,
    /// Blocks that this session put in place.
    placed: Vec<Digest>,
    written: Usage,
    broken: bool,
}

#[derive(Debug)]
struct Pending {
    digest: Digest,
    temporary: PathBuf,
}

impl DiskSession {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            pins: HashMap::new(),
            pending: Vec::new(),
            small: Vec::new(),
            small_bytes: 0,
            unsynced: Vec::new(),
            placed: Vec::new(),
            written: Usage::default(),
            broken: false,
        }
    }

    /// Pins the block, then looks whether it is in place with this length (any, if none is given). The
    /// order matters: see the module documentation of the trait.
    fn pin_and_look(&mut self, digest: &Digest, length: Option<u64>) -> io::Result<bool> {
        let mut shard = self.inner.shard(digest);
        if !self.pins.contains_key(digest) {
            shard.pins.entry(*digest).or_default().sessions += 1;
            self.pins.insert(*digest, false);
        }
        let in_place = match self.inner.small.length(digest)? {
            Some(length) => Some(length),
            None => match fs::metadata(self.inner.path(digest)) {
                Ok(metadata) => Some(metadata.len()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            },
        };
        // One of another length is damaged: it is written anew.
        let found = in_place.is_some_and(|found| length.is_none_or(|length| found == length));
        if found {
            if shard.unsynced.contains(digest) {
                self.unsynced.push(*digest);
            }
            self.pins.insert(*digest, true);
        }
        Ok(found)
    }

    fn write(&self, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
        let faults = &self.inner.faults;
        faults.check(DiskOperation::Create, temporary)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
        faults.check(DiskOperation::Write, temporary)?;
        file.write_all(bytes)
    }

    /// Stores the small blocks that were gathered.
    fn store_small(&mut self) -> io::Result<()> {
        if self.small.is_empty() {
            return Ok(());
        }
        self.inner.small.insert(&self.small, &self.inner.faults)?;
        self.small_bytes = 0;
        for (digest, bytes) in std::mem::take(&mut self.small) {
            self.forget_temporary(&digest, |temporary| is_memory(temporary, &bytes));
            self.placed.push(digest);
        }
        Ok(())
    }

    /// The bytes are in place, or gone: they are no longer where they were, if that was ours.
    fn forget_temporary(&self, digest: &Digest, is_ours: impl FnOnce(&Temporary) -> bool) {
        if let Some(pin) = self.inner.shard(digest).pins.get_mut(digest)
            && pin.temporary.as_ref().is_some_and(is_ours)
        {
            pin.temporary = None;
        }
    }

    fn note_temporary(&self, digest: &Digest, temporary: Temporary) {
        if let Some(pin) = self.inner.shard(digest).pins.get_mut(digest) {
            pin.temporary.get_or_insert(temporary);
        }
    }

    fn place(&mut self) -> io::Result<()> {
        self.store_small()?;
        self.sync_files()?;
        let mut placed = std::mem::take(&mut self.unsynced);
        // If anything fails from here on, the session is broken: what is in place is whole and will be used
        // or collected, and the rest is removed with the session.
        while let Some(Pending { digest, temporary }) = self.pending.pop() {
            let path = self.inner.path(&digest);
            let mut shard = self.inner.shard(&digest);
            shard.unsynced.insert(digest);
            let renamed = self
                .inner
                .faults
                .check(DiskOperation::Rename, &path)
                .and_then(|()| fs::rename(&temporary, &path));
            if let Some(pin) = shard.pins.get_mut(&digest)
                && pin.temporary.as_ref().is_some_and(|known| is_file(known, &temporary))
            {
                pin.temporary = None;
            }
            drop(shard);
            if let Err(error) = renamed {
                let _ = fs::remove_file(&temporary);
                return Err(error);
            }
            placed.push(digest);
            self.placed.push(digest);
        }
        let directories: BTreeSet<_> = placed.iter().map(|digest| self.inner.directory(digest)).collect();
        let directories: Vec<_> = directories.into_iter().collect();
        in_parallel(&directories, |directory| self.inner.sync_directory(directory))?;
        for digest in placed {
            self.inner.shard(&digest).unsynced.remove(&digest);
        }
        Ok(())
    }

    fn sync_files(&self) -> io::Result<()> {
        let sync = |pending: &Pending| {
            self.inner.faults.check(DiskOperation::SyncFile, &pending.temporary)?;
            File::open(&pending.temporary)?.sync_data()
        };
        in_parallel(&self.pending, sync)
    }

    fn usable(&self) -> io::Result<()> {
        if self.broken { Err(io::Error::other("an earlier write of this session failed")) } else { Ok(()) }
    }
}

fn is_file(temporary: &Temporary, path: &Path) -> bool {
    matches!(temporary, Temporary::File(known) if known == path)
}

fn is_memory(temporary: &Temporary, bytes: &Arc<[u8]>) -> bool {
    matches!(temporary, Temporary::Memory(known) if Arc::ptr_eq(known, bytes))
}

/// Syncs several things at once, by threads of its own if there are more than two.
fn in_parallel<T: Sync>(things: &[T], sync: impl Fn(&T) -> io::Result<()> + Sync) -> io::Result<()> {
    if things.len() < 3 {
        return things.iter().try_for_each(sync);
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || {
            while let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed)) {
                sync(thing)?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..SYNC_THREADS.min(things.len())).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread that syncs panicked")))
        })
    })
}

impl BlockSink for DiskSession {
    fn put(&mut self, bytes: &[u8]) -> io::Result<Digest> {
        self.usable()?;
        let digest = Digest::of(bytes);
        if self.pins.get(&digest) == Some(&true) || self.pin_and_look(&digest, Some(bytes.len() as u64))? {
            return Ok(digest);
        }
        self.inner.check_space(bytes.len() as u64)?;
        self.written.blocks += 1;
        self.written.bytes += bytes.len() as u64;
        if bytes.len() <= MAXIMUM_SMALL {
            let bytes: Arc<[u8]> = bytes.into();
            self.note_temporary(&digest, Temporary::Memory(Arc::clone(&bytes)));
            self.small_bytes += bytes.len();
            self.small.push((digest, bytes));
            self.pins.insert(digest, true);
            // What a session gathers in memory is bounded, however many blocks it puts.
            if self.small_bytes > GATHER {
                self.store_small()?;
            }
            return Ok(digest);
        }
        let temporary = self.inner.temporary_path();
        if let Err(error) = self.write(&temporary, bytes) {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.note_temporary(&digest, Temporary::File(temporary.clone()));
        self.pending.push(Pending { digest, temporary });
        self.pins.insert(digest, true);
        Ok(digest)
    }
}

impl BlockSession for DiskSession {
    fn make_durable(&mut self) -> Result<()> {
        let done = self.usable().and_then(|()| self.place());
        done.map_err(|error| {
            self.broken = true;
            StoreError::from_io("make blocks durable", error)
        })
    }

    fn pin(&mut self, digest: &Digest) -> Result<bool> {
        if self.pins.get(digest) == Some(&true) {
            return Ok(true);
        }
        self.pin_and_look(digest, None).map_err(|error| StoreError::from_io("look for a block", error))
    }

    fn written(&self) -> Usage {
        self.written
    }
}

impl Drop for DiskSession {
    fn drop(&mut self) {
        for Pending { digest, temporary } in std::mem::take(&mut self.pending) {
            self.forget_temporary(&digest, |known| is_file(known, &temporary));
            let _ = fs::remove_file(&temporary);
        }
        for (digest, bytes) in std::mem::take(&mut self.small) {
            self.forget_temporary(&digest, |known| is_memory(known, &bytes));
        }
        for digest in self.pins.keys() {
            let mut shard = self.inner.shard(digest);
            if let Some(pin) = shard.pins.get_mut(digest) {
                pin.sessions -= 1;
                if pin.sessions == 0 {
                    shard.pins.remove(digest);
                }
            }
        }
        self.inner.abandon(self.placed.drain(..));
    }
}
