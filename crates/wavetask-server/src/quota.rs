//! What an account may use in all. Asked before anything is stored; what is there already stays.
//!
//! Between asking and storing another request of the same account may store something: with many requests at the
//! same moment a quota can be exceeded by what they hold together, once.

use axum::http::StatusCode;
use wavetask_protocol::native::Usage;
use wavetask_protocol::{ErrorKind, KeyId, TaskError};
use wavetask_store::Key;

use crate::answer::Refused;
use crate::app::App;

/// What an account may still use; `u64::MAX` where nothing is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Tasks.
    pub(crate) tasks: u64,
    /// Bytes of simulations and results.
    pub(crate) bytes: u64,
}

impl Room {
    const UNLIMITED: Self = Self { tasks: u64::MAX, bytes: u64::MAX };

    /// What an account has left. Blocks.
    pub(crate) fn of_account(app: &App, account: &KeyId) -> Result<Self, Refused> {
        let keys = app.tasks.keys()?;
        keys.iter().find(|key| key.id == *account).map_or(Ok(Self::UNLIMITED), |key| Self::of(app, key))
    }

    /// What a key has left. Blocks.
    pub(crate) fn of(app: &App, key: &Key) -> Result<Self, Refused> {
        if key.quota.tasks.is_none() && key.quota.bytes.is_none() {
            return Ok(Self::UNLIMITED);
        }
        let Usage { tasks, bytes } = app.tasks.usage(&key.id)?;
        let left = |quota: Option<u64>, used: u64| quota.map_or(u64::MAX, |quota| quota.saturating_sub(used));
        Ok(Self { tasks: left(key.quota.tasks, tasks), bytes: left(key.quota.bytes, bytes) })
    }

    /// Takes one task.
    pub(crate) fn take_task(&mut self) -> Result<(), Refused> {
        self.tasks = self.tasks.checked_sub(1).ok_or_else(tasks_exceeded)?;
        Ok(())
    }

    /// Takes some bytes.
    pub(crate) fn take_bytes(&mut self, bytes: u64) -> Result<(), Refused> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(bytes_exceeded)?;
        Ok(())
    }
}

/// Bytes that an account holds: its documents, and what it has sent lately and no document needs yet. Blocks.
///
/// What a task needs of the latter is weighed with the task, so only whoever sends more is asked about it.
pub(crate) fn bytes_held(app: &App, account: &KeyId) -> Result<u64, Refused> {
    let documents = app.tasks.usage(account)?.bytes;
    Ok(documents.saturating_add(app.tasks.unneeded_arrivals(account)?))
}

/// A task too many.
pub(crate) fn tasks_exceeded() -> Refused {
    Refused::new(StatusCode::FORBIDDEN, "quota.tasks", "this key has as many tasks as it may have").hint(
        "delete tasks that are no longer needed (`wavetask rm`), or ask the administrator for a larger quota",
    )
}

/// Bytes too many.
pub(crate) fn bytes_exceeded() -> Refused {
    Refused::new(
        StatusCode::FORBIDDEN,
        "quota.bytes",
        "this key's simulations and results would use more than they may",
    )
    .hint(
        "delete tasks that are no longer needed (`wavetask rm`), or ask the administrator for a larger quota",
    )
}

/// Whether a task was refused for its account's quota, which may be larger another time.
pub(crate) fn is_exceeded(error: &TaskError) -> bool {
    error.code == bytes_exceeded().error().code
}

/// The same, of a task whose upload turned out to be too large.
pub(crate) fn bytes_exceeded_by_task() -> TaskError {
    let refused = bytes_exceeded();
    let error = refused.error();
    TaskError {
        kind: ErrorKind::Validation,
        code: error.code,
        message: format!("{}: {}", error.message, error.hint.unwrap_or_default()),
    }
}
