//! A token bucket, as a value: it computes how long to wait and never waits itself.
//!
//! It serves two purposes: the limit on bandwidth, where tokens are bytes, and the budget of repetitions that all
//! calls share, where a token is one repetition.

use std::time::Duration;

/// Tokens that come at a steady rate, up to a capacity, and can be taken in advance against waiting.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TokenBucket {
    capacity: f64,
    per_second: f64,
    tokens: f64,
    at: Duration,
}

impl TokenBucket {
    /// A full bucket. Times are given as durations since an origin of the caller's.
    pub(crate) fn new(capacity: f64, per_second: f64) -> Self {
        Self { capacity, per_second: per_second.max(f64::MIN_POSITIVE), tokens: capacity, at: Duration::ZERO }
    }

    /// Takes tokens and tells how long to wait until they are there: who takes next waits behind.
    pub(crate) fn take(&mut self, tokens: f64, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * self.per_second).min(self.capacity) - tokens;
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.tokens / self.per_second).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_is_there_and_then_the_rate() {
        let mut bucket = TokenBucket::new(10.0, 2.0);
        assert_eq!(bucket.take(10.0, Duration::ZERO), Duration::ZERO);
        assert_eq!(bucket.take(1.0, Duration::ZERO), Duration::from_millis(500));
        assert_eq!(bucket.take(1.0, Duration::ZERO), Duration::from_secs(1), "who comes next waits behind");
        // Two seconds later the debt of two and two more tokens have come in.
        assert_eq!(bucket.take(2.0, Duration::from_secs(2)), Duration::ZERO);
        assert_eq!(bucket.take(2.0, Duration::from_secs(2)), Duration::from_secs(1));
    }

    #[test]
    fn never_holds_more_than_its_capacity() {
        let mut bucket = TokenBucket::new(3.0, 1.0);
        assert_eq!(bucket.take(3.0, Duration::from_secs(1_000)), Duration::ZERO);
        assert_eq!(bucket.take(1.0, Duration::from_secs(1_000)), Duration::from_secs(1));
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing() {
        let mut bucket = TokenBucket::new(1.0, 1.0);
        assert_eq!(bucket.take(1.0, Duration::from_secs(5)), Duration::ZERO);
        assert_eq!(bucket.take(1.0, Duration::from_secs(3)), Duration::from_secs(1));
    }
}
