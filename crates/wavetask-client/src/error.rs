//! What can go wrong, grouped by what the caller does next.

use std::sync::Arc;

use wavetask_protocol::TaskId;

/// What the caller does next about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorGroup {
    /// The server cannot be reached, or went away and stayed away: check the address and the network, go on later.
    ConnectionLost,
    /// The key is not accepted or may not do this: set another.
    Unauthorized,
    /// The server does not take more now (overload, a quota, a full disk): wait, or free something.
    ServerBusy,
    /// The simulation cannot be run as it is: change it.
    InvalidSimulation,
    /// The solver found no solution: change mesh or physics.
    SolverFailed,
    /// The solution diverged: what there is of it can be fetched.
    Diverged,
    /// It was cancelled, by this program or another.
    Cancelled,
    /// Bytes are not what their digest says, here or there: fetch or submit again.
    DataCorrupted,
    /// There is no such task, batch, monitor or field: check the name.
    NotFound,
    /// The time that the caller gave is over; the work goes on.
    TimedOut,
    /// Too little memory or disk, a crashed or lost worker: look at the log, run it again.
    Infrastructure,
    /// An input of the task failed: mend that first.
    InputFailed,
    /// What was asked for makes no sense or is not supported: the message names it.
    Usage,
    /// A fault of this program or of the server: report it.
    Internal,
}

impl ErrorGroup {
    /// The name of the group, the same in Python and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionLost => "ConnectionLost",
            Self::Unauthorized => "Unauthorized",
            Self::ServerBusy => "ServerBusy",
            Self::InvalidSimulation => "InvalidSimulation",
            Self::SolverFailed => "SolverFailed",
            Self::Diverged => "Diverged",
            Self::Cancelled => "Cancelled",
            Self::DataCorrupted => "DataCorrupted",
            Self::NotFound => "NotFound",
            Self::TimedOut => "TimedOut",
            Self::Infrastructure => "Infrastructure",
            Self::InputFailed => "InputFailed",
            Self::Usage => "Usage",
            Self::Internal => "Internal",
        }
    }

    /// The group of this name.
    pub fn named(name: &str) -> Option<Self> {
        const ALL: [ErrorGroup; 14] = [
            ErrorGroup::ConnectionLost,
            ErrorGroup::Unauthorized,
            ErrorGroup::ServerBusy,
            ErrorGroup::InvalidSimulation,
            ErrorGroup::SolverFailed,
            ErrorGroup::Diverged,
            ErrorGroup::Cancelled,
            ErrorGroup::DataCorrupted,
            ErrorGroup::NotFound,
            ErrorGroup::TimedOut,
            ErrorGroup::Infrastructure,
            ErrorGroup::InputFailed,
            ErrorGroup::Usage,
            ErrorGroup::Internal,
        ];
        ALL.into_iter().find(|group| group.as_str() == name)
    }

    /// Whether the same may succeed without anybody changing anything.
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::ConnectionLost | Self::ServerBusy)
    }
}

/// An error of the engine: cheap to clone, because every handle of a task may be asked for it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ClientError {
    /// What to do next.
    pub group: ErrorGroup,
    /// Stable code such as `heat.not_converged`, for programs.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The task that it is about.
    pub task: Option<TaskId>,
    /// What caused it.
    #[source]
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl ClientError {
    /// An error without hint, task or cause.
    pub fn new(group: ErrorGroup, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { group, code: code.into(), message: message.into(), hint: None, task: None, cause: None }
    }

    /// Whether what ended so is gone on with by a repetition: nothing was decided about it.
    pub const fn is_resumable(&self) -> bool {
        self.group.may_pass() || matches!(self.group, ErrorGroup::Unauthorized)
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// About this task.
    #[must_use]
    pub fn task(mut self, task: TaskId) -> Self {
        self.task = Some(task);
        self
    }

    /// Caused by this.
    #[must_use]
    pub fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }
}
