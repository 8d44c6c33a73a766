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
mod life;
mod messages;
mod naming;
mod referring;
mod sending;
#[cfg(test)]
mod simulation;
mod submissions;

use std::collections::HashMap;
use std::time::Duration;

use wavetask_document::Digest;
use wavetask_protocol::TaskId;

use crate::status::Phase;

use acting::Acting;
use fetching::Fetching;
use following::Following;
use gate::Gate;
use naming::Naming;
use referring::Referring;
use sending::Sending;
use submissions::Submission;

pub(crate) use life::of_task;
pub(crate) use messages::{Attached, Effect, Input, Push, ResultNews};

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

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Announced, and not here yet.
    Packing,
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
    /// Whether it is to be started once it is on the server and held there.
    start: bool,
    /// Whether the server holds it.
    held: bool,
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
            start: false,
            held: false,
            refusals: 0,
            refused_since: None,
            rank: 0,
        }
    }

    /// Whether the server does not have all of it yet.
    const fn is_on_its_way(&self) -> bool {
        use Stage::{Journaling, Later, Naming, Packing, Sending, ToName};
        matches!(self.stage, Packing | Journaling | ToName | Naming | Sending | Later)
    }
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
    referring: Referring,
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
            referring: Referring::default(),
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
            Input::Opened { submission, whole } => {
                self.submissions.insert(submission, Submission::new(whole));
            }
            Input::Pushed(push) => self.pushed(push),
            Input::Announced { member, submission } => self.announced(member, submission),
            Input::Refers { member, needs } => self.refers(member, needs),
            Input::PackFailed { member, error } => self.end(member, Phase::Failed, Some(error)),
            Input::Sealed { submission } => {
                if let Some(state) = self.submissions.get_mut(&submission) {
                    state.sealed = true;
                }
                self.check_submission(submission);
            }
            Input::Adopted { member, submission } => self.adopted(member, submission),
            Input::Attached(attached) => self.attached(attached),
            Input::Wanted { member, action } => self.wanted(member, action),
            Input::LeftThere { member } => self.left_there(member),
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
}
