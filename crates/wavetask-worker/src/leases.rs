//! Everything that holds a lease here, by lease.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wavetask_protocol::LeaseId;

use crate::journey::Held;

/// The tasks that this worker answers for.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<BTreeMap<LeaseId, Arc<Held>>>);

impl Leases {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LeaseId, Arc<Held>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Held>> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn insert(&self, held: &Arc<Held>) {
        self.lock().insert(held.assignment.lease.clone(), Arc::clone(held));
    }

    pub(crate) fn remove(&self, lease: &LeaseId) {
        self.lock().remove(lease);
    }

    /// How many cores are taken by tasks that are not small.
    pub(crate) fn cores_taken(&self) -> usize {
        self.lock().values().filter(|held| held.takes_a_core()).count()
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }
}
