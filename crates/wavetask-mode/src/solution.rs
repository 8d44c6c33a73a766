//! What a calculation returns.

use std::collections::BTreeMap;

use serde_json::Value;
use wavetask_document::Array;

/// Modes, ready to be put into a result document.
#[derive(Clone, Debug)]
pub struct Solution {
    /// A `ModeSolverData`. Where an array belongs stands the class name that the client expects there, as in its
    /// files.
    pub data: Value,
    /// The arrays by their path below [`Self::DATA_PATH`], such as `data/0/n_complex/f`.
    pub arrays: BTreeMap<String, Array>,
    /// Lines for the task's log.
    pub log: Vec<String>,
}

impl Solution {
    /// Where the data stands among a task's data.
    pub const DATA_PATH: &str = "data/0/";
}
