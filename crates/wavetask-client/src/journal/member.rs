//! The rows of members: their documents, and the arrays of small ones.

use std::sync::Arc;

use rusqlite::{Transaction, params};
use wavetask_document::Digest;
use wavetask_protocol::native::NewMember;

use crate::engine::Payload;
use crate::member::BlockPlace;

/// Bytes of arrays that are kept for a member.
pub(super) const SMALL: u64 = 1 << 20;

pub(super) fn add_member(transaction: &Transaction<'_>, row: i64, payload: &Payload) -> rusqlite::Result<()> {
    let fault = |error: std::io::Error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    let json = serde_json::to_vec(&payload.member)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let content = zstd::bulk::compress(&json, 1).map_err(fault)?;
    let bytes: u64 = payload.blocks.iter().map(|(_, place)| place.length as u64).sum();
    let complete = bytes <= SMALL;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO member (submission, position, key, content, length, complete, identity)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            row,
            payload.member.position,
            payload.member.key,
            content,
            json.len(),
            complete,
            payload.member.idempotency_key
        ])?;
    for (digest, place) in &payload.blocks {
        transaction
            .prepare_cached(
                "INSERT OR IGNORE INTO member_block (submission, position, digest) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![row, payload.member.position, digest.as_bytes()])?;
        if !complete {
            continue;
        }
        let known: bool = transaction
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM block WHERE digest = ?1)")?
            .query_row([digest.as_bytes()], |row| row.get(0))?;
        if !known {
            let content = zstd::bulk::compress(place.bytes(), 1).map_err(fault)?;
            transaction
                .prepare_cached("INSERT INTO block (digest, width, length, content) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![digest.as_bytes(), place.width, place.length, content])?;
        }
    }
    Ok(())
}

/// A member got further: what was kept of it is no longer needed.
pub(super) fn advance(
    transaction: &Transaction<'_>,
    row: i64,
    position: u64,
    stage: i64,
    task: Option<&str>,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE member SET stage = max(stage, ?3), task = coalesce(?4, task), content = NULL
             WHERE submission = ?1 AND position = ?2",
        )?
        .execute(params![row, position, stage, task])?;
    let digests: Vec<Vec<u8>> = transaction
        .prepare_cached("DELETE FROM member_block WHERE submission = ?1 AND position = ?2 RETURNING digest")?
        .query_map(params![row, position], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for digest in digests {
        transaction
            .prepare_cached(
                "DELETE FROM block WHERE digest = ?1 AND NOT EXISTS
                 (SELECT 1 FROM member_block WHERE digest = ?1)",
            )?
            .execute([digest])?;
    }
    Ok(())
}

pub(super) fn read_payload(
    transaction: &Transaction<'_>,
    submission: i64,
    position: u64,
    content: &[u8],
    length: usize,
) -> rusqlite::Result<Payload> {
    let fault = |error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Blob, error)
    };
    let json = zstd::bulk::decompress(content, length).map_err(|error| fault(Box::new(error)))?;
    let member: NewMember = serde_json::from_slice(&json).map_err(|error| fault(Box::new(error)))?;
    let mut statement = transaction.prepare_cached(
        "SELECT member_block.digest, block.width, block.length, block.content
         FROM member_block LEFT JOIN block ON block.digest = member_block.digest
         WHERE member_block.submission = ?1 AND member_block.position = ?2 ORDER BY member_block.digest",
    )?;
    let mut rows = statement.query(params![submission, position])?;
    let mut blocks = Vec::new();
    while let Some(row) = rows.next()? {
        let digest = Digest::from_bytes(row.get(0)?);
        let (width, length, bytes) = match row.get::<_, Option<Vec<u8>>>(3)? {
            Some(packed) => {
                let length: usize = row.get(2)?;
                let bytes =
                    zstd::bulk::decompress(&packed, length).map_err(|error| fault(Box::new(error)))?;
                (row.get::<_, u8>(1)?, length, bytes)
            }
            // Only its program has it.
            None => (1, 0, Vec::new()),
        };
        blocks.push((digest, BlockPlace { array: Arc::new(bytes), offset: 0, length, width }));
    }
    Ok(Payload { row: submission, member, document_bytes: length as u64, blocks })
}
