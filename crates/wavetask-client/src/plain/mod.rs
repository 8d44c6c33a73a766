//! The same handles on a server that speaks only the tidy3d protocol: the vendor's cloud, or another server.
//!
//! ```text
//!  engine ── Server ──► PlainServer ── submit ──► table (SQLite) ── journey: create ► send ► check ► start ► await
//!                            ▲                                          │                                  │
//!                            └── events ◄── board ◄─────────────────────┴──────── watcher (polls) ◄────────┘
//! ```
//!
//! Whatever is special about that protocol stays in this module: heat as two tasks (a mesh, then the solution),
//! creation without idempotency keys, its status words, its validation, credentials for each file, gzip. What it does
//! not have is kept here, in a table beside the engine's journal: batches, tags, parameters, which of the server's
//! tasks belong to which member, and small simulations until they have been sent.
//!
//! # What can be promised, and what cannot
//!
//! - A member is started once, whatever is killed or cut off at whatever instant, as long as this machine's table is
//!   kept. A task whose creation was not answered is found again by the token in its name. If the server creates it
//!   only after it was looked for, an empty draft is left behind, which is never started.
//! - The same script on another machine, or with another data folder, makes new tasks: the protocol has no place for
//!   idempotency keys.
//! - Ids of tasks are ours (they are there before the server has been asked, and stay when a task is run again);
//!   tasks that were not submitted here go by the server's own ids. Batches are known on this machine only.
//! - A result is fetched whole, even if only one monitor of it is asked for.
//! - A result that is known for the same content is found for the same member only; beyond that, `cache` is passed on
//!   to the server as its permission to answer from its own cache.
//! - Progress is asked for while at most four tasks run; logs are there when the server has them, usually at the end.
//! - Component modellers and the RF solver go other ways and are refused by name.
//!
//! # Which server
//!
//! Tested against our own server's tidy3d door. The vendor's cloud itself has not been tried: what is known about it
//! is what its client does. Two things follow from caution: heat takes two tasks, and uploads are gzip in one member,
//! unless the server says that it is one of ours, which needs neither.

mod actions;
mod board;
mod condition;
mod content;
mod journey;
mod object;
mod queries;
mod rest;
mod results;
mod row;
mod shared;
mod sign;
mod submit;
mod table;
mod told;
mod transport;
mod upload;
mod watcher;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use wavetask_document::Digest;
use wavetask_protocol::native::{
    BatchList, BatchQuery, EventPage, LogPart, LogQuery, MemberList, MemberQuery, ResultsRequest,
    ServerStatus, SubmitAnswer, SubmitRequest, TaskAnswers, TaskFilter, TaskList, TaskSelection, WantedBlock,
};
use wavetask_protocol::{KeyId, TaskId};

use self::object::Endpoint;
use self::rest::Rest;
use self::results::Results;
use self::shared::{Manner, Shared};
use self::table::Table;
use self::transport::Transport;
use self::watcher::Tempo;
use crate::error::{ClientError, ErrorGroup};
use crate::member::BlockPlace;
use crate::server::{ResultSink, Server, TaskAction, Told};

/// How heat simulations are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeatTasks {
    /// In one task where the server says that it is one of ours, else in two.
    #[default]
    Auto,
    /// In one task, as clients up to 2.10 did.
    One,
    /// In two tasks, as current clients do: a mesh, then the solution with the mesh as its parent.
    Two,
}

/// Whether uploads are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gzip {
    /// Not where the server says that it is one of ours and is on this machine; else with level 1.
    #[default]
    Auto,
    /// Never: plain HDF5 under the name of a compressed file, which not every server takes.
    Never,
    /// Always, with this level from 0 (stored) to 9.
    Level(u32),
}

/// Where the server is and how to speak to it.
#[derive(Clone)]
pub struct PlainSettings {
    /// Address of the REST interface.
    pub url: String,
    /// The key (`SIMCLOUD_APIKEY`).
    pub key: String,
    /// Folder for the table and for temporary files; made if it is not there.
    pub folder: PathBuf,
    /// Address of the object store (`AWS_ENDPOINT_URL_S3`). Without one: the server's own if it says that it is one
    /// of ours, else Amazon's.
    pub object_store: Option<String>,
    /// The region that signatures name (`TIDY3D_WEB__S3_REGION`).
    pub region: String,
    /// How heat simulations are run.
    pub heat: HeatTasks,
    /// Whether uploads are compressed.
    pub gzip: Gzip,
    /// Bytes of results that may lie in temporary files; more makes room and is fetched again when it is needed.
    pub result_bytes: u64,
    /// Bytes a second that may be sent, and fetched; `None` is without a limit.
    pub bandwidth: Option<u64>,
    /// The version of the client whose protocol this is.
    pub protocol_version: String,
    /// Bytes of one part of an upload; stores demand 5 MiB at least of all parts but the last.
    pub part_bytes: u64,
    /// The pauses between two looks at the tasks: after a change, and the longest.
    pub poll: (Duration, Duration),
}

impl std::fmt::Debug for PlainSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PlainSettings")
            .field("url", &self.url)
            .field("folder", &self.folder)
            .field("object_store", &self.object_store)
            .finish_non_exhaustive()
    }
}

impl PlainSettings {
    /// For this server, with the defaults for everything else; what the unmodified client reads from
    /// `AWS_ENDPOINT_URL_S3` and `TIDY3D_WEB__S3_REGION` is read here, too.
    pub fn new(url: impl Into<String>, key: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let tempo = Tempo::default();
        Self {
            url: url.into(),
            key: key.into(),
            folder: folder.into(),
            object_store: set("AWS_ENDPOINT_URL_S3"),
            region: set("TIDY3D_WEB__S3_REGION").unwrap_or_else(|| "us-gov-west-1".to_owned()),
            heat: HeatTasks::default(),
            gzip: Gzip::default(),
            result_bytes: 8 << 30,
            bandwidth: None,
            protocol_version: "2.12.1".to_owned(),
            part_bytes: upload::PART_BYTES,
            poll: (tempo.shortest, tempo.longest),
        }
    }
}

/// A server that speaks only the tidy3d protocol.
#[derive(Debug)]
pub struct PlainServer {
    shared: Arc<Shared>,
    /// Whether what earlier processes left was taken up.
    resumed: AtomicBool,
}

impl PlainServer {
    /// Finds out who is there and whether the key is good, and opens the table. Must be called, like everything
    /// else here, within a tokio runtime, which then drives the tasks.
    ///
    /// # Errors
    /// `ConnectionLost` if nobody answers, `Unauthorized` if the key is not accepted, `Internal` with the code
    /// `plain.unreadable` if whoever answers does not speak this protocol, `Infrastructure` if the table cannot be
    /// opened.
    pub async fn connect(settings: PlainSettings) -> Result<Self, ClientError> {
        let transport = Self::transport(&settings)?;
        let rest =
            Rest::new(transport, &settings.url, &settings.key, &settings.region, &settings.protocol_version);
        let (health, key) = tokio::join!(rest.health(), rest.check_key());
        key?;
        // A server without this endpoint is none of ours; that is all that is wanted of it.
        let name = health
            .ok()
            .and_then(|health| health.get("server").and_then(|name| name.as_str()).map(ToOwned::to_owned))
            .unwrap_or_default();
        let ours = name.starts_with("wavetask");
        let local = is_here(&settings.url);
        let endpoint = match &settings.object_store {
            Some(address) => Endpoint::Path(address.clone()),
            None if ours => Endpoint::Path(settings.url.clone()),
            None => Endpoint::Amazon,
        };
        let account = Digest::of(format!("{}\n{}", settings.url, settings.key).as_bytes()).to_string();
        let manner = Manner {
            two_tasks: match settings.heat {
                HeatTasks::Auto => !ours,
                HeatTasks::One => false,
                HeatTasks::Two => true,
            },
            gzip: match settings.gzip {
                Gzip::Auto => (!(ours && local)).then_some(1),
                Gzip::Never => None,
                Gzip::Level(level) => Some(level.min(9)),
            },
            plain_results: ours,
            part_bytes: settings.part_bytes.max(1),
            account: account[..32].to_owned(),
            name: if name.is_empty() { "tidy3d protocol".to_owned() } else { name },
        };
        let scratch = settings.folder.join("plain-results");
        let (folder, to_make, account) = (settings.folder.clone(), scratch.clone(), manner.account.clone());
        let table = results::blocking(move || {
            std::fs::create_dir_all(&to_make).map_err(table::broken)?;
            Table::open(&folder, &account)
        })
        .await??;
        let results = Results::new(&scratch, settings.result_bytes);
        let tempo = Tempo { shortest: settings.poll.0, longest: settings.poll.1 };
        let shared = Shared::new(Arc::new(rest), endpoint, manner, table, results, tempo);
        Ok(Self { shared, resumed: AtomicBool::new(false) })
    }

    fn transport(settings: &PlainSettings) -> Result<Transport, ClientError> {
        Self::unlimited(settings).map(|transport| transport.limited(settings.bandwidth))
    }

    fn unlimited(settings: &PlainSettings) -> Result<Transport, ClientError> {
        let is_secure = |address: &str| address.trim_start().to_ascii_lowercase().starts_with("https:");
        let here = is_here(&settings.url);
        if is_secure(&settings.url) {
            return Transport::new(true, here);
        }
        // Without an address of its own, the object store may turn out to be Amazon's, which is reached by TLS.
        match &settings.object_store {
            Some(address) => Transport::new(is_secure(address), here),
            None => Transport::new(true, here).or_else(|_| Transport::new(false, here)),
        }
    }

    /// HTTP requests sent so far, those to the object store included.
    pub fn requests(&self) -> u64 {
        self.shared.rest.transport.requests()
    }

    /// Takes up what earlier processes left; once, and only by a process that watches: one that lists tasks and ends
    /// would only begin things.
    async fn take_up(&self) -> Result<(), ClientError> {
        if self.resumed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        for row in self.shared.in_table(|table| table.tasks(true)).await? {
            self.shared.follow(row).await?;
        }
        Ok(())
    }
}

/// Whether an address is on this machine.
fn is_here(address: &str) -> bool {
    let host = url::Url::parse(address).ok().and_then(|url| url.host_str().map(ToOwned::to_owned));
    host.is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]")
}

#[async_trait::async_trait]
impl Server for PlainServer {
    async fn status(&self) -> Result<ServerStatus, ClientError> {
        self.shared.rest.check_key().await?;
        let rows = self.shared.in_table(|table| table.tasks(false)).await?;
        let key: KeyId = format!("key-{}", self.shared.manner.account).parse().map_err(table::broken)?;
        Ok(ServerStatus {
            version: self.shared.manner.name.clone(),
            now_milliseconds: row::now(),
            // Nobody says when it started, or how much room it has.
            started_milliseconds: 0,
            disk_free_bytes: 0,
            key,
            key_name: String::new(),
            administrator: false,
            tasks: queries::count(rows.iter().map(|row| row.state)),
            workers: Vec::new(),
        })
    }

    fn bytes_sent(&self) -> u64 {
        self.shared.rest.transport.bytes_sent()
    }

    async fn submit(&self, request: &SubmitRequest) -> Result<SubmitAnswer, ClientError> {
        self.shared.submit(request).await
    }

    /// Nothing leaves yet: the blocks' places are kept until their member is repeated.
    async fn send_blocks(
        &self,
        blocks: &[(Digest, BlockPlace)],
        arrived: &(dyn for<'a> Fn(&'a [Digest]) + Send + Sync),
    ) -> Result<(), ClientError> {
        let digests: Vec<Digest> = blocks.iter().map(|(digest, _)| *digest).collect();
        self.shared.kept().places.extend(blocks.iter().cloned());
        arrived(&digests);
        Ok(())
    }

    async fn results(&self, request: &ResultsRequest, take: &mut ResultSink<'_>) -> Result<(), ClientError> {
        self.shared.results(request, take).await
    }

    async fn fetch_blocks(
        &self,
        blocks: &[WantedBlock],
        take: &(dyn Fn(Digest, Bytes) -> Result<(), ClientError> + Send + Sync),
    ) -> Result<(), ClientError> {
        self.shared.fetch_blocks(blocks, take).await
    }

    async fn next_events(&self, after: u64) -> Result<EventPage, ClientError> {
        self.take_up().await?;
        Ok(self.shared.board.after(after).await)
    }

    async fn act(&self, action: TaskAction, tasks: &TaskSelection) -> Result<TaskAnswers, ClientError> {
        if tasks.tasks.len() > wavetask_protocol::native::MAXIMUM_TASKS {
            return Err(ClientError::new(
                ErrorGroup::Usage,
                "request.too_many_tasks",
                format!("a request names {} tasks at most", wavetask_protocol::native::MAXIMUM_TASKS),
            ));
        }
        self.shared.act(action, tasks).await
    }

    async fn log(&self, task: &TaskId, query: &LogQuery) -> Result<LogPart, ClientError> {
        self.shared.log(task, query).await
    }

    async fn told(&self, task: &TaskId, what: Told) -> Result<Option<serde_json::Value>, ClientError> {
        self.shared.told(task, what).await
    }

    async fn list(&self, filter: &TaskFilter) -> Result<TaskList, ClientError> {
        self.shared.list(filter).await
    }

    async fn batches(&self, query: &BatchQuery) -> Result<BatchList, ClientError> {
        self.shared.batches(query).await
    }

    async fn members(&self, batch: &str, query: &MemberQuery) -> Result<MemberList, ClientError> {
        self.shared.members(batch, query).await
    }
}
