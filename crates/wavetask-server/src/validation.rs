//! From an upload to a validated task: unpack, take apart, check, decide.
//!
//! ```text
//!  staged file ─ unpack ─► HDF5 ─ read ─► document + blocks (pinned) ─ kind? ─ validator ─► accept | refuse
//! ```
//!
//! The request that asks for it waits for the end, because the client then never sleeps. The work itself is
//! a task of its own: a client that hangs up does not leave a validation half done. Blocks are pinned by a
//! session until the store has the document, so that the garbage collection cannot take them in between.

use std::fs::File;
use std::io::{self, Seek};
use std::sync::Arc;

use wavetask_core::{Command, TaskRecord};
use wavetask_document::{Document, DocumentArrays, DocumentError, hdf5, unpack};
use wavetask_protocol::{ErrorKind, Estimate, KeyId, TaskError, TaskId, TaskKind, TaskState, chain};
use wavetask_store::{BlockSession, StoreError, put_document};

use crate::answer::Refused;
use crate::app::{App, now};
use crate::budget::HeavyWork;
use crate::disk::RoomyWriter;
use crate::files::upload_name;
use crate::quota::{self, Room};
use crate::{Refusal, ServerConfig};

/// Memory that reading any upload may need, in bytes.
const BASE_MEMORY: u64 = 64 << 20;

/// Refusals that are told; more do not help anybody.
const TOLD: usize = 20;

/// Limits for documents, from the server's.
pub(crate) fn document_limits(config: &ServerConfig) -> wavetask_document::Limits {
    wavetask_document::Limits {
        file_bytes: config.limits.uncompressed_bytes,
        json_bytes: config.limits.document_bytes,
        ..wavetask_document::Limits::default()
    }
}

/// What came of reading and checking an upload.
enum Outcome {
    Accepted(Box<Accepted>),
    Refused(TaskError),
    /// The server's disk was full, or its store failed: try again later.
    Interrupted(Refused),
}

struct Accepted {
    document: Document,
    estimate: Estimate,
    /// Keeps the blocks until the document is in the store.
    session: Box<dyn BlockSession>,
}

/// Validates a task, unless that has been done. When this returns, the task's state says what came of it.
///
/// # Errors
/// If nothing was uploaded, or the server could not do it now.
pub(crate) async fn validate(app: &Arc<App>, record: &TaskRecord) -> Result<(), Refused> {
    let (own, task) = (Arc::clone(app), record.id().clone());
    app.background
        .spawn(async move { validate_now(&own, &task).await })
        .await
        .unwrap_or_else(|error| Err(Refused::internal(&error)))
}

async fn validate_now(app: &Arc<App>, task: &TaskId) -> Result<(), Refused> {
    // While this is held no file of the task is put in place, and no second validation begins.
    let _exclusive = app.staging.lock(task).await;
    let id = task.clone();
    let begun = app
        .blocking(move |app| {
            let record = app.tasks.task(&id)?.ok_or_else(Refused::no_such_task)?;
            if !matches!(record.state, TaskState::Draft | TaskState::Validating) {
                return Ok(None);
            }
            let Some(manifest) = app.staging.staged(&id, upload_name(record.task.kind))? else {
                return Err(Refused::bad_request("no simulation has been uploaded for this task"));
            };
            app.apply(&id, &Command::StartValidation)?;
            Ok(Some((record, manifest)))
        })
        .await?;
    let Some((record, manifest)) = begun else { return Ok(()) };
    let started = std::time::Instant::now();
    let kind = record.task.kind;
    let (outcome, _work) = examine(app, task, record.owner(), kind, manifest).await?;
    let outcome = outcome.unwrap_or_else(|error| {
        tracing::error!(%task, %error, "checking a simulation crashed");
        Outcome::Refused(crashed())
    });
    tracing::debug!(%task, seconds = started.elapsed().as_secs_f64(), "a simulation was checked");
    let id = task.clone();
    app.blocking(move |app| conclude(app, &id, outcome)).await
}

/// Reads an upload and has it checked, in steps that each wait for the memory that they may need: what the
/// next one needs is known only after the one before. The right to use it is handed back with the outcome.
async fn examine(
    app: &Arc<App>,
    task: &TaskId,
    owner: &KeyId,
    kind: TaskKind,
    manifest: crate::staging::Manifest,
) -> Result<(Result<Outcome, tokio::task::JoinError>, HeavyWork), Refused> {
    let limits = &app.config.limits;
    let work = app.budget.work(BASE_MEMORY).await?;
    let own = Arc::clone(app);
    let id = task.clone();
    let unpacked = tokio::task::spawn_blocking(move || unpacked(&own, &id, &manifest)).await;
    let (file, length) = match unpacked {
        Ok(Ok(unpacked)) => unpacked,
        Ok(Err(outcome)) => return Ok((Ok(outcome), work)),
        Err(error) => return Ok((Err(error), work)),
    };
    // The JSON text is held about twice while it is read; arrays go to blocks as they come.
    let text = length.min(limits.document_bytes);
    let work = app.budget.exchange(work, BASE_MEMORY.saturating_add(2 * text)).await?;
    let own = Arc::clone(app);
    let taken_apart = tokio::task::spawn_blocking(move || take_apart(&own, kind, &file)).await;
    let (document, session, parsed) = match taken_apart {
        Ok(Ok(taken_apart)) => taken_apart,
        Ok(Err(outcome)) => return Ok((Ok(outcome), work)),
        Err(error) => return Ok((Err(error), work)),
    };
    let bytes = (document.json.len() as u64).saturating_add(document.array_bytes());
    let owner = owner.clone();
    let room = app.blocking(move |app| Room::of_account(app, &owner)).await?;
    if bytes > room.bytes {
        return Ok((Ok(Outcome::Refused(quota::bytes_exceeded_by_task())), work));
    }
    if parsed > limits.memory_bytes {
        let error = too_large_to_parse(parsed, limits.memory_bytes);
        return Ok((Ok(Outcome::Refused(error)), work));
    }
    // The validator may hold each array, and a copy of it, in memory.
    let arrays = document.array_bytes().saturating_mul(2);
    let work = app.budget.exchange(work, BASE_MEMORY.saturating_add(parsed).saturating_add(arrays)).await?;
    let own = Arc::clone(app);
    let checked = tokio::task::spawn_blocking(move || check(&own, kind, document, session)).await;
    Ok((checked, work))
}

/// Writes down what came of it.
fn conclude(app: &App, task: &TaskId, outcome: Outcome) -> Result<(), Refused> {
    match outcome {
        Outcome::Accepted(mut accepted) => {
            let digest = match accepted.document.digest() {
                Ok(digest) => digest,
                Err(error) => return conclude(app, task, Outcome::Refused(document_refused(&error))),
            };
            let stored = put_document(&mut *accepted.session, &accepted.document, digest)
                .and_then(|stored| accepted.session.make_durable().map(|()| stored));
            let stored = match stored {
                Ok(stored) => stored,
                Err(error) => return conclude(app, task, Outcome::Interrupted(error.into())),
            };
            let command = Command::AcceptUpload { estimate: accepted.estimate, input: digest };
            match app.tasks.apply_with_document(task, &command, &stored, now()) {
                Ok(applied) => app.carry_out(&applied.effects),
                Err(error) => return interrupted(app, task, error.into()),
            }
        }
        Outcome::Refused(error) => {
            if let Err(error) = app.apply(task, &Command::RefuseUpload { error, solver_version: None }) {
                return interrupted(app, task, error.into());
            }
        }
        Outcome::Interrupted(refused) => return interrupted(app, task, refused),
    }
    if let Err(error) = app.staging.discard(task) {
        tracing::warn!(%task, %error, "an uploaded file could not be removed");
    }
    Ok(())
}

/// The task goes back to where the client can ask again.
fn interrupted(app: &App, task: &TaskId, refused: Refused) -> Result<(), Refused> {
    if let Err(error) = app.apply(task, &Command::InterruptValidation) {
        // It was aborted or deleted meanwhile, or the store fails: its recovery mends that.
        tracing::debug!(%task, error = chain(&error), "an interrupted validation could not be noted");
    }
    Err(refused)
}

/// What a document's end before its time means: the disk's fault, or the sender's.
fn unreadable(error: DocumentError) -> Outcome {
    match error {
        DocumentError::Io { doing, source } => {
            Outcome::Interrupted(StoreError::from_io(doing, source).into())
        }
        error => Outcome::Refused(document_refused(&error)),
    }
}

/// Reads the unpacked upload, and says how much memory its JSON takes once it is parsed. Memory is bounded
/// whatever the upload's size: arrays go to blocks as they are read. Blocks.
fn take_apart(
    app: &App,
    kind: TaskKind,
    file: &File,
) -> Result<(Document, Box<dyn BlockSession>, u64), Outcome> {
    let mut session = app.blocks.session();
    let document = hdf5::read_file(file, &document_limits(&app.config), &mut *session).map_err(unreadable)?;
    check_class(kind, &document).map_err(Outcome::Refused)?;
    let parsed = parsed_bytes(&document.json);
    Ok((document, session, parsed))
}

/// Memory that a JSON text and the tree parsed from it take at most, in bytes.
///
/// A validator parses the text into `serde_json` values, which can be a hundred times as large as the text
/// (`{"a":0}` is seven bytes and becomes a node with room for eleven members), while a text of repetitions
/// is compressed a thousandfold: neither the upload's length nor the text's bounds it. What each bracket,
/// colon and comma costs was counted from the sizes of `Value`, `String`, `Vec` and the nodes of `BTreeMap`.
pub(crate) fn parsed_bytes(json: &str) -> u64 {
    let cost = |byte| match byte {
        b'{' => 704,
        b'[' => 176,
        b':' => 96,
        b',' => 64,
        _ => 1,
    };
    json.bytes().map(cost).sum::<u64>().saturating_add(json.len() as u64)
}

pub(crate) fn too_large_to_parse(needed: u64, allowed: u64) -> TaskError {
    let message = format!(
        "The simulation is too large to be checked here: its JSON text would take about {} MiB of memory, and \
         this server may use {} MiB. Use fewer structures, or put large tables into arrays.",
        needed >> 20,
        allowed >> 20
    );
    TaskError { kind: ErrorKind::Validation, code: "document.too_large".to_owned(), message }
}

/// Asks the validator. Blocks.
fn check(app: &App, kind: TaskKind, document: Document, session: Box<dyn BlockSession>) -> Outcome {
    match ask(app, kind, &document) {
        Ok(estimate) => Outcome::Accepted(Box::new(Accepted { document, estimate, session })),
        Err(error) => Outcome::Refused(error),
    }
}

/// Memory that checking a document takes, in bytes: its parsed text, and each array with a copy of it.
///
/// # Errors
/// If that is more than the server may use.
pub(crate) fn memory_to_check(app: &App, document: &Document) -> Result<u64, TaskError> {
    let parsed = parsed_bytes(&document.json);
    let allowed = app.config.limits.memory_bytes;
    if parsed > allowed {
        return Err(too_large_to_parse(parsed, allowed));
    }
    Ok(parsed.saturating_add(document.array_bytes().saturating_mul(2)))
}

/// What a document that was made here will need, unless that is known. Blocks.
///
/// # Errors
/// Why it cannot be run, or why no file can be laid out for it, which workers and users read.
pub(crate) fn judge(
    app: &App,
    kind: TaskKind,
    document: &Document,
    known: Option<Estimate>,
) -> Result<Estimate, TaskError> {
    hdf5::FilePlan::new(document).map_err(|error| document_refused(&error))?;
    known.map_or_else(|| ask(app, kind, document), Ok)
}

/// Asks the validator about a document whose blocks are there. Blocks.
///
/// # Errors
/// Why it cannot be run.
pub(crate) fn ask(app: &App, kind: TaskKind, document: &Document) -> Result<Estimate, TaskError> {
    let array_bytes = app.config.limits.memory_bytes / 2;
    let arrays = DocumentArrays { document, blocks: &*app.blocks, array_bytes };
    let answer = app.validator.validate(kind, &document.json, &arrays);
    answer.map_err(|refusals| refusals_error(&refusals))
}

/// What is told of a simulation at which the validator broke.
pub(crate) fn crashed() -> TaskError {
    TaskError {
        kind: ErrorKind::Validation,
        code: "validation.crashed".to_owned(),
        message: "The simulation could not be checked: this is a fault of the server, please report it."
            .to_owned(),
    }
}

/// Unpacks the upload into a file without a name, and answers with its length. Blocks.
fn unpacked(app: &App, task: &TaskId, manifest: &crate::staging::Manifest) -> Result<(File, u64), Outcome> {
    let io = |doing| move |source| unreadable(DocumentError::Io { doing, source });
    let limits = document_limits(&app.config);
    let folder = app.staging.root();
    let mut plain: File = tempfile::tempfile_in(folder).map_err(io("creating a file for unpacking"))?;
    let length = {
        let output = RoomyWriter::new(&plain, folder, app.config.limits.reserve_bytes);
        let mut output = io::BufWriter::with_capacity(1 << 20, output);
        let unpacked = unpack::unpack(&mut app.staging.reader(task, manifest), &mut output, &limits);
        let unpacked = unpacked.map_err(unreadable)?;
        io::Write::flush(&mut output).map_err(io("writing the unpacked upload"))?;
        unpacked.bytes
    };
    plain.rewind().map_err(io("reading the unpacked upload"))?;
    Ok((plain, length))
}

/// Refuses an upload whose class is not what its task computes.
pub(crate) fn check_class(kind: TaskKind, document: &Document) -> Result<(), TaskError> {
    let wanted: &[&str] = match kind {
        TaskKind::VolumeMesh => &["VolumeMesher"],
        TaskKind::Mode => &["ModeSimulation"],
        TaskKind::ModeSolver => &["ModeSolver"],
        TaskKind::Evaluation => &["Evaluation"],
        _ => &["HeatChargeSimulation", "HeatSimulation"],
    };
    let found = document
        .fragment("type")
        .map_err(|error| document_refused(&error))?
        .and_then(|text| serde_json::from_str::<String>(text).ok())
        .unwrap_or_default();
    if wanted.contains(&found.as_str()) {
        return Ok(());
    }
    let found: String = found.chars().take(60).collect();
    Err(TaskError {
        kind: ErrorKind::Validation,
        code: "validation.class".to_owned(),
        message: format!(
            "A task of type {kind} needs a {}, but a {found:?} was uploaded.",
            wanted.join(" or a ")
        ),
    })
}

fn document_refused(error: &DocumentError) -> TaskError {
    TaskError {
        kind: ErrorKind::Validation,
        code: error.code().to_owned(),
        message: format!("The simulation's file cannot be used: {}. {}", chain(error), error.hint()),
    }
}

fn refusals_error(refusals: &[Refusal]) -> TaskError {
    let message = match refusals {
        [] => "The simulation cannot be run here.".to_owned(),
        [one] => format!("The simulation cannot be run: {one}"),
        many => {
            let mut text = format!("The simulation cannot be run, for {} reasons:", many.len());
            for refusal in many.iter().take(TOLD) {
                text.push_str(&format!("\n- {refusal}"));
            }
            if many.len() > TOLD {
                text.push_str(&format!("\n- and {} more", many.len() - TOLD));
            }
            text
        }
    };
    TaskError { kind: ErrorKind::Validation, code: "validation.refused".to_owned(), message }
}

/// Refuses a task of a kind that cannot be run here, without reading what was uploaded.
///
/// # Errors
/// If the store fails.
pub(crate) async fn refuse_kind(app: &Arc<App>, record: &TaskRecord, message: String) -> Result<(), Refused> {
    let _exclusive = app.staging.lock(record.id()).await;
    let task = record.id().clone();
    app.blocking(move |app| {
        let record = app.tasks.task(&task)?.ok_or_else(Refused::no_such_task)?;
        if !matches!(record.state, TaskState::Draft | TaskState::Validating) {
            return Ok(());
        }
        app.apply(&task, &Command::StartValidation)?;
        let code = "feature.unsupported".to_owned();
        conclude(app, &task, Outcome::Refused(TaskError { kind: ErrorKind::Validation, code, message }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &str) -> Refusal {
        Refusal { path: path.to_owned(), message: "is missing".to_owned() }
    }

    #[test]
    fn one_reason_is_a_sentence_and_many_are_a_bounded_list() {
        assert_eq!(
            refusals_error(&[refusal("medium")]).message,
            "The simulation cannot be run: medium: is missing"
        );
        let many = refusals_error(&vec![refusal("medium"); 30]).message;
        assert!(many.contains("for 30 reasons") && many.ends_with("- and 10 more"), "{many}");
    }

    #[test]
    fn what_a_text_grows_to_is_not_underestimated() {
        // Sizes of `serde_json`'s values on a 64-bit machine: a value 32 bytes, a member's key 24 and its text.
        for (unit, at_least) in
            [("0,", 32), ("[0],", 32 + 4 * 32), (r#"{"a":0},"#, 32 + 11 * 56), (r#""a","#, 56)]
        {
            let text = unit.repeat(1000);
            assert!(parsed_bytes(&text) >= 1000 * at_least, "{unit}");
        }
        let ordinary = r#"{"type":"Box","center":[0.1234567890123,4.5678,0.0],"size":[1.0,2.25,3.5]},"#;
        let grown = parsed_bytes(ordinary) / ordinary.len() as u64;
        assert!(grown < 40, "an ordinary simulation of many megabytes is not refused: {grown}");
    }

    #[test]
    fn the_class_must_fit_the_kind() {
        let document = |json: &str| Document { json: json.into(), arrays: Default::default() };
        let heat = document(r#"{"type":"HeatSimulation"}"#);
        assert!(check_class(TaskKind::Heat, &heat).is_ok());
        assert!(check_class(TaskKind::HeatCharge, &heat).is_ok());
        let refused = check_class(TaskKind::VolumeMesh, &heat).unwrap_err();
        assert!(refused.message.contains("VolumeMesher"), "{}", refused.message);
        for json in ["{}", "[]", r#"{"type":7}"#, r#"{"type":"Simulation"}"#] {
            assert!(check_class(TaskKind::Heat, &document(json)).is_err(), "{json}");
        }
    }
}
