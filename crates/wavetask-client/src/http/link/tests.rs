//! The control on simulated lines: transfers share a rate, wait for a round trip and for the server, and the
//! simulation reports their ends in order, so that every run is the same.

use super::*;

const LIMITS: LinkLimits =
    LinkLimits { start: 4, fewest: 2, most: 16, smallest: 256 << 10, largest: 8 << 20 };

/// A line: what it carries in all and for each connection, and what a transfer waits for besides.
#[derive(Clone, Copy)]
struct Line {
    bytes_per_second: f64,
    each: f64,
    /// Round trip and the server's own time, in seconds.
    turnaround: f64,
}

impl Line {
    const fn megabits(rate: f64, round_trip: f64) -> Self {
        Self { bytes_per_second: rate * 125_000.0, each: f64::INFINITY, turnaround: round_trip }
    }
}

struct Transfer {
    began: f64,
    /// Bytes yet to be carried; then it waits until `answer`.
    left: f64,
    bytes: f64,
    answer: f64,
}

/// Carries so many seconds' worth of transfers; answers the throughput of the second half, in bytes a second.
fn carry(link: &mut Link, clock: &mut f64, line: Line, seconds: f64) -> f64 {
    let (begin, end) = (*clock, *clock + seconds);
    let mut under_way: Vec<Transfer> = Vec::new();
    let (mut done, mut random) = (0.0, fastrand::Rng::with_seed(7));
    while *clock < end {
        while under_way.len() < link.lanes() as usize {
            let bytes = link.transfer_bytes() as f64;
            under_way.push(Transfer { began: *clock, left: bytes, bytes, answer: f64::INFINITY });
        }
        let sending = under_way.iter().filter(|transfer| transfer.left > 0.0).count();
        let each = if sending == 0 { 0.0 } else { (line.bytes_per_second / sending as f64).min(line.each) };
        let next = under_way
            .iter()
            .map(|transfer| if transfer.left > 0.0 { *clock + transfer.left / each } else { transfer.answer })
            .fold(f64::INFINITY, f64::min);
        let passed = next - *clock;
        *clock = next;
        for transfer in &mut under_way {
            if transfer.left > 0.0 {
                transfer.left -= each * passed;
                if transfer.left < 1e-2 {
                    transfer.left = 0.0;
                    // The wait jitters by a tenth, as waits do.
                    transfer.answer = *clock + line.turnaround * (0.95 + 0.1 * random.f64());
                }
            }
        }
        let now = *clock;
        under_way.retain(|transfer| {
            let ended = transfer.left == 0.0 && transfer.answer <= now + 1e-9;
            if ended {
                if now > begin + seconds / 2.0 {
                    done += transfer.bytes;
                }
                link.carried(Carried {
                    began: Duration::from_secs_f64(transfer.began),
                    ended: Duration::from_secs_f64(now),
                    bytes: transfer.bytes as u64,
                });
            }
            !ended
        });
    }
    done / (seconds / 2.0)
}

#[test]
fn lines_from_a_village_to_a_laboratory_are_filled_with_few_lanes() {
    for (megabits, round_trip, seconds) in [
        (2.0, 0.08, 600.0),
        (20.0, 0.03, 120.0),
        (100.0, 0.05, 40.0),
        (100.0, 0.3, 120.0),
        (1_000.0, 0.01, 20.0),
        (1_000.0, 0.15, 40.0),
        (10_000.0, 0.0005, 10.0),
    ] {
        let (mut link, line) = (Link::new(LIMITS), Line::megabits(megabits, round_trip));
        let filled = carry(&mut link, &mut 0.0, line, seconds) / line.bytes_per_second;
        assert!(filled > 0.93, "{megabits} Mbit/s, {round_trip} s: {filled:.3} with {} lanes", link.lanes());
        // What is needed is one lane that sends and as many as wait meanwhile.
        let pack = link.transfer_bytes() as f64 / line.bytes_per_second;
        println!("{megabits} Mbit/s, {round_trip} s: {filled:.3} with {} lanes", link.lanes());
        let needed = 1.0 + round_trip / pack;
        assert!(f64::from(link.lanes()) <= (2.0 * needed + 3.0).ceil(), "{} lanes of {needed}", link.lanes());
    }
}

#[test]
fn connections_that_are_slow_each_by_itself_are_made_up_for_by_their_number() {
    let line = Line { bytes_per_second: 125e6, each: 10e6, turnaround: 0.02 };
    let mut link = Link::new(LIMITS);
    let rate = carry(&mut link, &mut 0.0, line, 60.0);
    // Twelve and a half would fill it; each waits a little between transfers.
    assert!(rate > 0.9 * 125e6, "{rate} with {} lanes", link.lanes());
    assert!(link.lanes() >= 13);
}

#[test]
fn a_slow_disk_behind_a_fast_line_is_waited_for_in_parallel() {
    let line = Line::megabits(1_000.0, 0.4);
    let mut link = Link::new(LIMITS);
    let rate = carry(&mut link, &mut 0.0, line, 60.0);
    assert!(rate > 0.9 * line.bytes_per_second, "{rate} with {} lanes", link.lanes());
}

#[test]
fn a_line_that_changes_is_found_again() {
    let (mut link, mut clock) = (Link::new(LIMITS), 0.0);
    for (megabits, round_trip) in [(1_000.0, 0.02), (20.0, 0.05), (500.0, 0.2), (100.0, 0.05)] {
        let line = Line::megabits(megabits, round_trip);
        let filled = carry(&mut link, &mut clock, line, 60.0) / line.bytes_per_second;
        assert!(filled > 0.93, "{megabits} Mbit/s: {filled:.3} with {} lanes", link.lanes());
        let seconds = link.transfer_bytes() as f64 / line.bytes_per_second;
        assert!(seconds < 0.25, "{megabits} Mbit/s: transfers of {seconds} s");
    }
}

#[test]
fn overload_halves_the_lanes_once_for_each_flight() {
    let mut link = Link::new(LinkLimits { start: 16, ..LIMITS });
    let second = Duration::from_secs;
    link.overloaded(second(1), second(5));
    link.overloaded(second(2), second(5));
    link.overloaded(second(4), second(6));
    assert_eq!(link.lanes(), 8, "all of them set out before the first was heard of");
    link.overloaded(second(7), second(8));
    link.overloaded(second(9), second(10));
    link.overloaded(second(11), second(12));
    assert_eq!(link.lanes(), LIMITS.fewest);
}

#[test]
fn breaks_shorten_transfers_once_for_each_flight_and_they_grow_back() {
    let (mut link, line) = (Link::new(LIMITS), Line::megabits(100.0, 0.05));
    let mut clock = 0.0;
    carry(&mut link, &mut clock, line, 20.0);
    let (lanes, usual, now) = (link.lanes(), link.sized(1.0), Duration::from_secs_f64(clock));
    for _ in 0..lanes {
        link.broken(now - Duration::from_millis(100), now);
    }
    assert_eq!((link.lanes(), link.sized(1.0)), (lanes, usual / 2));
    carry(&mut link, &mut clock, line, 30.0);
    assert!(link.sized(1.0) > usual / 10 * 9);
}

#[test]
fn windows_without_work_teach_nothing() {
    let mut link = Link::new(LIMITS);
    for number in 0..1_000u64 {
        link.idle();
        let began = Duration::from_secs(10 * number);
        link.carried(Carried { began, ended: began + Duration::from_millis(50), bytes: 10_000 });
    }
    assert_eq!(link.lanes(), LIMITS.start);
    assert_eq!(link.transfer_bytes(), LIMITS.smallest);
}

#[test]
fn compression_follows_the_line_and_the_contents() {
    // One core compresses 500 MB/s to a third.
    let mut economy = Economy::new(2, true);
    assert!(economy.compress(0.0), "nothing known and a line to save");
    economy.compressed(3 << 20, 1 << 20, Duration::from_secs_f64(3.0 / 500.0));
    assert!(economy.compress(12.5e6), "100 Mbit/s");
    assert!(economy.compress(125e6), "1 Gbit/s");
    assert!(!economy.compress(2e9), "loopback");
    // What does not shrink goes raw on every line, and is looked at again now and then.
    for _ in 0..40 {
        economy.compressed(1 << 20, 1 << 20, Duration::from_millis(1));
    }
    let tries = (0..64).filter(|_| economy.compress(12.5e6)).count();
    assert_eq!(tries, 2);
    let mut economy = Economy::new(2, false);
    let tries = (0..EXPLORE).filter(|_| economy.compress(0.0)).count();
    assert_eq!(tries, 1, "on this machine one pack is compressed to learn");
}
