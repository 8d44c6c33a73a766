//! The native half of the Python package `wavetask`.
//!
//! ```text
//!  Python threads                      │  engine threads (never attach to the interpreter)
//!  ──────────────────────────────────  │  ──────────────────────────────────────────────
//!  Task, Batch (wavetask/_task.py …)   │
//!    │ calls, interpreter lock released│
//!    ▼                                 │
//!  native handles ─────────────────────┼──► wavetask-client
//!                                      │        │ a task ended
//!  event loop ◄── readable ── Port ◄───┼────────┘ push a token, write one byte
//! ```
//!
//! **Why an own bridge.** Calling back into Python from the threads of an async runtime crashes processes at their
//! exit: the interpreter is gone and the thread asks for its lock. Here those threads cannot even name the
//! interpreter. They put a number into a `port::Port` and make a descriptor readable; an event loop watches the
//! descriptor as it watches its sockets, and a blocked thread waits on the same queue.
//!
//! **What waits, waits interruptibly.** Every call that may take long releases the interpreter lock and looks for
//! signals every 100 ms (`waiting`).
//!
//! **Nothing survives a fork.** The engine's threads stay behind in the parent; every call checks the process and
//! says so instead of waiting forever (`process`).

mod batch;
mod client;
mod connection;
mod document;
mod expression;
mod failure;
mod packed;
mod port;
mod process;
mod strided;
mod task;
mod view;
mod waiting;

use pyo3::prelude::*;

/// See `wavetask/_native.pyi`.
#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    process::remember();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("REFERENCES", wavetask_protocol::native::REFERENCES_TAG)?;
    module.add_function(wrap_pyfunction!(client::locate, module)?)?;
    module.add_function(wrap_pyfunction!(expression::expression_type, module)?)?;
    module.add_function(wrap_pyfunction!(expression::whole_labels, module)?)?;
    module.add_function(wrap_pyfunction!(packed::pack, module)?)?;
    module.add_function(wrap_pyfunction!(process::adopt, module)?)?;
    module.add_function(wrap_pyfunction!(process::before_fork, module)?)?;
    module.add_function(wrap_pyfunction!(process::after_fork, module)?)?;
    module.add_class::<batch::BatchHandle>()?;
    module.add_class::<batch::PendingHandle>()?;
    module.add_class::<batch::SubmissionHandle>()?;
    module.add_class::<client::ClientHandle>()?;
    module.add_class::<document::Document>()?;
    module.add_class::<packed::Packed>()?;
    module.add_class::<port::Port>()?;
    module.add_class::<task::Status>()?;
    module.add_class::<task::TaskHandle>()?;
    Ok(())
}
