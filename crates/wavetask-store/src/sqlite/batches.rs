//! Batches, their members, and the parameters to find these by.

use std::collections::BTreeMap;

use rusqlite::types::Value as Column;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;
use wavetask_core::TaskRecord;
use wavetask_protocol::{BatchId, KeyId, TaskId};

use super::SqliteTaskStore;
use super::change::Change;
use super::fault::Outcome;
use super::values::{integer, json, limit, natural, parsed, state, time, to_json};
use crate::batch::{BatchFilter, BatchMember, BatchRecord, MemberUpdate};
use crate::error::Result;
use crate::operation::Done;

/// How many submissions of a batch are remembered.
const REMEMBERED_SUBMISSIONS: i64 = 1_000;

/// What a parameter is searched by; nothing if it cannot be searched.
pub(super) fn searchable(value: &Value) -> Option<Column> {
    match value {
        Value::Bool(value) => Some(Column::Blob(vec![u8::from(*value)])),
        Value::String(text) => Some(Column::Text(text.clone())),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Some(Column::Integer(whole)),
            None => number.as_f64().map(Column::Real),
        },
        _ => None,
    }
}

/// Puts tasks into a batch.
pub(super) fn set_members(change: &Change<'_>, update: &MemberUpdate) -> Outcome<Done> {
    let connection = change.connection;
    let (batch, id, completed) = find_or_make(change, update)?;
    let submission = submission_number(connection, batch, &update.submission)?;
    let mut left_out = Vec::new();
    // A submission that another has taken the place of has no say any more.
    if submission >= completed {
        let (owner, latest) = (update.owner.as_str(), latest_submission(connection, batch)?);
        if submission == latest {
            set_tags(connection, owner, batch, &update.tags)?;
        }
        for member in &update.members {
            if !set_member(connection, owner, batch, submission, member)? {
                left_out.push(member.key.clone());
            }
        }
        if update.complete {
            connection
                .prepare_cached(
                    "DELETE FROM parameters WHERE member IN
                        (SELECT number FROM batch_members WHERE batch = ?1 AND submission < ?2)",
                )?
                .execute([batch, submission])?;
            connection
                .prepare_cached("DELETE FROM batch_members WHERE batch = ?1 AND submission < ?2")?
                .execute([batch, submission])?;
            connection
                .prepare_cached("UPDATE batches SET completed = ?2 WHERE number = ?1")?
                .execute([batch, submission])?;
            connection
                .prepare_cached("DELETE FROM submissions WHERE batch = ?1 AND number <= ?2")?
                .execute([batch, submission - REMEMBERED_SUBMISSIONS])?;
        }
    }
    Ok(Done::Members { batch: id, left_out })
}

fn find_or_make(change: &Change<'_>, update: &MemberUpdate) -> Outcome<(i64, BatchId, i64)> {
    let now = change.now.as_milliseconds();
    change
        .connection
        .prepare_cached(
            "INSERT INTO batches (id, owner, name, tags, completed, created_at, touched_at)
             VALUES (?1, ?2, ?3, '[]', 0, ?4, ?4)
             ON CONFLICT (owner, name) DO UPDATE SET touched_at = excluded.touched_at",
        )?
        .execute(params![update.batch.as_str(), update.owner.as_str(), update.name, now])?;
    let mut statement = change
        .connection
        .prepare_cached("SELECT number, id, completed FROM batches WHERE owner = ?1 AND name = ?2")?;
    Ok(statement.query_row([update.owner.as_str(), update.name.as_str()], |row| {
        Ok((row.get(0)?, parsed(row, 1)?, row.get(2)?))
    })?)
}

fn submission_number(connection: &Connection, batch: i64, name: &str) -> Outcome<i64> {
    let mut statement =
        connection.prepare_cached("SELECT number FROM submissions WHERE batch = ?1 AND name = ?2")?;
    if let Some(number) = statement.query_row(params![batch, name], |row| row.get(0)).optional()? {
        return Ok(number);
    }
    let number = latest_submission(connection, batch)? + 1;
    connection
        .prepare_cached("INSERT INTO submissions (batch, name, number) VALUES (?1, ?2, ?3)")?
        .execute(params![batch, name, number])?;
    Ok(number)
}

fn latest_submission(connection: &Connection, batch: i64) -> Outcome<i64> {
    let mut statement =
        connection.prepare_cached("SELECT coalesce(max(number), 0) FROM submissions WHERE batch = ?1")?;
    Ok(statement.query_row([batch], |row| row.get(0))?)
}

fn set_tags(connection: &Connection, owner: &str, batch: i64, tags: &[String]) -> Outcome<()> {
    let mut tags = tags.to_vec();
    tags.sort_unstable();
    tags.dedup();
    let text = to_json(&tags)?;
    let changed = connection
        .prepare_cached("UPDATE batches SET tags = ?2 WHERE number = ?1 AND tags <> ?2")?
        .execute(params![batch, text])?;
    if changed == 0 {
        return Ok(());
    }
    connection
        .prepare_cached("DELETE FROM batch_tags WHERE owner = ?1 AND batch = ?2")?
        .execute(params![owner, batch])?;
    let mut statement =
        connection.prepare_cached("INSERT INTO batch_tags (owner, tag, batch) VALUES (?1, ?2, ?3)")?;
    for tag in &tags {
        statement.execute(params![owner, tag, batch])?;
    }
    Ok(())
}

/// Answers whether the member's task is the account's.
fn set_member(
    connection: &Connection,
    owner: &str,
    batch: i64,
    submission: i64,
    member: &BatchMember,
) -> Outcome<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM tasks WHERE id = ?1 AND owner = ?2 AND state <> 'deleted')",
    )?;
    if !statement.query_row([member.task.as_str(), owner], |row| row.get::<_, bool>(0))? {
        return Ok(false);
    }
    let parameters = to_json(&member.parameters)?;
    let mut statement = connection.prepare_cached(
        "SELECT number, submission, parameters FROM batch_members WHERE batch = ?1 AND key = ?2",
    )?;
    let known: Option<(i64, i64, String)> = statement
        .query_row(params![batch, member.key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let position = integer(member.position);
    let number = match known {
        Some((_, later, _)) if later > submission => return Ok(true),
        Some((number, _, before)) => {
            let mut statement = connection.prepare_cached(
                "UPDATE batch_members SET position = ?2, task = ?3, parameters = ?4, submission = ?5
                 WHERE number = ?1",
            )?;
            statement.execute(params![number, position, member.task.as_str(), parameters, submission])?;
            if before == parameters {
                return Ok(true);
            }
            connection.prepare_cached("DELETE FROM parameters WHERE member = ?1")?.execute([number])?;
            number
        }
        None => {
            let mut statement = connection.prepare_cached(
                "INSERT INTO batch_members (batch, key, position, task, parameters, submission)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            let task = member.task.as_str();
            statement.insert(params![batch, member.key, position, task, parameters, submission])?
        }
    };
    let mut statement = connection
        .prepare_cached("INSERT INTO parameters (owner, name, value, member) VALUES (?1, ?2, ?3, ?4)")?;
    for (name, value) in &member.parameters {
        if let Some(value) = searchable(value) {
            statement.execute(params![owner, name, value, number])?;
        }
    }
    Ok(true)
}

/// A task that is being deleted leaves its batches; a complete batch goes with the last of its members.
pub(super) fn leave(connection: &Connection, task: &TaskId) -> Outcome<()> {
    let mut statement =
        connection.prepare_cached("SELECT number, batch FROM batch_members WHERE task = ?1")?;
    let members: Vec<(i64, i64)> = statement
        .query_map([task.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (member, batch) in members {
        connection.prepare_cached("DELETE FROM parameters WHERE member = ?1")?.execute([member])?;
        connection.prepare_cached("DELETE FROM batch_members WHERE number = ?1")?.execute([member])?;
        let mut statement = connection.prepare_cached(
            "DELETE FROM batches WHERE number = ?1
                AND NOT EXISTS (SELECT 1 FROM batch_members WHERE batch = ?1)
                AND completed = (SELECT max(number) FROM submissions WHERE batch = ?1)
             RETURNING owner",
        )?;
        let owner: Option<String> = statement.query_row([batch], |row| row.get(0)).optional()?;
        if let Some(owner) = owner {
            connection
                .prepare_cached("DELETE FROM batch_tags WHERE owner = ?1 AND batch = ?2")?
                .execute(params![owner, batch])?;
            connection.prepare_cached("DELETE FROM submissions WHERE batch = ?1")?.execute([batch])?;
        }
    }
    Ok(())
}

fn member_of(row: &Row<'_>) -> rusqlite::Result<(BatchMember, TaskRecord)> {
    let task: TaskRecord = json(row, 0)?;
    let parameters: BTreeMap<String, Value> = json(row, 3)?;
    let (key, position) = (row.get(1)?, natural(row, 2)?);
    Ok((BatchMember { key, position, task: task.id().clone(), parameters }, task))
}

impl SqliteTaskStore {
    pub(super) fn list_batches(
        &self,
        owner: &KeyId,
        filter: &BatchFilter,
        count: usize,
    ) -> Result<Vec<BatchRecord>> {
        self.read("list batches", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT number, id, name, tags, created_at,
                    completed = (SELECT max(number) FROM submissions WHERE batch = batches.number)
                 FROM batches WHERE owner = ?1 AND (?2 IS NULL OR name = ?2)
                    AND (?3 IS NULL OR number IN (SELECT batch FROM batch_tags WHERE owner = ?1 AND tag = ?3))
                    AND (?4 IS NULL
                        OR number NOT IN (SELECT batch FROM batch_tags WHERE owner = ?1 AND tag = ?4))
                    AND (?5 IS NULL OR (touched_at, number)
                        < (SELECT touched_at, number FROM batches WHERE owner = ?1 AND name = ?5))
                 ORDER BY touched_at DESC, number DESC LIMIT ?6",
            )?;
            let BatchFilter { name, tag, without_tag, after } = filter;
            let values = params![owner.as_str(), name, tag, without_tag, after, limit(count)];
            let rows = statement.query_map(values, |row| {
                let batch = BatchRecord {
                    id: parsed(row, 1)?,
                    name: row.get(2)?,
                    tags: json(row, 3)?,
                    complete: row.get::<_, Option<bool>>(5)?.unwrap_or(false),
                    created_at: time(row, 4)?,
                    members: 0,
                    states: BTreeMap::new(),
                };
                Ok((row.get::<_, i64>(0)?, batch))
            })?;
            let mut batches = Vec::new();
            let mut states = connection.prepare_cached(
                "SELECT state, count(*) FROM batch_members JOIN tasks ON tasks.id = batch_members.task
                 WHERE batch = ?1 GROUP BY state",
            )?;
            for row in rows {
                let (number, mut batch) = row?;
                for row in states.query_map([number], |row| Ok((state(row, 0)?, natural(row, 1)?)))? {
                    let (state, count) = row?;
                    batch.members += count;
                    batch.states.insert(state, count);
                }
                batches.push(batch);
            }
            Ok(batches)
        })
    }

    pub(super) fn list_members(
        &self,
        owner: &KeyId,
        name: &str,
        after: Option<&(u64, String)>,
        count: usize,
    ) -> Result<Vec<(BatchMember, TaskRecord)>> {
        let (position, key) = after.map_or((-1, ""), |(position, key)| (integer(*position), key.as_str()));
        self.read("list the members of a batch", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT record, key, position, parameters
                 FROM batch_members JOIN tasks ON tasks.id = batch_members.task
                 WHERE batch = (SELECT number FROM batches WHERE owner = ?1 AND name = ?2)
                    AND (position, key) > (?3, ?4)
                 ORDER BY position, key LIMIT ?5",
            )?;
            let values = params![owner.as_str(), name, position, key, limit(count)];
            Ok(statement.query_map(values, member_of)?.collect::<Result<_, _>>()?)
        })
    }
}
