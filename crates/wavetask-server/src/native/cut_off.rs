//! What came of packs whose line broke, kept for a while so that they go on at the byte where they stopped.
//!
//! A client gives a pack a name; if its connection breaks, it asks how much has come, and sends the rest under the
//! same name. Blocks that had come whole are durable and noted in any case; what is kept here besides is the
//! beginning of the block that was cut, and the answer to a pack that had come whole when its answer was lost. All
//! of it is in memory, within limits: whoever finds nothing here any more sends the pack from its beginning.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use wavetask_protocol::KeyId;

/// For how long: a client that has not come back by then has other troubles.
const KEPT: Duration = Duration::from_secs(120);

/// Packs that are kept of one account, and bytes of them all.
const PACKS_OF_ONE: usize = 32;
const BYTES: usize = 64 << 20;

/// How long a request whose client has come back by another connection may take to notice.
const SETTLING: Duration = Duration::from_secs(10);

/// Whose pack, and what it is called.
pub(super) type Name = (KeyId, String);

/// Packs by name: `P` is one that is being taken apart, `A` the answer to a whole one.
#[derive(Debug)]
pub(crate) struct CutOff<P, A> {
    packs: Mutex<HashMap<Name, Entry<P, A>>>,
    changed: Notify,
}

#[derive(Debug)]
enum Entry<P, A> {
    /// A request brings it; it is told to stop if the client has come back.
    Coming(Arc<Notify>),
    /// It waits for its client.
    Kept { kept: Kept<P, A>, bytes: u64, weight: usize, since: Instant },
}

/// What is kept.
#[derive(Debug)]
pub(super) enum Kept<P, A> {
    /// A pack that was cut off.
    Part(P),
    /// The answer to one that came whole.
    Whole(A),
}

/// A pack that a request brings. What is not [ended](Self::end) is forgotten.
#[derive(Debug)]
pub(super) struct Coming<P, A> {
    all: Arc<CutOff<P, A>>,
    name: Name,
    stop: Arc<Notify>,
}

impl<P, A> Default for CutOff<P, A> {
    fn default() -> Self {
        Self { packs: Mutex::default(), changed: Notify::new() }
    }
}

impl<P, A> CutOff<P, A> {
    /// A request brings a pack, from this byte on; with it what came before. `None` if not just that is here.
    pub(super) async fn begin(
        self: &Arc<Self>,
        name: Name,
        offset: u64,
    ) -> Option<(Coming<P, A>, Option<Kept<P, A>>)> {
        self.settle(&name).await;
        let mut packs = self.packs();
        let before = match packs.remove(&name) {
            Some(Entry::Kept { kept, bytes, .. }) if bytes == offset && offset > 0 => Some(kept),
            _ if offset > 0 => return None,
            _ => None,
        };
        let stop = Arc::new(Notify::new());
        packs.insert(name.clone(), Entry::Coming(Arc::clone(&stop)));
        drop(packs);
        Some((Coming { all: Arc::clone(self), name, stop }, before))
    }

    /// How many bytes of a pack are here.
    pub(super) async fn bytes(&self, name: &Name) -> Option<u64> {
        self.settle(name).await;
        match self.packs().get(name) {
            Some(Entry::Kept { bytes, .. }) => Some(*bytes),
            _ => None,
        }
    }

    /// Waits until no other request brings the pack: its client is here now.
    async fn settle(&self, name: &Name) {
        let settling = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                match self.packs().get(name) {
                    Some(Entry::Coming(stop)) => stop.notify_one(),
                    _ => return,
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout(SETTLING, settling).await;
    }

    /// Lets go of what has been kept for long enough.
    pub(crate) fn forget_old(&self) {
        let old: Vec<_> = {
            let mut packs = self.packs();
            let old =
                |entry: &Entry<P, A>| matches!(entry, Entry::Kept { since, .. } if since.elapsed() > KEPT);
            let names: Vec<_> =
                packs.iter().filter(|(_, entry)| old(entry)).map(|(name, _)| name.clone()).collect();
            names.iter().filter_map(|name| packs.remove(name)).collect()
        };
        // Outside of the lock: what they pin is let go of, too.
        drop(old);
    }

    fn packs(&self) -> MutexGuard<'_, HashMap<Name, Entry<P, A>>> {
        self.packs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P, A> Coming<P, A> {
    /// Told when the client has come back by another connection.
    pub(super) fn stop(&self) -> Arc<Notify> {
        Arc::clone(&self.stop)
    }

    /// The request is over: so many bytes of the pack have come, of which these are kept in memory.
    pub(super) fn end(self, kept: Kept<P, A>, bytes: u64, weight: usize) {
        let mut dropped = Vec::new();
        let mut packs = self.all.packs();
        if self.is_its_own(&packs) {
            let entry = Entry::Kept { kept, bytes, weight, since: Instant::now() };
            packs.insert(self.name.clone(), entry);
            while let Some(name) = self.excess(&packs) {
                dropped.extend(packs.remove(&name));
            }
        }
        drop(packs);
        drop(dropped);
    }

    /// The one that has waited for longest, if there are too many.
    fn excess(&self, packs: &HashMap<Name, Entry<P, A>>) -> Option<Name> {
        let kept = packs.iter().filter_map(|(name, entry)| match entry {
            Entry::Kept { weight, since, .. } => Some((*since, name, *weight)),
            Entry::Coming(_) => None,
        });
        let own = kept.clone().filter(|(_, name, _)| name.0 == self.name.0);
        if own.clone().count() > PACKS_OF_ONE {
            return own.min_by_key(|(since, ..)| *since).map(|(_, name, _)| name.clone());
        }
        let weight: usize = kept.clone().map(|(.., weight)| weight).sum();
        if weight <= BYTES {
            return None;
        }
        kept.min_by_key(|(since, ..)| *since).map(|(_, name, _)| name.clone())
    }

    fn is_its_own(&self, packs: &HashMap<Name, Entry<P, A>>) -> bool {
        matches!(packs.get(&self.name), Some(Entry::Coming(stop)) if Arc::ptr_eq(stop, &self.stop))
    }
}

impl<P, A> Drop for Coming<P, A> {
    fn drop(&mut self) {
        let mut packs = self.all.packs();
        if self.is_its_own(&packs) {
            packs.remove(&self.name);
        }
        drop(packs);
        self.all.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(account: &str, pack: &str) -> Name {
        (account.parse().unwrap(), pack.to_owned())
    }

    #[tokio::test]
    async fn a_pack_goes_on_where_it_stopped_and_nowhere_else() {
        let all: Arc<CutOff<&str, u32>> = Arc::default();
        let own = name("key-1", "a");
        let (coming, before) = all.begin(own.clone(), 0).await.unwrap();
        assert!(before.is_none());
        coming.end(Kept::Part("so far"), 10, 5);
        assert_eq!(all.bytes(&own).await, Some(10));
        assert_eq!(all.bytes(&name("key-2", "a")).await, None, "of another account");
        let (coming, before) = all.begin(own.clone(), 10).await.unwrap();
        assert!(matches!(before, Some(Kept::Part("so far"))));
        coming.end(Kept::Whole(7), 20, 0);
        assert!(all.begin(own.clone(), 10).await.is_none(), "it has come further");
        assert_eq!(all.bytes(&own).await, None, "and whoever is wrong about it begins anew");
        let (coming, _) = all.begin(own.clone(), 0).await.unwrap();
        drop(coming);
        assert_eq!(all.bytes(&own).await, None);
    }

    #[tokio::test]
    async fn whoever_comes_back_stops_the_request_that_has_not_noticed() {
        let all: Arc<CutOff<&str, u32>> = Arc::default();
        let own = name("key-1", "a");
        let (coming, _) = all.begin(own.clone(), 0).await.unwrap();
        let stop = coming.stop();
        let old = tokio::spawn(async move {
            stop.notified().await;
            coming.end(Kept::Part("so far"), 10, 5);
        });
        assert_eq!(all.bytes(&own).await, Some(10));
        old.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_kept_has_limits() {
        let all: Arc<CutOff<usize, u32>> = Arc::default();
        for number in 0..2 * PACKS_OF_ONE {
            let (coming, _) = all.begin(name("key-1", &number.to_string()), 0).await.unwrap();
            coming.end(Kept::Part(number), 10, 1);
        }
        assert_eq!(all.packs().len(), PACKS_OF_ONE);
        assert_eq!(all.bytes(&name("key-1", "0")).await, None, "the oldest went first");
        for number in 0..4 {
            let (coming, _) = all.begin(name("key-2", &number.to_string()), 0).await.unwrap();
            coming.end(Kept::Part(number), 10, BYTES / 2);
        }
        let weight =
            |entry: &Entry<usize, u32>| if let Entry::Kept { weight, .. } = entry { *weight } else { 0 };
        assert!(all.packs().values().map(weight).sum::<usize>() <= BYTES);
        assert_eq!(all.bytes(&name("key-2", "3")).await, Some(10));
    }
}
