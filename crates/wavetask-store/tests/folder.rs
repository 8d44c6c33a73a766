//! The data folder: one server at a time, closed to others, put in order at the start.

mod common;

use std::os::unix::fs::PermissionsExt as _;

use wavetask_store::{BlockStore, LocalStore, StoreError, Usage};

#[test]
fn a_second_server_is_told_who_has_the_folder() {
    let folder = common::folder();
    let first = LocalStore::open(folder.path(), &common::options()).unwrap();
    let second = LocalStore::open(folder.path(), &common::options()).unwrap_err();
    let text = second.to_string();
    assert!(matches!(second, StoreError::FolderInUse { .. }), "{text}");
    assert!(text.contains(&folder.path().display().to_string()), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    // The lock lives as long as any part of the store.
    let blocks = first.blocks.clone();
    drop(first);
    assert!(LocalStore::open(folder.path(), &common::options()).is_err());
    drop(blocks);
    LocalStore::open(folder.path(), &common::options()).unwrap();
}

#[test]
fn others_cannot_look_into_it() {
    let folder = common::folder();
    let path = folder.path().join("data");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let store = LocalStore::open(&path, &common::options()).unwrap();
    for directory in [path.clone(), path.join("blocks").join("incoming")] {
        let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", directory.display());
    }
    drop(store);
}

#[test]
fn leftovers_of_a_crash_are_removed() {
    let folder = common::folder();
    let store = LocalStore::open(folder.path(), &common::options()).unwrap();
    let mut session = store.blocks.session();
    session.put(&[1; 100_000]).unwrap();
    std::mem::forget(session);
    let incoming = folder.path().join("blocks").join("incoming");
    assert_eq!(std::fs::read_dir(&incoming).unwrap().count(), 1);
    // What was forgotten keeps the lock: let the file go as a crash would.
    std::fs::remove_file(folder.path().join("lock")).unwrap();
    drop(store);

    let store = LocalStore::open(folder.path(), &common::options()).unwrap();
    assert_eq!(std::fs::read_dir(&incoming).unwrap().count(), 0);
    assert_eq!(store.blocks.usage().unwrap(), Usage::default());
}

#[test]
fn a_newer_database_is_left_alone() {
    let folder = common::folder();
    drop(LocalStore::open(folder.path(), &common::options()).unwrap());
    let connection = rusqlite::Connection::open(folder.path().join("wavetask.db")).unwrap();
    connection.pragma_update(None, "user_version", 1_000).unwrap();
    drop(connection);
    let error = LocalStore::open(folder.path(), &common::options()).unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 1_000, .. }), "{error}");
}

#[test]
fn what_contradicts_itself_is_found() {
    let folder = common::folder();
    let store = LocalStore::open(folder.path(), &common::options()).unwrap();
    let account = common::Account::new(&store).unwrap();
    let task = account.create(&store, "task-one").unwrap();
    common::submit(&store, &task, &[vec![1]]).unwrap();
    let check = || wavetask_store::TaskStore::check(&*store.tasks).unwrap();
    assert_eq!(check(), [""; 0]);
    let connection = rusqlite::Connection::open(folder.path().join("wavetask.db")).unwrap();
    connection.execute("UPDATE tasks SET state = 'success'", []).unwrap();
    assert!(check().iter().any(|found| found.contains("columns")), "{:?}", check());
    connection.execute("UPDATE tasks SET state = 'queued'", []).unwrap();
    assert_eq!(check(), [""; 0]);
    connection.execute("DELETE FROM events WHERE sequence = 3", []).unwrap();
    assert_eq!(check().len(), 2, "{:?}", check());
    connection.execute("DELETE FROM task_documents", []).unwrap();
    assert!(check().iter().any(|found| found.contains("input document")), "{:?}", check());
}
