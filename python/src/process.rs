//! Which process this is: a forked child has the parent's memory, but none of its threads.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

static OWNER: AtomicU32 = AtomicU32::new(0);

/// Notes the process that loaded the module.
pub(crate) fn remember() {
    let _ = OWNER.compare_exchange(0, std::process::id(), Ordering::Relaxed, Ordering::Relaxed);
}

/// Notes that whatever is made from now on belongs to this process. The package calls it in a forked child, after
/// it has let go of everything that came from the parent.
#[pyfunction]
pub(crate) fn adopt() {
    OWNER.store(std::process::id(), Ordering::Relaxed);
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
