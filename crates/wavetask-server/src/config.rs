//! What can be set about a server, with the limits at its doors.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How a server is set up. `ServerConfig::new` gives the defaults that `wavetask serve` uses.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address to listen on. Port 0 takes a free port; [`crate::Server::local_address`] says which.
    pub listen: SocketAddr,
    /// Folder of the database, the blocks, the keys and everything else that must survive.
    /// Created, readable by its owner only, if it is not there.
    pub data_folder: PathBuf,
    /// How long a worker may stay silent before its task is given to another.
    pub lease: Duration,
    /// How long an answer about a task that does not change may be held back.
    pub hold: Duration,
    /// How long the keys to one uploaded or downloaded file are good for.
    pub file_credentials: Duration,
    /// Whether callback addresses may lie on this machine or in a private network.
    pub allow_private_callbacks: bool,
    /// Whether the native API is offered beside the tidy3d protocol. Workers are served either way; the command line
    /// is not.
    pub native_api: bool,
    /// Processor cores that this server's own work (reading uploads, writing results) may use.
    pub cores: usize,
    /// Sizes and counts beyond which requests are refused or wait.
    pub limits: Limits,
}

impl ServerConfig {
    /// The default address: loopback, port 8600.
    pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8600);

    /// The defaults, for this data folder.
    pub fn new(data_folder: impl Into<PathBuf>) -> Self {
        Self {
            listen: Self::DEFAULT_LISTEN,
            data_folder: data_folder.into(),
            lease: Duration::from_secs(30),
            hold: Duration::from_secs(5),
            file_credentials: Duration::from_secs(12 * 60 * 60),
            allow_private_callbacks: false,
            native_api: true,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            limits: Limits::default(),
        }
    }
}

/// Sizes and counts beyond which requests are refused or wait.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections; more wait in the operating system's queue.
    pub connections: usize,
    /// A request's head must have come this long after the connection was opened or reused.
    pub head_timeout: Duration,
    /// A body must not pause longer than this; an answer that is not read, not longer than twice this.
    pub body_idle_timeout: Duration,
    /// Bytes of a JSON request body.
    pub json_bytes: usize,
    /// Bytes of the JSON of one part of a batch, uncompressed.
    pub submission_bytes: u64,
    /// Bytes of one uploaded file as it is sent (compressed).
    pub upload_bytes: u64,
    /// Bytes of an uploaded file after decompression.
    pub uncompressed_bytes: u64,
    /// Bytes of the JSON text of an uploaded simulation.
    pub document_bytes: u64,
    /// Bytes of one result file that a worker hands over.
    pub result_bytes: u64,
    /// Memory that reading uploads and results may use at once, in bytes; more waits.
    pub memory_bytes: u64,
    /// Free bytes that must stay on the data folder's file system; below, uploads are told to come
    /// again later. At most a sixteenth of the file system is kept back.
    pub reserve_bytes: u64,
    /// Log text kept per task, in bytes.
    pub log_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        Self {
            connections: 1024,
            head_timeout: Duration::from_secs(30),
            body_idle_timeout: Duration::from_secs(60),
            json_bytes: 1 << 20,
            submission_bytes: 64 * MIB,
            upload_bytes: 64 * GIB,
            uncompressed_bytes: 256 * GIB,
            document_bytes: 256 * MIB,
            result_bytes: 64 * GIB,
            memory_bytes: 2 * GIB,
            reserve_bytes: 256 * MIB,
            log_bytes: 4 << 20,
        }
    }
}
