//! Tasks and events in SQLite, blocks on local disk, and the conformance suite of both.

mod block_store;
mod error;
mod model;
mod task_store;

pub use block_store::{BlockReferences, BlockSession, BlockStore, Candidates, Collected, Usage};
pub use error::{ApplyError, Conflict, Result, StoreError};
pub use model::{
    Applied, Callback, CreatedTask, Cursor, DocumentBody, DocumentRole, EventListener, Folder,
    HeartbeatReport, Key, KeyRole, LeaseOutcome, LeasedTask, LogLine, LogPage, LoggedEvent, MultipartUpload,
    Recovery, SecretHash, StagedFile, Statistics, StoredDocument, TaskFilter, TaskPage, TaskRequest,
    UploadPart,
};
pub use task_store::TaskStore;

/// Most lines that are kept of one task's log; what comes after is dropped.
pub const MAXIMUM_LOG_LINES: u64 = 100_000;
