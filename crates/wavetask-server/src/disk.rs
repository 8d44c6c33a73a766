//! The disk under the data folder: how much room there is, and what makes a write last.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Whether an error says that there is no room, on the disk or in a quota.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes to a file as long as more than the reserve is free on its disk: what is taken from it would be
/// missing when the database has to write down what happened.
#[derive(Debug)]
pub(crate) struct RoomyWriter<'a> {
    file: &'a fs::File,
    folder: &'a Path,
    reserve: u64,
    /// Bytes that may be written until the next look.
    allowed: u64,
}

/// Bytes that are written between two looks at the free space.
const LOOK_EVERY: u64 = 8 << 20;

impl<'a> RoomyWriter<'a> {
    /// For a file on the disk of `folder`.
    pub(crate) const fn new(file: &'a fs::File, folder: &'a Path, reserve: u64) -> Self {
        Self { file, folder, reserve, allowed: 0 }
    }
}

impl Write for RoomyWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.allowed == 0 {
            check_reserve(self.folder, LOOK_EVERY.min(bytes.len() as u64), self.reserve)?;
            self.allowed = LOOK_EVERY;
        }
        let length = bytes.len().min(usize::try_from(self.allowed).unwrap_or(usize::MAX));
        let written = self.file.write(&bytes[..length])?;
        self.allowed -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Refuses if less than these bytes and the reserve are free.
pub(crate) fn check_reserve(folder: &Path, bytes: u64, reserve: u64) -> io::Result<()> {
    if free_bytes(folder)? < bytes.saturating_add(reserve) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

/// Replaces a file so that after a crash either the old or the new content is there, never half.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_data()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Free bytes on a path's file system, for a user without privileges.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let statistics = statvfs(path)?;
    Ok(statistics.f_bavail.saturating_mul(statistics.f_frsize))
}

/// All bytes of a path's file system, used or not.
pub(crate) fn total_bytes(path: &Path) -> io::Result<u64> {
    let statistics = statvfs(path)?;
    Ok(statistics.f_blocks.saturating_mul(statistics.f_frsize))
}

fn statvfs(path: &Path) -> io::Result<libc::statvfs> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut statistics = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero byte and the structure is large enough; it is read only after
    // the call has said that it filled it.
    unsafe {
        if libc::statvfs(path.as_ptr(), statistics.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(statistics.assume_init())
    }
}
