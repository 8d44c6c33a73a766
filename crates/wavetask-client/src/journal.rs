//! What must survive the program: which simulations it has submitted, under which keys, and how far each got.
//!
//! The journal is written, and synced, before the first byte of a member leaves. Whoever comes back (the same
//! script run again, or [`Client::open`](crate::Client::open) in another process) finds the same keys here, and a
//! server that knows a key already answers with the task that it has made: so a program may be killed at any
//! instant, and still each task is created once.
//!
//! An SQLite database in write-ahead mode: several processes may use it at once, and a transaction that was cut off
//! has not happened. What a member's program must have told (that it was submitted) is synced to the disk; notes on
//! how far it got are not, for they can be found out again.
//!
//! Documents, and the arrays of small simulations (up to [`SMALL`] each), are kept until the server has them, so
//! that another process can finish placing them. Larger arrays are not copied: their members wait for the script to
//! be run again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};
use wavetask_document::Digest;
use wavetask_protocol::TaskId;
use wavetask_protocol::native::NewMember;

use crate::engine::Payload;
use crate::error::{ClientError, ErrorGroup};
use crate::member::BlockPlace;

/// Bytes of arrays that are kept for a member.
const SMALL: u64 = 1 << 20;
/// "wtjn" in ASCII.
const APPLICATION: i64 = 0x7774_6a6e;
const VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE submission (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    batch TEXT NOT NULL,
    named INTEGER NOT NULL,
    token TEXT NOT NULL,
    nonce TEXT NOT NULL,
    lazy INTEGER NOT NULL,
    tags TEXT NOT NULL,
    created INTEGER NOT NULL,
    sealed INTEGER NOT NULL DEFAULT 0,
    finished INTEGER
) STRICT;
CREATE INDEX submission_batch ON submission (scope, batch, id);
CREATE TABLE member (
    submission INTEGER NOT NULL REFERENCES submission (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    key TEXT NOT NULL,
    stage INTEGER NOT NULL DEFAULT 0,
    task TEXT,
    content BLOB,
    length INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    PRIMARY KEY (submission, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE member_block (
    submission INTEGER NOT NULL,
    position INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (submission, position, digest),
    FOREIGN KEY (submission, position) REFERENCES member (submission, position) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX member_block_digest ON member_block (digest);
CREATE TABLE block (
    digest BLOB PRIMARY KEY,
    width INTEGER NOT NULL,
    length INTEGER NOT NULL,
    content BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// A submission as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubmissionRecord {
    pub(crate) row: i64,
    pub(crate) batch: String,
    pub(crate) named: bool,
    pub(crate) token: String,
    pub(crate) nonce: String,
    pub(crate) lazy: bool,
    pub(crate) tags: Vec<String>,
    /// Whether all of its members are here.
    pub(crate) sealed: bool,
    /// Whether something has been decided about each of its members.
    pub(crate) finished: bool,
}

/// How far a member got: 0 while the server may not have it.
const PLACED: i64 = 1;
const ENDED: i64 = 2;

/// A member as the journal knows it.
#[derive(Debug)]
pub(crate) struct MemberRecord {
    pub(crate) key: String,
    pub(crate) task: Option<TaskId>,
    /// What is needed to name it, if it may have to be; and whether all of its blocks are here.
    pub(crate) payload: Option<(Payload, bool)>,
}

/// A note on how far a member got.
#[derive(Clone, Debug)]
pub(crate) enum Note {
    /// The server has it.
    Placed { row: i64, position: u64, task: TaskId },
    /// It has ended.
    Ended { row: i64, position: u64 },
    /// No more members come, and all are here.
    Sealed { row: i64 },
    /// All of its members have ended.
    Finished { row: i64 },
}

/// The journal's database.
#[derive(Debug)]
pub(crate) struct Journal {
    connection: Connection,
}

impl Journal {
    /// Opens the journal, or makes it.
    ///
    /// # Errors
    /// If it is damaged, from a newer version, or cannot be read or written.
    pub(crate) fn open(path: &Path) -> Result<Self, ClientError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| {
                let message = format!("The folder of the journal, {}, cannot be made.", folder.display());
                ClientError::new(ErrorGroup::Usage, "journal.unwritable", message)
                    .hint("Set WAVETASK_DATA to a folder that can be written.")
                    .caused_by(error)
            })?;
        }
        let connection = Connection::open(path).map_err(|error| failed(error, path))?;
        let journal = Self::prepare(connection).map_err(|fault| fault.at(path))?;
        journal.check().map_err(|fault| fault.at(path))?;
        Ok(journal)
    }

    /// A journal that ends with the process, for tests.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self::prepare(Connection::open_in_memory().unwrap()).map_err(|fault| fault.at(Path::new(""))).unwrap()
    }

    fn prepare(mut connection: Connection) -> Result<Self, Fault> {
        connection.busy_timeout(Duration::from_secs(20))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let number = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (application, version) = (number("application_id")?, number("user_version")?);
        let tables: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        match (application, version) {
            (0, 0) if tables == 0 => {
                transaction.execute_batch(SCHEMA)?;
                transaction.pragma_update(None, "application_id", APPLICATION)?;
                transaction.pragma_update(None, "user_version", VERSION)?;
            }
            (APPLICATION, VERSION) => {}
            (APPLICATION, newer) if newer > VERSION => return Err(Fault::TooNew(newer)),
            _ => return Err(Fault::Foreign),
        }
        transaction.commit()?;
        Ok(Self { connection })
    }

    /// Refuses a damaged file rather than to lose what it says. Only while that is quick.
    fn check(&self) -> Result<(), Fault> {
        let pages: i64 = self.connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        if pages < 16_384 {
            let verdict: String =
                self.connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
            if verdict != "ok" {
                return Err(Fault::Damaged(verdict));
            }
        }
        Ok(())
    }

    /// Begins a submission. One of the same name that was cut off passes its nonce on, so that its members are found
    /// again; with `cache`, members are known by their contents alone and the nonce is empty.
    pub(crate) fn begin(
        &mut self,
        scope: &str,
        wanted: &SubmissionRecord,
        now: i64,
    ) -> Result<SubmissionRecord, ClientError> {
        self.write(true, |transaction| {
            let mut record = wanted.clone();
            if !record.nonce.is_empty() && record.named {
                let earlier: Option<String> = transaction
                    .query_row(
                        "SELECT nonce FROM submission WHERE scope = ?1 AND batch = ?2 AND named = 1 AND nonce <> ''
                         AND finished IS NULL ORDER BY id DESC LIMIT 1",
                        params![scope, record.batch],
                        |row| row.get(0),
                    )
                    .optional()?;
                if let Some(nonce) = earlier {
                    record.nonce = nonce;
                }
            }
            let tags = serde_json::to_string(&record.tags).unwrap_or_default();
            transaction.execute(
                "INSERT INTO submission (scope, batch, named, token, nonce, lazy, tags, created)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    scope,
                    record.batch,
                    record.named,
                    record.token,
                    record.nonce,
                    record.lazy,
                    tags,
                    now
                ],
            )?;
            record.row = transaction.last_insert_rowid();
            Ok(record)
        })
    }

    /// Writes members, all or none of them, and syncs.
    pub(crate) fn add(&mut self, members: &[Arc<Payload>]) -> Result<(), ClientError> {
        self.write(true, |transaction| {
            for payload in members {
                add_member(transaction, payload.row, payload)?;
            }
            Ok(())
        })
    }

    /// Notes how far members got. Not synced: it could be found out again.
    pub(crate) fn note(&mut self, notes: &[Note], now: i64) -> Result<(), ClientError> {
        self.write(false, |transaction| {
            for note in notes {
                match note {
                    Note::Placed { row, position, task } => {
                        let task = Some(task.as_str());
                        advance(transaction, *row, *position, PLACED, task)?;
                    }
                    Note::Ended { row, position } => {
                        advance(transaction, *row, *position, ENDED, None)?;
                    }
                    Note::Sealed { row } => {
                        transaction.execute("UPDATE submission SET sealed = 1 WHERE id = ?1", [row])?;
                    }
                    Note::Finished { row } => {
                        // Earlier submissions of the batch that were cut off are finished with it.
                        transaction.execute(
                            "UPDATE submission SET finished = ?2 WHERE finished IS NULL AND id <= ?1
                             AND (scope, batch) = (SELECT scope, batch FROM submission WHERE id = ?1)",
                            params![row, now],
                        )?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Forgets submissions that finished before, or that began long before and never did.
    pub(crate) fn prune(&mut self, finished_before: i64, begun_before: i64) -> Result<(), ClientError> {
        self.write(false, |transaction| {
            transaction.execute(
                "DELETE FROM submission WHERE finished < ?1 OR (finished IS NULL AND created < ?2)",
                params![finished_before, begun_before],
            )?;
            transaction
                .execute("DELETE FROM block WHERE digest NOT IN (SELECT digest FROM member_block)", [])?;
            Ok(())
        })
    }

    /// What the journal knows of a batch: its latest submission, and its members by key, of it and of those that it
    /// continues.
    pub(crate) fn find(
        &mut self,
        scope: &str,
        batch: &str,
    ) -> Result<Option<(SubmissionRecord, Vec<MemberRecord>)>, ClientError> {
        self.read(|transaction| {
            let latest = transaction
                .query_row(
                    "SELECT id, named, token, nonce, lazy, tags, sealed, finished IS NOT NULL FROM submission
                     WHERE scope = ?1 AND batch = ?2 ORDER BY id DESC LIMIT 1",
                    params![scope, batch],
                    |row| {
                        let tags: String = row.get(5)?;
                        let record = SubmissionRecord {
                            row: row.get(0)?,
                            batch: batch.to_owned(),
                            named: row.get(1)?,
                            token: row.get(2)?,
                            nonce: row.get(3)?,
                            lazy: row.get(4)?,
                            tags: serde_json::from_str(&tags).unwrap_or_default(),
                            sealed: row.get(6)?,
                            finished: row.get(7)?,
                        };
                        Ok(record)
                    },
                )
                .optional()?;
            let Some(record) = latest else { return Ok(None) };
            let condition = if record.finished { "submission.id = ?3" } else { "submission.finished IS NULL AND ?3 > 0" };
            let mut statement = transaction.prepare(&format!(
                "SELECT member.submission, member.position, member.key, member.stage, member.task, member.content,
                        member.length, member.complete
                 FROM member JOIN submission ON submission.id = member.submission
                 WHERE submission.scope = ?1 AND submission.batch = ?2 AND {condition}
                 ORDER BY member.submission DESC, member.position"
            ))?;
            let mut rows = statement.query(params![scope, batch, record.row])?;
            let mut members: BTreeMap<(usize, u64), MemberRecord> = BTreeMap::new();
            let mut known = std::collections::HashSet::new();
            while let Some(row) = rows.next()? {
                let key: String = row.get(2)?;
                if !known.insert(key.clone()) {
                    continue;
                }
                let submission: i64 = row.get(0)?;
                let position: u64 = row.get(1)?;
                let task: Option<String> = row.get(4)?;
                let task = task.and_then(|task| task.parse().ok());
                let payload = match row.get::<_, i64>(3)? {
                    0 => {
                        let content: Vec<u8> = row.get(5)?;
                        Some((content, row.get::<_, usize>(6)?, row.get::<_, bool>(7)?))
                    }
                    _ => None,
                };
                let payload = match payload {
                    Some((content, length, complete)) => {
                        let payload = read_payload(transaction, submission, position, &content, length)?;
                        Some((payload, complete))
                    }
                    None => None,
                };
                let later = usize::from(submission != record.row);
                members.insert((later, position), MemberRecord { key, task, payload });
            }
            Ok(Some((record, members.into_values().collect())))
        })
    }

    fn write<R>(
        &mut self,
        synced: bool,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<R>,
    ) -> Result<R, ClientError> {
        let attempt = |connection: &mut Connection| {
            connection.pragma_update(None, "synchronous", if synced { "FULL" } else { "NORMAL" })?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        attempt(&mut self.connection).map_err(|error| failed(error, Path::new("journal.db")))
    }

    fn read<R>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<R>,
    ) -> Result<R, ClientError> {
        let attempt = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            work(&transaction)
        };
        attempt(&mut self.connection).map_err(|error| failed(error, Path::new("journal.db")))
    }
}

fn add_member(transaction: &Transaction<'_>, row: i64, payload: &Payload) -> rusqlite::Result<()> {
    let fault = |error: std::io::Error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    let json = serde_json::to_vec(&payload.member)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let content = zstd::bulk::compress(&json, 1).map_err(fault)?;
    let bytes: u64 = payload.blocks.iter().map(|(_, place)| place.length as u64).sum();
    let complete = bytes <= SMALL;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO member (submission, position, key, content, length, complete)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![row, payload.member.position, payload.member.key, content, json.len(), complete])?;
    for (digest, place) in &payload.blocks {
        transaction
            .prepare_cached(
                "INSERT OR IGNORE INTO member_block (submission, position, digest) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![row, payload.member.position, digest.as_bytes()])?;
        if !complete {
            continue;
        }
        let known: bool = transaction
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM block WHERE digest = ?1)")?
            .query_row([digest.as_bytes()], |row| row.get(0))?;
        if !known {
            let content = zstd::bulk::compress(place.bytes(), 1).map_err(fault)?;
            transaction
                .prepare_cached("INSERT INTO block (digest, width, length, content) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![digest.as_bytes(), place.width, place.length, content])?;
        }
    }
    Ok(())
}

/// A member got further: what was kept of it is no longer needed.
fn advance(
    transaction: &Transaction<'_>,
    row: i64,
    position: u64,
    stage: i64,
    task: Option<&str>,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE member SET stage = max(stage, ?3), task = coalesce(?4, task), content = NULL
             WHERE submission = ?1 AND position = ?2",
        )?
        .execute(params![row, position, stage, task])?;
    let digests: Vec<Vec<u8>> = transaction
        .prepare_cached("DELETE FROM member_block WHERE submission = ?1 AND position = ?2 RETURNING digest")?
        .query_map(params![row, position], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for digest in digests {
        transaction
            .prepare_cached(
                "DELETE FROM block WHERE digest = ?1 AND NOT EXISTS
                 (SELECT 1 FROM member_block WHERE digest = ?1)",
            )?
            .execute([digest])?;
    }
    Ok(())
}

fn read_payload(
    transaction: &Transaction<'_>,
    submission: i64,
    position: u64,
    content: &[u8],
    length: usize,
) -> rusqlite::Result<Payload> {
    let fault = |error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Blob, error)
    };
    let json = zstd::bulk::decompress(content, length).map_err(|error| fault(Box::new(error)))?;
    let member: NewMember = serde_json::from_slice(&json).map_err(|error| fault(Box::new(error)))?;
    let mut statement = transaction.prepare_cached(
        "SELECT member_block.digest, block.width, block.length, block.content
         FROM member_block LEFT JOIN block ON block.digest = member_block.digest
         WHERE member_block.submission = ?1 AND member_block.position = ?2 ORDER BY member_block.digest",
    )?;
    let mut rows = statement.query(params![submission, position])?;
    let mut blocks = Vec::new();
    while let Some(row) = rows.next()? {
        let digest = Digest::from_bytes(row.get(0)?);
        let (width, length, bytes) = match row.get::<_, Option<Vec<u8>>>(3)? {
            Some(packed) => {
                let length: usize = row.get(2)?;
                let bytes =
                    zstd::bulk::decompress(&packed, length).map_err(|error| fault(Box::new(error)))?;
                (row.get::<_, u8>(1)?, length, bytes)
            }
            // Only its program has it.
            None => (1, 0, Vec::new()),
        };
        blocks.push((digest, BlockPlace { array: Arc::new(bytes), offset: 0, length, width }));
    }
    Ok(Payload { row: submission, member, document_bytes: length as u64, blocks })
}

/// Why a file is not used as a journal.
enum Fault {
    Database(rusqlite::Error),
    TooNew(i64),
    Foreign,
    Damaged(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl Fault {
    fn at(self, path: &Path) -> ClientError {
        let file = path.display();
        match self {
            Self::Database(error) => failed(error, path),
            Self::TooNew(version) => ClientError::new(
                ErrorGroup::Usage,
                "journal.too_new",
                format!(
                    "The journal {file} is of format {version}; this version of wavetask knows {VERSION}."
                ),
            )
            .hint("Use the newer version of wavetask that wrote it, or another data folder (WAVETASK_DATA)."),
            Self::Foreign => ClientError::new(
                ErrorGroup::Usage,
                "journal.foreign",
                format!("{file} is a database, but not a journal of wavetask."),
            )
            .hint("Move it away, or use another data folder (WAVETASK_DATA)."),
            Self::Damaged(verdict) => damaged(path, &verdict),
        }
    }
}

fn damaged(path: &Path, verdict: &str) -> ClientError {
    let file = path.display();
    ClientError::new(
        ErrorGroup::DataCorrupted,
        "journal.damaged",
        format!("The journal {file} is damaged: {}.", verdict.lines().next().unwrap_or_default()),
    )
    .hint("Move it away to go on without it: tasks on the server stay, what was not sent yet is sent by its script.")
}

/// What the database's error means.
fn failed(error: rusqlite::Error, path: &Path) -> ClientError {
    let code = error.sqlite_error_code();
    let converted = match code {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            return damaged(path, &error.to_string());
        }
        Some(ErrorCode::DiskFull) => {
            ClientError::new(ErrorGroup::Infrastructure, "journal.disk_full", "The journal's disk is full.")
                .hint("Free some space in the data folder, then submit again.")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ClientError::new(
            ErrorGroup::Infrastructure,
            "journal.busy",
            "Another process has held the journal for too long.",
        ),
        _ => ClientError::new(
            ErrorGroup::Infrastructure,
            "journal.failed",
            format!("The journal {} cannot be read or written.", path.display()),
        )
        .hint(
            "Check the data folder (WAVETASK_DATA): it has to be writable, and not on a network file system.",
        ),
    };
    converted.caused_by(error)
}

type Job = Box<dyn FnOnce(&mut Journal) + Send>;

/// The journal's own thread: SQLite blocks, and one connection does one thing at a time.
#[derive(Debug)]
pub(crate) struct JournalThread {
    jobs: mpsc::Sender<Job>,
}

impl JournalThread {
    pub(crate) fn start(mut journal: Journal) -> Result<Self, ClientError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("wavetask-journal".to_owned())
            .spawn(move || {
                while let Ok(job) = queue.recv() {
                    // A job that panics answers nobody; what others post is done all the same.
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(&mut journal)));
                }
            })
            .map_err(|error| {
                ClientError::new(ErrorGroup::Internal, "engine.no_thread", "A thread cannot be started.")
                    .caused_by(error)
            })?;
        Ok(Self { jobs })
    }

    /// Does this when what was posted before is done.
    pub(crate) fn post(&self, job: impl FnOnce(&mut Journal) + Send + 'static) {
        // It only fails if the thread has panicked; whoever waits for the job's answer learns that.
        let _ = self.jobs.send(Box::new(job));
    }

    /// Does this and waits for its answer.
    pub(crate) fn ask<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Journal) -> Result<R, ClientError> + Send + 'static,
    ) -> Result<R, ClientError> {
        let (answer, wait) = mpsc::channel();
        self.post(move |journal| {
            let _ = answer.send(job(journal));
        });
        wait.recv().unwrap_or_else(|_| {
            Err(ClientError::new(ErrorGroup::Internal, "journal.gone", "The journal's thread has ended."))
        })
    }
}

#[cfg(test)]
mod tests;
