//! What the tests of this crate have in common.

use tempfile::TempDir;
use wavetask_store::LocalOptions;

/// A folder that vanishes with the value: in memory where the system has such a place, because what these
/// tests look at does not depend on how long a disk takes to sync.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn options() -> LocalOptions {
    LocalOptions { reserve: 0, ..LocalOptions::default() }
}
