//! A batch, and its submission, as Python holds them.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use wavetask_client::{
    Batch, ClientError, ErrorGroup, MemberOptions, PackedSimulation, Pending, Phase, Submission, Task,
};

use wavetask_protocol::TaskId;

use crate::packed::Packed;
use crate::port::Port;
use crate::task::{TaskHandle, parameters_from_python};
use crate::{expression, failure, process, waiting};

/// A batch; see the stub.
#[pyclass(frozen, name = "Batch", module = "wavetask._native")]
#[derive(Debug)]
pub(crate) struct BatchHandle {
    batch: Batch,
    process: u32,
}

impl BatchHandle {
    pub(crate) fn new(batch: Batch) -> Self {
        Self { batch, process: std::process::id() }
    }

    fn here(&self) -> PyResult<&Batch> {
        process::check(self.process)?;
        Ok(&self.batch)
    }
}

#[pymethods]
impl BatchHandle {
    #[getter]
    fn name(&self) -> &str {
        self.batch.name()
    }

    #[pyo3(signature = (first=0))]
    fn tasks(&self, first: usize) -> PyResult<Vec<TaskHandle>> {
        let batch = self.here()?;
        let handle = |task| TaskHandle::new(task, batch.name());
        Ok(batch.tasks().into_iter().skip(first).map(handle).collect())
    }

    /// Whether all tasks are there: no more will come.
    fn sealed(&self) -> PyResult<bool> {
        Ok(self.here()?.is_sealed())
    }

    /// Pushes the token once when there are more tasks than `known` or no more will come.
    fn watch_growth(&self, known: usize, port: &Port, token: u64) -> PyResult<()> {
        let queue = port.queue()?;
        self.here()?.when_grown(known, move || queue.push(token));
        Ok(())
    }

    fn get(&self, key: &str) -> PyResult<Option<TaskHandle>> {
        let batch = self.here()?;
        Ok(batch.get(key).map(|task| TaskHandle::new(task, batch.name())))
    }

    /// How many tasks are in which phase, and how far the whole is: 0 to 100.
    fn progress<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyDict>, f64)> {
        let batch = self.here()?;
        let (counts, percent) = py.detach(|| {
            let mut counts = std::collections::BTreeMap::<Phase, u64>::new();
            let (mut sum, mut total) = (0.0, 0_u32);
            for task in batch.tasks() {
                let status = task.status();
                *counts.entry(status.phase).or_default() += 1;
                sum += far(status.phase, status.percent);
                total += 1;
            }
            (counts, if total == 0 { 0.0 } else { sum / f64::from(total) })
        });
        let dict = PyDict::new(py);
        for (phase, count) in counts {
            dict.set_item(phase.as_str(), count)?;
        }
        Ok((dict, percent))
    }

    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let batch = self.here()?;
        py.detach(|| batch.cancel());
        Ok(())
    }

    /// Runs those again that ended without success; raises the first reason why one could not be.
    fn retry(&self, py: Python<'_>) -> PyResult<()> {
        let batch = self.here()?.clone();
        let refused = waiting::on_thread(py, move || batch.retry())?;
        match refused.first() {
            Some((_, error)) => Err(failure::raise(py, error)),
            None => Ok(()),
        }
    }

    /// Deletes all with their results; raises the first reason why one could not be.
    fn delete(&self, py: Python<'_>) -> PyResult<()> {
        let batch = self.here()?.clone();
        let refused = waiting::on_thread(py, move || batch.delete())?;
        match refused.first() {
            Some((_, error)) => Err(failure::raise(py, error)),
            None => Ok(()),
        }
    }

    /// Starts those that are held; raises the first reason why one could not be.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let batch = self.here()?.clone();
        let refused = waiting::on_thread(py, move || batch.start())?;
        match refused.first() {
            Some((_, error)) => Err(failure::raise(py, error)),
            None => Ok(()),
        }
    }
}

/// How much of its way a task has behind it, for a bar: the solver is nearly all of it.
fn far(phase: Phase, percent: Option<f64>) -> f64 {
    match phase {
        Phase::Packing | Phase::Waiting => 0.0,
        Phase::Uploading => 2.0,
        Phase::Held | Phase::Queued => 5.0,
        Phase::Running => percent.unwrap_or(5.0).clamp(5.0, 95.0),
        Phase::Fetching => 97.0,
        _ => 100.0,
    }
}

/// A submission under way; see the stub.
#[pyclass(frozen, name = "Submission", module = "wavetask._native")]
#[derive(Debug)]
pub(crate) struct SubmissionHandle {
    batch: Batch,
    submission: Mutex<Option<Submission>>,
    process: u32,
}

impl SubmissionHandle {
    pub(crate) fn new(submission: Submission) -> Self {
        Self {
            batch: submission.batch().clone(),
            submission: Mutex::new(Some(submission)),
            process: std::process::id(),
        }
    }
}

#[pymethods]
impl SubmissionHandle {
    #[getter]
    fn name(&self) -> &str {
        self.batch.name()
    }

    #[getter]
    fn batch(&self) -> BatchHandle {
        BatchHandle::new(self.batch.clone())
    }

    /// Announces a member that is yet to be packed.
    fn add(
        &self,
        py: Python<'_>,
        key: String,
        name: Option<String>,
        parameters: &Bound<'_, PyDict>,
    ) -> PyResult<(TaskHandle, PendingHandle)> {
        process::check(self.process)?;
        let options = MemberOptions { key, name, parameters: parameters_from_python(parameters)? };
        let added = py.detach(|| {
            let submission = self.submission.lock().unwrap_or_else(PoisonError::into_inner);
            match &*submission {
                Some(submission) => submission.add(options),
                None => Err(ClientError::new(
                    ErrorGroup::Usage,
                    "submission.finished",
                    "the submission is finished",
                )),
            }
        });
        let pending = added.map_err(|error| failure::raise(py, &error))?;
        let task = TaskHandle::new(pending.task().clone(), self.batch.name());
        Ok((task, PendingHandle { pending: Mutex::new(Some(pending)), process: std::process::id() }))
    }

    /// No more members come.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        process::check(self.process)?;
        py.detach(|| {
            let submission = self.submission.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(submission.map(Submission::finish));
        });
        Ok(())
    }
}

impl Drop for SubmissionHandle {
    fn drop(&mut self) {
        let_go(&self.submission, self.process);
    }
}

/// A member that is announced and not yet packed. Let go of unpacked, its task fails.
#[pyclass(frozen, name = "Pending", module = "wavetask._native")]
#[derive(Debug)]
pub(crate) struct PendingHandle {
    pending: Mutex<Option<Pending>>,
    process: u32,
}

impl PendingHandle {
    fn settle(&self, py: Python<'_>, simulation: Result<PackedSimulation, ClientError>) -> PyResult<()> {
        let pending = self.take()?;
        // It may block for as long as the budget of bytes is used up: on the packing thread, which no signal reaches.
        py.detach(move || pending.packed(simulation));
        Ok(())
    }
}

impl PendingHandle {
    /// Hands a member over that is made of the ids of these tasks once they have some, and holds so many bytes until then.
    fn refers(
        &self,
        py: Python<'_>,
        tasks: Vec<Task>,
        bytes: u64,
        make: impl FnOnce(&[TaskId]) -> Result<PackedSimulation, ClientError> + Send + 'static,
    ) -> PyResult<()> {
        let pending = self.take()?;
        // It may block, as `settle`.
        py.detach(move || pending.refers(tasks, bytes, make));
        Ok(())
    }

    fn take(&self) -> PyResult<Pending> {
        process::check(self.process)?;
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner).take();
        pending.ok_or_else(handed_over)
    }
}

#[pymethods]
impl PendingHandle {
    /// Tasks that must succeed before this one starts; the server need not know them yet.
    fn after(&self, tasks: Vec<PyRef<'_, TaskHandle>>) -> PyResult<()> {
        process::check(self.process)?;
        let tasks = tasks.iter().map(|task| Ok(task.here()?.clone())).collect::<PyResult<Vec<Task>>>()?;
        match &mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(pending) => pending.after(tasks),
            None => return Err(handed_over()),
        }
        Ok(())
    }

    /// Hands the simulation over; blocks while the budget of bytes is used up.
    fn push(&self, py: Python<'_>, packed: &Packed) -> PyResult<()> {
        self.settle(py, Ok(packed.take()?))
    }

    /// Hands a recipe over, of expressions over results of tasks that need not be known to the server yet.
    fn evaluate(&self, py: Python<'_>, recipe: &str, tasks: Vec<PyRef<'_, TaskHandle>>) -> PyResult<()> {
        let bytes = recipe.len() as u64;
        let recipe = expression::recipe(py, recipe)?;
        let tasks = tasks.iter().map(|task| Ok(task.here()?.clone())).collect::<PyResult<Vec<Task>>>()?;
        self.refers(py, tasks, bytes, move |ids| expression::evaluation(recipe, ids))
    }

    /// Hands over what succeeds when all of these tasks have: those of handles, and those of the ids that the submission
    /// runs after.
    fn gather(&self, py: Python<'_>, tasks: Vec<PyRef<'_, TaskHandle>>, ids: Vec<String>) -> PyResult<()> {
        let known = ids
            .iter()
            .map(|id| id.parse::<TaskId>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let tasks = tasks.iter().map(|task| Ok(task.here()?.clone())).collect::<PyResult<Vec<Task>>>()?;
        if let Some(pending) = &mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner) {
            pending.after(tasks.clone());
        }
        self.refers(py, tasks, 0, move |ids| {
            expression::gathering(ids.iter().cloned().chain(known).collect())
        })
    }

    /// Hands a simulation over of which some arrays are outputs of evaluations: path, task and number of each.
    fn fill(
        &self,
        py: Python<'_>,
        packed: &Packed,
        slots: Vec<(String, PyRef<'_, TaskHandle>, u32)>,
    ) -> PyResult<()> {
        let tasks =
            slots.iter().map(|(_, task, _)| Ok(task.here()?.clone())).collect::<PyResult<Vec<Task>>>()?;
        let simulation = packed.take()?;
        let places: Vec<(String, u32)> = slots.into_iter().map(|(path, _, output)| (path, output)).collect();
        let bytes = simulation.bytes();
        self.refers(py, tasks, bytes, move |ids| Ok(expression::filled(simulation, places, ids)))
    }

    /// Says why it could not be packed.
    #[pyo3(signature = (group, code, message, hint=None))]
    fn fail(
        &self,
        py: Python<'_>,
        group: &str,
        code: &str,
        message: &str,
        hint: Option<&str>,
    ) -> PyResult<()> {
        let group = match group {
            "Cancelled" => ErrorGroup::Cancelled,
            "Usage" => ErrorGroup::Usage,
            "DataCorrupted" => ErrorGroup::DataCorrupted,
            "NotFound" => ErrorGroup::NotFound,
            "InputFailed" => ErrorGroup::InputFailed,
            _ => ErrorGroup::InvalidSimulation,
        };
        let error = ClientError::new(group, code, message);
        self.settle(
            py,
            Err(match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }),
        )
    }
}

fn handed_over() -> PyErr {
    PyValueError::new_err("this member has been handed over already")
}

impl Drop for PendingHandle {
    fn drop(&mut self) {
        let_go(&self.pending, self.process);
    }
}

/// In a forked child, what belongs to the parent is not even dropped: that would speak to threads that are not here.
fn let_go<T>(slot: &Mutex<Option<T>>, made_by: u32) {
    if process::check(made_by).is_err()
        && let Ok(mut slot) = slot.try_lock()
    {
        std::mem::forget(slot.take());
    }
}
