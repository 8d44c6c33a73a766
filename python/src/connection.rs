//! Finding the server that is meant, and connecting.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wavetask_client::embedded;
use wavetask_client::http::{NativeServer, Tuning};
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
        let Self { url, key, data } = self;
        locate(&Surroundings { url, key, data, ..Surroundings::of_process() }, |path: &Path| {
            std::fs::read_to_string(path)
        })
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

/// Connects; starts the server of a data folder if none answers there, with this binary. Also gives the address.
pub(crate) fn connect(place: Place, binary: Option<PathBuf>) -> Result<(Client, String), ClientError> {
    let (url, key, data, scope) = match place {
        Place::Address { url, key, data } => (url, key, data, None),
        Place::Folder { data, key } => {
            let mut options = embedded::Options::new(&data);
            options.binary = std::env::var_os("WAVETASK_BINARY").map(PathBuf::from).or(binary);
            let address = embedded::ensure(&options)?;
            // The address changes from start to start, the folder does not.
            let scope = wavetask_document::Digest::of(format!("folder\n{}", data.display()).as_bytes());
            (address.url, key.unwrap_or(address.key), data, Some(scope.to_string()[..32].to_owned()))
        }
    };
    let server = NativeServer::connect(&url, &key, Tuning::default())?;
    let settings = Settings { url: Some(url.clone()), key: Some(key), data, scope, ..Settings::default() };
    Ok((Client::with_server(settings, Arc::new(server))?, url))
}
