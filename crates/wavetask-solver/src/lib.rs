//! What every solver shares towards its caller, whatever it computes.
//!
//! A solver takes JSON and arrays and says one of three things: what it will cost ([`Estimate`]), why it will not be
//! done ([`Refused`], with every reason at once), or, while it runs, where it stands ([`Controls`], [`Progress`]). An
//! engineer who sends a scene to two solvers reads the same words from both, because both read it with one
//! [`Reader`]. Nothing here knows physics, tasks, files or sockets.

mod controls;
mod estimate;
mod fields;
mod refusal;

pub use controls::{Controls, Progress};
pub use estimate::Estimate;
pub use fields::{LARGEST, Reader, class_of, join, present};
pub use refusal::{Refusal, Refused};
