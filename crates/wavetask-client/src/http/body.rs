//! Bodies of requests: bytes that are handed over piece by piece, so that progress is seen and bandwidth kept to.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::bucket::TokenBucket;

/// Bytes handed to the connection at once: small beside any pack, large beside the cost of a system call.
const PIECE: usize = 64 << 10;

/// A limit on bytes a second that several bodies share.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    bucket: Mutex<TokenBucket>,
    origin: Instant,
}

impl Bandwidth {
    /// At most so many bytes a second, in pieces of at most a tenth of that.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a rate, not a count")]
        let rate = bytes_per_second.max(1) as f64;
        Self { bucket: Mutex::new(TokenBucket::new(rate / 10.0, rate)), origin: Instant::now() }
    }

    /// How long to wait until so many bytes may go.
    pub(crate) fn turn(&self, bytes: usize) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a piece")]
        let tokens = bytes as f64;
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(tokens, self.origin.elapsed())
    }
}

/// Bytes of data that have left, over all bodies that are counted; what a try carried in vain is taken back, so that
/// a line which breaks again and again makes no headway by it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Arc<AtomicU64>);

impl Tally {
    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A try whose bytes are counted; unless it is [kept](Self::keep), they are taken back when this is dropped.
#[derive(Debug)]
pub(crate) struct CountedTry {
    progress: Option<Arc<Progress>>,
}

impl CountedTry {
    /// The try succeeded.
    pub(crate) fn keep(mut self) {
        self.progress = None;
    }
}

impl Drop for CountedTry {
    fn drop(&mut self) {
        if let Some(progress) = self.progress.take()
            && let Some(tally) = &progress.tally
        {
            tally.0.fetch_sub(progress.taken.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// How far a body has come, for the one who waits.
#[derive(Debug)]
pub(crate) struct Progress {
    tally: Option<Tally>,
    origin: Instant,
    taken: AtomicU64,
    length: u64,
    at_milliseconds: AtomicU64,
}

impl Progress {
    fn new(length: u64, tally: Option<Tally>) -> Arc<Self> {
        let origin = Instant::now();
        Arc::new(Self { tally, origin, taken: AtomicU64::new(0), length, at_milliseconds: AtomicU64::new(0) })
    }

    fn advance(&self, bytes: u64) {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        if let Some(tally) = &self.tally {
            tally.0.fetch_add(bytes, Ordering::Relaxed);
        }
        self.moves_in(Duration::ZERO);
    }

    /// Something moves now, or is meant to after this pause.
    fn moves_in(&self, pause: Duration) {
        let at = (self.origin.elapsed() + pause).as_millis();
        self.at_milliseconds.store(u64::try_from(at).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether the connection has taken all of it.
    pub(crate) fn is_complete(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.length
    }

    /// When something moved last, or is meant to move next.
    pub(crate) fn last(&self) -> Instant {
        self.origin + Duration::from_millis(self.at_milliseconds.load(Ordering::Relaxed))
    }
}

/// A body of known length.
#[derive(Debug)]
pub(crate) struct PacedBody {
    rest: Bytes,
    progress: Arc<Progress>,
    bandwidth: Option<Arc<Bandwidth>>,
    /// The piece that waits for its turn.
    waiting: Option<(Bytes, Pin<Box<Sleep>>)>,
}

impl PacedBody {
    pub(crate) fn new(bytes: Bytes, bandwidth: Option<Arc<Bandwidth>>) -> Self {
        let progress = Progress::new(bytes.len() as u64, None);
        Self { rest: bytes, progress, bandwidth, waiting: None }
    }

    /// The same, its bytes counted as long as the try may still succeed.
    pub(crate) fn counted(
        bytes: Bytes,
        bandwidth: Option<Arc<Bandwidth>>,
        tally: &Tally,
    ) -> (Self, CountedTry) {
        let progress = Progress::new(bytes.len() as u64, Some(tally.clone()));
        let counted = CountedTry { progress: Some(progress.clone()) };
        (Self { rest: bytes, progress, bandwidth, waiting: None }, counted)
    }

    /// To watch it from outside.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if let Some((piece, sleep)) = &mut this.waiting {
            ready!(sleep.as_mut().poll(context));
            let piece = std::mem::take(piece);
            this.waiting = None;
            this.progress.advance(piece.len() as u64);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if this.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = this.rest.len().min(PIECE);
        let piece = this.rest.split_to(length);
        let pause = this.bandwidth.as_ref().map_or(Duration::ZERO, |bandwidth| bandwidth.turn(piece.len()));
        if pause.is_zero() {
            this.progress.advance(piece.len() as u64);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        // Waiting for one's own limit is no standstill of the line.
        this.progress.moves_in(pause);
        let mut sleep = Box::pin(tokio::time::sleep(pause));
        if sleep.as_mut().poll(context).is_ready() {
            this.progress.advance(piece.len() as u64);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        this.waiting = Some((piece, sleep));
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.waiting.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let waiting = self.waiting.as_ref().map_or(0, |(piece, _)| piece.len());
        SizeHint::with_exact((self.rest.len() + waiting) as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_limited_body_takes_its_time_and_tells_how_far_it_is() {
        let bytes = Bytes::from((0..1_000_000u32).map(|index| index as u8).collect::<Vec<_>>());
        let bandwidth = Arc::new(Bandwidth::new(100_000));
        let mut body = PacedBody::new(bytes.clone(), Some(Arc::clone(&bandwidth)));
        let progress = body.progress();
        assert_eq!(body.size_hint().exact(), Some(1_000_000));
        let (began, mut seen) = (Instant::now(), Vec::new());
        while let Some(frame) = body.frame().await {
            assert!(!progress.is_complete() || body.is_end_stream());
            seen.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        assert!(progress.is_complete());
        assert_eq!(seen, bytes);
        // The bucket holds a tenth of a second's bytes at the start.
        let seconds = began.elapsed().as_secs_f64();
        assert!((9.8..10.0).contains(&seconds), "{seconds}");
    }

    #[tokio::test]
    async fn what_a_try_carried_in_vain_is_no_headway() {
        let (tally, bytes) = (Tally::default(), Bytes::from(vec![7; 3 * PIECE]));
        let (mut body, lost) = PacedBody::counted(bytes.clone(), None, &tally);
        body.frame().await.unwrap().unwrap();
        assert_eq!(tally.bytes(), PIECE as u64);
        drop(lost);
        assert_eq!(tally.bytes(), 0);
        let (mut body, kept) = PacedBody::counted(bytes, None, &tally);
        while body.frame().await.is_some() {}
        kept.keep();
        assert_eq!(tally.bytes(), 3 * PIECE as u64);
    }
}
