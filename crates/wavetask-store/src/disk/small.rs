//! Small blocks, in a SQLite database of their own.
//!
//! A task has a dozen arrays of a few kilobytes (coordinates, mostly). As files, each would cost two syncs, of
//! itself and of its directory, at milliseconds each; here all of a session cost one. A commit is visible
//! when it is durable, so nothing that is found here needs another sync.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use wavetask_document::Digest;

use crate::connections::{Readers, open_writer};
use crate::error::StoreError;
use crate::faults::{DiskOperation, Faults};
use crate::sqlite::{fault::store_error, lock};

/// Blocks up to this length are kept here.
pub(super) const MAXIMUM_SMALL: usize = 64 << 10;

pub(super) struct SmallBlocks {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Readers,
}

impl std::fmt::Debug for SmallBlocks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SmallBlocks").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SmallBlocks {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error| store_error("open the database of small blocks", error);
        let connection = open_writer(path).map_err(failed)?;
        connection
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS blocks (digest BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT",
            )
            .map_err(failed)?;
        let (path, readers) = (path.to_owned(), Readers::new(path.to_owned()));
        Ok(Self { path, writer: Mutex::new(connection), readers })
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> io::Result<T> {
        let mut reader = self.readers.take().map_err(into_io)?;
        work(reader.connection_mut()).map_err(into_io)
    }

    /// Reads a block; answers whether it is here.
    pub(super) fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<bool> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT bytes FROM blocks WHERE digest = ?1")?;
            let found = statement.query_row([digest.as_bytes()], |row| {
                buffer.extend_from_slice(row.get_ref(0)?.as_blob()?);
                Ok(())
            });
            Ok(found.optional()?.is_some())
        })
    }

    /// The length of a block, if it is here.
    pub(super) fn length(&self, digest: &Digest) -> io::Result<Option<u64>> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT length(bytes) FROM blocks WHERE digest = ?1")?;
            let length: Option<i64> =
                statement.query_row([digest.as_bytes()], |row| row.get(0)).optional()?;
            Ok(length.map(i64::unsigned_abs))
        })
    }

    /// Stores blocks durably.
    pub(super) fn insert(&self, blocks: &[(Digest, Arc<[u8]>)], faults: &Faults) -> io::Result<()> {
        faults.check(DiskOperation::Write, &self.path)?;
        let mut writer = lock(&self.writer);
        let transaction =
            writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(into_io)?;
        {
            let mut statement = transaction
                .prepare_cached("INSERT OR REPLACE INTO blocks (digest, bytes) VALUES (?1, ?2)")
                .map_err(into_io)?;
            for (digest, bytes) in blocks {
                statement.execute(params![digest.as_bytes(), &**bytes]).map_err(into_io)?;
            }
        }
        faults.check(DiskOperation::SyncFile, &self.path)?;
        transaction.commit().map_err(into_io)
    }

    /// Removes a block; answers with its length, if it was here.
    pub(super) fn remove(&self, digest: &Digest, faults: &Faults) -> io::Result<Option<u64>> {
        let Some(length) = self.length(digest)? else { return Ok(None) };
        faults.check(DiskOperation::Remove, &self.path)?;
        let writer = lock(&self.writer);
        // A removal that is lost with the power is only garbage again.
        let removed = writer
            .pragma_update(None, "synchronous", "NORMAL")
            .and_then(|()| writer.prepare_cached("DELETE FROM blocks WHERE digest = ?1"))
            .and_then(|mut statement| statement.execute([digest.as_bytes()]));
        writer.pragma_update(None, "synchronous", "FULL").map_err(into_io)?;
        Ok((removed.map_err(into_io)? > 0).then_some(length))
    }

    /// Gives some of the room of removed blocks back to the file system.
    pub(super) fn shrink(&self) -> io::Result<()> {
        lock(&self.writer).execute_batch("PRAGMA incremental_vacuum(2000)").map_err(into_io)
    }

    /// All blocks and their lengths.
    pub(super) fn list(&self) -> io::Result<Vec<(Digest, u64)>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT digest, length(bytes) FROM blocks")?;
            let rows = statement.query_map([], |row| {
                Ok((Digest::from_bytes(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs()))
            })?;
            rows.collect()
        })
    }
}

/// The groups of the store's errors, as the kinds that [`StoreError::from_io`] groups the same way again.
fn into_io(error: rusqlite::Error) -> io::Error {
    let error = store_error("use the database of small blocks", error);
    let kind = match error {
        StoreError::NoSpace { .. } => io::ErrorKind::StorageFull,
        StoreError::Damaged { .. } => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
