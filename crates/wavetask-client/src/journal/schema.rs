//! The journal's tables, and how a file becomes a journal.

use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::fault::Fault;

/// "wtjn" in ASCII.
const APPLICATION: i64 = 0x7774_6a6e;
pub(super) const VERSION: i64 = 3;

const SCHEMA: &str = "
CREATE TABLE submission (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    batch TEXT NOT NULL,
    named INTEGER NOT NULL,
    token TEXT NOT NULL,
    nonce TEXT NOT NULL,
    lazy INTEGER NOT NULL,
    tags TEXT NOT NULL,
    created INTEGER NOT NULL,
    sealed INTEGER NOT NULL DEFAULT 0,
    finished INTEGER,
    owner TEXT NOT NULL DEFAULT '',
    program TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX submission_batch ON submission (scope, batch, id);
CREATE INDEX submission_unfinished ON submission (scope, program) WHERE finished IS NULL AND named = 0;
CREATE TABLE member (
    submission INTEGER NOT NULL REFERENCES submission (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    key TEXT NOT NULL,
    stage INTEGER NOT NULL DEFAULT 0,
    task TEXT,
    content BLOB,
    length INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    identity TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (submission, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE member_block (
    submission INTEGER NOT NULL,
    position INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (submission, position, digest),
    FOREIGN KEY (submission, position) REFERENCES member (submission, position) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX member_block_digest ON member_block (digest);
CREATE TABLE block (
    digest BLOB PRIMARY KEY,
    width INTEGER NOT NULL,
    length INTEGER NOT NULL,
    content BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Members that could not be packed: part of the journal since its third version.
const FAILURES: &str = "
CREATE TABLE failure (
    submission INTEGER NOT NULL REFERENCES submission (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    parameters TEXT NOT NULL,
    error_group TEXT NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    hint TEXT,
    PRIMARY KEY (submission, position)
) STRICT, WITHOUT ROWID;
";

/// What makes the second version of the first.
const SECOND: &str = "
ALTER TABLE submission ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE submission ADD COLUMN program TEXT NOT NULL DEFAULT '';
CREATE INDEX submission_unfinished ON submission (scope, program) WHERE finished IS NULL AND named = 0;
ALTER TABLE member ADD COLUMN identity TEXT NOT NULL DEFAULT '';
";

/// Makes a database a journal of the present version, if it is one or is empty.
pub(super) fn prepare(mut connection: Connection) -> Result<Connection, Fault> {
    connection.busy_timeout(Duration::from_secs(20))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let number = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version) {
        (0, 0) if tables == 0 => {
            transaction.execute_batch(SCHEMA)?;
            transaction.execute_batch(FAILURES)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        (APPLICATION, VERSION) => {}
        (APPLICATION, earlier @ 1..VERSION) => {
            if earlier == 1 {
                transaction.execute_batch(SECOND)?;
            }
            transaction.execute_batch(FAILURES)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        (APPLICATION, newer) if newer > VERSION => return Err(Fault::TooNew(newer)),
        _ => return Err(Fault::Foreign),
    }
    transaction.commit()?;
    Ok(connection)
}

/// Refuses a damaged file rather than to lose what it says. Only while that is quick.
pub(super) fn check(connection: &Connection) -> Result<(), Fault> {
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    if pages < 16_384 {
        let verdict: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Fault::Damaged(verdict));
        }
    }
    Ok(())
}
