//! Keeps a worker running beside the server: starts it, starts it again when it dies, stops it in order.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use wavetask_worker::decide::restart_delay;
use wavetask_worker::process::{Hygiene, Program};

/// A worker that ran longer than this was started well: its next end counts as a first one.
const RAN_WELL: Duration = Duration::from_secs(60);
/// How often the worker is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long a worker may take to give its tasks back before it is killed.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// The thread that looks after the worker process.
#[derive(Debug)]
pub(crate) struct Supervisor {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Supervisor {
    /// Starts the worker and the thread that looks after it.
    pub(crate) fn start(worker: Program) -> std::io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let seen = Arc::clone(&stop);
        // The worker dies with the thread that started it: this one lives as long as the server.
        let thread =
            thread::Builder::new().name("supervisor".to_owned()).spawn(move || look_after(&worker, &seen))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Tells the worker to give its tasks back and waits until it is gone; blocks.
    pub(crate) fn stop(mut self) {
        self.tell();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn tell(&self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.tell();
    }
}

/// Waits up to `time`; whether it is time to stop.
fn wait(stop: &(Mutex<bool>, Condvar), time: Duration) -> bool {
    let guard = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
    let (guard, _) =
        stop.1.wait_timeout_while(guard, time, |stop| !*stop).unwrap_or_else(PoisonError::into_inner);
    *guard
}

fn look_after(worker: &Program, stop: &(Mutex<bool>, Condvar)) {
    let mut quick_ends: u32 = 0;
    loop {
        let started = Instant::now();
        let mut killed = false;
        match one_life(worker, stop) {
            Ok(None) => return,
            Ok(Some(status)) => {
                killed = status.signal().is_some();
                tracing::error!("the worker ended ({status}); it is started again");
            }
            Err(error) => tracing::error!("the worker cannot be started: {error}"),
        }
        quick_ends = if started.elapsed() > RAN_WELL { 0 } else { quick_ends + 1 };
        if wait(stop, restart_delay(quick_ends.saturating_sub(1), killed)) {
            return;
        }
    }
}

/// Runs a worker until it ends by itself (with its status) or was told to (`None`).
fn one_life(
    worker: &Program,
    stop: &(Mutex<bool>, Condvar),
) -> std::io::Result<Option<std::process::ExitStatus>> {
    let mut command = Command::new(&worker.path);
    command.args(&worker.arguments).stdin(Stdio::null()).stdout(Stdio::null());
    Hygiene {
        // Its solvers die with it in turn; a new server finds nothing left of the old one.
        signal_at_parents_death: libc::SIGKILL,
        address_space_bytes: None,
        nice: 0,
        out_of_memory_score: None,
    }
    .apply(&mut command);
    let mut child = command.spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if wait(stop, LOOK) {
            break;
        }
    }
    if let Ok(process) = libc::pid_t::try_from(child.id()) {
        // SAFETY: kill has no memory preconditions; the child is not reaped yet, so the number is its own.
        unsafe { libc::kill(process, libc::SIGTERM) };
    }
    let deadline = Instant::now() + LEAVE_WITHIN;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            tracing::warn!("the worker does not leave; it is killed");
            child.kill()?;
            child.wait()?;
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(None)
}
