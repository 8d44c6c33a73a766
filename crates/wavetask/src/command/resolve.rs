//! From what the user typed to tasks: the name of a batch, an id, or the beginning of one that fits one task only.

use std::collections::HashSet;

use wavetask_protocol::native::{BatchQuery, Member, MemberQuery, TaskFilter, TaskSummary};

use crate::api::Api;
use crate::failure::{Exit, Failure};
use crate::terminal::{one_line, shortened};

/// How many candidates are asked for: enough to show what an ambiguous beginning could mean.
const CANDIDATES: u32 = 20;

/// Finds one task.
pub(crate) async fn task(api: &Api, typed: &str) -> Result<TaskSummary, Failure> {
    let filter =
        TaskFilter { id_prefix: Some(typed.to_owned()), limit: Some(CANDIDATES), ..TaskFilter::default() };
    if typed.is_empty()
        || !typed.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    {
        return Err(nothing(typed));
    }
    let mut found = api.tasks(&filter).await?.tasks;
    if found.is_empty() && !typed.starts_with("task-") {
        // The common beginning of all ids may be left out.
        let filter = TaskFilter { id_prefix: Some(format!("task-{typed}")), ..filter };
        found = api.tasks(&filter).await?.tasks;
    }
    choose(typed, found)
}

/// What a name or an id stands for.
#[derive(Debug)]
pub(crate) enum Target {
    /// A task.
    Task(Box<TaskSummary>),
    /// A batch with its members in order.
    Batch {
        /// Its name.
        name: String,
        /// Its members.
        members: Vec<Member>,
    },
}

/// Finds a batch or a task. A batch of exactly this name comes first: the beginning of an id can look like anything.
pub(crate) async fn target(api: &Api, typed: &str) -> Result<Target, Failure> {
    let may_be_name =
        !typed.is_empty() && typed.chars().count() <= 200 && !typed.chars().any(char::is_control);
    if may_be_name {
        let query = BatchQuery { name: Some(typed.to_owned()), limit: Some(1), ..BatchQuery::default() };
        if api.batches(&query).await?.batches.iter().any(|batch| batch.name == typed) {
            return Ok(Target::Batch { name: typed.to_owned(), members: members(api, typed).await? });
        }
    }
    Ok(Target::Task(Box::new(task(api, typed).await?)))
}

/// All members of a batch.
async fn members(api: &Api, name: &str) -> Result<Vec<Member>, Failure> {
    let mut found = Vec::new();
    let mut query = MemberQuery::default();
    loop {
        let page = api.members(name, &query).await?;
        found.extend(page.members);
        query.after = page.next;
        if query.after.is_none() {
            return Ok(found);
        }
    }
}

/// Finds all that were typed, each once, in the order typed; of a batch, its members.
pub(crate) async fn tasks(api: &Api, typed: &[String]) -> Result<Vec<TaskSummary>, Failure> {
    let mut found: Vec<TaskSummary> = Vec::with_capacity(typed.len());
    let mut known = HashSet::new();
    for text in typed {
        let tasks = match target(api, text).await? {
            Target::Task(task) => vec![*task],
            Target::Batch { members, .. } => members.into_iter().map(|member| member.task).collect(),
        };
        found.extend(tasks.into_iter().filter(|task| known.insert(task.task.clone())));
    }
    Ok(found)
}

fn nothing(typed: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no task or batch `{}`", shortened(&one_line(typed), 60)))
        .hint("`wavetask ls` lists the tasks of this key, `wavetask ls --batches` its batches")
}

fn choose(typed: &str, mut found: Vec<TaskSummary>) -> Result<TaskSummary, Failure> {
    if let Some(exact) = found.iter().position(|task| task.task.as_str() == typed) {
        return Ok(found.swap_remove(exact));
    }
    match found.len() {
        0 => Err(nothing(typed)),
        1 => Ok(found.swap_remove(0)),
        _ => {
            let shown: Vec<String> = found
                .iter()
                .take(3)
                .map(|task| format!("{} ({})", task.task, one_line(&task.name)))
                .collect();
            Err(Failure::new(Exit::NotFound, format!("several tasks begin with `{typed}`"))
                .hint(format!("type more of the id: {}, …", shown.join(", "))))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use wavetask_protocol::{TaskKind, TaskState};

    pub(crate) fn summary(id: &str, state: TaskState) -> TaskSummary {
        TaskSummary {
            task: id.parse().unwrap(),
            name: format!("name of {id}"),
            folder: "folder-1".parse().unwrap(),
            folder_name: "default".to_owned(),
            kind: TaskKind::HeatCharge,
            state,
            progress: None,
            error: None,
            attempts: 0,
            created_milliseconds: 0,
            started_milliseconds: None,
            ended_milliseconds: None,
        }
    }

    #[test]
    fn an_exact_id_wins_over_longer_ones_and_ambiguity_is_an_error() {
        let list = |ids: &[&str]| ids.iter().map(|id| summary(id, TaskState::Queued)).collect::<Vec<_>>();
        assert_eq!(choose("task-1", list(&["task-12", "task-1"])).unwrap().task.as_str(), "task-1");
        assert_eq!(choose("task-1", list(&["task-12"])).unwrap().task.as_str(), "task-12");
        for (ids, part) in [(&["task-12", "task-13"][..], "several"), (&[][..], "no task")] {
            match choose("task-1", list(ids)) {
                Err(Failure::Told { exit: Exit::NotFound, what, hint: Some(_) }) => {
                    assert!(what.contains(part), "{what}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
