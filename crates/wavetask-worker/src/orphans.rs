//! Tasks that a worker had at hand when it died: its successor, in the same work folder, gives them back, so
//! that they need not wait until their leases expire.
//!
//! A result that lies there finished is not handed in: it was never synced, so after a power cut it may hold
//! anything, and nobody could tell.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use wavetask_protocol::{LeaseId, TaskId};

/// File in a lease's folder with the id of its task.
pub(crate) const TASK_FILE: &str = "task";
/// File in the work folder that counts, by task, in how many deaths in a row it was at hand.
const DEATHS_FILE: &str = "deaths.json";

/// A lease that nobody keeps alive any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    pub(crate) lease: LeaseId,
    /// In how many deaths of this folder's workers in a row its task was at hand.
    pub(crate) deaths: u32,
}

/// Finds what a dead worker left in this folder, counts it, and removes its files.
pub(crate) fn collect(work_folder: &Path) -> io::Result<Vec<Orphan>> {
    let mut found: Vec<(LeaseId, Option<TaskId>)> = Vec::new();
    for entry in std::fs::read_dir(work_folder)? {
        let entry = entry?;
        let name = entry.file_name();
        // Only what a worker makes: a folder named by mistake must not lose what is its own.
        let Some(lease) = name.to_str().filter(|name| name.starts_with("lease-")) else { continue };
        let task = std::fs::read_to_string(entry.path().join(TASK_FILE)).ok();
        if let Ok(lease) = lease.parse() {
            found.push((lease, task.and_then(|task| task.trim().parse().ok())));
        }
    }
    let file = work_folder.join(DEATHS_FILE);
    let before: BTreeMap<TaskId, u32> =
        std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let (orphans, after) = count(&before, found);
    // Counted before the files go: a successor that dies at this point counts the same death again at worst.
    // It may be just these files that fill the disk, so one that cannot be written must not keep them there.
    if let Err(error) = std::fs::write(&file, serde_json::to_vec(&after)?) {
        tracing::warn!("cannot count deaths in {}: {error}", file.display());
    }
    for orphan in &orphans {
        std::fs::remove_dir_all(work_folder.join(orphan.lease.as_str()))?;
    }
    Ok(orphans)
}

/// One more death for the tasks that were at hand; the others' counts end.
fn count(
    before: &BTreeMap<TaskId, u32>,
    found: Vec<(LeaseId, Option<TaskId>)>,
) -> (Vec<Orphan>, BTreeMap<TaskId, u32>) {
    let mut after = BTreeMap::new();
    let mut orphans = Vec::with_capacity(found.len());
    for (lease, task) in found {
        let mut deaths = 1;
        if let Some(task) = task {
            deaths += before.get(&task).copied().unwrap_or(0);
            after.insert(task, deaths);
        }
        orphans.push(Orphan { lease, deaths });
    }
    (orphans, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_the_disk_is_removed_though_nothing_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(DEATHS_FILE)).unwrap();
        std::fs::create_dir(folder.path().join("lease-1")).unwrap();
        std::fs::write(folder.path().join("lease-1").join("result.hdf5"), [0; 1000]).unwrap();
        let orphans = collect(folder.path()).unwrap();
        assert_eq!(orphans.len(), 1);
        assert!(!folder.path().join("lease-1").exists());
    }

    #[test]
    fn deaths_in_a_row_are_counted_by_task_and_others_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let leave = |lease: &str, task: &str| {
            let path = folder.path().join(lease);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join(TASK_FILE), task).unwrap();
        };
        let deaths = || {
            let mut found = collect(folder.path()).unwrap();
            found.sort_by(|a, b| a.lease.cmp(&b.lease));
            found.into_iter().map(|orphan| (orphan.lease.to_string(), orphan.deaths)).collect::<Vec<_>>()
        };
        std::fs::create_dir(folder.path().join("mine")).unwrap();
        leave("lease-1", "task-a");
        leave("lease-2", "task-b\n");
        assert_eq!(deaths(), [("lease-1".to_owned(), 1), ("lease-2".to_owned(), 1)]);
        leave("lease-3", "task-a");
        leave("lease-4", "not an id");
        assert_eq!(deaths(), [("lease-3".to_owned(), 2), ("lease-4".to_owned(), 1)]);
        leave("lease-5", "task-b");
        assert_eq!(deaths(), [("lease-5".to_owned(), 1)]);
        assert_eq!(deaths(), []);
        assert!(folder.path().join("mine").exists());
    }
}
