//! Naming members to the server in parts, and what its answers mean.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use wavetask_document::Digest;
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{ApiError, MemberAnswer, SubmitAnswer, TaskSummary};

use super::life::cancelled;
use super::submissions::Completion;
use super::{Effect, Flow, MemberId, RequestId, Stage, SubmissionId};
use crate::error::{ClientError, ErrorGroup};
use crate::server::TaskAction;
use crate::status::Phase;

/// Members of a submission's first request: few, so that the first tasks run while the rest are still named.
const FIRST: usize = 32;
/// Requests at once, of all submissions and of one.
const AT_ONCE: usize = 6;
const AT_ONCE_EACH: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Naming {
    queues: BTreeMap<SubmissionId, Queue>,
    requests: HashMap<RequestId, Request>,
    /// Refused for now: when to name them again.
    later: BTreeSet<(u64, MemberId)>,
    /// Halves of a request that was refused as a whole.
    halves: VecDeque<(SubmissionId, Vec<MemberId>)>,
    /// Sealed submissions that may have to be completed by a request without members.
    to_complete: BTreeSet<SubmissionId>,
}

#[derive(Debug, Default)]
struct Queue {
    ready: VecDeque<(MemberId, u64)>,
    bytes: u64,
    in_flight: usize,
    sent: u64,
}

#[derive(Debug)]
struct Request {
    submission: SubmissionId,
    members: Vec<MemberId>,
    complete: bool,
    /// The count of arrivals when it left: what arrived later may be missing in its answer.
    arrivals: u64,
}

impl Naming {
    pub(super) fn enqueue(&mut self, submission: SubmissionId, member: MemberId, bytes: u64) {
        let queue = self.queues.entry(submission).or_default();
        queue.ready.push_back((member, bytes));
        queue.bytes += bytes;
    }

    pub(super) fn forget(&mut self, submission: SubmissionId) {
        self.queues.remove(&submission);
        self.to_complete.remove(&submission);
    }

    /// The submission may have to be completed by a request without members.
    pub(super) fn complete_later(&mut self, submission: SubmissionId) {
        self.to_complete.insert(submission);
    }

    pub(super) fn not_to_complete(&mut self, submission: SubmissionId) {
        self.to_complete.remove(&submission);
    }

    pub(super) fn to_complete(&self) -> Vec<SubmissionId> {
        self.to_complete.iter().copied().collect()
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        self.later.first().map(|(time, _)| *time)
    }

    /// The count of arrivals when the oldest request under way left.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.requests.values().map(|request| request.arrivals).min()
    }

    pub(super) fn under_way(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Whether no request can be added.
    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= AT_ONCE
    }

    /// Whether a request of this submission is under way.
    pub(super) fn is_busy(&self, submission: SubmissionId) -> bool {
        self.queues.get(&submission).is_some_and(|queue| queue.in_flight > 0)
    }
}

impl Flow {
    pub(super) fn pump_naming(&mut self) {
        while let Some(&(time, member)) = self.naming.later.first()
            && time <= self.now
        {
            self.naming.later.pop_first();
            self.name_again(member, Stage::Later);
        }
        while self.naming.requests.len() < AT_ONCE
            && let Some((submission, members)) = self.naming.halves.pop_front()
        {
            let members = self.take_ready(&members);
            if !members.is_empty() {
                self.submit(submission, members);
            }
        }
        let submissions: Vec<_> = self.naming.queues.keys().copied().collect();
        for submission in submissions {
            while self.naming.requests.len() < AT_ONCE
                && let Some(members) = self.next_group(submission)
            {
                self.submit(submission, members);
            }
        }
        self.complete_submissions();
    }

    /// The members of the next request, if one should leave now.
    fn next_group(&mut self, submission: SubmissionId) -> Option<Vec<MemberId>> {
        let (most, most_bytes) = (self.rules.members, self.rules.document_bytes);
        let queue = self.naming.queues.get_mut(&submission)?;
        let full = queue.ready.len() >= most || queue.bytes >= most_bytes;
        if queue.ready.is_empty() || queue.in_flight >= AT_ONCE_EACH || (queue.in_flight > 0 && !full) {
            return None;
        }
        let most = if queue.sent == 0 { most.min(FIRST) } else { most };
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(&(member, length)) = queue.ready.front() {
            if taken.len() == most || (bytes + length > most_bytes && !taken.is_empty()) {
                break;
            }
            queue.ready.pop_front();
            queue.bytes -= length;
            bytes += length;
            taken.push(member);
        }
        let members = self.take_ready(&taken);
        if members.is_empty() { self.next_group(submission) } else { Some(members) }
    }

    /// Those that still wait to be named; others have been cancelled or have ended since.
    fn take_ready(&mut self, members: &[MemberId]) -> Vec<MemberId> {
        let mut ready = Vec::with_capacity(members.len());
        for id in members {
            if let Some(member) = self.members.get_mut(id)
                && member.stage == Stage::ToName
            {
                member.stage = Stage::Naming;
                member.attempted = true;
                ready.push(*id);
            }
        }
        ready
    }

    pub(super) fn submit(&mut self, submission: SubmissionId, members: Vec<MemberId>) {
        let unnamed =
            members.iter().filter(|id| self.members.get(id).is_some_and(|member| !member.named)).count();
        let queue = self.naming.queues.entry(submission).or_default();
        let alone = queue.in_flight == 0;
        queue.in_flight += 1;
        queue.sent += 1;
        let state = self.submissions.entry(submission).or_default();
        let complete = state.sealed
            && state.announced == 0
            && state.complete == Completion::Open
            && alone
            && state.unnamed == unnamed;
        if complete {
            state.complete = Completion::Telling;
        }
        let request = self.request();
        let arrivals = self.sending.arrivals();
        self.naming
            .requests
            .insert(request, Request { submission, members: members.clone(), complete, arrivals });
        self.effects.push(Effect::Submit { request, submission, members, complete });
    }

    /// Puts a member that waits at this stage back into the queue.
    pub(super) fn name_again(&mut self, id: MemberId, from: Stage) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if member.stage != from {
            return;
        }
        member.stage = Stage::ToName;
        let (submission, bytes) = (member.submission, member.document_bytes);
        if let Some(submission) = submission {
            self.naming.enqueue(submission, id, bytes);
        }
    }

    pub(super) fn submitted(&mut self, request: RequestId, outcome: Result<SubmitAnswer, ClientError>) {
        let Some(Request { submission, members, complete, arrivals }) = self.naming.requests.remove(&request)
        else {
            return;
        };
        if let Some(queue) = self.naming.queues.get_mut(&submission) {
            queue.in_flight -= 1;
        }
        match outcome {
            Ok(answer) => {
                self.went_well();
                if let Some(state) = self.submissions.get_mut(&submission) {
                    state.known = true;
                    if complete {
                        state.complete = Completion::Told;
                    }
                }
                self.follow_from(answer.last_event);
                let mut answers = answer.members.into_iter();
                for member in members {
                    match answers.next() {
                        Some(outcome) => self.member_answered(member, outcome, answer.last_event, arrivals),
                        None => self.end(member, Phase::Failed, Some(no_answer())),
                    }
                }
            }
            Err(error) => {
                if complete && let Some(state) = self.submissions.get_mut(&submission) {
                    // A completion that is refused for good is not worth a second try.
                    let for_good = members.is_empty() && !error.group.may_pass();
                    state.complete = if for_good { Completion::Told } else { Completion::Open };
                }
                self.naming_failed(submission, members, &error);
            }
        }
        self.check_submission(submission);
        self.following.forget_early(self.naming.under_way());
    }

    fn naming_failed(&mut self, submission: SubmissionId, members: Vec<MemberId>, error: &ClientError) {
        if error.group.may_pass() {
            self.trouble(error);
            for member in members {
                self.name_again(member, Stage::Naming);
            }
        } else if members.len() > 1 && error.group != ErrorGroup::Unauthorized {
            for id in &members {
                if let Some(member) = self.members.get_mut(id) {
                    member.stage = Stage::ToName;
                }
            }
            let (first, second) = members.split_at(members.len() / 2);
            self.naming.halves.push_back((submission, first.to_vec()));
            self.naming.halves.push_back((submission, second.to_vec()));
        } else {
            for member in members {
                self.end(member, Phase::Failed, Some(error.clone()));
            }
        }
    }

    fn member_answered(&mut self, id: MemberId, answer: MemberAnswer, version: u64, arrivals: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if !member.named {
            member.named = true;
            if let Some(state) =
                member.submission.and_then(|submission| self.submissions.get_mut(&submission))
            {
                state.unnamed -= 1;
            }
        }
        match answer {
            MemberAnswer::Accepted { task, new: _ } => self.accepted(id, task, version),
            MemberAnswer::Missing { task, blocks } => self.lacks(id, task, &blocks, version, arrivals),
            MemberAnswer::Refused { error, again_later } => self.refused(id, error, again_later),
            _ => self.end(id, Phase::Failed, Some(no_answer())),
        }
    }

    fn accepted(&mut self, id: MemberId, task: TaskSummary, version: u64) {
        self.becomes(id, &task.task);
        let Some(member) = self.members.get_mut(&id) else { return };
        member.stage = Stage::Placed;
        member.blocks = Box::default();
        member.seen = version;
        self.placed(id);
        self.effects.push(Effect::Placed { member: id, task: task.task.clone() });
        self.no_more_awaited(id);
        let early = self.following.early(&task.task, version);
        let cancel = self.members.get(&id).is_some_and(|member| member.cancel) && !task.state.is_final();
        self.learn(id, Box::new(task), version);
        if let Some(event) = early {
            self.learn(id, Box::new(event.task), event.sequence);
        }
        if cancel {
            self.act(TaskAction::Cancel, id);
        }
    }

    fn lacks(&mut self, id: MemberId, task: TaskId, blocks: &[Digest], version: u64, arrivals: u64) {
        self.becomes(id, &task);
        let Some(member) = self.members.get_mut(&id) else { return };
        member.seen = version;
        if member.cancel {
            member.stage = Stage::Placed;
            self.act(TaskAction::Cancel, id);
            return;
        }
        self.want_blocks(id, blocks, arrivals);
    }

    /// The member is this task.
    fn becomes(&mut self, id: MemberId, task: &TaskId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if member.task.as_ref() == Some(task) {
            return;
        }
        if let Some(before) = member.task.replace(task.clone())
            && let Some(members) = self.by_task.get_mut(&before)
        {
            members.retain(|other| *other != id);
            if members.is_empty() {
                self.by_task.remove(&before);
            }
        }
        self.by_task.entry(task.clone()).or_default().push(id);
    }

    /// Counts a member that need not be named again.
    pub(super) fn placed(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if let Some(submission) = member.submission
            && !std::mem::replace(&mut member.placed, true)
        {
            if let Some(state) = self.submissions.get_mut(&submission) {
                state.unplaced -= 1;
            }
            self.check_complete(submission);
        }
    }

    fn refused(&mut self, id: MemberId, error: ApiError, again_later: bool) {
        let error = of_answer(error, again_later);
        let patience = self.rules.patience;
        let Some(member) = self.members.get_mut(&id) else { return };
        if member.cancel {
            self.end(id, Phase::Cancelled, Some(cancelled()));
            return;
        }
        let since = *member.refused_since.get_or_insert(self.now);
        if !again_later || self.now - since > patience {
            self.end(id, Phase::Failed, Some(error));
            return;
        }
        member.stage = Stage::Later;
        member.refusals = member.refusals.saturating_add(1);
        let wait = self.gate.later(member.refusals);
        self.naming.later.insert((self.now + wait, id));
        self.effects.push(Effect::Refused { member: id, error });
    }
}

fn no_answer() -> ClientError {
    ClientError::new(ErrorGroup::Internal, "server.no_answer", "The server's answer leaves a member out.")
        .hint("Server and client may be of different versions; update both.")
}

/// Why a member was refused, by its code.
fn of_answer(error: ApiError, again_later: bool) -> ClientError {
    let group = match error.code.split(['.', '_']).next().unwrap_or_default() {
        _ if again_later => ErrorGroup::ServerBusy,
        "quota" | "disk" | "storage" => ErrorGroup::ServerBusy,
        "document" | "simulation" | "validation" | "heat" => ErrorGroup::InvalidSimulation,
        "task" => ErrorGroup::InputFailed,
        _ => ErrorGroup::Usage,
    };
    let converted = ClientError::new(group, error.code, error.message);
    match error.hint {
        Some(hint) => converted.hint(hint),
        None => converted,
    }
}
