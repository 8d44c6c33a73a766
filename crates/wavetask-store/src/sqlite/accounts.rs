//! Keys, folders and settings.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use wavetask_core::{Command, Timestamp};
use wavetask_protocol::native::{Quota, Usage};
use wavetask_protocol::{FolderId, KeyId, TaskId};

use super::SqliteTaskStore;
use super::fault::{Fault, Outcome};
use super::values::{integer, natural, optional_natural, optional_time, parsed, time};
use super::writer::Durability;
use crate::error::{Result, StoreError};
use crate::model::{Applied, Folder, Key, KeyRole, SecretHash};

const KEY_COLUMNS: &str = "id, name, role, created_at, used_at, revoked_at, quota_tasks, quota_bytes";

/// A key's last use is written down at most this often.
const USE_NOTED_EVERY_MILLISECONDS: i64 = 60_000;

fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let role: String = row.get(2)?;
    Ok(Key {
        id: parsed(row, 0)?,
        name: row.get(1)?,
        role: match role.as_str() {
            "administrator" => KeyRole::Administrator,
            "worker" => KeyRole::Worker,
            _ => KeyRole::User,
        },
        created_at: time(row, 3)?,
        used_at: optional_time(row, 4)?,
        revoked_at: optional_time(row, 5)?,
        quota: Quota { tasks: optional_natural(row, 6)?, bytes: optional_natural(row, 7)? },
    })
}

const fn role_name(role: KeyRole) -> &'static str {
    match role {
        KeyRole::User => "user",
        KeyRole::Worker => "worker",
        KeyRole::Administrator => "administrator",
    }
}

fn folder(row: &Row<'_>) -> rusqlite::Result<Folder> {
    Ok(Folder { id: parsed(row, 0)?, owner: parsed(row, 1)?, name: row.get(2)?, created_at: time(row, 3)? })
}

/// Counts what has been added to or taken from the account's use.
pub(super) fn count(connection: &Connection, owner: &KeyId, tasks: i64, bytes: i64) -> Outcome<()> {
    if tasks == 0 && bytes == 0 {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(
        "INSERT INTO usage (owner, tasks, bytes) VALUES (?1, ?2, ?3)
         ON CONFLICT (owner) DO UPDATE SET tasks = tasks + excluded.tasks, bytes = bytes + excluded.bytes",
    )?;
    statement.execute(params![owner.as_str(), tasks, bytes])?;
    Ok(())
}

impl SqliteTaskStore {
    pub(super) fn change_quota(&self, id: &KeyId, quota: Quota) -> Result<bool> {
        self.write("set a quota", |connection| {
            let mut statement = connection
                .prepare_cached("UPDATE keys SET quota_tasks = ?2, quota_bytes = ?3 WHERE id = ?1")?;
            let changed = statement.execute(params![
                id.as_str(),
                quota.tasks.map(integer),
                quota.bytes.map(integer)
            ])?;
            Ok(changed > 0)
        })
    }

    pub(super) fn read_usage(&self, owner: &KeyId) -> Result<Usage> {
        self.read("read what an account uses", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT tasks, bytes FROM usage WHERE owner = ?1")?;
            let usage = |row: &Row<'_>| Ok(Usage { tasks: natural(row, 0)?, bytes: natural(row, 1)? });
            Ok(statement.query_row([owner.as_str()], usage).optional()?.unwrap_or_default())
        })
    }

    pub(super) fn insert_key(
        &self,
        id: &KeyId,
        name: &str,
        role: KeyRole,
        secret: &SecretHash,
        now: Timestamp,
    ) -> Result<Key> {
        self.write("create a key", |connection| {
            connection.execute(
                "INSERT INTO keys (id, name, role, secret_hash, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![id.as_str(), name, role_name(role), secret.as_bytes(), now.as_milliseconds()],
            )?;
            Ok(())
        })?;
        Ok(Key {
            id: id.clone(),
            name: name.to_owned(),
            role,
            created_at: now,
            used_at: None,
            revoked_at: None,
            quota: Quota::default(),
        })
    }

    pub(super) fn find_key(&self, secret: &SecretHash) -> Result<Option<Key>> {
        self.read("look up a key", |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {KEY_COLUMNS} FROM keys WHERE secret_hash = ?1 AND revoked_at IS NULL"
            ))?;
            Ok(statement.query_row([secret.as_bytes()], key).optional()?)
        })
    }

    pub(super) fn list_keys(&self) -> Result<Vec<Key>> {
        self.read("list keys", |connection| {
            let mut statement = connection
                .prepare_cached(&format!("SELECT {KEY_COLUMNS} FROM keys ORDER BY created_at, id"))?;
            let rows = statement.query_map([], key)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn end_key(&self, id: &KeyId, now: Timestamp) -> Result<bool> {
        self.write("revoke a key", |connection| {
            let count = connection.execute(
                "UPDATE keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1",
                params![id.as_str(), now.as_milliseconds()],
            )?;
            Ok(count > 0)
        })
    }

    pub(super) fn note_use(&self, id: &KeyId, now: Timestamp) -> Result<()> {
        let limit = now.as_milliseconds().saturating_sub(USE_NOTED_EVERY_MILLISECONDS);
        let is_old = self.read("look up a key", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM keys WHERE id = ?1 AND coalesce(used_at, -1) <= ?2)",
            )?;
            Ok(statement.query_row(params![id.as_str(), limit], |row| row.get::<_, bool>(0))?)
        })?;
        if !is_old {
            return Ok(());
        }
        let noted = self.change(Durability::Process, now, |change| {
            let mut statement =
                change.connection.prepare_cached("UPDATE keys SET used_at = ?2 WHERE id = ?1")?;
            statement.execute(params![id.as_str(), now.as_milliseconds()])?;
            Ok(())
        });
        noted.map_err(|fault: Fault| fault.into_store_error("note the use of a key"))
    }

    pub(super) fn insert_setting(&self, name: &str, value: &[u8]) -> Result<Vec<u8>> {
        self.write("store a setting", |connection| {
            connection.execute(
                "INSERT OR IGNORE INTO settings (name, value) VALUES (?1, ?2)",
                params![name, value],
            )?;
            Ok(connection
                .query_row("SELECT value FROM settings WHERE name = ?1", [name], |row| row.get(0))?)
        })
    }

    pub(super) fn insert_folder(
        &self,
        owner: &KeyId,
        id: &FolderId,
        name: &str,
        now: Timestamp,
    ) -> Result<Folder> {
        if let Some(folder) = self.find_folder(owner, name)? {
            return Ok(folder);
        }
        self.write("create a folder", |connection| {
            connection.execute(
                "INSERT INTO folders (id, owner, name, created_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (owner, name) DO NOTHING",
                params![id.as_str(), owner.as_str(), name, now.as_milliseconds()],
            )?;
            Ok(connection.query_row(
                "SELECT id, owner, name, created_at FROM folders WHERE owner = ?1 AND name = ?2",
                [owner.as_str(), name],
                folder,
            )?)
        })
    }

    pub(super) fn find_folder(&self, owner: &KeyId, name: &str) -> Result<Option<Folder>> {
        self.read("look up a folder", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, owner, name, created_at FROM folders WHERE owner = ?1 AND name = ?2",
            )?;
            Ok(statement.query_row([owner.as_str(), name], folder).optional()?)
        })
    }

    pub(super) fn read_folder(&self, owner: &KeyId, id: &FolderId) -> Result<Option<Folder>> {
        self.read("look up a folder", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, owner, name, created_at FROM folders WHERE owner = ?1 AND id = ?2",
            )?;
            Ok(statement.query_row([owner.as_str(), id.as_str()], folder).optional()?)
        })
    }

    pub(super) fn list_folders(&self, owner: &KeyId) -> Result<Vec<Folder>> {
        self.read("list folders", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, owner, name, created_at FROM folders WHERE owner = ?1 ORDER BY name",
            )?;
            let rows = statement.query_map([owner.as_str()], folder)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn remove_folder(&self, owner: &KeyId, id: &FolderId, now: Timestamp) -> Result<Vec<Applied>> {
        let removed = self.change(Durability::Full, now, |change| {
            let count = change
                .connection
                .execute("DELETE FROM folders WHERE owner = ?1 AND id = ?2", [owner.as_str(), id.as_str()])?;
            if count == 0 {
                return Err(StoreError::NotFound("folder").into());
            }
            let tasks: Vec<TaskId> = {
                let mut statement = change.connection.prepare_cached(
                    "SELECT id FROM tasks WHERE owner = ?1 AND folder = ?2 AND state <> 'deleted'
                     ORDER BY created_at DESC, id DESC",
                )?;
                let rows = statement.query_map([owner.as_str(), id.as_str()], |row| parsed(row, 0))?;
                rows.collect::<Result<_, _>>()?
            };
            // Those that depend on others are newer than these, and go first.
            tasks.iter().map(|task| change.apply(task, &Command::Delete, None)).collect()
        });
        removed.map_err(|fault| fault.into_store_error("delete a folder"))
    }
}
