//! What reading uploads and results may use of this machine: cores, and memory.
//!
//! Work takes a core first and memory second, so whoever waits for memory holds a core, and no more work
//! than there are cores can hold anything in memory. How much memory work needs often shows only on the way
//! (a small upload unpacks to a large text, and that to an even larger tree); it then [exchanges](HeavyWork::exchange)
//! what it has. What it had is given back before more is waited for: two that each hold a half and wait for
//! the other would wait for ever.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wavetask_protocol::KeyId;

use crate::answer::Refused;

/// The budget.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Megabytes that may be used at once.
    memory: Arc<Semaphore>,
    permits: u32,
    /// Uploads and results that are read at the same time.
    cores: Arc<Semaphore>,
}

/// The right to use some of the memory and a core, given back when dropped.
#[derive(Debug)]
pub(crate) struct HeavyWork {
    memory: OwnedSemaphorePermit,
    core: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(memory_bytes: u64, cores: usize) -> Self {
        let permits = u32::try_from(memory_bytes >> 20).unwrap_or(u32::MAX).clamp(1, 1 << 20);
        Self {
            memory: Arc::new(Semaphore::new(permits as usize)),
            permits,
            cores: Arc::new(Semaphore::new(cores.max(1))),
        }
    }

    /// Waits for a core and for this much memory (all of it at most).
    pub(crate) async fn work(&self, bytes: u64) -> Result<HeavyWork, Refused> {
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(closed)?;
        Ok(HeavyWork { memory: self.memory(bytes).await?, core })
    }

    /// Waits for this much memory (all of it at most) in place of what the work has; it keeps its core.
    pub(crate) async fn exchange(&self, work: HeavyWork, bytes: u64) -> Result<HeavyWork, Refused> {
        let HeavyWork { memory, core } = work;
        drop(memory);
        Ok(HeavyWork { memory: self.memory(bytes).await?, core })
    }

    async fn memory(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Refused> {
        let wanted = u32::try_from((bytes >> 20) + 1).unwrap_or(u32::MAX).min(self.permits);
        Arc::clone(&self.memory).acquire_many_owned(wanted).await.map_err(closed)
    }
}

/// Room for what is held in memory while something else is waited for, a client or a turn: what is slow keeps its
/// room, so no account may have all of it.
#[derive(Debug)]
pub(crate) struct Shares {
    all: Arc<Semaphore>,
    each: usize,
    accounts: Mutex<HashMap<KeyId, Arc<Semaphore>>>,
}

/// Some of it, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Shares {
    /// So much in all, and for each account.
    pub(crate) fn new(all: usize, each: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all.max(1))),
            each: each.clamp(1, all.max(1)),
            accounts: Mutex::default(),
        }
    }

    /// Waits for this much (all that an account may have at most).
    pub(crate) async fn share(&self, key: &KeyId, weight: usize) -> Result<Share, Refused> {
        let weight = u32::try_from(weight.clamp(1, self.each)).unwrap_or(1);
        let own = {
            let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever waits or holds something keeps its account here.
            accounts.retain(|_, room| Arc::strong_count(room) > 1);
            Arc::clone(accounts.entry(key.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
        };
        let own = own.acquire_many_owned(weight).await.map_err(closed)?;
        Ok(Share { _own: own, _all: Arc::clone(&self.all).acquire_many_owned(weight).await.map_err(closed)? })
    }
}

fn closed(error: tokio::sync::AcquireError) -> Refused {
    Refused::internal(&error)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test]
    async fn two_that_both_need_nearly_everything_take_turns() {
        let budget = Arc::new(Budget::new(100 * MIB, 4));
        let (one, two) = tokio::join!(budget.work(45 * MIB), budget.work(45 * MIB));
        // Both grow beyond what is left: each would wait for the other if it kept what it has.
        let grow = |work: HeavyWork| {
            let budget = Arc::clone(&budget);
            async move {
                let work = budget.exchange(work, 90 * MIB).await.unwrap();
                assert!(budget.memory.available_permits() < 45);
                tokio::time::sleep(Duration::from_millis(5)).await;
                drop(work);
            }
        };
        let both = async { tokio::join!(grow(one.unwrap()), grow(two.unwrap())) };
        tokio::time::timeout(Duration::from_secs(5), both).await.expect("nobody waits for ever");
        assert_eq!((budget.memory.available_permits(), budget.cores.available_permits()), (100, 4));
    }

    #[tokio::test]
    async fn more_than_there_is_means_all_and_a_core_is_kept_while_memory_is_waited_for() {
        let budget = Budget::new(10 * MIB, 1);
        let work = budget.work(u64::MAX).await.unwrap();
        assert_eq!(budget.memory.available_permits(), 0);
        let work = budget.exchange(work, MIB).await.unwrap();
        let next = budget.work(0);
        assert!(tokio::time::timeout(Duration::from_millis(30), next).await.is_err(), "there is one core");
        drop(work);
        budget.work(0).await.unwrap();
    }
}
