//! The connection that writes, and how those who wait for it share what costs most: the wait for the disk.
//!
//! A commit that survives a loss of power costs a sync, a thousand times what the changes themselves cost. So a
//! transaction is left open for those who already wait for their turn: each makes its changes in a savepoint of
//! its own, and the last one commits for all. Nobody ever waits for somebody who has not come yet, so a writer
//! alone is as quick as it would be without this. A change that fails is undone to its savepoint and does not
//! touch the others; a commit that fails is reported to all that it was for.
//!
//! Nobody is forgotten: whoever leaves a group open has seen, holding the lock, that somebody else is waiting for
//! the lock; that one will hold it next, and is in the same position then.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Error, ffi};
use wavetask_core::{Policy, Timestamp};
use wavetask_protocol::TaskId;

use super::change::Change;
use super::fault::{Fault, Outcome};
use super::lock;
use crate::model::LoggedEvent;

/// Most changes that share a commit.
const MOST_CHANGES: usize = 256;

/// How long a group may stay open for those who wait.
const LONGEST: Duration = Duration::from_millis(20);

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// The disk.
    Full,
    /// The operating system.
    Process,
}

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Writer {
    waiting: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    connection: Connection,
    /// What the connection is set to.
    durability: Durability,
    group: Option<Group>,
}

/// A transaction that is open.
#[derive(Debug)]
struct Group {
    durability: Durability,
    begun: Instant,
    changes: usize,
    events: Vec<LoggedEvent>,
    progressed: Vec<TaskId>,
    fate: Arc<Fate>,
}

/// What became of a group's commit.
#[derive(Debug, Default)]
struct Fate {
    decided: Mutex<Option<Result<(), Failure>>>,
    told: Condvar,
}

/// What SQLite said, for everybody that it concerns.
#[derive(Clone, Debug)]
struct Failure {
    error: ffi::Error,
    message: Option<String>,
}

impl Failure {
    fn of(error: &Error) -> Self {
        match error {
            Error::SqliteFailure(error, message) => Self { error: *error, message: message.clone() },
            other => Self { error: ffi::Error::new(ffi::SQLITE_ERROR), message: Some(other.to_string()) },
        }
    }

    fn into_fault(self) -> Fault {
        Fault::Database(Error::SqliteFailure(self.error, self.message))
    }
}

impl Fate {
    fn decide(&self, outcome: Result<(), Failure>) {
        *lock(&self.decided) = Some(outcome);
        self.told.notify_all();
    }

    fn wait(&self) -> Outcome<()> {
        let decided = lock(&self.decided);
        let decided = self
            .told
            .wait_while(decided, |decided| decided.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        decided.clone().unwrap_or(Ok(())).map_err(Failure::into_fault)
    }
}

impl Writer {
    /// Takes over a connection whose commits wait for the disk.
    pub(super) const fn new(connection: Connection) -> Self {
        let state = State { connection, durability: Durability::Full, group: None };
        Self { waiting: AtomicUsize::new(0), state: Mutex::new(state) }
    }

    /// Does some work in a transaction, and returns when it is committed. If it fails, nothing has happened.
    /// `tell` hears of each commit, in order, before anybody who waits for it.
    pub(super) fn change<T>(
        &self,
        policy: &Policy,
        durability: Durability,
        now: Timestamp,
        work: impl FnOnce(&mut Change<'_>) -> Outcome<T>,
        tell: impl Fn(&[LoggedEvent], &[TaskId]),
    ) -> Outcome<T> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut state = lock(&self.state);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        // Even a panic must not leave a group open that others wait for.
        let worked = catch_unwind(AssertUnwindSafe(|| state.work(policy, durability, now, work, &tell)));
        if worked.is_err() {
            state.abandon();
        }
        let others = self.waiting.load(Ordering::SeqCst) > 0;
        if state
            .group
            .as_ref()
            .is_some_and(|group| !others || group.changes >= MOST_CHANGES || group.begun.elapsed() >= LONGEST)
        {
            state.finish(&tell);
        }
        drop(state);
        let (value, fate) = worked.unwrap_or_else(|panic| resume_unwind(panic))?;
        fate.wait()?;
        Ok(value)
    }
}

impl State {
    fn work<T>(
        &mut self,
        policy: &Policy,
        durability: Durability,
        now: Timestamp,
        work: impl FnOnce(&mut Change<'_>) -> Outcome<T>,
        tell: &impl Fn(&[LoggedEvent], &[TaskId]),
    ) -> Outcome<(T, Arc<Fate>)> {
        // One that needs the disk cannot join those that do not wait for it; the other way round is no harm.
        let too_weak = |group: &Group| group.durability == Durability::Process;
        if durability == Durability::Full && self.group.as_ref().is_some_and(too_weak) {
            self.finish(tell);
        }
        if self.group.is_none() {
            self.begin(durability)?;
        }
        let mut change = Change::new(&self.connection, policy, now);
        let outcome = change.isolated(work);
        let Change { events, progressed, .. } = change;
        match outcome.and_then(|refused_or_done| refused_or_done) {
            Ok(value) => {
                let group = self.group.as_mut().ok_or_else(lost_transaction)?;
                group.changes += 1;
                group.events.extend(events);
                group.progressed.extend(progressed);
                Ok((value, Arc::clone(&group.fate)))
            }
            Err(fault) => {
                // Some failures end the whole transaction, and SQLite has undone it by itself.
                if self.connection.is_autocommit()
                    && let Some(group) = self.group.take()
                {
                    let failure = match &fault {
                        Fault::Database(error) => Failure::of(error),
                        _ => Failure {
                            error: ffi::Error::new(ffi::SQLITE_ABORT),
                            message: Some("the transaction was rolled back".to_owned()),
                        },
                    };
                    group.fate.decide(Err(failure));
                }
                Err(fault)
            }
        }
    }

    fn begin(&mut self, durability: Durability) -> Outcome<()> {
        if self.durability != durability {
            let synchronous = if durability == Durability::Full { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", synchronous)?;
            self.durability = durability;
        }
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.group = Some(Group {
            durability,
            begun: Instant::now(),
            changes: 0,
            events: Vec::new(),
            progressed: Vec::new(),
            fate: Arc::default(),
        });
        Ok(())
    }

    /// Commits what is open.
    fn finish(&mut self, tell: &impl Fn(&[LoggedEvent], &[TaskId])) {
        let Some(group) = self.group.take() else { return };
        let end = if group.changes == 0 { "ROLLBACK" } else { "COMMIT" };
        let ended = self.connection.prepare_cached(end).and_then(|mut statement| statement.execute([]));
        if let Err(error) = &ended {
            self.roll_back();
            group.fate.decide(Err(Failure::of(error)));
            return;
        }
        tell(&group.events, &group.progressed);
        group.fate.decide(Ok(()));
    }

    /// Undoes what is open: a change has panicked, and nobody knows how far it came.
    fn abandon(&mut self) {
        self.roll_back();
        if let Some(group) = self.group.take() {
            let message = Some("another change in the same transaction has failed badly".to_owned());
            group.fate.decide(Err(Failure { error: ffi::Error::new(ffi::SQLITE_ABORT), message }));
        }
    }

    fn roll_back(&self) {
        // If this fails too, the next BEGIN says so.
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}

fn lost_transaction() -> Fault {
    Failure { error: ffi::Error::new(ffi::SQLITE_ABORT), message: Some("the transaction is gone".to_owned()) }
        .into_fault()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::error::StoreError;

    fn writer(folder: &std::path::Path) -> Writer {
        let connection = crate::connections::open_writer(&folder.join("test.db")).unwrap();
        connection.execute_batch("CREATE TABLE numbers (number INTEGER PRIMARY KEY) STRICT").unwrap();
        Writer::new(connection)
    }

    fn insert(change: &Change<'_>, number: u32) -> Outcome<()> {
        change.connection.execute("INSERT INTO numbers VALUES (?1)", [number])?;
        Ok(())
    }

    /// Threads that wait for a slow one share its commit or the one after, a failing one harms nobody, and one
    /// that panics harms at most those in its transaction, who are told.
    #[test]
    fn those_who_wait_share_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path());
        let policy = Policy::default();
        let commits = AtomicUsize::new(0);
        let tell = |_: &[LoggedEvent], _: &[TaskId]| {
            commits.fetch_add(1, Ordering::SeqCst);
        };
        let barrier = Barrier::new(17);
        let change = |durability, number: u32| {
            writer.change(&policy, durability, Timestamp::default(), |change| insert(change, number), tell)
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let slow = |change: &mut Change<'_>| {
                    barrier.wait();
                    // The others are on their way to the lock.
                    while writer.waiting.load(Ordering::SeqCst) < 16 {
                        std::thread::yield_now();
                    }
                    insert(change, 1000)
                };
                writer.change(&policy, Durability::Full, Timestamp::default(), slow, tell).unwrap();
            });
            for number in 0..16 {
                let (barrier, change) = (&barrier, &change);
                scope.spawn(move || {
                    barrier.wait();
                    // Number 3 twice: whoever comes second is refused, and the others do not notice.
                    let durability = if number % 4 == 1 { Durability::Process } else { Durability::Full };
                    let outcome = change(durability, if number == 4 { 3 } else { number });
                    assert!(outcome.is_ok() || number == 3 || number == 4, "{outcome:?}");
                });
            }
        });
        let commits = commits.into_inner();
        assert!(commits <= 2, "{commits} commits for 17 changes that came together");
        let state = lock(&writer.state);
        let count = |sql: &str| state.connection.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM numbers"), 16);
    }

    #[test]
    fn a_panic_leaves_no_transaction_behind() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path());
        let policy = Policy::default();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let work = |change: &mut Change<'_>| -> Outcome<()> {
                insert(change, 1)?;
                panic!("on purpose")
            };
            let _ = writer.change(&policy, Durability::Full, Timestamp::default(), work, |_, _| {});
        }));
        assert!(panicked.is_err());
        let refused = |change: &mut Change<'_>| -> Outcome<()> {
            insert(change, 1)?;
            Err(StoreError::NotFound("anything").into())
        };
        let outcome = writer.change(&policy, Durability::Full, Timestamp::default(), refused, |_, _| {});
        assert!(matches!(outcome, Err(Fault::Store(StoreError::NotFound(_)))), "{outcome:?}");
        let work = |change: &mut Change<'_>| insert(change, 1);
        writer.change(&policy, Durability::Process, Timestamp::default(), work, |_, _| {}).unwrap();
    }
}
