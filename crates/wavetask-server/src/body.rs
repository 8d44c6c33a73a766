//! Request bodies with a time limit: a sender that stops sending is not waited for for ever.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

/// Bytes per second that a sender has to reach on average once the first minute is over. Below that it
/// is not a slow line but somebody who wants to hold a connection.
const SLOWEST: u64 = 256;

/// A body whose next piece must come within a time.
pub(crate) struct TimedBody {
    body: Incoming,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    /// Since when the sender is waited for; `None` while the server is the slow one.
    waiting_since: Option<Instant>,
    waited: Duration,
    received: u64,
    /// Set once all of it has been read.
    complete: Arc<AtomicBool>,
}

/// The sender was too slow.
#[derive(Debug, thiserror::Error)]
#[error("the body came too slowly: nothing for {} s, or less than {SLOWEST} bytes a second", idle.as_secs())]
pub(crate) struct TooSlow {
    idle: Duration,
}

impl TimedBody {
    pub(crate) fn new(body: Incoming, idle: Duration) -> Self {
        Self {
            complete: Arc::new(AtomicBool::new(body.is_end_stream())),
            body,
            idle,
            deadline: Box::pin(tokio::time::sleep(idle)),
            waiting_since: None,
            waited: Duration::ZERO,
            received: 0,
        }
    }

    /// Tells, later too, whether all of the body has been read.
    pub(crate) fn completion(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.complete)
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(since) = self.waiting_since.take() {
                    self.waited += since.elapsed();
                }
                if self.body.is_end_stream() {
                    self.complete.store(true, Ordering::Relaxed);
                }
                self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                let beyond = self.waited.saturating_sub(Duration::from_secs(60));
                if self.received < beyond.as_secs() * SLOWEST {
                    return Poll::Ready(Some(Err(Box::new(TooSlow { idle: self.idle }))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Box::new(error)))),
            Poll::Ready(None) => {
                self.complete.store(true, Ordering::Relaxed);
                Poll::Ready(None)
            }
            Poll::Pending => {
                if self.waiting_since.is_none() {
                    let now = Instant::now();
                    self.waiting_since = Some(now);
                    let deadline = now + self.idle;
                    self.deadline.as_mut().reset(deadline);
                }
                match self.deadline.as_mut().poll(context) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(Box::new(TooSlow { idle: self.idle })))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
