//! From a packed simulation to what is held, journaled and sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;
use wavetask_document::{BLOCK_BYTES, Digest};
use wavetask_protocol::native::{MAXIMUM_INLINE_DOCUMENT, MemberDocument, NewMember};

use super::holdings::Payload;
use super::{Engine, SubmissionFacts};
use crate::error::{ClientError, ErrorGroup};
use crate::flow::{Input, Push, SubmissionId};
use crate::member::{BlockPlace, PackedSimulation};
use crate::task::Task;

/// What idempotency keys are made of; a change of the format makes other tasks.
const IDENTITY: &str = "wavetask idempotency 1";

/// Hands a packed member over to the flow. Blocks while the budget is used up.
pub(crate) fn hand_over(
    engine: &Arc<Engine>,
    submission: SubmissionId,
    task: &Task,
    simulation: PackedSimulation,
) {
    let member = task.cell.state.read(|state| state.member);
    // It was stopped while it was packed.
    if task.is_done() {
        return;
    }
    let Some(facts) = engine.facts(submission) else { return };
    match payload(&facts, task, simulation) {
        Ok(payload) => {
            let blocks =
                payload.blocks.iter().map(|(digest, place)| (*digest, place.length as u64)).collect();
            let document_bytes = payload.document_bytes;
            engine.parts.holdings.hold(member, payload);
            let push =
                Push { member, blocks, document_bytes, lazy: facts.lazy, journaled: false, complete: true };
            engine.send(Input::Pushed(push));
        }
        Err(error) => engine.send(Input::PackFailed { member, error }),
    }
}

fn payload(
    facts: &SubmissionFacts,
    task: &Task,
    simulation: PackedSimulation,
) -> Result<Payload, ClientError> {
    let PackedSimulation { kind, document, digest, blocks, array_bytes: _ } = simulation;
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
    let idempotency_key = identity(facts, &key, &digest, kind.as_str());
    let member = NewMember {
        key,
        position: task.position() as u64,
        kind,
        name: task.name().to_owned(),
        folder: facts.folder.clone(),
        document,
        parameters: task.parameters().clone(),
        after: facts.after.clone(),
        cache: facts.cache,
        hold: facts.hold,
        priority: facts.priority,
        idempotency_key,
    };
    let document_bytes = if inline { document_bytes } else { 1_024 };
    Ok(Payload { row: facts.row, member, document_bytes, blocks: all.into_iter().collect() })
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

/// The key under which a member is the same task, however often it is named.
fn identity(facts: &SubmissionFacts, key: &str, digest: &Digest, kind: &str) -> String {
    let mut text = String::new();
    let name = if facts.named { facts.batch.as_str() } else { "" };
    for part in [IDENTITY, name, key, &digest.to_string(), kind, &facts.nonce] {
        text.push_str(&part.len().to_string());
        text.push(':');
        text.push_str(part);
    }
    Digest::of(text.as_bytes()).to_string()
}

fn unwritable(error: serde_json::Error) -> ClientError {
    ClientError::new(ErrorGroup::Internal, "document.unwritable", "The document cannot be written as JSON.")
        .caused_by(error)
}
