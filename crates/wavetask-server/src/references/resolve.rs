//! Making the inputs of tasks whose results are there.
//!
//! What is to be done is in the database: tasks that are queued, wait for nothing and have no input yet. So nothing has
//! to be handed on to here, and nothing is lost when the server stops. Somebody who dies in between has written
//! nothing; somebody who is too late changes nothing, because the state machine takes the first resolution.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use wavetask_core::{Command, TaskRecord, Template};
use wavetask_document::{Digest, Document};
use wavetask_protocol::{ErrorKind, Estimate, TaskError, TaskId, TaskKind};
use wavetask_store::{BlockSession, DocumentRole, StoredDocument};

use super::{evaluation, known_tasks, slots};
use crate::answer::Refused;
use crate::app::{App, now};
use crate::quota::{self, Room};
use crate::{documents, validation};

/// How long what failed for want of something of the server's is left alone.
const PAUSE: Duration = Duration::from_secs(2);

/// How often what does not pass by itself is tried.
const TRIES: u32 = 5;

/// Memory that making any input takes, in bytes, beside a few times its text.
const BASE: u64 = 1 << 20;

/// Makes the inputs of tasks that wait for it, for as long as it is polled.
pub(crate) async fn run(app: Arc<App>) {
    let at_once = (2 * app.config.cores).clamp(2, 32);
    let mut working: JoinSet<bool> = JoinSet::new();
    let mut in_hand: HashMap<Id, TaskRecord> = HashMap::new();
    let mut failures: HashMap<TaskId, u32> = HashMap::new();
    loop {
        // Listen first, look second: what becomes ready in between is not missed.
        let ready = app.watch.ready_task();
        tokio::pin!(ready);
        ready.as_mut().enable();
        if in_hand.len() < at_once {
            // Those in hand may be the first that are found.
            let found = app.blocking(move |app| Ok(app.tasks.unresolved_tasks(2 * at_once)?)).await;
            match found {
                Ok(found) => {
                    failures.retain(|task, _| found.iter().any(|record| record.id() == task));
                    for record in found {
                        let is_new = in_hand.values().all(|other| other.id() != record.id());
                        if in_hand.len() < at_once && is_new {
                            let begun = working.spawn(attend(Arc::clone(&app), record.clone()));
                            in_hand.insert(begun.id(), record);
                        }
                    }
                }
                Err(refused) => {
                    tracing::debug!(
                        reason = refused.message(),
                        "tasks to be resolved could not be looked for"
                    );
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        tokio::select! {
            () = ready => {}
            Some(ended) = working.join_next_with_id() => {
                let (id, failed) = match ended {
                    Ok(ended) => ended,
                    Err(error) => (error.id(), true),
                };
                let Some(record) = in_hand.remove(&id).filter(|_| failed) else { continue };
                let count = failures.entry(record.id().clone()).or_default();
                *count += 1;
                if *count >= TRIES {
                    let gave_up = app.blocking(move |app| refuse(app, &record, given_up())).await;
                    if let Err(refused) = gave_up {
                        tracing::error!(reason = refused.message(), "a task that cannot be resolved stays as it is");
                    }
                }
            }
        }
    }
}

/// Resolves one task, or leaves it as it is and waits a little. Answers whether it failed for a reason that may not
/// pass.
async fn attend(app: Arc<App>, record: TaskRecord) -> bool {
    let task = record.id().clone();
    let Err(refused) = resolve(&app, record).await else { return false };
    tracing::warn!(%task, reason = refused.message(), "a task could not be resolved now; it will be tried again");
    tokio::time::sleep(PAUSE).await;
    !refused.is_temporary()
}

fn given_up() -> TaskError {
    TaskError {
        kind: ErrorKind::Infrastructure,
        code: "input.not_made".to_owned(),
        message: format!(
            "Its input could not be made of the results of other tasks in {TRIES} tries; the server's log says why."
        ),
    }
}

/// An input, and what keeps its blocks until the store has it.
struct Made {
    document: Document,
    digest: Digest,
    session: Box<dyn BlockSession>,
    /// What it needs, where the validator is not asked.
    estimate: Option<Estimate>,
    /// Memory that checking it takes, in bytes.
    needed: u64,
}

async fn resolve(app: &Arc<App>, record: TaskRecord) -> Result<(), Refused> {
    let granted = app.budget.work(BASE).await?;
    let record = Arc::new(record);
    let own = Arc::clone(&record);
    let made = app.blocking(move |app| make(app, &own)).await?;
    let Some(made) = made else { return Ok(()) };
    let _granted = app.budget.exchange(granted, made.needed).await?;
    let (own, app_of_check) = (Arc::clone(&record), Arc::clone(app));
    let checked = tokio::task::spawn_blocking(move || check(&app_of_check, &own, made)).await;
    checked.unwrap_or_else(|error| {
        tracing::error!(task = %record.id(), %error, "checking a simulation crashed");
        refuse(app, &record, validation::crashed())
    })
}

/// Makes the input; `None` if that settles the task. Blocks.
fn make(app: &App, record: &TaskRecord) -> Result<Option<Made>, Refused> {
    let Some(template) = &record.template else { return Ok(None) };
    let Some(document) = documents::load(app, record.id(), DocumentRole::Template)? else {
        return Err(Refused::no_such_task());
    };
    let (document, estimate) = match input(app, record, template, document)? {
        Ok(made) => made,
        Err(error) => return refuse(app, record, error).map(|()| None),
    };
    let digest = document.digest().map_err(|error| Refused::internal(&error))?;
    if template.cache && take_known(app, record, &digest)? {
        return Ok(None);
    }
    let mut session = app.blocks.session();
    for block in document.arrays.values().flat_map(|array| &array.blocks) {
        if !session.pin(block)? {
            let message = format!("The block {block} of a result that it is made of is gone from the disk.");
            let code = "input.block_lost".to_owned();
            let error = TaskError { kind: ErrorKind::Infrastructure, code, message };
            return refuse(app, record, error).map(|()| None);
        }
    }
    let bytes = (document.json.len() as u64).saturating_add(document.array_bytes());
    if bytes > Room::of_account(app, record.owner())?.bytes {
        return refuse(app, record, quota::bytes_exceeded_by_task()).map(|()| None);
    }
    match validation::memory_to_check(app, &document) {
        Ok(needed) => Ok(Some(Made { document, digest, session, estimate, needed })),
        Err(error) => refuse(app, record, error).map(|()| None),
    }
}

type Input = Result<(Document, Option<Estimate>), TaskError>;

/// The template with what it refers to in place. Blocks.
fn input(app: &App, record: &TaskRecord, template: &Template, document: Document) -> Result<Input, Refused> {
    if record.task.kind == TaskKind::Evaluation {
        let tasks = known_tasks(app, record.owner(), &record.task.dependencies)?;
        let resolved = evaluation::resolve(app, &document, &tasks)?;
        return Ok(resolved.map(|(document, estimate)| (document, Some(estimate))));
    }
    Ok(slots::fill(app, document, &template.slots)?.map(|document| (document, None)))
}

/// Takes the result of a task with the same input, if there is one. Blocks.
fn take_known(app: &App, record: &TaskRecord, input: &Digest) -> Result<bool, Refused> {
    let solver_version = app.validator.solver_version(record.task.kind);
    let known = app.tasks.solved_tasks(record.owner(), input, &solver_version, 1)?.pop();
    let Some(known) = known.filter(|known| known.task.kind == record.task.kind) else { return Ok(false) };
    let command = Command::ResolveSolved {
        estimate: known.estimate.unwrap_or_default(),
        input: *input,
        result: known.result,
        solver_version,
    };
    app.apply(record.id(), &command)?;
    Ok(true)
}

/// Asks the validator, and writes down what it says. Blocks.
fn check(app: &App, record: &TaskRecord, made: Made) -> Result<(), Refused> {
    let Made { document, digest, mut session, estimate, .. } = made;
    let estimate = match validation::judge(app, record.task.kind, &document, estimate) {
        Ok(estimate) => estimate,
        Err(error) => return refuse(app, record, error),
    };
    let stored: StoredDocument = wavetask_store::put_document(&mut *session, &document, digest)?;
    session.make_durable()?;
    let command = Command::Resolve { estimate, input: digest };
    let applied = app.tasks.apply_with_document(record.id(), &command, &stored, now())?;
    app.carry_out(&applied.effects);
    Ok(())
}

/// The task cannot be run. Blocks.
fn refuse(app: &App, record: &TaskRecord, error: TaskError) -> Result<(), Refused> {
    // What the same solver would refuse again is not tried again.
    let final_word = error.kind == ErrorKind::Validation && !quota::is_exceeded(&error);
    let solver_version = final_word.then(|| app.validator.solver_version(record.task.kind));
    app.apply(record.id(), &Command::RefuseResolution { error, solver_version })?;
    Ok(())
}
