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

const MIGRATIONS: [&str; 4] = [FIRST, SECOND, THIRD, FOURTH];

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

/// Batches, arrivals, quotas, solver versions; documents are kept by account, so that what an account has can be
/// looked up without looking at what others have.
const SECOND: &str = "
ALTER TABLE tasks ADD COLUMN solver_version TEXT;      -- that found the result
ALTER TABLE keys ADD COLUMN quota_tasks INTEGER;
ALTER TABLE keys ADD COLUMN quota_bytes INTEGER;

CREATE TABLE usage (                        -- of tasks that are not deleted
    owner       TEXT PRIMARY KEY,
    tasks       INTEGER NOT NULL,
    bytes       INTEGER NOT NULL            -- of their documents, as if nothing were shared
) STRICT, WITHOUT ROWID;
INSERT INTO usage SELECT owner, count(*), 0 FROM tasks WHERE state <> 'deleted' GROUP BY owner;
UPDATE usage SET bytes = (
    SELECT coalesce(sum(body_length + array_length), 0) FROM tasks
    JOIN task_documents ON task_documents.task = tasks.id
    JOIN documents ON documents.id = task_documents.document
    WHERE tasks.owner = usage.owner);

CREATE TABLE owned_documents (              -- equal documents of an account are stored once
    id           INTEGER PRIMARY KEY,
    owner        TEXT NOT NULL,
    identity     BLOB NOT NULL,             -- digest of all columns below and of the blocks
    digest       BLOB NOT NULL,             -- canonical
    body         BLOB,                      -- or
    body_blocks  BLOB,                      -- digests in order
    body_length  INTEGER NOT NULL,
    array_length INTEGER NOT NULL,
    UNIQUE (identity, owner)
) STRICT;
INSERT INTO owned_documents (owner, identity, digest, body, body_blocks, body_length, array_length)
    SELECT DISTINCT tasks.owner, identity, digest, body, body_blocks, body_length, array_length
    FROM documents JOIN task_documents ON task_documents.document = documents.id
    JOIN tasks ON tasks.id = task_documents.task;
CREATE TABLE owned_blocks (
    block       BLOB NOT NULL,
    owner       TEXT NOT NULL,
    document    INTEGER NOT NULL,
    PRIMARY KEY (block, owner, document)
) STRICT, WITHOUT ROWID;
INSERT INTO owned_blocks
    SELECT block, owned_documents.owner, owned_documents.id FROM document_blocks
    JOIN documents ON documents.id = document_blocks.document
    JOIN owned_documents ON owned_documents.identity = documents.identity;
UPDATE task_documents SET document = (
    SELECT owned_documents.id FROM documents JOIN owned_documents USING (identity)
    JOIN tasks ON tasks.owner = owned_documents.owner
    WHERE documents.id = task_documents.document AND tasks.id = task_documents.task);
DROP TABLE document_blocks;
DROP TABLE documents;
ALTER TABLE owned_documents RENAME TO documents;
ALTER TABLE owned_blocks RENAME TO document_blocks;
CREATE INDEX document_blocks_by_document ON document_blocks (document);

CREATE TABLE arrivals (                     -- blocks that an account has sent lately
    owner       TEXT NOT NULL,
    block       BLOB NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (owner, block)
) STRICT, WITHOUT ROWID;
CREATE INDEX arrivals_by_block ON arrivals (block);
CREATE INDEX arrivals_by_time  ON arrivals (at);

CREATE TABLE batches (
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    owner       TEXT NOT NULL,
    name        TEXT NOT NULL,
    tags        TEXT NOT NULL,              -- JSON
    completed   INTEGER NOT NULL,           -- the latest submission that was complete; 0 before
    created_at  INTEGER NOT NULL,
    touched_at  INTEGER NOT NULL,
    UNIQUE (owner, name)
) STRICT;
CREATE INDEX batches_by_touch ON batches (owner, touched_at);
CREATE TABLE batch_tags (
    owner       TEXT NOT NULL,
    tag         TEXT NOT NULL,
    batch       INTEGER NOT NULL,
    PRIMARY KEY (owner, tag, batch)
) STRICT, WITHOUT ROWID;
CREATE TABLE submissions (                  -- in the order in which they began: 1, 2, 3, ... for each batch
    batch       INTEGER NOT NULL,
    name        TEXT NOT NULL,
    number      INTEGER NOT NULL,
    PRIMARY KEY (batch, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE batch_members (
    number      INTEGER PRIMARY KEY,
    batch       INTEGER NOT NULL,
    key         TEXT NOT NULL,
    position    INTEGER NOT NULL,
    task        TEXT NOT NULL,
    parameters  TEXT NOT NULL,              -- JSON
    submission  INTEGER NOT NULL,           -- that put it there last
    UNIQUE (batch, key)
) STRICT;
CREATE INDEX batch_members_by_position ON batch_members (batch, position, key);
CREATE INDEX batch_members_by_task     ON batch_members (task);
CREATE TABLE parameters (                   -- of members of batches, for searching
    owner       TEXT NOT NULL,
    name        TEXT NOT NULL,
    value       ANY NOT NULL,               -- a number, a text, or a blob of one byte for a truth value
    member      INTEGER NOT NULL,
    PRIMARY KEY (owner, name, value, member)
) STRICT, WITHOUT ROWID;
CREATE INDEX parameters_by_member ON parameters (member);

CREATE TABLE pruned (                       -- one row
    events      INTEGER NOT NULL,           -- number of events that were forgotten
    sequence    INTEGER NOT NULL            -- number of the last of them
) STRICT;
INSERT INTO pruned VALUES (0, 0);
";

/// Arrivals are weighed. Those of before, which are kept for a day, weigh nothing.
const THIRD: &str = "
ALTER TABLE arrivals ADD COLUMN length INTEGER NOT NULL DEFAULT 0;
";

/// Tasks whose input is made of other tasks' results.
const FOURTH: &str = "
ALTER TABLE tasks ADD COLUMN unresolved_at INTEGER;    -- only while the input can be made
CREATE INDEX tasks_unresolved ON tasks (unresolved_at) WHERE unresolved_at IS NOT NULL;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A database of the first version with two accounts that share a document.
    const OLD: &str = "
    INSERT INTO tasks (id, owner, folder, name, kind, state, priority, created_at, memory_bytes, record) VALUES
        ('a1', 'ada', 'f', 'n', 'HEAT', 'success', 0, 1, 0, '{}'),
        ('a2', 'ada', 'f', 'n', 'HEAT', 'success', 0, 2, 0, '{}'),
        ('b1', 'bob', 'g', 'n', 'HEAT', 'success', 0, 3, 0, '{}');
    INSERT INTO documents (id, identity, digest, body, body_length, array_length) VALUES
        (7, x'01', x'11', x'aa', 100, 1000), (8, x'02', x'12', x'bb', 200, 2000);
    INSERT INTO document_blocks VALUES (x'f1', 7), (x'f2', 7), (x'f2', 8);
    INSERT INTO task_documents VALUES
        ('a1', 'input', 7), ('a2', 'input', 7), ('a2', 'result', 8), ('b1', 'input', 7);
    ";

    #[test]
    fn documents_of_the_first_version_become_their_accounts() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(FIRST).unwrap();
        connection.execute_batch(OLD).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        let rows = |sql: &str| -> Vec<String> {
            let mut statement = connection.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
            rows.map(Result::unwrap).collect()
        };
        assert_eq!(
            rows(
                "SELECT task || ' ' || role || ' ' || owner || ' ' || hex(identity) || ' ' || hex(body)
                  FROM task_documents JOIN documents ON documents.id = document ORDER BY task, role"
            ),
            ["a1 input ada 01 AA", "a2 input ada 01 AA", "a2 result ada 02 BB", "b1 input bob 01 AA"]
        );
        assert_eq!(
            rows("SELECT hex(block) || ' ' || document_blocks.owner || ' ' || hex(identity)
                  FROM document_blocks JOIN documents ON documents.id = document AND documents.owner = document_blocks.owner
                  ORDER BY 1"),
            ["F1 ada 01", "F1 bob 01", "F2 ada 01", "F2 ada 02", "F2 bob 01"]
        );
        assert_eq!(
            rows("SELECT owner || ' ' || tasks || ' ' || bytes FROM usage ORDER BY owner"),
            ["ada 2 4400", "bob 1 1100"]
        );
        assert_eq!(rows("SELECT events || ' ' || sequence FROM pruned"), ["0 0"]);
    }

    #[test]
    fn a_newer_database_is_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 1000).unwrap();
        assert!(matches!(migrate(&mut connection), Err(StoreError::TooNew { found: 1000, .. })));
    }
}
