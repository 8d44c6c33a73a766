//! The native API over HTTP: [`NativeServer`].
//!
//! ```text
//!  NativeServer ── small requests ─────────────► call: retries ──┐
//!      │                                                         │
//!      ├── send_blocks ──► upload: packs ──┐                     ├──► transport: one try, limits on waits ──► server
//!      │                                   ├─► lanes ◄─ link     │
//!      ├── fetch, results ► download, part ┘  (turns)  (pure)    │
//!      └── next_events ──► events: one stream, or polling ───────┘
//! ```
//!
//! Decisions are values and are tested without sockets: when to try again (`retry`), how much to send at once
//! (`link`), whose turn it is (`lanes`), what a stream of events says (`events`). What is left is told in the
//! modules' own words: `transport` for connections and limits on waits, `upload` and `download` for resuming.
//!
//! Everything that is sent may be sent again: requests that create something carry idempotency keys, blocks are
//! named by their digests. So repetition needs no knowledge of what the server did with the try that failed.

mod address;
mod body;
mod bucket;
mod download;
mod events;
mod fault;
mod lanes;
mod link;
mod part;
mod retry;
mod transport;
mod upload;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use wavetask_document::{Digest, Document};
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{
    BatchList, BatchQuery, EventPage, LogPart, LogQuery, MemberList, MemberQuery, PartRequest,
    ResultsRequest, ServerStatus, SubmitAnswer, SubmitRequest, TASKS_START, TaskAnswers, TaskFilter,
    TaskList, TaskSelection, WantedBlock,
};

pub use self::address::is_this_machine;
use self::address::{Address, authorization};
pub(crate) use self::body::{Bandwidth, PacedBody, Tally};
use self::events::Events;
use self::lanes::Lanes;
use self::link::{Economy, Link, LinkLimits};
pub use self::retry::RetryPolicy;
use self::retry::{Retries, RetryBudget};
pub use self::transport::Patience;
use self::transport::{Ask, Transport};
pub(crate) use self::transport::{Route, connector};
use crate::error::{ClientError, ErrorGroup};
use crate::member::BlockPlace;
use crate::server::{ResultSink, Server, TaskAction};

/// Longest JSON answer that is read: twenty thousand members take about 15 MB.
const LONGEST_ANSWER: usize = 256 << 20;

/// Whether blocks travel compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompressionChoice {
    /// As the line is: measured, and changed when it changes.
    #[default]
    Measured,
    /// Always, where a block shrinks.
    Always,
    /// Never.
    Never,
}

/// What may be set; the default is right for most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// How long to wait for what.
    pub patience: Patience,
    /// When to try again, and when to give up.
    pub retry: RetryPolicy,
    /// Limit on what is sent, in bytes a second; `None` is as much as the line takes.
    pub upload_bytes_per_second: Option<u64>,
    /// Limit on what is fetched, in bytes a second.
    pub download_bytes_per_second: Option<u64>,
    /// Most packs under way to the server at once. Default 12. With `largest_pack` it bounds memory: packs that
    /// are under way are held encoded.
    pub upload_lanes: u32,
    /// Most transfers from the server at once. Default 8.
    pub download_lanes: u32,
    /// Largest pack in bytes, apart from a single block that is larger. Default 3 MiB: a fifth of a second at
    /// 100 Mbit/s, and with all lanes no more memory than a third of a large array.
    pub largest_pack: u64,
    /// Whether blocks travel compressed.
    pub compression: CompressionChoice,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            patience: Patience::default(),
            retry: RetryPolicy::default(),
            upload_bytes_per_second: None,
            download_bytes_per_second: None,
            upload_lanes: 12,
            download_lanes: 8,
            largest_pack: 3 << 20,
            compression: CompressionChoice::Measured,
        }
    }
}

/// What a [`NativeServer`] knows of its line; for logs and benchmarks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LineState {
    /// Packs that may be under way to the server at once.
    pub upload_lanes: u32,
    /// Bytes a second that the line carried to the server lately, 0 if not known.
    pub upload_bytes_per_second: f64,
    /// Transfers that may be under way from the server at once.
    pub download_lanes: u32,
    /// Bytes a second that the line carried from the server lately, 0 if not known.
    pub download_bytes_per_second: f64,
}

/// A wavetask server, by HTTP.
#[derive(Debug)]
pub struct NativeServer {
    core: Core,
    events: Events,
}

/// What all requests share.
#[derive(Debug)]
struct Core {
    transport: Transport,
    policy: RetryPolicy,
    budget: RetryBudget,
    up: Lanes,
    down: Lanes,
    economy: Mutex<Economy>,
    compression: CompressionChoice,
    /// One for each core: encoding more packs at once than that would only hold memory.
    encoders: Arc<Semaphore>,
}

impl NativeServer {
    /// Ready to talk; nothing is sent yet. [`Server::status`] tells whether somebody is there and takes the key.
    ///
    /// # Errors
    /// [`ErrorGroup::Usage`] if the address cannot be one or this system trusts no certificates at all,
    /// [`ErrorGroup::Unauthorized`] if the key cannot be one.
    pub fn connect(address: &str, key: &str, tuning: Tuning) -> Result<Self, ClientError> {
        let address = Address::parse(address)?;
        let this_machine = address.is_this_machine();
        let limit = |rate: Option<u64>| rate.map(|rate| Arc::new(Bandwidth::new(rate)));
        let transport = Transport::new(
            address,
            authorization(key)?,
            tuning.patience,
            limit(tuning.upload_bytes_per_second),
            limit(tuning.download_bytes_per_second),
        )?;
        let lanes = |most: u32| {
            Lanes::new(Link::new(LinkLimits {
                start: 4,
                fewest: 2.min(most.max(1)),
                most: most.max(1),
                smallest: SMALLEST_TRANSFER.min(tuning.largest_pack),
                largest: tuning.largest_pack,
            }))
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let core = Core {
            transport,
            policy: tuning.retry,
            budget: RetryBudget::new(&tuning.retry),
            up: lanes(tuning.upload_lanes),
            down: lanes(tuning.download_lanes),
            economy: Mutex::new(Economy::new(cores, !this_machine)),
            compression: tuning.compression,
            encoders: Arc::new(Semaphore::new(cores)),
        };
        Ok(Self { core, events: Events::default() })
    }

    /// What is known of the line by now.
    pub fn line(&self) -> LineState {
        let look = |lanes: &Lanes| lanes.link(|link| (link.lanes(), link.bytes_per_second()));
        let (upload_lanes, upload_bytes_per_second) = look(&self.core.up);
        let (download_lanes, download_bytes_per_second) = look(&self.core.down);
        LineState { upload_lanes, upload_bytes_per_second, download_lanes, download_bytes_per_second }
    }
}

/// Transfers are not smaller than this, if there is so much to carry.
pub(crate) const SMALLEST_TRANSFER: u64 = 256 << 10;

impl Core {
    fn retries(&self, what: impl Into<String>) -> Retries<'_> {
        Retries::new(&self.policy, &self.budget, what)
    }

    fn economy(&self) -> MutexGuard<'_, Economy> {
        self.economy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request that is answered by JSON, tried until it succeeds or there is no hope.
    async fn call<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, ClientError> {
        let mut retries = self.retries(ask.what());
        loop {
            match self.transport.json(&ask, LONGEST_ANSWER).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => retries.again(fault).await?,
            }
        }
    }
}

#[async_trait::async_trait]
impl Server for NativeServer {
    fn evaluates(&self) -> bool {
        true
    }

    async fn status(&self) -> Result<ServerStatus, ClientError> {
        self.core.call(Ask::get("/api/v1/status")).await
    }

    fn bytes_sent(&self) -> u64 {
        self.core.transport.bytes_sent()
    }

    async fn submit(&self, request: &SubmitRequest) -> Result<SubmitAnswer, ClientError> {
        let expected = request.members.len();
        let answer: SubmitAnswer = self.core.call(batch_ask("/api/v1/batches", request)?).await?;
        if answer.members.len() == expected {
            return Ok(answer);
        }
        let message = format!("the server answered for {} of {expected} members", answer.members.len());
        Err(ClientError::new(ErrorGroup::Internal, "answer.incomplete", message))
    }

    async fn send_blocks(
        &self,
        blocks: &[(Digest, BlockPlace)],
        arrived: &(dyn for<'a> Fn(&'a [Digest]) + Send + Sync),
    ) -> Result<(), ClientError> {
        upload::send_blocks(&self.core, blocks, arrived).await
    }

    async fn results(&self, request: &ResultsRequest, take: &mut ResultSink<'_>) -> Result<(), ClientError> {
        download::results(&self.core, request, take).await
    }

    async fn simulation(&self, task: &TaskId) -> Result<Document, ClientError> {
        self.core.call(Ask::get(format!("/api/v1/tasks/{}/simulation", segment(task.as_str())))).await
    }

    async fn fetch_blocks(
        &self,
        blocks: &[WantedBlock],
        take: &(dyn Fn(Digest, Bytes) -> Result<(), ClientError> + Send + Sync),
    ) -> Result<(), ClientError> {
        download::fetch_blocks(&self.core, blocks, take).await
    }

    fn gives_parts(&self) -> bool {
        true
    }

    async fn fetch_part(&self, request: &PartRequest) -> Result<Bytes, ClientError> {
        part::fetch_part(&self.core, request).await
    }

    async fn next_events(&self, after: u64) -> Result<EventPage, ClientError> {
        self.events.next(&self.core, after).await
    }

    async fn act(&self, action: TaskAction, tasks: &TaskSelection) -> Result<TaskAnswers, ClientError> {
        let path = match action {
            TaskAction::Status => "/api/v1/tasks/status",
            TaskAction::Start => TASKS_START,
            TaskAction::Cancel => "/api/v1/tasks/cancel",
            TaskAction::Retry => "/api/v1/tasks/retry",
            TaskAction::Delete => "/api/v1/tasks/delete",
        };
        self.core.call(json_ask(path, tasks)?).await
    }

    async fn log(&self, task: &TaskId, query: &LogQuery) -> Result<LogPart, ClientError> {
        let path = format!("/api/v1/tasks/{}/log", segment(task.as_str()));
        let held = Duration::from_millis(query.wait_milliseconds);
        self.core.call(query_ask(&path, query)?.held(held)).await
    }

    async fn list(&self, filter: &TaskFilter) -> Result<TaskList, ClientError> {
        self.core.call(query_ask("/api/v1/tasks", filter)?).await
    }

    async fn batches(&self, query: &BatchQuery) -> Result<BatchList, ClientError> {
        self.core.call(query_ask("/api/v1/batches", query)?).await
    }

    async fn members(&self, batch: &str, query: &MemberQuery) -> Result<MemberList, ClientError> {
        self.core.call(query_ask(&format!("/api/v1/batches/{}/members", segment(batch)), query)?).await
    }
}

/// Bodies from this length on are worth compressing.
const WORTH_COMPRESSING: usize = 1 << 10;

/// A request with a JSON body.
fn json_ask(path: &str, value: &impl Serialize) -> Result<Ask, ClientError> {
    let json = serde_json::to_vec(value).map_err(|error| unsayable(path, error))?;
    Ok(Ask::post(path, "application/json", json.into()))
}

/// The same where the server takes compressed bodies, which is where documents are sent: long ones are compressed.
fn batch_ask(path: &str, value: &(impl Serialize + Sync)) -> Result<Ask, ClientError> {
    let encode = || {
        let json = serde_json::to_vec(value).map_err(|error| unsayable(path, error))?;
        let packed = if json.len() < WORTH_COMPRESSING { None } else { zstd::bulk::compress(&json, 1).ok() };
        Ok(match packed {
            Some(packed) if packed.len() < json.len() => {
                Ask::post(path, "application/json", packed.into()).zstd()
            }
            _ => Ask::post(path, "application/json", json.into()),
        })
    };
    // A thousand documents take a while; other tasks of this thread go on elsewhere meanwhile.
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(encode),
        _ => encode(),
    }
}

fn query_ask(path: &str, query: &impl Serialize) -> Result<Ask, ClientError> {
    let query = serde_urlencoded::to_string(query).map_err(|error| unsayable(path, error))?;
    Ok(Ask::get(if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }))
}

fn unsayable(path: &str, error: impl std::error::Error + Send + Sync + 'static) -> ClientError {
    ClientError::new(ErrorGroup::Usage, "request.unsayable", format!("{path}: the request cannot be written"))
        .caused_by(error)
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => text.push(char::from(byte)),
            // Dots, too, so that `..` names a batch rather than a way up.
            _ => _ = write!(text, "%{byte:02X}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_one_segment() {
        assert_eq!(segment("heater sweep/2 µm"), "heater%20sweep%2F2%20%C2%B5m");
        assert_eq!(segment(".."), "%2E%2E");
    }

    #[test]
    fn queries_leave_out_what_was_not_asked() {
        assert_eq!(
            query_ask("/api/v1/tasks", &TaskFilter::default()).unwrap().path_and_query,
            "/api/v1/tasks"
        );
        let filter = TaskFilter {
            conditions: Some("I>=0.004,w=a b".to_owned()),
            limit: Some(3),
            ..TaskFilter::default()
        };
        let ask = query_ask("/api/v1/tasks", &filter).unwrap();
        assert_eq!(ask.path_and_query, "/api/v1/tasks?where=I%3E%3D0.004%2Cw%3Da+b&limit=3");
        assert_eq!(ask.what(), "GET /api/v1/tasks");
    }
}
