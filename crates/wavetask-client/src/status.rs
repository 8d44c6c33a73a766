//! Where a task stands, as its user sees it.

use wavetask_protocol::TaskState;
use wavetask_protocol::native::TaskSummary;

use crate::error::ClientError;

/// The stations of a task from the user's program to its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// Its document and arrays are being taken apart and hashed.
    Packing,
    /// In the journal, not yet known to the server.
    Waiting,
    /// The server knows it and waits for bytes.
    Uploading,
    /// Checked, and held until it is started.
    Held,
    /// Waits for its inputs or a free worker.
    Queued,
    /// A worker has it.
    Running,
    /// Solved; its result is on its way here.
    Fetching,
    /// Its result can be used. In lazy mode: fetched when it is asked for.
    Done,
    /// It ended without a result.
    Failed,
    /// It was stopped.
    Cancelled,
    /// The server lacks bytes that only the program that made it has: run the script again.
    WaitingForData,
}

impl Phase {
    /// The word for people and programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Packing => "packing",
            Self::Waiting => "waiting",
            Self::Uploading => "uploading",
            Self::Held => "held",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Fetching => "fetching",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::WaitingForData => "waiting-for-data",
        }
    }

    /// Whether nothing more happens unless the user acts.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled | Self::WaitingForData)
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// All that is known of a task without asking the server.
#[derive(Clone, Debug)]
pub struct TaskStatus {
    /// Where it is on its way.
    pub phase: Phase,
    /// Its state on the server, once it is there.
    pub state: Option<TaskState>,
    /// How far the solver is: 0 to 100.
    pub percent: Option<f64>,
    /// What the solver is doing, in a word or two; empty if unknown.
    pub stage: String,
    /// Why it ended without a result.
    pub error: Option<ClientError>,
    /// Whether the solution diverged; there is a result nevertheless.
    pub diverged: bool,
    /// Attempts begun.
    pub attempts: u32,
    /// When the server created it: milliseconds since 1970 (UTC).
    pub created_milliseconds: Option<i64>,
    /// When its last attempt began.
    pub started_milliseconds: Option<i64>,
    /// When it ended on the server.
    pub ended_milliseconds: Option<i64>,
}

impl TaskStatus {
    /// A task at this station, of which nothing else is known.
    pub(crate) const fn new(phase: Phase) -> Self {
        Self {
            phase,
            state: None,
            percent: None,
            stage: String::new(),
            error: None,
            diverged: false,
            attempts: 0,
            created_milliseconds: None,
            started_milliseconds: None,
            ended_milliseconds: None,
        }
    }

    /// Takes over what the server says.
    pub(crate) fn learn(&mut self, summary: &TaskSummary) {
        self.state = Some(summary.state);
        self.percent = summary.progress.as_ref().map(|progress| progress.percent);
        self.stage.clear();
        if let Some(progress) = &summary.progress {
            self.stage.push_str(&progress.stage);
        }
        self.diverged = summary.state == TaskState::Diverged;
        self.attempts = summary.attempts;
        self.created_milliseconds = Some(summary.created_milliseconds);
        self.started_milliseconds = summary.started_milliseconds;
        self.ended_milliseconds = summary.ended_milliseconds;
    }
}
