//! Writing blocks.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wavetask_document::{BlockSink, Digest};

use super::Inner;
use crate::block_store::{BlockSession, Usage};
use crate::error::{Result, StoreError};
use crate::faults::DiskOperation;

/// How many files are synced at the same time: more does not help a disk, fewer does not let the file
/// system's journal combine them.
const SYNC_THREADS: usize = 8;

#[derive(Debug)]
pub(super) struct DiskSession {
    inner: Arc<Inner>,
    /// Every block that this session pinned, and whether its bytes are known to be there.
    pins: HashMap<Digest, bool>,
    /// Blocks that are written and neither synced nor in place.
    pending: Vec<Pending>,
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
        let found = match fs::metadata(self.inner.path(digest)) {
            // A file of another length is damaged: it is written anew.
            Ok(metadata) => length.is_none_or(|length| metadata.len() == length),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
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

    fn place(&mut self) -> io::Result<()> {
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
                && pin.temporary.as_ref() == Some(&temporary)
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
        for directory in &directories {
            self.inner.sync_directory(directory)?;
        }
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
        if self.pending.len() < 3 {
            return self.pending.iter().try_for_each(sync);
        }
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let work = || {
                while let Some(pending) = self.pending.get(next.fetch_add(1, Ordering::Relaxed)) {
                    sync(pending)?;
                }
                Ok(())
            };
            let threads: Vec<_> =
                (0..SYNC_THREADS.min(self.pending.len())).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread that syncs files panicked")))
            })
        })
    }

    fn usable(&self) -> io::Result<()> {
        if self.broken { Err(io::Error::other("an earlier write of this session failed")) } else { Ok(()) }
    }
}

impl BlockSink for DiskSession {
    fn put(&mut self, bytes: &[u8]) -> io::Result<Digest> {
        self.usable()?;
        let digest = Digest::of(bytes);
        if self.pins.get(&digest) == Some(&true) || self.pin_and_look(&digest, Some(bytes.len() as u64))? {
            return Ok(digest);
        }
        self.inner.check_space(bytes.len() as u64)?;
        let temporary = self.inner.temporary_path();
        if let Err(error) = self.write(&temporary, bytes) {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        if let Some(pin) = self.inner.shard(&digest).pins.get_mut(&digest) {
            pin.temporary.get_or_insert_with(|| temporary.clone());
        }
        self.pending.push(Pending { digest, temporary });
        self.pins.insert(digest, true);
        self.written.blocks += 1;
        self.written.bytes += bytes.len() as u64;
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
            if let Some(pin) = self.inner.shard(&digest).pins.get_mut(&digest)
                && pin.temporary.as_ref() == Some(&temporary)
            {
                pin.temporary = None;
            }
            let _ = fs::remove_file(&temporary);
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
