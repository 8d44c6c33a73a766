//! Errors of the server as a program: what stops it from starting or serving.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The server cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened on: choose another.
    #[error("cannot listen on {address}; is another server running there? (choose another with --listen)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The data folder cannot be used: mend its permissions or choose another.
    #[error("cannot use {} in the data folder", path.display())]
    DataFolder {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store in the data folder cannot be opened: its message says what to do.
    #[error(transparent)]
    Store(#[from] wavetask_store::StoreError),
    /// The operating system gave no random bytes, without which no key is safe.
    #[error("the operating system gives no random numbers")]
    Random(#[source] std::io::Error),
}

impl ServerError {
    /// A stable code for programs and documentation.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "server.listen",
            Self::DataFolder { .. } => "server.data_folder",
            Self::Store(error) => error.code(),
            Self::Random(_) => "server.random",
        }
    }
}
