//! A value that several threads and several async tasks may wait for.
//!
//! Callers come from anywhere: plain threads, any async runtime, Python. A condition variable serves the first, a
//! list of wakers the others, and neither needs the engine's own runtime.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Locks even if another thread panicked while it held the lock: what is guarded is changed in single steps.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The value, and who waits for it to change.
#[derive(Debug)]
pub(crate) struct Signal<T> {
    inner: Mutex<Inner<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    value: T,
    wakers: Vec<Waker>,
}

impl<T> Signal<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { inner: Mutex::new(Inner { value, wakers: Vec::new() }), changed: Condvar::new() }
    }

    /// Looks at the value.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&lock(&self.inner).value)
    }

    /// Changes the value and wakes everybody who waits.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut inner = lock(&self.inner);
        let result = change(&mut inner.value);
        let wakers = std::mem::take(&mut inner.wakers);
        drop(inner);
        self.changed.notify_all();
        for waker in wakers {
            waker.wake();
        }
        result
    }

    /// Blocks until `look` finds what it looks for, or the deadline passes (`None`).
    pub(crate) fn wait<R>(
        &self,
        deadline: Option<Instant>,
        mut look: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        let mut inner = lock(&self.inner);
        loop {
            if let Some(found) = look(&mut inner.value) {
                return Some(found);
            }
            inner = match deadline {
                None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The same for async callers.
    pub(crate) async fn until<R>(&self, mut look: impl FnMut(&mut T) -> Option<R>) -> R {
        std::future::poll_fn(|context| self.poll(context, &mut look)).await
    }

    fn poll<R>(&self, context: &mut Context<'_>, look: &mut impl FnMut(&mut T) -> Option<R>) -> Poll<R> {
        let mut inner = lock(&self.inner);
        if let Some(found) = look(&mut inner.value) {
            return Poll::Ready(found);
        }
        if !inner.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            inner.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}
