//! The accept loop: connections, their number and their time limits.
//!
//! hyper is driven by hand rather than through a ready-made server because the limits sit here: how many
//! connections there are, how long a request's head may take, and how a stop is told to each. A client
//! that sends nothing, or one byte a minute, holds one connection for a bounded time and nothing else.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::Instrument;

use crate::Limits;
use crate::body::TimedBody;

/// Which connection a request came on. Two requests of one connection come from one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId(u64);

impl ConnectionId {
    /// A new one.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// How long requests in flight may take to finish once the server has been told to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// Serves connections until `shutdown` is ready, then lets requests in flight finish.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    on_close: Arc<dyn Fn(ConnectionId) + Send + Sync>,
    shutdown: impl Future<Output = ()>,
) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let open = TaskTracker::new();
    tokio::pin!(shutdown);
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&permits).acquire_owned() => permit,
            () = &mut shutdown => break,
        };
        let Ok(permit) = permit else { break };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many open files, or a connection that was gone before it was taken.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        let router = router.clone();
        let on_close = Arc::clone(&on_close);
        let watcher = graceful.watcher();
        let limits = limits.clone();
        open.spawn(async move {
            let id = ConnectionId::next();
            serve_connection(stream, peer, id, router, &limits, watcher).await;
            on_close(id);
            drop(permit);
        });
    }
    drop(listener);
    open.close();
    let all_done = async {
        graceful.shutdown().await;
        open.wait().await;
    };
    if tokio::time::timeout(GRACE, all_done).await.is_err() {
        tracing::warn!(
            "some requests did not finish within {} s of the stop and were cut off",
            GRACE.as_secs()
        );
    }
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    id: ConnectionId,
    router: Router,
    limits: &Limits,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Answers are small and written at once: waiting to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let body_idle_timeout = limits.body_idle_timeout;
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = TimedBody::new(body, body_idle_timeout);
            let body_was_read = body.completion();
            let mut request = hyper::Request::from_parts(head, Body::new(body));
            request.extensions_mut().insert(id);
            // Without the query: it may hold a signature.
            let span = tracing::debug_span!(
                "request",
                method = %request.method(),
                path = request.uri().path(),
                %peer,
            );
            async move {
                let started = std::time::Instant::now();
                let mut answer: Result<axum::response::Response, Infallible> = router.oneshot(request).await;
                if let Ok(response) = &mut answer {
                    // What was refused before its body was read ends the connection: the client has to hear
                    // of that, or its next request meets a closed door.
                    if !body_was_read.load(Ordering::Relaxed) {
                        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    let (status, seconds) = (response.status().as_u16(), started.elapsed().as_secs_f64());
                    tracing::debug!(status, seconds, "answered");
                }
                answer
            }
            .instrument(span)
            .await
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(256 << 10)
        .serve_connection(TokioIo::new(Impatient::new(stream, 2 * limits.body_idle_timeout)), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

/// A connection whose other end must go on taking what is written: a client that asks and does not read the
/// answers would hold it for ever, key or no key.
struct Impatient {
    stream: TcpStream,
    patience: Duration,
    /// Runs while a write waits for the other end.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    const fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, stalled: None }
    }

    /// Passes on what became of a write, or ends one that has waited for too long.
    fn written<T>(&mut self, poll: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => {
                let message = "the other end does not take what it asked for";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(poll, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(poll, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
