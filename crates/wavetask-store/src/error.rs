//! What can go wrong in a store, by what the caller should do next.

use std::io;
use std::path::PathBuf;

use wavetask_core::Refusal;
use wavetask_document::Digest;
use wavetask_protocol::TaskId;

/// The result of most operations of a store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A store could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full, or would be after this. Nothing has changed: wait until there is room, and try
    /// again.
    #[error("there is no disk space left to {action}")]
    NoSpace {
        /// What was to be written.
        action: &'static str,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody else held on to the database for too long. Nothing has changed: try again.
    #[error("the database is busy")]
    Busy {
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another server works on this folder: stop it, or use another folder.
    #[error("the data folder {} is in use by another wavetask server{}", folder.display(),
        process.map(|id| format!(" (process {id})")).unwrap_or_default())]
    FolderInUse {
        /// The folder.
        folder: PathBuf,
        /// Who holds it, if it could be found out.
        process: Option<u32>,
    },
    /// The folder was last used by a newer version: use that one.
    #[error("the database has schema version {found}, and this version of wavetask knows up to {known}")]
    TooNew {
        /// The version found.
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// What a caller gave contradicts what is stored: change it.
    #[error("{0}")]
    Conflict(Conflict),
    /// There is no such thing, or it belongs to somebody else.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Events after the number that was asked for have been forgotten: read the tasks anew.
    #[error("events up to number {pruned_to} have been forgotten")]
    EventsGone {
        /// Events after this number are all there.
        pruned_to: u64,
    },
    /// A block's bytes no longer match its digest, or the database contradicts itself: restore a backup.
    #[error("stored data is damaged: {what}")]
    Damaged {
        /// What was found.
        what: String,
        /// What noticed it.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The disk or the database failed in another way: look at the cause.
    #[error("the store failed to {action}")]
    Failed {
        /// What it was doing.
        action: &'static str,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What contradicts what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// The idempotency key was used for a different task.
    #[error("the idempotency key has been used for a different task, {task}")]
    IdempotencyKey {
        /// The task that it was used for.
        task: TaskId,
    },
    /// There is a task with this id already.
    #[error("there is a task {task} already")]
    TaskId {
        /// The id.
        task: TaskId,
    },
    /// A task may depend on tasks of the same account only.
    #[error("there is no task {input} that this one could depend on")]
    Dependency {
        /// The dependency that is missing, deleted, or another account's.
        input: TaskId,
    },
    /// The document is not the one that the command names.
    #[error("the command names the document {named:?}, but {given} was given")]
    Document {
        /// The digest in the command.
        named: Option<Digest>,
        /// The digest of the document.
        given: Digest,
    },
}

impl StoreError {
    /// A stable code for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSpace { .. } => "store.no_space",
            Self::Busy { .. } => "store.busy",
            Self::FolderInUse { .. } => "store.folder_in_use",
            Self::TooNew { .. } => "store.too_new",
            Self::Conflict(_) => "store.conflict",
            Self::NotFound(_) => "store.not_found",
            Self::EventsGone { .. } => "events.gone",
            Self::Damaged { .. } => "store.damaged",
            Self::Failed { .. } => "store.failed",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoSpace { .. } => {
                "delete old tasks (`wavetask rm`) or make room on the disk; nothing is lost"
            }
            Self::Busy { .. } => "try again",
            Self::FolderInUse { .. } => "stop the other server, or choose another folder with --data",
            Self::TooNew { .. } => "use the newer version of wavetask, or another folder",
            Self::Conflict(_) => "change the request",
            Self::NotFound(_) => "check the id and the key",
            Self::EventsGone { .. } => "read the tasks anew, and follow the events from there",
            Self::Damaged { .. } => "check the disk, and restore the data folder from a backup",
            Self::Failed { .. } => "see the cause, and `wavetask doctor`",
        }
    }

    /// Whether the same request may succeed later without anybody changing it.
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::Busy { .. })
    }

    /// Groups an error of the file system.
    pub fn from_io(action: &'static str, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::NoSpace { action, source: error.into() }
            }
            io::ErrorKind::InvalidData => {
                Self::Damaged { what: error.to_string(), source: Some(error.into()) }
            }
            _ => Self::Failed { action, source: error.into() },
        }
    }
}

/// A command could not be applied to a task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// There is no such task (or it was deleted).
    #[error("there is no such task")]
    NoSuchTask,
    /// The task's state does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed; the task is as it was.
    #[error(transparent)]
    Store(#[from] StoreError),
}
