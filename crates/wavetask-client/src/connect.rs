//! From an address to a server: by the native API where it is offered, else by the plain tidy3d protocol; and for the
//! server of a data folder, wherever it answers today.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use wavetask_document::{Digest, Document};
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{
    BatchList, BatchQuery, EventPage, LogPart, LogQuery, MemberList, MemberQuery, PartRequest,
    ResultsRequest, ServerStatus, SubmitAnswer, SubmitRequest, TaskAnswers, TaskFilter, TaskList,
    TaskSelection, WantedBlock,
};

use crate::client::{Client, runtime};
use crate::embedded;
use crate::error::{ClientError, ErrorGroup};
use crate::http::{NativeServer, SMALLEST_TRANSFER, Tuning};
use crate::locate::{Place, Surroundings, locate};
use crate::member::BlockPlace;
use crate::plain::{PlainServer, PlainSettings};
use crate::server::{ResultSink, Server, TaskAction};
use crate::settings::Settings;
use crate::signal::lock;

/// How long the transport tries by itself: long enough for a hiccup, short enough that people are told of an outage
/// while the engine waits for its end.
const TRANSPORT_PATIENCE: Duration = Duration::from_secs(15);

impl Settings {
    /// The settings for the server that arguments, environment and configuration file name
    /// ([`locate`](crate::locate)).
    ///
    /// # Errors
    /// Those of [`locate`](crate::locate::locate()) and [`limits`](Surroundings::limits).
    pub fn located(surroundings: &Surroundings) -> Result<Self, ClientError> {
        let read = |path: &Path| std::fs::read_to_string(path);
        let limits = surroundings.limits(read)?;
        let settings = match locate(surroundings, read)? {
            Place::Address { url, key, data } => {
                Self { url: Some(url), key: Some(key), data, ..Self::default() }
            }
            Place::Folder { data, key } => Self { url: None, key, data, ..Self::default() },
        };
        Ok(limits.applied(settings))
    }
}

impl Client {
    /// Connects to the server that `settings` name. Without an address, it is the one of the data folder, which is
    /// started if none answers there, and found again if it has been started anew elsewhere.
    ///
    /// # Errors
    /// `ConnectionLost` if nobody answers, `Unauthorized` if the key is not accepted, those of starting a server and
    /// of the journal.
    pub fn connect(settings: Settings) -> Result<Self, ClientError> {
        let tuning = Tuning::default();
        let mut tuning = Tuning {
            largest_pack: (settings.pack_budget / u64::from(tuning.upload_lanes.max(1)))
                .clamp(SMALLEST_TRANSFER, tuning.largest_pack),
            upload_bytes_per_second: settings.bandwidth,
            download_bytes_per_second: settings.bandwidth,
            ..tuning
        };
        tuning.retry.patience = TRANSPORT_PATIENCE.min(settings.patience);
        let runtime = runtime()?;
        let server: Result<Arc<dyn Server>, ClientError> = {
            // Connections belong to the runtime within which they are made.
            let _entered = runtime.enter();
            match (&settings.url, &settings.key) {
                (Some(url), Some(key)) => NativeServer::connect(url, key, tuning).map(|server| {
                    let server: Arc<dyn Server> = Arc::new(server);
                    server
                }),
                (Some(_), None) => Err(no_key()),
                (None, key) => FolderServer::connect(&settings, key.clone(), tuning).map(|server| {
                    let server: Arc<dyn Server> = Arc::new(server);
                    server
                }),
            }
        };
        let plain = settings.url.as_ref().zip(settings.key.as_ref()).map(|(url, key)| {
            // Its own table lies beside the journal.
            let folder = settings.data.join("client");
            PlainSettings { bandwidth: settings.bandwidth, ..PlainSettings::new(url, key, folder) }
        });
        let answered = server.and_then(|server| {
            let (answer, wait) = std::sync::mpsc::channel();
            runtime.spawn(async move {
                let _ = answer.send(choose(server, plain).await);
            });
            wait.recv().unwrap_or_else(|_| Err(no_answer()))
        });
        match answered {
            Ok(server) => Self::on_runtime(settings, runtime, server),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }
}

/// The server itself, if it offers the native API; else the plain tidy3d protocol, if it speaks that.
async fn choose(
    native: Arc<dyn Server>,
    plain: Option<PlainSettings>,
) -> Result<Arc<dyn Server>, ClientError> {
    let error = match native.status().await {
        Ok(_) => return Ok(native),
        Err(error) => error,
    };
    // A server without the native API may answer anything to a request of it, a refusal of the key among others.
    match plain {
        Some(plain) if !error.group.may_pass() => match PlainServer::connect(plain).await {
            Ok(server) => Ok(Arc::new(server)),
            // It speaks that protocol and says why not; otherwise the native API's answer says more.
            Err(refusal) if error.group != ErrorGroup::Unauthorized && says_why(&refusal) => Err(refusal),
            Err(_) => Err(error),
        },
        _ => Err(error),
    }
}

/// Whether a refusal over the plain protocol is about the caller rather than about there being nobody who speaks it.
const fn says_why(refusal: &ClientError) -> bool {
    refusal.group.may_pass() || matches!(refusal.group, ErrorGroup::Unauthorized | ErrorGroup::Infrastructure)
}

fn no_key() -> ClientError {
    ClientError::new(ErrorGroup::Unauthorized, "key.missing", "An address is given but no key.")
        .hint("Set WAVETASK_KEY to a key of that server (`wavetask key add NAME` there makes one).")
}

fn no_answer() -> ClientError {
    ClientError::new(ErrorGroup::Internal, "engine.stopped", "Asking for the server's status has panicked.")
}

/// The server of a data folder. It stops when nobody has used it for a while and may answer elsewhere when it is
/// started anew, so an address that no longer answers is looked up again, once for each call.
#[derive(Debug)]
struct FolderServer {
    options: embedded::Options,
    key: Option<String>,
    tuning: Tuning,
    current: Mutex<Arc<NativeServer>>,
    /// One looks for it at a time.
    looking: tokio::sync::Mutex<()>,
}

impl FolderServer {
    fn connect(settings: &Settings, key: Option<String>, tuning: Tuning) -> Result<Self, ClientError> {
        let mut options = embedded::Options::new(&settings.data);
        options.binary.clone_from(&settings.binary);
        let server = Self::find(&options, key.as_deref(), tuning)?;
        let current = Mutex::new(Arc::new(server));
        Ok(Self { options, key, tuning, current, looking: tokio::sync::Mutex::default() })
    }

    fn find(
        options: &embedded::Options,
        key: Option<&str>,
        tuning: Tuning,
    ) -> Result<NativeServer, ClientError> {
        let address = embedded::ensure(options)?;
        NativeServer::connect(&address.url, key.unwrap_or(&address.key), tuning)
    }

    fn current(&self) -> Arc<NativeServer> {
        lock(&self.current).clone()
    }

    /// The server after one that no longer answered.
    async fn next(&self, before: &Arc<NativeServer>) -> Result<Arc<NativeServer>, ClientError> {
        let _alone = self.looking.lock().await;
        let current = self.current();
        if !Arc::ptr_eq(before, &current) {
            return Ok(current);
        }
        let (options, key, tuning) = (self.options.clone(), self.key.clone(), self.tuning);
        let found = tokio::task::spawn_blocking(move || Self::find(&options, key.as_deref(), tuning)).await;
        let server = Arc::new(found.unwrap_or_else(|_| Err(no_answer()))?);
        *lock(&self.current) = server.clone();
        Ok(server)
    }
}

/// One call, and once more if the server was not there and is found anew.
macro_rules! call {
    ($self:ident, $server:ident => $call:expr) => {{
        let $server = $self.current();
        match $call.await {
            Err(error) if error.group == ErrorGroup::ConnectionLost => match $self.next(&$server).await {
                Ok($server) => $call.await,
                // Why it cannot be started says less than that it is gone; the next try says it again.
                Err(cause) => Err(error.caused_by(cause)),
            },
            outcome => outcome,
        }
    }};
}

#[async_trait::async_trait]
impl Server for FolderServer {
    fn evaluates(&self) -> bool {
        self.current().evaluates()
    }

    async fn status(&self) -> Result<ServerStatus, ClientError> {
        call!(self, server => server.status())
    }

    fn bytes_sent(&self) -> u64 {
        self.current().bytes_sent()
    }

    async fn submit(&self, request: &SubmitRequest) -> Result<SubmitAnswer, ClientError> {
        call!(self, server => server.submit(request))
    }

    async fn send_blocks(
        &self,
        blocks: &[(Digest, BlockPlace)],
        arrived: &(dyn for<'a> Fn(&'a [Digest]) + Send + Sync),
    ) -> Result<(), ClientError> {
        // Not again by itself: some have arrived, and the engine asks which.
        let server = self.current();
        let outcome = server.send_blocks(blocks, arrived).await;
        if matches!(&outcome, Err(error) if error.group == ErrorGroup::ConnectionLost) {
            let _ = self.next(&server).await;
        }
        outcome
    }

    async fn results(&self, request: &ResultsRequest, take: &mut ResultSink<'_>) -> Result<(), ClientError> {
        // Not again by itself: some have been taken.
        let server = self.current();
        let outcome = server.results(request, take).await;
        if matches!(&outcome, Err(error) if error.group == ErrorGroup::ConnectionLost) {
            let _ = self.next(&server).await;
        }
        outcome
    }

    async fn simulation(&self, task: &TaskId) -> Result<Document, ClientError> {
        call!(self, server => server.simulation(task))
    }

    async fn fetch_blocks(
        &self,
        blocks: &[WantedBlock],
        take: &(dyn Fn(Digest, Bytes) -> Result<(), ClientError> + Send + Sync),
    ) -> Result<(), ClientError> {
        // Not again by itself: each block is to be taken once.
        let server = self.current();
        let outcome = server.fetch_blocks(blocks, take).await;
        if matches!(&outcome, Err(error) if error.group == ErrorGroup::ConnectionLost) {
            let _ = self.next(&server).await;
        }
        outcome
    }

    fn gives_parts(&self) -> bool {
        self.current().gives_parts()
    }

    async fn fetch_part(&self, request: &PartRequest) -> Result<Bytes, ClientError> {
        call!(self, server => server.fetch_part(request))
    }

    async fn next_events(&self, after: u64) -> Result<EventPage, ClientError> {
        call!(self, server => server.next_events(after))
    }

    async fn act(&self, action: TaskAction, tasks: &TaskSelection) -> Result<TaskAnswers, ClientError> {
        call!(self, server => server.act(action, tasks))
    }

    async fn log(&self, task: &TaskId, query: &LogQuery) -> Result<LogPart, ClientError> {
        call!(self, server => server.log(task, query))
    }

    async fn list(&self, filter: &TaskFilter) -> Result<TaskList, ClientError> {
        call!(self, server => server.list(filter))
    }

    async fn batches(&self, query: &BatchQuery) -> Result<BatchList, ClientError> {
        call!(self, server => server.batches(query))
    }

    async fn members(&self, batch: &str, query: &MemberQuery) -> Result<MemberList, ClientError> {
        call!(self, server => server.members(batch, query))
    }
}
