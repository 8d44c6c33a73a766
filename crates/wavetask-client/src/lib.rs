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

pub mod error;
pub mod member;
pub mod server;

pub use error::{ClientError, ErrorGroup};
pub use member::{ArrayBytes, PackedSimulation};
pub use server::Server;
