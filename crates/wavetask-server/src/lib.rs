//! The tidy3d door, the native door and the scheduler behind them, on one port.
//!
//! ```text
//!  unmodified tidy3d client ──► /tidy3d/… (JSON) and /wavetask/… (S3) ┐
//!  worker                   ──► /api/v1/worker/…                     ├─► store (tasks, events, blocks)
//!  command line             ──► /api/v1/…                            ┘
//! ```
//!
//! The data folder holds everything that survives, among it three files that other programs of the same
//! user read: [`KEY_FILE`] (the first key, made at the first start), [`WORKER_KEY_FILE`] (what workers
//! show) and [`ADDRESS_FILE`] (where the server answers, while it runs).

mod activity;
mod answer;
mod app;
mod body;
mod budget;
mod callback;
mod care;
mod config;
mod connection;
mod disk;
mod documents;
mod downloads;
mod error;
mod extract;
mod files;
mod gzip;
mod kept_blocks;
mod logs;
mod native;
mod quota;
mod references;
mod s3;
mod secret;
mod server;
mod small_results;
mod staging;
mod tidy3d;
mod validation;
mod validator;
mod watch;
mod workers;

pub use activity::Activity;
pub use config::{Limits, ServerConfig};
pub use error::ServerError;
pub use server::Server;
pub use validator::{Refusal, Validator};

/// File in the data folder with the first key, one line of text, readable by its owner only.
pub const KEY_FILE: &str = "key";
/// File in the data folder with the key that workers show, one line of text, readable by its owner only.
pub const WORKER_KEY_FILE: &str = "worker.key";
/// File in the data folder with the address of the running server, one line such as
/// `http://127.0.0.1:8600`; removed when the server stops cleanly.
pub const ADDRESS_FILE: &str = "address";
