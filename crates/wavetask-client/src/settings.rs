//! What the engine may use, and how patient it is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wavetask_document::Digest;

/// How to reach a server, and what the engine may use. `Settings::default()` is good for a workstation.
#[derive(Clone)]
pub struct Settings {
    /// Address of the server, such as `http://localhost:8080`; `None` is the embedded one.
    pub url: Option<String>,
    /// The key's secret; `None` is that of the embedded server.
    pub key: Option<String>,
    /// The data folder: the journal lies in `client/journal.db` within it. Default: what
    /// [`locate`](crate::locate) finds.
    pub data: PathBuf,
    /// Another file for the journal than that of the data folder. A forked child needs one: SQLite's locks belong to
    /// the process, so a file that the parent has open must not be opened again in the child.
    pub journal: Option<PathBuf>,
    /// The `wavetask` binary that starts the embedded server; `None` is `WAVETASK_BINARY`, or `wavetask` on the
    /// search path.
    pub binary: Option<PathBuf>,
    /// Bytes of arrays and documents that may wait to be sent, before [`Submission::push`](crate::Submission::push)
    /// blocks. Default: a quarter of the memory.
    pub send_budget: u64,
    /// Bytes of documents among them. Default 64 MiB, so that ten thousand small simulations stay small in memory.
    pub document_budget: u64,
    /// Bytes of packs that are on the line, encoded: it bounds how large they are made, not below 256 KiB or a single
    /// block. Default: what twelve packs of 4 MiB take.
    pub pack_budget: u64,
    /// Bytes of results kept in memory; beyond it they are fetched again when they are asked for. Default: an
    /// eighth of the memory.
    pub result_budget: u64,
    /// Bytes of result documents among them, compressed. Default 64 MiB.
    pub result_document_budget: u64,
    /// Bytes per second that may be sent, and fetched; `None` is without a limit.
    pub bandwidth: Option<u64>,
    /// How long a server that cannot be reached is waited for before tasks fail with `ConnectionLost`.
    /// Default 24 hours.
    pub patience: Duration,
    /// How long a batch that comes from another machine, and that the server waits for more of, may bring nothing new
    /// before it is taken for cut off. Default 5 minutes.
    pub abandoned_after: Duration,
    /// Results whose arrays together are at most so long come in the same answer as their documents. Default 256 KiB.
    pub inline_bytes: u64,
    /// How long finished submissions are kept in the journal. Default 7 days.
    pub keep_finished: Duration,
    /// Names the server in the journal if its address changes, as the embedded one's does. Default: made from
    /// address and key.
    pub scope: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let memory = memory_bytes();
        Self {
            url: None,
            key: None,
            data: default_data_folder(),
            journal: None,
            binary: None,
            send_budget: memory / 4,
            document_budget: 64 << 20,
            pack_budget: 48 << 20,
            result_budget: memory / 8,
            result_document_budget: 64 << 20,
            bandwidth: None,
            patience: Duration::from_secs(24 * 3600),
            abandoned_after: Duration::from_secs(5 * 60),
            inline_bytes: 256 << 10,
            keep_finished: Duration::from_secs(7 * 24 * 3600),
            scope: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("url", &self.url)
            .field("data", &self.data)
            .field("send_budget", &self.send_budget)
            .field("result_budget", &self.result_budget)
            .field("bandwidth", &self.bandwidth)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Where the journal lies.
    pub fn journal_path(&self) -> PathBuf {
        self.journal.clone().unwrap_or_else(|| self.data.join("client").join("journal.db"))
    }

    /// Names server and account in the journal without telling the key: tasks of one are not those of another.
    pub(crate) fn scope(&self) -> String {
        if let Some(scope) = &self.scope {
            return scope.clone();
        }
        let text = match &self.url {
            Some(url) => {
                format!("{}\n{}", url.trim_end_matches('/'), self.key.as_deref().unwrap_or_default())
            }
            None => {
                let folder = std::path::absolute(&self.data).unwrap_or_else(|_| self.data.clone());
                format!("folder\n{}", folder.display())
            }
        };
        Digest::of(text.as_bytes()).to_string()[..32].to_owned()
    }
}

/// The data folder that [`locate`](crate::locate) finds; a temporary one where there is no home.
fn default_data_folder() -> PathBuf {
    let surroundings = crate::locate::Surroundings::of_process();
    surroundings
        .data_folder(|path| std::fs::read_to_string(path))
        .unwrap_or_else(|_| std::env::temp_dir().join("wavetask"))
}

/// Memory that this process may use: that of the machine or of its control group; 8 GiB where nobody says.
fn memory_bytes() -> u64 {
    const FALLBACK: u64 = 8 << 30;
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
    });
    let group = std::fs::read_to_string(Path::new("/sys/fs/cgroup/memory.max"))
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    total.unwrap_or(FALLBACK).min(group.unwrap_or(u64::MAX)).max(512 << 20)
}
