//! Waiting without the interpreter lock, and without losing Ctrl-C.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// How long a signal may go unseen.
const SLICE: Duration = Duration::from_millis(100);

/// Longest time that is taken at its word; longer ones are forever.
const FOREVER: f64 = 1e9;

/// When to stop waiting; `None` for never.
///
/// # Errors
/// `ValueError` for a time that is not a number.
pub(crate) fn deadline(timeout: Option<f64>) -> PyResult<Option<Instant>> {
    match timeout {
        Some(seconds) if seconds.is_nan() => Err(PyValueError::new_err("the timeout is not a number")),
        Some(seconds) if seconds < FOREVER => {
            Ok(Some(Instant::now() + Duration::from_secs_f64(seconds.max(0.0))))
        }
        _ => Ok(None),
    }
}

/// Calls `attempt` with the interpreter lock released, again and again for at most 100 ms each, until it gives
/// something or the time is over; between two calls, signal handlers run.
///
/// # Errors
/// What a signal handler raises, such as `KeyboardInterrupt`.
pub(crate) fn until<T: Send>(
    py: Python<'_>,
    timeout: Option<f64>,
    mut attempt: impl FnMut(Duration) -> Option<T> + Send,
) -> PyResult<Option<T>> {
    let deadline = deadline(timeout)?;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let slice = left.map_or(SLICE, |left| left.min(SLICE));
        if let Some(value) = py.detach(|| attempt(slice)) {
            return Ok(Some(value));
        }
        py.check_signals()?;
        if left.is_some_and(|left| left <= slice) {
            return Ok(None);
        }
    }
}
/// Runs something that blocks on a thread of its own and waits for it interruptibly. If a signal handler raises,
/// the work goes on by itself and what it gives is dropped.
///
/// # Errors
/// What a signal handler raises.
pub(crate) fn on_thread<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::Builder::new().name("wavetask-call".to_owned()).spawn(move || {
        let _ = sender.send(work());
    })?;
    // The receiver may not be shared between threads, so it moves in and out of each slice.
    let receiver = std::sync::Mutex::new(receiver);
    let value = until(py, None, |slice| {
        let receiver = receiver.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match receiver.recv_timeout(slice) {
            Ok(value) => Some(Some(value)),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(None),
        }
    })?;
    value.flatten().ok_or_else(|| {
        pyo3::exceptions::PyRuntimeError::new_err(
            "a thread of the engine ended without an answer; please report it",
        )
    })
}
