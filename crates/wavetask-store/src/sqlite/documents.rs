//! Documents of tasks, and which blocks they need.

use rusqlite::{Connection, OptionalExtension as _, params};
use wavetask_core::TaskRecord;
use wavetask_document::Digest;
use wavetask_protocol::{KeyId, TaskId};

use super::fault::Outcome;
use super::values::{digest, integer, limit};
use super::{SqliteTaskStore, accounts, fault::Fault};
use crate::error::{Result, StoreError};
use crate::model::{DocumentBody, DocumentRole, KeptDocument, StoredDocument};

/// Gives a task a document, in place of the one that it had in this role.
pub(super) fn attach(
    connection: &Connection,
    task: &TaskRecord,
    role: DocumentRole,
    document: &StoredDocument,
) -> Outcome<()> {
    let (identity, owner) = (identity(document), task.owner());
    let mut statement =
        connection.prepare_cached("SELECT id FROM documents WHERE identity = ?1 AND owner = ?2")?;
    let known: Option<i64> =
        statement.query_row(params![identity.as_bytes(), owner.as_str()], |row| row.get(0)).optional()?;
    let id = match known {
        Some(id) => id,
        None => insert(connection, owner, &identity, document)?,
    };
    set(connection, task, role, id)
}

/// Gives a task the result of one of its account's tasks that had the same input.
pub(super) fn share(
    connection: &Connection,
    task: &TaskRecord,
    role: DocumentRole,
    named: Option<Digest>,
) -> Outcome<()> {
    let (Some(named), Some(input)) = (named, task.input) else { return Ok(()) };
    let mut statement = connection.prepare_cached(
        "SELECT document FROM tasks
         JOIN task_documents ON task_documents.task = tasks.id AND task_documents.role = ?3
         JOIN documents ON documents.id = task_documents.document AND documents.digest = ?4
         WHERE tasks.input = ?2 AND tasks.owner = ?1 LIMIT 1",
    )?;
    let found = statement
        .query_row(params![task.owner().as_str(), input.as_bytes(), role.as_str(), named.as_bytes()], |row| {
            row.get(0)
        })
        .optional()?;
    match found {
        Some(document) => set(connection, task, role, document),
        None => Err(StoreError::NotFound("document").into()),
    }
}

fn set(connection: &Connection, task: &TaskRecord, role: DocumentRole, document: i64) -> Outcome<()> {
    let before = attached(connection, task.id(), role)?;
    if before == Some(document) {
        return Ok(());
    }
    let mut statement = connection
        .prepare_cached("INSERT OR REPLACE INTO task_documents (task, role, document) VALUES (?1, ?2, ?3)")?;
    statement.execute(params![task.id().as_str(), role.as_str(), document])?;
    accounts::count(connection, task.owner(), 0, length(connection, document)?)?;
    before.map_or(Ok(()), |before| dropped(connection, task, before))
}

/// Takes a document from a task, if it has one in this role.
pub(super) fn release(connection: &Connection, task: &TaskRecord, role: DocumentRole) -> Outcome<()> {
    let Some(document) = attached(connection, task.id(), role)? else { return Ok(()) };
    let mut statement =
        connection.prepare_cached("DELETE FROM task_documents WHERE task = ?1 AND role = ?2")?;
    statement.execute(params![task.id().as_str(), role.as_str()])?;
    dropped(connection, task, document)
}

/// A task no longer has a document.
fn dropped(connection: &Connection, task: &TaskRecord, document: i64) -> Outcome<()> {
    accounts::count(connection, task.owner(), 0, -length(connection, document)?)?;
    drop_if_unused(connection, document)
}

/// Length of a document with its arrays, in bytes.
fn length(connection: &Connection, document: i64) -> Outcome<i64> {
    let mut statement =
        connection.prepare_cached("SELECT body_length + array_length FROM documents WHERE id = ?1")?;
    Ok(statement.query_row([document], |row| row.get(0))?)
}

fn attached(connection: &Connection, task: &TaskId, role: DocumentRole) -> Outcome<Option<i64>> {
    let mut statement =
        connection.prepare_cached("SELECT document FROM task_documents WHERE task = ?1 AND role = ?2")?;
    Ok(statement.query_row(params![task.as_str(), role.as_str()], |row| row.get(0)).optional()?)
}

fn insert(
    connection: &Connection,
    owner: &KeyId,
    identity: &Digest,
    document: &StoredDocument,
) -> Outcome<i64> {
    let (body, body_blocks) = match &document.body {
        DocumentBody::Inline(body) => (Some(body), None),
        DocumentBody::Blocks(digests) => (None, Some(concatenated(digests))),
    };
    let mut statement = connection.prepare_cached(
        "INSERT INTO documents (identity, digest, body, body_blocks, body_length, array_length, owner)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let id = statement.insert(params![
        identity.as_bytes(),
        document.digest.as_bytes(),
        body,
        body_blocks,
        integer(document.body_length),
        integer(document.array_length),
        owner.as_str(),
    ])?;
    let mut need = connection.prepare_cached(
        "INSERT OR IGNORE INTO document_blocks (block, owner, document) VALUES (?1, ?2, ?3)",
    )?;
    let mut keep = connection.prepare_cached("DELETE FROM released_blocks WHERE block = ?1")?;
    for block in &document.blocks {
        need.execute(params![block.as_bytes(), owner.as_str(), id])?;
        keep.execute([block.as_bytes()])?;
    }
    Ok(id)
}

fn drop_if_unused(connection: &Connection, document: i64) -> Outcome<()> {
    let mut statement =
        connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM task_documents WHERE document = ?1)")?;
    if statement.query_row([document], |row| row.get(0))? {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(
        "INSERT OR IGNORE INTO released_blocks (block)
         SELECT block FROM document_blocks AS mine WHERE document = ?1 AND NOT EXISTS
            (SELECT 1 FROM document_blocks AS other WHERE other.block = mine.block AND other.document <> ?1)",
    )?;
    statement.execute([document])?;
    connection.prepare_cached("DELETE FROM document_blocks WHERE document = ?1")?.execute([document])?;
    connection.prepare_cached("DELETE FROM documents WHERE id = ?1")?.execute([document])?;
    Ok(())
}

fn concatenated(digests: &[Digest]) -> Vec<u8> {
    digests.iter().flat_map(|digest| *digest.as_bytes()).collect()
}

/// Two documents are stored once if all that is stored of them is equal. The canonical digest alone would
/// not do: equal content may have been written in different words, and the words are kept.
fn identity(document: &StoredDocument) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(document.digest.as_bytes());
    match &document.body {
        DocumentBody::Inline(body) => {
            field(b"inline");
            field(body);
        }
        DocumentBody::Blocks(digests) => {
            field(b"blocks");
            field(&concatenated(digests));
        }
    }
    field(&document.body_length.to_le_bytes());
    field(&document.array_length.to_le_bytes());
    field(&concatenated(&document.blocks));
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

pub(super) fn unreferenced(connection: &Connection, blocks: &[Digest]) -> Outcome<Vec<Digest>> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM document_blocks WHERE block = ?1)
             OR EXISTS (SELECT 1 FROM arrivals WHERE block = ?1)",
    )?;
    let mut free = Vec::new();
    for block in blocks {
        if !statement.query_row([block.as_bytes()], |row| row.get::<_, bool>(0))? {
            free.push(*block);
        }
    }
    Ok(free)
}

impl SqliteTaskStore {
    pub(super) fn read_document(&self, task: &TaskId, role: DocumentRole) -> Result<Option<KeptDocument>> {
        self.read("read a document", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT digest, body, body_blocks
                 FROM task_documents JOIN documents ON documents.id = task_documents.document
                 WHERE task = ?1 AND role = ?2",
            )?;
            let found = statement
                .query_row(params![task.as_str(), role.as_str()], |row| {
                    Ok((
                        digest(row, 0)?,
                        row.get::<_, Option<Vec<u8>>>(1)?,
                        row.get::<_, Option<Vec<u8>>>(2)?,
                    ))
                })
                .optional()?;
            let Some((digest, body, body_blocks)) = found else { return Ok(None) };
            let body = match body_blocks {
                Some(bytes) => DocumentBody::Blocks(split(&bytes)?),
                None => DocumentBody::Inline(body.unwrap_or_default()),
            };
            Ok(Some(KeptDocument { digest, body }))
        })
    }

    pub(super) fn which_are_needed(
        &self,
        task: &TaskId,
        role: DocumentRole,
        blocks: &[Digest],
    ) -> Result<Vec<bool>> {
        self.read("look which blocks a document needs", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM task_documents JOIN documents ON documents.id = task_documents.document
                 JOIN document_blocks AS blocks
                    ON blocks.block = ?3 AND blocks.owner = documents.owner AND blocks.document = documents.id
                 WHERE task = ?1 AND role = ?2)",
            )?;
            let needed = |block: &Digest| {
                statement.query_row(params![task.as_str(), role.as_str(), block.as_bytes()], |row| row.get(0))
            };
            Ok(blocks.iter().map(needed).collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn list_released_blocks(&self, count: usize) -> Result<Vec<Digest>> {
        self.read("list released blocks", |connection| {
            let mut statement = connection.prepare_cached("SELECT block FROM released_blocks LIMIT ?1")?;
            let rows = statement.query_map([limit(count)], |row| digest(row, 0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn forget_blocks(&self, blocks: &[Digest]) -> Result<()> {
        self.write("forget released blocks", |connection| {
            let mut statement = connection.prepare_cached("DELETE FROM released_blocks WHERE block = ?1")?;
            for block in blocks {
                statement.execute([block.as_bytes()])?;
            }
            Ok(())
        })
    }
}

fn split(bytes: &[u8]) -> Outcome<Vec<Digest>> {
    let (digests, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() {
        let what = "the list of a document's blocks has an odd length".to_owned();
        return Err(Fault::Store(StoreError::Damaged { what, source: None }));
    }
    Ok(digests.iter().map(|bytes| Digest::from_bytes(*bytes)).collect())
}
