//! Tasks in one SQLite file.
//!
//! One connection writes, one transaction at a time, behind a mutex: SQLite allows one writer anyway, and
//! waiting in our own queue is fair where waiting for SQLite's lock is a matter of luck. Those who wait share a
//! commit ([`writer`]). A few more connections read; in write-ahead mode they see the last commit and neither wait
//! nor make wait.
//!
//! # What survives what
//! A transaction that changes a task is committed with `synchronous=FULL`: when the method returns, it
//! survives a loss of power. Heartbeats are committed with `synchronous=NORMAL`, without waiting for the disk:
//! they survive the death of the process; what a loss of power takes is at most the lease renewals, progress
//! and log lines since the last other transaction, whose sync takes all before it to the disk too. After such
//! a loss [`TaskStore::recover`] renews all leases, so nothing depends on them.
//!
//! # A full disk
//! A transaction that finds no room is rolled back whole and reported as `NoSpace`. Lease renewals go on in
//! memory meanwhile, so that running tasks are not taken from workers that are well.

mod accounts;
mod arrivals;
mod batches;
mod callbacks;
mod care;
mod change;
mod documents;
mod events;
pub(crate) mod fault;
mod operations;
mod schema;
mod selection;
mod store;
mod tasks;
mod values;
mod workers;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use rusqlite::Connection;
use wavetask_core::{Policy, Timestamp};
use wavetask_protocol::{LeaseId, TaskId};

use self::change::Change;
use self::fault::{Fault, Outcome};
use self::writer::{Durability, Writer};
use crate::connections::{self, Readers};
use crate::error::Result;
use crate::folder::DataFolder;
use crate::model::{EventListener, LoggedEvent};

/// Tasks in a SQLite database.
pub struct SqliteTaskStore {
    path: PathBuf,
    policy: Policy,
    writer: Writer,
    readers: Readers,
    listeners: Mutex<Vec<Weak<dyn EventListener>>>,
    /// Leases that were renewed while the disk was full.
    renewed_in_memory: Mutex<HashMap<LeaseId, Timestamp>>,
    _folder: DataFolder,
}

impl fmt::Debug for SqliteTaskStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SqliteTaskStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteTaskStore {
    /// Opens the database of a data folder, made or brought to this version if need be.
    ///
    /// # Errors
    /// `TooNew`, `NoSpace`, `Damaged`, and what the disk says.
    pub fn open(folder: &DataFolder, policy: Policy) -> Result<Self> {
        let path = folder.database_path();
        let failed = |error| fault::store_error("open the database", error);
        let mut connection = connections::open_writer(&path).map_err(failed)?;
        schema::migrate(&mut connection)?;
        Ok(Self {
            readers: Readers::new(path.clone()),
            path,
            policy,
            writer: Writer::new(connection),
            listeners: Mutex::default(),
            renewed_in_memory: Mutex::default(),
            _folder: folder.clone(),
        })
    }

    /// The rules that tasks follow here.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Does some work in one transaction. If it fails, nothing has happened.
    fn change<T>(
        &self,
        durability: Durability,
        now: Timestamp,
        work: impl FnOnce(&mut Change<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        let tell = |events: &[LoggedEvent], progressed: &[TaskId]| self.tell(events, progressed);
        self.writer.change(&self.policy, durability, now, work, tell)
    }

    /// Does some work in one durable transaction that is not about tasks.
    fn write<T>(&self, action: &'static str, work: impl FnOnce(&Connection) -> Outcome<T>) -> Result<T> {
        self.change(Durability::Full, Timestamp::default(), |change| work(change.connection))
            .map_err(|fault| fault.into_store_error(action))
    }

    /// Reads, all of it from the same commit.
    fn read<T>(&self, action: &'static str, work: impl FnOnce(&Connection) -> Outcome<T>) -> Result<T> {
        let read = || {
            let mut connection = self.readers.take()?;
            let transaction = connection.connection_mut().transaction()?;
            let value = work(&transaction)?;
            transaction.finish()?;
            Ok(value)
        };
        read().map_err(|fault: Fault| fault.into_store_error(action))
    }

    fn tell(&self, events: &[LoggedEvent], progressed: &[TaskId]) {
        if events.is_empty() && progressed.is_empty() {
            return;
        }
        lock(&self.listeners).retain(|listener| {
            let Some(listener) = listener.upgrade() else { return false };
            if !events.is_empty() {
                listener.committed(events);
            }
            if !progressed.is_empty() {
                listener.progressed(progressed);
            }
            true
        });
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
