//! Members that could not be packed: nothing of them ever leaves, so that nobody but the journal knows that the batch
//! has them, and why they failed.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::Value;

use super::Journal;
use crate::error::{ClientError, ErrorGroup};

/// A member that could not be packed.
#[derive(Clone, Debug)]
pub(crate) struct FailureRecord {
    pub(crate) key: String,
    /// Its task's name for people.
    pub(crate) name: String,
    pub(crate) parameters: BTreeMap<String, Value>,
    pub(crate) error: ClientError,
}

impl Journal {
    /// Writes that a member of a submission could not be packed. Not synced: the same script finds it out again.
    pub(crate) fn fail(
        &mut self,
        row: i64,
        position: u64,
        failure: &FailureRecord,
    ) -> Result<(), ClientError> {
        self.write(false, |transaction| {
            let parameters = serde_json::to_string(&failure.parameters).unwrap_or_default();
            let error = &failure.error;
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO failure (submission, position, key, name, parameters, error_group, code,
                     message, hint) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    row,
                    position,
                    failure.key,
                    failure.name,
                    parameters,
                    error.group.as_str(),
                    error.code,
                    error.message,
                    error.hint
                ])?;
            Ok(())
        })
    }

    /// The members of a batch that could not be packed, each key once: those of the submissions whose members
    /// [`find`](Self::find) tells.
    pub(crate) fn failures(&mut self, scope: &str, batch: &str) -> Result<Vec<FailureRecord>, ClientError> {
        self.read(|transaction| {
            let latest: Option<(i64, bool)> = transaction
                .prepare_cached(
                    "SELECT id, finished IS NOT NULL FROM submission WHERE scope = ?1 AND batch = ?2
                     ORDER BY id DESC LIMIT 1",
                )?
                .query_row(params![scope, batch], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            match latest {
                Some((row, true)) => of(transaction, "submission.id = ?3", (scope, batch, row)),
                Some((row, false)) => {
                    of(transaction, "submission.finished IS NULL AND ?3 > 0", (scope, batch, row))
                }
                None => Ok(Vec::new()),
            }
        })
    }
}

fn of(
    transaction: &Transaction<'_>,
    condition: &str,
    (scope, batch, row): (&str, &str, i64),
) -> rusqlite::Result<Vec<FailureRecord>> {
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT failure.key, failure.name, parameters, error_group, code, message, hint, max(failure.submission)
         FROM failure JOIN submission ON submission.id = failure.submission
         WHERE submission.scope = ?1 AND submission.batch = ?2 AND {condition}
         GROUP BY failure.key ORDER BY failure.submission, failure.position"
    ))?;
    let record = |row: &rusqlite::Row<'_>| {
        let (parameters, group): (String, String) = (row.get(2)?, row.get(3)?);
        let group = ErrorGroup::named(&group).unwrap_or(ErrorGroup::Usage);
        let mut error = ClientError::new(group, row.get::<_, String>(4)?, row.get::<_, String>(5)?);
        error.hint = row.get(6)?;
        Ok(FailureRecord {
            key: row.get(0)?,
            name: row.get(1)?,
            parameters: serde_json::from_str(&parameters).unwrap_or_default(),
            error,
        })
    };
    statement.query_map(params![scope, batch, row], record)?.collect()
}
