//! Finding the server that is meant, and connecting.

use std::path::{Path, PathBuf};

use wavetask_client::embedded;
use wavetask_client::locate::{Place, Surroundings, locate};
use wavetask_client::{Client, ClientError, Settings};

use crate::process;

/// What Python gave to find the server by.
#[derive(Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) url: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) data: Option<PathBuf>,
    pub(crate) bandwidth: Option<String>,
    pub(crate) memory: Option<String>,
}

/// Keys are not shown.
impl std::fmt::Debug for Wanted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Wanted")
            .field("url", &self.url)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

impl Wanted {
    /// Which server is meant, by arguments, environment and files.
    pub(crate) fn place(self) -> Result<Place, ClientError> {
        locate(&self.surroundings(), |path: &Path| std::fs::read_to_string(path))
    }

    fn surroundings(self) -> Surroundings {
        let Self { url, key, data, bandwidth, memory } = self;
        Surroundings { url, key, data, bandwidth, memory, ..Surroundings::of_process() }
    }
}

/// Names a server without its key: its address, or the data folder whose server it is.
pub(crate) fn name(place: &Place) -> (&'static str, String) {
    match place {
        Place::Address { url, .. } => ("url", url.clone()),
        Place::Folder { data, .. } => {
            let folder = std::path::absolute(data).unwrap_or_else(|_| data.clone());
            ("data", folder.to_string_lossy().into_owned())
        }
    }
}

/// Connects; starts the server of a data folder if none answers there, with this binary unless the environment names
/// another. Also gives the address.
pub(crate) fn connect(wanted: Wanted, binary: Option<PathBuf>) -> Result<(Client, String), ClientError> {
    let named = std::env::var_os("WAVETASK_BINARY").filter(|name| !name.is_empty()).map(PathBuf::from);
    let mut settings = Settings { binary: named.or(binary), ..Settings::located(&wanted.surroundings())? };
    if process::is_forked() {
        settings.journal = Some(journal_of_a_child(&settings));
    }
    let folder = settings.data.clone();
    let url = settings.url.clone();
    let client = Client::connect(settings)?;
    let url = match url {
        Some(url) => url,
        None => embedded::find(&folder).map_or_else(String::new, |address| address.url),
    };
    Ok((client, url))
}

/// A journal for a forked child: that of the data folder may be open in its parent, and SQLite's locks belong to a
/// process. Those that nobody has touched for as long as finished submissions are kept are removed.
fn journal_of_a_child(settings: &Settings) -> PathBuf {
    let folder = settings.data.join("client").join("forked");
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let touched = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let age = touched.and_then(|touched| touched.elapsed().ok());
        if age.is_some_and(|age| age > settings.keep_finished) {
            // Another child may have been quicker.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    folder.join(format!("{}.db", std::process::id()))
}
