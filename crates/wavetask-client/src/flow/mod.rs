//! What to do next, for every member from its packing to its result: decisions only, no I/O.
//!
//! ```text
//!            journal            name it                send what is missing
//!  push ──► JOURNALING ──► NAMING ◄──────────── SENDING
//!                             │  accepted    blocks there ▲
//!                             │ └───── missing ───────────┘
//!                             ▼
//!                          PLACED ── events, or a look around after a gap ──► FETCHING ──► done
//! ```
//!
//! [`Flow::step`] takes one [`Input`] and the time, and answers with [`Effect`]s that the shell carries out; their
//! outcomes come back as inputs. Nothing waits for a batch: each member goes on by itself, and what many members
//! want at the same time is put into one request, because the next request of a kind leaves when the one before
//! has been answered or when it is full. So requests are few where the line is slow, and nothing lingers where it
//! is fast.
//!
//! Three rules keep this correct when answers are lost, servers restart and clients die:
//!
//! - *Everything is named by its content.* Naming a member again finds the same task, so whatever is in doubt is
//!   named again. After a transfer that broke, the members that wait for it are named again: the answer says
//!   exactly which of the blocks in flight have arrived, and only the others are sent again.
//! - *Nothing leaves before the journal has it*, so whoever comes back knows what may have left.
//! - *One bad member never sinks others.* A request that is refused as a whole is halved until the member that is
//!   at fault is alone with its error.
//!
//! Time is in milliseconds of a clock that only goes forward, and chance comes from a seed, so a simulation can
//! replay a failure.

mod acting;
mod fetching;
mod following;
mod gate;
mod naming;
mod sending;
#[cfg(test)]
mod simulation;

use std::collections::HashMap;
use std::time::Duration;

use wavetask_document::Digest;
use wavetask_protocol::native::{EventPage, SubmitAnswer, TaskAnswers, TaskSummary};
use wavetask_protocol::{ErrorKind, TaskError, TaskId, TaskState};

use crate::error::{ClientError, ErrorGroup};
use crate::server::TaskAction;
use crate::status::Phase;

use acting::Acting;
use fetching::Fetching;
use following::Following;
use gate::Gate;
use naming::Naming;
use sending::Sending;

/// A member of a submission, or a task that was opened by itself; never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MemberId(pub(crate) u64);

/// A submission within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SubmissionId(pub(crate) u64);

/// A request to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RequestId(pub(crate) u64);

/// The flow's rules.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// How long a server that cannot be reached is waited for, in milliseconds.
    pub(crate) patience: u64,
    /// Members a request may name.
    pub(crate) members: usize,
    /// Bytes of documents a request may hold.
    pub(crate) document_bytes: u64,
    /// Transfers at once.
    pub(crate) lanes: usize,
    /// Bytes of one transfer.
    pub(crate) lane_bytes: u64,
    /// Blocks of one transfer.
    pub(crate) lane_blocks: usize,
    /// Tasks of one request for results, or about many tasks.
    pub(crate) tasks: usize,
    /// Results whose arrays are fetched at once.
    pub(crate) array_lanes: usize,
    /// How long without news of unfinished tasks before they are looked at, in milliseconds.
    pub(crate) silence: u64,
    /// Times a member is named again although everything it lacked was sent, before that is called a fault.
    pub(crate) rounds: u8,
}

impl Rules {
    /// Rules for real servers.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
            members: 500,
            document_bytes: 4 << 20,
            lanes: 4,
            lane_bytes: 32 << 20,
            lane_blocks: 4_096,
            tasks: 500,
            array_lanes: 4,
            silence: 30_000,
            rounds: 8,
        }
    }
}

/// What the flow hears.
#[derive(Debug)]
pub(crate) enum Input {
    /// A submission begins.
    Opened { submission: SubmissionId },
    /// A member will be pushed, or its packing will fail.
    Announced { submission: SubmissionId },
    /// An announced member is packed.
    Pushed(Push),
    /// An announced member could not be packed.
    PackFailed { member: MemberId, submission: SubmissionId, error: ClientError },
    /// No more members come.
    Sealed { submission: SubmissionId },
    /// A task that is on the server already. `version` is the number of the last event that `summary` includes.
    /// Without a summary, `first` is done to it: looking at it or running it again.
    Attached {
        member: MemberId,
        task: TaskId,
        summary: Option<Box<TaskSummary>>,
        version: u64,
        lazy: bool,
        first: TaskAction,
    },
    /// The user wants something done to a member.
    Wanted { member: MemberId, action: TaskAction },
    /// A group of members is in the journal, or cannot be.
    Journaled { members: Vec<MemberId>, outcome: Result<(), ClientError> },
    /// The answer to [`Effect::Submit`].
    Submitted { request: RequestId, outcome: Result<SubmitAnswer, ClientError> },
    /// These blocks are durable on the server.
    Arrived { blocks: Vec<Digest> },
    /// The end of [`Effect::Send`].
    Sent { request: RequestId, outcome: Result<(), ClientError> },
    /// The answer to [`Effect::Follow`].
    Events { outcome: Result<EventPage, ClientError> },
    /// The answer to [`Effect::Act`].
    Acted { request: RequestId, outcome: Result<TaskAnswers, ClientError> },
    /// One result of [`Effect::Fetch`].
    Result { request: RequestId, task: TaskId, news: ResultNews },
    /// The end of [`Effect::Fetch`].
    Fetched { request: RequestId, outcome: Result<(), ClientError> },
    /// The end of [`Effect::FetchArrays`].
    ArraysFetched { member: MemberId, outcome: Result<(), ClientError> },
    /// Time has passed.
    Tick,
}

/// A packed member.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) member: MemberId,
    pub(crate) submission: SubmissionId,
    /// Its blocks and their lengths, each once.
    pub(crate) blocks: Box<[(Digest, u64)]>,
    /// Bytes of JSON that name it.
    pub(crate) document_bytes: u64,
    /// Whether its result stays on the server until it is asked for.
    pub(crate) lazy: bool,
    /// Whether the journal has it already.
    pub(crate) journaled: bool,
    /// Whether all of its blocks can be sent: not those whose program is gone.
    pub(crate) complete: bool,
}

/// What became of one result.
#[derive(Debug)]
pub(crate) enum ResultNews {
    /// Document and all arrays are here, or it has none.
    Whole,
    /// The document is here; its arrays are not.
    DocumentOnly,
    /// It ended without a result.
    Failed(TaskError),
    /// There is none, by this code.
    None(String),
    /// It came and cannot be read.
    Unreadable(ClientError),
}

/// What the flow wants done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Write these members into the journal, synced, in one transaction.
    Journal { members: Vec<MemberId> },
    /// Name these members. `complete` ends the submission.
    Submit { request: RequestId, submission: SubmissionId, members: Vec<MemberId>, complete: bool },
    /// Send these blocks.
    Send { request: RequestId, blocks: Vec<Digest> },
    /// Wait for events after this number.
    Follow { after: u64 },
    /// Do this to these tasks.
    Act { request: RequestId, action: TaskAction, tasks: Vec<TaskId> },
    /// Fetch the results of these tasks.
    Fetch { request: RequestId, tasks: Vec<TaskId> },
    /// Fetch the arrays of this member's result into memory, if there is room.
    FetchArrays { member: MemberId, task: TaskId },
    /// The member is a task of the server: note it, and let go of its bytes.
    Placed { member: MemberId, task: TaskId },
    /// The member has come to this station.
    Moved { member: MemberId, phase: Phase },
    /// The server said this about the member, which is now at this station.
    News { member: MemberId, phase: Phase, summary: Box<TaskSummary> },
    /// The member ended: nothing more is heard of it. Let go of its bytes.
    Ended { member: MemberId, phase: Phase, error: Option<ClientError> },
    /// The server takes the member later.
    Refused { member: MemberId, error: ClientError },
    /// All members of the submission have ended, and the server knows that it is complete.
    Finished { submission: SubmissionId },
    /// The server cannot be reached (and why), or can again.
    Connection { trouble: Option<ClientError> },
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// On its way into the journal.
    Journaling,
    /// In the queue to be named.
    ToName,
    /// In a request.
    Naming,
    /// Waits for blocks.
    Sending,
    /// Refused for now.
    Later,
    /// On the server.
    Placed,
    /// Its result is asked for.
    Fetching,
    /// Its arrays are asked for.
    FetchingArrays,
}

/// What is kept of a member while something can still happen to it.
#[derive(Debug)]
struct Member {
    submission: Option<SubmissionId>,
    stage: Stage,
    task: Option<TaskId>,
    /// Events up to this number are in what is known.
    seen: u64,
    blocks: Box<[(Digest, u64)]>,
    document_bytes: u64,
    /// Missing blocks that no transfer has taken yet.
    to_send: Vec<Digest>,
    /// Missing blocks that have not arrived.
    missing: usize,
    rounds: u8,
    fetches: u8,
    lazy: bool,
    complete: bool,
    /// Whether an answer of the server has mentioned it.
    named: bool,
    /// Whether a request that may have reached the server held it.
    attempted: bool,
    /// Whether it need not be named again.
    placed: bool,
    cancel: bool,
    /// How often it was refused for now, and since when.
    refusals: u8,
    refused_since: Option<u64>,
    /// Its place among those that send: small ones first.
    rank: u64,
}

impl Member {
    fn new(submission: Option<SubmissionId>, stage: Stage, lazy: bool) -> Self {
        Self {
            submission,
            stage,
            task: None,
            seen: 0,
            blocks: Box::default(),
            document_bytes: 0,
            to_send: Vec::new(),
            missing: 0,
            rounds: 0,
            fetches: 0,
            lazy,
            complete: false,
            named: false,
            attempted: false,
            placed: false,
            cancel: false,
            refusals: 0,
            refused_since: None,
            rank: 0,
        }
    }
}

#[derive(Debug, Default)]
struct Submission {
    sealed: bool,
    /// Members that are to come.
    announced: usize,
    /// Members that have not ended.
    active: usize,
    /// Members that no answer has mentioned yet and that have not ended.
    unnamed: usize,
    /// Members that are not on the server with all they need, and have not ended.
    unplaced: usize,
    /// Whether the server knows any member.
    known: bool,
    complete: Completion,
}

/// Whether the server knows that a submission is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Completion {
    #[default]
    Open,
    Telling,
    Told,
}

/// The state of everything that is under way.
#[derive(Debug)]
pub(crate) struct Flow {
    rules: Rules,
    now: u64,
    next_request: u64,
    members: HashMap<MemberId, Member>,
    submissions: HashMap<SubmissionId, Submission>,
    by_task: HashMap<TaskId, Vec<MemberId>>,
    to_journal: Vec<MemberId>,
    journaling: bool,
    naming: Naming,
    sending: Sending,
    following: Following,
    fetching: Fetching,
    acting: Acting,
    gate: Gate,
    effects: Vec<Effect>,
}

impl Flow {
    /// Nothing under way.
    pub(crate) fn new(rules: Rules, seed: u64) -> Self {
        Self {
            rules,
            now: 0,
            next_request: 0,
            members: HashMap::new(),
            submissions: HashMap::new(),
            by_task: HashMap::new(),
            to_journal: Vec::new(),
            journaling: false,
            naming: Naming::default(),
            sending: Sending::default(),
            following: Following::default(),
            fetching: Fetching::default(),
            acting: Acting::default(),
            gate: Gate::new(seed),
            effects: Vec::new(),
        }
    }

    /// Takes an input in, and says what is to be done.
    pub(crate) fn step(&mut self, input: Input, now: u64) -> Vec<Effect> {
        self.now = self.now.max(now);
        self.take(input);
        self.pump();
        std::mem::take(&mut self.effects)
    }

    /// When [`Input::Tick`] is due, if ever.
    pub(crate) fn next_wake(&self) -> Option<u64> {
        if let Some(opens) = self.gate.opens_at(self.now) {
            // Until then, nothing else could be done about what is due.
            return Some(opens);
        }
        let wakes = [self.naming.next_wake(), self.fetching.next_wake(), self.silence_ends()];
        wakes.into_iter().flatten().min()
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Opened { submission } => {
                self.submissions.insert(submission, Submission::default());
            }
            Input::Pushed(push) => self.pushed(push),
            Input::Announced { submission } => {
                self.submissions.entry(submission).or_default().announced += 1;
            }
            Input::PackFailed { member, submission, error } => {
                self.submissions.entry(submission).or_default().announced -= 1;
                self.effects.push(Effect::Ended { member, phase: Phase::Failed, error: Some(error) });
                self.check_complete(submission);
                self.check_finished(submission);
            }
            Input::Sealed { submission } => {
                if let Some(state) = self.submissions.get_mut(&submission) {
                    state.sealed = true;
                }
                self.check_complete(submission);
                self.check_finished(submission);
            }
            Input::Attached { member, task, summary, version, lazy, first } => {
                self.attached(member, task, summary, version, lazy, first);
            }
            Input::Wanted { member, action } => self.wanted(member, action),
            Input::Journaled { members, outcome } => self.journaled(members, outcome),
            Input::Submitted { request, outcome } => self.submitted(request, outcome),
            Input::Arrived { blocks } => {
                self.went_well();
                for block in blocks {
                    self.block_arrived(&block);
                }
            }
            Input::Sent { request, outcome } => self.sent(request, outcome),
            Input::Events { outcome } => self.heard(outcome),
            Input::Acted { request, outcome } => self.acted(request, outcome),
            Input::Result { request, task, news } => self.result_came(request, &task, news),
            Input::Fetched { request, outcome } => self.fetched(request, outcome),
            Input::ArraysFetched { member, outcome } => self.arrays_fetched(member, outcome),
            Input::Tick => {}
        }
    }

    /// Issues whatever can be issued now.
    fn pump(&mut self) {
        self.pump_journal();
        if let Some(error) = self.gate.exhausted(self.now, self.rules.patience) {
            self.give_up(&error);
        }
        if self.gate.is_open(self.now) {
            self.pump_naming();
            self.pump_sending();
            self.pump_acting();
            self.pump_following();
            self.pump_fetching();
        }
    }

    fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    fn pushed(&mut self, push: Push) {
        let Push { member, submission, blocks, document_bytes, lazy, journaled, complete } = push;
        let state = self.submissions.entry(submission).or_default();
        state.announced -= 1;
        state.active += 1;
        state.unnamed += 1;
        state.unplaced += 1;
        let stage = if journaled { Stage::ToName } else { Stage::Journaling };
        let entry = Member { blocks, document_bytes, complete, ..Member::new(Some(submission), stage, lazy) };
        self.members.insert(member, entry);
        self.effects.push(Effect::Moved { member, phase: Phase::Waiting });
        if journaled {
            self.naming.enqueue(submission, member, document_bytes);
        } else {
            self.to_journal.push(member);
        }
    }

    fn attached(
        &mut self,
        member: MemberId,
        task: TaskId,
        summary: Option<Box<TaskSummary>>,
        version: u64,
        lazy: bool,
        first: TaskAction,
    ) {
        let entry = Member {
            task: Some(task.clone()),
            seen: version,
            named: true,
            ..Member::new(None, Stage::Placed, lazy)
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

    fn pump_journal(&mut self) {
        if self.journaling || self.to_journal.is_empty() {
            return;
        }
        let count = self.to_journal.len().min(1_000);
        let members: Vec<_> = self.to_journal.drain(..count).collect();
        self.journaling = true;
        self.effects.push(Effect::Journal { members });
    }

    fn journaled(&mut self, members: Vec<MemberId>, outcome: Result<(), ClientError>) {
        self.journaling = false;
        for id in members {
            let Some(member) = self.members.get_mut(&id) else { continue };
            match &outcome {
                Ok(()) if member.cancel => self.end(id, Phase::Cancelled, Some(cancelled())),
                Ok(()) => {
                    member.stage = Stage::ToName;
                    let (submission, bytes) = (member.submission, member.document_bytes);
                    if let Some(submission) = submission {
                        self.naming.enqueue(submission, id, bytes);
                    }
                }
                Err(error) => self.end(id, Phase::Failed, Some(error.clone())),
            }
        }
    }

    /// What the server says about a task, as of this event.
    fn learn(&mut self, id: MemberId, summary: Box<TaskSummary>, version: u64) {
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
        let waits = matches!(member.stage, Stage::ToName | Stage::Naming | Stage::Sending | Stage::Later);
        if waits && !state.is_final() {
            return;
        }
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
            }
        }
    }

    /// The last thing that happens to a member.
    fn end(&mut self, id: MemberId, phase: Phase, error: Option<ClientError>) {
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
        self.effects.push(Effect::Ended { member: id, phase, error });
        if let Some(submission) = member.submission {
            if let Some(state) = self.submissions.get_mut(&submission) {
                state.active -= 1;
                if !member.named {
                    state.unnamed -= 1;
                }
                if !member.placed {
                    state.unplaced -= 1;
                }
            }
            self.check_complete(submission);
            self.check_finished(submission);
        }
    }

    fn check_finished(&mut self, submission: SubmissionId) {
        let Some(state) = self.submissions.get(&submission) else { return };
        let told = state.complete == Completion::Told || !state.known;
        if state.sealed && state.announced == 0 && state.active == 0 && told {
            self.submissions.remove(&submission);
            self.naming.forget(submission);
            self.effects.push(Effect::Finished { submission });
        }
    }

    /// The server was away for too long.
    fn give_up(&mut self, error: &ClientError) {
        let members: Vec<_> = self.members.keys().copied().collect();
        for member in members {
            self.end(member, Phase::Failed, Some(error.clone()));
        }
        let submissions: Vec<_> = self.submissions.keys().copied().collect();
        for submission in submissions {
            if let Some(state) = self.submissions.get_mut(&submission)
                && state.sealed
            {
                // Members may be on the server: the journal keeps the submission, and a repetition goes on with it.
                self.submissions.remove(&submission);
                self.naming.forget(submission);
            }
        }
    }
}

/// The error of a task that was stopped.
fn cancelled() -> ClientError {
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
