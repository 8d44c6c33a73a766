//! Which ready task a worker gets next.
//!
//! Candidates are ordered by priority; within a priority, the account with the fewest running tasks comes
//! first (so that one user's scan of thousands does not lock out another's single task), and within an
//! account the oldest. The first that fits the worker's free memory is taken, so small tasks pass by a big
//! one that has to wait. That must not go on for ever: a big task that has been ready for longer than
//! [`Capacity::patience`] is passed by no more; the worker drains until it fits.
//!
//! A task that needs more than is free on a worker may still run there **alone** if it fits the worker's
//! total. One that no worker can ever hold is handed back in [`Choice::oversize`] for refusal.

use std::collections::BTreeMap;
use std::time::Duration;

use wavetask_protocol::{KeyId, TaskId};

use crate::time::Timestamp;

/// A task that is ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The task.
    pub task: TaskId,
    /// Its account.
    pub owner: KeyId,
    /// Higher runs first.
    pub priority: i32,
    /// Since when it is ready.
    pub ready_at: Timestamp,
    /// Estimated peak memory in bytes.
    pub memory_bytes: u64,
}

/// What a worker has to offer now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Memory that a solver may use now, in bytes.
    pub free_memory_bytes: u64,
    /// Memory that this worker may use at most, in bytes.
    pub total_memory_bytes: u64,
    /// Whether nothing else runs there.
    pub idle: bool,
    /// Total of the largest worker that is known, this one included: what exceeds it is refused.
    pub largest_memory_bytes: u64,
    /// How long a task may be passed by smaller ones.
    pub patience: Duration,
}

impl Capacity {
    /// A worker that may be all there is.
    pub const fn new(free_memory_bytes: u64, total_memory_bytes: u64, idle: bool) -> Self {
        Self {
            free_memory_bytes,
            total_memory_bytes,
            idle,
            largest_memory_bytes: total_memory_bytes,
            patience: Duration::from_secs(60),
        }
    }

    fn fits(&self, memory_bytes: u64) -> bool {
        memory_bytes <= self.free_memory_bytes || (self.idle && memory_bytes <= self.total_memory_bytes)
    }
}

/// What the worker should do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The task to run, if one fits now.
    pub task: Option<TaskId>,
    /// Tasks that no worker can ever hold.
    pub oversize: Vec<TaskId>,
}

/// Chooses among the candidates, which may come in any order.
///
/// `running` is the number of running tasks of each account; accounts that are not in it have none.
pub fn choose(
    candidates: &[Candidate],
    running: &BTreeMap<KeyId, u64>,
    capacity: &Capacity,
    now: Timestamp,
) -> Choice {
    let largest = capacity.largest_memory_bytes.max(capacity.total_memory_bytes);
    let (possible, oversize): (Vec<_>, Vec<_>) =
        candidates.iter().partition(|candidate| candidate.memory_bytes <= largest);
    let mut order = possible;
    order.sort_by_key(|candidate| {
        let share = running.get(&candidate.owner).copied().unwrap_or(0);
        (std::cmp::Reverse(candidate.priority), share, candidate.ready_at, candidate.task.clone())
    });
    let mut task = None;
    for candidate in order {
        if capacity.fits(candidate.memory_bytes) {
            task = Some(candidate.task.clone());
            break;
        }
        let fits_here_at_all = candidate.memory_bytes <= capacity.total_memory_bytes;
        if fits_here_at_all && now.since(candidate.ready_at) > capacity.patience {
            break;
        }
    }
    Choice { task, oversize: oversize.into_iter().map(|candidate| candidate.task.clone()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIGABYTE: u64 = 1_000_000_000;

    fn candidate(name: &str, owner: &str, priority: i32, ready_at: i64, memory_bytes: u64) -> Candidate {
        Candidate {
            task: name.parse().unwrap(),
            owner: owner.parse().unwrap(),
            priority,
            ready_at: Timestamp::from_milliseconds(ready_at),
            memory_bytes,
        }
    }

    fn chosen(
        candidates: &[Candidate],
        running: &[(&str, u64)],
        capacity: &Capacity,
        now: i64,
    ) -> Option<String> {
        let running = running.iter().map(|(owner, count)| (owner.parse().unwrap(), *count)).collect();
        choose(candidates, &running, capacity, Timestamp::from_milliseconds(now)).task.map(String::from)
    }

    #[test]
    fn priority_comes_before_age() {
        let candidates = [candidate("old", "a", 0, 1, 1), candidate("urgent", "a", 5, 2, 1)];
        let capacity = Capacity::new(GIGABYTE, GIGABYTE, true);
        assert_eq!(chosen(&candidates, &[], &capacity, 10).as_deref(), Some("urgent"));
    }

    #[test]
    fn the_account_with_less_running_comes_first() {
        let candidates = [candidate("scan", "a", 0, 1, 1), candidate("single", "b", 0, 9, 1)];
        let capacity = Capacity::new(GIGABYTE, GIGABYTE, true);
        assert_eq!(chosen(&candidates, &[("a", 3)], &capacity, 10).as_deref(), Some("single"));
        assert_eq!(chosen(&candidates, &[], &capacity, 10).as_deref(), Some("scan"));
    }

    #[test]
    fn small_tasks_pass_a_big_one_until_its_patience_ends() {
        let candidates = [candidate("big", "a", 0, 0, 8 * GIGABYTE), candidate("small", "a", 0, 5, GIGABYTE)];
        let busy = Capacity::new(2 * GIGABYTE, 10 * GIGABYTE, false);
        assert_eq!(chosen(&candidates, &[], &busy, 1_000).as_deref(), Some("small"));
        assert_eq!(chosen(&candidates, &[], &busy, 61_000), None);
        let drained = Capacity::new(9 * GIGABYTE, 10 * GIGABYTE, true);
        assert_eq!(chosen(&candidates, &[], &drained, 61_000).as_deref(), Some("big"));
    }

    #[test]
    fn a_task_above_the_free_memory_runs_alone_or_not_at_all() {
        let candidates = [candidate("big", "a", 0, 0, 9 * GIGABYTE)];
        let mut capacity = Capacity::new(8 * GIGABYTE, 10 * GIGABYTE, true);
        assert_eq!(chosen(&candidates, &[], &capacity, 1).as_deref(), Some("big"));
        capacity.idle = false;
        assert_eq!(chosen(&candidates, &[], &capacity, 1), None);
    }

    #[test]
    fn what_no_worker_can_hold_is_handed_back() {
        let candidates = [candidate("huge", "a", 0, 0, 11 * GIGABYTE), candidate("fine", "a", 0, 5, 1)];
        let mut capacity = Capacity::new(10 * GIGABYTE, 10 * GIGABYTE, true);
        let now = Timestamp::from_milliseconds(100_000);
        let choice = choose(&candidates, &BTreeMap::new(), &capacity, now);
        assert_eq!(choice.oversize, ["huge".parse().unwrap()]);
        assert_eq!(choice.task, Some("fine".parse().unwrap()));
        // A larger worker exists: it is not refused, and it does not block this one either.
        capacity.largest_memory_bytes = 20 * GIGABYTE;
        let choice = choose(&candidates, &BTreeMap::new(), &capacity, now);
        assert_eq!(choice, Choice { task: Some("fine".parse().unwrap()), oversize: vec![] });
    }
}
