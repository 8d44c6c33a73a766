//! Leases tasks, runs each in a solver child process and hands the result to the server.
//!
//! ```text
//!  server ──lease──► worker ──spawn──► solver child (one per task; small ones share, one after the other)
//!    ▲  ◄─heartbeat──  │  ◄─JSON lines── progress, log, error
//!    └────result───────┘  ◄─HDF5 file─── result (temporary file, then renamed)
//! ```
//!
//! Why processes and not threads: a solver that crashes, runs out of memory or must be stopped takes
//! nothing with it but itself. A thread cannot be killed, and an allocation that fails ends the process
//! it happens in.
//!
//! What to do is decided by functions over plain data ([`decide`], [`room`], [`mod@line`]); the rest carries
//! it out: `process` starts and kills children, `client` speaks HTTP, `journey` takes one task from its
//! lease to its end, `worker` runs as many journeys as there is room for; `crew` and `shipment` do the same for many
//! small tasks in a row.

mod client;
mod crew;
pub mod decide;
mod evaluation;
mod journey;
mod leases;
pub mod line;
pub mod machine;
mod orphans;
pub mod process;
mod remote_blocks;
mod report;
pub mod room;
mod scratch;
mod shipment;
pub mod solve;
pub mod support;
mod work_folder;
mod worker;

pub use worker::{WorkerConfig, WorkerError, run};
