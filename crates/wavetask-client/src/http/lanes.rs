//! Turns on the line: how transfers of several calls share the lanes of one direction.
//!
//! The next free lane goes to the call that has the fewest bytes left, the first one among equals. So a small task
//! does not wait for large ones: its turn comes as soon as any transfer ends, a fraction of a second by [`Link`]'s
//! choice of sizes. And tasks of one size go through one after the other rather than all at the end, which lets the
//! server begin with the first while the others are still on their way; no other order gets them there sooner on
//! average (shortest remaining time first). A large call waits while smaller ones keep coming, but the line is never
//! idle meanwhile, so what is submitted together is through at the same time in any order.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::fault::Fault;
use super::link::{Carried, Link};

/// The lanes of one direction.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    origin: Instant,
}

#[derive(Debug)]
struct State {
    link: Link,
    active: u32,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Counts those that asked.
    number: u64,
}

#[derive(Debug)]
struct Waiting {
    left: u64,
    number: u64,
    grant: oneshot::Sender<Lane>,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.left, self.number).cmp(&(other.left, other.number))
    }
}

/// A turn: dropping it frees the lane.
#[derive(Debug)]
pub(crate) struct Lane {
    shared: Option<Arc<Shared>>,
}

impl Lanes {
    pub(crate) fn new(link: Link) -> Self {
        let state = State { link, active: 0, waiting: BinaryHeap::new(), number: 0 };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), origin: Instant::now() }) }
    }

    /// Waits for a turn; `left` is how many bytes the call has yet to be given turns for.
    pub(crate) async fn turn(&self, left: u64) -> Lane {
        let (grant, granted) = oneshot::channel();
        {
            let mut state = self.shared.lock();
            state.number += 1;
            let number = state.number;
            state.waiting.push(Reverse(Waiting { left, number, grant }));
            self.shared.hand_out(&mut state);
        }
        // The sender lives in the heap until it hands out a lane, and the heap as long as `self`.
        granted.await.unwrap_or(Lane { shared: None })
    }

    /// Time since the origin that transfers are told by.
    pub(crate) fn now(&self) -> Duration {
        self.shared.origin.elapsed()
    }

    /// Lets the control know or decide something.
    pub(crate) fn link<T>(&self, look: impl FnOnce(&mut Link) -> T) -> T {
        look(&mut self.shared.lock().link)
    }

    /// A transfer that began at this time has ended well.
    pub(crate) fn carried(&self, began: Duration, bytes: u64) {
        let ended = self.now();
        let mut state = self.shared.lock();
        state.link.carried(Carried { began, ended, bytes });
        self.shared.hand_out(&mut state);
    }

    /// A transfer that began at this time has not.
    pub(super) fn failed(&self, began: Duration, fault: &Fault) {
        let now = self.now();
        self.link(|link| {
            // On a line that breaks all the time, windows with breaks in them are all that there is to compare.
            if !fault.is_break() {
                link.idle();
            }
            if fault.is_overload() {
                link.overloaded(began, now);
            }
            if fault.is_break() {
                link.broken(began, now);
            }
        });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out the lanes that are free.
    fn hand_out(self: &Arc<Self>, state: &mut State) {
        while state.active < state.link.lanes() {
            let Some(Reverse(next)) = state.waiting.pop() else { return };
            state.active += 1;
            let lane = Lane { shared: Some(Arc::clone(self)) };
            if let Err(mut lane) = next.grant.send(lane) {
                // Who asked has gone; the lane must not come back by its drop, which takes the lock.
                lane.shared = None;
                state.active -= 1;
            }
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let mut state = shared.lock();
        state.active -= 1;
        shared.hand_out(&mut state);
        if state.active < state.link.lanes() {
            state.link.idle();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::link::LinkLimits;

    fn lanes(number: u32) -> Lanes {
        let limits = LinkLimits { start: number, fewest: number, most: number, smallest: 1, largest: 1 };
        Lanes::new(Link::new(limits))
    }

    #[tokio::test]
    async fn who_has_least_left_goes_first() {
        let lanes = lanes(1);
        let held = lanes.turn(0).await;
        let order = Mutex::new(Vec::new());
        let wait = async |name: &'static str, left| {
            let lane = lanes.turn(left).await;
            order.lock().unwrap().push(name);
            drop(lane);
        };
        let all = async {
            tokio::join!(
                wait("large", 1 << 30),
                wait("middle", 1 << 20),
                wait("small", 0),
                wait("other", 1 << 20)
            );
        };
        tokio::join!(all, async {
            tokio::task::yield_now().await;
            drop(held);
        });
        assert_eq!(*order.lock().unwrap(), ["small", "middle", "other", "large"]);
    }

    #[tokio::test]
    async fn who_stops_waiting_takes_no_lane_along() {
        let lanes = lanes(2);
        let first = lanes.turn(0).await;
        let second = lanes.turn(0).await;
        for _ in 0..10 {
            let waiting = lanes.turn(0);
            assert!(tokio::time::timeout(Duration::from_millis(1), waiting).await.is_err());
        }
        drop(first);
        drop(second);
        let _first = lanes.turn(0).await;
        let _second = lanes.turn(0).await;
        assert_eq!(lanes.shared.lock().active, 2);
        assert!(tokio::time::timeout(Duration::from_millis(1), lanes.turn(0)).await.is_err());
    }
}
