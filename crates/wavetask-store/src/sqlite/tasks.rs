//! Creating, finding and listing tasks, and their logs.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};
use wavetask_core::{Command, Event, NewTask, Refusal, TaskRecord, Timestamp};
use wavetask_document::Digest;
use wavetask_protocol::{FolderId, KeyId, LeaseId, TaskId};

use super::change::Change;
use super::fault::{Fault, Outcome};
use super::selection::selection;
use super::values::{integer, limit, natural, parsed, record, small, to_json};
use super::writer::Durability;
use super::{SqliteTaskStore, accounts};
use crate::error::{ApplyError, Conflict, Result, StoreError};
use crate::model::{
    Applied, CreatedTask, Cursor, LogLine, LogPage, StoredDocument, TaskFilter, TaskPage, TaskRequest,
};
use crate::{MAXIMUM_LOG_LINE, MAXIMUM_LOG_LINES};

impl SqliteTaskStore {
    pub(super) fn insert_task(&self, request: &TaskRequest, now: Timestamp) -> Result<CreatedTask> {
        self.change(Durability::Full, now, |change| insert_task(change, request, Repetition::Same))
            .map_err(|fault| fault.into_store_error("create a task"))
    }

    pub(super) fn find_task(&self, id: &TaskId, owner: Option<&KeyId>) -> Result<Option<TaskRecord>> {
        self.read("read a task", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT record FROM tasks WHERE id = ?1 AND state <> 'deleted' AND (?2 IS NULL OR owner = ?2)",
            )?;
            let owner = owner.map(KeyId::as_str);
            Ok(statement.query_row(params![id.as_str(), owner], record).optional()?)
        })
    }

    pub(super) fn find_by_lease(&self, lease: &LeaseId, ended: bool) -> Result<Option<TaskRecord>> {
        self.read("read a task", |connection| {
            let mut statement = connection.prepare_cached("SELECT record FROM tasks WHERE lease = ?1")?;
            let found = statement.query_row([lease.as_str()], record).optional()?;
            if found.is_some() || !ended {
                return Ok(found);
            }
            let mut statement = connection
                .prepare_cached("SELECT record FROM tasks WHERE last_lease = ?1 AND state <> 'deleted'")?;
            Ok(statement.query_row([lease.as_str()], record).optional()?)
        })
    }

    pub(super) fn find_tasks(
        &self,
        filter: &TaskFilter,
        after: Option<&Cursor>,
        count: usize,
    ) -> Result<TaskPage> {
        let (sql, mut values) = selection(filter, after);
        // One more than asked for tells whether there are more.
        values.push(Value::Integer(limit(count.saturating_add(1))));
        self.read("list tasks", |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(values), record)?;
            let mut tasks = rows.collect::<Result<Vec<_>, _>>()?;
            let more = tasks.len() > count;
            tasks.truncate(count);
            let next = tasks.last().filter(|_| more);
            let next = next.map(|task| Cursor { created_at: task.created_at, task: task.id().clone() });
            Ok(TaskPage { tasks, next })
        })
    }

    pub(super) fn find_solved(
        &self,
        owner: &KeyId,
        input: &Digest,
        solver_version: &str,
        count: usize,
    ) -> Result<Vec<TaskRecord>> {
        self.read("look for solved tasks", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT record FROM tasks WHERE input = ?1 AND owner = ?2 AND state = 'success'
                    AND solver_version = ?4 ORDER BY created_at DESC, id DESC LIMIT ?3",
            )?;
            let values = params![input.as_bytes(), owner.as_str(), limit(count), solver_version];
            let rows = statement.query_map(values, record)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn find_unfinished(
        &self,
        owner: &KeyId,
        input: &Digest,
        count: usize,
    ) -> Result<Vec<TaskRecord>> {
        self.read("look for unfinished tasks", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT record FROM tasks INDEXED BY tasks_by_input WHERE input = ?1 AND owner = ?2
                    AND state IN ('queued', 'running', 'publishing') ORDER BY created_at, id LIMIT ?3",
            )?;
            let rows =
                statement.query_map(params![input.as_bytes(), owner.as_str(), limit(count)], record)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn find_unresolved(&self, count: usize) -> Result<Vec<TaskRecord>> {
        self.read("look for tasks to be resolved", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT record FROM tasks INDEXED BY tasks_unresolved WHERE unresolved_at IS NOT NULL
                 ORDER BY unresolved_at LIMIT ?1",
            )?;
            let rows = statement.query_map([limit(count)], record)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn apply_command(
        &self,
        id: &TaskId,
        command: &Command,
        document: Option<&StoredDocument>,
        now: Timestamp,
    ) -> Result<Applied, ApplyError> {
        let durability = match command {
            Command::Heartbeat { .. } => Durability::Process,
            _ => Durability::Full,
        };
        self.change(durability, now, |change| change.apply(id, command, document))
            .map_err(|fault| fault.into_apply_error("change a task"))
    }

    pub(super) fn remove_old(
        &self,
        owner: &KeyId,
        folder: &FolderId,
        created_before: Timestamp,
        now: Timestamp,
    ) -> Result<u64> {
        let removed = self.change(Durability::Full, now, |change| {
            let tasks: Vec<TaskId> = {
                let mut statement = change.connection.prepare_cached(
                    "SELECT id FROM tasks WHERE owner = ?1 AND folder = ?2 AND created_at < ?3
                        AND lease IS NULL AND state <> 'deleted' ORDER BY created_at DESC, id DESC",
                )?;
                let values = params![owner.as_str(), folder.as_str(), created_before.as_milliseconds()];
                let rows = statement.query_map(values, |row| parsed(row, 0))?;
                rows.collect::<Result<_, _>>()?
            };
            // Those that depend on others are newer than these, and go first.
            let mut removed = 0;
            for task in &tasks {
                match change.apply(task, &Command::Delete, None) {
                    Ok(_) => removed += 1,
                    // A task in another folder still needs it.
                    Err(Fault::Refused(Refusal::InUse { .. })) => {}
                    Err(fault) => return Err(fault),
                }
            }
            Ok(removed)
        });
        removed.map_err(|fault| fault.into_store_error("delete old tasks"))
    }

    pub(super) fn add_log(&self, task: &TaskId, attempt: u32, first: u64, lines: &[String]) -> Result<()> {
        self.write("store log lines", |connection| insert_log(connection, task, attempt, first, lines))
    }

    pub(super) fn find_log(&self, task: &TaskId, after: Option<(u32, u64)>, count: usize) -> Result<LogPage> {
        let (attempt, number) =
            after.map_or((-1, -1), |(attempt, number)| (i64::from(attempt), integer(number)));
        self.read("read a log", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT attempt, number, text FROM logs
                 WHERE task = ?1 AND (attempt, number) > (?2, ?3) ORDER BY attempt, number LIMIT ?4",
            )?;
            let values = params![task.as_str(), attempt, number, limit(count.saturating_add(1))];
            let rows = statement.query_map(values, |row| {
                Ok(LogLine { attempt: small(row, 0)?, number: natural(row, 1)?, text: row.get(2)? })
            })?;
            let mut lines = rows.collect::<Result<Vec<_>, _>>()?;
            let more = lines.len() > count;
            lines.truncate(count);
            Ok(LogPage { lines, more })
        })
    }
}

/// What a request must have in common with the earlier one of the same idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repetition {
    /// The kind of task.
    SameKind,
    /// Kind, folder and name.
    Same,
}

pub(super) fn insert_task(
    change: &mut Change<'_>,
    request: &TaskRequest,
    repetition: Repetition,
) -> Outcome<CreatedTask> {
    let connection = change.connection;
    let task = &request.task;
    if let Some(key) = &request.idempotency_key {
        let mut statement = connection
            .prepare_cached("SELECT record FROM tasks WHERE owner = ?1 AND idempotency_key = ?2")?;
        let earlier = statement.query_row([task.owner.as_str(), key.as_str()], record).optional()?;
        if let Some(earlier) = earlier {
            let same = |earlier: &NewTask| {
                earlier.kind == task.kind
                    && (repetition == Repetition::SameKind
                        || (&earlier.folder, &earlier.name) == (&task.folder, &task.name))
            };
            if same(&earlier.task) {
                return Ok(CreatedTask { record: earlier, is_new: false });
            }
            let conflict = Conflict::IdempotencyKey { task: earlier.task.id };
            return Err(StoreError::Conflict(conflict).into());
        }
    }
    check_request(connection, task)?;
    let created = TaskRecord::create(task.clone(), change.now);
    let mut statement = connection.prepare_cached(
        "INSERT INTO tasks (id, owner, folder, name, kind, state, priority, created_at, memory_bytes,
            idempotency_key, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10)",
    )?;
    statement.execute(params![
        task.id.as_str(),
        task.owner.as_str(),
        task.folder.as_str(),
        task.name,
        task.kind.as_str(),
        created.state.as_str(),
        created.priority,
        created.created_at.as_milliseconds(),
        request.idempotency_key,
        to_json(&created)?,
    ])?;
    let mut statement =
        connection.prepare_cached("INSERT OR IGNORE INTO dependencies (input, task) VALUES (?1, ?2)")?;
    for input in &task.dependencies {
        statement.execute([input.as_str(), task.id.as_str()])?;
    }
    accounts::count(connection, &task.owner, 1, 0)?;
    change.append(&created, Event::Created { task: Box::new(task.clone()) })?;
    Ok(CreatedTask { record: created, is_new: true })
}

/// The folder and all dependencies are the account's, and the id is free. A dependency must have been
/// created before, so there can be no cycle.
fn check_request(connection: &Connection, task: &NewTask) -> Outcome<()> {
    let owner = task.owner.as_str();
    let mut statement =
        connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM folders WHERE id = ?1 AND owner = ?2)")?;
    if !statement.query_row([task.folder.as_str(), owner], |row| row.get::<_, bool>(0))? {
        return Err(StoreError::NotFound("folder").into());
    }
    let mut statement = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM tasks WHERE id = ?1)")?;
    if statement.query_row([task.id.as_str()], |row| row.get::<_, bool>(0))? {
        return Err(StoreError::Conflict(Conflict::TaskId { task: task.id.clone() }).into());
    }
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM tasks WHERE id = ?1 AND owner = ?2 AND state <> 'deleted')",
    )?;
    for input in &task.dependencies {
        if !statement.query_row([input.as_str(), owner], |row| row.get::<_, bool>(0))? {
            return Err(StoreError::Conflict(Conflict::Dependency { input: input.clone() }).into());
        }
    }
    Ok(())
}

/// Adds lines that are not there yet, as far as the limits allow.
pub(super) fn insert_log(
    connection: &Connection,
    task: &TaskId,
    attempt: u32,
    first: u64,
    lines: &[String],
) -> Outcome<()> {
    let mut statement = connection
        .prepare_cached("INSERT OR IGNORE INTO logs (task, attempt, number, text) VALUES (?1, ?2, ?3, ?4)")?;
    for (number, line) in (first..MAXIMUM_LOG_LINES).zip(lines) {
        let end = line.floor_char_boundary(MAXIMUM_LOG_LINE);
        statement.execute(params![task.as_str(), attempt, integer(number), &line[..end]])?;
    }
    Ok(())
}
