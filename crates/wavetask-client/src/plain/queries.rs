//! Lists and batches: from the table, and from the server's folders for tasks that were not made here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use wavetask_protocol::native::{
    BatchList, BatchQuery, BatchSummary, Member, MemberList, MemberQuery, StateCount, TaskFilter, TaskList,
    TaskSummary,
};
use wavetask_protocol::{TaskId, TaskState};

use super::actions::none_such;
use super::condition::conditions;
use super::journey::summary;
use super::row::TaskRow;
use super::shared::Shared;
use super::table::{BatchRow, MemberRow};
use crate::error::{ClientError, ErrorGroup};

/// Most entries of a list.
const LIST: usize = 1_000;
/// Most members of a part.
const MEMBERS: usize = 20_000;

impl Shared {
    /// The row as it was heard of last.
    fn current(&self, row: &TaskRow) -> TaskSummary {
        // Another process may know more than this one, but never less than the table.
        match self.board.task(&row.id) {
            Some(task) if self.steering().contains_key(&row.id) => task,
            _ => summary(row, None),
        }
    }

    pub(super) async fn list(self: &Arc<Self>, filter: &TaskFilter) -> Result<TaskList, ClientError> {
        let last_event = self.board.last();
        let ours_only = filter.batch.is_some() || filter.tag.is_some() || filter.conditions.is_some();
        let rows = self.in_table(|table| table.tasks(false)).await?;
        let mut tasks: Vec<TaskSummary> = rows.iter().map(|row| self.current(row)).collect();
        if ours_only {
            let chosen = self.chosen(filter).await?;
            tasks.retain(|task| chosen.contains(&task.task));
        } else {
            if let Some(tag) = &filter.without_tag {
                let tagged = TaskFilter { tag: Some(tag.clone()), ..TaskFilter::default() };
                let tagged = self.chosen(&tagged).await?;
                tasks.retain(|task| !tagged.contains(&task.task));
            }
            let known: HashSet<&str> = rows
                .iter()
                .flat_map(|row| {
                    [
                        row.solve.id.as_deref(),
                        row.mesh.as_ref().and_then(|mesh| mesh.id.as_deref()),
                        row.earlier.as_deref(),
                    ]
                })
                .flatten()
                .collect();
            for (folder, name) in self.rest.folders().await? {
                if filter.folder.as_ref().is_some_and(|wanted| *wanted != name) {
                    continue;
                }
                for mut detail in self.rest.tasks(&folder).await? {
                    if !known.contains(detail.id.as_str()) {
                        detail.folder_name.clone_from(&name);
                        tasks.push(self.foreign(&detail));
                    }
                }
            }
        }
        tasks.retain(|task| {
            task.state != TaskState::Deleted
                && filter.state.is_none_or(|state| task.state == state)
                && filter.folder.as_ref().is_none_or(|folder| task.folder_name == *folder)
                && filter
                    .id_prefix
                    .as_ref()
                    .is_none_or(|prefix| task.task.as_str().starts_with(prefix.as_str()))
                && filter.name.as_ref().is_none_or(|name| task.name.contains(name.as_str()))
        });
        tasks.sort_by(|one, other| {
            (other.created_milliseconds, &other.task).cmp(&(one.created_milliseconds, &one.task))
        });
        if let Some(after) = &filter.after {
            match tasks.iter().position(|task| task.task == *after) {
                Some(at) => drop(tasks.drain(..=at)),
                None => return Err(none_such(after)),
            }
        }
        let limit = filter.limit.map_or(LIST, |limit| (limit as usize).min(LIST));
        let more = tasks.len() > limit;
        tasks.truncate(limit);
        Ok(TaskList { tasks, more, last_event })
    }

    /// The tasks of batches that satisfy what only the table knows.
    async fn chosen(&self, filter: &TaskFilter) -> Result<HashSet<TaskId>, ClientError> {
        let wanted = conditions(filter.conditions.as_deref().unwrap_or_default())
            .map_err(|message| ClientError::new(ErrorGroup::Usage, "filter.bad_condition", message))?;
        let TaskFilter { batch, tag, without_tag, .. } = filter.clone();
        self.in_table(move |table| {
            let mut chosen = HashSet::new();
            for row in table.batches()? {
                let fits = batch.as_ref().is_none_or(|name| row.summary.name == *name)
                    && tag.as_ref().is_none_or(|tag| row.summary.tags.contains(tag))
                    && without_tag.as_ref().is_none_or(|tag| !row.summary.tags.contains(tag));
                if fits {
                    let members = table.members(&row.summary.name)?;
                    let fitting = members
                        .into_iter()
                        .filter(|member| wanted.iter().all(|one| one.holds(&member.parameters)))
                        .map(|member| member.task);
                    chosen.extend(fitting);
                }
            }
            Ok(chosen)
        })
        .await
    }

    /// The members of a batch with their tasks.
    async fn members_of(&self, batch: &str) -> Result<Vec<(MemberRow, TaskSummary)>, ClientError> {
        let name = batch.to_owned();
        let (members, rows) = self
            .in_table(move |table| {
                let members = table.members(&name)?;
                let wanted: HashSet<TaskId> = members.iter().map(|member| member.task.clone()).collect();
                let mut rows = HashMap::with_capacity(wanted.len());
                for row in table.tasks(false)? {
                    if wanted.contains(&row.id) {
                        rows.insert(row.id.clone(), row);
                    }
                }
                Ok((members, rows))
            })
            .await?;
        Ok(members
            .into_iter()
            .filter_map(|member| {
                let task = self.current(rows.get(&member.task)?);
                Some((member, task))
            })
            .collect())
    }

    pub(super) async fn batches(&self, query: &BatchQuery) -> Result<BatchList, ClientError> {
        let limit = query.limit.map_or(LIST, |limit| (limit as usize).min(LIST));
        let mut rows = self.in_table(|table| table.batches()).await?;
        if let Some(after) = &query.after {
            let place = rows.iter().position(|row| row.summary.name == *after);
            rows.drain(..=place.ok_or_else(|| no_such_batch(after))?);
        }
        rows.retain(|BatchRow { summary, .. }| {
            query.name.as_ref().is_none_or(|name| summary.name == *name)
                && query.tag.as_ref().is_none_or(|tag| summary.tags.contains(tag))
                && query.without_tag.as_ref().is_none_or(|tag| !summary.tags.contains(tag))
        });
        let more = rows.len() > limit;
        let mut batches = Vec::new();
        for BatchRow { mut summary, .. } in rows.into_iter().take(limit) {
            let members = self.members_of(&summary.name).await?;
            summary.states = count(members.iter().map(|(_, task)| task.state));
            batches.push(summary);
        }
        Ok(BatchList { batches, more })
    }

    pub(super) async fn members(
        self: &Arc<Self>,
        batch: &str,
        query: &MemberQuery,
    ) -> Result<MemberList, ClientError> {
        let last_event = self.board.last();
        let wanted = batch.to_owned();
        let found = self
            .in_table(move |table| {
                Ok(table
                    .batches()?
                    .into_iter()
                    .find(|row| row.summary.name == wanted || row.summary.batch.as_str() == wanted))
            })
            .await?;
        let found = found.ok_or_else(|| no_such_batch(batch))?;
        let all = self.members_of(&found.summary.name).await?;
        let summary = BatchSummary { states: count(all.iter().map(|(_, task)| task.state)), ..found.summary };
        let skip: usize = match query.after.as_deref() {
            None => 0,
            Some(text) => text.parse().map_err(|_| {
                ClientError::new(ErrorGroup::Usage, "request.bad_cursor", "not a place in a list of members")
            })?,
        };
        let limit = query.limit.map_or(MEMBERS, |limit| (limit as usize).min(MEMBERS));
        let total = all.len();
        let members: Vec<Member> = all
            .into_iter()
            .skip(skip)
            .take(limit)
            .map(|(member, task)| Member { key: member.key, parameters: member.parameters, task })
            .collect();
        let end = skip + members.len();
        let next = (end < total).then(|| end.to_string());
        Ok(MemberList { batch: summary, members, next, last_event })
    }
}

fn no_such_batch(name: &str) -> ClientError {
    let message = format!("there is no batch `{name}` on this machine");
    ClientError::new(ErrorGroup::NotFound, "batch.not_found", message)
        .hint("This server keeps no batches, so a batch is known only where it was submitted.")
}

/// How many are in each state.
pub(super) fn count(states: impl Iterator<Item = TaskState>) -> Vec<StateCount> {
    let mut counts: BTreeMap<TaskState, u64> = BTreeMap::new();
    for state in states {
        *counts.entry(state).or_default() += 1;
    }
    counts.into_iter().map(|(state, count)| StateCount { state, count }).collect()
}
