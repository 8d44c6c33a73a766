//! What the protocol cannot keep, kept here: which of the server's tasks belong to which member, batches with tags
//! and parameters, and small simulations until they have been sent.
//!
//! SQLite in WAL mode. A submission is synced to the disk before anything of it leaves; what is written later is
//! safe from a killed process at once, and from a power cut a little later. That is enough: a step that was forgotten
//! is found out from the server (a creation by the token in the task's name) or repeated (everything else may be).
//!
//! Several processes may use one table. A task is driven by one of them: the one that *claims* it. A claim names a
//! file that its process holds locked, so the claim of a killed process ends with it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use wavetask_protocol::TaskId;
use wavetask_protocol::native::BatchSummary;

use super::row::TaskRow;
use crate::error::{ClientError, ErrorGroup};

const SCHEMA: &str = "
CREATE TABLE tasks (
    account  TEXT NOT NULL,
    id       TEXT NOT NULL,
    key      TEXT NOT NULL,
    final    INTEGER NOT NULL,
    claim    TEXT,
    wish     TEXT,
    body     TEXT NOT NULL,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX tasks_by_key ON tasks (account, key);
CREATE INDEX tasks_open ON tasks (account) WHERE final = 0;

CREATE TABLE contents (
    account  TEXT NOT NULL,
    id       TEXT NOT NULL,
    document TEXT NOT NULL,
    blocks   BLOB NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;

CREATE TABLE batches (
    account    TEXT NOT NULL,
    name       TEXT NOT NULL,
    id         TEXT NOT NULL,
    tags       TEXT NOT NULL,
    submission TEXT NOT NULL,
    complete   INTEGER NOT NULL,
    created    INTEGER NOT NULL,
    touched    INTEGER NOT NULL,
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
    account    TEXT NOT NULL,
    batch      TEXT NOT NULL,
    key        TEXT NOT NULL,
    position   INTEGER NOT NULL,
    task       TEXT NOT NULL,
    parameters TEXT NOT NULL,
    submission TEXT NOT NULL,
    PRIMARY KEY (account, batch, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_task ON members (account, task);
";

/// What somebody wants of a task that another process drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Start it if it is held.
    Start,
    /// Stop it.
    Cancel,
    /// Stop and delete it.
    Delete,
}

impl Wish {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Cancel => "cancel",
            Self::Delete => "delete",
        }
    }

    fn of(text: &str) -> Option<Self> {
        [Self::Start, Self::Cancel, Self::Delete].into_iter().find(|wish| wish.as_str() == text)
    }
}

/// A batch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BatchRow {
    pub(super) summary: BatchSummary,
    pub(super) touched: i64,
}

/// A member of a batch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MemberRow {
    pub(super) key: String,
    pub(super) position: u64,
    pub(super) task: TaskId,
    pub(super) parameters: BTreeMap<String, serde_json::Value>,
}

/// What a part of a submission changes.
#[derive(Debug)]
pub(super) struct Submission<'s> {
    pub(super) batch: &'s str,
    pub(super) id: String,
    pub(super) tags: &'s [String],
    pub(super) submission: &'s str,
    pub(super) complete: bool,
    pub(super) members: &'s [MemberRow],
    /// Rows, and whether they are new: those stay as they are if another process was faster.
    pub(super) rows: &'s [(TaskRow, bool)],
    /// Documents and blocks of small simulations.
    pub(super) contents: &'s [(TaskId, String, Vec<u8>)],
    pub(super) now: i64,
}

/// The table of one account at one server.
#[derive(Debug)]
pub(super) struct Table {
    connection: Mutex<Connection>,
    account: String,
    claims: PathBuf,
    /// Names this process among those that use the table.
    claim: String,
    /// Locked for as long as this lives.
    _lock: File,
}

impl Table {
    /// Opens or makes the table in a folder.
    pub(super) fn open(folder: &Path, account: &str) -> Result<Self, ClientError> {
        let claims = folder.join("plain-claims");
        std::fs::create_dir_all(&claims).map_err(broken)?;
        clear_claims(&claims);
        let claim = uuid::Uuid::new_v4().simple().to_string();
        let lock = File::create(claims.join(&claim)).map_err(broken)?;
        lock.lock().map_err(broken)?;
        let mut connection = Connection::open(folder.join("plain.db")).map_err(broken)?;
        connection.busy_timeout(Duration::from_secs(30)).map_err(broken)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
            .map_err(broken)?;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(broken)?;
        let version: i64 =
            transaction.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(broken)?;
        match version {
            0 => transaction.execute_batch(&format!("{SCHEMA} PRAGMA user_version = 1;")).map_err(broken)?,
            1 => {}
            _ => {
                return Err(ClientError::new(
                    ErrorGroup::Usage,
                    "plain.table_too_new",
                    "the client's table was written by a newer version of this program",
                )
                .hint("Update this program, or give it another data folder."));
            }
        }
        transaction.commit().map_err(broken)?;
        Ok(Self {
            connection: Mutex::new(connection),
            account: account.to_owned(),
            claims,
            claim,
            _lock: lock,
        })
    }

    fn connection(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tasks of these idempotency keys.
    pub(super) fn by_keys<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k str>,
    ) -> Result<HashMap<String, TaskRow>, ClientError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached("SELECT body FROM tasks WHERE account = ?1 AND key = ?2")
            .map_err(broken)?;
        let mut rows = HashMap::new();
        for key in keys {
            let body: Option<String> = statement
                .query_row(params![self.account, key], |row| row.get(0))
                .optional()
                .map_err(broken)?;
            if let Some(row) = body.map(|body| read(&body)).transpose()? {
                rows.insert(key.to_owned(), row);
            }
        }
        Ok(rows)
    }

    /// One task.
    pub(super) fn task(&self, id: &TaskId) -> Result<Option<TaskRow>, ClientError> {
        let body: Option<String> = self
            .connection()
            .prepare_cached("SELECT body FROM tasks WHERE account = ?1 AND id = ?2")
            .map_err(broken)?
            .query_row(params![self.account, id.as_str()], |row| row.get(0))
            .optional()
            .map_err(broken)?;
        body.map(|body| read(&body)).transpose()
    }

    /// All tasks, or only those that have not ended.
    pub(super) fn tasks(&self, open_only: bool) -> Result<Vec<TaskRow>, ClientError> {
        let connection = self.connection();
        let text = if open_only {
            "SELECT body FROM tasks WHERE account = ?1 AND final = 0"
        } else {
            "SELECT body FROM tasks WHERE account = ?1"
        };
        let mut statement = connection.prepare_cached(text).map_err(broken)?;
        let bodies = statement
            .query_map([&self.account], |row| row.get::<_, String>(0))
            .map_err(broken)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(broken)?;
        bodies.iter().map(|body| read(body)).collect()
    }

    /// Writes a part of a submission, durably, in one transaction.
    pub(super) fn submit(&self, part: &Submission<'_>) -> Result<(), ClientError> {
        let mut connection = self.connection();
        connection.execute_batch("PRAGMA synchronous = FULL").map_err(broken)?;
        let result = self.submit_in(&mut connection, part);
        connection.execute_batch("PRAGMA synchronous = NORMAL").map_err(broken)?;
        result
    }

    fn submit_in(&self, connection: &mut Connection, part: &Submission<'_>) -> Result<(), ClientError> {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(broken)?;
        let tags = serde_json::to_string(part.tags).map_err(broken)?;
        transaction
            .execute(
                "INSERT INTO batches (account, name, id, tags, submission, complete, created, touched)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
                 ON CONFLICT (account, name) DO UPDATE SET
                     tags = excluded.tags, submission = excluded.submission, complete = excluded.complete,
                     touched = excluded.touched",
                params![self.account, part.batch, part.id, tags, part.submission, part.complete, part.now],
            )
            .map_err(broken)?;
        for member in part.members {
            let parameters = serde_json::to_string(&member.parameters).map_err(broken)?;
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO members (account, batch, key, position, task, parameters, submission)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )
                .map_err(broken)?
                .execute(params![
                    self.account,
                    part.batch,
                    member.key,
                    i64::try_from(member.position).unwrap_or(i64::MAX),
                    member.task.as_str(),
                    parameters,
                    part.submission
                ])
                .map_err(broken)?;
        }
        if part.complete {
            transaction
                .execute(
                    "DELETE FROM members WHERE account = ?1 AND batch = ?2 AND submission <> ?3",
                    params![self.account, part.batch, part.submission],
                )
                .map_err(broken)?;
        }
        for (row, new) in part.rows {
            let body = serde_json::to_string(row).map_err(broken)?;
            let text = if *new {
                "INSERT INTO tasks (account, id, key, final, body) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (account, id) DO NOTHING"
            } else {
                "INSERT INTO tasks (account, id, key, final, body) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (account, id) DO UPDATE SET
                     final = excluded.final, body = excluded.body, wish = NULL"
            };
            transaction
                .prepare_cached(text)
                .map_err(broken)?
                .execute(params![self.account, row.id.as_str(), row.key, row.state.is_final(), body])
                .map_err(broken)?;
        }
        for (task, document, blocks) in part.contents {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO contents (account, id, document, blocks) VALUES (?1, ?2, ?3, ?4)",
                )
                .map_err(broken)?
                .execute(params![self.account, task.as_str(), document, blocks])
                .map_err(broken)?;
        }
        transaction.commit().map_err(broken)
    }

    /// Writes what has become of a task; the answer is what somebody wants of it.
    pub(super) fn save(&self, row: &TaskRow) -> Result<Option<Wish>, ClientError> {
        let body = serde_json::to_string(row).map_err(broken)?;
        let connection = self.connection();
        let wish: Option<Option<String>> = connection
            .prepare_cached(
                "UPDATE tasks SET final = ?3, body = ?4 WHERE account = ?1 AND id = ?2 RETURNING wish",
            )
            .map_err(broken)?
            .query_row(params![self.account, row.id.as_str(), row.state.is_final(), body], |row| row.get(0))
            .optional()
            .map_err(broken)?;
        if !row.needs_content() {
            connection
                .prepare_cached("DELETE FROM contents WHERE account = ?1 AND id = ?2")
                .map_err(broken)?
                .execute(params![self.account, row.id.as_str()])
                .map_err(broken)?;
        }
        Ok(wish.flatten().and_then(|wish| Wish::of(&wish)))
    }

    /// What somebody wants of a task.
    pub(super) fn wish(&self, id: &TaskId) -> Result<Option<Wish>, ClientError> {
        let wish: Option<Option<String>> = self
            .connection()
            .prepare_cached("SELECT wish FROM tasks WHERE account = ?1 AND id = ?2")
            .map_err(broken)?
            .query_row(params![self.account, id.as_str()], |row| row.get(0))
            .optional()
            .map_err(broken)?;
        Ok(wish.flatten().and_then(|wish| Wish::of(&wish)))
    }

    /// Tells whoever drives a task.
    pub(super) fn set_wish(&self, id: &TaskId, wish: Wish) -> Result<(), ClientError> {
        self.connection()
            .execute(
                "UPDATE tasks SET wish = ?3 WHERE account = ?1 AND id = ?2",
                params![self.account, id.as_str(), wish.as_str()],
            )
            .map(|_| ())
            .map_err(broken)
    }

    /// Forgets what somebody wanted of a task.
    pub(super) fn clear_wish(&self, id: &TaskId) -> Result<(), ClientError> {
        self.connection()
            .execute(
                "UPDATE tasks SET wish = NULL WHERE account = ?1 AND id = ?2",
                params![self.account, id.as_str()],
            )
            .map(|_| ())
            .map_err(broken)
    }

    /// A small simulation that waits to be sent: document and blocks.
    pub(super) fn content(&self, id: &TaskId) -> Result<Option<(String, Vec<u8>)>, ClientError> {
        self.connection()
            .query_row(
                "SELECT document, blocks FROM contents WHERE account = ?1 AND id = ?2",
                params![self.account, id.as_str()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
            .map_err(broken)
    }

    /// Whether this process may drive a task from now on: nobody did, or its driver is no more.
    pub(super) fn claim(&self, id: &TaskId) -> Result<bool, ClientError> {
        let mut connection = self.connection();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(broken)?;
        let holder: Option<Option<String>> = transaction
            .query_row(
                "SELECT claim FROM tasks WHERE account = ?1 AND id = ?2",
                params![self.account, id.as_str()],
                |row| row.get(0),
            )
            .optional()
            .map_err(broken)?;
        let free = match holder {
            None => false,
            Some(None) => true,
            Some(Some(holder)) => holder == self.claim || is_dead(&self.claims.join(holder)),
        };
        if free {
            transaction
                .execute(
                    "UPDATE tasks SET claim = ?3 WHERE account = ?1 AND id = ?2",
                    params![self.account, id.as_str(), self.claim],
                )
                .map_err(broken)?;
        }
        transaction.commit().map_err(broken)?;
        Ok(free)
    }

    /// Lets a task go.
    pub(super) fn release(&self, id: &TaskId) -> Result<(), ClientError> {
        self.connection()
            .execute(
                "UPDATE tasks SET claim = NULL WHERE account = ?1 AND id = ?2 AND claim = ?3",
                params![self.account, id.as_str(), self.claim],
            )
            .map(|_| ())
            .map_err(broken)
    }

    /// All batches, the last touched first.
    pub(super) fn batches(&self) -> Result<Vec<BatchRow>, ClientError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT name, id, tags, complete, created, touched,
                        (SELECT count(*) FROM members
                         WHERE members.account = batches.account AND members.batch = batches.name)
                 FROM batches WHERE account = ?1 ORDER BY touched DESC, name",
            )
            .map_err(broken)?;
        let rows = statement
            .query_map([&self.account], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, bool>(3)?,
                    row.get::<_, i64>(4)?,
                    row.get::<_, i64>(5)?,
                    row.get::<_, i64>(6)?,
                ))
            })
            .map_err(broken)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(broken)?;
        rows.into_iter()
            .map(|(name, id, tags, complete, created, touched, members)| {
                let summary = BatchSummary {
                    batch: id.parse().map_err(broken)?,
                    name,
                    tags: serde_json::from_str(&tags).map_err(broken)?,
                    members: u64::try_from(members).unwrap_or(0),
                    complete,
                    created_milliseconds: created,
                    states: Vec::new(),
                };
                Ok(BatchRow { summary, touched })
            })
            .collect()
    }

    /// The members of a batch by position.
    pub(super) fn members(&self, batch: &str) -> Result<Vec<MemberRow>, ClientError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT key, position, task, parameters FROM members
                 WHERE account = ?1 AND batch = ?2 ORDER BY position, key",
            )
            .map_err(broken)?;
        let rows = statement
            .query_map(params![self.account, batch], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, String>(3)?,
                ))
            })
            .map_err(broken)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(broken)?;
        rows.into_iter()
            .map(|(key, position, task, parameters)| {
                Ok(MemberRow {
                    key,
                    position: u64::try_from(position).unwrap_or(0),
                    task: task.parse().map_err(broken)?,
                    parameters: serde_json::from_str(&parameters).map_err(broken)?,
                })
            })
            .collect()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // One that stays is cleared away by the next process.
        let _ = std::fs::remove_file(self.claims.join(&self.claim));
    }
}

/// Whether the process that a claim names has ended: its file is gone, or nobody holds it locked.
fn is_dead(claim: &Path) -> bool {
    match File::open(claim) {
        Ok(file) => !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn clear_claims(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // A file that was made a moment ago may not be locked yet.
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > Duration::from_secs(60)));
        if old && is_dead(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn read(body: &str) -> Result<TaskRow, ClientError> {
    serde_json::from_str(body).map_err(broken)
}

/// The table cannot be used.
pub(super) fn broken(error: impl std::error::Error + Send + Sync + 'static) -> ClientError {
    ClientError::new(
        ErrorGroup::Infrastructure,
        "plain.table",
        format!("the client's table cannot be used: {error}"),
    )
    .hint("Check room and permissions of the client's data folder.")
    .caused_by(error)
}
