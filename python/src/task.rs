//! A task, as Python holds it.

use std::collections::BTreeMap;
use std::time::Instant;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;
use wavetask_client::{ClientError, Task, TaskStatus};
use wavetask_protocol::native::LogQuery;

use crate::document::Document;
use crate::port::Port;
use crate::{failure, process, waiting};

/// A task from the moment that it is submitted; see the stub.
#[pyclass(frozen, name = "Task", module = "wavetask._native")]
#[derive(Debug)]
pub(crate) struct TaskHandle {
    batch: String,
    task: Task,
    process: u32,
}

impl TaskHandle {
    /// A handle of a task of the batch of this name.
    pub(crate) fn new(task: Task, batch: &str) -> Self {
        Self { batch: batch.to_owned(), task, process: std::process::id() }
    }

    /// The task, if this is the process that it lives in.
    pub(crate) fn here(&self) -> PyResult<&Task> {
        process::check(self.process)?;
        Ok(&self.task)
    }

    /// Runs something that asks the server, interruptibly.
    fn ask<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Task) -> Result<T, ClientError> + Send + 'static,
    ) -> PyResult<T> {
        let task = self.here()?.clone();
        waiting::on_thread(py, move || work(&task))?.map_err(|error| failure::raise(py, &error))
    }
}

#[pymethods]
impl TaskHandle {
    #[getter]
    fn key(&self) -> &str {
        self.task.key()
    }

    #[getter]
    fn batch(&self) -> &str {
        &self.batch
    }

    #[getter]
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        parameters_to_python(py, self.task.parameters())
    }

    #[getter]
    fn id(&self) -> PyResult<Option<String>> {
        Ok(self.here()?.id().map(|id| id.to_string()))
    }

    fn status(&self, py: Python<'_>) -> PyResult<Status> {
        Status::of(py, &self.here()?.status())
    }

    fn ended(&self) -> PyResult<bool> {
        Ok(self.here()?.is_done())
    }

    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let task = self.here()?;
        let ended =
            waiting::until(py, timeout, |slice| task.wait(Some(Instant::now() + slice)).ok().map(drop))?;
        Ok(ended.is_some())
    }

    fn watch(&self, port: &Port, token: u64) -> PyResult<()> {
        let queue = port.queue()?;
        self.here()?.on_done(move |_| queue.push(token));
        Ok(())
    }

    fn document(&self, py: Python<'_>) -> PyResult<Document> {
        self.ask(py, |task| task.result(None)).map(Document::new)
    }

    fn simulation(&self, py: Python<'_>) -> PyResult<Document> {
        self.ask(py, Task::simulation).map(Document::new)
    }

    fn cancel(&self) -> PyResult<()> {
        self.here()?.cancel();
        Ok(())
    }

    fn leave_result(&self) -> PyResult<()> {
        self.here()?.leave_result();
        Ok(())
    }

    fn retry(&self, py: Python<'_>) -> PyResult<()> {
        self.ask(py, Task::retry)
    }

    fn start(&self, py: Python<'_>) -> PyResult<()> {
        self.ask(py, Task::start)
    }

    fn delete(&self, py: Python<'_>) -> PyResult<()> {
        self.ask(py, Task::delete)
    }

    fn log(&self, py: Python<'_>) -> PyResult<String> {
        self.ask(py, |task| {
            let mut text = String::new();
            let mut query = LogQuery::default();
            loop {
                let part = task.log(&query)?;
                let end = part.complete || part.text.is_empty() || part.next <= query.offset;
                text.push_str(&part.text);
                if end {
                    return Ok(text);
                }
                query.offset = part.next;
            }
        })
    }

    fn save(&self, py: Python<'_>, path: std::path::PathBuf) -> PyResult<()> {
        self.ask(py, move |task| task.save(path, None))
    }
}

/// Where a task stands.
#[pyclass(frozen, get_all, module = "wavetask._native")]
#[derive(Debug)]
pub(crate) struct Status {
    phase: &'static str,
    state: Option<&'static str>,
    percent: Option<f64>,
    stage: String,
    diverged: bool,
    attempts: u32,
    created: Option<f64>,
    started: Option<f64>,
    ended: Option<f64>,
    error: Option<Py<PyAny>>,
}

impl Status {
    fn of(py: Python<'_>, status: &TaskStatus) -> PyResult<Self> {
        let error = match &status.error {
            Some(error) => Some(failure::exception(py, error)?.unbind()),
            None => None,
        };
        Ok(Self {
            phase: status.phase.as_str(),
            state: status.state.map(wavetask_protocol::TaskState::as_str),
            percent: status.percent,
            stage: status.stage.clone(),
            diverged: status.diverged,
            attempts: status.attempts,
            created: status.created_milliseconds.map(seconds),
            started: status.started_milliseconds.map(seconds),
            ended: status.ended_milliseconds.map(seconds),
            error,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 stay far below 2^53")]
pub(crate) fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// Numbers, texts and truth values from Python.
pub(crate) fn parameters_from_python(given: &Bound<'_, PyDict>) -> PyResult<BTreeMap<String, Value>> {
    let mut parameters = BTreeMap::new();
    for (name, value) in given {
        let name: String = name.extract()?;
        let value = if let Ok(truth) = value.extract::<bool>() {
            Value::from(truth)
        } else if let Ok(whole) = value.extract::<i64>() {
            Value::from(whole)
        } else if let Ok(text) = value.extract::<String>() {
            Value::from(text)
        } else if let Some(number) = value.extract::<f64>().ok().filter(|number| number.is_finite()) {
            Value::from(number)
        } else {
            return Err(PyValueError::new_err(format!(
                "the parameter `{name}` is {}: parameters are finite numbers, texts and truth values",
                value.repr()?
            )));
        };
        parameters.insert(name, value);
    }
    Ok(parameters)
}

fn parameters_to_python<'py>(
    py: Python<'py>,
    parameters: &BTreeMap<String, Value>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in parameters {
        match value {
            Value::Bool(truth) => dict.set_item(name, truth)?,
            Value::String(text) => dict.set_item(name, text)?,
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => dict.set_item(name, whole)?,
                (None, float) => dict.set_item(name, float)?,
            },
            other => dict.set_item(name, other.to_string())?,
        }
    }
    Ok(dict)
}
