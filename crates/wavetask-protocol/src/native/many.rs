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
