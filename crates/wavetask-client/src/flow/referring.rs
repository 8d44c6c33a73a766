//! Members whose content names the tasks of other members: they are made when those are tasks.
//!
//! A reference is written before what it refers to has left this process, so it cannot name a task. What it waits for is
//! only that the server has accepted the others, not their results: a chain of any length is on the server as soon as its
//! names are.

use std::collections::{BTreeSet, HashMap};

use super::{Effect, Flow, MemberId, Stage};

#[derive(Debug, Default)]
pub(super) struct Referring {
    /// How many others each still waits for.
    waiting: HashMap<MemberId, usize>,
    /// Who waits for each.
    awaited_by: HashMap<MemberId, Vec<MemberId>>,
}

impl Flow {
    /// An announced member is made when all of these are tasks, or have ended without becoming one.
    pub(super) fn refers(&mut self, id: MemberId, needs: Vec<MemberId>) {
        // One that was stopped in the meantime waits for nothing.
        if self.members.get(&id).is_none_or(|member| member.stage != Stage::Packing) {
            self.effects.push(Effect::Unwanted { member: id });
            return;
        }
        let needs: BTreeSet<MemberId> = needs.into_iter().filter(|need| self.is_to_come(*need)).collect();
        if needs.is_empty() {
            self.effects.push(Effect::Refer { member: id });
            return;
        }
        self.referring.waiting.insert(id, needs.len());
        for need in needs {
            self.referring.awaited_by.entry(need).or_default().push(id);
        }
    }

    /// Whether a member may still become a task.
    fn is_to_come(&self, id: MemberId) -> bool {
        self.members.get(&id).is_some_and(|member| !member.placed)
    }

    /// A member has become a task, or has ended.
    pub(super) fn no_more_awaited(&mut self, id: MemberId) {
        self.referring.waiting.remove(&id);
        for member in self.referring.awaited_by.remove(&id).unwrap_or_default() {
            let Some(left) = self.referring.waiting.get_mut(&member) else { continue };
            *left -= 1;
            if *left == 0 {
                self.referring.waiting.remove(&member);
                self.effects.push(Effect::Refer { member });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wavetask_protocol::native::{MemberAnswer, SubmitAnswer};

    use super::*;
    use crate::error::{ClientError, ErrorGroup};
    use crate::flow::{Input, Push, RequestId, Rules, SubmissionId};
    use crate::server::TaskAction;

    const SUBMISSION: SubmissionId = SubmissionId(1);
    const FIRST: MemberId = MemberId(0);
    const SECOND: MemberId = MemberId(1);
    const REFERS: MemberId = MemberId(2);

    /// Three members, of which the last refers to the two others.
    fn begun() -> Flow {
        let mut flow = Flow::new(Rules::new(Duration::from_secs(10)), 1);
        flow.step(Input::Opened { submission: SUBMISSION, whole: true }, 0);
        for member in [FIRST, SECOND, REFERS] {
            flow.step(Input::Announced { member, submission: SUBMISSION }, 0);
        }
        flow.step(Input::Sealed { submission: SUBMISSION }, 0);
        let effects = flow.step(Input::Refers { member: REFERS, needs: vec![FIRST, SECOND, FIRST] }, 0);
        assert!(effects.is_empty(), "{effects:?}");
        flow
    }

    fn push(flow: &mut Flow, member: MemberId) -> RequestId {
        let push = Push {
            member,
            blocks: Box::default(),
            document_bytes: 10,
            lazy: true,
            journaled: true,
            complete: true,
        };
        let effects = flow.step(Input::Pushed(push), 1);
        match effects.last() {
            Some(Effect::Submit { request, .. }) => *request,
            other => panic!("{other:?}"),
        }
    }

    fn accept(flow: &mut Flow, request: RequestId, task: &str) -> Vec<Effect> {
        let task = serde_json::json!({
            "task": task, "name": "", "folder": "folder", "folder_name": "", "kind": "HEAT", "state": "queued",
            "progress": null, "error": null, "attempts": 0, "created_milliseconds": 0,
            "started_milliseconds": null, "ended_milliseconds": null,
        });
        let task = serde_json::from_value(task).unwrap();
        let members = vec![MemberAnswer::Accepted { task, new: true }];
        let answer = SubmitAnswer { batch: "batch".parse().unwrap(), last_event: 1, members };
        flow.step(Input::Submitted { request, outcome: Ok(answer) }, 2)
    }

    fn refers(effects: &[Effect]) -> bool {
        effects.iter().any(|effect| matches!(effect, Effect::Refer { member } if *member == REFERS))
    }

    #[test]
    fn it_is_made_when_the_last_of_the_others_is_a_task() {
        let mut flow = begun();
        let request = push(&mut flow, FIRST);
        assert!(!refers(&accept(&mut flow, request, "task-a")));
        let request = push(&mut flow, SECOND);
        let effects = accept(&mut flow, request, "task-b");
        let placed = effects.iter().position(|effect| matches!(effect, Effect::Placed { .. }));
        let refer = effects.iter().position(|effect| matches!(effect, Effect::Refer { .. }));
        assert!(placed.is_some() && placed < refer, "its handle has the id by then: {effects:?}");
        // What is a task already is not waited for.
        flow.step(Input::Announced { member: MemberId(3), submission: SUBMISSION }, 3);
        let effects = flow.step(Input::Refers { member: MemberId(3), needs: vec![FIRST] }, 3);
        assert!(matches!(effects[..], [Effect::Refer { member: MemberId(3) }]), "{effects:?}");
    }

    #[test]
    fn it_is_told_of_others_that_never_become_tasks() {
        let mut flow = begun();
        let error = ClientError::new(ErrorGroup::InvalidSimulation, "client.not_packable", "No.");
        assert!(!refers(&flow.step(Input::PackFailed { member: FIRST, error }, 1)));
        let cancel = Input::Wanted { member: SECOND, action: TaskAction::Cancel };
        assert!(refers(&flow.step(cancel, 2)));
        assert!(flow.referring.waiting.is_empty() && flow.referring.awaited_by.is_empty());
    }

    #[test]
    fn one_that_was_stopped_is_not_made() {
        let mut flow = begun();
        let request = push(&mut flow, FIRST);
        accept(&mut flow, request, "task-a");
        flow.step(Input::Wanted { member: REFERS, action: TaskAction::Cancel }, 2);
        let request = push(&mut flow, SECOND);
        assert!(!refers(&accept(&mut flow, request, "task-b")));
        let effects = flow.step(Input::Refers { member: REFERS, needs: Vec::new() }, 4);
        assert!(matches!(effects[..], [Effect::Unwanted { member: REFERS }]), "{effects:?}");
    }
}
