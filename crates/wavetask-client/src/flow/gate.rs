//! Whether requests may leave: closed for a while after the server could not be reached or was too busy.

use crate::error::ClientError;

/// Longest time between two tries, in milliseconds.
const LONGEST: u64 = 30_000;
const SHORTEST: u64 = 200;

/// One gate for all requests, because they all go to one server. The transport has tried a few times already when
/// an error comes here, so the first wait is not tiny, and each is jittered so that many clients do not come back
/// in step.
#[derive(Debug)]
pub(super) struct Gate {
    random: Random,
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Trouble {
    since: u64,
    until: u64,
    attempt: u32,
    error: ClientError,
}

impl Gate {
    pub(super) const fn new(seed: u64) -> Self {
        Self { random: Random(seed), trouble: None }
    }

    pub(super) fn is_open(&self, now: u64) -> bool {
        self.trouble.as_ref().is_none_or(|trouble| trouble.until <= now)
    }

    /// When it opens, if it is closed.
    pub(super) fn opens_at(&self, now: u64) -> Option<u64> {
        self.trouble.as_ref().map(|trouble| trouble.until).filter(|until| *until > now)
    }

    /// A request failed in a way that may pass. True if this is news.
    pub(super) fn close(&mut self, now: u64, error: &ClientError) -> bool {
        let (since, attempt) = match &self.trouble {
            // Others that were under way when it closed say nothing new.
            Some(trouble) if trouble.until > now => return false,
            Some(trouble) => (trouble.since, trouble.attempt.saturating_add(1)),
            None => (now, 0),
        };
        let wait = self.random.jittered(backoff(attempt));
        let news = self.trouble.is_none();
        self.trouble = Some(Trouble { since, until: now + wait, attempt, error: error.clone() });
        news
    }

    /// A request was answered. True if this is news.
    pub(super) fn open(&mut self) -> bool {
        self.trouble.take().is_some()
    }

    /// The error, if the trouble has lasted for longer than the patience; once.
    pub(super) fn exhausted(&mut self, now: u64, patience: u64) -> Option<ClientError> {
        let over = self.trouble.as_ref().is_some_and(|trouble| now - trouble.since > patience);
        if over { self.trouble.take().map(|trouble| trouble.error) } else { None }
    }

    /// A time until a member that was refused for now is named again.
    pub(super) fn later(&mut self, attempt: u8) -> u64 {
        self.random.jittered(backoff(u32::from(attempt)))
    }
}

fn backoff(attempt: u32) -> u64 {
    SHORTEST.saturating_mul(1 << attempt.min(16)).min(LONGEST)
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough for jitter, and the same for the same seed.
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// Half to all of it.
    fn jittered(&mut self, milliseconds: u64) -> u64 {
        let half = milliseconds / 2;
        half + self.next() % (milliseconds - half + 1)
    }
}
