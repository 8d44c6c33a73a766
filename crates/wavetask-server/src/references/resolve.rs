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
use wavetask_store::{BlockSession, DocumentRole, EventListener, StoredDocument};

use super::twins::{self, Claim};
use super::{evaluation, known_tasks, slots};
use crate::answer::Refused;
use crate::app::{App, now};
use crate::quota::{self, Room};
use crate::{documents, validation};

/// How long what failed for want of something of the server's is left alone.
const PAUSE: Duration = Duration::from_secs(2);

/// How often what does not pass by itself is tried.
const TRIES: u32 = 5;

/// Tasks that wait for others with the same input at once; more are computed side by side.
const WAITING: usize = 256;

/// Memory that making any input takes, in bytes, beside a few times its text.
const BASE: u64 = 1 << 20;

/// Makes the inputs of tasks that wait for it, for as long as it is polled.
pub(crate) async fn run(app: Arc<App>) {
    let at_once = (2 * app.config.cores).clamp(2, 32);
    let mut working: JoinSet<Attended> = JoinSet::new();
    let mut in_hand: HashMap<Id, TaskRecord> = HashMap::new();
    let mut failures: HashMap<TaskId, u32> = HashMap::new();
    // Tasks that wait, and for which others.
    let mut waiting: HashMap<TaskId, TaskId> = HashMap::new();
    let listener: Arc<dyn EventListener> = app.twins.clone();
    app.tasks.subscribe(&listener);
    loop {
        // Listen first, look second: what becomes ready in between is not missed.
        let ready = app.watch.ready_task();
        tokio::pin!(ready);
        ready.as_mut().enable();
        let ended = app.twins.ended();
        tokio::pin!(ended);
        ended.as_mut().enable();
        for over in app.twins.over() {
            waiting.retain(|_, other| *other != over);
        }
        if in_hand.len() < at_once {
            // Those in hand, and those that wait, may be the first that are found.
            let count = 2 * at_once + waiting.len();
            let found = app.blocking(move |app| Ok(app.tasks.unresolved_tasks(count)?)).await;
            match found {
                Ok(found) => {
                    failures.retain(|task, _| found.iter().any(|record| record.id() == task));
                    for record in found {
                        let is_new = in_hand.values().all(|other| other.id() != record.id())
                            && !waiting.contains_key(record.id());
                        if in_hand.len() < at_once && is_new {
                            let may_wait = waiting.len() < WAITING;
                            let begun = working.spawn(attend(Arc::clone(&app), record.clone(), may_wait));
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
            () = ended => {}
            Some(ended) = working.join_next_with_id() => {
                let (id, attended) = match ended {
                    Ok(ended) => ended,
                    Err(error) => (error.id(), Attended::Failed),
                };
                let Some(record) = in_hand.remove(&id) else { continue };
                match attended {
                    Attended::Done => continue,
                    Attended::WaitsFor(other) => {
                        // Its end may have been told before this was known.
                        if app.twins.is_awaited(&other) {
                            waiting.insert(record.task.id, other);
                        }
                        continue;
                    }
                    Attended::Failed => {}
                }
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

/// What came of attending to a task.
enum Attended {
    /// It is resolved, or stays as it is for a reason that may pass.
    Done,
    /// It stays as it is for a reason that may not pass.
    Failed,
    /// It stays as it is until this one has ended.
    WaitsFor(TaskId),
}

/// Resolves one task, or leaves it as it is: until another one has ended, or for a little.
async fn attend(app: Arc<App>, record: TaskRecord, may_wait: bool) -> Attended {
    let task = record.id().clone();
    let refused = match resolve(&app, record, may_wait).await {
        Ok(None) => return Attended::Done,
        Ok(Some(other)) => match wait_for(&app, other).await {
            Ok(attended) => return attended,
            Err(refused) => refused,
        },
        Err(refused) => refused,
    };
    tracing::warn!(%task, reason = refused.message(), "a task could not be resolved now; it will be tried again");
    tokio::time::sleep(PAUSE).await;
    if refused.is_temporary() { Attended::Done } else { Attended::Failed }
}

/// Waits for the end of a task, unless it has ended meanwhile.
async fn wait_for(app: &Arc<App>, other: TaskId) -> Result<Attended, Refused> {
    app.twins.wait_for(&other);
    let task = other.clone();
    let record = app.blocking(move |app| Ok(app.tasks.task(&task)?)).await?;
    if record.is_none_or(|record| record.state.is_final()) {
        // Others may wait for it, too, and nobody else may tell them: it may have ended before it was awaited.
        app.twins.end(&other);
        return Ok(Attended::Done);
    }
    Ok(Attended::WaitsFor(other))
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
    /// Keeps others from making the same, until the store has it.
    _claim: Option<Claim>,
}

/// What making an input came to.
enum Making {
    Made(Made),
    /// The task is settled by that.
    Settled,
    /// This one will have the result.
    WaitsFor(TaskId),
}

/// Answers with the task to wait for, if there is one.
async fn resolve(app: &Arc<App>, record: TaskRecord, may_wait: bool) -> Result<Option<TaskId>, Refused> {
    let granted = app.budget.work(BASE).await?;
    let record = Arc::new(record);
    let own = Arc::clone(&record);
    let made = match app.blocking(move |app| make(app, &own, may_wait)).await? {
        Making::Made(made) => made,
        Making::Settled => return Ok(None),
        Making::WaitsFor(other) => return Ok(Some(other)),
    };
    let _granted = app.budget.exchange(granted, made.needed).await?;
    let (own, app_of_check) = (Arc::clone(&record), Arc::clone(app));
    let checked = tokio::task::spawn_blocking(move || check(&app_of_check, &own, made)).await;
    checked.unwrap_or_else(|error| {
        tracing::error!(task = %record.id(), %error, "checking a simulation crashed");
        refuse(app, &record, validation::crashed())
    })?;
    Ok(None)
}

/// Makes the input. Blocks.
fn make(app: &App, record: &TaskRecord, may_wait: bool) -> Result<Making, Refused> {
    let Some(template) = &record.template else { return Ok(Making::Settled) };
    let Some(document) = documents::load(app, record.id(), DocumentRole::Template)? else {
        return Err(Refused::no_such_task());
    };
    let (document, estimate) = match input(app, record, template, document)? {
        Ok(made) => made,
        Err(error) => return refuse(app, record, error).map(|()| Making::Settled),
    };
    let digest = document.digest().map_err(|error| Refused::internal(&error))?;
    let mut claim = None;
    if template.cache {
        // First claimed, then looked up: a twin that ended in between has left its result.
        if may_wait {
            match twins::claim(app, record, &digest)? {
                Ok(claimed) => claim = Some(claimed),
                Err(other) => return Ok(Making::WaitsFor(other)),
            }
        }
        if take_known(app, record, &digest)? {
            return Ok(Making::Settled);
        }
    }
    let mut session = app.blocks.session();
    for block in document.arrays.values().flat_map(|array| &array.blocks) {
        if !session.pin(block)? {
            let message = format!("The block {block} of a result that it is made of is gone from the disk.");
            let code = "input.block_lost".to_owned();
            let error = TaskError { kind: ErrorKind::Infrastructure, code, message };
            return refuse(app, record, error).map(|()| Making::Settled);
        }
    }
    let bytes = (document.json.len() as u64).saturating_add(document.array_bytes());
    if bytes > Room::of_account(app, record.owner())?.bytes {
        return refuse(app, record, quota::bytes_exceeded_by_task()).map(|()| Making::Settled);
    }
    match validation::memory_to_check(app, &document) {
        Ok(needed) => Ok(Making::Made(Made { document, digest, session, estimate, needed, _claim: claim })),
        Err(error) => refuse(app, record, error).map(|()| Making::Settled),
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
    let Made { document, digest, mut session, estimate, needed: _, _claim } = made;
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
