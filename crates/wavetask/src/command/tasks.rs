//! `wavetask cancel`, `wavetask rm` and `wavetask retry`: the same to any number of tasks, in a request per thousand.

use std::io::Write;
use std::process::ExitCode;

use wavetask_protocol::TaskId;
use wavetask_protocol::native::TaskAnswer;

use crate::arguments::TasksArguments;
use crate::command::{connect, resolve};
use crate::failure::{Exit, Failure};
use crate::terminal::one_line;

pub(crate) async fn cancel(arguments: TasksArguments) -> Result<ExitCode, Failure> {
    act("cancel", arguments).await
}

pub(crate) async fn remove(arguments: TasksArguments) -> Result<ExitCode, Failure> {
    act("delete", arguments).await
}

pub(crate) async fn retry(arguments: TasksArguments) -> Result<ExitCode, Failure> {
    act("retry", arguments).await
}

async fn act(verb: &str, arguments: TasksArguments) -> Result<ExitCode, Failure> {
    let api = connect(arguments.data)?;
    // All are looked up first: a mistyped one stops the command before it has done half its work.
    let found = resolve::tasks(&api, &arguments.tasks).await?;
    let tasks: Vec<TaskId> = found
        .into_iter()
        // A whole batch is run again as far as it failed.
        .filter(|task| {
            verb != "retry"
                || arguments.tasks.iter().any(|typed| names(typed, &task.task))
                || task.state.is_final() && !is_solved(task.state)
        })
        .map(|task| task.task)
        .collect();
    let answers = api.act(verb, &tasks).await?;
    let mut output = std::io::stdout().lock();
    if arguments.json {
        let list: Vec<serde_json::Value> = tasks
            .iter()
            .zip(&answers)
            .map(|(task, answer)| {
                let mut value = serde_json::to_value(answer).unwrap_or_default();
                value["task"] = task.as_str().into();
                value
            })
            .collect();
        writeln!(output, "{}", serde_json::to_string_pretty(&list).map_err(std::io::Error::from)?)?;
    }
    let mut refused = 0;
    for (task, answer) in tasks.iter().zip(&answers) {
        let line = match answer {
            TaskAnswer::Task { task } => format!("{}  {}", task.task, task.state),
            TaskAnswer::Deleted => format!("{task}  deleted"),
            TaskAnswer::Refused { error } => {
                refused += 1;
                format!("{task}  refused  {}", one_line(&error.message))
            }
            other => format!("{task}  {other:?}"),
        };
        if !arguments.json {
            writeln!(output, "{line}")?;
        }
    }
    Ok(if refused == 0 { ExitCode::SUCCESS } else { Exit::Failed.into() })
}

/// Whether this was typed for this task itself rather than for its batch.
fn names(typed: &str, task: &TaskId) -> bool {
    task.as_str().starts_with(typed)
        || task.as_str().strip_prefix("task-").is_some_and(|id| id.starts_with(typed))
}

const fn is_solved(state: wavetask_protocol::TaskState) -> bool {
    matches!(state, wavetask_protocol::TaskState::Success | wavetask_protocol::TaskState::Diverged)
}
