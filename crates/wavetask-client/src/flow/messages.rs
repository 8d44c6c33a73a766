//! What the flow hears, and what it wants done.

use wavetask_document::Digest;
use wavetask_protocol::native::{EventPage, SubmitAnswer, TaskAnswers, TaskSummary};
use wavetask_protocol::{TaskError, TaskId};

use super::{MemberId, RequestId, SubmissionId};
use crate::error::ClientError;
use crate::server::TaskAction;
use crate::status::Phase;

/// What the flow hears.
#[derive(Debug)]
pub(crate) enum Input {
    /// A submission begins. `whole` says whether all of its members will come, not only those that are known of
    /// one that was cut off.
    Opened { submission: SubmissionId, whole: bool },
    /// A member will be pushed, or its packing will fail.
    Announced { member: MemberId, submission: SubmissionId },
    /// An announced member is packed.
    Pushed(Push),
    /// An announced member is made when these others are tasks.
    Refers { member: MemberId, needs: Vec<MemberId> },
    /// An announced member could not be packed.
    PackFailed { member: MemberId, error: ClientError },
    /// No more members come.
    Sealed { submission: SubmissionId },
    /// A task that is on the server already.
    Attached(Attached),
    /// A task that is followed is a member of this submission, unless it has ended.
    Adopted { member: MemberId, submission: SubmissionId },
    /// The user wants something done to a member.
    Wanted { member: MemberId, action: TaskAction },
    /// The result of a member is what others are made of: it stays on the server until it is asked for.
    LeftThere { member: MemberId },
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

/// A task that is on the server already.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) member: MemberId,
    /// The submission that it is a member of, if that is gone on with here.
    pub(crate) submission: Option<SubmissionId>,
    pub(crate) task: TaskId,
    /// What the server says of it, and the number of the last event that this includes. Without it, `first` is done
    /// to the task: looking at it or running it again.
    pub(crate) summary: Option<Box<TaskSummary>>,
    pub(crate) version: u64,
    /// Whether its result stays on the server until it is asked for.
    pub(crate) lazy: bool,
    pub(crate) first: TaskAction,
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
    /// Make this member: those that it refers to are tasks now, or have ended.
    Refer { member: MemberId },
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
    /// The member ended while it was packed: let go of its bytes.
    Unwanted { member: MemberId },
    /// The server takes the member later.
    Refused { member: MemberId, error: ClientError },
    /// No more members of the submission come, and all that could be written are in the journal.
    Written { submission: SubmissionId },
    /// All members of the submission have ended, and something has been decided about each.
    Finished { submission: SubmissionId },
    /// All members have ended here, but some for now only: a repetition of the submission goes on with it.
    CutOff { submission: SubmissionId },
    /// The server cannot be reached (and why), or can again.
    Connection { trouble: Option<ClientError> },
}
