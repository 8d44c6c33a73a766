//! Whether anybody needs this server: what a server that stops by itself asks.
//!
//! Requests of clients count, held ones for as long as they are held: an event stream is open exactly as long as
//! somebody listens. Requests of workers do not; they come for ever, and what they work on is seen in the tasks.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use wavetask_protocol::TaskState;
use wavetask_store::{StoreError, TaskFilter, TaskStore};

/// States in which a task goes on without its user.
const WORKING: [TaskState; 5] = [
    TaskState::Validating,
    TaskState::Queued,
    TaskState::Running,
    TaskState::Publishing,
    TaskState::Aborting,
];

/// Counts requests of clients.
#[derive(Debug)]
pub(crate) struct Requests {
    open: AtomicUsize,
    last: Mutex<Instant>,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self { open: AtomicUsize::new(0), last: Mutex::new(Instant::now()) }
    }

    fn idle_for(&self) -> Option<Duration> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (self.open.load(Ordering::SeqCst) == 0).then(|| last.elapsed())
    }

    fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// One request, from its head to the end of its answer.
struct Open(Arc<Requests>);

impl Open {
    fn new(requests: &Arc<Requests>) -> Self {
        requests.open.fetch_add(1, Ordering::SeqCst);
        requests.touch();
        Self(Arc::clone(requests))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.touch();
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts a request until its answer has been sent or given up.
pub(crate) async fn count(State(requests): State<Arc<Requests>>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/api/v1/worker/") {
        return next.run(request).await;
    }
    let open = Open::new(&requests);
    next.run(request).await.map(|body| Body::new(Counted { body, _open: open }))
}

/// An answer's body that keeps its request open.
struct Counted {
    body: Body,
    _open: Open,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Tells whether anybody needs the server.
#[derive(Clone)]
pub struct Activity {
    pub(crate) requests: Arc<Requests>,
    pub(crate) tasks: Arc<dyn TaskStore>,
}

impl std::fmt::Debug for Activity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Activity").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl Activity {
    /// Since when nobody has needed the server; `None` while a client's request is open or a task is being checked,
    /// waits for a worker or runs. Reads the database, and blocks for that time, only if no request is open.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn idle_for(&self) -> Result<Option<Duration>, StoreError> {
        if self.requests.idle_for().is_none() {
            return Ok(None);
        }
        let working = TaskFilter { states: WORKING.to_vec(), ..TaskFilter::default() };
        if !self.tasks.list_tasks(&working, None, 1)?.tasks.is_empty() {
            // What runs counts as being asked for: its user gets the whole time to look at the result.
            self.requests.touch();
            return Ok(None);
        }
        Ok(self.requests.idle_for())
    }
}
