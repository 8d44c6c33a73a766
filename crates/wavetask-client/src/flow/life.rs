//! A member's life: how it comes, what is learnt of it, and its end.

use std::collections::BTreeSet;

use wavetask_protocol::native::TaskSummary;
use wavetask_protocol::{ErrorKind, TaskError, TaskState};

use super::{Attached, Effect, Flow, Member, MemberId, Push, Stage, SubmissionId};
use crate::error::{ClientError, ErrorGroup};
use crate::server::TaskAction;
use crate::status::Phase;

impl Flow {
    /// A member that is still to be packed: it can be stopped from here on.
    pub(super) fn announced(&mut self, member: MemberId, submission: SubmissionId) {
        self.submissions.entry(submission).or_default().announced += 1;
        self.members.insert(member, Member::new(Some(submission), Stage::Packing, false));
    }

    pub(super) fn pushed(&mut self, push: Push) {
        let Push { member, blocks, document_bytes, lazy, journaled, complete } = push;
        let packing = self.members.get(&member).filter(|member| member.stage == Stage::Packing);
        let announced = packing.and_then(|member| Some((member.submission?, member.start, member.lazy)));
        let Some((submission, start, left)) = announced else {
            self.effects.push(Effect::Unwanted { member });
            return;
        };
        let state = self.submissions.entry(submission).or_default();
        state.announced -= 1;
        state.active += 1;
        state.unnamed += 1;
        state.unplaced += 1;
        state.unwritten += usize::from(!journaled);
        let stage = if journaled { Stage::ToName } else { Stage::Journaling };
        let fresh = Member::new(Some(submission), stage, lazy || left);
        let entry = Member { blocks, document_bytes, complete, start, ..fresh };
        self.members.insert(member, entry);
        self.effects.push(Effect::Moved { member, phase: Phase::Waiting });
        if journaled {
            self.naming.enqueue(submission, member, document_bytes);
        } else {
            self.to_journal.push(member);
        }
    }

    /// What is being fetched already comes all the same.
    pub(super) fn left_there(&mut self, member: MemberId) {
        if let Some(member) = self.members.get_mut(&member) {
            member.lazy = true;
        }
    }

    pub(super) fn attached(&mut self, attached: Attached) {
        let Attached { member, submission, task, summary, version, lazy, first } = attached;
        if let Some(submission) = submission {
            let state = self.submissions.entry(submission).or_default();
            state.active += 1;
            state.partly_named();
        }
        let entry = Member {
            task: Some(task.clone()),
            seen: version,
            named: true,
            placed: true,
            ..Member::new(submission, Stage::Placed, lazy)
        };
        self.members.insert(member, entry);
        self.by_task.entry(task.clone()).or_default().push(member);
        match summary {
            Some(summary) => {
                self.follow_from(version);
                self.learn(member, summary, version);
            }
            None => self.act(first, member),
        }
    }

    /// What is followed counts in the submission that is gone on with.
    pub(super) fn adopted(&mut self, member: MemberId, submission: SubmissionId) {
        if let Some(member) = self.members.get_mut(&member)
            && member.submission.is_none()
        {
            member.submission = Some(submission);
            let state = self.submissions.entry(submission).or_default();
            state.active += 1;
            state.partly_named();
        }
    }

    pub(super) fn pump_journal(&mut self) {
        if self.journaling || self.to_journal.is_empty() {
            return;
        }
        let count = self.to_journal.len().min(1_000);
        let members: Vec<_> = self.to_journal.drain(..count).collect();
        self.journaling = true;
        self.effects.push(Effect::Journal { members });
    }

    pub(super) fn journaled(&mut self, members: Vec<MemberId>, outcome: Result<(), ClientError>) {
        self.journaling = false;
        let mut submissions = BTreeSet::new();
        for id in members {
            let Some(member) = self.members.get_mut(&id) else { continue };
            if let Some(submission) = member.submission
                && let Some(state) = self.submissions.get_mut(&submission)
            {
                state.unwritten -= 1;
                submissions.insert(submission);
            }
            member.stage = Stage::ToName;
            match &outcome {
                Ok(()) if member.cancel => self.end(id, Phase::Cancelled, Some(cancelled())),
                Ok(()) => {
                    let (submission, bytes) = (member.submission, member.document_bytes);
                    if let Some(submission) = submission {
                        self.naming.enqueue(submission, id, bytes);
                    }
                }
                Err(error) => self.end(id, Phase::Failed, Some(error.clone())),
            }
        }
        for submission in submissions {
            self.check_written(submission);
        }
    }

    /// What the server says about a task, as of this event.
    pub(super) fn learn(&mut self, id: MemberId, summary: Box<TaskSummary>, version: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.seen = member.seen.max(version);
        let lazy = member.lazy;
        let phase = match summary.state {
            TaskState::Draft if member.stage == Stage::Sending => Phase::Uploading,
            TaskState::Validated => Phase::Held,
            TaskState::Running | TaskState::Publishing | TaskState::Aborting => Phase::Running,
            TaskState::Success | TaskState::Diverged if lazy => Phase::Done,
            TaskState::Success | TaskState::Diverged => Phase::Fetching,
            TaskState::Error | TaskState::Deleted => Phase::Failed,
            TaskState::Aborted => Phase::Cancelled,
            _ => Phase::Queued,
        };
        let task = summary.task.clone();
        let error = summary.error.clone();
        let state = summary.state;
        // While it is fetched, repetitions of the same news change nothing.
        if matches!(member.stage, Stage::Fetching | Stage::FetchingArrays) && phase == Phase::Fetching {
            return;
        }
        if member.is_on_its_way() && !state.is_final() {
            return;
        }
        // A server may have to check it before it can be started: until then the wish is kept.
        member.held = phase == Phase::Held;
        let start = member.held && std::mem::take(&mut member.start) && !member.cancel;
        self.effects.push(Effect::News { member: id, phase, summary });
        match phase {
            Phase::Done => self.end(id, Phase::Done, None),
            Phase::Fetching => self.want_result(id),
            Phase::Cancelled => self.end(id, phase, Some(cancelled().task(task))),
            Phase::Failed => {
                let error = match error {
                    Some(error) if state == TaskState::Error => of_task(error),
                    _ => ClientError::new(ErrorGroup::NotFound, "task.deleted", "The task was deleted."),
                };
                self.end(id, phase, Some(error.task(task)));
            }
            _ => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.stage = Stage::Placed;
                }
                if start {
                    self.act(TaskAction::Start, id);
                }
            }
        }
    }

    /// The last thing that happens to a member.
    pub(super) fn end(&mut self, id: MemberId, phase: Phase, error: Option<ClientError>) {
        let Some(member) = self.members.remove(&id) else { return };
        self.forget_blocks(id, &member);
        if let Some(task) = &member.task
            && let Some(members) = self.by_task.get_mut(task)
        {
            members.retain(|other| *other != id);
            if members.is_empty() {
                self.by_task.remove(task);
            }
        }
        let error = match (error, member.task) {
            (Some(error), Some(task)) if error.task.is_none() => Some(error.task(task)),
            (error, _) => error,
        };
        let for_now = phase == Phase::WaitingForData || error.as_ref().is_some_and(ClientError::is_resumable);
        self.effects.push(Effect::Ended { member: id, phase, error });
        self.no_more_awaited(id);
        if let Some(submission) = member.submission {
            if let Some(state) = self.submissions.get_mut(&submission) {
                state.cut_off |= for_now;
                if member.stage == Stage::Packing {
                    state.announced -= 1;
                    self.check_submission(submission);
                    return;
                }
                state.active -= 1;
                // It has gone nowhere, whatever becomes of the journal's write.
                state.unwritten -= usize::from(member.stage == Stage::Journaling);
                if !member.named {
                    state.unnamed -= 1;
                }
                if !member.placed {
                    state.unplaced -= 1;
                }
            }
            self.check_submission(submission);
        }
    }
}

/// The error of a task that was stopped.
pub(super) fn cancelled() -> ClientError {
    ClientError::new(ErrorGroup::Cancelled, "task.aborted", "The task was cancelled.")
        .hint("retry() runs it again")
}

/// A task's error in the engine's words.
pub(crate) fn of_task(error: TaskError) -> ClientError {
    let group = match error.kind {
        ErrorKind::Validation => ErrorGroup::InvalidSimulation,
        ErrorKind::Solver => ErrorGroup::SolverFailed,
        ErrorKind::Dependency => ErrorGroup::InputFailed,
        _ => ErrorGroup::Infrastructure,
    };
    ClientError::new(group, error.code, error.message)
}
