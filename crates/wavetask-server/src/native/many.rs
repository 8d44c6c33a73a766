//! The same to many tasks at once: one query to find them, few transactions to change them, one query to answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use wavetask_core::{Command, TaskRecord};
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{
    MAXIMUM_TASKS, TASKS_START, TaskAnswer, TaskAnswers, TaskDetails, TaskSelection,
};
use wavetask_store::Operation;

use super::summary::{records, summarize};
use super::{Routes, too_many};
use crate::answer::Refused;
use crate::app::{App, now};
use crate::documents;
use crate::extract::{Body, Caller};
use crate::tidy3d::detail;

/// Tasks that one transaction changes: it keeps others who write waiting for that long.
pub(super) const CHANGED_AT_ONCE: usize = 250;

/// The routes of this part.
pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .post("/api/v1/tasks/status", status)
        .post("/api/v1/tasks/details", details)
        .post(TASKS_START, start)
        .post("/api/v1/tasks/cancel", cancel)
        .post("/api/v1/tasks/retry", retry)
        .post("/api/v1/tasks/delete", delete)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Status,
    Start,
    Cancel,
    Retry,
    Delete,
}

async fn status(caller: Caller, app: State<Arc<App>>, body: Body<TaskSelection>) -> Answer {
    act(caller, app, body, Action::Status).await
}

async fn start(caller: Caller, app: State<Arc<App>>, body: Body<TaskSelection>) -> Answer {
    act(caller, app, body, Action::Start).await
}

async fn cancel(caller: Caller, app: State<Arc<App>>, body: Body<TaskSelection>) -> Answer {
    act(caller, app, body, Action::Cancel).await
}

async fn retry(caller: Caller, app: State<Arc<App>>, body: Body<TaskSelection>) -> Answer {
    act(caller, app, body, Action::Retry).await
}

async fn delete(caller: Caller, app: State<Arc<App>>, body: Body<TaskSelection>) -> Answer {
    act(caller, app, body, Action::Delete).await
}

async fn details(
    caller: Caller,
    State(app): State<Arc<App>>,
    Body(selection): Body<TaskSelection>,
) -> Result<Json<TaskDetails>, Refused> {
    if selection.tasks.len() > MAXIMUM_TASKS {
        return Err(too_many("tasks", MAXIMUM_TASKS));
    }
    let told = move |app: &App| {
        let found = records(app, caller.id(), &selection.tasks)?;
        let told = |task| found.get(task).map(|record| detail::told(app, record)).transpose();
        Ok(TaskDetails { tasks: selection.tasks.iter().map(told).collect::<Result<_, Refused>>()? })
    };
    app.blocking(told).await.map(Json)
}

type Answer = Result<Json<TaskAnswers>, Refused>;

async fn act(
    caller: Caller,
    State(app): State<Arc<App>>,
    Body(selection): Body<TaskSelection>,
    action: Action,
) -> Answer {
    if selection.tasks.len() > MAXIMUM_TASKS {
        return Err(too_many("tasks", MAXIMUM_TASKS));
    }
    let answers = app.blocking(move |app| answers(app, &caller, &selection, action)).await?;
    Ok(Json(answers))
}

fn answers(
    app: &App,
    caller: &Caller,
    selection: &TaskSelection,
    action: Action,
) -> Result<TaskAnswers, Refused> {
    let mut refusals: Vec<Option<Refused>> = selection.tasks.iter().map(|_| None).collect();
    let mut changed: Vec<bool> = vec![false; selection.tasks.len()];
    if action != Action::Status {
        let known = records(app, caller.id(), &selection.tasks)?;
        let mut wanted: Vec<(usize, TaskId, Command)> = Vec::new();
        for (place, task) in selection.tasks.iter().enumerate() {
            if let Some(record) = known.get(task)
                && let Some(command) = command(app, record, selection.priority, action)?
            {
                wanted.push((place, task.clone(), command));
            }
        }
        for part in wanted.chunks(CHANGED_AT_ONCE) {
            let operations: Vec<Operation> = part
                .iter()
                .map(|(_, task, command)| Operation::Apply {
                    task: task.clone(),
                    command: command.clone(),
                    document: None,
                })
                .collect();
            let outcomes = app.tasks.transact(&operations, now())?;
            for ((place, ..), outcome) in part.iter().zip(outcomes) {
                match outcome {
                    Ok(done) => {
                        changed[*place] = true;
                        if let Some(applied) = done.into_task() {
                            app.carry_out(&applied.effects);
                        }
                    }
                    Err(error) => refusals[*place] = Some(error.into()),
                }
            }
        }
    }
    // The newest number first: what happens while the answer is made is told by an event after it.
    let last_event = app.tasks.latest_sequence()?;
    let found = records(app, caller.id(), &selection.tasks)?;
    let mut tasks = Vec::with_capacity(selection.tasks.len());
    for ((task, refusal), changed) in selection.tasks.iter().zip(refusals).zip(changed) {
        tasks.push(match (refusal, found.get(task)) {
            (Some(refused), _) => TaskAnswer::Refused { error: refused.error() },
            (None, Some(record)) => TaskAnswer::Task { task: Box::new(summarize(app, record)?) },
            (None, None) if changed && action == Action::Delete => TaskAnswer::Deleted,
            (None, None) => TaskAnswer::Refused { error: Refused::no_such_task().error() },
        });
    }
    Ok(TaskAnswers { tasks, last_event })
}

/// What is to be done to a task; `None` if it is left as it is.
fn command(
    app: &App,
    record: &TaskRecord,
    priority: i32,
    action: Action,
) -> Result<Option<Command>, Refused> {
    Ok(match action {
        Action::Status => None,
        Action::Start if documents::is_done_at_once(app, record.task.kind, record.id())? => {
            Some(Command::SubmitSolved { result: None, solver_version: None })
        }
        Action::Start => Some(Command::Submit { priority }),
        Action::Cancel if record.state.is_final() => None,
        Action::Cancel => Some(Command::Abort),
        Action::Retry => Some(Command::Retry),
        Action::Delete => Some(Command::Delete),
    })
}
