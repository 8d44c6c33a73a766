//! From a packed simulation to what is held, journaled and sent.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use serde_json::value::RawValue;
use wavetask_document::{BLOCK_BYTES, Digest};
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{InputSlot, MAXIMUM_INLINE_DOCUMENT, MemberDocument, NewMember};

use super::holdings::Payload;
use super::{Engine, SubmissionFacts};
use crate::error::{ClientError, ErrorGroup};
use crate::flow::{Input, Push, SubmissionId};
use crate::journal::FailureRecord;
use crate::member::{BlockPlace, PackedSimulation};
use crate::signal::lock;
use crate::task::Task;

/// What idempotency keys are made of; a change of the format makes other tasks.
const IDENTITY: &str = "wavetask idempotency 1";

/// Bytes of a request that name a task to run after.
const AFTER: u64 = 48;

/// Hands a packed member over to the flow, to run after these tasks, too. Blocks while the budget is used up.
pub(crate) fn hand_over(
    engine: &Arc<Engine>,
    submission: SubmissionId,
    task: &Task,
    simulation: PackedSimulation,
    after: &[TaskId],
) {
    let member = task.cell.state.read(|state| state.member);
    // It was stopped while it was packed.
    if task.is_done() {
        return;
    }
    let Some(facts) = engine.facts(submission) else { return };
    match payload(engine, &facts, task, simulation, after) {
        Ok(payload) => {
            let blocks =
                payload.blocks.iter().map(|(digest, place)| (*digest, place.length as u64)).collect();
            let document_bytes = payload.document_bytes;
            engine.parts.holdings.hold(member, payload);
            let push =
                Push { member, blocks, document_bytes, lazy: facts.lazy, journaled: false, complete: true };
            engine.send(Input::Pushed(push));
        }
        Err(error) => fail(engine, submission, task, error),
    }
}

/// Ends a member that could not be packed. The journal has it first, for whoever opens the batch later, unless a
/// repetition goes on with it.
pub(crate) fn fail(engine: &Arc<Engine>, submission: SubmissionId, task: &Task, error: ClientError) {
    let member = task.cell.state.read(|state| state.member);
    if let Some(facts) = engine.facts(submission).filter(|_| !error.is_resumable()) {
        let failure = FailureRecord {
            key: task.key().to_owned(),
            name: task.name().to_owned(),
            parameters: task.parameters().clone(),
            error: error.clone(),
        };
        let (row, position) = (facts.row, task.position() as u64);
        // Without it, it is missing where the batch is opened later, and nowhere else.
        let _ = engine.parts.journal.ask(move |journal| journal.fail(row, position, &failure));
    }
    engine.send(Input::PackFailed { member, error });
}

fn payload(
    engine: &Engine,
    facts: &SubmissionFacts,
    task: &Task,
    simulation: PackedSimulation,
    after: &[TaskId],
) -> Result<Payload, ClientError> {
    let PackedSimulation { kind, document, digest, blocks, array_bytes: _, inputs } = simulation;
    let json = serde_json::to_string(&document).map_err(unwritable)?;
    drop(document);
    let document_bytes = json.len() as u64;
    let mut all: BTreeMap<Digest, BlockPlace> = blocks.into_iter().collect();
    let document = if json.len() <= MAXIMUM_INLINE_DOCUMENT {
        MemberDocument::Inline(RawValue::from_string(json).map_err(unwritable)?)
    } else {
        MemberDocument::Blocks(cut(json.into_bytes(), &mut all))
    };
    let inline = matches!(document, MemberDocument::Inline(_));
    let key = task.key().to_owned();
    let name = if facts.named { facts.batch.as_str() } else { "" };
    let of = Identity { name, key: &key, digest: content(digest, &inputs)?, kind: kind.as_str() };
    let nonce = facts.nonce.settle(engine, facts.row, &of)?;
    let idempotency_key = of.under(&nonce);
    let mut seen = HashSet::new();
    let after = facts.after.iter().chain(after).filter(|task| seen.insert(*task)).cloned().collect();
    let member = NewMember {
        key,
        position: task.position() as u64,
        kind,
        name: task.name().to_owned(),
        folder: facts.folder.clone(),
        document,
        parameters: task.parameters().clone(),
        inputs,
        after,
        cache: facts.cache,
        hold: facts.hold,
        priority: facts.priority,
        idempotency_key,
    };
    let document_bytes = if inline { document_bytes } else { 1_024 } + AFTER * member.after.len() as u64;
    Ok(Payload { row: facts.row, member, document_bytes, blocks: all.into_iter().collect() })
}

/// What a member's contents are known by: its document, and what is put into it.
fn content(document: Digest, inputs: &[InputSlot]) -> Result<String, ClientError> {
    if inputs.is_empty() {
        return Ok(document.to_string());
    }
    let text = serde_json::to_string(&(document.to_string(), inputs)).map_err(unwritable)?;
    Ok(Digest::of(text.as_bytes()).to_string())
}

/// Cuts a long document into blocks.
fn cut(json: Vec<u8>, blocks: &mut BTreeMap<Digest, BlockPlace>) -> Vec<Digest> {
    let array = Arc::new(json);
    let block_bytes = usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX);
    let mut names = Vec::new();
    for (index, piece) in array.chunks(block_bytes).enumerate() {
        let digest = Digest::of(piece);
        let (offset, length) = (index * block_bytes, piece.len());
        blocks.entry(digest).or_insert_with(|| BlockPlace { array: array.clone(), offset, length, width: 1 });
        names.push(digest);
    }
    names
}

/// What makes a member the same task, however often it is named.
#[derive(Clone)]
struct Identity<T> {
    name: T,
    key: T,
    digest: String,
    kind: &'static str,
}

impl<T: AsRef<str>> Identity<T> {
    /// The idempotency key, in the run of this nonce.
    fn under(&self, nonce: &str) -> String {
        let mut text = String::new();
        for part in [IDENTITY, self.name.as_ref(), self.key.as_ref(), &self.digest, self.kind, nonce] {
            text.push_str(&part.len().to_string());
            text.push(':');
            text.push_str(part);
        }
        Digest::of(text.as_bytes()).to_string()
    }
}

/// Names one run of the same simulations where known results will not do; empty where they will.
///
/// A repetition of a submission that was cut off has to have the nonce of that one. By its name, that is found at once.
/// One without a name is known by its first member, and has to wait for it.
#[derive(Debug)]
pub(crate) struct Nonce {
    /// Once it is known.
    settled: Mutex<Option<String>>,
}

impl Nonce {
    /// One that was drawn, and that the journal has for the submission.
    pub(crate) fn new(drawn: String, named: bool) -> Self {
        let known = named || drawn.is_empty();
        Self { settled: Mutex::new(known.then_some(drawn)) }
    }

    /// What it is, if it was not known before this member.
    fn settle(&self, engine: &Engine, row: i64, of: &Identity<&str>) -> Result<String, ClientError> {
        let mut settled = lock(&self.settled);
        if let Some(nonce) = &*settled {
            return Ok(nonce.clone());
        }
        let Identity { name, key, digest, kind } = of.clone();
        let of = Identity { name: name.to_owned(), key: key.to_owned(), digest, kind };
        let scope = engine.settings().scope();
        let nonce =
            engine.parts.journal.ask(move |journal| journal.claim(&scope, row, |nonce| of.under(nonce)))?;
        Ok(settled.insert(nonce).clone())
    }
}

fn unwritable(error: serde_json::Error) -> ClientError {
    ClientError::new(ErrorGroup::Internal, "document.unwritable", "The document cannot be written as JSON.")
        .caused_by(error)
}
