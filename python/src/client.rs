//! The connection, as Python holds it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use wavetask_client::{Client, ClientError, Opened, SubmissionOptions, Told};
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{BatchQuery, TaskFilter};

use crate::batch::{BatchHandle, SubmissionHandle};
use crate::connection::{self, Wanted};
use crate::task::TaskHandle;
use crate::{failure, process, waiting};

/// A clone of every client that was made. The engine's threads end with its last handle; in a forked child, where
/// they are not, and at the end of the process, nobody is to end them, so there is always one handle more.
static KEPT: Mutex<Vec<Client>> = Mutex::new(Vec::new());

/// In a forked child: the parent's clients are neither ended nor asked for anything.
pub(crate) fn let_go() {
    if let Ok(mut kept) = KEPT.try_lock() {
        std::mem::forget(std::mem::take(&mut *kept));
    }
}

/// The clients that this process made.
pub(crate) fn kept() -> Vec<Client> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A connection; see the stub.
#[pyclass(frozen, name = "Client", module = "wavetask._native")]
#[derive(Debug)]
pub(crate) struct ClientHandle {
    client: Client,
    url: String,
    process: u32,
}

impl ClientHandle {
    fn here(&self) -> PyResult<&Client> {
        process::check(self.process)?;
        Ok(&self.client)
    }

    /// Runs something that asks the server, interruptibly.
    fn ask<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Client) -> Result<T, ClientError> + Send + 'static,
    ) -> PyResult<T> {
        let client = self.here()?.clone();
        waiting::on_thread(py, move || work(&client))?.map_err(|error| failure::raise(py, &error))
    }

    fn opened<'py>(py: Python<'py>, opened: Opened) -> PyResult<Bound<'py, PyAny>> {
        Ok(match opened {
            Opened::Batch(batch) => BatchHandle::new(batch).into_pyobject(py)?.into_any(),
            Opened::Task(task) => {
                let batch = task.batch().map(|batch| batch.name().to_owned()).unwrap_or_default();
                TaskHandle::new(task, &batch).into_pyobject(py)?.into_any()
            }
            _ => return Err(PyValueError::new_err("the engine opened something that is not known here")),
        })
    }

    /// What the server of a data folder has written there in this file; `None` for one that is named by its address.
    fn of_folder(&self, file: &str) -> Option<String> {
        let settings = self.client.settings();
        if settings.url.is_some() {
            return None;
        }
        let text = std::fs::read_to_string(settings.data.join(file)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }
}

#[pymethods]
impl ClientHandle {
    #[new]
    #[pyo3(signature = (*, url=None, key=None, data=None, bandwidth=None, memory=None, binary=None))]
    fn new(
        py: Python<'_>,
        url: Option<String>,
        key: Option<String>,
        data: Option<PathBuf>,
        bandwidth: Option<String>,
        memory: Option<String>,
        binary: Option<PathBuf>,
    ) -> PyResult<Self> {
        let wanted = Wanted { url, key, data, bandwidth, memory };
        let connected = waiting::on_thread(py, move || connection::connect(wanted, binary))?;
        let (client, url) = connected.map_err(|error| failure::raise(py, &error))?;
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(client.clone());
        Ok(Self { client, url, process: std::process::id() })
    }

    /// Where the server answers now: one that belongs to a data folder may have come back at another port.
    #[getter]
    fn url(&self) -> String {
        self.of_folder("address").unwrap_or_else(|| self.url.clone())
    }

    /// Whether the server computes expressions over results.
    fn evaluates(&self) -> PyResult<bool> {
        Ok(self.here()?.server().evaluates())
    }

    /// Bytes of arrays that have left by now; less again when a try fails.
    fn bytes_sent(&self) -> PyResult<u64> {
        Ok(self.here()?.server().bytes_sent())
    }

    #[getter]
    fn key(&self) -> Option<String> {
        self.client.settings().key.clone().or_else(|| self.of_folder("key"))
    }

    /// Begins a submission.
    #[pyo3(signature = (*, name, tags, cache, hold, lazy, folder, priority, after, program))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn submit(
        &self,
        py: Python<'_>,
        name: Option<String>,
        tags: Vec<String>,
        cache: bool,
        hold: bool,
        lazy: bool,
        folder: String,
        priority: i32,
        after: Vec<String>,
        program: Option<String>,
    ) -> PyResult<SubmissionHandle> {
        let client = self.here()?;
        let after =
            after.iter().map(|id| id.parse::<TaskId>()).collect::<Result<Vec<_>, _>>().map_err(|error| {
                PyValueError::new_err(format!("`after` takes tasks and their ids: {error}"))
            })?;
        let options = SubmissionOptions { name, tags, cache, hold, lazy, folder, priority, after, program };
        let submission = py.detach(|| client.submit(options)).map_err(|error| failure::raise(py, &error))?;
        Ok(SubmissionHandle::new(submission))
    }

    /// A batch by name or a task by id.
    fn open<'py>(&self, py: Python<'py>, name_or_id: String) -> PyResult<Bound<'py, PyAny>> {
        let opened = self.ask(py, move |client| client.open(&name_or_id))?;
        Self::opened(py, opened)
    }

    /// A batch by name.
    fn open_batch(&self, py: Python<'_>, name: String) -> PyResult<BatchHandle> {
        self.ask(py, move |client| client.open_batch(&name)).map(BatchHandle::new)
    }

    /// What the tidy3d protocol tells of a task that goes by another id there, as JSON; `None` for every other.
    fn told(&self, py: Python<'_>, task: &str, part: &str) -> PyResult<Option<String>> {
        let what = match part {
            "detail" => Told::Detail,
            "progress" => Told::Progress,
            _ => return Err(PyValueError::new_err(format!("nothing is told of a task's `{part}`"))),
        };
        // What is no id of ours may be one of the server's.
        let Ok(task) = task.parse::<TaskId>() else { return Ok(None) };
        let told = self.ask(py, move |client| client.told(&task, what))?;
        Ok(told.map(|told| told.to_string()))
    }

    /// A page of batches, the last touched first, from behind the batch of the name `after` on; and whether more
    /// follow.
    #[pyo3(signature = (*, name=None, tag=None, without_tag=None, after=None, limit=None))]
    fn batches<'py>(
        &self,
        py: Python<'py>,
        name: Option<String>,
        tag: Option<String>,
        without_tag: Option<String>,
        after: Option<String>,
        limit: Option<u32>,
    ) -> PyResult<(Vec<Bound<'py, PyDict>>, bool)> {
        let query = BatchQuery { name, tag, without_tag, after, limit };
        let list = self.ask(py, move |client| client.batches(&query))?;
        let row = |batch: wavetask_protocol::native::BatchSummary| {
            let dict = PyDict::new(py);
            let states = PyDict::new(py);
            for count in batch.states {
                states.set_item(count.state.as_str(), count.count)?;
            }
            dict.set_item("name", batch.name)?;
            dict.set_item("tags", batch.tags)?;
            dict.set_item("members", batch.members)?;
            dict.set_item("complete", batch.complete)?;
            dict.set_item("created", crate::task::seconds(batch.created_milliseconds))?;
            dict.set_item("states", states)?;
            Ok(dict)
        };
        Ok((list.batches.into_iter().map(row).collect::<PyResult<_>>()?, list.more))
    }

    /// A page of tasks, newest first, from behind the task `after` on; and whether more follow.
    #[pyo3(signature = (conditions=None, *, state=None, folder=None, name=None, tag=None, without_tag=None, batch=None, after=None, limit=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn tasks<'py>(
        &self,
        py: Python<'py>,
        conditions: Option<String>,
        state: Option<String>,
        folder: Option<String>,
        name: Option<String>,
        tag: Option<String>,
        without_tag: Option<String>,
        batch: Option<String>,
        after: Option<String>,
        limit: Option<u32>,
    ) -> PyResult<(Vec<Bound<'py, PyDict>>, bool)> {
        let state = match state {
            Some(word) => {
                Some(serde_json::from_value(serde_json::Value::from(word.as_str())).map_err(|_| {
                    PyValueError::new_err(format!("there is no state `{word}`; one is `running`"))
                })?)
            }
            None => None,
        };
        let after = after
            .map(|id| id.parse::<TaskId>())
            .transpose()
            .map_err(|error| PyValueError::new_err(format!("`after` is the id of a task: {error}")))?;
        let filter = TaskFilter {
            state,
            folder,
            name,
            tag,
            without_tag,
            batch,
            conditions,
            after,
            limit,
            ..TaskFilter::default()
        };
        let list = self.ask(py, move |client| client.list(&filter))?;
        let row = |task: wavetask_protocol::native::TaskSummary| {
            let dict = PyDict::new(py);
            dict.set_item("id", task.task.to_string())?;
            dict.set_item("name", task.name)?;
            dict.set_item("folder", task.folder_name)?;
            dict.set_item("kind", task.kind.as_str())?;
            dict.set_item("state", task.state.as_str())?;
            dict.set_item("percent", task.progress.map(|progress| progress.percent))?;
            dict.set_item("error", task.error.map(|error| error.message))?;
            dict.set_item("attempts", task.attempts)?;
            dict.set_item("created", crate::task::seconds(task.created_milliseconds))?;
            dict.set_item("started", task.started_milliseconds.map(crate::task::seconds))?;
            dict.set_item("ended", task.ended_milliseconds.map(crate::task::seconds))?;
            Ok(dict)
        };
        let more = list.more;
        Ok((list.tasks.into_iter().map(row).collect::<PyResult<_>>()?, more))
    }
}

/// Names the server that is meant, without its key: its address, or the data folder whose server it is.
#[pyfunction]
#[pyo3(signature = (url=None, key=None, data=None))]
pub(crate) fn locate(
    py: Python<'_>,
    url: Option<String>,
    key: Option<String>,
    data: Option<PathBuf>,
) -> PyResult<(&'static str, String)> {
    let place =
        Wanted { url, key, data, ..Wanted::default() }.place().map_err(|error| failure::raise(py, &error))?;
    Ok(connection::name(&place))
}
