//! The real flow against a server made of the real state machine, with time, network, crashes and chance in one
//! hand: what happens follows from the seed alone.
//!
//! A failing seed is run again with `WAVETASK_SEED=<seed> cargo test -p wavetask-client simulation -- --nocapture`;
//! `WAVETASK_SEEDS=<n>` runs more of them.

mod server;
mod world;

use server::Honesty;
use world::{Faults, World};

fn seeds(standard: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (number("WAVETASK_SEED"), number("WAVETASK_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, count) => (0..count.unwrap_or(standard)).collect(),
    }
}

/// Runs seeds until an invariant breaks.
fn first_violation(count: u64, faults: Faults, honesty: Honesty) -> Option<(u64, String)> {
    seeds(count).into_iter().find_map(|seed| {
        let run = std::panic::catch_unwind(|| World::new(seed, faults, honesty).run());
        match run {
            Ok(Ok(())) => None,
            Ok(Err(violation)) => Some((seed, violation)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Some((seed, format!("panicked: {}", text.unwrap_or_default())))
            }
        }
    })
}

fn holds(count: u64, faults: Faults) {
    if let Some((seed, violation)) = first_violation(count, faults, Honesty::FULL) {
        panic!(
            "{violation}\nagain with: WAVETASK_SEED={seed} cargo test -p wavetask-client simulation -- --nocapture"
        );
    }
}

#[test]
fn without_faults_everything_ends_as_it_should_with_few_requests() {
    holds(300, Faults::NONE);
}

#[test]
fn lost_repeated_and_late_messages_harm_nothing() {
    holds(500, Faults { network: true, ..Faults::NONE });
}

#[test]
fn restarts_of_the_server_harm_nothing() {
    holds(400, Faults { network: true, restarts: true, busy: true, ..Faults::NONE });
}

#[test]
fn killing_the_client_at_any_instant_harms_nothing() {
    holds(600, Faults { crashes: true, ..Faults::NONE });
}

#[test]
fn all_faults_at_once_harm_nothing() {
    holds(1_000, Faults::ALL);
}

/// The invariants can break: each rule that the server forgets is noticed.
#[test]
fn a_server_that_forgets_a_rule_is_noticed() {
    let forgetful = [
        ("idempotency", Honesty { idempotency: false, ..Honesty::FULL }, "created"),
        ("possession", Honesty { possession: false, ..Honesty::FULL }, ""),
        ("memo", Honesty { memo: false, ..Honesty::FULL }, "solved"),
    ];
    for (rule, honesty, word) in forgetful {
        let found = first_violation(200, Faults::ALL, honesty);
        let Some((seed, violation)) = found else { panic!("no seed noticed that {rule} was forgotten") };
        assert!(violation.contains(word), "{rule}, seed {seed}: {violation}");
    }
}

/// Events may fail for good: looking at the tasks now and then is enough.
#[test]
fn without_events_the_tasks_are_looked_at() {
    let silent = Honesty { events: false, ..Honesty::FULL };
    if let Some((seed, violation)) = first_violation(100, Faults::NONE, silent) {
        panic!("seed {seed}: {violation}");
    }
}
