//! Blocks as files on a local disk.
//!
//! One file per block, named by its digest, in 16 directories by its first digit; small blocks are gathered in
//! a database instead (`small.db`), because a file costs two syncs. A block is written under a
//! temporary name in `incoming/` on the same file system, synced, renamed into place, and the directory is
//! synced: what is visible under its final name is whole. Renaming is what makes it visible, so a crash
//! leaves a block or nothing, and what is left in `incoming/` is removed at the next start.
//!
//! Syncs are what costs, so a session does them all at once ([`BlockSession::make_durable`]): first all
//! files, by several threads, so that the file system's journal can combine them, then the renames, then
//! each directory once. Sixteen directories are few enough to sync and, with the hashed directories of
//! today's file systems, enough for millions of blocks.
//!
//! A block that another session has renamed but whose directory is not synced yet is visible and not
//! durable. A session that finds one there syncs that directory too, so that "it was there already" means as
//! much as "I wrote it". After a crash of the process the same doubt hangs over everything that is visible,
//! so opening a store syncs all directories once.

mod collect;
mod session;
mod small;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wavetask_document::{BlockSource, Digest};

use self::small::SmallBlocks;
use crate::block_store::{BlockReferences, BlockSession, BlockStore, Candidates, Collected, Usage};
use crate::error::{Result, StoreError};
use crate::faults::{DiskOperation, Faults};
use crate::folder::{DataFolder, check_free_space, create_private_directory, sync_directory};

/// Number of locks that pins are spread over.
const SHARDS: usize = 64;

/// The first digits of digests: each has a directory.
const DIGITS: std::ops::Range<u8> = 0..16;

/// A block longer than this cannot be one of ours: it is not read into memory.
const MAXIMUM_BLOCK: usize = 1 << 30;

/// Blocks on a local disk. Clones share everything.
#[derive(Clone, Debug)]
pub struct DiskBlockStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    incoming: PathBuf,
    small: SmallBlocks,
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
    temporary: Option<Temporary>,
}

/// Blocks that nobody may ever have needed.
#[derive(Debug)]
enum Abandoned {
    /// Nothing is known yet.
    Any,
    /// At most these.
    Blocks(HashSet<Digest>),
}

/// Where bytes are that are not in place yet.
#[derive(Clone, Debug)]
enum Temporary {
    File(PathBuf),
    Memory(Arc<[u8]>),
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
        let small = SmallBlocks::open(&root.join("small.db"))?;
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let next_name = AtomicU64::new(0);
        let abandoned = Mutex::new(Abandoned::Any);
        let _folder = folder.clone();
        let inner = Inner { root, incoming, small, shards, reserve, next_name, abandoned, faults, _folder };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// Removes what a crash left, makes the directories, and makes all that is visible durable.
fn prepare(root: &Path, incoming: &Path) -> io::Result<()> {
    for entry in fs::read_dir(incoming)? {
        fs::remove_file(entry?.path())?;
    }
    for digit in DIGITS {
        let directory = root.join(format!("{digit:x}"));
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    // Costs nothing for a directory that has not changed since it was last synced.
    for digit in DIGITS {
        sync_directory(&root.join(format!("{digit:x}")))?;
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
        self.root.join(format!("{:x}", digest.as_bytes()[0] >> 4))
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

    /// Reads a block into the empty buffer: from where it is kept, or, if a session has just handed it over,
    /// from where it is for now.
    fn read(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()> {
        if self.read_in_place(digest, buffer)? {
            return Ok(());
        }
        let temporary = self.shard(digest).pins.get(digest).and_then(|pin| pin.temporary.clone());
        match temporary {
            Some(Temporary::Memory(bytes)) => {
                buffer.extend_from_slice(&bytes);
                return Ok(());
            }
            Some(Temporary::File(path)) if read_file(&path, buffer)? => return Ok(()),
            _ => {}
        }
        // It may have been put in place between the two looks.
        if self.read_in_place(digest, buffer)? { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn read_in_place(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<bool> {
        Ok(self.small.get(digest, buffer)? || read_file(&self.path(digest), buffer)?)
    }
}

/// Reads a file into the empty buffer; answers whether there is one.
fn read_file(path: &Path, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    match usize::try_from(length) {
        Ok(length) if length <= MAXIMUM_BLOCK => buffer.reserve_exact(length),
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "a file is too long to be a block")),
    }
    file.read_to_end(buffer)?;
    Ok(true)
}

/// Asks the kernel to read a file into its cache; returns before it is there. What is wrong is seen when it is read.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn read_ahead(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::WillNeed);
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn read_ahead(_: &Path) {}

impl BlockSource for DiskBlockStore {
    fn announce(&self, digests: &[Digest]) {
        // One alone is read at once anyway. Small blocks have no files.
        if digests.len() > 1 {
            for digest in digests {
                read_ahead(&self.inner.path(digest));
            }
        }
    }

    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        self.inner.read(digest, buffer)?;
        if Digest::of(buffer) != *digest {
            buffer.clear();
            let message = format!("the block {digest} is damaged");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
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
        let found = self
            .inner
            .small
            .length(digest)
            .and_then(|length| Ok(length.is_some() || self.inner.path(digest).try_exists()?));
        found.map_err(|error| StoreError::from_io("look for a block", error))
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
