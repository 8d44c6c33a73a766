//! One request at a time, and what to make of a failure: may it be repeated, may it have been done all the same?
//!
//! The protocol has no idempotency keys, so the second question matters: a creating request whose answer was lost is
//! *not* repeated here. Its caller looks for the task first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use crate::error::{ClientError, ErrorGroup};
use crate::http::{Bandwidth, PacedBody, Route, Tally, connector};

/// Longest answer that is held in memory, other than files: a list of 20,000 tasks has about 20 MB.
const ANSWER_BYTES: usize = 256 << 20;
/// Tries of a request that may be repeated.
const TRIES: u32 = 6;

/// What the network says.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Nothing reached the server.
    #[error("{what}: the server cannot be reached")]
    NotSent {
        /// Method and path.
        what: String,
        #[source]
        source: Cause,
    },
    /// The answer did not arrive, or not whole: the server may have done it.
    #[error("{what}: the connection broke before the answer was there")]
    Lost {
        /// Method and path.
        what: String,
        #[source]
        source: Cause,
    },
    /// The server said no.
    #[error("{what}: HTTP {status}: {text}")]
    Refused {
        /// Method and path.
        what: String,
        status: StatusCode,
        text: String,
    },
    /// The answer makes no sense.
    #[error("{what}: not an answer of this protocol: {text}")]
    Unreadable {
        /// Method and path.
        what: String,
        text: String,
    },
}

impl Failure {
    /// Whether the same request may succeed a little later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::Lost { .. } => true,
            Self::Refused { status, .. } => {
                status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED
                    || matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Unreadable { .. } => false,
        }
    }

    /// Whether it is certain that the server did nothing: then a creating request may be repeated at once.
    pub(super) fn was_not_done(&self) -> bool {
        match self {
            Self::NotSent { .. } => true,
            Self::Refused { status, .. } => {
                status.is_client_error() && *status != StatusCode::REQUEST_TIMEOUT
            }
            Self::Lost { .. } | Self::Unreadable { .. } => false,
        }
    }

    /// The status of a refusal.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl From<Failure> for ClientError {
    fn from(failure: Failure) -> Self {
        let (group, code, hint) = match &failure {
            Failure::NotSent { .. } => {
                (ErrorGroup::ConnectionLost, "plain.unreachable", "Check the address and the network.")
            }
            Failure::Lost { .. } => (ErrorGroup::ConnectionLost, "plain.connection_lost", "Go on later."),
            Failure::Refused { status, .. } => match status.as_u16() {
                401 | 403 => (ErrorGroup::Unauthorized, "plain.unauthorized", "Set another key."),
                404 => (ErrorGroup::NotFound, "plain.not_found", "Check the name; it may have been deleted."),
                408 | 429 | 500..=599 => (ErrorGroup::ServerBusy, "plain.server_busy", "Wait, then go on."),
                _ => (ErrorGroup::Usage, "plain.refused", "The message is the server's."),
            },
            Failure::Unreadable { .. } => (
                ErrorGroup::Internal,
                "plain.unreadable",
                "Check that the address is that of a server which speaks the tidy3d protocol.",
            ),
        };
        Self::new(group, code, failure.to_string()).hint(hint).caused_by(failure)
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    /// From sending to the last byte of the answer.
    pub(super) timeout: Duration,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What all requests together may send and fetch.
#[derive(Debug)]
struct Limits {
    bytes_per_second: u64,
    up: Arc<Bandwidth>,
    down: Arc<Bandwidth>,
}

/// Requests that may share a limited line: waiting for the others' bytes is no standstill.
const SHARING: u64 = 16;

/// Sends requests.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client<HttpsConnector<Route>, PacedBody>,
    requests: AtomicU64,
    sent: Tally,
    limits: Option<Limits>,
}

const USER: HeaderValue = HeaderValue::from_static(concat!("wavetask-client/", env!("CARGO_PKG_VERSION")));

impl Transport {
    /// A pool of connections. `secure`: some addresses begin with `https`; `here`: the server is on this machine, so
    /// no proxy leads to it.
    pub(super) fn new(secure: bool, here: bool) -> Result<Self, ClientError> {
        let connector = connector(secure, !here, Duration::from_secs(10))?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector);
        Ok(Self { client, requests: AtomicU64::new(0), sent: Tally::default(), limits: None })
    }

    /// With a limit on bytes a second, in each direction.
    pub(super) fn limited(self, bytes_per_second: Option<u64>) -> Self {
        let bandwidth = |rate| Arc::new(Bandwidth::new(rate));
        let limits = bytes_per_second.map(|rate| Limits {
            bytes_per_second: rate.max(1),
            up: bandwidth(rate),
            down: bandwidth(rate),
        });
        Self { limits, ..self }
    }

    /// How much longer a request may take because its body keeps to the limit.
    fn allowance(&self, bytes: usize) -> Duration {
        let shared = (bytes as u64).saturating_mul(SHARING);
        self.limits.as_ref().map_or(Duration::ZERO, |limits| {
            Duration::from_millis(shared.saturating_mul(1_000) / limits.bytes_per_second)
        })
    }

    /// Requests sent so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes of files that have left.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.sent.bytes()
    }

    /// One try. Any status but 200, 204 and 206 is a failure.
    pub(super) async fn once(&self, call: &Call) -> Result<Answer, Failure> {
        // The query may hold what is nobody's business.
        let what = format!("{} {}", call.method, call.url.split('?').next().unwrap_or_default());
        let limit = self.limits.as_ref().map(|limits| limits.up.clone());
        // What is put is a file, or a part of one.
        let (body, counted) = if call.method == Method::PUT {
            let (body, counted) = PacedBody::counted(call.body.clone(), limit, &self.sent);
            (body, Some(counted))
        } else {
            (PacedBody::new(call.body.clone(), limit), None)
        };
        let mut request = Request::new(body);
        *request.method_mut() = call.method.clone();
        match call.url.parse() {
            Ok(address) => *request.uri_mut() = address,
            Err(_) => return Err(Failure::Unreadable { what, text: "that is no address".to_owned() }),
        }
        request.headers_mut().insert(USER_AGENT, USER);
        for (name, value) in &call.headers {
            match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                (Ok(name), Ok(value)) => {
                    request.headers_mut().insert(name, value);
                }
                _ => {
                    return Err(Failure::Unreadable { what, text: format!("`{name}` cannot be a header") });
                }
            }
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let until = Instant::now() + call.timeout + self.allowance(call.body.len());
        let (status, headers, body) = self.answer(request, &what, until).await?;
        if matches!(status.as_u16(), 200 | 204 | 206) {
            if let Some(counted) = counted {
                counted.keep();
            }
            return Ok(Answer { status, headers, body });
        }
        Err(Failure::Refused { what, status, text: words(&body) })
    }

    async fn answer(
        &self,
        request: Request<PacedBody>,
        what: &str,
        mut until: Instant,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
        let what = || what.to_owned();
        let answer = match timeout_at(until, self.client.request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.is_connect() => {
                return Err(Failure::NotSent { what: what(), source: error.into() });
            }
            Ok(Err(error)) => return Err(Failure::Lost { what: what(), source: error.into() }),
            Err(elapsed) => return Err(Failure::Lost { what: what(), source: elapsed.into() }),
        };
        let (head, mut incoming) = answer.into_parts();
        let mut body = Vec::new();
        loop {
            let frame = timeout_at(until, incoming.frame())
                .await
                .map_err(|elapsed| Failure::Lost { what: what(), source: elapsed.into() })?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| Failure::Lost { what: what(), source: error.into() })?;
            // Trailers are of no interest.
            let Ok(piece) = frame.into_data() else { continue };
            if body.len() + piece.len() > ANSWER_BYTES {
                return Err(Failure::Unreadable { what: what(), text: "the answer is too long".to_owned() });
            }
            if let Some(limits) = &self.limits {
                let pause = limits.down.turn(piece.len());
                until += pause;
                tokio::time::sleep(pause).await;
            }
            body.extend_from_slice(&piece);
        }
        Ok((head.status, head.headers, body.into()))
    }

    /// Tries until it succeeds, for requests that may be repeated. `call` is made anew each time: signatures age.
    pub(super) async fn patiently(&self, call: impl Fn() -> Call + Send) -> Result<Answer, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.once(&call()).await {
                Err(failure) if tries < TRIES && failure.may_pass() => pause(tries).await,
                result => return result,
            }
        }
    }
}

/// Waits before the next try: 0.2 s, doubled each time up to 5 s, give or take a half.
pub(super) async fn pause(tries: u32) {
    let ceiling = (200_u64 << tries.saturating_sub(1).min(5)).min(5_000);
    let chance = u64::from(getrandom::u32().unwrap_or(u32::MAX / 2));
    let milliseconds = ceiling / 2 + ceiling * chance / u64::from(u32::MAX);
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// What a refusal says: the texts that servers of this protocol put into their JSON, else the body's beginning.
fn words(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let found: Vec<String> = json
        .as_ref()
        .map(|json| {
            ["error", "message", "msg", "detail", "code"]
                .iter()
                .filter_map(|name| json.get(name))
                .filter_map(|value| value.as_str().map(ToOwned::to_owned))
                .collect()
        })
        .unwrap_or_default();
    let text = if found.is_empty() { String::from_utf8_lossy(body).into_owned() } else { found.join("; ") };
    text.chars().filter(|character| !character.is_control()).take(2_000).collect()
}
