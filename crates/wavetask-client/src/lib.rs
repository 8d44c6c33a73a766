//! The engine: hundreds of simulations packed, submitted, sent, watched and fetched at once.
//!
//! ```text
//!  Client ── submit ──► Batch ── tasks ──► Task      what its user holds: cheap clones, usable from any thread
//!    │                                       ▲
//!    ▼                                       │ news
//!  flow (pure: what to do next) ◄─► engine (does it) ──► journal (SQLite: what must survive)
//!                                     │
//!                                     ▼
//!                                  Server (trait): native API, or the plain tidy3d protocol
//! ```

mod batch;
mod client;
mod connect;
pub mod embedded;
mod engine;
pub mod error;
mod flow;
pub mod http;
mod journal;
pub mod limits;
pub mod locate;
pub mod member;
mod opening;
pub mod plain;
mod result;
pub mod server;
mod settings;
#[cfg(feature = "shaping")]
pub mod shaping;
mod signal;
mod status;
mod submission;
mod task;

pub use batch::{Batch, Completed, Subscription};
pub use client::{Client, Opened};
pub use error::{ClientError, ErrorGroup};
pub use journal::JournalRest;
pub use member::{ArrayBytes, PackedSimulation};
pub use result::{ArrayData, ResultDocument};
pub use server::{Server, Told};
pub use settings::Settings;
pub use status::{Phase, TaskStatus};
pub use submission::{MemberOptions, Pending, Submission, SubmissionOptions};
pub use task::Task;
