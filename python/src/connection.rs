//! Finding the server that is meant, and connecting.

use std::path::{Path, PathBuf};

use wavetask_client::embedded;
use wavetask_client::locate::{Place, Surroundings, locate};
use wavetask_client::{Client, ClientError, Settings};

/// What Python gave to find the server by.
#[derive(Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) url: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) data: Option<PathBuf>,
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
        let Self { url, key, data } = self;
        Surroundings { url, key, data, ..Surroundings::of_process() }
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
    let settings = Settings { binary: named.or(binary), ..Settings::located(&wanted.surroundings())? };
    let folder = settings.data.clone();
    let url = settings.url.clone();
    let client = Client::connect(settings)?;
    let url = match url {
        Some(url) => url,
        None => embedded::find(&folder).map_or_else(String::new, |address| address.url),
    };
    Ok((client, url))
}
