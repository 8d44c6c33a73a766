//! Where completions arrive: a queue of numbers with two doors, one for blocked threads and one for event loops.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::{process, waiting};

/// The queue itself, which engine threads hold.
pub(crate) struct Queue {
    tokens: Mutex<VecDeque<u64>>,
    arrived: Condvar,
    #[cfg(unix)]
    wake: std::sync::OnceLock<wake::Pair>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            tokens: Mutex::default(),
            arrived: Condvar::new(),
            #[cfg(unix)]
            wake: std::sync::OnceLock::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<u64>> {
        // Nothing in here panics halfway through a change.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a token; never blocks, never touches Python.
    pub(crate) fn push(&self, token: u64) {
        let mut tokens = self.lock();
        let first = tokens.is_empty();
        tokens.push_back(token);
        if first {
            self.ring();
        }
        drop(tokens);
        self.arrived.notify_one();
    }

    /// Takes all tokens there are.
    fn take(&self) -> Vec<u64> {
        let mut tokens = self.lock();
        #[cfg(unix)]
        if let Some(wake) = self.wake.get() {
            wake.clear();
        }
        tokens.drain(..).collect()
    }

    /// Waits for tokens and takes them; empty if the time is over.
    fn take_within(&self, time: Duration) -> Vec<u64> {
        let end = Instant::now() + time;
        let mut tokens = self.lock();
        while tokens.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Vec::new();
            }
            tokens = self.arrived.wait_timeout(tokens, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(tokens);
        self.take()
    }

    #[cfg(unix)]
    fn ring(&self) {
        if let Some(wake) = self.wake.get() {
            wake.ring();
        }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "event loops are woken by a thread of the package there")]
    fn ring(&self) {}
}

#[cfg(unix)]
mod wake {
    use std::io::{self, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// A byte in the pipe says that the queue is not empty. A socket pair works on every Unix, with `select`,
    /// `poll`, `epoll` and `kqueue`.
    pub(super) struct Pair {
        ours: UnixStream,
        theirs: UnixStream,
    }

    impl Pair {
        pub(super) fn new() -> io::Result<Self> {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            theirs.set_nonblocking(true)?;
            Ok(Self { ours, theirs })
        }

        pub(super) fn descriptor(&self) -> i32 {
            self.theirs.as_raw_fd()
        }

        pub(super) fn ring(&self) {
            // A full pipe is readable all the same, and no other fault can be helped from here.
            let _ = (&self.ours).write(&[1]);
        }

        pub(super) fn clear(&self) {
            let mut bytes = [0; 64];
            while matches!((&self.theirs).read(&mut bytes), Ok(count) if count > 0) {}
        }
    }
}

/// A queue of completions, as Python sees it.
#[pyclass(frozen, module = "wavetask._native")]
#[derive(Debug)]
pub(crate) struct Port {
    queue: Arc<Queue>,
    process: u32,
}

impl Port {
    /// The queue, for something that will push into it.
    pub(crate) fn queue(&self) -> PyResult<Arc<Queue>> {
        process::check(self.process)?;
        Ok(Arc::clone(&self.queue))
    }
}

#[pymethods]
impl Port {
    #[new]
    fn new() -> Self {
        Self { queue: Queue::new(), process: std::process::id() }
    }

    /// A descriptor that is readable while tokens are there. Only on Unix: elsewhere `NotImplementedError`.
    fn fileno(&self) -> PyResult<i32> {
        process::check(self.process)?;
        #[cfg(unix)]
        {
            // Under the lock, so that no token slips in between the look and the ring.
            let tokens = self.queue.lock();
            if self.queue.wake.get().is_none() {
                let _ = self.queue.wake.set(wake::Pair::new()?);
                if !tokens.is_empty() {
                    self.queue.ring();
                }
            }
            Ok(self.queue.wake.get().map_or(-1, wake::Pair::descriptor))
        }
        #[cfg(not(unix))]
        Err(pyo3::exceptions::PyNotImplementedError::new_err("no descriptor to watch on this system"))
    }

    /// Puts a token in.
    fn push(&self, token: u64) -> PyResult<()> {
        self.queue()?.push(token);
        Ok(())
    }

    /// Takes the tokens that are there, without waiting.
    fn drain(&self) -> PyResult<Vec<u64>> {
        process::check(self.process)?;
        Ok(self.queue.take())
    }

    /// Waits until there are tokens and takes them; empty if `timeout` seconds are over first.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Vec<u64>> {
        process::check(self.process)?;
        let queue = &*self.queue;
        waiting::until(py, timeout, |slice| {
            Some(queue.take_within(slice)).filter(|tokens| !tokens.is_empty())
        })
        .map(Option::unwrap_or_default)
    }
}
