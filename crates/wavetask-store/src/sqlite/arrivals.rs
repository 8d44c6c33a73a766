//! Which blocks an account has, and those that it has sent lately.
//!
//! Both tables are searched by account, so neither an answer nor the time that it takes depends on what other
//! accounts have.

use rusqlite::params;
use wavetask_core::Timestamp;
use wavetask_document::Digest;
use wavetask_protocol::KeyId;

use super::SqliteTaskStore;
use super::values::{integer, natural};
use crate::error::Result;

impl SqliteTaskStore {
    pub(super) fn look_for_blocks(&self, owner: &KeyId, blocks: &[Digest]) -> Result<Vec<bool>> {
        self.read("look for blocks", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM arrivals WHERE owner = ?1 AND block = ?2)
                     OR EXISTS (SELECT 1 FROM document_blocks WHERE owner = ?1 AND block = ?2)",
            )?;
            let mut has = |block: &Digest| {
                statement.query_row(params![owner.as_str(), block.as_bytes()], |row| row.get::<_, bool>(0))
            };
            Ok(blocks.iter().map(&mut has).collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn weigh_arrivals(&self, owner: &KeyId) -> Result<u64> {
        self.read("weigh arrivals", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT coalesce(sum(length), 0) FROM arrivals WHERE owner = ?1 AND NOT EXISTS
                     (SELECT 1 FROM document_blocks WHERE owner = ?1 AND block = arrivals.block)",
            )?;
            Ok(statement.query_row([owner.as_str()], |row| natural(row, 0))?)
        })
    }

    pub(super) fn insert_arrivals(
        &self,
        owner: &KeyId,
        blocks: &[(Digest, u64)],
        now: Timestamp,
    ) -> Result<()> {
        if blocks.is_empty() {
            return Ok(());
        }
        self.write("note the arrival of blocks", |connection| {
            let mut arrive = connection.prepare_cached(
                "INSERT INTO arrivals (owner, block, at, length) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (owner, block) DO UPDATE SET at = max(at, excluded.at), length = excluded.length",
            )?;
            let mut keep = connection.prepare_cached("DELETE FROM released_blocks WHERE block = ?1")?;
            for (block, length) in blocks {
                let values =
                    params![owner.as_str(), block.as_bytes(), now.as_milliseconds(), integer(*length)];
                arrive.execute(values)?;
                keep.execute([block.as_bytes()])?;
            }
            Ok(())
        })
    }

    pub(super) fn remove_arrivals(&self, before: Timestamp) -> Result<u64> {
        let any = self.read("look for old arrivals", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM arrivals WHERE at < ?1)")?;
            Ok(statement.query_row([before.as_milliseconds()], |row| row.get::<_, bool>(0))?)
        })?;
        if !any {
            return Ok(0);
        }
        self.write("forget old arrivals", |connection| {
            let before = before.as_milliseconds();
            // What a younger arrival or a document keeps is looked at when that ends.
            connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO released_blocks (block)
                     SELECT DISTINCT block FROM arrivals AS old WHERE at < ?1
                        AND NOT EXISTS (SELECT 1 FROM document_blocks WHERE block = old.block)
                        AND NOT EXISTS
                            (SELECT 1 FROM arrivals AS young WHERE young.block = old.block AND young.at >= ?1)",
                )?
                .execute([before])?;
            let removed = connection.prepare_cached("DELETE FROM arrivals WHERE at < ?1")?.execute([before])?;
            Ok(removed as u64)
        })
    }
}
