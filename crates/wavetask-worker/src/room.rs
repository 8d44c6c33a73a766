//! How much a worker may take on: cores and memory, against what runs already.

/// What this worker may use of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Processor cores.
    pub cores: usize,
    /// Bytes of memory for all solvers together.
    pub memory_bytes: u64,
}

/// A running solver, as far as room is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// Memory that it is estimated to need at its peak, in bytes.
    pub reserved_bytes: u64,
    /// Memory that it has now, in bytes.
    pub resident_bytes: u64,
}

/// Room for one more task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of memory that are free.
    pub free_memory_bytes: u64,
    /// Whether nothing runs here: then a task larger than the free memory may be tried too.
    pub idle: bool,
}

/// Less free memory than this is not worth asking for a task.
const LEAST_MEMORY: u64 = 64 << 20;

/// Whether there is room for one more task, and how much.
///
/// One solver per core at most. Memory counts twice: what the running ones are estimated to need must fit
/// the capacity, and what they have not taken yet must fit what the machine has left, because others may
/// use this machine too.
pub fn for_one_more(
    capacity: Capacity,
    occupants: &[Occupant],
    machine_available_bytes: u64,
) -> Option<Room> {
    if occupants.len() >= capacity.cores.max(1) {
        return None;
    }
    let reserved = occupants.iter().fold(0_u64, |sum, occupant| sum.saturating_add(occupant.reserved_bytes));
    let still_to_come = occupants.iter().fold(0_u64, |sum, occupant| {
        sum.saturating_add(occupant.reserved_bytes.saturating_sub(occupant.resident_bytes))
    });
    let free = capacity
        .memory_bytes
        .saturating_sub(reserved)
        .min(machine_available_bytes.saturating_sub(still_to_come));
    let idle = occupants.is_empty();
    (idle || free >= LEAST_MEMORY).then_some(Room { free_memory_bytes: free, idle })
}

/// Threads for a solver that starts while `running` solvers (itself counted) share the cores: an only one
/// gets all of them. Threads are fixed for a solver's life, so the share is rounded up: a core that idles
/// later costs more than two threads that share one for a while.
pub fn threads(cores: usize, running: usize) -> usize {
    cores.max(1).div_ceil(running.max(1))
}

/// Memory that a solver may plan with, in bytes: three times the estimate, within the capacity. An estimate
/// that is off by two should not end a solver; a solver that runs away should not end the machine.
pub fn memory(estimated_bytes: u64, capacity: Capacity) -> u64 {
    const LEAST: u64 = 256 << 20;
    let ceiling = capacity.memory_bytes.max(estimated_bytes);
    estimated_bytes.saturating_mul(3).max(LEAST).min(ceiling)
}

/// Address space that a solver may take, in bytes: its memory, and what is reserved but never touched,
/// such as each thread's stack and allocation arena.
pub fn address_space(memory_bytes: u64, threads: usize) -> u64 {
    const BASE: u64 = 1 << 30;
    const PER_THREAD: u64 = 160 << 20;
    memory_bytes.saturating_add(BASE + PER_THREAD * threads as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const CAPACITY: Capacity = Capacity { cores: 4, memory_bytes: 16 * GIB };

    fn solver(reserved: u64, resident: u64) -> Occupant {
        Occupant { reserved_bytes: reserved, resident_bytes: resident }
    }

    #[test]
    fn an_idle_worker_always_asks() {
        assert_eq!(for_one_more(CAPACITY, &[], 0), Some(Room { free_memory_bytes: 0, idle: true }));
        assert_eq!(
            for_one_more(CAPACITY, &[], 100 * GIB),
            Some(Room { free_memory_bytes: 16 * GIB, idle: true })
        );
    }

    #[test]
    fn cores_and_estimates_limit_how_many_run_at_once() {
        let small = solver(GIB, GIB);
        assert!(for_one_more(CAPACITY, &[small; 3], 100 * GIB).is_some());
        assert_eq!(for_one_more(CAPACITY, &[small; 4], 100 * GIB), None);
        assert_eq!(for_one_more(CAPACITY, &[solver(16 * GIB, 0)], 100 * GIB), None);
    }

    #[test]
    fn memory_that_others_use_is_not_given_away() {
        // 10 GiB left on the machine, of which the running solver will still take 6.
        let room = for_one_more(CAPACITY, &[solver(8 * GIB, 2 * GIB)], 10 * GIB).unwrap();
        assert_eq!(room, Room { free_memory_bytes: 4 * GIB, idle: false });
    }

    #[test]
    fn an_only_child_gets_all_cores() {
        assert_eq!(threads(8, 1), 8);
        assert_eq!(threads(8, 3), 3);
        assert_eq!(threads(2, 2), 1);
        assert_eq!(threads(2, 9), 1);
        assert_eq!(threads(0, 0), 1);
    }

    #[test]
    fn memory_has_a_margin_but_no_more_than_the_machine_gives() {
        assert_eq!(memory(GIB, CAPACITY), 3 * GIB);
        assert_eq!(memory(10 * GIB, CAPACITY), 16 * GIB);
        assert_eq!(memory(20 * GIB, CAPACITY), 20 * GIB);
        assert_eq!(memory(1, CAPACITY), 256 << 20);
        assert_eq!(address_space(3 * GIB, 2), 4 * GIB + 2 * (160 << 20));
        assert_eq!(address_space(u64::MAX, 2), u64::MAX);
    }
}
