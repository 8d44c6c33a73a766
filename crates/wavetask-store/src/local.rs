//! All stores of one data folder.

use std::path::Path;
use std::sync::Arc;

use wavetask_core::Policy;

use crate::block_store::{BlockReferences, BlockStore, Candidates, Collected};
use crate::disk::DiskBlockStore;
use crate::error::Result;
use crate::faults::Faults;
use crate::folder::{DEFAULT_RESERVE, DataFolder};
use crate::sqlite::SqliteTaskStore;
use crate::task_store::TaskStore;

/// How a data folder is used.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// The rules that tasks follow.
    pub policy: Policy,
    /// Free bytes that blocks leave to the database.
    pub reserve: u64,
    /// Failures made on purpose, for tests.
    pub faults: Faults,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { policy: Policy::default(), reserve: DEFAULT_RESERVE, faults: Faults::default() }
    }
}

/// Tasks and blocks in one data folder, which stays locked as long as either of them lives.
#[derive(Clone, Debug)]
pub struct LocalStore {
    /// The folder.
    pub folder: DataFolder,
    /// Tasks, in SQLite.
    pub tasks: Arc<SqliteTaskStore>,
    /// Blocks, as files.
    pub blocks: Arc<DiskBlockStore>,
}

impl LocalStore {
    /// Opens a data folder, made if need be. [`TaskStore::recover`] is the caller's to call, for it has a clock.
    ///
    /// # Errors
    /// `FolderInUse`, `TooNew`, and what the disk says.
    pub fn open(path: &Path, options: &LocalOptions) -> Result<Self> {
        let folder = DataFolder::open(path)?;
        let tasks = Arc::new(SqliteTaskStore::open(&folder, options.policy.clone())?);
        let blocks = Arc::new(DiskBlockStore::open(&folder, options.reserve, options.faults.clone())?);
        Ok(Self { folder, tasks, blocks })
    }
}

/// Removes the blocks of documents that were released, and those of uploads that came to nothing
/// ([`Candidates::Abandoned`]). Cheap when there are none, but for the first time after opening: to be called
/// after deletions and now and then.
///
/// # Errors
/// What the stores say.
pub fn collect_released(tasks: &dyn TaskStore, blocks: &dyn BlockStore) -> Result<Collected> {
    let mut total = Collected::default();
    loop {
        let released = tasks.released_blocks(1000)?;
        if released.is_empty() {
            break;
        }
        let collected = blocks.collect_garbage(Candidates::These(&released), &References(tasks))?;
        total.add(&collected);
        if collected.pinned > 0 {
            // Somebody is uploading one of them now: look again another time.
            break;
        }
        tasks.forget_released(&released)?;
    }
    total.add(&blocks.collect_garbage(Candidates::Abandoned, &References(tasks))?);
    Ok(total)
}

/// Removes all blocks that no document needs. Looks at every block.
///
/// # Errors
/// What the stores say.
pub fn collect_everything(tasks: &dyn TaskStore, blocks: &dyn BlockStore) -> Result<Collected> {
    blocks.collect_garbage(Candidates::All, &References(tasks))
}

struct References<'a>(&'a dyn TaskStore);

impl BlockReferences for References<'_> {
    fn unreferenced(&self, blocks: &[wavetask_document::Digest]) -> Result<Vec<wavetask_document::Digest>> {
        self.0.unreferenced(blocks)
    }
}
