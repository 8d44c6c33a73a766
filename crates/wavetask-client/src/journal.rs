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
//! Documents, and the arrays of small simulations (up to 1 MiB each), are kept until the server has them, so
//! that another process can finish placing them. Larger arrays are not copied: their members wait for the script to
//! be run again.

mod failure;
mod fault;
mod member;
mod owner;
mod schema;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use wavetask_protocol::TaskId;

use crate::engine::Payload;
use crate::error::{ClientError, ErrorGroup};

pub(crate) use failure::FailureRecord;
use fault::failed;
use member::{add_member, advance, read_payload};
use owner::Owner;

/// A submission as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubmissionRecord {
    pub(crate) row: i64,
    pub(crate) batch: String,
    pub(crate) named: bool,
    pub(crate) token: String,
    pub(crate) nonce: String,
    /// What submits it, for one that its user did not name.
    pub(crate) program: String,
    pub(crate) lazy: bool,
    pub(crate) tags: Vec<String>,
    /// Whether all of its members are here.
    pub(crate) sealed: bool,
    /// Whether something has been decided about each of its members.
    pub(crate) finished: bool,
}

/// How a batch stands in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether a process that submits to it lives.
    pub(crate) lives: bool,
    /// How many members the journal has of what is not finished.
    pub(crate) members: u64,
}

/// How far a member got: 0 while the server may not have it.
const PLACED: i64 = 1;
const ENDED: i64 = 2;

/// Before the name of a process that goes on with a submission that another one began.
const TAKEN_OVER: char = '~';

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
    /// This process goes on with it.
    TakenOver { row: i64 },
    /// This process is through with it, and it is not finished.
    CutOff { row: i64 },
}

/// The journal's database.
#[derive(Debug)]
pub(crate) struct Journal {
    connection: Connection,
    /// Tells others that this process lives; none where files cannot be locked.
    owner: Option<Owner>,
    folder: PathBuf,
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
        let connection = schema::prepare(connection).map_err(|fault| fault.at(path))?;
        schema::check(&connection).map_err(|fault| fault.at(path))?;
        let folder = path.parent().unwrap_or(Path::new(".")).join("processes");
        Ok(Self { connection, owner: Owner::claim(&folder), folder })
    }

    /// A journal that ends with the process, for tests.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        let connection = Connection::open_in_memory().unwrap();
        let connection = schema::prepare(connection).map_err(|fault| fault.at(Path::new(""))).unwrap();
        Self { connection, owner: None, folder: PathBuf::new() }
    }

    /// Begins a submission. One of the same name that was cut off passes its nonce on, so that its members are found
    /// again, unless this process is at it itself: then its user wants another one. With `cache`, members are known by
    /// their contents alone and the nonce is empty.
    pub(crate) fn begin(
        &mut self,
        scope: &str,
        wanted: &SubmissionRecord,
        now: i64,
    ) -> Result<SubmissionRecord, ClientError> {
        let owner = self.owner_name();
        self.write(true, |transaction| {
            let mut record = wanted.clone();
            if !record.nonce.is_empty() && record.named {
                let earlier: Option<String> = transaction
                    .query_row(
                        // What this process has taken over is its own, too: that it is through may not be noted yet.
                        "SELECT nonce FROM submission WHERE scope = ?1 AND batch = ?2 AND named = 1 AND nonce <> ''
                         AND finished IS NULL AND (owner = '' OR owner <> ?3)
                         AND NOT EXISTS (SELECT 1 FROM submission AS own WHERE own.scope = ?1 AND own.batch = ?2
                                         AND own.nonce = submission.nonce AND own.owner = ?3 AND ?3 <> '')
                         ORDER BY id DESC LIMIT 1",
                        params![scope, record.batch, owner],
                        |row| row.get(0),
                    )
                    .optional()?;
                if let Some(nonce) = earlier {
                    record.nonce = nonce;
                }
            }
            let tags = serde_json::to_string(&record.tags).unwrap_or_default();
            transaction.execute(
                "INSERT INTO submission (scope, batch, named, token, nonce, lazy, tags, created, owner,
                 program) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                params![
                    scope,
                    record.batch,
                    record.named,
                    record.token,
                    record.nonce,
                    record.lazy,
                    tags,
                    now,
                    owner,
                    record.program
                ],
            )?;
            record.row = transaction.last_insert_rowid();
            Ok(record)
        })
    }

    /// The nonce of a submission that its user did not name and that is to run anew, once its first member is known:
    /// that of one that the same program had begun with the same member and that was cut off, or else its own.
    ///
    /// `identity` is that member's under a nonce. What a process that lives is at is its own; so two programs that run
    /// at the same time, or one that submits the same twice, get two runs.
    pub(crate) fn claim(
        &mut self,
        scope: &str,
        row: i64,
        identity: impl Fn(&str) -> String,
    ) -> Result<String, ClientError> {
        let folder = self.folder.clone();
        self.write(true, |transaction| {
            let (own, program): (String, String) = transaction.query_row(
                "SELECT nonce, program FROM submission WHERE id = ?1",
                [row],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            let mut begun: Vec<(String, String)> = transaction
                .prepare(
                    "SELECT nonce, owner FROM submission WHERE scope = ?1 AND program = ?2 AND named = 0
                     AND nonce <> '' AND finished IS NULL AND id <> ?3 ORDER BY id LIMIT 1000",
                )?
                .query_map(params![scope, program, row], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            let taken: HashSet<String> = begun
                .iter()
                .filter(|(_, owner)| Owner::lives(&folder, owner))
                .map(|(nonce, _)| nonce.clone())
                .collect();
            begun.retain(|(nonce, _)| !taken.contains(nonce));
            begun.dedup_by(|(one, _), (other, _)| one == other);
            let mut has = transaction.prepare(
                "SELECT EXISTS (SELECT 1 FROM submission JOIN member ON member.submission = submission.id
                 WHERE submission.scope = ?1 AND submission.nonce = ?2 AND member.identity = ?3)",
            )?;
            for (nonce, _) in begun {
                if has.query_row(params![scope, nonce, identity(&nonce)], |row| row.get(0))? {
                    transaction
                        .execute("UPDATE submission SET nonce = ?2 WHERE id = ?1", params![row, nonce])?;
                    return Ok(nonce);
                }
            }
            Ok(own)
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
        let owner = self.owner_name();
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
                    Note::TakenOver { row } => {
                        transaction.execute(
                            "UPDATE submission SET owner = ?2 WHERE finished IS NULL AND id <= ?1
                             AND (scope, batch) = (SELECT scope, batch FROM submission WHERE id = ?1)",
                            params![row, format!("{TAKEN_OVER}{owner}")],
                        )?;
                    }
                    Note::CutOff { row } => {
                        transaction.execute(
                            "UPDATE submission SET owner = '' WHERE finished IS NULL AND id <= ?1 AND owner IN (?2, ?3)
                             AND (scope, batch) = (SELECT scope, batch FROM submission WHERE id = ?1)",
                            params![row, owner, format!("{TAKEN_OVER}{owner}")],
                        )?;
                    }
                    Note::Finished { row } => {
                        // Earlier submissions of the batch that were cut off are finished with it.
                        transaction.execute(
                            "UPDATE submission SET finished = ?2 FROM
                                 (SELECT scope, batch, nonce FROM submission WHERE id = ?1) AS this
                             WHERE finished IS NULL AND id <= ?1 AND submission.scope = this.scope AND
                                 (submission.batch = this.batch OR (this.nonce <> '' AND submission.nonce = this.nonce))",
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
                    "SELECT id, named, token, nonce, lazy, tags, sealed, finished IS NOT NULL, program FROM submission
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
                            program: row.get(8)?,
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
            let mut known = HashSet::new();
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

    /// What this process is called in the journal.
    fn owner_name(&self) -> String {
        self.owner.as_ref().map(|owner| owner.name().to_owned()).unwrap_or_default()
    }

    /// How a batch stands; `None` if the journal does not know it.
    pub(crate) fn standing(&mut self, scope: &str, batch: &str) -> Result<Option<Standing>, ClientError> {
        let (owners, members) = self.read(|transaction| {
            let owners: Vec<String> = transaction
                .prepare_cached(
                    "SELECT owner FROM submission WHERE scope = ?1 AND batch = ?2 AND finished IS NULL",
                )?
                .query_map([scope, batch], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let members = transaction
                .prepare_cached(
                    "SELECT count(*) FROM member JOIN submission ON submission.id = member.submission
                     WHERE scope = ?1 AND batch = ?2 AND finished IS NULL",
                )?
                .query_row([scope, batch], |row| row.get(0))?;
            Ok((owners, members))
        })?;
        if owners.is_empty() {
            return Ok(None);
        }
        let lives = owners.iter().any(|owner| {
            let name = owner.strip_prefix(TAKEN_OVER).unwrap_or(owner);
            Owner::lives(&self.folder, name)
        });
        Ok(Some(Standing { lives, members }))
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

type Job = Box<dyn FnOnce(&mut Journal) + Send>;

/// The journal's own thread: SQLite blocks, and one connection does one thing at a time.
#[derive(Debug)]
pub(crate) struct JournalThread {
    jobs: mpsc::Sender<Job>,
}

/// The journal does nothing as long as this is there; see [`Client::rest`](crate::Client::rest).
#[derive(Debug)]
pub struct JournalRest {
    _go_on: mpsc::Sender<()>,
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

    /// Brings the thread to rest until the answer is dropped; `None` if it does not come to rest within this time.
    pub(crate) fn rest(&self, within: Duration) -> Option<JournalRest> {
        let (at_rest, wait) = mpsc::channel();
        let (go_on, held) = mpsc::channel();
        self.post(move |_| {
            let _ = at_rest.send(());
            // Ends when the other side is dropped.
            let _ = held.recv();
        });
        wait.recv_timeout(within).ok().map(|()| JournalRest { _go_on: go_on })
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
