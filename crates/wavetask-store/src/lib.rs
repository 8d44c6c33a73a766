//! Where tasks and blocks are kept: the traits, the local back-end, and the suite that any other has to pass.
//!
//! ```text
//!   server ──► TaskStore ─ tasks, events, accounts, documents, logs ─► SqliteTaskStore ─► DATA/wavetask.db
//!          ──► BlockStore ─ blocks by their digest ─────────────────► DiskBlockStore ──► DATA/blocks/
//! ```
//!
//! [`LocalStore::open`] opens both in one [data folder](DataFolder), which one process at a time may use.
//!
//! # What holds
//! - **One transaction per transition.** [`TaskStore::apply`] reads the task, asks
//!   [`wavetask_core::decide`], and writes record, events and consequences together. An answer means that it
//!   is on the disk.
//! - **The log explains the record.** Events are numbered without gaps; replayed, they give the record.
//!   [`TaskStore::check`] verifies it for every task, and so do the tests after each crash.
//! - **A result is visible when all of it is durable.** Blocks first ([`BlockSession::make_durable`]), then
//!   the document with the state in one transaction ([`TaskStore::apply_with_document`]).
//! - **The garbage collector cannot race an upload**: [`BlockStore`]'s documentation has the argument.
//! - **No space is an answer, not an accident**: [`StoreError::NoSpace`] from every write, with nothing
//!   changed. Uploads stop while a [reserve](DEFAULT_RESERVE) is left for the database.
//!
//! Everything here blocks. The traits are object-safe, so a server holds `Arc<dyn TaskStore>` and
//! `Arc<dyn BlockStore>`.

mod batch;
mod block_store;
pub mod conformance;
mod connections;
mod disk;
mod document;
mod error;
mod faults;
mod folder;
mod local;
mod model;
mod operation;
mod sqlite;
mod task_store;

pub use batch::{BatchFilter, BatchMember, BatchRecord, Comparison, MemberUpdate, ParameterCondition};
pub use block_store::{BlockReferences, BlockSession, BlockStore, Candidates, Collected, Usage};
pub use disk::DiskBlockStore;
pub use document::{get_document, put_document};
pub use error::{ApplyError, Conflict, Result, StoreError};
pub use faults::{DiskOperation, FaultHook, Faults};
pub use folder::{DEFAULT_RESERVE, DataFolder, free_space};
pub use local::{LocalOptions, LocalStore, collect_everything, collect_released};
pub use model::{
    Applied, Callback, CreatedTask, Cursor, DocumentBody, DocumentRole, EventListener, Folder,
    HeartbeatReport, KeptDocument, Key, KeyRole, LeaseOutcome, LeasedTask, LogLine, LogPage, LoggedEvent,
    Recovery, SecretHash, Statistics, StoredDocument, TaskFilter, TaskPage, TaskRequest,
};
pub use operation::{Done, Operation};
pub use sqlite::SqliteTaskStore;
pub use task_store::TaskStore;

/// Most lines that are kept of one task's log; what comes after is dropped.
pub const MAXIMUM_LOG_LINES: u64 = 100_000;

/// Longest line of a log in bytes; the rest of it is cut off.
pub const MAXIMUM_LOG_LINE: usize = 4096;
