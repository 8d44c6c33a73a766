//! Several changes in one transaction.

use wavetask_core::Command;
use wavetask_protocol::{BatchId, LeaseId, TaskId};

use crate::batch::MemberUpdate;
use crate::model::{Applied, StoredDocument, TaskRequest};

/// One change of a list that [`TaskStore::transact`](crate::TaskStore::transact) makes together.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Operation {
    /// Creates a task. If its idempotency key is known for the same kind of task, the answer is that task, not
    /// changed, whatever name or folder this request gives.
    Create(TaskRequest),
    /// Applies a command, with the document that it brings.
    Apply {
        /// The task. One that an earlier `Create` of the same list did not make is not found.
        task: TaskId,
        /// What is wanted.
        command: Command,
        /// As in [`TaskStore::apply_with_document`](crate::TaskStore::apply_with_document).
        document: Option<StoredDocument>,
    },
    /// Adds lines to the log of the attempt under this lease, as [`TaskStore::append_log`](crate::TaskStore::append_log)
    /// does. Not found if the lease is not, or no longer, a task's.
    AppendLog {
        /// The lease.
        lease: LeaseId,
        /// Number of the first of the lines.
        first_line: u64,
        /// The lines.
        lines: Vec<String>,
    },
    /// Takes a task's idempotency key from it, for another task to be made under it. The task stays as it is.
    ReleaseKey {
        /// The task.
        task: TaskId,
    },
    /// Puts tasks into a batch.
    SetMembers(MemberUpdate),
}

/// What came of one [`Operation`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Done {
    /// Of `Create`, `Apply`, `AppendLog` and `ReleaseKey`.
    Task(Box<Applied>),
    /// Of `SetMembers`.
    Members {
        /// The batch.
        batch: BatchId,
        /// Keys of the members that were left out, because their task is not (or no longer) the account's.
        left_out: Vec<String>,
    },
}

impl Done {
    /// The task afterwards, if the operation was about one.
    pub fn into_task(self) -> Option<Applied> {
        match self {
            Self::Task(applied) => Some(*applied),
            Self::Members { .. } => None,
        }
    }
}
