//! The data that goes in and out of a task store.

use std::collections::BTreeMap;
use std::fmt;

use crate::batch::ParameterCondition;
use wavetask_core::{Effect, Event, NewTask, TaskRecord, Timestamp};
use wavetask_document::Digest;
use wavetask_protocol::native::Quota;
use wavetask_protocol::worker::Report;
use wavetask_protocol::{FolderId, KeyId, LeaseId, TaskId, TaskKind, TaskState};

/// What is stored of a secret: its digest. The secret itself is shown once, when it is made.
///
/// A plain digest (BLAKE3 with a context string of its own) is enough because our secrets are 256 random
/// bits, which no dictionary contains.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The digest of a secret.
    pub fn of(secret: &str) -> Self {
        Self(blake3::derive_key("wavetask 2026 secret of a key", secret.as_bytes()))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretHash(…)")
    }
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyRole {
    /// Submit tasks and see its own.
    User,
    /// Lease tasks of everybody.
    Worker,
    /// Manage keys, and see statistics.
    Administrator,
}

/// A key without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its id, which names the account too.
    pub id: KeyId,
    /// Its name for people.
    pub name: String,
    /// What it may do.
    pub role: KeyRole,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to within a minute.
    pub used_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
    /// What its account may use. The store keeps it; its caller minds it.
    pub quota: Quota,
}

/// A folder of tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its id.
    pub id: FolderId,
    /// The account that it belongs to.
    pub owner: KeyId,
    /// Its name, unique within the account.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A request to create a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRequest {
    /// The task.
    pub task: NewTask,
    /// A second request of the same account with the same key creates nothing and answers with the task of
    /// the first.
    pub idempotency_key: Option<String>,
}

/// A task that was created, now or by an earlier request with the same idempotency key.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatedTask {
    /// The task.
    pub record: TaskRecord,
    /// Whether this request made it.
    pub is_new: bool,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The task afterwards.
    pub record: TaskRecord,
    /// Whether anything changed; `false` if the command was a repetition.
    pub changed: bool,
    /// What is to be done outside of the store, for this task and for those that depended on it. The store
    /// itself has told dependents, released documents and queued callbacks in the same transaction; wakes
    /// and cancelled leases are left to the caller.
    pub effects: Vec<(TaskId, Effect)>,
}

/// A document that belongs to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DocumentRole {
    /// What the input is made of, for a task that refers to the results of others.
    Template,
    /// What the solver is given: what the user uploaded, or what was made of the template.
    Input,
    /// What the solver found.
    Result,
}

impl DocumentRole {
    /// The word used in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Input => "input",
            Self::Result => "result",
        }
    }
}

/// A document as the task store takes it: its digest, where its bytes are, and the blocks that it needs.
///
/// Made by [`put_document`](crate::put_document).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDocument {
    /// The canonical digest: same content, same digest.
    pub digest: Digest,
    /// The serialised document itself.
    pub body: DocumentBody,
    /// Length of the serialised document in bytes.
    pub body_length: u64,
    /// Length of all arrays together in bytes.
    pub array_length: u64,
    /// All blocks that must stay as long as the document does, those of the body included; sorted, each once.
    pub blocks: Vec<Digest>,
}

/// A document as it is read: without the blocks of its arrays, of which there may be thousands, and which the document
/// itself names. Made into one by [`get_document`](crate::get_document).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptDocument {
    /// The canonical digest.
    pub digest: Digest,
    /// The serialised document itself.
    pub body: DocumentBody,
}

impl From<StoredDocument> for KeptDocument {
    fn from(stored: StoredDocument) -> Self {
        Self { digest: stored.digest, body: stored.body }
    }
}

/// Where the bytes of a serialised document are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentBody {
    /// In the database: nearly all, and no extra file has to be made durable for a small task.
    Inline(Vec<u8>),
    /// In blocks, in this order.
    Blocks(Vec<Digest>),
}

/// Which tasks to list. `Default` lists all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskFilter {
    /// Of this account only.
    pub owner: Option<KeyId>,
    /// In this folder only.
    pub folder: Option<FolderId>,
    /// In one of these states only; empty for all but deleted ones.
    pub states: Vec<TaskState>,
    /// Of one of these kinds only; empty for all.
    pub kinds: Vec<TaskKind>,
    /// With this text in the name, whatever the case of ASCII letters.
    pub name_contains: Option<String>,
    /// Created at this time or later.
    pub created_from: Option<Timestamp>,
    /// Created before this time.
    pub created_before: Option<Timestamp>,
    /// These only; empty for all.
    pub tasks: Vec<TaskId>,
    /// In a batch with this tag.
    pub tag: Option<String>,
    /// In no batch with this tag.
    pub without_tag: Option<String>,
    /// In the batch of this name. Together with `tag` and `parameters`: one membership satisfies them all.
    pub batch: Option<String>,
    /// In a batch with parameters that satisfy all of these.
    pub parameters: Vec<ParameterCondition>,
}

/// Where in a list to go on: after this task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// When the last task seen was created.
    pub created_at: Timestamp,
    /// Its id.
    pub task: TaskId,
}

/// A part of a list, newest task first.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<TaskRecord>,
    /// Where to go on, if there are more.
    pub next: Option<Cursor>,
}

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedEvent {
    /// 1 for the first event of the store, then one more for each; no gaps.
    pub sequence: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The task.
    pub task: TaskId,
    /// The task's account.
    pub owner: KeyId,
    /// Where the task stands after it.
    pub state: TaskState,
    /// What happened.
    pub event: Event,
}

/// Hears of events as they are committed.
pub trait EventListener: Send + Sync {
    /// These events are durable. Called in the order of their numbers while the store's writer waits: do no
    /// more than to wake somebody.
    fn committed(&self, events: &[LoggedEvent]);

    /// Tasks' progress has changed (no event is logged for that).
    fn progressed(&self, tasks: &[TaskId]) {
        let _ = tasks;
    }
}

/// A task lent to a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct LeasedTask {
    /// The task, running.
    pub record: TaskRecord,
    /// The lease.
    pub lease: LeaseId,
}

/// What came of a request for work.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeaseOutcome {
    /// The tasks; none if none fits now.
    pub leased: Vec<LeasedTask>,
    /// Effects on tasks that were refused because no worker can hold them, and on their dependents.
    pub effects: Vec<(TaskId, Effect)>,
}

/// One running task's report in a heartbeat, as the worker sent it.
pub type HeartbeatReport = Report;

/// Some lines of a task's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// Line numbers within their attempt, attempts, and texts, in order.
    pub lines: Vec<LogLine>,
    /// Whether there are more lines after these.
    pub more: bool,
}

/// One line of a task's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The attempt that wrote it.
    pub attempt: u32,
    /// Its number within the attempt, from 0.
    pub number: u64,
    /// Its text, without the line end.
    pub text: String,
}

/// A callback that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// Names it in [`TaskStore::callback_sent`](crate::TaskStore::callback_sent).
    pub id: u64,
    /// The task.
    pub task: TaskId,
    /// Where to.
    pub url: String,
    /// How often it has been tried.
    pub tries: u32,
}

/// Counts for `doctor` and the dashboard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Number of tasks in each state, deleted ones included.
    pub tasks: BTreeMap<String, u64>,
    /// Number of queued tasks that wait for inputs.
    pub waiting_for_inputs: u64,
    /// Since when the oldest ready task waits.
    pub oldest_ready_at: Option<Timestamp>,
    /// Number of events, which is the number of the latest one.
    pub events: u64,
    /// Number of documents.
    pub documents: u64,
    /// Length of all arrays and documents if nothing were shared, in bytes.
    pub document_bytes: u64,
    /// Number of different blocks that documents need.
    pub blocks: u64,
    /// Number of callbacks not yet sent.
    pub callbacks: u64,
    /// Length of the database in bytes, its write-ahead log included.
    pub database_bytes: u64,
}

/// What was put right when the server started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovery {
    /// Tasks whose validation was cut off and starts over.
    pub validations: Vec<TaskId>,
    /// Tasks whose publication was cut off: the worker has the result still.
    pub publications: Vec<TaskId>,
    /// Number of leases that were renewed so that workers can find the server again.
    pub leases: u64,
}
