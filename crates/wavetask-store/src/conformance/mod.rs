//! What every back-end must do, as functions that panic if it does not.
//!
//! A back-end's tests call [`check_task_store`] and [`check_block_store`] with something that makes a fresh,
//! empty store each time. The checks know nothing of SQLite or of files.

mod accounts;
mod batches;
mod blocks;
mod callbacks;
mod fixture;
mod leases;
mod lifecycle;
mod listing;
mod references;

use std::sync::Arc;

use crate::block_store::BlockStore;
use crate::task_store::TaskStore;

type TaskCheck = (&'static str, fn(&Arc<dyn TaskStore>));

const TASK_CHECKS: [&[TaskCheck]; 7] = [
    lifecycle::CHECKS,
    references::CHECKS,
    leases::CHECKS,
    listing::CHECKS,
    callbacks::CHECKS,
    batches::CHECKS,
    accounts::CHECKS,
];

/// Runs all checks of a task store, each on a fresh one, and lets the store check itself afterwards.
///
/// # Panics
/// If the store does not do what it must.
pub fn check_task_store(mut make: impl FnMut(&str) -> Arc<dyn TaskStore>) {
    for (name, check) in TASK_CHECKS.iter().copied().flatten() {
        let store = make(name);
        check(&store);
        let found = store.check().expect("the store can check itself");
        assert!(found.is_empty(), "after `{name}` the store contradicts itself: {found:#?}");
    }
}

/// Runs all checks of a block store, each on a fresh one.
///
/// # Panics
/// If the store does not do what it must.
pub fn check_block_store(mut make: impl FnMut(&str) -> Arc<dyn BlockStore>) {
    for (name, check) in blocks::CHECKS {
        check(&make(name));
    }
}
