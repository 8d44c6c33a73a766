//! Summaries of tasks, many at once.

use std::collections::HashMap;

use wavetask_core::{TaskRecord, Timestamp};
use wavetask_protocol::native::TaskSummary;
use wavetask_protocol::{KeyId, TaskId};
use wavetask_store::TaskFilter;

use crate::answer::Refused;
use crate::app::App;

/// Tasks that are read with one query.
const READ: usize = 1_000;

/// A task as lists and progress bars need it. The folder's name is remembered: this asks nothing of the store for
/// a folder that was seen before.
pub(super) fn summarize(app: &App, record: &TaskRecord) -> Result<TaskSummary, Refused> {
    Ok(TaskSummary {
        task: record.id().clone(),
        name: record.task.name.clone(),
        folder: record.task.folder.clone(),
        folder_name: app.folder_name(record.owner(), &record.task.folder)?,
        kind: record.task.kind,
        state: record.state,
        progress: record.progress.clone(),
        error: record.error.clone(),
        attempts: record.attempt,
        created_milliseconds: record.created_at.as_milliseconds(),
        started_milliseconds: record.started_at.map(Timestamp::as_milliseconds),
        ended_milliseconds: record.finished_at.map(Timestamp::as_milliseconds),
    })
}

/// Those of these tasks that the account has, by their ids.
pub(super) fn records(
    app: &App,
    owner: &KeyId,
    tasks: &[TaskId],
) -> Result<HashMap<TaskId, TaskRecord>, Refused> {
    let mut found = HashMap::with_capacity(tasks.len());
    for part in tasks.chunks(READ) {
        let filter = TaskFilter { owner: Some(owner.clone()), tasks: part.to_vec(), ..TaskFilter::default() };
        let page = app.tasks.list_tasks(&filter, None, part.len())?;
        found.extend(page.tasks.into_iter().map(|record| (record.id().clone(), record)));
    }
    Ok(found)
}
