//! Which processes live: each holds a lock that the operating system takes back when the process ends, however it ends.
//!
//! A number of a process would not do: numbers are given again, and a container does not see those outside. A locked
//! file answers on all systems, and the answer does not get old.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files that nobody locks are removed after so long.
const OLD: Duration = Duration::from_secs(3_600);

/// The lock of this process, or of one engine in it.
#[derive(Debug)]
pub(super) struct Owner {
    name: String,
    path: PathBuf,
    _locked: File,
}

impl Owner {
    /// Takes a lock of a new name in this folder. `None` where that cannot be done, as on some network file systems:
    /// others then take the process for gone.
    pub(super) fn claim(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).ok()?;
        sweep(folder);
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).ok()?;
        let name: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = folder.join(&name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path).ok()?;
        file.try_lock().ok()?;
        Some(Self { name, path, _locked: file })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the process that took the lock of this name lives.
    pub(super) fn lives(folder: &Path, name: &str) -> bool {
        !name.is_empty() && File::open(folder.join(name)).is_ok_and(|file| is_locked(&file))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Where a locked file cannot be removed, the next process does it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is_locked(file: &File) -> bool {
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Removes what ended processes have left.
fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        // One that was just made is about to be locked.
        let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
        let old = matches!(age, Ok(Ok(age)) if age > OLD);
        if old && File::open(entry.path()).is_ok_and(|file| !is_locked(&file)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_lives_as_long_as_it_holds_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let owner = Owner::claim(folder.path()).unwrap();
        let name = owner.name().to_owned();
        assert!(Owner::lives(folder.path(), &name));
        assert!(Owner::lives(folder.path(), &name), "asking leaves it as it is");
        assert!(!Owner::lives(folder.path(), "somebody else"));
        assert!(!Owner::lives(folder.path(), ""));
        drop(owner);
        assert!(!Owner::lives(folder.path(), &name));
        // As a kill leaves it: the file without its lock.
        let path = folder.path().join("killed");
        File::create(&path).unwrap();
        assert!(!Owner::lives(folder.path(), "killed"));
        File::open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        drop(Owner::claim(folder.path()));
        assert!(!path.exists(), "and the next process clears it away");
    }
}
