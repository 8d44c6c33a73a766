//! What any store of tasks must be able to do.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use wavetask_core::schedule::Capacity;
use wavetask_core::{Command, TaskRecord, Timestamp};
use wavetask_document::Digest;
use wavetask_protocol::native::{Quota, Usage};
use wavetask_protocol::worker::{SmallTasks, Verdict};
use wavetask_protocol::{FolderId, KeyId, LeaseId, TaskId, WorkerId};

use crate::batch::{BatchFilter, BatchMember, BatchRecord};
use crate::error::{ApplyError, Result};
use crate::model::{
    Applied, Callback, CreatedTask, Cursor, DocumentRole, EventListener, Folder, HeartbeatReport,
    KeptDocument, Key, KeyRole, LeaseOutcome, LogPage, LoggedEvent, Recovery, SecretHash, Statistics,
    StoredDocument, TaskFilter, TaskPage, TaskRequest,
};
use crate::operation::{Done, Operation};

/// Tasks, their events, documents and logs; accounts and folders.
///
/// All methods block: call them from a thread that may (`spawn_blocking`). A method that changes something
/// returns when the change is durable, with one exception: [`heartbeat`](Self::heartbeat) may lose what it
/// wrote when the **machine** loses power (not when the process is killed), because nothing that anybody
/// was promised depends on it.
///
/// Tasks of other accounts look as if they did not exist wherever an `owner` is given. Deleted tasks look so
/// everywhere but in the event log.
pub trait TaskStore: fmt::Debug + Send + Sync {
    // Accounts

    /// Makes a key. Its secret is the caller's to make and to show.
    fn create_key(
        &self,
        id: &KeyId,
        name: &str,
        role: KeyRole,
        secret: &SecretHash,
        now: Timestamp,
    ) -> Result<Key>;

    /// The key with this secret, unless it was revoked.
    fn key_by_secret(&self, secret: &SecretHash) -> Result<Option<Key>>;

    /// All keys, oldest first, revoked ones too.
    fn keys(&self) -> Result<Vec<Key>>;

    /// Revokes a key: it opens nothing from now on. Answers whether there is such a key.
    fn revoke_key(&self, id: &KeyId, now: Timestamp) -> Result<bool>;

    /// Notes that a key was used. Cheap if it was noted within the last minute.
    fn touch_key(&self, id: &KeyId, now: Timestamp) -> Result<()>;

    /// Sets what a key's account may use. Answers whether there is such a key.
    fn set_quota(&self, id: &KeyId, quota: Quota) -> Result<bool>;

    /// What the account's tasks that are not deleted use. Kept as tasks change: cheap.
    fn usage(&self, owner: &KeyId) -> Result<Usage>;

    /// The value of a setting that the server keeps for itself, such as the key that it signs with; stores
    /// `value` if there is none yet, and answers with what is stored then.
    fn setting_or_insert(&self, name: &str, value: &[u8]) -> Result<Vec<u8>>;

    // Folders

    /// The account's folder of this name, made with this id if there is none.
    fn create_folder(&self, owner: &KeyId, id: &FolderId, name: &str, now: Timestamp) -> Result<Folder>;

    /// The account's folder of this name.
    fn folder_by_name(&self, owner: &KeyId, name: &str) -> Result<Option<Folder>>;

    /// A folder by its id.
    fn folder(&self, owner: &KeyId, id: &FolderId) -> Result<Option<Folder>>;

    /// The account's folders by name.
    fn folders(&self, owner: &KeyId) -> Result<Vec<Folder>>;

    /// Deletes a folder and all its tasks. Answers with what came of each task.
    ///
    /// # Errors
    /// `NotFound` if the account has no such folder.
    fn delete_folder(&self, owner: &KeyId, id: &FolderId, now: Timestamp) -> Result<Vec<Applied>>;

    // Tasks

    /// Creates a task in state draft.
    ///
    /// # Errors
    /// `Conflict` if the idempotency key was used for a task of another kind, name or folder, if the id is
    /// taken, or if a dependency is not a task of the same account; `NotFound` if the folder is not.
    fn create_task(&self, request: &TaskRequest, now: Timestamp) -> Result<CreatedTask>;

    /// A task by its id, whoever owns it.
    fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>>;

    /// A task of this account by its id.
    fn task_of(&self, owner: &KeyId, id: &TaskId) -> Result<Option<TaskRecord>>;

    /// The task whose current lease is this one.
    fn task_by_lease(&self, lease: &LeaseId) -> Result<Option<TaskRecord>>;

    /// The task whose current or last lease is this one: a worker that repeats its last report finds it.
    fn task_by_any_lease(&self, lease: &LeaseId) -> Result<Option<TaskRecord>>;

    /// Tasks by age, newest first, at most `limit`, going on after `after`.
    fn list_tasks(&self, filter: &TaskFilter, after: Option<&Cursor>, limit: usize) -> Result<TaskPage>;

    /// The account's tasks with these idempotency keys, by key; keys that are not known are missing.
    fn tasks_by_idempotency(&self, owner: &KeyId, keys: &[String]) -> Result<HashMap<String, TaskRecord>>;

    /// This account's tasks with this input that succeeded with this version of the solver, newest first: what a
    /// new task with the same input need not compute again.
    fn solved_tasks(
        &self,
        owner: &KeyId,
        input: &Digest,
        solver_version: &str,
        limit: usize,
    ) -> Result<Vec<TaskRecord>>;

    /// Tasks of an account with this input that are to be run or run, the oldest first: what they come to is what
    /// another one with the same input would come to.
    fn unfinished_tasks(&self, owner: &KeyId, input: &Digest, limit: usize) -> Result<Vec<TaskRecord>>;

    /// Tasks whose input can be made of the results that it refers to, and has not been
    /// ([`TaskRecord::awaits_resolution`]): those that wait longest first, at most `limit`.
    fn unresolved_tasks(&self, limit: usize) -> Result<Vec<TaskRecord>>;

    /// Makes several changes in one transaction, in order, with one wait for the disk. One that is refused leaves
    /// nothing behind and does not undo the others; an answer for each, in order. Later operations see what
    /// earlier ones did.
    ///
    /// # Errors
    /// What the store itself says (`NoSpace`, …): then none of them has happened.
    fn transact(&self, operations: &[Operation], now: Timestamp) -> Result<Vec<Result<Done, ApplyError>>>;

    /// Applies a command: reads the task, decides, writes record and events, tells dependents, releases
    /// documents and queues callbacks, in one transaction. A repetition is a success with `changed: false`.
    ///
    /// # Errors
    /// As [`ApplyError`] says; in each case nothing has changed.
    fn apply(&self, id: &TaskId, command: &Command, now: Timestamp) -> Result<Applied, ApplyError>;

    /// Applies a command that brings a document ([`Command::AcceptUpload`], [`Command::AcceptTemplate`],
    /// [`Command::Resolve`], [`Command::Publish`], [`Command::SubmitSolved`]) and attaches it in the same transaction. Its blocks must be durable and
    /// still pinned by the session that put them.
    ///
    /// # Errors
    /// As [`apply`](Self::apply), and `Conflict` if the command names another document or none.
    fn apply_with_document(
        &self,
        id: &TaskId,
        command: &Command,
        document: &StoredDocument,
        now: Timestamp,
    ) -> Result<Applied, ApplyError>;

    /// Deletes the tasks of a folder that were created before this time and that no worker has. Answers with
    /// their number.
    fn delete_old(
        &self,
        owner: &KeyId,
        folder: &FolderId,
        created_before: Timestamp,
        now: Timestamp,
    ) -> Result<u64>;

    // Batches

    /// Batches of the account, the last touched first, at most `limit`.
    fn batches(&self, owner: &KeyId, filter: &BatchFilter, limit: usize) -> Result<Vec<BatchRecord>>;

    /// The account's batch of this name.
    fn batch_by_name(&self, owner: &KeyId, name: &str) -> Result<Option<BatchRecord>> {
        let filter = BatchFilter { name: Some(name.to_owned()), ..BatchFilter::default() };
        Ok(self.batches(owner, &filter, 1)?.pop())
    }

    /// Members of a batch by position and key, behind the given ones, at most `limit`, with their tasks. None if
    /// there is no such batch.
    fn batch_members(
        &self,
        owner: &KeyId,
        name: &str,
        after: Option<&(u64, String)>,
        limit: usize,
    ) -> Result<Vec<(BatchMember, TaskRecord)>>;

    // Workers

    /// Gives the worker the next ready task that fits ([`wavetask_core::schedule`]), under the first of these new
    /// leases; refuses those that no worker can hold. If small tasks are welcome and that task is small, those
    /// next in turn are given too, in the same transaction, as long as there are leases and they are small.
    fn lease_several(
        &self,
        worker: &WorkerId,
        leases: &[LeaseId],
        capacity: &Capacity,
        small: Option<&SmallTasks>,
        now: Timestamp,
    ) -> Result<LeaseOutcome>;

    /// [`lease_several`](Self::lease_several) of one.
    fn lease_next(
        &self,
        worker: &WorkerId,
        lease: &LeaseId,
        capacity: &Capacity,
        now: Timestamp,
    ) -> Result<LeaseOutcome> {
        self.lease_several(worker, std::slice::from_ref(lease), capacity, None, now)
    }

    /// Renews leases, and stores progress and log lines; a verdict for each report, in order. While the disk
    /// is full it still renews (in memory) and loses the rest.
    fn heartbeat(&self, reports: &[HeartbeatReport], now: Timestamp) -> Result<Vec<Verdict>>;

    /// Ends the leases whose time is over. Answers with what came of their tasks.
    fn expire_leases(&self, now: Timestamp) -> Result<Vec<Applied>>;

    /// When the next lease ends, if there is any.
    fn next_expiry(&self) -> Result<Option<Timestamp>>;

    /// Puts right what a crash left behind. To be called once, before anything else.
    fn recover(&self, now: Timestamp) -> Result<Recovery>;

    // Events

    /// Events with numbers above `sequence`, in order, at most `limit`; of one account, or of all.
    ///
    /// # Errors
    /// `EventsGone` if some of those events have been [pruned](Self::prune_events): read the tasks anew, and go on
    /// after [`latest_sequence`](Self::latest_sequence) as it was before.
    fn events_after(&self, sequence: u64, owner: Option<&KeyId>, limit: usize) -> Result<Vec<LoggedEvent>>;

    /// Forgets tasks that were deleted before this time, at most `limit`, and their events. Answers with the
    /// number of tasks. The newest event of all stays, so numbers never come again.
    fn prune_events(&self, deleted_before: Timestamp, limit: usize) -> Result<u64>;

    /// All events of one task, in order, whether it was deleted or not; none once they were pruned.
    fn events_of(&self, task: &TaskId) -> Result<Vec<LoggedEvent>>;

    /// The number of the latest event; 0 if there is none.
    fn latest_sequence(&self) -> Result<u64>;

    /// Tells this listener of everything that is committed from now on, for as long as it lives (the store
    /// keeps a weak reference).
    fn subscribe(&self, listener: &Arc<dyn EventListener>);

    // Documents

    /// A document of a task.
    fn document(&self, task: &TaskId, role: DocumentRole) -> Result<Option<KeptDocument>>;

    /// Which of these blocks a document of a task needs. None if there is no such document.
    fn needed(&self, task: &TaskId, role: DocumentRole, blocks: &[Digest]) -> Result<Vec<bool>>;

    /// Which of these blocks the account has: they came from it lately ([`note_arrivals`](Self::note_arrivals)), or
    /// a document of one of its tasks needs them. What other accounts have changes neither the answers nor the
    /// time that they take. Whether the block's bytes are there is for the block store to say.
    fn possessed(&self, owner: &KeyId, blocks: &[Digest]) -> Result<Vec<bool>>;

    /// These blocks, with their lengths, came from the account, and are durable. They are kept until
    /// [`expire_arrivals`](Self::expire_arrivals), whether a document needs them or not. To be called while the
    /// session that put them still pins them.
    fn note_arrivals(&self, owner: &KeyId, blocks: &[(Digest, u64)], now: Timestamp) -> Result<()>;

    /// Bytes of the account's arrivals that no document of its tasks needs (yet): what it uses besides its
    /// [`usage`](Self::usage). Takes a look at each arrival.
    fn unneeded_arrivals(&self, owner: &KeyId) -> Result<u64>;

    /// Forgets arrivals from before this time. Answers with their number. Those that no document needs become
    /// [released blocks](Self::released_blocks).
    fn expire_arrivals(&self, before: Timestamp) -> Result<u64>;

    /// Of these blocks, those that no document needs and no arrival keeps.
    fn unreferenced(&self, blocks: &[Digest]) -> Result<Vec<Digest>>;

    /// Blocks of documents that were released, at most `limit`: worth a look by the garbage collector.
    fn released_blocks(&self, limit: usize) -> Result<Vec<Digest>>;

    /// The garbage collector has looked at these.
    fn forget_released(&self, blocks: &[Digest]) -> Result<()>;

    // Logs

    /// Adds lines to the log of an attempt; the first has this number. Lines that are there already are left
    /// as they are. Lines above the limit of the store ([`crate::MAXIMUM_LOG_LINES`]) are dropped.
    fn append_log(&self, task: &TaskId, attempt: u32, first_line: u64, lines: &[String]) -> Result<()>;

    /// Lines of a task's log in the order of attempts and numbers, after the given attempt and number, at
    /// most `limit`.
    fn read_log(&self, task: &TaskId, after: Option<(u32, u64)>, limit: usize) -> Result<LogPage>;

    // Callbacks

    /// Callbacks that should be sent now, at most `limit`.
    fn callbacks_due(&self, now: Timestamp, limit: usize) -> Result<Vec<Callback>>;

    /// A callback arrived, or is given up.
    fn callback_sent(&self, id: u64) -> Result<()>;

    /// A callback did not arrive: to be tried again at this time.
    fn callback_failed(&self, id: u64, next_try: Timestamp) -> Result<()>;

    // Care

    /// Counts.
    fn statistics(&self) -> Result<Statistics>;

    /// Checks that the database is sound and that records and events agree. Answers with what does not;
    /// empty if all is well. Reads everything: seconds on a large store.
    fn check(&self) -> Result<Vec<String>>;
}
