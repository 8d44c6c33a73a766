//! Which process this is: a forked child has the parent's memory, but none of its threads.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use wavetask_client::JournalRest;

use crate::client;

static OWNER: AtomicU32 = AtomicU32::new(0);

static FORKED: AtomicBool = AtomicBool::new(false);

/// Journals that rest while a fork is under way.
static RESTING: Mutex<Vec<JournalRest>> = Mutex::new(Vec::new());

/// How long a fork waits for a journal to come to rest: a wait for the disk, and some to spare.
const REST: Duration = Duration::from_secs(2);

/// Notes the process that loaded the module.
pub(crate) fn remember() {
    let _ = OWNER.compare_exchange(0, std::process::id(), Ordering::Relaxed, Ordering::Relaxed);
}

/// Notes that whatever is made from now on belongs to this process. The package calls it in a forked child, after
/// it has let go of everything that came from the parent.
#[pyfunction]
pub(crate) fn adopt() {
    OWNER.store(std::process::id(), Ordering::Relaxed);
    FORKED.store(true, Ordering::Relaxed);
    client::let_go();
    // Those who wait for them are the parent's threads.
    std::mem::forget(std::mem::take(&mut *RESTING.lock().unwrap_or_else(PoisonError::into_inner)));
}

/// Whether this process is the forked child of one that had loaded the module.
pub(crate) fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Before a fork: lets the journals come to rest, so that no lock of SQLite's is held in the child by a thread that is
/// not there.
#[pyfunction]
pub(crate) fn before_fork(py: Python<'_>) {
    py.detach(|| {
        let resting: Vec<_> = client::kept().iter().filter_map(|client| client.rest(REST)).collect();
        RESTING.lock().unwrap_or_else(PoisonError::into_inner).extend(resting);
    });
}

/// After a fork, in the parent: the journals go on.
#[pyfunction]
pub(crate) fn after_fork() {
    RESTING.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// Refuses to touch what belongs to another process: a lock in there may be held by a thread that does not exist
/// here, so even looking could wait forever.
pub(crate) fn check(made_by: u32) -> PyResult<()> {
    let this = std::process::id();
    if made_by == this && OWNER.load(Ordering::Relaxed) == this {
        return Ok(());
    }
    Err(PyRuntimeError::new_err(format!(
        "this handle was made in process {made_by} and does not work in its forked child {this}; \
         open it again with wavetask.open()"
    )))
}
