//! The same to many tasks at once.

use super::{ApiError, TaskSummary};
use crate::TaskId;

/// Tasks to look at, start, stop, run again or delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskSelection {
    /// At most [`MAXIMUM_TASKS`](super::blocks::MAXIMUM_TASKS).
    pub tasks: Vec<TaskId>,
    /// For starting: higher runs first.
    #[serde(default)]
    pub priority: i32,
}

/// What came of it, one for each task in order.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskAnswers {
    /// The answers.
    pub tasks: Vec<TaskAnswer>,
    /// Number of the newest event when the answer was made.
    pub last_event: u64,
}

/// What the tidy3d protocol says of tasks, one for each in order: it has no request of its own for many.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskDetails {
    /// What it says; none where the account has no such task.
    pub tasks: Vec<Option<TaskDetail>>,
}

/// What the tidy3d protocol says of one task, in the words of the tidy3d client.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskDetail {
    /// As `GET /tidy3d/tasks/{task}/detail` answers.
    pub detail: serde_json::Value,
    /// As `GET /tidy3d/tasks/{task}/progress` answers.
    pub progress: serde_json::Value,
}

/// What came of one task.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskAnswer {
    /// The task as it is now.
    Task {
        /// The task.
        #[serde(flatten)]
        task: Box<TaskSummary>,
    },
    /// It was deleted.
    Deleted,
    /// It could not be done.
    Refused {
        /// Why: `task.not_found` among others.
        error: ApiError,
    },
}
