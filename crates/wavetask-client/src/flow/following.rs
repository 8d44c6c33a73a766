//! Following the tasks by events; by looking at them where events are missing.

use std::collections::HashMap;

use wavetask_protocol::native::{EventPage, TaskEvent};
use wavetask_protocol::{TaskId, TaskState};

use super::{Effect, Flow, MemberId, Stage};
use crate::error::{ClientError, ErrorGroup};
use crate::server::TaskAction;
use crate::status::Phase;

/// The code of an answer that cannot go on after the number that was asked for.
const EVENTS_GONE: &str = "events.gone";
/// Events of unknown tasks that are kept while answers that may name them are under way.
const EARLY: usize = 50_000;
/// The longest silence, as a multiple of the rule.
const LONGEST_SILENCE: u64 = 10;

#[derive(Debug)]
pub(super) struct Following {
    /// Events up to this number have been heard; `None` while nothing is followed.
    cursor: Option<u64>,
    waiting: bool,
    /// Events of tasks that no answer has named yet: the stream may be faster than the answer.
    early: HashMap<TaskId, TaskEvent>,
    /// Whether all tasks are being looked at because events were missed: the lowest number of the answers so far.
    gap: Option<Option<u64>>,
    /// When something was last heard, and how long a silence is borne.
    heard_at: u64,
    patience: u64,
}

impl Default for Following {
    fn default() -> Self {
        Self { cursor: None, waiting: false, early: HashMap::new(), gap: None, heard_at: 0, patience: 1 }
    }
}

impl Following {
    /// The event of a task that came before the answer that names it.
    pub(super) fn early(&mut self, task: &TaskId, version: u64) -> Option<TaskEvent> {
        self.early.remove(task).filter(|event| event.sequence > version)
    }

    pub(super) fn forget_early(&mut self, naming: bool) {
        if !naming {
            self.early.clear();
        }
    }
}

impl Flow {
    /// Follows on after this number, if nothing is followed yet.
    pub(super) fn follow_from(&mut self, version: u64) {
        if self.following.cursor.is_none() && self.following.gap.is_none() {
            self.following.cursor = Some(version);
            self.following.heard_at = self.now;
        }
    }

    pub(super) fn pump_following(&mut self) {
        if self.by_task.is_empty() {
            return;
        }
        if let Some(after) = self.following.cursor
            && !self.following.waiting
        {
            self.following.waiting = true;
            self.effects.push(Effect::Follow { after });
        }
        if self.silence_ends().is_some_and(|end| end <= self.now) {
            self.following.heard_at = self.now;
            self.following.patience = (self.following.patience * 2).min(LONGEST_SILENCE);
            self.look_at_all();
        }
    }

    /// When tasks of which nothing was heard are looked at.
    pub(super) fn silence_ends(&self) -> Option<u64> {
        let silence = self.rules.silence.saturating_mul(self.following.patience);
        if self.by_task.is_empty() { None } else { Some(self.following.heard_at.saturating_add(silence)) }
    }

    fn look_at_all(&mut self) {
        let placed = |id: &&MemberId| {
            self.members.get(id).is_some_and(|member| matches!(member.stage, Stage::Placed | Stage::Sending))
        };
        let members: Vec<_> = self.by_task.values().flatten().filter(placed).copied().collect();
        for member in members {
            self.act(TaskAction::Status, member);
        }
    }

    pub(super) fn heard(&mut self, outcome: Result<EventPage, ClientError>) {
        self.following.waiting = false;
        match outcome {
            Ok(page) => {
                self.went_well();
                if !page.events.is_empty() {
                    self.following.heard_at = self.now;
                    self.following.patience = 1;
                }
                for event in page.events {
                    self.happened(event);
                }
                if let Some(cursor) = self.following.cursor {
                    // Tasks that come later bring the number from which to follow with them.
                    let idle = self.by_task.is_empty() && !self.naming.under_way();
                    self.following.cursor = (!idle).then_some(cursor.max(page.last));
                }
            }
            Err(error) if error.group.may_pass() => self.trouble(&error),
            Err(error) if error.group == ErrorGroup::Unauthorized => {
                let members: Vec<_> = self.by_task.values().flatten().copied().collect();
                for member in members {
                    self.end(member, Phase::Failed, Some(error.clone()));
                }
            }
            Err(error) if error.code != EVENTS_GONE => {
                // They are not to be had: the tasks are looked at now and then, and each look tries to follow again.
                self.following.cursor = None;
                self.following.heard_at = self.now;
            }
            Err(_) => {
                // Look at the tasks, and follow on after what is seen there.
                if self.following.gap.is_none() {
                    self.following.cursor = None;
                    self.following.gap = Some(None);
                    self.following.heard_at = self.now;
                    self.look_at_all();
                    self.gap_closed();
                }
            }
        }
    }

    fn happened(&mut self, event: TaskEvent) {
        match self.by_task.get(&event.task.task) {
            Some(members) => {
                // The progress of a running task comes under the number of the event before it.
                let news = |seen: u64| {
                    seen < event.sequence || (seen == event.sequence && event.state == TaskState::Running)
                };
                let late = |id: &&MemberId| self.members.get(id).is_some_and(|member| news(member.seen));
                let members: Vec<_> = members.iter().filter(late).copied().collect();
                for member in members {
                    self.learn(member, Box::new(event.task.clone()), event.sequence);
                }
            }
            None if self.naming.under_way() && self.following.early.len() < EARLY => {
                self.following.early.insert(event.task.task.clone(), event);
            }
            None => {}
        }
    }

    /// Tasks were looked at, and this was the newest event then.
    pub(super) fn looked(&mut self, version: u64) {
        self.following.heard_at = self.now;
        if let Some(lowest) = &mut self.following.gap {
            *lowest = Some(lowest.map_or(version, |lowest| lowest.min(version)));
        } else {
            self.follow_from(version);
        }
        self.gap_closed();
    }

    /// Follows on once all tasks have been looked at.
    pub(super) fn gap_closed(&mut self) {
        if let Some(lowest) = self.following.gap
            && !self.acting.looks()
        {
            self.following.gap = None;
            self.following.cursor = lowest;
        }
    }
}
