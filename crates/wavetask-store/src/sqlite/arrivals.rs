//! Which blocks an account has, and those that it has sent lately.
//!
//! Both tables are searched by account, so neither an answer nor the time that it takes depends on what other
//! accounts have.

use rusqlite::params;
use wavetask_core::Timestamp;
use wavetask_document::Digest;
use wavetask_protocol::KeyId;

use super::SqliteTaskStore;
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

    pub(super) fn insert_arrivals(&self, owner: &KeyId, blocks: &[Digest], now: Timestamp) -> Result<()> {
        if blocks.is_empty() {
            return Ok(());
        }
        self.write("note the arrival of blocks", |connection| {
            let mut arrive = connection.prepare_cached(
                "INSERT INTO arrivals (owner, block, at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (owner, block) DO UPDATE SET at = max(at, excluded.at)",
            )?;
            let mut keep = connection.prepare_cached("DELETE FROM released_blocks WHERE block = ?1")?;
            for block in blocks {
                arrive.execute(params![owner.as_str(), block.as_bytes(), now.as_milliseconds()])?;
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
