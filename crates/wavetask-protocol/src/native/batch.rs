//! Submitting many simulations with few requests: names of contents first, bytes only where they are missing.
//!
//! A client sends the members of a batch in parts. The server answers for each member: it is accepted (or was
//! already: the same member with the same idempotency key is the same task), or these blocks are missing. The
//! client sends the blocks ([`blocks`](super::blocks)) and repeats the members that waited for them. Nothing of
//! this needs to be remembered between requests but what the server's database holds, so any request may be
//! repeated at any time, by another process or after a crash of either side.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{ApiError, TaskSummary};
use crate::{BatchId, Digest, TaskId, TaskKind};

/// A part of a batch.
///
/// The batch is named: submitting to a name that exists adds to that batch, and a member of the same key takes the
/// place of the one before. `complete` ends a submission: members that an earlier submission put there and this
/// one did not name leave the batch (their tasks stay).
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubmitRequest {
    /// The batch's name: 1 to 200 characters, none of them a control character.
    pub batch: String,
    /// Words to find it by; they replace those that it had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Names this submission: the same for all its parts and their repetitions. A client makes a new one (any
    /// text of at most 64 characters) each time its user submits.
    pub submission: String,
    /// At most [`MAXIMUM_MEMBERS`].
    pub members: Vec<NewMember>,
    /// Whether these are the last members of the submission.
    #[serde(default)]
    pub complete: bool,
}

/// Members that one request may hold.
pub const MAXIMUM_MEMBERS: usize = 1_000;

/// One simulation of a batch.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewMember {
    /// Its name within the batch, such as `I=4mA` or `0`; the path of nested containers is joined with `/`.
    pub key: String,
    /// Its place within the batch.
    pub position: u64,
    /// What to compute.
    pub kind: TaskKind,
    /// The task's name for people.
    pub name: String,
    /// The folder that the task is kept in, made if it is not there.
    pub folder: String,
    /// The simulation.
    pub document: MemberDocument,
    /// Numbers, texts and truth values to find it by later.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// Arrays that are put into the document when the tasks that compute them have succeeded; at most
    /// [`MAXIMUM_INPUTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputSlot>,
    /// Tasks that must succeed before it starts, besides those that `inputs` and the document itself name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<TaskId>,
    /// Whether a result that is known for the same content, from a solver of the same version, will do.
    pub cache: bool,
    /// Whether to wait for [`TASKS_START`](super::TASKS_START) after it was checked.
    #[serde(default)]
    pub hold: bool,
    /// Higher runs first.
    #[serde(default)]
    pub priority: i32,
    /// The same key (at most 128 characters) never makes a second task, whatever batch it is sent for.
    pub idempotency_key: String,
}

/// Slots that one member may have: a scene of hundreds of perturbed media has one for each.
pub const MAXIMUM_INPUTS: usize = 1_000;

/// A place in a document that the result of another task is put at.
///
/// The document is a *template* until that task has succeeded: its JSON text is complete, and the arrays at and below
/// `path` are not there. They become those of one output of an evaluation, by name: no byte of them travels. Until then
/// only what does not depend on them is checked; the rest is when they are there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InputSlot {
    /// Where the arrays go: the group in the document's HDF5 file, such as `medium/permittivity`, without a slash at
    /// either end. Nothing of the document, and no other slot, is at, below or above it.
    pub path: String,
    /// The evaluation that has them.
    pub task: TaskId,
    /// Which of its outputs, counted from 0.
    pub output: u32,
}

/// A document on its way: `wavetask-document`'s `Document` as JSON, or where that JSON is.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MemberDocument {
    /// Here: up to [`MAXIMUM_INLINE_DOCUMENT`] bytes.
    Inline(Box<RawValue>),
    /// The UTF-8 bytes of the JSON lie in these blocks, in order.
    Blocks(Vec<Digest>),
}

/// Longest document that a request may hold itself, in bytes of JSON.
pub const MAXIMUM_INLINE_DOCUMENT: usize = 1 << 20;

/// What came of a part of a batch.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubmitAnswer {
    /// The batch.
    pub batch: BatchId,
    /// One for each member, in order.
    pub members: Vec<MemberAnswer>,
    /// Number of the newest event when the answer was made: follow on after it.
    pub last_event: u64,
}

/// What came of one member.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum MemberAnswer {
    /// The task is there; its state says how far it is. `Success` at once if the result is known, `Error` if the
    /// simulation cannot be run.
    Accepted {
        /// The task.
        task: TaskSummary,
        /// Whether this request made it.
        new: bool,
    },
    /// Send these blocks, then the member again. The task exists already, as a draft.
    Missing {
        /// The task.
        task: TaskId,
        /// The blocks, each once.
        blocks: Vec<Digest>,
    },
    /// It cannot be taken: not a document, over a quota, an unknown task in `after`, the server's disk is full.
    Refused {
        /// Why; the codes are those of other answers.
        error: ApiError,
        /// Whether the same request may succeed later.
        again_later: bool,
    },
}

/// Which batches to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct BatchQuery {
    /// Of this name only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// With this tag only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Without this tag only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_tag: Option<String>,
    /// Go on behind the batch of this name: the last of the list before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many; the server has a limit of its own (1000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The tag of batches that compute what others are made of: nobody asked for them by name, so lists leave them out.
pub const REFERENCES_TAG: &str = "wavetask-references";

/// Batches, the last touched first.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchList {
    /// The batches.
    pub batches: Vec<BatchSummary>,
    /// Whether there are more than the limit let through.
    #[serde(default)]
    pub more: bool,
}

/// A batch, without its members.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchSummary {
    /// Its id.
    pub batch: BatchId,
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Number of members that the server knows.
    pub members: u64,
    /// Whether the last submission said that it was complete.
    pub complete: bool,
    /// When it was made: milliseconds since 1970 (UTC).
    pub created_milliseconds: i64,
    /// How many members are in each state.
    pub states: Vec<super::StateCount>,
}

/// Which members of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct MemberQuery {
    /// Only members behind this position and key, as `next` of the part before gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many; the server has a limit of its own (20000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Members of a batch by position.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MemberList {
    /// The batch.
    pub batch: BatchSummary,
    /// Its members.
    pub members: Vec<Member>,
    /// Where to go on, if there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Number of the newest event when the list was made.
    pub last_event: u64,
}

/// One member of a batch.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Member {
    /// Its name within the batch.
    pub key: String,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// Its task.
    pub task: TaskSummary,
}

/// The schema of [`MemberDocument`], which cannot be derived: a verbatim text is any JSON.
#[cfg(feature = "openapi")]
mod schema {
    use crate::Digest;

    /// A document on its way: as JSON, or where that JSON is.
    #[derive(serde::Serialize, utoipa::ToSchema)]
    #[serde(rename_all = "snake_case")]
    #[expect(dead_code, reason = "only its schema is used")]
    pub(super) enum MemberDocument {
        /// `{"json": text, "arrays": {path: descriptor}}`.
        Inline(serde_json::Value),
        /// The UTF-8 bytes of the JSON lie in these blocks, in order.
        Blocks(Vec<Digest>),
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for MemberDocument {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        <schema::MemberDocument as utoipa::PartialSchema>::schema()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for MemberDocument {
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
        <schema::MemberDocument as utoipa::ToSchema>::schemas(schemas);
    }
}
