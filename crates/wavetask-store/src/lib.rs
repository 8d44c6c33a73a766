//! Tasks and events in SQLite, blocks on local disk, and the conformance suite of both.

mod block_store;
pub mod conformance;
mod disk;
mod document;
mod error;
mod faults;
mod folder;
mod local;
mod model;
mod sqlite;
mod staging;
mod task_store;

pub use block_store::{BlockReferences, BlockSession, BlockStore, Candidates, Collected, Usage};
pub use disk::DiskBlockStore;
pub use document::{get_document, put_document};
pub use error::{ApplyError, Conflict, Result, StoreError};
pub use faults::{DiskOperation, FaultHook, Faults};
pub use folder::{DEFAULT_RESERVE, DataFolder, free_space};
pub use local::{LocalOptions, LocalStore, collect_everything, collect_released};
pub use model::{
    Applied, Callback, CreatedTask, Cursor, DocumentBody, DocumentRole, EventListener, Folder,
    HeartbeatReport, Key, KeyRole, LeaseOutcome, LeasedTask, LogLine, LogPage, LoggedEvent, MultipartUpload,
    Recovery, SecretHash, StagedFile, Statistics, StoredDocument, TaskFilter, TaskPage, TaskRequest,
    UploadPart,
};
pub use sqlite::SqliteTaskStore;
pub use staging::{StagingArea, StagingFile};
pub use task_store::TaskStore;

/// Most lines that are kept of one task's log; what comes after is dropped.
pub const MAXIMUM_LOG_LINES: u64 = 100_000;

/// Longest line of a log in bytes; the rest of it is cut off.
pub const MAXIMUM_LOG_LINE: usize = 4096;
