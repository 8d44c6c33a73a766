//! Callbacks that are still to be sent.

use rusqlite::params;
use wavetask_core::Timestamp;

use super::SqliteTaskStore;
use super::values::{integer, limit, natural, parsed, small};
use crate::error::Result;
use crate::model::Callback;

impl SqliteTaskStore {
    pub(super) fn find_callbacks(&self, now: Timestamp, count: usize) -> Result<Vec<Callback>> {
        self.read("look for callbacks", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, task, url, tries FROM callbacks WHERE next_try <= ?1 ORDER BY next_try LIMIT ?2",
            )?;
            let rows = statement.query_map(params![now.as_milliseconds(), limit(count)], |row| {
                Ok(Callback {
                    id: natural(row, 0)?,
                    task: parsed(row, 1)?,
                    url: row.get(2)?,
                    tries: small(row, 3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn end_callback(&self, id: u64) -> Result<()> {
        self.write("end a callback", |connection| {
            connection.prepare_cached("DELETE FROM callbacks WHERE id = ?1")?.execute([integer(id)])?;
            Ok(())
        })
    }

    pub(super) fn postpone_callback(&self, id: u64, next_try: Timestamp) -> Result<()> {
        self.write("postpone a callback", |connection| {
            let mut statement = connection
                .prepare_cached("UPDATE callbacks SET tries = tries + 1, next_try = ?2 WHERE id = ?1")?;
            statement.execute(params![integer(id), next_try.as_milliseconds()])?;
            Ok(())
        })
    }
}
