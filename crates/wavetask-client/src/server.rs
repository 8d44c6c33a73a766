//! What the engine needs of a server that offers the native API; tests put a simulated one in its place.

use std::fmt;

use bytes::Bytes;
use wavetask_document::{Digest, Document};
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{
    BatchList, BatchQuery, EventPage, LogPart, LogQuery, MemberList, MemberQuery, PartRequest, ResultAnswer,
    ResultsRequest, ServerStatus, SubmitAnswer, SubmitRequest, TaskAnswers, TaskFilter, TaskList,
    TaskSelection, WantedBlock,
};

use crate::error::{ClientError, ErrorGroup};
use crate::member::BlockPlace;

/// What may be done to many tasks at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskAction {
    /// Tell how they are.
    Status,
    /// Start those that are held.
    Start,
    /// Stop them.
    Cancel,
    /// Run those again that ended without success.
    Retry,
    /// Delete them with their results.
    Delete,
}

/// What may be asked about a task in the tidy3d protocol's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Told {
    /// What it is, where it stands, what it costs: `GET /tidy3d/tasks/{task}/detail`.
    Detail,
    /// How far it is: `GET /tidy3d/tasks/{task}/progress`.
    Progress,
}

/// A server that offers the native API.
///
/// Every method may be repeated: what creates something is idempotent. Every method ends: by success, by an error
/// of [`ErrorGroup::may_pass`](crate::ErrorGroup::may_pass) after its own retries (their budget and their times are
/// the implementation's), or by another error at once.
#[async_trait::async_trait]
pub trait Server: fmt::Debug + Send + Sync {
    /// Who is there.
    async fn status(&self) -> Result<ServerStatus, ClientError>;

    /// Bytes of arrays and files that have left for it by now, those under way included; less again when a try fails.
    /// Whoever wants to know whether sending makes headway compares it with the most that it has been.
    fn bytes_sent(&self) -> u64 {
        0
    }

    /// Whether it computes expressions over results, and has tasks wait for others.
    fn evaluates(&self) -> bool {
        false
    }

    /// Names members and their contents; the answer says what is missing.
    async fn submit(&self, request: &SubmitRequest) -> Result<SubmitAnswer, ClientError>;

    /// Sends blocks, in as many packs at once as the line takes; returns when all are durable there. Blocks that
    /// arrived before a failure need not be sent again: `arrived` hears of each as soon as it is durable.
    ///
    /// (`for<'a>` is written out in `arrived`, here and in implementations: `async_trait` would otherwise name that
    /// lifetime for the whole call, and nothing that is made within it could be told.)
    async fn send_blocks(
        &self,
        blocks: &[(Digest, BlockPlace)],
        arrived: &(dyn for<'a> Fn(&'a [Digest]) + Send + Sync),
    ) -> Result<(), ClientError>;

    /// Fetches results; `take` gets each as it comes, with the blocks that came with them.
    async fn results(&self, request: &ResultsRequest, take: &mut ResultSink<'_>) -> Result<(), ClientError>;

    /// The simulation of a task: its text and the descriptors of its arrays, whose blocks can be fetched.
    ///
    /// The code of the error is `task.no_simulation` while results that it is made of are not there, and where the
    /// server does not give simulations.
    async fn simulation(&self, task: &TaskId) -> Result<Document, ClientError> {
        Err(ClientError::new(ErrorGroup::NotFound, "task.no_simulation", "The server gives no simulations.")
            .task(task.clone())
            .hint("The result holds the simulation."))
    }

    /// Fetches blocks, verified; `take` gets each once, in any order.
    async fn fetch_blocks(
        &self,
        blocks: &[WantedBlock],
        take: &(dyn Fn(Digest, Bytes) -> Result<(), ClientError> + Send + Sync),
    ) -> Result<(), ClientError>;

    /// Whether it cuts parts out of arrays of results.
    fn gives_parts(&self) -> bool {
        false
    }

    /// Fetches a part of an array of a result, verified: its bytes in C order.
    async fn fetch_part(&self, request: &PartRequest) -> Result<Bytes, ClientError> {
        let message = format!("This server cuts no parts out of arrays ({}).", request.path);
        Err(ClientError::new(ErrorGroup::Usage, "result.no_parts", message))
    }

    /// The next events after this number, as soon as there are any; an empty page now and then. The implementation
    /// keeps one stream open between calls.
    async fn next_events(&self, after: u64) -> Result<EventPage, ClientError>;

    /// Looks at, starts, stops, runs again or deletes tasks.
    async fn act(&self, action: TaskAction, tasks: &TaskSelection) -> Result<TaskAnswers, ClientError>;

    /// A part of a task's log.
    async fn log(&self, task: &TaskId, query: &LogQuery) -> Result<LogPart, ClientError>;

    /// What the tidy3d protocol tells of a task whose id is not the one that it goes by there: the answer to the request
    /// that [`Told`] names, without its envelope. `None` if the id is good for that request itself.
    async fn told(&self, _task: &TaskId, _what: Told) -> Result<Option<serde_json::Value>, ClientError> {
        Ok(None)
    }

    /// Tasks by state, name, tag and parameters.
    async fn list(&self, filter: &TaskFilter) -> Result<TaskList, ClientError>;

    /// Batches by name and tag.
    async fn batches(&self, query: &BatchQuery) -> Result<BatchList, ClientError>;

    /// The members of a batch.
    async fn members(&self, batch: &str, query: &MemberQuery) -> Result<MemberList, ClientError>;
}

/// Takes a pack of results apart as it comes.
pub struct ResultSink<'a> {
    /// Gets each result.
    pub result: &'a mut (dyn FnMut(ResultAnswer) -> Result<(), ClientError> + Send),
    /// Gets each block that came with one, verified.
    pub block: &'a mut (dyn FnMut(Digest, Bytes) -> Result<(), ClientError> + Send),
}

impl fmt::Debug for ResultSink<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ResultSink").finish_non_exhaustive()
    }
}
