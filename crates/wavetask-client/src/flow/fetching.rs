//! Fetching results as they come, small ones many at a time.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use wavetask_protocol::TaskId;

use super::life::{cancelled, of_task};
use super::{Effect, Flow, MemberId, RequestId, ResultNews, Stage};
use crate::error::{ClientError, ErrorGroup};
use crate::server::TaskAction;
use crate::status::Phase;

/// Requests for results at once.
const AT_ONCE: usize = 4;
/// With one under way, so many results, or one that has waited for so long (milliseconds), make another.
const CROWD: usize = 64;
const WAIT: u64 = 250;
/// With none under way but many tasks still to come, the first waits so long for company.
const LINGER: u64 = 20;
const MANY: usize = 8;
/// Times one result is asked for.
const TRIES: u8 = 4;

#[derive(Debug, Default)]
pub(super) struct Fetching {
    queue: VecDeque<(u64, MemberId)>,
    requests: HashMap<RequestId, Request>,
    halves: VecDeque<Vec<TaskId>>,
    arrays: VecDeque<MemberId>,
    arrays_under_way: HashSet<MemberId>,
    wake: Option<u64>,
}

#[derive(Debug)]
struct Request {
    tasks: BTreeSet<TaskId>,
}

impl Fetching {
    pub(super) const fn next_wake(&self) -> Option<u64> {
        self.wake
    }
}

impl Flow {
    pub(super) fn want_result(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.stage = Stage::Fetching;
        self.fetching.queue.push_back((self.now, id));
    }

    pub(super) fn pump_fetching(&mut self) {
        self.fetching.wake = None;
        while self.fetching.arrays_under_way.len() < self.rules.array_lanes
            && let Some(id) = self.fetching.arrays.pop_front()
        {
            if let Some(task) = self.members.get(&id).and_then(|member| member.task.clone()) {
                self.fetching.arrays_under_way.insert(id);
                self.effects.push(Effect::FetchArrays { member: id, task });
            }
        }
        while self.fetching.requests.len() < AT_ONCE
            && let Some(half) = self.fetching.halves.pop_front()
        {
            self.fetch(half.into_iter().collect());
        }
        while let Some(&(since, _)) = self.fetching.queue.front() {
            let (waiting, under_way) = (self.fetching.queue.len(), self.fetching.requests.len());
            let full = waiting >= self.rules.tasks;
            let due = match under_way {
                0 if self.members.len() < waiting + MANY => since,
                0 => since + LINGER,
                _ if under_way >= AT_ONCE => return,
                _ if waiting >= CROWD => since,
                _ => since + WAIT,
            };
            if due > self.now && !full {
                self.fetching.wake = Some(due);
                return;
            }
            let mut tasks = BTreeSet::new();
            while tasks.len() < self.rules.tasks
                && let Some((_, id)) = self.fetching.queue.pop_front()
            {
                let member = self.members.get(&id).filter(|member| member.stage == Stage::Fetching);
                tasks.extend(member.and_then(|member| member.task.clone()));
            }
            if !tasks.is_empty() {
                self.fetch(tasks);
            }
        }
    }

    fn fetch(&mut self, tasks: BTreeSet<TaskId>) {
        let request = self.request();
        self.effects.push(Effect::Fetch { request, tasks: tasks.iter().cloned().collect() });
        self.fetching.requests.insert(request, Request { tasks });
    }

    fn who_waits(&self, task: &TaskId) -> Vec<MemberId> {
        let members = self.by_task.get(task).into_iter().flatten();
        let fetching =
            |id: &&MemberId| self.members.get(id).is_some_and(|member| member.stage == Stage::Fetching);
        members.filter(fetching).copied().collect()
    }

    pub(super) fn result_came(&mut self, request: RequestId, task: &TaskId, news: ResultNews) {
        let known =
            self.fetching.requests.get_mut(&request).is_some_and(|request| request.tasks.remove(task));
        if !known {
            return;
        }
        self.went_well();
        for id in self.who_waits(task) {
            match &news {
                ResultNews::Whole => self.end(id, Phase::Done, None),
                ResultNews::DocumentOnly => {
                    if let Some(member) = self.members.get_mut(&id) {
                        member.stage = Stage::FetchingArrays;
                        self.fetching.arrays.push_back(id);
                    }
                }
                ResultNews::Failed(error) => self.end(id, Phase::Failed, Some(of_task(error.clone()))),
                ResultNews::None(code) if code == "task.not_ended" => {
                    // It is run again, by somebody else.
                    if let Some(member) = self.members.get_mut(&id) {
                        member.stage = Stage::Placed;
                        self.act(TaskAction::Status, id);
                    }
                }
                ResultNews::None(code) if code == "task.aborted" => {
                    self.end(id, Phase::Cancelled, Some(cancelled()));
                }
                ResultNews::None(code) => {
                    let message = "The server has no result of this task.";
                    let error = ClientError::new(ErrorGroup::NotFound, code.clone(), message);
                    self.end(id, Phase::Failed, Some(error));
                }
                ResultNews::Unreadable(error) => self.ask_again(id, error),
            }
        }
    }

    /// Asks for a result once more, or not.
    fn ask_again(&mut self, id: MemberId, error: &ClientError) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.fetches += 1;
        if member.fetches >= TRIES {
            self.end(id, Phase::Failed, Some(error.clone()));
        } else {
            self.want_result(id);
        }
    }

    pub(super) fn fetched(&mut self, request: RequestId, outcome: Result<(), ClientError>) {
        let Some(Request { tasks }) = self.fetching.requests.remove(&request) else { return };
        match outcome {
            Ok(()) => {
                self.went_well();
                let message = "The server's answer leaves a result out.";
                let error = ClientError::new(ErrorGroup::Internal, "server.no_answer", message);
                for id in tasks.iter().flat_map(|task| self.who_waits(task)).collect::<Vec<_>>() {
                    self.ask_again(id, &error);
                }
            }
            Err(error) if error.group.may_pass() => {
                self.trouble(&error);
                for id in tasks.iter().flat_map(|task| self.who_waits(task)).collect::<Vec<_>>() {
                    self.want_result(id);
                }
            }
            Err(error) if tasks.len() > 1 && error.group != ErrorGroup::Unauthorized => {
                let tasks: Vec<_> = tasks.into_iter().collect();
                let (first, second) = tasks.split_at(tasks.len() / 2);
                self.fetching.halves.push_back(first.to_vec());
                self.fetching.halves.push_back(second.to_vec());
            }
            Err(error) => {
                for id in tasks.iter().flat_map(|task| self.who_waits(task)).collect::<Vec<_>>() {
                    self.ask_again(id, &error);
                }
            }
        }
    }

    pub(super) fn arrays_fetched(&mut self, id: MemberId, outcome: Result<(), ClientError>) {
        self.fetching.arrays_under_way.remove(&id);
        let Some(member) = self.members.get_mut(&id) else { return };
        match outcome {
            Ok(()) => {
                self.went_well();
                self.end(id, Phase::Done, None);
            }
            Err(error) if error.group.may_pass() => {
                self.trouble(&error);
                self.fetching.arrays.push_back(id);
            }
            Err(error) => {
                member.fetches += 1;
                if member.fetches >= TRIES {
                    self.end(id, Phase::Failed, Some(error));
                } else {
                    self.fetching.arrays.push_back(id);
                }
            }
        }
    }
}
