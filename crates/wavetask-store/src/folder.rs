//! The data folder: one directory that holds everything, used by one server at a time.
//!
//! ```text
//! DATA/                        owner only (0700)
//!   lock                       locked by the server that uses the folder; holds its process id
//!   wavetask.db                tasks, events, accounts (SQLite; with -wal and -shm while in use)
//!   blocks/0 … f/<digest>      blocks, by the first digit of their digest
//!   blocks/small.db            small blocks
//!   blocks/incoming/           blocks that are being written; emptied at every start
//! ```
//!
//! The server keeps its keys, its address and the uploads that wait for validation here too; the store does not
//! touch them.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Result, StoreError};

/// A data folder, locked by this process until the last clone is gone.
#[derive(Clone, Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: Arc<File>,
}

impl DataFolder {
    /// Opens the folder, made if need be, and locks it.
    ///
    /// # Errors
    /// `FolderInUse` if another process has it.
    pub fn open(path: &Path) -> Result<Self> {
        create_private_directory(path)?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|error| StoreError::from_io("open the lock of the data folder", error))?;
        if !try_lock_for(&lock, LOCK_PATIENCE)
            .map_err(|error| StoreError::from_io("lock the data folder", error))?
        {
            let mut text = String::new();
            let process = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(StoreError::FolderInUse { folder: path.to_owned(), process });
        }
        // For people and for the message above only: what counts is the lock. A full disk is no reason to
        // refuse to start.
        let _ = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self { path: path.to_owned(), _lock: Arc::new(lock) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database is.
    pub fn database_path(&self) -> PathBuf {
        self.path.join("wavetask.db")
    }

    /// Where the blocks are.
    pub fn blocks_path(&self) -> PathBuf {
        self.path.join("blocks")
    }
}

/// How long a lock is waited for. One that has just been let go may seem to be held for a moment, by a
/// process that is dying or by a child that has not begun its program yet.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

fn try_lock_for(lock: &File, patience: Duration) -> io::Result<bool> {
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if begun.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Makes a directory that only its owner can enter; one that is there already is closed to others.
pub(crate) fn create_private_directory(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| StoreError::from_io("create a directory of the data folder", error))?;
    let permissions = fs::metadata(path).map(|metadata| metadata.permissions());
    let closed = permissions.and_then(|mut permissions| {
        if permissions.mode() & 0o077 == 0 {
            return Ok(());
        }
        permissions.set_mode(0o700);
        fs::set_permissions(path, permissions)
    });
    closed.map_err(|error| StoreError::from_io("close the data folder to other users", error))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Free space below which nothing big is written any more, unless an operator sets another: enough for the
/// database to write down what happened to many thousands of tasks.
pub const DEFAULT_RESERVE: u64 = 256 << 20;

/// Number of bytes that this user may still write to the file system of `path`.
///
/// # Errors
/// What the system says.
pub fn free_space(path: &Path) -> io::Result<u64> {
    let status = rustix::fs::statvfs(path)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Refuses if less than `needed` bytes and the reserve are free.
pub(crate) fn check_free_space(path: &Path, needed: u64, reserve: u64) -> io::Result<()> {
    let free = free_space(path)?;
    if free < needed.saturating_add(reserve) {
        let message = format!(
            "{} MB are free in {}, of which {} MB are kept back for the database",
            free / 1_000_000,
            path.display(),
            reserve / 1_000_000
        );
        return Err(io::Error::new(io::ErrorKind::StorageFull, message));
    }
    Ok(())
}
