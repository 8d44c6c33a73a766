//! A task's folder on the worker's disk: made empty, removed for certain, and what it means when that fails.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use wavetask_protocol::{ErrorKind, TaskError};

use crate::orphans::TASK_FILE;

/// Makes a task's folder, empty but for the file that names the task.
pub(crate) fn make_folder(folder: &Path, task: &str) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o700);
    match builder.create(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::remove_dir_all(folder)?;
            builder.create(folder)?;
        }
        made => made?,
    }
    std::fs::write(folder.join(TASK_FILE), task)
}

/// How often a folder is removed in which a file appears meanwhile.
const REMOVALS: usize = 10;

/// Removes a task's folder, if it is there. A download that was broken off may still be creating its file; once the
/// folder is gone it cannot.
pub(crate) async fn remove_folder(folder: &Path) -> std::io::Result<()> {
    use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
    let mut left = REMOVALS;
    loop {
        left -= 1;
        match tokio::fs::remove_dir_all(folder).await {
            Err(error) if error.kind() == NotFound => return Ok(()),
            Err(error) if error.kind() == DirectoryNotEmpty && left > 0 => {}
            removed => return removed,
        }
    }
}

/// A file of the worker that cannot be used. A full disk is a matter of resources and is not tried again;
/// anything else may go better on another machine.
pub(crate) fn file_failure(path: &Path, error: &std::io::Error) -> TaskError {
    let full = matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::FileTooLarge
    );
    let (kind, code) = if full {
        (ErrorKind::Resources, "worker.disk_full")
    } else {
        (ErrorKind::Infrastructure, "worker.files")
    };
    let place = path.parent().unwrap_or(path).display();
    TaskError {
        kind,
        code: code.to_owned(),
        message: format!("The worker cannot write to {place}: {error}."),
    }
}
