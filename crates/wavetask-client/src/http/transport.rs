//! One try of a request over HTTP/1.1, with a limit on every wait; repetition is [`retry`](super::retry)'s.
//!
//! **Limits on waits, none on duration.** A connection must come about within [`Patience::connect`]; while a body is
//! sent or an answer read, something must move within [`Patience::idle`]; the first byte of the answer must come
//! within [`Patience::answer`] of the last byte sent, longer for long bodies because the operating system may still
//! hold some megabytes of them. There is no limit on the whole: it would only kill long transfers.
//!
//! **Connections.** HTTP/1.1 with keep-alive: the server speaks no other, and packs of a tenth of a second over a few
//! connections fill a line as well as one HTTP/2 connection would, without its head-of-line blocking after a loss.
//! There are as many connections as requests under way: one for events, one for each lane up (2 to 12), each lane
//! down (2 to 8) and the odd small request; idle ones are closed before the server's 30 s.
//!
//! **Hyper and rustls directly.** `reqwest`, which the other crates use, would bring TLS to every client of the
//! process by its features: each then reads the system's certificates when it is made and fails where there are
//! none, plain HTTP or not. Here certificates are looked for when the address begins with `https`.
//!
//! **Proxies** of the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`) are used by a tunnel
//! (`CONNECT`), which leaves streams alone; never for this machine itself.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::Service;
use wavetask_protocol::native::ApiError;

use super::address::Address;
use super::body::{Bandwidth, PacedBody, Progress, Tally};
use super::fault::{BoxError, Fault};
use crate::error::ClientError;

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection. Default 10 s.
    pub connect: Duration,
    /// For the next byte in either direction. Default 30 s: longer than the outages that TCP survives by itself.
    pub idle: Duration,
    /// For the first byte of an answer, once the request was sent. Default 60 s.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            answer: Duration::from_secs(60),
        }
    }
}

/// Idle connections are closed after this: before the server does it, which would meet a request on its way.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// What may still lie in buffers of the operating system drains at least so fast, in bytes a second.
const SLOWEST_DRAIN: u64 = 32 << 10;

/// Bytes of an error's body that are read.
const ERROR_BODY: usize = 64 << 10;

/// A request, apart from where to.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// With the query.
    pub(crate) path_and_query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Added to the wait for an answer: the server holds it that long.
    pub(crate) held: Duration,
    /// Whether its bytes are headway: those of a pack are.
    pub(crate) counted: bool,
}

impl Ask {
    pub(crate) fn get(path_and_query: impl Into<String>) -> Self {
        Self::new(Method::GET, path_and_query, Bytes::new())
    }

    pub(crate) fn post(path: impl Into<String>, content_type: &'static str, body: Bytes) -> Self {
        Self::new(Method::POST, path, body).header(CONTENT_TYPE, HeaderValue::from_static(content_type))
    }

    fn new(method: Method, path_and_query: impl Into<String>, body: Bytes) -> Self {
        let path_and_query = path_and_query.into();
        Self { method, path_and_query, headers: HeaderMap::new(), body, held: Duration::ZERO, counted: false }
    }

    pub(crate) fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    pub(crate) fn header(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(crate) fn zstd(self) -> Self {
        self.header(CONTENT_ENCODING, HeaderValue::from_static("zstd"))
    }

    pub(crate) fn accept(self, content_type: &'static str) -> Self {
        self.header(ACCEPT, HeaderValue::from_static(content_type))
    }

    pub(crate) fn held(mut self, held: Duration) -> Self {
        self.held = held;
        self
    }

    /// Method and path, without the query: for errors and logs.
    pub(crate) fn what(&self) -> String {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        format!("{} {path}", self.method)
    }
}

/// The connections to one server.
#[derive(Clone)]
pub(crate) struct Transport {
    client: Client<HttpsConnector<Route>, PacedBody>,
    address: Address,
    /// Marked as sensitive: hyper and our logs do not show it.
    authorization: HeaderValue,
    patience: Patience,
    upload_limit: Option<Arc<Bandwidth>>,
    download_limit: Option<Arc<Bandwidth>>,
    sent: Tally,
}

impl fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Transport").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Transport {
    pub(crate) fn new(
        address: Address,
        authorization: HeaderValue,
        patience: Patience,
        upload_limit: Option<Arc<Bandwidth>>,
        download_limit: Option<Arc<Bandwidth>>,
    ) -> Result<Self, ClientError> {
        let connector = connector(address.is_secure(), !address.is_this_machine(), patience.connect)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .http1_max_buf_size(512 << 10)
            .build(connector);
        Ok(Self {
            client,
            address,
            authorization,
            patience,
            upload_limit,
            download_limit,
            sent: Tally::default(),
        })
    }

    /// Bytes of packs that have left.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.sent.bytes()
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// One try: sends the request and waits for the head of the answer, which is 200.
    pub(crate) async fn open(&self, ask: &Ask) -> Result<Answer, Fault> {
        let limit = self.upload_limit.as_ref().filter(|_| !ask.body.is_empty());
        let (body, counted) = if ask.counted {
            let (body, counted) = PacedBody::counted(ask.body.clone(), limit.cloned(), &self.sent);
            (body, Some(counted))
        } else {
            (PacedBody::new(ask.body.clone(), limit.cloned()), None)
        };
        let progress = body.progress();
        let mut request = Request::new(body);
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() =
            self.address.uri(&ask.path_and_query).map_err(|error| Fault::Unreadable(error.into()))?;
        *request.headers_mut() = ask.headers.clone();
        request.headers_mut().insert(AUTHORIZATION, self.authorization.clone());
        request.headers_mut().insert(USER_AGENT, USER);
        let response = self.client.request(request);
        let response = self.watch(&progress, ask, response).await?;
        let response = response.map_err(|error| {
            if error.is_connect() { Fault::Connect(bare(error)) } else { Fault::Broken(error.into()) }
        })?;
        let (head, body) = response.into_parts();
        let answer = Answer {
            headers: head.headers,
            body,
            idle: self.patience.idle,
            limit: self.download_limit.clone(),
            held: None,
        };
        if head.status != StatusCode::OK {
            return Err(refused(head.status, answer).await);
        }
        if let Some(counted) = counted {
            counted.keep();
        }
        Ok(answer)
    }

    /// The whole answer to a request that is answered by JSON.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(
        &self,
        ask: &Ask,
        most: usize,
    ) -> Result<T, Fault> {
        let mut answer = self.open(ask).await?;
        let bytes = answer.collect(most).await?;
        serde_json::from_slice(&bytes).map_err(|error| Fault::Unreadable(error.into()))
    }

    async fn watch<F: Future>(
        &self,
        progress: &Progress,
        ask: &Ask,
        response: F,
    ) -> Result<F::Output, Fault> {
        let mut response = pin!(response);
        let drain = Duration::from_secs(ask.body.len() as u64 / SLOWEST_DRAIN);
        loop {
            let (wait, doing) = if progress.is_complete() {
                (self.patience.answer + ask.held + drain, "waiting for the answer")
            } else {
                (self.patience.idle, "sending")
            };
            let deadline = progress.last() + wait;
            if deadline <= Instant::now() {
                return Err(Fault::Stalled { doing, after: wait });
            }
            tokio::select! {
                response = &mut response => return Ok(response),
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }
}

const USER: HeaderValue = HeaderValue::from_static(concat!("wavetask/", env!("CARGO_PKG_VERSION")));

/// An answer of which the head has come.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    body: Incoming,
    idle: Duration,
    limit: Option<Arc<Bandwidth>>,
    /// A piece that has come, and when the limit lets it through.
    held: Option<(Bytes, Instant)>,
}

impl Answer {
    /// The next piece of the body, `None` at its proper end. May be cancelled without losing anything.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        self.piece_within(self.idle).await
    }

    /// The same with another wait.
    pub(crate) async fn piece_within(&mut self, idle: Duration) -> Result<Option<Bytes>, Fault> {
        loop {
            // Kept here while it waits: whoever gives up waiting must find it the next time.
            if let Some((_, until)) = &self.held {
                tokio::time::sleep_until(*until).await;
                return Ok(self.held.take().map(|(data, _)| data));
            }
            let frame = tokio::time::timeout(idle, self.body.frame())
                .await
                .map_err(|_| Fault::Stalled { doing: "reading the answer", after: idle })?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| Fault::Broken(error.into()))?;
            // Trailers are of no interest.
            let Ok(data) = frame.into_data() else { continue };
            if let Some(limit) = &self.limit {
                let pause = limit.turn(data.len());
                if !pause.is_zero() {
                    self.held = Some((data, Instant::now() + pause));
                    continue;
                }
            }
            return Ok(Some(data));
        }
    }

    /// The rest of the body, at most so many bytes.
    pub(crate) async fn collect(&mut self, most: usize) -> Result<BytesMut, Fault> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            if all.len() + piece.len() > most {
                return Err(Fault::Unreadable(format!("it is longer than {most} bytes").into()));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}

async fn refused(status: StatusCode, mut answer: Answer) -> Fault {
    let retry_after = retry_after(&answer.headers);
    // Reading the body lets the connection be used again; what is missing of it does not matter.
    let body = answer.collect(ERROR_BODY).await.unwrap_or_default();
    let api = serde_json::from_slice::<ApiError>(&body).ok();
    Fault::Refused { status, api, retry_after }
}

/// `Retry-After` in seconds; a date would need our clock to agree with the server's, so it is passed over.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The cause of a connection that did not come about; hyper's own words around it say no more than ours.
fn bare(error: hyper_util::client::legacy::Error) -> BoxError {
    error.into()
}

/// Connects within a time, with TLS where addresses need it (`secure`), through the proxies of the environment or not.
pub(crate) fn connector(
    secure: bool,
    proxies: bool,
    within: Duration,
) -> Result<HttpsConnector<Route>, ClientError> {
    let mut direct = HttpConnector::new();
    direct.enforce_http(false);
    direct.set_nodelay(true);
    direct.set_connect_timeout(Some(within));
    direct.set_keepalive(Some(Duration::from_secs(15)));
    let route = Route { direct, proxies: proxies.then(|| Arc::new(Matcher::from_env())) };
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls(secure)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(route))
}

/// Certificates are those that the system trusts, looked for only where addresses need them.
fn tls(secure: bool) -> Result<rustls::ClientConfig, ClientError> {
    use crate::error::ErrorGroup::Usage;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    if secure {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let mut error = ClientError::new(
                Usage,
                "connection.no_certificates",
                "this system has no certificates",
            )
            .hint("install its package of certificates (ca-certificates), or name a file in SSL_CERT_FILE");
            if let Some(cause) = found.errors.into_iter().next() {
                error = error.caused_by(cause);
            }
            return Err(error);
        }
    }
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(
            |error| ClientError::new(Usage, "connection.tls", "TLS cannot be set up").caused_by(error),
        )?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Connects directly, or through a proxy of the environment.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    direct: HttpConnector,
    proxies: Option<Arc<Matcher>>,
}

type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

impl Service<Uri> for Route {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Connecting {
        let proxy = self.proxies.as_ref().and_then(|proxies| proxies.intercept(&target));
        let Some(proxy) = proxy else {
            let connecting = self.direct.call(target);
            return Box::pin(async move { connecting.await.map_err(Into::into) });
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.direct.clone());
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        // The tunnel takes 443 where no port is given; an address without TLS means 80.
        let target = match (target.port_u16(), target.scheme_str(), target.host()) {
            (None, Some("http"), Some(host)) => Uri::builder()
                .scheme("http")
                .authority(format!("{host}:80"))
                .path_and_query("/")
                .build()
                .unwrap_or(target),
            _ => target,
        };
        Box::pin(async move {
            tunnel.call(target).await.map_err(|error| {
                let error: Box<dyn Error + Send + Sync> = error.into();
                error
            })
        })
    }
}
