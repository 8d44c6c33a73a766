//! Changing tasks inside a transaction.

use rusqlite::{Connection, OptionalExtension as _, params};
use wavetask_core::{
    Command, Context, Effect, Event, Input, InputOutcome, Policy, Refusal, TaskRecord, Timestamp, decide,
};
use wavetask_protocol::{TaskId, TaskState};

use super::fault::{Fault, Outcome};
use super::values::{integer, record, to_json};
use super::{accounts, batches, documents};
use crate::error::{Conflict, StoreError};
use crate::model::{Applied, DocumentRole, LoggedEvent, StoredDocument};

/// A transaction that is under way, and what it has done so far.
pub(super) struct Change<'a> {
    pub(super) connection: &'a Connection,
    policy: &'a Policy,
    pub(super) now: Timestamp,
    pub(super) events: Vec<LoggedEvent>,
    pub(super) progressed: Vec<TaskId>,
}

impl<'a> Change<'a> {
    pub(super) const fn new(connection: &'a Connection, policy: &'a Policy, now: Timestamp) -> Self {
        Self { connection, policy, now, events: Vec::new(), progressed: Vec::new() }
    }

    /// Does some work so that, if it fails, nothing of it is left. The outer error means that the transaction
    /// itself can no longer be relied on.
    pub(super) fn isolated<T>(&mut self, work: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<Outcome<T>> {
        let (events, progressed) = (self.events.len(), self.progressed.len());
        self.connection.prepare_cached("SAVEPOINT change")?.execute([])?;
        let outcome = work(self);
        if outcome.is_err() {
            self.events.truncate(events);
            self.progressed.truncate(progressed);
            if self.connection.is_autocommit() {
                return outcome.map(Ok);
            }
            self.connection.prepare_cached("ROLLBACK TO change")?.execute([])?;
        }
        self.connection.prepare_cached("RELEASE change")?.execute([])?;
        Ok(outcome)
    }

    /// A task that is not deleted.
    pub(super) fn live(&self, id: &TaskId) -> Outcome<TaskRecord> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT record FROM tasks WHERE id = ?1 AND state <> 'deleted'")?;
        statement.query_row([id.as_str()], record).optional()?.ok_or(Fault::NoSuchTask)
    }

    /// Applies a command to a task and then carries its consequences through to those that depend on it.
    pub(super) fn apply(
        &mut self,
        id: &TaskId,
        command: &Command,
        document: Option<&StoredDocument>,
    ) -> Outcome<Applied> {
        let before = self.live(id)?;
        let inputs = match command {
            Command::Submit { .. }
            | Command::SubmitSolved { .. }
            | Command::Retry
            | Command::RetryAfterInput { .. } => self.inputs(&before.task.dependencies)?,
            Command::FailInput { input } => self.inputs(std::slice::from_ref(input))?,
            _ => Vec::new(),
        };
        let users = if *command == Command::Delete { self.users(id)? } else { Vec::new() };
        let context = Context { now: self.now, policy: self.policy, inputs: &inputs, users: &users };
        let decision = match decide(&before, command, &context) {
            Ok(decision) => decision,
            Err(Refusal::AlreadyDone) => {
                return Ok(Applied { record: before, changed: false, effects: Vec::new() });
            }
            Err(refusal) => return Err(Fault::Refused(refusal)),
        };
        self.save(&decision.record)?;
        self.log(&before, &decision.events)?;
        self.attach(&decision.record, command, document)?;
        let mut effects = Vec::new();
        for effect in decision.effects {
            self.carry_out(&decision.record, effect, &mut effects)?;
        }
        Ok(Applied { record: decision.record, changed: true, effects })
    }

    fn inputs(&self, tasks: &[TaskId]) -> Outcome<Vec<Input>> {
        let mut statement = self.connection.prepare_cached("SELECT record FROM tasks WHERE id = ?1")?;
        let mut inputs = Vec::with_capacity(tasks.len());
        for input in tasks {
            let known = statement.query_row([input.as_str()], record).optional()?;
            let state = known.as_ref().map(|task| task.state);
            inputs.push(Input { task: input.clone(), state, error: known.and_then(|task| task.error) });
        }
        Ok(inputs)
    }

    /// Tasks that depend on this one and have not ended; those that are held until somebody starts them, too.
    fn users(&self, task: &TaskId) -> Outcome<Vec<TaskId>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT task FROM dependencies CROSS JOIN tasks ON tasks.id = dependencies.task
             WHERE dependencies.input = ?1 AND tasks.state IN
                ('validated', 'queued', 'running', 'publishing', 'aborting')",
        )?;
        let rows = statement.query_map([task.as_str()], |row| super::values::parsed(row, 0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn attach(&self, task: &TaskRecord, command: &Command, document: Option<&StoredDocument>) -> Outcome<()> {
        if let Command::ResolveSolved { input, .. } = command {
            documents::share(self.connection, task, DocumentRole::Input, Some(*input))?;
        }
        let (role, named) = match command {
            Command::AcceptUpload { input, .. } | Command::Resolve { input, .. } => {
                (DocumentRole::Input, Some(*input))
            }
            Command::AcceptTemplate { template, .. } => (DocumentRole::Template, Some(template.document)),
            Command::ResolveSolved { result, .. } => (DocumentRole::Result, *result),
            Command::Publish { result, .. } | Command::SubmitSolved { result, .. } => {
                (DocumentRole::Result, *result)
            }
            _ => (DocumentRole::Input, None),
        };
        match document {
            Some(document) if named == Some(document.digest) => {
                documents::attach(self.connection, task, role, document)
            }
            Some(document) => {
                Err(StoreError::Conflict(Conflict::Document { named, given: document.digest }).into())
            }
            // The result of another task with the same input may be named by its digest alone.
            None if named.is_some() => documents::share(self.connection, task, role, named),
            None => Ok(()),
        }
    }

    /// Writes the record and the columns that are searched.
    pub(super) fn save(&self, task: &TaskRecord) -> Outcome<()> {
        let lease = task.lease.as_ref();
        let ready_at = if task.is_ready() { task.ready_at } else { None };
        let unresolved_at = if task.awaits_resolution() { task.submitted_at } else { None };
        let deleted = task.state == TaskState::Deleted;
        let mut statement = self.connection.prepare_cached(
            "UPDATE tasks SET state = ?2, priority = ?3, ready_at = ?4, memory_bytes = ?5, lease = ?6,
                lease_expires_at = ?7, last_lease = ?8, input = ?9, record = ?10,
                idempotency_key = iif(?11, NULL, idempotency_key), solver_version = ?12, unresolved_at = ?13
             WHERE id = ?1",
        )?;
        statement.execute(params![
            task.id().as_str(),
            task.state.as_str(),
            task.priority,
            ready_at.map(Timestamp::as_milliseconds),
            integer(task.estimate.map_or(0, |estimate| estimate.memory_bytes)),
            lease.map(|lease| lease.id.as_str()),
            lease.map(|lease| lease.expires_at.as_milliseconds()),
            task.last_lease.as_ref().map(|lease| lease.as_str()),
            task.input.as_ref().map(|input| input.as_bytes()),
            to_json(task)?,
            deleted,
            task.solver_version,
            unresolved_at.map(Timestamp::as_milliseconds),
        ])?;
        Ok(())
    }

    /// Appends to the event log what belongs there.
    fn log(&mut self, before: &TaskRecord, events: &[Event]) -> Outcome<()> {
        let mut task = before.clone();
        for event in events {
            task.evolve(event, self.now);
            if event.is_logged() {
                self.append(&task, event.clone())?;
            } else {
                self.progressed.push(task.id().clone());
            }
        }
        Ok(())
    }

    /// Appends one event, after which the task is as given.
    pub(super) fn append(&mut self, task: &TaskRecord, event: Event) -> Outcome<()> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO events (at, task, owner, state, event) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let sequence = statement.insert(params![
            self.now.as_milliseconds(),
            task.id().as_str(),
            task.owner().as_str(),
            task.state.as_str(),
            to_json(&event)?,
        ])?;
        self.events.push(LoggedEvent {
            sequence: u64::try_from(sequence).unwrap_or(0),
            at: self.now,
            task: task.id().clone(),
            owner: task.owner().clone(),
            state: task.state,
            event,
        });
        Ok(())
    }

    fn carry_out(
        &mut self,
        task: &TaskRecord,
        effect: Effect,
        effects: &mut Vec<(TaskId, Effect)>,
    ) -> Outcome<()> {
        let id = task.id();
        match &effect {
            Effect::NotifyDependents(outcome) => self.notify_dependents(id, *outcome, effects)?,
            Effect::PostCallback { url } => {
                let mut statement = self.connection.prepare_cached(
                    "INSERT INTO callbacks (task, url, tries, next_try) VALUES (?1, ?2, 0, ?3)",
                )?;
                statement.execute(params![id.as_str(), url, self.now.as_milliseconds()])?;
            }
            Effect::ReleaseInput => documents::release(self.connection, task, DocumentRole::Input)?,
            Effect::ReleaseResult => documents::release(self.connection, task, DocumentRole::Result)?,
            Effect::ReleaseEverything => {
                for role in [DocumentRole::Template, DocumentRole::Input, DocumentRole::Result] {
                    documents::release(self.connection, task, role)?;
                }
                self.connection.prepare_cached("DELETE FROM logs WHERE task = ?1")?.execute([id.as_str()])?;
                let mut statement =
                    self.connection.prepare_cached("DELETE FROM dependencies WHERE input = ?1")?;
                statement.execute([id.as_str()])?;
                batches::leave(self.connection, id)?;
                accounts::count(self.connection, task.owner(), -1, 0)?;
                for input in &task.task.dependencies {
                    let mut statement = self
                        .connection
                        .prepare_cached("DELETE FROM dependencies WHERE input = ?1 AND task = ?2")?;
                    statement.execute([input.as_str(), id.as_str()])?;
                }
            }
            _ => {}
        }
        effects.push((id.clone(), effect));
        Ok(())
    }

    /// Tells those that wait for the task. A dependent that fails because of it tells its own dependents in
    /// turn, to any depth, all in this transaction; each task ends once, so this ends.
    fn notify_dependents(
        &mut self,
        id: &TaskId,
        outcome: InputOutcome,
        effects: &mut Vec<(TaskId, Effect)>,
    ) -> Outcome<()> {
        let state = if outcome == InputOutcome::Retried { TaskState::Error } else { TaskState::Queued };
        let dependents: Vec<TaskId> = {
            let mut statement = self.connection.prepare_cached(
                // CROSS keeps the order: by state first, each task that ends would look at all that are queued.
                "SELECT task FROM dependencies CROSS JOIN tasks ON tasks.id = dependencies.task
                 WHERE dependencies.input = ?1 AND tasks.state = ?2",
            )?;
            let rows =
                statement.query_map([id.as_str(), state.as_str()], |row| super::values::parsed(row, 0))?;
            rows.collect::<Result<_, _>>()?
        };
        for dependent in dependents {
            let command = match outcome {
                InputOutcome::Resolved => Command::ResolveInput { input: id.clone() },
                InputOutcome::Failed => Command::FailInput { input: id.clone() },
                InputOutcome::Retried => Command::RetryAfterInput { input: id.clone() },
            };
            effects.extend(self.apply(&dependent, &command, None)?.effects);
        }
        Ok(())
    }
}
