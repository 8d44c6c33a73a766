//! The tables, and how a database of an older version becomes one of this version.
//!
//! `PRAGMA user_version` counts the migrations that a database has been through. Each runs in a transaction
//! of its own together with the new count, so a crash leaves one version or the other. A migration is never
//! changed once it is released; a new one is added.
//!
//! The truth about a task is `tasks.record` (JSON of the record) and its `events`; the other columns of
//! `tasks` repeat what is searched for. Times are milliseconds since 1970, digests 32 bytes.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::{Result, StoreError};

const MIGRATIONS: [&str; 1] = [FIRST];

const FIRST: &str = "
CREATE TABLE settings (
    name        TEXT PRIMARY KEY,
    value       BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    role        TEXT NOT NULL,
    secret_hash BLOB NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL,
    used_at     INTEGER,
    revoked_at  INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE folders (
    id          TEXT PRIMARY KEY,
    owner       TEXT NOT NULL,
    name        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (owner, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE tasks (
    id               TEXT PRIMARY KEY,
    owner            TEXT NOT NULL,
    folder           TEXT NOT NULL,
    name             TEXT NOT NULL,
    kind             TEXT NOT NULL,
    state            TEXT NOT NULL,
    priority         INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    ready_at         INTEGER,               -- only while a worker may take it
    memory_bytes     INTEGER NOT NULL,      -- estimated
    lease            TEXT,                  -- the current one
    lease_expires_at INTEGER,
    last_lease       TEXT,
    input            BLOB,                  -- canonical digest of the input document
    idempotency_key  TEXT,
    record           TEXT NOT NULL
) STRICT;
CREATE INDEX tasks_by_owner  ON tasks (owner, created_at, id);
CREATE INDEX tasks_by_folder ON tasks (owner, folder, created_at, id);
CREATE INDEX tasks_by_age    ON tasks (created_at, id);
CREATE INDEX tasks_by_state  ON tasks (state, created_at, id);
CREATE INDEX tasks_ready     ON tasks (owner, priority DESC, ready_at) WHERE ready_at IS NOT NULL;
CREATE INDEX tasks_leased    ON tasks (owner, lease_expires_at) WHERE lease IS NOT NULL;
CREATE UNIQUE INDEX tasks_by_lease ON tasks (lease) WHERE lease IS NOT NULL;
CREATE INDEX tasks_by_last_lease   ON tasks (last_lease) WHERE last_lease IS NOT NULL;
CREATE INDEX tasks_by_input        ON tasks (input, owner) WHERE input IS NOT NULL;
CREATE UNIQUE INDEX tasks_by_idempotency_key ON tasks (owner, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TABLE dependencies (
    input       TEXT NOT NULL,
    task        TEXT NOT NULL,
    PRIMARY KEY (input, task)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    sequence    INTEGER PRIMARY KEY,        -- 1, 2, 3, ... without gaps
    at          INTEGER NOT NULL,
    task        TEXT NOT NULL,
    owner       TEXT NOT NULL,
    state       TEXT NOT NULL,              -- of the task afterwards
    event       TEXT NOT NULL               -- JSON
) STRICT;
CREATE INDEX events_by_owner ON events (owner, sequence);
CREATE INDEX events_by_task  ON events (task, sequence);

CREATE TABLE documents (                    -- equal documents are stored once
    id           INTEGER PRIMARY KEY,
    identity     BLOB NOT NULL UNIQUE,      -- digest of all columns below and of the blocks
    digest       BLOB NOT NULL,             -- canonical
    body         BLOB,                      -- or
    body_blocks  BLOB,                      -- digests in order
    body_length  INTEGER NOT NULL,
    array_length INTEGER NOT NULL
) STRICT;
CREATE TABLE document_blocks (
    block       BLOB NOT NULL,
    document    INTEGER NOT NULL,
    PRIMARY KEY (block, document)
) STRICT, WITHOUT ROWID;
CREATE INDEX document_blocks_by_document ON document_blocks (document);
CREATE TABLE task_documents (
    task        TEXT NOT NULL,
    role        TEXT NOT NULL,
    document    INTEGER NOT NULL,
    PRIMARY KEY (task, role)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_documents_by_document ON task_documents (document);
CREATE TABLE released_blocks (              -- the garbage collector looks at these first
    block       BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE logs (
    task        TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    text        TEXT NOT NULL,
    PRIMARY KEY (task, attempt, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE callbacks (                    -- not yet sent
    id          INTEGER PRIMARY KEY,
    task        TEXT NOT NULL,
    url         TEXT NOT NULL,
    tries       INTEGER NOT NULL,
    next_try    INTEGER NOT NULL
) STRICT;
CREATE INDEX callbacks_by_time ON callbacks (next_try);
";

/// Brings the database to this version.
pub(super) fn migrate(connection: &mut Connection) -> Result<()> {
    let failed = |error| super::fault::store_error("prepare the database", error);
    let version = |connection: &Connection| {
        connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).map_err(failed)
    };
    let found = version(connection)?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    for (number, migration) in (1_i64..).zip(MIGRATIONS) {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Exclusive).map_err(failed)?;
        if version(&transaction)? < number {
            transaction.execute_batch(migration).map_err(failed)?;
            transaction.pragma_update(None, "user_version", number).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}
