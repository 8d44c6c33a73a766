//! Between our types and the columns of the database.

use rusqlite::types::Type;
use rusqlite::{Error, Row};
use wavetask_core::{TaskRecord, Timestamp};
use wavetask_document::Digest;
use wavetask_protocol::TaskState;

/// The largest integer of the database stands for anything larger.
pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn limit(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn natural(row: &Row<'_>, column: usize) -> Result<u64, Error> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|error| Error::FromSqlConversionFailure(column, Type::Integer, error.into()))
}

pub(super) fn optional_natural(row: &Row<'_>, column: usize) -> Result<Option<u64>, Error> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => natural(row, column).map(Some),
    }
}

pub(super) fn small(row: &Row<'_>, column: usize) -> Result<u32, Error> {
    let value: i64 = row.get(column)?;
    u32::try_from(value).map_err(|error| Error::FromSqlConversionFailure(column, Type::Integer, error.into()))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, Error> {
    row.get(column).map(Timestamp::from_milliseconds)
}

pub(super) fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, Error> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_milliseconds))
}

pub(super) fn digest(row: &Row<'_>, column: usize) -> Result<Digest, Error> {
    row.get(column).map(Digest::from_bytes)
}

/// An id, or anything else that can be read from text.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> Result<T, Error>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text = row
        .get_ref(column)?
        .as_str()
        .map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, error.into()))?;
    text.parse().map_err(|error: T::Err| Error::FromSqlConversionFailure(column, Type::Text, error.into()))
}

/// Anything that is stored as JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, Error> {
    let text = row
        .get_ref(column)?
        .as_str()
        .map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, error.into()))?;
    serde_json::from_str(text)
        .map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, error.into()))
}

pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}

pub(super) fn record(row: &Row<'_>) -> Result<TaskRecord, Error> {
    json(row, 0)
}

pub(super) fn state(row: &Row<'_>, column: usize) -> Result<TaskState, Error> {
    let text: String = row.get(column)?;
    serde_json::from_value(serde_json::Value::String(text))
        .map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, error.into()))
}
