//! Errors of the engine as exceptions of the package.

use std::error::Error;

use pyo3::prelude::*;
use wavetask_client::ClientError;

/// The exception for an error: an instance of the class of `wavetask.errors` that is named after its group, with
/// code, hint, task and the chain of causes.
pub(crate) fn exception<'py>(py: Python<'py>, error: &ClientError) -> PyResult<Bound<'py, PyAny>> {
    let mut causes = Vec::new();
    let mut below = error.source();
    while let Some(cause) = below {
        causes.push(cause.to_string());
        below = cause.source();
    }
    py.import("wavetask.errors")?.getattr("make")?.call1((
        error.group.as_str(),
        &error.code,
        &error.message,
        error.hint.as_deref(),
        error.task.as_ref().map(ToString::to_string),
        causes,
    ))
}

/// The same, to be raised.
pub(crate) fn raise(py: Python<'_>, error: &ClientError) -> PyErr {
    exception(py, error).map_or_else(|failure| failure, PyErr::from_value)
}
