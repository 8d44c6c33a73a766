//! Batches: named sets of an account's tasks, each member under a key and with parameters to find it by.
//!
//! # Submissions
//! A batch is filled by submissions, each of which comes in parts and may be repeated. They are numbered in the
//! order in which the store first hears of them, and a member remembers which one put it there last. That makes
//! the outcome of parts that arrive late, twice, or mixed with those of another process the same every time:
//! the submission that began last wins, and a part of an earlier one changes nothing that a later one has set
//! or, when it was complete, has left out.

use std::collections::BTreeMap;

use serde_json::Value;
use wavetask_core::Timestamp;
use wavetask_protocol::{BatchId, KeyId, TaskId, TaskState};

/// A part of a submission.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberUpdate {
    /// The account.
    pub owner: KeyId,
    /// The batch's id if there is none of this name yet.
    pub batch: BatchId,
    /// The batch's name, unique within the account.
    pub name: String,
    /// Words to find it by; they replace those that it had.
    pub tags: Vec<String>,
    /// Names the submission.
    pub submission: String,
    /// Members. One of the same key takes the place of the one before.
    pub members: Vec<BatchMember>,
    /// Whether these are the last members of the submission: those that earlier submissions put there, and this
    /// one did not name, leave the batch. Their tasks stay.
    pub complete: bool,
}

/// A task in a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchMember {
    /// Its name within the batch.
    pub key: String,
    /// Its place within the batch.
    pub position: u64,
    /// The task.
    pub task: TaskId,
    /// Numbers, texts and truth values to find it by; what else there is can be read but not searched.
    pub parameters: BTreeMap<String, Value>,
}

/// Which batches to list. `Default` lists all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchFilter {
    /// Of this name.
    pub name: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// Without this tag.
    pub without_tag: Option<String>,
    /// Behind the batch of this name; none if there is no such batch.
    pub after: Option<String>,
}

/// A batch without its members.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchRecord {
    /// Its id.
    pub id: BatchId,
    /// Its name.
    pub name: String,
    /// Its tags, in the order of the alphabet.
    pub tags: Vec<String>,
    /// Whether the last submission that began has been complete.
    pub complete: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Number of its members.
    pub members: u64,
    /// How many of them are in each state.
    pub states: BTreeMap<TaskState, u64>,
}

/// A condition on a parameter of a batch's member.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterCondition {
    /// The parameter. A member without it does not satisfy the condition.
    pub name: String,
    /// How the parameter compares to the value.
    pub operator: Comparison,
    /// A number, a text or a truth value; parameters of another type do not satisfy the condition, not even
    /// `!=`. Numbers compare by value, texts by their bytes; truth values are equal or not, and nothing else.
    pub value: Value,
}

/// How a parameter compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}
