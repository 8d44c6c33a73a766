//! Repetition of requests: a policy that is a value, a budget that all calls share, and the loop's state.
//!
//! Three things are kept apart. **Whether** another try may help is the fault's to say
//! ([`Fault::hope`](super::fault::Fault::hope)). **When** it may set out is the policy's: exponential pauses, half of
//! each drawn at random so that clients that were thrown off together do not come back together, and never before
//! the time that the server named. **How many** set out in all is the budget's: a token bucket for the whole
//! client. With hundreds of calls under way when a server goes away, each call's own pauses would still add up to a
//! storm; the bucket makes repetitions queue instead, at a few a second, and no call fails because of it.
//!
//! Patience is measured from the last progress, not from the beginning: a transfer of an hour that breaks every
//! minute goes on as long as each try gets something across.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wavetask_protocol::chain;

use super::bucket::TokenBucket;
use super::fault::{Fault, Hope};
use crate::error::ClientError;

/// When to try again, and when to give up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The pause after the first failure; it doubles from one to the next. Default 100 ms.
    pub first_pause: Duration,
    /// The longest pause. Default 10 s.
    pub longest_pause: Duration,
    /// Give up when nothing has succeeded for so long. Default 2 minutes.
    pub patience: Duration,
    /// Tries, without any progress, at faults that look as if they stay (500, damaged bytes). Default 3.
    pub faint_tries: u32,
    /// Repetitions a second, of all calls together, once `burst` is used up. Default 5.
    pub repetitions_per_second: f64,
    /// Repetitions that may set out at once. Default 20.
    pub burst: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
            patience: Duration::from_secs(120),
            faint_tries: 3,
            repetitions_per_second: 5.0,
            burst: 20.0,
        }
    }
}

impl RetryPolicy {
    /// The pause before the next try, or `None` to give up.
    ///
    /// `failures` counts those since the last progress, this one included; `since_progress` is the time since then;
    /// `random` is uniform in 0..1.
    pub(crate) fn pause(
        &self,
        hope: Hope,
        failures: u32,
        since_progress: Duration,
        random: f64,
    ) -> Option<Duration> {
        let named = match hope {
            Hope::None => return None,
            Hope::Faint if failures >= self.faint_tries => return None,
            Hope::Faint => None,
            Hope::Patient(named) => named,
        };
        let doubled = self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(20));
        let whole = doubled.min(self.longest_pause);
        // What the server names is a lower bound for everybody, so it, too, must be spread.
        let pause = match named {
            Some(named) => named + whole.mul_f64(random),
            None => whole.mul_f64(0.5 + 0.5 * random),
        };
        (since_progress + pause <= self.patience).then_some(pause)
    }
}

/// The repetitions that all calls of a client share.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    bucket: Mutex<TokenBucket>,
    origin: Instant,
}

impl RetryBudget {
    pub(crate) fn new(policy: &RetryPolicy) -> Self {
        let bucket = TokenBucket::new(policy.burst, policy.repetitions_per_second);
        Self { bucket: Mutex::new(bucket), origin: Instant::now() }
    }

    /// How long this repetition has to wait for its turn.
    fn turn(&self) -> Duration {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(1.0, self.origin.elapsed())
    }
}

/// Where a call stands that may take several tries.
#[derive(Debug)]
pub(crate) struct Retries<'a> {
    policy: &'a RetryPolicy,
    budget: &'a RetryBudget,
    /// Method and path: what errors are about. Never a query, which may hold names of the user's.
    what: String,
    began: Instant,
    progress: Instant,
    failures: u32,
    tries: u32,
}

impl<'a> Retries<'a> {
    pub(crate) fn new(policy: &'a RetryPolicy, budget: &'a RetryBudget, what: impl Into<String>) -> Self {
        let now = Instant::now();
        Self { policy, budget, what: what.into(), began: now, progress: now, failures: 0, tries: 1 }
    }

    /// Something got across: patience begins anew.
    pub(crate) fn progress(&mut self) {
        self.progress = Instant::now();
        self.failures = 0;
    }

    /// Waits until it is time for another try, or gives up.
    pub(crate) async fn again(&mut self, fault: Fault) -> Result<(), ClientError> {
        self.failures += 1;
        let random = fastrand::f64();
        let pause = self.policy.pause(fault.hope(), self.failures, self.progress.elapsed(), random);
        let Some(pause) = pause else { return Err(self.give_up(fault)) };
        let pause = pause.max(self.budget.turn());
        let (what, seconds) = (self.what.as_str(), pause.as_secs_f64());
        tracing::debug!(what, tries = self.tries, seconds, error = %chain(&fault), "trying again after a pause");
        tokio::time::sleep(pause).await;
        self.tries += 1;
        Ok(())
    }

    /// The error of a call that is given up.
    pub(crate) fn give_up(&self, fault: Fault) -> ClientError {
        fault.into_error(&self.what, self.tries, self.began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_longest_and_half_of_each_is_random() {
        let policy = RetryPolicy::default();
        for (failures, milliseconds) in [(1, 100), (2, 200), (3, 400), (8, 10_000), (60, 10_000)] {
            let whole = Duration::from_millis(milliseconds);
            let pause = |random| policy.pause(Hope::Patient(None), failures, Duration::ZERO, random).unwrap();
            assert_eq!(pause(0.0), whole / 2);
            assert_eq!(pause(1.0), whole);
        }
    }

    #[test]
    fn the_time_that_the_server_names_is_kept_and_spread() {
        let policy = RetryPolicy::default();
        let pause =
            |random| policy.pause(Hope::Patient(Some(7 * SECOND)), 1, Duration::ZERO, random).unwrap();
        assert_eq!(pause(0.0), 7 * SECOND);
        assert_eq!(pause(1.0), 7 * SECOND + policy.first_pause);
        // A server that wants more time than there is patience is not waited for.
        assert_eq!(policy.pause(Hope::Patient(Some(300 * SECOND)), 1, Duration::ZERO, 0.0), None);
    }

    #[test]
    fn gives_up_when_patience_ends_and_early_on_faults_that_stay() {
        let policy = RetryPolicy::default();
        assert!(policy.pause(Hope::Patient(None), 500, 109 * SECOND, 1.0).is_some());
        assert_eq!(policy.pause(Hope::Patient(None), 500, 119 * SECOND, 0.0), None);
        assert!(policy.pause(Hope::Faint, 2, Duration::ZERO, 0.0).is_some());
        assert_eq!(policy.pause(Hope::Faint, 3, Duration::ZERO, 0.0), None);
        assert_eq!(policy.pause(Hope::None, 1, Duration::ZERO, 0.0), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_calls_in_an_outage_make_no_storm() {
        let policy = RetryPolicy::default();
        let budget = RetryBudget::new(&policy);
        let began = Instant::now();
        let repetitions = std::sync::atomic::AtomicU32::new(0);
        let one_call = async || {
            let mut retries = Retries::new(&policy, &budget, "POST /x");
            while began.elapsed() < 60 * SECOND {
                let fault = Fault::Connect("down".into());
                if retries.again(fault).await.is_err() {
                    break;
                }
                if began.elapsed() < 60 * SECOND {
                    repetitions.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }
        };
        futures::future::join_all((0..100).map(|_| one_call())).await;
        let repetitions = repetitions.into_inner();
        // 20 at once and 5 a second; without the budget it would be about 1,200.
        assert!((200..=320).contains(&repetitions), "{repetitions}");
    }
}
