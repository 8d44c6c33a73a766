//! A submission as a whole: when the server is told that it is complete, and how it ends.
//!
//! It *finishes* when something has been decided about each of its members: from then on, the same script run again
//! is a new submission. It is *cut off* when members have ended for now only, because their bytes are in a program
//! that is gone, or because the server was away, or does not take them: then the journal keeps it as unfinished, and
//! a repetition goes on with it, under the same nonce.

use super::{Effect, Flow, SubmissionId};
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
    /// Some members were named by another process, and are not named again here: so it cannot be said here which are
    /// all of them, and members that the server misses in what is said would leave the batch.
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
        let members: Vec<_> = self.members.keys().copied().collect();
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
