//! Failures made on purpose: every write to the disk asks here first.
//!
//! A full disk and a crash between two writes cannot be had on demand, and the code that deals with them is
//! the code that loses data if it is wrong. Tests give a hook that fails at the operation they choose; a
//! store without one pays a comparison.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What is about to be done to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiskOperation {
    /// Create a file.
    Create,
    /// Write bytes.
    Write,
    /// Sync a file.
    SyncFile,
    /// Rename a file into place.
    Rename,
    /// Sync a directory.
    SyncDirectory,
    /// Remove a file.
    Remove,
}

/// A hook that may fail an operation.
pub type FaultHook = dyn Fn(DiskOperation, &Path) -> io::Result<()> + Send + Sync;

/// The hook, if there is one.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<FaultHook>>);

impl Faults {
    /// Fails what the hook fails.
    pub fn new(hook: Arc<FaultHook>) -> Self {
        Self(Some(hook))
    }

    pub(crate) fn check(&self, operation: DiskOperation, path: &Path) -> io::Result<()> {
        match &self.0 {
            Some(hook) => hook(operation, path),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "Faults(on)" } else { "Faults(off)" })
    }
}
