//! A submission as a whole: when the server is told that it is complete, and how it ends.
//!
//! It *finishes* when something has been decided about each of its members: from then on, the same script run again
//! is a new submission. It is *cut off* when members have ended for now only, because their bytes are in a program
//! that is gone, or because the server was away, or does not take them: then the journal keeps it as unfinished, and
//! a repetition goes on with it, under the same nonce.

use super::{Effect, Flow, Member, MemberId, Stage, SubmissionId};
use crate::error::ClientError;
use crate::status::Phase;

#[derive(Debug, Default)]
pub(super) struct Submission {
    pub(super) sealed: bool,
    /// Members that are to come.
    pub(super) announced: usize,
    /// Members that the journal is to have and does not have yet.
    pub(super) unwritten: usize,
    /// Members that have not ended.
    pub(super) active: usize,
    /// Members that no answer has mentioned yet and that have not ended.
    pub(super) unnamed: usize,
    /// Members that are not on the server with all they need, and have not ended.
    pub(super) unplaced: usize,
    /// Whether the server knows any member.
    pub(super) known: bool,
    pub(super) complete: Completion,
    /// Whether members have ended for now only.
    pub(super) cut_off: bool,
    /// Whether it has been said that all members are in the journal.
    written: bool,
}

/// Whether the server knows that a submission is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Completion {
    #[default]
    Open,
    Telling,
    Told,
}

impl Submission {
    pub(super) fn new(whole: bool) -> Self {
        let mut submission = Self { cut_off: !whole, written: !whole, ..Self::default() };
        if !whole {
            submission.partly_named();
        }
        submission
    }

    /// Some members were named by another process and are not named again here, or are not known here: so it cannot
    /// be said here which are all of them, and those that the server misses in what is said would leave the batch.
    pub(super) const fn partly_named(&mut self) {
        self.complete = Completion::Told;
    }
}

impl Flow {
    /// Looks what a change of one of its members means for the submission.
    pub(super) fn check_submission(&mut self, submission: SubmissionId) {
        self.check_complete(submission);
        self.check_written(submission);
        self.check_over(submission);
    }

    /// Looks whether the submission should be completed now.
    pub(super) fn check_complete(&mut self, submission: SubmissionId) {
        if let Some(state) = self.submissions.get(&submission)
            && state.sealed
            && state.announced == 0
            && state.unplaced == 0
            && state.known
            && state.complete == Completion::Open
        {
            self.naming.complete_later(submission);
        }
    }

    /// Ends submissions whose members are all placed without a request that could say so.
    pub(super) fn complete_submissions(&mut self) {
        for submission in self.naming.to_complete() {
            let Some(state) = self.submissions.get(&submission) else {
                self.naming.forget(submission);
                continue;
            };
            let open = state.unplaced > 0 || state.announced > 0 || !state.sealed;
            if open || self.naming.is_busy(submission) || self.naming.is_full() {
                continue;
            }
            let untold = state.known && state.complete == Completion::Open;
            self.naming.not_to_complete(submission);
            if untold {
                self.submit(submission, Vec::new());
            }
        }
    }

    /// Looks whether all members are in the journal.
    pub(super) fn check_written(&mut self, submission: SubmissionId) {
        if let Some(state) = self.submissions.get_mut(&submission)
            && state.sealed
            && state.announced == 0
            && state.unwritten == 0
            && !std::mem::replace(&mut state.written, true)
        {
            self.effects.push(Effect::Written { submission });
        }
    }

    /// Looks whether all members have ended.
    fn check_over(&mut self, submission: SubmissionId) {
        let Some(state) = self.submissions.get(&submission) else { return };
        let told = state.complete == Completion::Told || !state.known || state.cut_off;
        if state.sealed && state.announced == 0 && state.active == 0 && told {
            let cut_off = state.cut_off;
            self.let_go(submission, cut_off);
        }
    }

    fn let_go(&mut self, submission: SubmissionId, cut_off: bool) {
        self.submissions.remove(&submission);
        self.naming.forget(submission);
        let effect = if cut_off { Effect::CutOff { submission } } else { Effect::Finished { submission } };
        self.effects.push(effect);
    }

    /// The server was away for too long.
    pub(super) fn give_up(&mut self, error: &ClientError) {
        // Those that are packed have not waited for it.
        let waits = |(_, member): &(&MemberId, &Member)| member.stage != Stage::Packing;
        let members: Vec<_> = self.members.iter().filter(waits).map(|(id, _)| *id).collect();
        for member in members {
            self.end(member, Phase::Failed, Some(error.clone()));
        }
        // Members may be on the server: the journal keeps the submission, and a repetition goes on with it.
        let over = |state: &Submission| state.sealed && state.announced == 0;
        let submissions: Vec<_> =
            self.submissions.iter().filter(|(_, state)| over(state)).map(|(id, _)| *id).collect();
        for submission in submissions {
            self.let_go(submission, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wavetask_protocol::TaskId;
    use wavetask_protocol::native::{EventPage, SubmitAnswer, TaskEvent};

    use super::*;
    use crate::error::ErrorGroup;
    use crate::flow::{Input, Push, Rules};
    use crate::server::TaskAction;

    fn push(member: MemberId) -> Input {
        Input::Pushed(Push {
            member,
            blocks: Box::default(),
            document_bytes: 10,
            lazy: false,
            journaled: true,
            complete: true,
        })
    }

    fn away(request: crate::flow::RequestId) -> Input {
        let error = ClientError::new(ErrorGroup::ConnectionLost, "connection.lost", "Nobody answers.");
        Input::Submitted { request, outcome: Err(error) }
    }

    fn begun(members: u64) -> (Flow, SubmissionId) {
        let mut flow = Flow::new(Rules::new(Duration::from_secs(10)), 1);
        let submission = SubmissionId(1);
        flow.step(Input::Opened { submission, whole: true }, 0);
        for member in 0..members {
            flow.step(Input::Announced { member: MemberId(member), submission }, 0);
        }
        flow.step(Input::Sealed { submission }, 0);
        (flow, submission)
    }

    /// Members that are still being packed outlive the end of the engine's patience, and are counted right.
    #[test]
    fn what_comes_after_the_server_was_given_up_is_tried_anew() {
        let (mut flow, submission) = begun(2);
        let effects = flow.step(push(MemberId(0)), 1);
        let Some(Effect::Submit { request, .. }) = effects.last() else { panic!("{effects:?}") };
        flow.step(away(*request), 2);
        // Each try once the gate opens, until the patience is over.
        let mut ended = Vec::new();
        for now in (1_000..60_000).step_by(1_000) {
            let mut effects = flow.step(Input::Tick, now);
            while let Some(effect) = effects.pop() {
                match effect {
                    Effect::Submit { request, .. } => effects.extend(flow.step(away(request), now)),
                    Effect::Ended { member, .. } => ended.push(member),
                    Effect::CutOff { .. } | Effect::Finished { .. } => panic!("a member is still to come"),
                    _ => {}
                }
            }
        }
        assert_eq!(ended, [MemberId(0)]);
        let effects = flow.step(push(MemberId(1)), 60_000);
        let named =
            |effect: &Effect| matches!(effect, Effect::Submit { members, .. } if *members == [MemberId(1)]);
        assert!(effects.iter().any(named), "{effects:?}");
        let error = ClientError::new(ErrorGroup::Usage, "test.refused", "No.");
        let Some(Effect::Submit { request, .. }) = effects.last() else { panic!("{effects:?}") };
        let effects = flow.step(Input::Submitted { request: *request, outcome: Err(error) }, 60_001);
        let over = |effect: &Effect| matches!(effect, Effect::CutOff { submission: id } if *id == submission);
        assert!(effects.iter().any(over), "the first goes on when the script is run again: {effects:?}");
    }

    fn summary(member: MemberId, state: &str) -> wavetask_protocol::native::TaskSummary {
        let task = serde_json::json!({
            "task": format!("task-{}", member.0), "name": "", "folder": "folder-1", "folder_name": "default",
            "kind": "HEAT", "state": state, "attempts": 0, "created_milliseconds": 0,
        });
        serde_json::from_value(task).unwrap()
    }

    /// The answer that takes a member in, which is in this state then.
    fn accepted(flow: &mut Flow, effects: &[Effect], state: &str, now: u64) -> Vec<Effect> {
        let Some(Effect::Submit { request, members, .. }) = effects.last() else { panic!("{effects:?}") };
        let answer = |member: &MemberId| {
            let task = summary(*member, state);
            wavetask_protocol::native::MemberAnswer::Accepted { task, new: true }
        };
        let members = members.iter().map(answer).collect();
        let answer = SubmitAnswer { batch: "batch-1".parse().unwrap(), members, last_event: 1 };
        flow.step(Input::Submitted { request: *request, outcome: Ok(answer) }, now)
    }

    fn started(effects: &[Effect]) -> Vec<TaskId> {
        let starts = |effect: &Effect| match effect {
            Effect::Act { action: TaskAction::Start, tasks, .. } => tasks.clone(),
            _ => Vec::new(),
        };
        effects.iter().flat_map(starts).collect()
    }

    /// The wish to start a member is kept until the server has the member, wherever it is until then.
    #[test]
    fn what_is_started_before_the_server_has_it_starts_then() {
        let start = || Input::Wanted { member: MemberId(0), action: TaskAction::Start };
        for while_packed in [true, false] {
            let (mut flow, _) = begun(1);
            if while_packed {
                assert!(started(&flow.step(start(), 1)).is_empty());
            }
            let effects = flow.step(push(MemberId(0)), 2);
            if !while_packed {
                assert!(started(&flow.step(start(), 3)).is_empty());
            }
            let effects = accepted(&mut flow, &effects, "validated", 4);
            assert_eq!(started(&effects), ["task-0".parse().unwrap()], "{effects:?}");
        }
        // A server may check it only after it has taken it in.
        let (mut flow, _) = begun(1);
        let effects = flow.step(push(MemberId(0)), 2);
        flow.step(start(), 3);
        assert!(started(&accepted(&mut flow, &effects, "draft", 4)).is_empty());
        let now_in = |flow: &mut Flow, sequence: u64, state: &str| {
            let task = summary(MemberId(0), state);
            let event = TaskEvent { sequence, at_milliseconds: 0, state: task.state, task };
            let page = EventPage { events: vec![event], last: sequence };
            started(&flow.step(Input::Events { outcome: Ok(page) }, 4 + sequence))
        };
        assert!(now_in(&mut flow, 2, "validating").is_empty());
        assert_eq!(now_in(&mut flow, 3, "validated"), ["task-0".parse().unwrap()]);
        // Nobody wants it, or nobody any more.
        for wishes in [&[][..], &[TaskAction::Start, TaskAction::Cancel]] {
            let (mut flow, _) = begun(1);
            let effects = flow.step(push(MemberId(0)), 2);
            for action in wishes {
                flow.step(Input::Wanted { member: MemberId(0), action: *action }, 3);
            }
            let effects = accepted(&mut flow, &effects, "validated", 4);
            assert!(started(&effects).is_empty(), "{effects:?}");
        }
    }

    /// A result that others are made of stays where it is, whenever that becomes known before it is there.
    #[test]
    fn what_others_are_made_of_is_not_fetched_unasked() {
        let left = || Input::LeftThere { member: MemberId(0) };
        for known in [None, Some(0), Some(1), Some(2)] {
            let (mut flow, _) = begun(1);
            let tell = |flow: &mut Flow, at| (known == Some(at)).then(|| flow.step(left(), at));
            tell(&mut flow, 0);
            let effects = flow.step(push(MemberId(0)), 1);
            tell(&mut flow, 1);
            accepted(&mut flow, &effects, "running", 2);
            tell(&mut flow, 2);
            let task = summary(MemberId(0), "success");
            let event = TaskEvent { sequence: 2, at_milliseconds: 0, state: task.state, task };
            let page = EventPage { events: vec![event], last: 2 };
            let effects = flow.step(Input::Events { outcome: Ok(page) }, 3);
            let fetched = effects.iter().any(|effect| matches!(effect, Effect::Fetch { .. }));
            let done = |effect: &Effect| matches!(effect, Effect::Ended { phase: Phase::Done, .. });
            assert_eq!((fetched, effects.iter().any(done)), (known.is_none(), known.is_some()), "{known:?}");
        }
    }

    #[test]
    fn a_member_can_be_stopped_while_it_is_packed() {
        let (mut flow, _) = begun(2);
        let cancel = Input::Wanted { member: MemberId(0), action: TaskAction::Cancel };
        let effects = flow.step(cancel, 1);
        let ended = |effect: &Effect| {
            matches!(effect, Effect::Ended { member: MemberId(0), phase: Phase::Cancelled, .. })
        };
        assert!(effects.iter().any(ended), "{effects:?}");
        let effects = flow.step(push(MemberId(0)), 2);
        assert!(matches!(effects[..], [Effect::Unwanted { member: MemberId(0) }]), "{effects:?}");
        let cancel = Input::Wanted { member: MemberId(1), action: TaskAction::Cancel };
        let effects = flow.step(cancel, 3);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Finished { .. })), "{effects:?}");
    }
}
