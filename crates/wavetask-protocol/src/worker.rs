//! What a worker and the server say to each other, over HTTP with JSON bodies.
//!
//! Every request carries the worker key (`authorization: Bearer …`). A worker asks for work, tells how
//! it goes, and hands over what came out; the server never calls a worker. All of it may be repeated:
//! a second `finish` or `result` for the same lease answers as the first one did.
//!
//! | method and path | body | answer |
//! |---|---|---|
//! | `POST /api/v1/worker/lease` | [`LeaseRequest`] | [`LeaseAnswer`], held up to `wait_milliseconds` |
//! | `GET /api/v1/worker/leases/{lease}/input` | | the simulation as an HDF5 file |
//! | `GET /api/v1/worker/leases/{lease}/documents/{digest}` | | a document that the recipe of an evaluation names, as JSON (`wavetask-document`'s `Document`) |
//! | `POST /api/v1/worker/leases/{lease}/documents/{digest}/blocks` | [`InputBlocks`] | these of its blocks, in this order, as a pack |
//! | `POST /api/v1/worker/heartbeat` | [`Heartbeat`] | [`HeartbeatAnswer`] |
//! | `PUT /api/v1/worker/leases/{lease}/result` | an HDF5 file: `{"data": […], "diverged": bool}` and the arrays of `data`; header [`SOLVER_VERSION_HEADER`] | 200 when durable and visible |
//! | `POST /api/v1/worker/results` | several small results ([`ResultHeader`]) | [`ResultAnswers`] when durable and visible |
//! | `POST /api/v1/worker/leases/{lease}/failure` | [`Failure`]; header [`SOLVER_VERSION_HEADER`] | 200 |
//!
//! Answers other than 200: 401 wrong key, 400 the lease does not open that document, 410 the lease is no longer valid (drop the work), 507 no room
//! now (keep the result and try again), other 5xx try again.

use crate::{Digest, LeaseId, Progress, TaskError, TaskId, TaskKind, WorkerId};

/// Header of a result: the version of the solver that found it.
pub const SOLVER_VERSION_HEADER: &str = "x-wavetask-solver-version";

/// "I am going to read these blocks of that document."
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct InputBlocks {
    /// At most [`MAXIMUM_BLOCKS`](crate::native::MAXIMUM_BLOCKS).
    pub blocks: Vec<Digest>,
}

/// "I have room: give me a task."
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LeaseRequest {
    /// Who asks.
    pub worker: WorkerId,
    /// Memory that a solver may use now, in bytes.
    pub free_memory_bytes: u64,
    /// Whether no other task runs there now: then a task that is estimated to need more than
    /// `free_memory_bytes` is handed out too if it fits `total_memory_bytes`.
    pub idle: bool,
    /// Memory of the machine that this worker may use at most, in bytes.
    pub total_memory_bytes: u64,
    /// How long the server may hold the request while there is nothing to do.
    pub wait_milliseconds: u64,
    /// Whether several small tasks are welcome at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub small: Option<SmallTasks>,
}

/// "And if they are small, give me several." A small task costs more to hand out than to solve; one request for
/// many of them costs as much as one for one.
///
/// The order in which tasks are handed out stays: the server stops at the first task that is not small, and hands
/// that out by itself, when it is its turn.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SmallTasks {
    /// At most so many in all.
    pub count: u32,
    /// Small is what is estimated to need at most so much memory, in bytes, …
    pub memory_bytes: u64,
    /// … and so much processor time, in seconds.
    pub cpu_seconds: f64,
    /// Whether a task that is not small is of no use now.
    pub only: bool,
}

impl SmallTasks {
    /// Whether a task is small.
    pub fn fits(&self, estimate: &crate::Estimate) -> bool {
        estimate.memory_bytes <= self.memory_bytes && estimate.cpu_seconds <= self.cpu_seconds
    }
}

/// Tasks that a server hands out at once at most, whatever a worker asks for.
pub const MAXIMUM_AT_ONCE: u32 = 64;

/// The answer to a lease request.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LeaseAnswer {
    /// The task to run, or nothing for now.
    pub assignment: Option<Assignment>,
    /// More tasks, if the first is small and several were asked for; all of them are small.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Assignment>,
}

/// One attempt of one task, lent to one worker.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Assignment {
    /// The lease to name in every later request.
    pub lease: LeaseId,
    /// The task.
    pub task: TaskId,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Which solver.
    pub kind: TaskKind,
    /// What it is expected to need.
    pub estimate: crate::Estimate,
    /// The lease ends this long after the last heartbeat.
    pub lease_milliseconds: u64,
    /// The simulation as an HDF5 file, in base64, if it is short; otherwise it is to be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
}

/// "These are still running here."
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Heartbeat {
    /// Who speaks.
    pub worker: WorkerId,
    /// One report for each running task.
    pub reports: Vec<Report>,
}

/// How one task goes.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// Its lease.
    pub lease: LeaseId,
    /// How far it is.
    pub progress: Progress,
    /// Number of the first of `log_lines` among all lines of this attempt, so that a repeated report
    /// adds nothing twice.
    pub first_log_line: u64,
    /// New log lines.
    pub log_lines: Vec<String>,
}

/// The answer to a heartbeat: a verdict for each report, in order.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HeartbeatAnswer {
    /// What to do with each.
    pub verdicts: Vec<Verdict>,
}

/// What a worker should do with a running task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Go on.
    Continue,
    /// The user wants it stopped: kill the solver, then report [`Failure::Aborted`].
    Abort,
    /// The lease is gone: kill the solver and forget it.
    Lost,
}

/// Before each result in the body of `POST /api/v1/worker/results`: the length of this header as JSON (4 bytes,
/// little-endian), the header, and the HDF5 file of the result.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ResultHeader {
    /// The lease.
    pub lease: LeaseId,
    /// As the header [`SOLVER_VERSION_HEADER`] says it for a single result.
    pub solver_version: String,
    /// As in [`Report`].
    pub first_log_line: u64,
    /// The log's last lines that no heartbeat has carried yet.
    pub log_lines: Vec<String>,
    /// Length of the file in bytes.
    pub length: u64,
}

/// Longest body of several results, in bytes.
pub const MAXIMUM_RESULTS: usize = 8 << 20;

/// What came of several results, one word for each, in order.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ResultAnswers {
    /// The words.
    pub results: Vec<ResultAnswer>,
}

/// What came of one of several results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultAnswer {
    /// It is durable and visible.
    Published,
    /// The lease is no longer valid, or the result cannot be used: drop the work.
    Gone,
    /// Send it again, by itself.
    Again,
}

/// A task ended without a result.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Failure {
    /// It failed; the kind decides whether it is tried again.
    Failed {
        /// Why.
        error: TaskError,
        /// The log's last lines that no heartbeat has carried yet.
        log_lines: Vec<String>,
        /// As in [`Report`].
        first_log_line: u64,
    },
    /// Stopped because the server asked for it.
    Aborted,
    /// The worker gives the task back unharmed (it is shutting down).
    Returned,
}
