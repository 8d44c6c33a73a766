//! Uploaded files, multipart uploads, and callbacks.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use wavetask_core::{Command, Timestamp};
use wavetask_protocol::TaskId;

use super::change::Change;
use super::fault::{Fault, Outcome};
use super::values::{integer, limit, natural, parsed, small, time};
use super::{Durability, SqliteTaskStore};
use crate::error::{ApplyError, Result, StoreError};
use crate::model::{Callback, MultipartUpload, StagedFile, UploadPart};

fn staged(row: &Row<'_>) -> rusqlite::Result<StagedFile> {
    Ok(StagedFile {
        name: row.get(0)?,
        token: row.get(1)?,
        byte_length: natural(row, 2)?,
        tag: row.get(3)?,
        received_at: time(row, 4)?,
    })
}

fn multipart(row: &Row<'_>) -> rusqlite::Result<MultipartUpload> {
    Ok(MultipartUpload {
        id: row.get(0)?,
        task: parsed(row, 1)?,
        name: row.get(2)?,
        created_at: time(row, 3)?,
        expires_at: time(row, 4)?,
    })
}

fn strings(
    transaction: &Transaction<'_>,
    sql: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<String>> {
    let mut statement = transaction.prepare_cached(sql)?;
    let rows = statement.query_map(values, |row| row.get(0))?;
    rows.collect()
}

/// Forgets all uploads of a task; their files are to be removed later.
pub(super) fn release(transaction: &Transaction<'_>, task: &TaskId) -> Outcome<()> {
    for sql in [
        "INSERT OR IGNORE INTO released_tokens (token) SELECT token FROM staged_files WHERE task = ?1",
        "INSERT OR IGNORE INTO released_tokens (token)
            SELECT token FROM parts JOIN multiparts ON multiparts.id = parts.upload WHERE task = ?1",
        "DELETE FROM staged_files WHERE task = ?1",
        "DELETE FROM parts WHERE upload IN (SELECT id FROM multiparts WHERE task = ?1)",
        "DELETE FROM multiparts WHERE task = ?1",
    ] {
        transaction.prepare_cached(sql)?.execute([task.as_str()])?;
    }
    Ok(())
}

/// Notes a file and tells its task. Answers with the token of the file that it replaces.
fn stage(change: &mut Change<'_>, task: &TaskId, file: &StagedFile) -> Outcome<Option<String>> {
    change.apply(task, &Command::ReceiveUpload, None)?;
    let mut statement =
        change.transaction.prepare_cached("SELECT token FROM staged_files WHERE task = ?1 AND name = ?2")?;
    let before = statement.query_row([task.as_str(), file.name.as_str()], |row| row.get(0)).optional()?;
    let mut statement = change.transaction.prepare_cached(
        "INSERT OR REPLACE INTO staged_files (task, name, token, byte_length, tag, received_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    statement.execute(params![
        task.as_str(),
        file.name,
        file.token,
        integer(file.byte_length),
        file.tag,
        file.received_at.as_milliseconds(),
    ])?;
    Ok(before)
}

fn drop_multipart(transaction: &Transaction<'_>, id: &str) -> Outcome<Vec<String>> {
    let tokens = strings(transaction, "SELECT token FROM parts WHERE upload = ?1 ORDER BY number", [id])?;
    transaction.prepare_cached("DELETE FROM parts WHERE upload = ?1")?.execute([id])?;
    transaction.prepare_cached("DELETE FROM multiparts WHERE id = ?1")?.execute([id])?;
    Ok(tokens)
}

impl SqliteTaskStore {
    pub(super) fn add_file(
        &self,
        task: &TaskId,
        file: &StagedFile,
        now: Timestamp,
    ) -> Result<Option<String>, ApplyError> {
        self.change(Durability::Full, now, |change| stage(change, task, file))
            .map_err(|fault| fault.into_apply_error("note an uploaded file"))
    }

    pub(super) fn find_file(&self, task: &TaskId, name: &str) -> Result<Option<StagedFile>> {
        self.read("look up an uploaded file", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT name, token, byte_length, tag, received_at FROM staged_files
                 WHERE task = ?1 AND name = ?2",
            )?;
            Ok(statement.query_row([task.as_str(), name], staged).optional()?)
        })
    }

    pub(super) fn list_files(&self, task: &TaskId) -> Result<Vec<StagedFile>> {
        self.read("list uploaded files", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT name, token, byte_length, tag, received_at FROM staged_files
                 WHERE task = ?1 ORDER BY name",
            )?;
            let rows = statement.query_map([task.as_str()], staged)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn drop_file(&self, task: &TaskId, name: &str) -> Result<Option<String>> {
        self.write("forget an uploaded file", |transaction| {
            let mut statement = transaction
                .prepare_cached("DELETE FROM staged_files WHERE task = ?1 AND name = ?2 RETURNING token")?;
            Ok(statement.query_row([task.as_str(), name], |row| row.get(0)).optional()?)
        })
    }

    pub(super) fn add_multipart(&self, upload: &MultipartUpload) -> Result<()> {
        let added = self.change(Durability::Full, upload.created_at, |change| {
            change.live(&upload.task)?;
            let mut statement = change.transaction.prepare_cached(
                "INSERT INTO multiparts (id, task, name, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            statement.execute(params![
                upload.id,
                upload.task.as_str(),
                upload.name,
                upload.created_at.as_milliseconds(),
                upload.expires_at.as_milliseconds(),
            ])?;
            Ok(())
        });
        added.map_err(|fault: Fault| fault.into_store_error("begin a multipart upload"))
    }

    pub(super) fn find_multipart(&self, id: &str) -> Result<Option<MultipartUpload>> {
        self.read("look up a multipart upload", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, task, name, created_at, expires_at FROM multiparts WHERE id = ?1",
            )?;
            Ok(statement.query_row([id], multipart).optional()?)
        })
    }

    pub(super) fn add_part(
        &self,
        id: &str,
        part: &UploadPart,
        expires_at: Timestamp,
    ) -> Result<Option<String>> {
        self.write("note a part of an upload", |transaction| {
            let mut statement = transaction
                .prepare_cached("UPDATE multiparts SET expires_at = max(expires_at, ?2) WHERE id = ?1")?;
            if statement.execute(params![id, expires_at.as_milliseconds()])? == 0 {
                return Err(StoreError::NotFound("multipart upload").into());
            }
            let mut statement =
                transaction.prepare_cached("SELECT token FROM parts WHERE upload = ?1 AND number = ?2")?;
            let before = statement.query_row(params![id, part.number], |row| row.get(0)).optional()?;
            let mut statement = transaction.prepare_cached(
                "INSERT OR REPLACE INTO parts (upload, number, token, byte_length, tag)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            let length = integer(part.byte_length);
            statement.execute(params![id, part.number, part.token, length, part.tag])?;
            Ok(before)
        })
    }

    pub(super) fn list_parts(&self, id: &str) -> Result<Vec<UploadPart>> {
        self.read("list the parts of an upload", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT number, token, byte_length, tag FROM parts WHERE upload = ?1 ORDER BY number",
            )?;
            let rows = statement.query_map([id], |row| {
                Ok(UploadPart {
                    number: small(row, 0)?,
                    token: row.get(1)?,
                    byte_length: natural(row, 2)?,
                    tag: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn end_multipart(
        &self,
        id: &str,
        file: &StagedFile,
        now: Timestamp,
    ) -> Result<Vec<String>, ApplyError> {
        let ended = self.change(Durability::Full, now, |change| {
            let task: TaskId = {
                let mut statement =
                    change.transaction.prepare_cached("SELECT task FROM multiparts WHERE id = ?1")?;
                let found = statement.query_row([id], |row| parsed(row, 0)).optional()?;
                found.ok_or(StoreError::NotFound("multipart upload"))?
            };
            let mut tokens = drop_multipart(change.transaction, id)?;
            tokens.extend(stage(change, &task, file)?);
            Ok(tokens)
        });
        ended.map_err(|fault| fault.into_apply_error("end a multipart upload"))
    }

    pub(super) fn cancel_multipart(&self, id: &str) -> Result<Vec<String>> {
        self.write("drop a multipart upload", |transaction| drop_multipart(transaction, id))
    }

    pub(super) fn find_expired_multiparts(&self, now: Timestamp) -> Result<Vec<MultipartUpload>> {
        self.read("look for abandoned uploads", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, task, name, created_at, expires_at FROM multiparts WHERE expires_at <= ?1",
            )?;
            let rows = statement.query_map([now.as_milliseconds()], multipart)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn find_unused_tokens(&self, tokens: &[String]) -> Result<Vec<String>> {
        self.read("look for leftover files", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM staged_files WHERE token = ?1)
                     OR EXISTS (SELECT 1 FROM parts WHERE token = ?1)",
            )?;
            let mut unused = Vec::new();
            for token in tokens {
                if !statement.query_row([token], |row| row.get::<_, bool>(0))? {
                    unused.push(token.clone());
                }
            }
            Ok(unused)
        })
    }

    pub(super) fn list_released_tokens(&self, count: usize) -> Result<Vec<String>> {
        self.read("list files to remove", |connection| {
            let mut statement = connection.prepare_cached("SELECT token FROM released_tokens LIMIT ?1")?;
            let rows = statement.query_map([limit(count)], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn forget_tokens(&self, tokens: &[String]) -> Result<()> {
        self.write("forget removed files", |transaction| {
            let mut statement = transaction.prepare_cached("DELETE FROM released_tokens WHERE token = ?1")?;
            for token in tokens {
                statement.execute([token])?;
            }
            Ok(())
        })
    }

    pub(super) fn find_callbacks(&self, now: Timestamp, count: usize) -> Result<Vec<Callback>> {
        self.read("look for callbacks", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, task, url, tries FROM callbacks WHERE next_try <= ?1 ORDER BY next_try LIMIT ?2",
            )?;
            let rows = statement.query_map(params![now.as_milliseconds(), limit(count)], |row| {
                Ok(Callback {
                    id: natural(row, 0)?,
                    task: parsed(row, 1)?,
                    url: row.get(2)?,
                    tries: small(row, 3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn end_callback(&self, id: u64) -> Result<()> {
        self.write("end a callback", |transaction| {
            transaction.prepare_cached("DELETE FROM callbacks WHERE id = ?1")?.execute([integer(id)])?;
            Ok(())
        })
    }

    pub(super) fn postpone_callback(&self, id: u64, next_try: Timestamp) -> Result<()> {
        self.write("postpone a callback", |transaction| {
            let mut statement = transaction
                .prepare_cached("UPDATE callbacks SET tries = tries + 1, next_try = ?2 WHERE id = ?1")?;
            statement.execute(params![integer(id), next_try.as_milliseconds()])?;
            Ok(())
        })
    }
}
