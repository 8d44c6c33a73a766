//! The event log.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use wavetask_protocol::{KeyId, TaskId};

use super::fault::Outcome;
use super::values::{integer, json, limit, natural, parsed, state, time};
use super::{SqliteTaskStore, lock};
use crate::error::Result;
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

impl SqliteTaskStore {
    pub(super) fn list_events(
        &self,
        sequence: u64,
        owner: Option<&KeyId>,
        count: usize,
    ) -> Result<Vec<LoggedEvent>> {
        self.read("read events", |connection| {
            let from = integer(sequence);
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
