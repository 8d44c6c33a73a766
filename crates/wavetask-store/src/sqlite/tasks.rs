//! Creating, finding and listing tasks, and their logs.

use rusqlite::types::Value;
use rusqlite::{OptionalExtension as _, Transaction, params, params_from_iter};
use wavetask_core::{Command, Event, NewTask, TaskRecord, Timestamp};
use wavetask_document::Digest;
use wavetask_protocol::{FolderId, KeyId, LeaseId, TaskId};

use super::change::Change;
use super::fault::Outcome;
use super::values::{integer, limit, natural, parsed, record, small, to_json};
use super::{Durability, SqliteTaskStore};
use crate::error::{ApplyError, Conflict, Result, StoreError};
use crate::model::{
    Applied, CreatedTask, Cursor, LogLine, LogPage, StoredDocument, TaskFilter, TaskPage, TaskRequest,
};
use crate::{MAXIMUM_LOG_LINE, MAXIMUM_LOG_LINES};

impl SqliteTaskStore {
    pub(super) fn insert_task(&self, request: &TaskRequest, now: Timestamp) -> Result<CreatedTask> {
        self.change(Durability::Full, now, |change| insert_task(change, request))
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

    pub(super) fn find_solved(&self, owner: &KeyId, input: &Digest, count: usize) -> Result<Vec<TaskRecord>> {
        self.read("look for solved tasks", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT record FROM tasks WHERE input = ?1 AND owner = ?2 AND state = 'success'
                 ORDER BY created_at DESC, id DESC LIMIT ?3",
            )?;
            let rows =
                statement.query_map(params![input.as_bytes(), owner.as_str(), limit(count)], record)?;
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
                let mut statement = change.transaction.prepare_cached(
                    "SELECT id FROM tasks WHERE owner = ?1 AND folder = ?2 AND created_at < ?3
                        AND lease IS NULL AND state <> 'deleted'",
                )?;
                let values = params![owner.as_str(), folder.as_str(), created_before.as_milliseconds()];
                let rows = statement.query_map(values, |row| parsed(row, 0))?;
                rows.collect::<Result<_, _>>()?
            };
            for task in &tasks {
                change.apply(task, &Command::Delete, None)?;
            }
            Ok(tasks.len() as u64)
        });
        removed.map_err(|fault| fault.into_store_error("delete old tasks"))
    }

    pub(super) fn add_log(&self, task: &TaskId, attempt: u32, first: u64, lines: &[String]) -> Result<()> {
        self.write("store log lines", |transaction| insert_log(transaction, task, attempt, first, lines))
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

fn insert_task(change: &mut Change<'_>, request: &TaskRequest) -> Outcome<CreatedTask> {
    let transaction = change.transaction;
    let task = &request.task;
    if let Some(key) = &request.idempotency_key {
        let mut statement = transaction
            .prepare_cached("SELECT record FROM tasks WHERE owner = ?1 AND idempotency_key = ?2")?;
        let earlier = statement.query_row([task.owner.as_str(), key.as_str()], record).optional()?;
        if let Some(earlier) = earlier {
            let same = |earlier: &NewTask| {
                (&earlier.folder, &earlier.name, earlier.kind) == (&task.folder, &task.name, task.kind)
            };
            if same(&earlier.task) {
                return Ok(CreatedTask { record: earlier, is_new: false });
            }
            let conflict = Conflict::IdempotencyKey { task: earlier.task.id };
            return Err(StoreError::Conflict(conflict).into());
        }
    }
    check_request(transaction, task)?;
    let created = TaskRecord::create(task.clone(), change.now);
    let mut statement = transaction.prepare_cached(
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
        transaction.prepare_cached("INSERT OR IGNORE INTO dependencies (input, task) VALUES (?1, ?2)")?;
    for input in &task.dependencies {
        statement.execute([input.as_str(), task.id.as_str()])?;
    }
    change.append(&created, Event::Created { task: Box::new(task.clone()) })?;
    Ok(CreatedTask { record: created, is_new: true })
}

/// The folder and all dependencies are the account's, and the id is free. A dependency must have been
/// created before, so there can be no cycle.
fn check_request(transaction: &Transaction<'_>, task: &NewTask) -> Outcome<()> {
    let owner = task.owner.as_str();
    let mut statement =
        transaction.prepare_cached("SELECT EXISTS (SELECT 1 FROM folders WHERE id = ?1 AND owner = ?2)")?;
    if !statement.query_row([task.folder.as_str(), owner], |row| row.get::<_, bool>(0))? {
        return Err(StoreError::NotFound("folder").into());
    }
    let mut statement = transaction.prepare_cached("SELECT EXISTS (SELECT 1 FROM tasks WHERE id = ?1)")?;
    if statement.query_row([task.id.as_str()], |row| row.get::<_, bool>(0))? {
        return Err(StoreError::Conflict(Conflict::TaskId { task: task.id.clone() }).into());
    }
    let mut statement = transaction.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM tasks WHERE id = ?1 AND owner = ?2 AND state <> 'deleted')",
    )?;
    for input in &task.dependencies {
        if !statement.query_row([input.as_str(), owner], |row| row.get::<_, bool>(0))? {
            return Err(StoreError::Conflict(Conflict::Dependency { input: input.clone() }).into());
        }
    }
    Ok(())
}

/// The statement and its values for a filter. Only question marks go into the text.
fn selection(filter: &TaskFilter, after: Option<&Cursor>) -> (String, Vec<Value>) {
    let mut conditions = Vec::new();
    let mut values = Vec::new();
    let mut require = |condition: String, new: Vec<Value>| {
        conditions.push(condition);
        values.extend(new);
    };
    let one_of = |column: &str, count: usize| format!("{column} IN ({})", vec!["?"; count].join(", "));
    let text = |text: &str| Value::Text(text.to_owned());
    if let Some(owner) = &filter.owner {
        require("owner = ?".to_owned(), vec![text(owner.as_str())]);
    }
    if let Some(folder) = &filter.folder {
        require("folder = ?".to_owned(), vec![text(folder.as_str())]);
    }
    if filter.states.is_empty() {
        require("state <> 'deleted'".to_owned(), Vec::new());
    } else {
        let states = filter.states.iter().map(|state| text(state.as_str())).collect();
        require(one_of("state", filter.states.len()), states);
    }
    if !filter.kinds.is_empty() {
        let kinds = filter.kinds.iter().map(|kind| text(kind.as_str())).collect();
        require(one_of("kind", filter.kinds.len()), kinds);
    }
    if let Some(part) = &filter.name_contains {
        require("instr(lower(name), lower(?)) > 0".to_owned(), vec![text(part)]);
    }
    if let Some(from) = filter.created_from {
        require("created_at >= ?".to_owned(), vec![Value::Integer(from.as_milliseconds())]);
    }
    if let Some(before) = filter.created_before {
        require("created_at < ?".to_owned(), vec![Value::Integer(before.as_milliseconds())]);
    }
    if let Some(cursor) = after {
        let cursor = vec![Value::Integer(cursor.created_at.as_milliseconds()), text(cursor.task.as_str())];
        require("(created_at, id) < (?, ?)".to_owned(), cursor);
    }
    let sql = format!(
        "SELECT record FROM tasks WHERE {} ORDER BY created_at DESC, id DESC LIMIT ?",
        conditions.join(" AND ")
    );
    (sql, values)
}

/// Adds lines that are not there yet, as far as the limits allow.
pub(super) fn insert_log(
    transaction: &Transaction<'_>,
    task: &TaskId,
    attempt: u32,
    first: u64,
    lines: &[String],
) -> Outcome<()> {
    let mut statement = transaction
        .prepare_cached("INSERT OR IGNORE INTO logs (task, attempt, number, text) VALUES (?1, ?2, ?3, ?4)")?;
    for (number, line) in (first..MAXIMUM_LOG_LINES).zip(lines) {
        let end = line.floor_char_boundary(MAXIMUM_LOG_LINE);
        statement.execute(params![task.as_str(), attempt, integer(number), &line[..end]])?;
    }
    Ok(())
}
