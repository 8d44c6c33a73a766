//! Ids, task states, error codes and the wire types that server, worker and command line share.
//!
//! Plain data with serde: no I/O, no clocks. The native API's types live here so that a client never
//! needs the server's crate.

mod causes;
mod digest;
mod id;
pub mod native;
mod task;
pub mod worker;

pub use causes::chain;
pub use digest::{Digest, NotADigest};
pub use id::{BatchId, FolderId, KeyId, LeaseId, MAXIMUM_LENGTH, NotAnId, TaskId, WorkerId};
pub use task::{ErrorKind, Estimate, Progress, TaskError, TaskKind, TaskState, UnknownTaskKind};

/// The version of the solvers that come with this build: what a worker names with a result, and what a server
/// compares to find out whether an earlier result is what a solver would find now. To be raised with the release,
/// or by hand when a solver's results change in between.
pub const SOLVER_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "+3");
