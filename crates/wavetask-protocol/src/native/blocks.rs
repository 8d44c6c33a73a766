//! Blocks and results on their way. Bytes travel in **packs** (`wavetask_document::pack`): frames with a digest
//! each, compressed where it pays, that a reader checks one by one, so a transfer that breaks has lost the frame
//! in flight and no more.
//!
//! A key reaches the blocks of its own tasks and those that it has sent itself, and no others: whether another
//! account has a block can neither be asked nor be told from an answer.

use crate::{Digest, TaskError, TaskId};

/// The content type of packs.
pub const PACK_TYPE: &str = "application/x-wavetask-pack";

/// Longest pack that a request may hold, in bytes as sent.
pub const MAXIMUM_PACK: usize = 64 << 20;

/// Longest block that the server takes, in bytes: the blocks of an array, or of a long document, are no longer.
pub const MAXIMUM_BLOCK: usize = 4 << 20;

/// Blocks that one pack may bring.
pub const MAXIMUM_PACK_BLOCKS: usize = 65_536;

/// Blocks that may be asked for at once.
pub const MAXIMUM_BLOCKS: usize = 4_096;

/// Longest part of an array that may be asked for, in bytes.
pub const MAXIMUM_PART: u64 = 1 << 30;

/// Tasks that may be named at once.
pub const MAXIMUM_TASKS: usize = 1_000;

/// The answer to a pack: all its blocks are durable, and kept for a day even if no task needs them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackAnswer {
    /// Blocks that came.
    pub blocks: u64,
    /// Bytes in them, uncompressed.
    pub bytes: u64,
}

/// Which pack it is, for one that may have to go on after its connection broke.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct PackPart {
    /// A name that the account has given to no other pack lately: 1 to 64 letters and digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<String>,
    /// The body is the rest of the pack from this byte on. What the server has of it, [`PackHeld`] says.
    #[serde(default)]
    pub offset: u64,
}

/// How much the server has of a pack whose connection broke. It keeps that for two minutes at least if it can, and
/// answers 404 `pack.not_held` if it has nothing: then the pack is sent from its beginning.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackHeld {
    /// Bytes of the pack as sent; send the rest. If that is nothing, send nothing: the answer to the pack comes again.
    pub bytes: u64,
}

/// "Send me these blocks." The answer is a pack of block frames, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FetchRequest {
    /// At most [`MAXIMUM_BLOCKS`].
    pub blocks: Vec<WantedBlock>,
    /// Whether to compress where it pays; a fast line is faster without.
    pub compress: bool,
}

/// One block that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WantedBlock {
    /// Which.
    pub digest: Digest,
    /// Bytes per number in it, for the byte shuffle: 1, 2, 4, 8 or 16.
    pub width: u8,
}

/// "Send me this part of an array of a result": the server cuts it out of the blocks that hold it. The answer is a pack:
/// the part's bytes in C order, little-endian, in block frames one after the other, then a message frame with a
/// [`PartEnd`]. Each frame has a digest; the server has compared each block that it has read with its own.
///
/// Worth it where the blocks hold much more than the part. Blocks can be kept and need not be fetched twice; a part of
/// which the connection breaks is asked for again.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PartRequest {
    /// The task.
    pub task: TaskId,
    /// The array's path in the result's document.
    pub path: String,
    /// From which index to before which, along each dimension from the outermost on; missing ones are whole. At most
    /// [`MAXIMUM_PART`] bytes of an array of numbers.
    pub ranges: Vec<(u64, u64)>,
    /// Whether to compress where it pays.
    pub compress: bool,
}

/// The end of a part: what the bytes before it are, all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PartEnd {
    /// How many bytes.
    pub byte_length: u64,
    /// The digest of all of them.
    pub digest: Digest,
}

/// "Send me the results of these tasks." The answer is a pack: for each task, in any order, a message frame with a
/// [`ResultAnswer`], then, if all its arrays together have at most `inline_bytes`, a frame for each of its blocks
/// that the pack has not held yet.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResultsRequest {
    /// At most [`MAXIMUM_TASKS`].
    pub tasks: Vec<TaskId>,
    /// Arrays of results up to this length in all come with them; the server sends at most 64 MiB so.
    pub inline_bytes: u64,
    /// Whether to compress where it pays.
    pub compress: bool,
    /// Whether the simulation within the result is wanted, too; else its arrays do not come inline.
    #[serde(default)]
    pub simulation: bool,
}

/// One result, or why there is none.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResultAnswer {
    /// The task.
    pub task: TaskId,
    /// What became of it.
    pub outcome: ResultOutcome,
}

/// A result's document, or why there is none. Written as `{"document": {…}}`: with a tag beside the members, a
/// document could not be read verbatim.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResultOutcome {
    /// The task succeeded, or diverged.
    Document {
        /// `wavetask-document`'s `Document` as JSON.
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        document: Box<serde_json::value::RawValue>,
        /// Whether its blocks follow in this pack.
        inline: bool,
        /// Whether the solution diverged.
        diverged: bool,
    },
    /// It ended without a result.
    Failed {
        /// Why.
        error: TaskError,
    },
    /// It has not ended, was stopped or deleted, or there is no such task.
    None {
        /// Stable code: `task.not_ended`, `task.aborted`, `task.not_found`, or `result.too_large` if its document is
        /// longer than what a frame holds (download it as a file).
        code: String,
    },
}
