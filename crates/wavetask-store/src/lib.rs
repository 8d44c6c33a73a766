//! Tasks and events in SQLite, blocks on local disk, and the conformance suite of both.
