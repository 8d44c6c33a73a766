//! What the engine, the command line and the server say to each other, over HTTP with JSON bodies.
//!
//! Every request carries a key (`authorization: Bearer …`) and sees that key's tasks only: the id of
//! another key's task answers 404 like one that does not exist.
//!
//! | method and path | body or query | answer |
//! |---|---|---|
//! | `GET /api/v1/status` | | [`ServerStatus`] |
//! | `GET /api/v1/tasks` | query [`TaskFilter`] | [`TaskList`], newest first |
//! | `POST /api/v1/tasks/details` | [`TaskSelection`] | [`TaskDetails`] |
//! | `GET /api/v1/tasks/{task}` | | [`TaskSummary`] |
//! | `GET /api/v1/tasks/{task}/simulation` | | its `Document` of `wavetask-document`: text, and descriptors of arrays whose blocks can be fetched; 404 `task.no_simulation` while results that it is made of are not there |
//! | `GET /api/v1/tasks/{task}/log` | query [`LogQuery`] | [`LogPart`] |
//! | `POST /api/v1/tasks/{task}/cancel` | | [`TaskSummary`]; a task that has ended is left as it is |
//! | `DELETE /api/v1/tasks/{task}` | | 200 `{}`; a running task is stopped first |
//! | `GET /api/v1/events` | query [`EventQuery`] | [`EventPage`], held up to `wait_milliseconds` |
//! | `GET /api/v1/events/stream` | query [`EventQuery`] or header `last-event-id` | server-sent events: each `data` is an [`EventPage`], its `id` the page's `last`; a comment at least every 10 s |
//! | `POST /api/v1/batches` | [`SubmitRequest`], `content-encoding: zstd` welcome | [`SubmitAnswer`] |
//! | `GET /api/v1/batches` | query [`BatchQuery`] | [`BatchList`] |
//! | `GET /api/v1/batches/{name}/members` | query [`MemberQuery`] | [`MemberList`] |
//! | `POST /api/v1/blocks` | a pack, query [`PackPart`] | [`PackAnswer`] |
//! | `GET /api/v1/packs/{pack}` | | [`PackHeld`] |
//! | `POST /api/v1/blocks/fetch` | [`FetchRequest`] | a pack |
//! | `POST /api/v1/results` | [`ResultsRequest`] | a pack |
//! | `POST /api/v1/results/part` | [`PartRequest`] | a pack |
//! | `POST /api/v1/tasks/status`, `…/start`, `…/cancel`, `…/retry`, `…/delete` | [`TaskSelection`] | [`TaskAnswers`] |
//! | `GET /api/v1/openapi.json` | | this table for programs |
//! | `GET /api/v1/keys` | | [`KeyList`] |
//! | `PUT /api/v1/keys/{key}/quota` | [`Quota`] | [`KeySummary`] |
//! | `POST /api/v1/keys` | [`NewKey`] | [`CreatedKey`] |
//! | `DELETE /api/v1/keys/{key}` | | 200 `{}`: the key no longer opens anything, its tasks stay |
//!
//! The requests about keys need the administrator's key, the one that the first start makes;
//! any other key is answered 403. Every answer other than 200 has a body of type [`ApiError`].
//!
//! The stream tells of several events of one task that come together the last only, since each comes with the task
//! as it is now. It also tells how far running tasks have come, as events with the number of the event before them.
//! A number that cannot be gone on from, because the log no longer goes back so far, is answered 410 `events.gone`.

pub mod batch;
pub mod blocks;
pub mod many;

pub use batch::{
    BatchList, BatchQuery, BatchSummary, InputSlot, MAXIMUM_INLINE_DOCUMENT, MAXIMUM_INPUTS, MAXIMUM_MEMBERS,
    Member, MemberAnswer, MemberDocument, MemberList, MemberQuery, NewMember, REFERENCES_TAG, SubmitAnswer,
    SubmitRequest,
};
pub use blocks::{
    FetchRequest, MAXIMUM_BLOCK, MAXIMUM_BLOCKS, MAXIMUM_PACK, MAXIMUM_PACK_BLOCKS, MAXIMUM_PART,
    MAXIMUM_TASKS, PACK_TYPE, PackAnswer, PackHeld, PackPart, PartEnd, PartRequest, ResultAnswer,
    ResultOutcome, ResultsRequest, WantedBlock,
};
pub use many::{TaskAnswer, TaskAnswers, TaskDetail, TaskDetails, TaskSelection};

/// Gives a part of an array of a result.
pub const RESULTS_PART: &str = "/api/v1/results/part";

/// Starts checked tasks that were submitted with `hold`.
pub const TASKS_START: &str = "/api/v1/tasks/start";

use crate::{FolderId, KeyId, Progress, TaskError, TaskId, TaskKind, TaskState, WorkerId};

/// How the server is.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerStatus {
    /// Version of the server's binary.
    pub version: String,
    /// The server's clock: milliseconds since 1970 (UTC).
    pub now_milliseconds: i64,
    /// When it started, by the same clock.
    pub started_milliseconds: i64,
    /// Room left in the data folder, in bytes.
    pub disk_free_bytes: u64,
    /// The key that asks.
    pub key: KeyId,
    /// The name of the key that asks.
    pub key_name: String,
    /// Whether this key may manage keys.
    pub administrator: bool,
    /// How many of this key's tasks are in each state; states without tasks may be missing.
    pub tasks: Vec<StateCount>,
    /// The workers heard of in the last minute.
    pub workers: Vec<WorkerStatus>,
}

/// How many tasks are in one state.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateCount {
    /// The state.
    pub state: TaskState,
    /// How many tasks.
    pub count: u64,
}

/// A worker as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerStatus {
    /// Its id.
    pub worker: WorkerId,
    /// Milliseconds since its last request ended or, while one is held, 0.
    pub idle_milliseconds: u64,
    /// How many leases it holds.
    pub leases: u64,
}

/// Which tasks to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct TaskFilter {
    /// Only tasks in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TaskState>,
    /// Only tasks in the folder of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Only tasks whose id begins so; how short ids are resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_prefix: Option<String>,
    /// Only tasks with this text in their name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only members of batches with this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Only tasks that are in no batch with this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_tag: Option<String>,
    /// Only members of the batch of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// Only members whose parameters satisfy these conditions, joined with commas: `I>=0.004,width=0.5`,
    /// operators `=`, `!=`, `<`, `<=`, `>`, `>=`.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub conditions: Option<String>,
    /// Go on behind this task: the last of the list before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<TaskId>,
    /// At most so many; the server has a limit of its own (1000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Tasks, newest first.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskList {
    /// The tasks.
    pub tasks: Vec<TaskSummary>,
    /// Whether there are more than the limit let through.
    pub more: bool,
    /// Number of the newest event when the list was made: ask for events after it to follow on
    /// without a gap.
    pub last_event: u64,
}

/// One task, as far as a list or a progress bar needs it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskSummary {
    /// Its id.
    pub task: TaskId,
    /// The name that the user gave it.
    pub name: String,
    /// The folder's id.
    pub folder: FolderId,
    /// The folder's name.
    pub folder_name: String,
    /// What it computes.
    pub kind: TaskKind,
    /// Where it stands.
    pub state: TaskState,
    /// How far it is, once it has run.
    pub progress: Option<Progress>,
    /// Why it failed, if it did.
    pub error: Option<TaskError>,
    /// Attempts begun; more than one after a crash or a lost worker.
    pub attempts: u32,
    /// When it was created: milliseconds since 1970 (UTC).
    pub created_milliseconds: i64,
    /// When its last attempt began.
    pub started_milliseconds: Option<i64>,
    /// When it ended.
    pub ended_milliseconds: Option<i64>,
}

/// Which part of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct LogQuery {
    /// Bytes to skip: the `next` of the part before.
    #[serde(default)]
    pub offset: u64,
    /// Hold the answer up to so long while there is nothing new and the task goes on.
    #[serde(default)]
    pub wait_milliseconds: u64,
}

/// A part of a task's log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogPart {
    /// Whole lines, each ended by a line feed; may be empty.
    pub text: String,
    /// The offset of what follows.
    pub next: u64,
    /// Whether the task has ended and this was the rest.
    pub complete: bool,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct EventQuery {
    /// Only events after this number.
    #[serde(default)]
    pub after: u64,
    /// Hold the answer up to so long while there is none.
    #[serde(default)]
    pub wait_milliseconds: u64,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Events in order.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventPage {
    /// What happened to this key's tasks.
    pub events: Vec<TaskEvent>,
    /// Number of the last event looked at, this key's or not: the `after` of the next request.
    pub last: u64,
}

/// A task changed its state or came further.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskEvent {
    /// Number of the event; later ones are larger. Progress has the number of the event before it.
    pub sequence: u64,
    /// When: milliseconds since 1970 (UTC).
    pub at_milliseconds: i64,
    /// Where the task stood right after it.
    pub state: TaskState,
    /// The task as it was right after, or as it is now: whichever the server has at hand. Never older.
    pub task: TaskSummary,
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeySummary {
    /// Its id.
    pub key: KeyId,
    /// Its name.
    pub name: String,
    /// When it was made: milliseconds since 1970 (UTC).
    pub created_milliseconds: i64,
    /// Whether it may manage keys.
    pub administrator: bool,
    /// When it was revoked; `None` while it opens something.
    pub revoked_milliseconds: Option<i64>,
    /// What it may use.
    #[serde(default)]
    pub quota: Quota,
    /// What it uses.
    #[serde(default)]
    pub usage: Usage,
}

/// What a key may use in all; `None` is without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Quota {
    /// Tasks that are not deleted.
    #[serde(default)]
    pub tasks: Option<u64>,
    /// Bytes of their simulations and results, each counted as if nothing were shared.
    #[serde(default)]
    pub bytes: Option<u64>,
}

/// What a key uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Tasks that are not deleted.
    pub tasks: u64,
    /// Bytes of their simulations and results, each counted as if nothing were shared.
    pub bytes: u64,
}

/// All keys, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyList {
    /// The keys.
    pub keys: Vec<KeySummary>,
}

/// "Make a key."
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewKey {
    /// What to call it: 1 to 100 printable characters, no other valid key has the name.
    pub name: String,
}

/// A new key. Its secret is not told again.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedKey {
    /// The key.
    #[serde(flatten)]
    pub summary: KeySummary,
    /// What to put into `SIMCLOUD_APIKEY`.
    pub secret: String,
}

impl std::fmt::Debug for CreatedKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CreatedKey").field("summary", &self.summary).finish_non_exhaustive()
    }
}

/// The body of every answer other than 200.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiError {
    /// Stable code such as `task.not_found`, for programs.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
