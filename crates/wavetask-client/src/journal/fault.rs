//! Why the journal cannot be used, in the engine's words.

use std::path::Path;

use rusqlite::ErrorCode;

use super::schema::VERSION;
use crate::error::{ClientError, ErrorGroup};

/// Why a file is not used as a journal.
pub(super) enum Fault {
    Database(rusqlite::Error),
    TooNew(i64),
    Foreign,
    Damaged(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl Fault {
    pub(super) fn at(self, path: &Path) -> ClientError {
        let file = path.display();
        match self {
            Self::Database(error) => failed(error, path),
            Self::TooNew(version) => ClientError::new(
                ErrorGroup::Usage,
                "journal.too_new",
                format!(
                    "The journal {file} is of format {version}; this version of wavetask knows {VERSION}."
                ),
            )
            .hint("Use the newer version of wavetask that wrote it, or another data folder (WAVETASK_DATA)."),
            Self::Foreign => ClientError::new(
                ErrorGroup::Usage,
                "journal.foreign",
                format!("{file} is a database, but not a journal of wavetask."),
            )
            .hint("Move it away, or use another data folder (WAVETASK_DATA)."),
            Self::Damaged(verdict) => damaged(path, &verdict),
        }
    }
}

fn damaged(path: &Path, verdict: &str) -> ClientError {
    let file = path.display();
    ClientError::new(
        ErrorGroup::DataCorrupted,
        "journal.damaged",
        format!("The journal {file} is damaged: {}.", verdict.lines().next().unwrap_or_default()),
    )
    .hint("Move it away to go on without it: tasks on the server stay, what was not sent yet is sent by its script.")
}

/// What the database's error means.
pub(super) fn failed(error: rusqlite::Error, path: &Path) -> ClientError {
    let code = error.sqlite_error_code();
    let converted = match code {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            return damaged(path, &error.to_string());
        }
        Some(ErrorCode::DiskFull) => {
            ClientError::new(ErrorGroup::Infrastructure, "journal.disk_full", "The journal's disk is full.")
                .hint("Free some space in the data folder, then submit again.")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ClientError::new(
            ErrorGroup::Infrastructure,
            "journal.busy",
            "Another process has held the journal for too long.",
        ),
        _ => ClientError::new(
            ErrorGroup::Infrastructure,
            "journal.failed",
            format!("The journal {} cannot be read or written.", path.display()),
        )
        .hint(
            "Check the data folder (WAVETASK_DATA): it has to be writable, and not on a network file system.",
        ),
    };
    converted.caused_by(error)
}
