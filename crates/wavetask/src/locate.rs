//! Which server a command talks to, and with which key: what `wavetask_client::locate` decides, in this program's
//! words for failures.

use std::path::{Path, PathBuf};

use wavetask_client::locate::{self, Place};
use wavetask_client::{Settings, embedded};

use crate::failure::Failure;

/// What the decision is made from: flags, environment and files.
#[derive(Debug, Default)]
pub(crate) struct Surroundings(locate::Surroundings);

impl Surroundings {
    /// From this process's environment; empty variables count as unset.
    pub(crate) fn of_process(data_flag: Option<PathBuf>) -> Self {
        Self(locate::Surroundings { data: data_flag, ..locate::Surroundings::of_process() })
    }

    /// The data folder: `--data`, else `WAVETASK_DATA`, else the configured one, else the user's own.
    pub(crate) fn data_folder(&self) -> Result<PathBuf, Failure> {
        Ok(self.0.data_folder(read)?)
    }

    /// How the engine reaches the server, running or not.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        Ok(Settings::located(&self.0)?)
    }

    /// The data folder whose server is meant; `None` if a server is named by its address.
    pub(crate) fn folder(&self) -> Result<Option<PathBuf>, Failure> {
        Ok(match locate::locate(&self.0, read) {
            Ok(Place::Folder { data, .. }) => Some(data),
            Ok(Place::Address { .. }) => None,
            Err(_) if self.0.named_by_url().is_some() => None,
            Err(error) => return Err(error.into()),
        })
    }
}

/// Where the server answers, and the key to show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    /// Without a slash at its end.
    pub(crate) url: String,
    /// The key.
    pub(crate) key: String,
    /// The data folder, if it was found by one.
    pub(crate) data_folder: Option<PathBuf>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("url", &self.url)
            .field("data_folder", &self.data_folder)
            .finish_non_exhaustive()
    }
}

/// What to do if no server runs on the data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Say so.
    Tell,
    /// Start the embedded one if this folder's server is one; say so if it is one that people start.
    StartAgain,
}

/// Finds the server. May block for as long as a server takes to start.
pub(crate) fn locate(surroundings: &Surroundings, absent: Absent) -> Result<Connection, Failure> {
    match locate::locate(&surroundings.0, read)? {
        Place::Address { url, key, .. } => Ok(Connection { url, key, data_folder: None }),
        Place::Folder { data, key } => {
            let start = match absent {
                Absent::Tell => false,
                Absent::StartAgain => embedded::is_embedded(&data),
            };
            if start {
                let options = embedded::Options {
                    binary: std::env::current_exe().ok(),
                    ..embedded::Options::new(&data)
                };
                embedded::ensure(&options)?;
            }
            let address = locate::in_folder(&data, key.as_deref(), read)?;
            Ok(Connection { url: address.url, key: address.key, data_folder: Some(data) })
        }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}
