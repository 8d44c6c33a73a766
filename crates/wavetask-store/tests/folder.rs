//! The data folder: one server at a time, closed to others, put in order at the start.

mod common;

use std::io::Write as _;
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
    for directory in [path.clone(), path.join("staging"), path.join("blocks").join("incoming")] {
        let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", directory.display());
    }
    drop(store);
}

#[test]
fn leftovers_of_a_crash_are_removed() {
    let folder = common::folder();
    let store = LocalStore::open(folder.path(), &common::options()).unwrap();
    let account = common::Account::new(&store).unwrap();
    let task = account.create(&store, "task-one").unwrap();
    let stage = |bytes: &[u8]| {
        let mut file = store.staging.create().unwrap();
        file.write_all(bytes).unwrap();
        file.finish().unwrap()
    };
    let (noted, byte_length) = stage(b"noted");
    let (forgotten, _) = stage(b"never noted");
    let note = wavetask_store::StagedFile {
        name: "simulation.hdf5.gz".to_owned(),
        token: noted.clone(),
        byte_length,
        tag: "tag".to_owned(),
        received_at: common::now(),
    };
    wavetask_store::TaskStore::stage_file(&*store.tasks, &task, &note, common::now()).unwrap();
    let mut unfinished = store.staging.create().unwrap();
    unfinished.write_all(b"cut off").unwrap();
    let cut_off = unfinished.token().to_owned();
    std::mem::forget(unfinished);
    let mut session = store.blocks.session();
    session.put(&[1; 100_000]).unwrap();
    std::mem::forget(session);
    let incoming = folder.path().join("blocks").join("incoming");
    assert_eq!(std::fs::read_dir(&incoming).unwrap().count(), 1);
    // What was forgotten keeps the lock: let the file go as a crash would.
    std::fs::remove_file(folder.path().join("lock")).unwrap();
    drop(store);

    let store = LocalStore::open(folder.path(), &common::options()).unwrap();
    assert!(store.staging.open_file(&noted).is_ok());
    assert!(matches!(store.staging.open_file(&forgotten), Err(StoreError::NotFound(_))));
    assert!(matches!(store.staging.open_file(&cut_off), Err(StoreError::NotFound(_))));
    assert_eq!(std::fs::read_dir(&incoming).unwrap().count(), 0);
    assert_eq!(store.blocks.usage().unwrap(), Usage::default());
}

#[test]
fn uploaded_files_are_put_together_in_order() {
    let folder = common::folder();
    let store = LocalStore::open(folder.path(), &common::options()).unwrap();
    let parts: Vec<String> = [&b"first "[..], b"second ", b"third"]
        .into_iter()
        .map(|bytes| {
            let mut file = store.staging.create().unwrap();
            file.write_all(bytes).unwrap();
            file.finish().unwrap().0
        })
        .collect();
    let (token, length) = store.staging.concatenate(&parts).unwrap().finish().unwrap();
    assert_eq!(length, 18);
    assert_eq!(std::fs::read(store.staging.path(&token).unwrap()).unwrap(), b"first second third");
    for token in ["", "..", "../lock", "a/b", &"x".repeat(32)] {
        assert!(store.staging.path(token).is_err(), "{token} is no token");
    }
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
