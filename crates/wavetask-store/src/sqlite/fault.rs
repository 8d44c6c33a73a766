//! What SQLite says, in the groups of the store's errors.

use rusqlite::ErrorCode;
use rusqlite::ffi;
use wavetask_core::Refusal;

use crate::error::{ApplyError, StoreError};

/// What can end the work inside a transaction.
#[derive(Debug)]
pub(super) enum Fault {
    Database(rusqlite::Error),
    Store(StoreError),
    NoSuchTask,
    Refused(Refusal),
}

pub(super) type Outcome<T> = std::result::Result<T, Fault>;

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Fault {
    pub(super) fn into_apply_error(self, action: &'static str) -> ApplyError {
        match self {
            Self::Database(error) => ApplyError::Store(store_error(action, error)),
            Self::Store(error) => ApplyError::Store(error),
            Self::NoSuchTask => ApplyError::NoSuchTask,
            Self::Refused(refusal) => ApplyError::Refused(refusal),
        }
    }

    pub(super) fn into_store_error(self, action: &'static str) -> StoreError {
        match self {
            Self::Database(error) => store_error(action, error),
            Self::Store(error) => error,
            Self::NoSuchTask => StoreError::NotFound("task"),
            Self::Refused(refusal) => StoreError::Failed { action, source: refusal.into() },
        }
    }
}

pub(crate) fn store_error(action: &'static str, error: rusqlite::Error) -> StoreError {
    match &error {
        rusqlite::Error::SqliteFailure(failure, _) => match (failure.code, failure.extended_code) {
            // Without room the shared-memory file cannot be grown, and SQLite calls that an I/O error.
            (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE) => {
                StoreError::NoSpace { action, source: error.into() }
            }
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => {
                StoreError::Busy { source: error.into() }
            }
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => {
                StoreError::Damaged { what: "the database".to_owned(), source: Some(error.into()) }
            }
            _ => StoreError::Failed { action, source: error.into() },
        },
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
            StoreError::Damaged { what: "a row of the database".to_owned(), source: Some(error.into()) }
        }
        _ => StoreError::Failed { action, source: error.into() },
    }
}
