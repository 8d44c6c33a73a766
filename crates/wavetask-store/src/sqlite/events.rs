//! The event log.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use wavetask_core::Timestamp;
use wavetask_protocol::{KeyId, TaskId};

use super::fault::Outcome;
use super::values::{integer, json, limit, natural, parsed, state, time};
use super::{SqliteTaskStore, lock};
use crate::error::{Result, StoreError};
use crate::model::{EventListener, LoggedEvent};

fn logged(row: &Row<'_>) -> rusqlite::Result<LoggedEvent> {
    Ok(LoggedEvent {
        sequence: natural(row, 0)?,
        at: time(row, 1)?,
        task: parsed(row, 2)?,
        owner: parsed(row, 3)?,
        state: state(row, 4)?,
        event: json(row, 5)?,
    })
}

pub(super) fn of_task(connection: &Connection, task: &str) -> Outcome<Vec<LoggedEvent>> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, at, task, owner, state, event FROM events WHERE task = ?1 ORDER BY sequence",
    )?;
    let rows = statement.query_map([task], logged)?;
    Ok(rows.collect::<std::result::Result<_, _>>()?)
}

pub(super) fn latest(connection: &Connection) -> Outcome<u64> {
    let mut statement = connection.prepare_cached("SELECT coalesce(max(sequence), 0) FROM events")?;
    Ok(statement.query_row([], |row| natural(row, 0))?)
}

/// How many events have been forgotten, and the number of the last of them.
pub(super) fn pruned(connection: &Connection) -> Outcome<(u64, u64)> {
    let mut statement = connection.prepare_cached("SELECT events, sequence FROM pruned")?;
    Ok(statement.query_row([], |row| Ok((natural(row, 0)?, natural(row, 1)?)))?)
}

fn forget(connection: &Connection, deleted_before: Timestamp, count: usize) -> Outcome<u64> {
    // The newest event of all stays: the next one is numbered after it.
    let latest = latest(connection)?;
    let tasks: Vec<String> = {
        let mut statement = connection.prepare_cached(
            "SELECT id FROM tasks WHERE state = 'deleted' AND json_extract(record, '$.changed_at') < ?1
                AND NOT EXISTS (SELECT 1 FROM events WHERE sequence = ?2 AND task = tasks.id) LIMIT ?3",
        )?;
        let values = params![deleted_before.as_milliseconds(), integer(latest), limit(count)];
        statement.query_map(values, |row| row.get(0))?.collect::<std::result::Result<_, _>>()?
    };
    let mut note = connection.prepare_cached(
        "UPDATE pruned SET events = events + (SELECT count(*) FROM events WHERE task = ?1),
            sequence = max(sequence, (SELECT coalesce(max(sequence), 0) FROM events WHERE task = ?1))",
    )?;
    let mut events = connection.prepare_cached("DELETE FROM events WHERE task = ?1")?;
    let mut task_row = connection.prepare_cached("DELETE FROM tasks WHERE id = ?1")?;
    let mut dependencies = connection.prepare_cached("DELETE FROM dependencies WHERE input = ?1")?;
    for task in &tasks {
        note.execute([task])?;
        events.execute([task])?;
        task_row.execute([task])?;
        dependencies.execute([task])?;
    }
    Ok(tasks.len() as u64)
}

impl SqliteTaskStore {
    pub(super) fn forget_deleted(&self, deleted_before: Timestamp, count: usize) -> Result<u64> {
        // Mostly there are none: nobody should wait for the disk to hear that.
        let any = self.read("look for deleted tasks", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM tasks
                 WHERE state = 'deleted' AND json_extract(record, '$.changed_at') < ?1)",
            )?;
            Ok(statement.query_row([deleted_before.as_milliseconds()], |row| row.get::<_, bool>(0))?)
        })?;
        if !any {
            return Ok(0);
        }
        self.write("forget deleted tasks", |connection| forget(connection, deleted_before, count))
    }

    pub(super) fn list_events(
        &self,
        sequence: u64,
        owner: Option<&KeyId>,
        count: usize,
    ) -> Result<Vec<LoggedEvent>> {
        self.read("read events", |connection| {
            let from = integer(sequence);
            let pruned_to = pruned(connection)?.1;
            if sequence < pruned_to {
                return Err(StoreError::EventsGone { pruned_to }.into());
            }
            let rows = match owner {
                Some(owner) => {
                    let mut statement = connection.prepare_cached(
                        "SELECT sequence, at, task, owner, state, event FROM events
                         WHERE owner = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3",
                    )?;
                    let rows = statement.query_map(params![owner.as_str(), from, limit(count)], logged)?;
                    rows.collect::<std::result::Result<_, _>>()?
                }
                None => {
                    let mut statement = connection.prepare_cached(
                        "SELECT sequence, at, task, owner, state, event FROM events
                         WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
                    )?;
                    let rows = statement.query_map(params![from, limit(count)], logged)?;
                    rows.collect::<std::result::Result<_, _>>()?
                }
            };
            Ok(rows)
        })
    }

    pub(super) fn list_events_of(&self, task: &TaskId) -> Result<Vec<LoggedEvent>> {
        self.read("read events", |connection| of_task(connection, task.as_str()))
    }

    pub(super) fn add_listener(&self, listener: &Arc<dyn EventListener>) {
        lock(&self.listeners).push(Arc::downgrade(listener));
    }
}
