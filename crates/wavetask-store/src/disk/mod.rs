//! Blocks as files on a local disk.
//!
//! One file per block, named by its digest, in 256 directories by the first byte. A block is written under a
//! temporary name in `incoming/` on the same file system, synced, renamed into place, and the directory is
//! synced: what is visible under its final name is whole. Renaming is what makes it visible, so a crash
//! leaves a block or nothing, and what is left in `incoming/` is removed at the next start.
//!
//! Syncs are what costs, so a session does them all at once ([`BlockSession::make_durable`]): first all
//! files, by several threads, so that the file system's journal can combine them, then the renames, then
//! each directory once.
//!
//! A block that another session has renamed but whose directory is not synced yet is visible and not
//! durable. A session that finds one there syncs that directory too, so that "it was there already" means as
//! much as "I wrote it". After a crash of the process the same doubt hangs over everything that is visible,
//! so opening a store syncs all directories once.

mod collect;
mod session;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wavetask_document::{BlockSource, Digest};

use crate::block_store::{BlockReferences, BlockSession, BlockStore, Candidates, Collected, Usage};
use crate::error::{Result, StoreError};
use crate::faults::{DiskOperation, Faults};
use crate::folder::{DataFolder, check_free_space, create_private_directory, sync_directory};

/// Number of locks that pins are spread over.
const SHARDS: usize = 64;

/// A block longer than this cannot be one of ours: it is not read into memory.
const MAXIMUM_BLOCK: u64 = 1 << 30;

/// Blocks on a local disk. Clones share everything.
#[derive(Clone, Debug)]
pub struct DiskBlockStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    incoming: PathBuf,
    shards: Vec<Mutex<Shard>>,
    reserve: u64,
    next_name: AtomicU64,
    abandoned: Mutex<Abandoned>,
    faults: Faults,
    _folder: DataFolder,
}

#[derive(Debug, Default)]
struct Shard {
    /// Blocks that sessions hold.
    pins: HashMap<Digest, Pin>,
    /// Blocks whose name in their directory may not be durable yet.
    unsynced: HashSet<Digest>,
}

#[derive(Debug, Default)]
struct Pin {
    sessions: u32,
    /// Where the bytes are as long as they are not in place.
    temporary: Option<PathBuf>,
}

/// Blocks that nobody may ever have needed.
#[derive(Debug)]
enum Abandoned {
    /// Nothing is known yet.
    Any,
    /// At most these.
    Blocks(HashSet<Digest>),
}

impl DiskBlockStore {
    /// Opens the blocks of a data folder. Writes fail with `NoSpace` when less than `reserve` bytes would be
    /// left on the disk.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(folder: &DataFolder, reserve: u64, faults: Faults) -> Result<Self> {
        let root = folder.blocks_path();
        let incoming = root.join("incoming");
        create_private_directory(&incoming)?;
        let prepared = prepare(&root, &incoming);
        prepared.map_err(|error| StoreError::from_io("open the folder of blocks", error))?;
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let next_name = AtomicU64::new(0);
        let abandoned = Mutex::new(Abandoned::Any);
        let _folder = folder.clone();
        let inner = Inner { root, incoming, shards, reserve, next_name, abandoned, faults, _folder };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// Removes what a crash left, makes the directories, and makes all that is visible durable.
fn prepare(root: &Path, incoming: &Path) -> io::Result<()> {
    for entry in fs::read_dir(incoming)? {
        fs::remove_file(entry?.path())?;
    }
    for byte in 0..=u8::MAX {
        let directory = root.join(format!("{byte:02x}"));
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    // Costs nothing for a directory that has not changed since it was last synced.
    for byte in 0..=u8::MAX {
        sync_directory(&root.join(format!("{byte:02x}")))?;
    }
    sync_directory(root)?;
    if let Some(parent) = root.parent() {
        sync_directory(parent)?;
    }
    Ok(())
}

impl Inner {
    fn shard(&self, digest: &Digest) -> MutexGuard<'_, Shard> {
        let index = usize::from(digest.as_bytes()[0]) % SHARDS;
        // A panic between two statements leaves at worst a pin too many: nothing that could lose a block.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self, digest: &Digest) -> PathBuf {
        self.root.join(format!("{:02x}", digest.as_bytes()[0]))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory(digest).join(digest.to_string())
    }

    fn temporary_path(&self) -> PathBuf {
        self.incoming.join(format!("{:x}", self.next_name.fetch_add(1, Ordering::Relaxed)))
    }

    fn abandon(&self, blocks: impl IntoIterator<Item = Digest>) {
        let mut abandoned = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Abandoned::Blocks(known) = &mut *abandoned {
            known.extend(blocks);
        }
    }

    fn check_space(&self, byte_length: u64) -> io::Result<()> {
        check_free_space(&self.root, byte_length, self.reserve)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.faults.check(DiskOperation::SyncDirectory, path)?;
        sync_directory(path)
    }

    /// Opens a block's file, in place or, if a session has just handed it over, where it is for now.
    fn open(&self, digest: &Digest) -> io::Result<File> {
        let path = self.path(digest);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let temporary = self.shard(digest).pins.get(digest).and_then(|pin| pin.temporary.clone());
        match temporary.map(File::open) {
            Some(Ok(file)) => Ok(file),
            // It may have been put in place between the two looks.
            _ => File::open(&path),
        }
    }
}

impl BlockSource for DiskBlockStore {
    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        let mut file = self.inner.open(digest)?;
        let length = file.metadata()?.len();
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("the block {digest} is damaged"));
        let room = usize::try_from(length).ok().filter(|_| length <= MAXIMUM_BLOCK).ok_or_else(damaged)?;
        buffer.reserve_exact(room);
        file.read_to_end(buffer)?;
        if Digest::of(buffer) != *digest {
            buffer.clear();
            return Err(damaged());
        }
        Ok(())
    }
}

impl BlockStore for DiskBlockStore {
    fn session(&self) -> Box<dyn BlockSession> {
        Box::new(session::DiskSession::new(Arc::clone(&self.inner)))
    }

    fn contains(&self, digest: &Digest) -> Result<bool> {
        // The lock orders this after a rename and before its sync, or after both.
        let shard = self.inner.shard(digest);
        if shard.unsynced.contains(digest) {
            return Ok(false);
        }
        self.inner.path(digest).try_exists().map_err(|error| StoreError::from_io("look for a block", error))
    }

    fn collect_garbage(
        &self,
        candidates: Candidates<'_>,
        references: &dyn BlockReferences,
    ) -> Result<Collected> {
        collect::collect(&self.inner, candidates, references)
    }

    fn usage(&self) -> Result<Usage> {
        collect::usage(&self.inner)
    }

    fn check_space(&self, byte_length: u64) -> Result<()> {
        self.inner.check_space(byte_length).map_err(|error| StoreError::from_io("store blocks", error))
    }
}
