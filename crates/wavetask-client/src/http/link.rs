//! How many transfers at once, how large each, and whether to compress: decided from what the line showed so far.
//!
//! Pure: it is told when transfers ended and answers with numbers. The tests drive it with simulated lines.
//!
//! # What has to be found out
//!
//! One connection that sends one pack after another leaves the line idle while it waits for the answer: the round
//! trip, and the server's time to make the blocks durable. It may also be slower than the line by itself: a
//! receive window, a policer or a loss that halves each connection's rate apart. Both are cured by more transfers
//! at once, and neither can be told from outside, so the number of *lanes* is found by trying: more, as long as the
//! line as a whole gets faster.
//!
//! # The control
//!
//! Time is cut into windows of a few transfers for each lane. After each, its throughput is compared with that
//! before the last step. Lanes double at first; a step up is kept if each new lane brought [`WORTH`], or a quarter of
//! its share, otherwise it is taken back and the number *held*. While held, one lane fewer and one more are tried in
//! turn, at growing intervals; one fewer is kept if throughput stays as it was within [`LOSS`]: lanes that bring
//! nothing cost the server memory and lose more when a connection breaks. When throughput itself changes by a
//! third, the line has changed and the search begins again.
//!
//! Overload (429, 503, a standstill) halves the lanes, once per flight. A connection that breaks does not: resets
//! come from proxies, sleep and changes of network, and say nothing about how much the line takes. But they say how
//! long a transfer may last, so they halve the sizes, again once per flight; sizes grow back as transfers end well.
//!
//! Windows in which lanes had nothing to carry, or in which sizes changed, say nothing about lanes and are passed
//! over.
//!
//! *Why not a model* such as BBR's, with a bandwidth and a round trip to multiply? Because the round trip that
//! counts includes the server's disk, and the bandwidth of one connection is not the line's; what is left of the
//! model after that is the hill that is climbed here. *Why not additive increase alone?* On a line that buffers
//! deeply nothing is ever lost, so nothing would ever stop the increase.
//!
//! # Sizes
//!
//! A transfer should take [`TRANSFER_SECONDS`] of the whole line: long beside the cost of a request, short enough
//! that what breaks is little and that a small task waits no longer than that for its turn. Sizes vary by a quarter
//! up and down. If they did not, lanes that began together would stay together: all send, then all wait for their
//! answers while the line idles, and four lanes would fill it no better than one with transfers four times as large.
//!
//! # Compression
//!
//! Sending raw takes 1/line seconds a byte; compressing takes the slower of 1/(ratio · line) and 1/(compressor ·
//! cores), as both run at once. Line, ratio and compressor are measured as packs go. On a slow line this
//! compresses whatever shrinks; on loopback it does not, and there the compressor would also take the cores from
//! the server and the solver. Every [`EXPLORE`]th pack is made the other way, to notice changes.

use std::time::Duration;

/// What part of a second one transfer should take if it had the whole line.
const TRANSFER_SECONDS: f64 = 0.2;

/// Every how many packs the other way of encoding is tried.
const EXPLORE: u64 = 32;

/// Shortest window in seconds: below it, the clock and the scheduler are measured rather than the line.
const WINDOW_SECONDS: f64 = 0.1;

/// After so many seconds fewer transfers make a window.
const LONG_WINDOW_SECONDS: f64 = 5.0;

/// What part of the throughput each new lane must add; a quarter of its share is enough where that is less.
const WORTH: f64 = 0.03;

/// What part of the throughput may be lost with a lane.
const LOSS: f64 = 0.015;

/// Bounds of what the control may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkLimits {
    /// Lanes at the start.
    pub(crate) start: u32,
    /// Fewest lanes.
    pub(crate) fewest: u32,
    /// Most lanes.
    pub(crate) most: u32,
    /// Smallest transfer in bytes.
    pub(crate) smallest: u64,
    /// Largest transfer in bytes.
    pub(crate) largest: u64,
}

/// One direction of the line to a server.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    limits: LinkLimits,
    lanes: u32,
    phase: Phase,
    window: Window,
    /// Throughput of recent windows at the present number of lanes, in bytes a second.
    rate: f64,
    /// The most that the line has carried lately, in bytes a second.
    capacity: f64,
    /// The shortest wait for an answer in the last window, in seconds: the round trip and the server's own time.
    turnaround: f64,
    /// How many windows the next hold lasts.
    patience: u32,
    /// Whether the next try is with one lane fewer.
    down_next: bool,
    /// Transfers that began before this do not count as overload again.
    eased: Option<Duration>,
    /// Throughput in the first window of a step that is judged by two.
    trial: Option<f64>,
    /// Transfers that began before this do not count as broken again.
    shortened: Option<Duration>,
    /// What is left of sizes after connections broke: up to 1.
    length: f64,
    /// What the size of the next transfer is multiplied with: 0.75 to 1.25.
    variation: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// No window yet.
    Fresh,
    /// More lanes are tried; `from` and `rate` are what they are compared with.
    Up { from: u32, rate: f64, doubling: bool },
    /// One lane fewer is tried.
    Down { from: u32, rate: f64 },
    /// The number stays for so many windows.
    Hold { left: u32 },
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    began: Option<Duration>,
    bytes: f64,
    transfers: u32,
    /// Whether lanes had nothing to carry.
    idle: bool,
    /// The usual size of transfers when it began.
    size: u64,
    /// The shortest wait for an answer, in seconds.
    waited: f64,
}

/// A transfer that ended well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    /// When it began, since an origin of the caller's.
    pub(crate) began: Duration,
    /// When it ended.
    pub(crate) ended: Duration,
    /// Bytes on the line.
    pub(crate) bytes: u64,
}

impl Link {
    /// A line of which nothing is known.
    pub(crate) fn new(limits: LinkLimits) -> Self {
        Self {
            limits,
            lanes: limits.start.clamp(limits.fewest, limits.most),
            phase: Phase::Fresh,
            window: Window::default(),
            rate: 0.0,
            capacity: 0.0,
            turnaround: 0.0,
            patience: FIRST_HOLD,
            down_next: true,
            eased: None,
            trial: None,
            shortened: None,
            length: 1.0,
            variation: 1.0,
        }
    }

    /// How many transfers should be under way.
    pub(crate) fn lanes(&self) -> u32 {
        self.lanes
    }

    /// What the line carries, in bytes a second; 0 if nothing is known.
    pub(crate) fn bytes_per_second(&self) -> f64 {
        self.capacity
    }

    /// How large the next transfer should be, in bytes on the line.
    pub(crate) fn transfer_bytes(&mut self) -> u64 {
        let wanted = self.sized(self.variation);
        // Multiples of the golden ratio spread evenly, and the same way every time.
        self.variation = 0.75 + 0.5 * (2.0 * self.variation - 1.5 + 0.618_034).fract();
        wanted
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate of a size, clamped"
    )]
    fn sized(&self, variation: f64) -> u64 {
        // The limits, too, leave room for the variation.
        let (smallest, largest) = (self.limits.smallest as f64, self.limits.largest as f64);
        let usual = (self.capacity * TRANSFER_SECONDS * self.length).min(largest / 1.25).max(smallest);
        ((usual * variation) as u64).clamp(self.limits.smallest, self.limits.largest)
    }

    /// A lane has nothing to carry.
    pub(crate) fn idle(&mut self) {
        self.window.idle = true;
    }

    /// A transfer ended well.
    pub(crate) fn carried(&mut self, carried: Carried) {
        #[expect(clippy::cast_precision_loss, reason = "a size")]
        let bytes = carried.bytes as f64;
        self.length = (self.length * 1.02).min(1.0);
        let alone = (carried.ended.saturating_sub(carried.began)).as_secs_f64().max(1e-6);
        // One transfer's own rate is a lower bound of the line's, and it had a fair share of the line: that gives
        // sizes long before the first window ends, and soon after the line has become slower.
        let share = bytes / alone;
        self.capacity = self.capacity.clamp(share, 2.0 * share * f64::from(self.lanes));
        let Some(began) = self.window.began else {
            // The window begins where a transfer ended, so that none of its bytes came from before.
            self.begin_window(carried.ended);
            return;
        };
        let waited = (alone - bytes / self.capacity).max(0.0);
        self.window.waited = self.window.waited.min(waited);
        self.window.bytes += bytes;
        self.window.transfers += 1;
        let seconds = carried.ended.saturating_sub(began).as_secs_f64();
        let enough = if seconds < LONG_WINDOW_SECONDS { 4 * self.lanes } else { 2 * self.lanes };
        if self.window.transfers < enough || seconds < WINDOW_SECONDS {
            return;
        }
        let Window { bytes, idle, size, waited, .. } = self.window;
        self.turnaround = waited;
        let rate = bytes / seconds;
        self.capacity = if idle { self.capacity.max(rate) } else { rate.max(self.capacity * 0.7) };
        self.begin_window(carried.ended);
        // While sizes still change, what they bring would be put down to the number of lanes.
        #[expect(clippy::cast_precision_loss, reason = "sizes")]
        let steady = (0.8..1.25).contains(&(self.window.size as f64 / size as f64));
        if !idle && steady {
            self.step(rate);
        }
    }

    fn begin_window(&mut self, now: Duration) {
        self.window =
            Window { began: Some(now), size: self.sized(1.0), waited: f64::INFINITY, ..Window::default() };
    }

    /// The server, or the line, could not keep up with a transfer that began at this time.
    pub(crate) fn overloaded(&mut self, began: Duration, now: Duration) {
        if self.eased.is_some_and(|eased| began < eased) {
            return;
        }
        self.eased = Some(now);
        self.settle((self.lanes / 2).max(self.limits.fewest), 0.0);
        self.window = Window::default();
    }

    /// The connection of a transfer that began at this time broke.
    pub(crate) fn broken(&mut self, began: Duration, now: Duration) {
        if self.shortened.is_some_and(|shortened| began < shortened) {
            return;
        }
        self.shortened = Some(now);
        self.length = (self.length / 2.0).max(1.0 / 64.0);
    }

    fn step(&mut self, rate: f64) {
        // Single steps are about a few per cent, of which one window knows little.
        let single = matches!(self.phase, Phase::Up { doubling: false, .. } | Phase::Down { .. });
        let rate = match self.trial.take() {
            Some(first) => (first + rate) / 2.0,
            None if single => {
                self.trial = Some(rate);
                return;
            }
            None => rate,
        };
        match self.phase {
            Phase::Fresh => self.try_more(rate, true),
            Phase::Up { from, rate: before, doubling } => {
                let share = f64::from(self.lanes) / f64::from(from) - 1.0;
                let worth = (WORTH * f64::from(self.lanes - from)).min(share / 4.0);
                if rate >= before * (1.0 + worth) {
                    self.patience = FIRST_HOLD;
                    self.try_more(rate, doubling);
                } else if doubling {
                    // Too many at once; one by one from where it was.
                    self.lanes = from;
                    self.try_more(before, false);
                } else {
                    self.settle(from, before);
                }
            }
            Phase::Down { from, rate: before } => {
                if rate >= before * (1.0 - LOSS) {
                    // Small losses do not add up: each is compared with the best so far.
                    self.try_fewer(rate.max(before));
                } else {
                    self.settle(from, before);
                }
            }
            Phase::Hold { left } => {
                if self.rate > 0.0 && !(0.67..1.5).contains(&(rate / self.rate)) {
                    self.rate = rate;
                    self.patience = FIRST_HOLD;
                    self.try_more(rate, false);
                    return;
                }
                self.rate = if self.rate > 0.0 { 0.7 * self.rate + 0.3 * rate } else { rate };
                if left > 1 {
                    self.phase = Phase::Hold { left: left - 1 };
                    return;
                }
                let down = self.down_next;
                self.down_next = !down;
                if down { self.try_fewer(self.rate) } else { self.try_more(self.rate, false) }
            }
        }
    }

    fn try_more(&mut self, rate: f64, doubling: bool) {
        let from = self.lanes;
        let more = if doubling { from * 2 } else { from + 1 }.min(self.limits.most);
        if more == from {
            self.settle(from, rate);
        } else {
            self.lanes = more;
            self.phase = Phase::Up { from, rate, doubling };
        }
    }

    fn try_fewer(&mut self, rate: f64) {
        let from = self.lanes;
        // While one lane waits, others must have enough to send; below that there is nothing to find out.
        let needed = 1.0 + 2.0 * self.turnaround / TRANSFER_SECONDS;
        if from <= self.limits.fewest || f64::from(from - 1) < needed {
            self.settle(from, rate);
        } else {
            self.lanes = from - 1;
            self.phase = Phase::Down { from, rate };
        }
    }

    fn settle(&mut self, lanes: u32, rate: f64) {
        self.trial = None;
        self.lanes = lanes;
        self.rate = rate;
        self.phase = Phase::Hold { left: self.patience };
        self.patience = (self.patience * 2).min(LONGEST_HOLD);
    }
}

const FIRST_HOLD: u32 = 2;
const LONGEST_HOLD: u32 = 24;

/// Whether to compress the next pack.
#[derive(Clone, Debug)]
pub(crate) struct Economy {
    /// How many cores may compress at once.
    cores: f64,
    /// Raw bytes a second on one core, while compressing.
    compressor: Option<f64>,
    /// Raw bytes for each byte sent, when compressing.
    ratio: Option<f64>,
    packs: u64,
    /// What to do before anything is known.
    at_first: bool,
}

impl Economy {
    /// `at_first` says whether to compress until something is known.
    pub(crate) fn new(cores: usize, at_first: bool) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
        let cores = cores.max(1) as f64;
        Self { cores, compressor: None, ratio: None, packs: 0, at_first }
    }

    /// A pack was encoded with compression where it pays, in so many seconds of one core.
    pub(crate) fn compressed(&mut self, raw: u64, coded: u64, time: Duration) {
        if raw < 64 << 10 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "sizes")]
        let (raw, coded) = (raw as f64, coded.max(1) as f64);
        let blend = |old: Option<f64>, new: f64| Some(old.map_or(new, |old| 0.7 * old + 0.3 * new));
        self.compressor = blend(self.compressor, raw / time.as_secs_f64().max(1e-6));
        self.ratio = blend(self.ratio, raw / coded);
    }

    /// How many raw bytes make so many on the line when compressed, as far as is known.
    pub(crate) fn raw_bytes(&self, on_line: u64) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate of a size"
        )]
        let raw = (on_line as f64 * self.ratio.unwrap_or(1.0)) as u64;
        raw.max(on_line)
    }

    /// Whether to compress the next pack, on a line of so many bytes a second (0: not known).
    pub(crate) fn compress(&mut self, line: f64) -> bool {
        let packs = self.packs;
        self.packs += 1;
        let (Some(compressor), Some(ratio)) = (self.compressor, self.ratio) else {
            // Where nothing is compressed at first, one pack soon is, to know.
            return self.at_first || packs == EXPLORE / 4;
        };
        if line <= 0.0 {
            return self.at_first;
        }
        let compressed = (1.0 / (ratio * line)).max(1.0 / (compressor * self.cores));
        let pays = compressed < 0.95 / line;
        if packs % EXPLORE == EXPLORE - 1 { !pays } else { pays }
    }
}

#[cfg(test)]
mod tests;
