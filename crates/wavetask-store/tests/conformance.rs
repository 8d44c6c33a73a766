//! SQLite and the local disk pass the suite that every back-end has to pass.

mod common;

use std::sync::Arc;

use wavetask_store::{LocalStore, conformance};

#[test]
fn sqlite_is_a_task_store() {
    let folder = common::folder();
    let mut number = 0;
    conformance::check_task_store(|name| {
        println!("{name}");
        number += 1;
        LocalStore::open(&folder.path().join(number.to_string()), &common::options()).unwrap().tasks
    });
}

#[test]
fn a_disk_is_a_block_store() {
    let folder = common::folder();
    let mut number = 0;
    conformance::check_block_store(|name| {
        println!("{name}");
        number += 1;
        let store = LocalStore::open(&folder.path().join(number.to_string()), &common::options()).unwrap();
        Arc::clone(&store.blocks) as _
    });
}
