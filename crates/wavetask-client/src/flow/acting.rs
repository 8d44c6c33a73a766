//! Looking at, stopping and running tasks again, many in one request.

use std::collections::{HashMap, VecDeque};

use wavetask_protocol::TaskId;
use wavetask_protocol::native::{TaskAnswer, TaskAnswers};

use super::life::cancelled;
use super::{Effect, Flow, MemberId, RequestId, Stage};
use crate::error::{ClientError, ErrorGroup};
use crate::server::TaskAction;
use crate::status::Phase;

/// Requests at once.
const AT_ONCE: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Acting {
    queues: Vec<(TaskAction, VecDeque<MemberId>)>,
    requests: HashMap<RequestId, Request>,
    /// Halves of requests that were refused as a whole.
    halves: VecDeque<Request>,
}

#[derive(Debug)]
struct Request {
    action: TaskAction,
    tasks: Vec<TaskId>,
}

impl Acting {
    /// Whether tasks are being looked at, or are about to be.
    pub(super) fn looks(&self) -> bool {
        let queued =
            self.queues.iter().any(|(action, queue)| *action == TaskAction::Status && !queue.is_empty());
        let mut requests = self.requests.values().chain(&self.halves);
        queued || requests.any(|request| request.action == TaskAction::Status)
    }

    fn queue(&mut self, action: TaskAction) -> &mut VecDeque<MemberId> {
        let place = match self.queues.iter().position(|(other, _)| *other == action) {
            Some(place) => place,
            None => {
                self.queues.push((action, VecDeque::new()));
                self.queues.len() - 1
            }
        };
        &mut self.queues[place].1
    }
}

impl Flow {
    /// Puts a member whose task is known into the next request of this kind.
    pub(super) fn act(&mut self, action: TaskAction, member: MemberId) {
        self.acting.queue(action).push_back(member);
    }

    /// What the user wants.
    pub(super) fn wanted(&mut self, id: MemberId, action: TaskAction) {
        let Some(member) = self.members.get_mut(&id) else { return };
        match action {
            TaskAction::Cancel => self.stop(id),
            // The server cannot start it yet.
            TaskAction::Start if !member.held => member.start = true,
            _ if member.task.is_some() => self.act(action, id),
            // Nothing is there yet to be looked at, run again or deleted.
            _ => {}
        }
    }

    fn stop(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        match member.stage {
            // Nothing of it is anywhere.
            Stage::Packing => self.end(id, Phase::Cancelled, Some(cancelled())),
            Stage::Journaling | Stage::Naming => member.cancel = true,
            // The server cannot know of it yet.
            Stage::ToName if !member.attempted => self.end(id, Phase::Cancelled, Some(cancelled())),
            // Naming it again is the only way to learn which task it is.
            Stage::ToName | Stage::Later if member.task.is_none() => member.cancel = true,
            Stage::ToName | Stage::Later | Stage::Sending => {
                self.stop_sending(id);
                if let Some(member) = self.members.get_mut(&id) {
                    member.stage = Stage::Placed;
                }
                self.act(TaskAction::Cancel, id);
            }
            Stage::Placed => self.act(TaskAction::Cancel, id),
            // It has succeeded: there is nothing to stop but the transfer.
            Stage::Fetching | Stage::FetchingArrays => self.end(id, Phase::Cancelled, Some(cancelled())),
        }
    }

    pub(super) fn pump_acting(&mut self) {
        while self.acting.requests.len() < AT_ONCE
            && let Some(half) = self.acting.halves.pop_front()
        {
            self.ask(half);
        }
        for place in 0..self.acting.queues.len() {
            let action = self.acting.queues[place].0;
            while self.acting.requests.len() < AT_ONCE && !self.acting.queues[place].1.is_empty() {
                let mut tasks = Vec::new();
                while tasks.len() < self.rules.tasks
                    && let Some(id) = self.acting.queues[place].1.pop_front()
                {
                    if let Some(task) = self.members.get(&id).and_then(|member| member.task.clone()) {
                        tasks.push(task);
                    }
                }
                tasks.sort_unstable();
                tasks.dedup();
                if !tasks.is_empty() {
                    self.ask(Request { action, tasks });
                }
            }
        }
        self.gap_closed();
    }

    fn ask(&mut self, asked: Request) {
        let request = self.request();
        self.effects.push(Effect::Act { request, action: asked.action, tasks: asked.tasks.clone() });
        self.acting.requests.insert(request, asked);
    }

    pub(super) fn acted(&mut self, request: RequestId, outcome: Result<TaskAnswers, ClientError>) {
        let Some(Request { action, tasks }) = self.acting.requests.remove(&request) else { return };
        match outcome {
            Ok(answers) => {
                self.went_well();
                for (task, answer) in tasks.iter().zip(answers.tasks) {
                    self.task_answered(action, task, answer, answers.last_event);
                }
                if action == TaskAction::Status {
                    self.looked(answers.last_event);
                } else {
                    self.follow_from(answers.last_event);
                }
            }
            Err(error) if error.group.may_pass() => {
                self.trouble(&error);
                for task in tasks {
                    if let Some(id) = self.by_task.get(&task).and_then(|members| members.first().copied()) {
                        self.act(action, id);
                    }
                }
            }
            Err(error) if tasks.len() > 1 && error.group != ErrorGroup::Unauthorized => {
                let (first, second) = tasks.split_at(tasks.len() / 2);
                self.acting.halves.push_back(Request { action, tasks: first.to_vec() });
                self.acting.halves.push_back(Request { action, tasks: second.to_vec() });
            }
            Err(error) => {
                for task in tasks {
                    self.end_task(&task, &error);
                }
            }
        }
        self.gap_closed();
    }

    fn task_answered(&mut self, action: TaskAction, task: &TaskId, answer: TaskAnswer, version: u64) {
        let members = self.by_task.get(task).cloned().unwrap_or_default();
        match answer {
            TaskAnswer::Task { task } => {
                for member in members {
                    self.learn(member, task.clone(), version);
                }
            }
            TaskAnswer::Deleted => self.end_task(task, &deleted()),
            TaskAnswer::Refused { error } => {
                let group =
                    if error.code == "task.not_found" { ErrorGroup::NotFound } else { ErrorGroup::Usage };
                let mut refusal = ClientError::new(group, error.code, error.message).task(task.clone());
                refusal.hint = error.hint;
                // One that cannot be stopped has ended meanwhile: see how.
                match (action, group) {
                    (TaskAction::Cancel | TaskAction::Start, ErrorGroup::Usage) => {
                        for member in members {
                            self.act(TaskAction::Status, member);
                        }
                    }
                    _ => self.end_task(task, &refusal),
                }
            }
            // An answer of a kind that is newer than this client says nothing to it; events go on.
            _ => {}
        }
    }

    fn end_task(&mut self, task: &TaskId, error: &ClientError) {
        for member in self.by_task.get(task).cloned().unwrap_or_default() {
            self.end(member, Phase::Failed, Some(error.clone()));
        }
    }

    /// A request was answered: the server is there.
    pub(super) fn went_well(&mut self) {
        if self.gate.open() {
            self.effects.push(Effect::Connection { trouble: None });
        }
    }

    /// A request failed in a way that may pass.
    pub(super) fn trouble(&mut self, error: &ClientError) {
        if self.gate.close(self.now, error) {
            self.effects.push(Effect::Connection { trouble: Some(error.clone()) });
        }
    }
}

fn deleted() -> ClientError {
    ClientError::new(ErrorGroup::NotFound, "task.deleted", "The task was deleted.")
}
