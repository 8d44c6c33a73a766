//! Counting and checking.

use std::fs;

use rusqlite::Connection;
use wavetask_core::{TaskRecord, Timestamp};
use wavetask_protocol::TaskState;

use super::fault::Outcome;
use super::values::{natural, optional_time, record};
use super::{SqliteTaskStore, events};
use crate::error::Result;
use crate::model::Statistics;

impl SqliteTaskStore {
    pub(super) fn count(&self) -> Result<Statistics> {
        let mut statistics = self.read("count", |connection| {
            let number = |sql: &str| connection.query_row(sql, [], |row| natural(row, 0));
            let mut statistics = Statistics {
                waiting_for_inputs: number(
                    "SELECT count(*) FROM tasks WHERE state = 'queued' AND ready_at IS NULL",
                )?,
                oldest_ready_at: connection.query_row(
                    "SELECT min(ready_at) FROM tasks INDEXED BY tasks_ready WHERE ready_at IS NOT NULL",
                    [],
                    |row| optional_time(row, 0),
                )?,
                events: events::latest(connection)?,
                documents: number("SELECT count(*) FROM documents")?,
                document_bytes: number("SELECT coalesce(sum(body_length + array_length), 0) FROM documents")?,
                blocks: number("SELECT count(*) FROM (SELECT DISTINCT block FROM document_blocks)")?,
                callbacks: number("SELECT count(*) FROM callbacks")?,
                ..Statistics::default()
            };
            let mut statement =
                connection.prepare_cached("SELECT state, count(*) FROM tasks GROUP BY state")?;
            for row in statement.query_map([], |row| Ok((row.get(0)?, natural(row, 1)?)))? {
                let (state, count) = row?;
                statistics.tasks.insert(state, count);
            }
            Ok(statistics)
        })?;
        statistics.database_bytes = ["", "-wal"]
            .iter()
            .filter_map(|suffix| {
                let mut path = self.path.clone().into_os_string();
                path.push(suffix);
                fs::metadata(path).ok()
            })
            .map(|metadata| metadata.len())
            .sum();
        Ok(statistics)
    }

    pub(super) fn find_contradictions(&self) -> Result<Vec<String>> {
        self.read("check the database", |connection| {
            let mut found = Vec::new();
            let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
            for row in statement.query_map([], |row| row.get::<_, String>(0))? {
                let message = row?;
                if message != "ok" {
                    found.push(format!("database: {message}"));
                }
            }
            check_events(connection, &mut found)?;
            check_tasks(connection, &mut found)?;
            check_documents(connection, &mut found)?;
            Ok(found)
        })
    }
}

/// The numbers of the events have no gaps but where events were forgotten.
fn check_events(connection: &Connection, found: &mut Vec<String>) -> Outcome<()> {
    let (forgotten, _) = events::pruned(connection)?;
    let (count, last) =
        connection.query_row("SELECT count(*), coalesce(max(sequence), 0) FROM events", [], |row| {
            Ok((natural(row, 0)?, natural(row, 1)?))
        })?;
    if last != count + forgotten {
        found.push(format!(
            "events: {count} events, and {forgotten} forgotten ones, are numbered up to {last}"
        ));
    }
    Ok(())
}

/// Each task's events, replayed, give its record; and the columns say what the record says.
fn check_tasks(connection: &Connection, found: &mut Vec<String>) -> Outcome<()> {
    let mut statement = connection.prepare(
        "SELECT record, id, owner, state, ready_at, lease, lease_expires_at, last_lease, unresolved_at
         FROM tasks",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let task = record(row)?;
        let id: String = row.get(1)?;
        let lease = task.lease.as_ref();
        let columns_agree = task.id().as_str() == id
            && task.owner().as_str() == row.get::<_, String>(2)?
            && task.state.as_str() == row.get::<_, String>(3)?
            && task.ready_at.filter(|_| task.is_ready()) == optional_time(row, 4)?
            && task.submitted_at.filter(|_| task.awaits_resolution()) == optional_time(row, 8)?
            && lease.map(|lease| lease.id.to_string()) == row.get(5)?
            && lease.map(|lease| lease.expires_at) == optional_time(row, 6)?
            && task.last_lease.as_ref().map(ToString::to_string) == row.get(7)?;
        if !columns_agree {
            found.push(format!("task {id}: its columns contradict its record"));
        }
        check_replay(connection, &id, task, found)?;
    }
    Ok(())
}

fn check_replay(connection: &Connection, id: &str, task: TaskRecord, found: &mut Vec<String>) -> Outcome<()> {
    let events = events::of_task(connection, id)?;
    let mut replayed = TaskRecord::create(task.task.clone(), Timestamp::default());
    for logged in &events {
        replayed.evolve(&logged.event, logged.at);
        if replayed.state != logged.state {
            found.push(format!(
                "task {id}: event {} led to {}, not {}",
                logged.sequence, replayed.state, logged.state
            ));
        }
        if logged.owner != task.task.owner {
            found.push(format!("task {id}: event {} names another owner", logged.sequence));
        }
    }
    if events.is_empty() || replayed.without_heartbeats() != task.without_heartbeats() {
        found.push(format!("task {id}: its events do not lead to its record"));
    }
    Ok(())
}

/// Tasks have the documents that their records name, and no document or need for a block is left over.
fn check_documents(connection: &Connection, found: &mut Vec<String>) -> Outcome<()> {
    let mut statement = connection.prepare(
        "SELECT record, input_document.digest, result_document.digest, template_document.digest FROM tasks
         LEFT JOIN task_documents AS input ON input.task = tasks.id AND input.role = 'input'
         LEFT JOIN documents AS input_document ON input_document.id = input.document
         LEFT JOIN task_documents AS result ON result.task = tasks.id AND result.role = 'result'
         LEFT JOIN documents AS result_document ON result_document.id = result.document
         LEFT JOIN task_documents AS template ON template.task = tasks.id AND template.role = 'template'
         LEFT JOIN documents AS template_document ON template_document.id = template.document
         WHERE state <> 'deleted'",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let task = record(row)?;
        let input: Option<[u8; 32]> = row.get(1)?;
        let result: Option<[u8; 32]> = row.get(2)?;
        let template: Option<[u8; 32]> = row.get(3)?;
        // A draft may still have the document of an upload that was replaced.
        let early = matches!(task.state, TaskState::Draft | TaskState::Validating);
        let named = |digest: Option<wavetask_document::Digest>| digest.map(|digest| *digest.as_bytes());
        if !early && task.input.is_some() && named(task.input) != input {
            found.push(format!("task {}: its input document is missing or another", task.id()));
        }
        let named_template = named(task.template.as_ref().map(|template| template.document));
        if !early && named_template.is_some() && named_template != template {
            found.push(format!("task {}: its template is missing or another", task.id()));
        }
        if named(task.result) != result {
            found.push(format!("task {}: its result document is missing or another", task.id()));
        }
    }
    for (what, sql) in [
        (
            "accounts whose use is counted wrongly",
            "SELECT count(*) FROM usage JOIN (
                SELECT tasks.owner, count(DISTINCT tasks.id) AS tasks,
                    coalesce(sum(body_length + array_length), 0) AS bytes
                FROM tasks LEFT JOIN task_documents ON task_documents.task = tasks.id
                LEFT JOIN documents ON documents.id = task_documents.document
                WHERE tasks.state <> 'deleted' GROUP BY tasks.owner) AS counted USING (owner)
             WHERE usage.tasks <> counted.tasks OR usage.bytes <> counted.bytes",
        ),
        (
            "documents of another account",
            "SELECT count(*) FROM task_documents JOIN tasks ON tasks.id = task_documents.task
             JOIN documents ON documents.id = task_documents.document WHERE tasks.owner <> documents.owner",
        ),
        (
            "needs for blocks of another account",
            "SELECT count(*) FROM document_blocks JOIN documents ON documents.id = document_blocks.document
             WHERE document_blocks.owner <> documents.owner",
        ),
        (
            "members of batches without a task of the account",
            "SELECT count(*) FROM batch_members JOIN batches ON batches.number = batch_members.batch
             LEFT JOIN tasks ON tasks.id = batch_members.task
             WHERE tasks.id IS NULL OR tasks.state = 'deleted' OR tasks.owner <> batches.owner",
        ),
        (
            "parameters without a member",
            "SELECT count(*) FROM parameters WHERE member NOT IN (SELECT number FROM batch_members)",
        ),
        (
            "documents without a task",
            "SELECT count(*) FROM documents WHERE id NOT IN (SELECT document FROM task_documents)",
        ),
        (
            "needs for blocks without a document",
            "SELECT count(*) FROM document_blocks WHERE document NOT IN (SELECT id FROM documents)",
        ),
        (
            "tasks with a document that is gone",
            "SELECT count(*) FROM task_documents WHERE document NOT IN (SELECT id FROM documents)",
        ),
        (
            "released blocks that are needed",
            "SELECT count(*) FROM released_blocks JOIN document_blocks USING (block)",
        ),
    ] {
        let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
        if count != 0 {
            found.push(format!("{what}: {count}"));
        }
    }
    Ok(())
}
