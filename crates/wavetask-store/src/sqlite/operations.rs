//! Several changes in one transaction.

use std::collections::HashMap;

use rusqlite::{OptionalExtension as _, params};
use wavetask_core::{TaskRecord, Timestamp};
use wavetask_protocol::KeyId;

use super::change::Change;
use super::fault::{Fault, Outcome};
use super::values::record;
use super::writer::Durability;
use super::{SqliteTaskStore, batches, tasks};
use crate::error::{ApplyError, Result, StoreError};
use crate::model::Applied;
use crate::operation::{Done, Operation};

impl SqliteTaskStore {
    pub(super) fn apply_operations(
        &self,
        operations: &[Operation],
        now: Timestamp,
    ) -> Result<Vec<Result<Done, ApplyError>>> {
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        let applied = self.change(Durability::Full, now, |change| {
            operations
                .iter()
                .map(|operation| match change.isolated(|change| carry_out(change, operation))? {
                    Ok(done) => Ok(Ok(done)),
                    Err(fault) if is_refusal(&fault) => Ok(Err(fault.into_apply_error("change tasks"))),
                    Err(fault) => Err(fault),
                })
                .collect()
        });
        applied.map_err(|fault| fault.into_store_error("change tasks"))
    }

    pub(super) fn find_by_idempotency(
        &self,
        owner: &KeyId,
        keys: &[String],
    ) -> Result<HashMap<String, TaskRecord>> {
        self.read("look for tasks", |connection| {
            let mut statement = connection
                .prepare_cached("SELECT record FROM tasks WHERE owner = ?1 AND idempotency_key = ?2")?;
            let mut known = HashMap::new();
            for key in keys {
                let found = statement.query_row(params![owner.as_str(), key], record).optional()?;
                if let Some(task) = found {
                    known.insert(key.clone(), task);
                }
            }
            Ok(known)
        })
    }
}

fn carry_out(change: &mut Change<'_>, operation: &Operation) -> Outcome<Done> {
    match operation {
        Operation::Create(request) => {
            let created = tasks::insert_task(change, request, tasks::Repetition::SameKind)?;
            let applied = Applied { record: created.record, changed: created.is_new, effects: Vec::new() };
            Ok(Done::Task(Box::new(applied)))
        }
        Operation::Apply { task, command, document } => {
            Ok(Done::Task(Box::new(change.apply(task, command, document.as_ref())?)))
        }
        Operation::AppendLog { lease, first_line, lines } => {
            let mut statement =
                change.connection.prepare_cached("SELECT record FROM tasks WHERE lease = ?1")?;
            let task = statement.query_row([lease.as_str()], record).optional()?.ok_or(Fault::NoSuchTask)?;
            tasks::insert_log(change.connection, task.id(), task.attempt, *first_line, lines)?;
            Ok(Done::Task(Box::new(Applied { record: task, changed: true, effects: Vec::new() })))
        }
        Operation::ReleaseKey { task } => {
            let released = change
                .connection
                .prepare_cached("UPDATE tasks SET idempotency_key = NULL WHERE id = ?1 RETURNING record")?
                .query_row([task.as_str()], record)
                .optional()?;
            let record = released.ok_or(Fault::NoSuchTask)?;
            Ok(Done::Task(Box::new(Applied { record, changed: true, effects: Vec::new() })))
        }
        Operation::SetMembers(update) => batches::set_members(change, update),
    }
}

/// Whether the request is at fault, and not the store.
const fn is_refusal(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::NoSuchTask
            | Fault::Refused(_)
            | Fault::Store(StoreError::Conflict(_) | StoreError::NotFound(_))
    )
}
