//! Uploads on their way in: files on disk from the first byte until a task has been validated.
//!
//! An upload is a folder of parts; a plain upload has one. What makes it *the* file of a task is a
//! manifest that names the parts in order, written by temporary file, flush and rename. So nothing is
//! ever copied together: the reader of a staged file goes through its parts one after the other. A part
//! is flushed to disk before it is acknowledged, because the client drops its copy then.
//!
//! Two things exclude each other per task: putting a manifest in place, and beginning to validate.
//! [`Staging::lock`] serves both, so that what was checked is what is run.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha2::Digest as _;
use wavetask_protocol::TaskId;

use crate::disk::{check_reserve, free_bytes, is_disk_full, sync_folder, write_durably};

/// Bytes that are gathered before they are written, so that a transfer costs few switches of thread.
const GATHER: usize = 1 << 20;

/// Most parts that an upload may have, as in S3.
pub(crate) const MAXIMUM_PARTS: u32 = 10_000;

/// The folder of uploads.
#[derive(Debug)]
pub(crate) struct Staging {
    root: PathBuf,
    /// Bytes that uploads leave free on the disk.
    reserve: u64,
    locks: Mutex<HashMap<TaskId, Weak<tokio::sync::Mutex<()>>>>,
    /// Held while parts come, go, or become a file: a part that a file is made of neither changes nor goes.
    placing: Arc<Mutex<()>>,
}

/// Name of one upload: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UploadId(String);

impl UploadId {
    /// A new one, at random.
    pub(crate) fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    /// One that a client names; `None` if it cannot be one of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        (text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| Self(text.to_owned()))
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// One part of an upload, as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Part {
    /// 1 to [`MAXIMUM_PARTS`].
    pub(crate) number: u32,
    /// Its checksum and length in hexadecimal, opaque to clients.
    pub(crate) etag: String,
    /// Its length.
    pub(crate) bytes: u64,
}

impl Part {
    fn file_name(&self) -> String {
        format!("{:05}.{}", self.number, self.etag)
    }

    fn parse(name: &str) -> Option<Self> {
        let (number, etag) = name.split_once('.')?;
        let bytes = u64::from_str_radix(etag.get(8..)?, 16).ok()?;
        Some(Self { number: number.parse().ok()?, etag: etag.to_owned(), bytes })
    }
}

/// The parts that make up a task's file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Manifest {
    upload: String,
    parts: Vec<Part>,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Opaque name of this content.
    pub(crate) etag: String,
}

/// What the sender says about a body, to be compared with what came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    /// CRC-32 (of zlib).
    pub(crate) crc32: Option<u32>,
    /// SHA-256.
    pub(crate) sha256: Option<[u8; 32]>,
    /// Length in bytes.
    pub(crate) bytes: Option<u64>,
}

/// An upload failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StagingError {
    /// The sender's fault or the line's.
    #[error("the body broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// More than is allowed.
    #[error("the file is larger than {limit} bytes, the most that this server accepts")]
    TooLarge { limit: u64 },
    /// What came is not what the sender meant to send.
    #[error("the {what} of the body does not match what the request announced")]
    Mismatch { what: &'static str },
    /// No such upload, or it was aborted.
    #[error("there is no such upload")]
    NoSuchUpload,
    /// A part is named that was not uploaded.
    #[error("part {0} was not uploaded, or its ETag differs")]
    InvalidPart(u32),
    /// Parts must come in rising order.
    #[error("the parts are not in rising order")]
    InvalidPartOrder,
    /// The disk is full, or nearly so: come again later.
    #[error("the server's disk is full; free some space there, or try again later")]
    NoRoom,
    /// The disk failed.
    #[error("the upload could not be written")]
    Io(#[source] io::Error),
}

impl From<io::Error> for StagingError {
    fn from(error: io::Error) -> Self {
        if is_disk_full(&error) { Self::NoRoom } else { Self::Io(error) }
    }
}

impl Staging {
    /// Opens the folder, making it if needed. Uploads leave `reserve` bytes free on its disk.
    pub(crate) fn open(root: PathBuf, reserve: u64) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        Ok(Self { root, reserve, locks: Mutex::default(), placing: Arc::default() })
    }

    /// The folder, for temporary files that lie beside the uploads.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Free bytes on the folder's file system, for a user without privileges.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.root)
    }

    /// Waits until nobody else puts a file of this task in place or begins to validate it.
    pub(crate) async fn lock(&self, task: &TaskId) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            match locks.get(task).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    locks.retain(|_, lock| lock.strong_count() > 0);
                    let lock = Arc::new(tokio::sync::Mutex::new(()));
                    locks.insert(task.clone(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }

    fn task_folder(&self, task: &TaskId) -> PathBuf {
        self.root.join(task.as_str())
    }

    fn upload_folder(&self, task: &TaskId, upload: &UploadId) -> PathBuf {
        self.task_folder(task).join(upload.as_str())
    }

    fn manifest_path(&self, task: &TaskId, file: &str) -> PathBuf {
        self.task_folder(task).join(format!("{file}.manifest"))
    }

    /// Begins an upload of several parts.
    pub(crate) fn begin(&self, task: &TaskId) -> Result<UploadId, StagingError> {
        let upload = UploadId::random();
        fs::create_dir_all(self.upload_folder(task, &upload))?;
        sync_folder(&self.task_folder(task))?;
        sync_folder(&self.root)?;
        Ok(upload)
    }

    /// Receives one part; on disk when it returns.
    pub(crate) async fn receive<S, E>(
        &self,
        task: &TaskId,
        upload: &UploadId,
        number: u32,
        body: S,
        expected: impl FnOnce() -> Expected,
        limit: u64,
    ) -> Result<Part, StagingError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let folder = self.upload_folder(task, upload);
        if !folder.is_dir() {
            return Err(StagingError::NoSuchUpload);
        }
        let received = receive_file(&folder, body, limit, self.reserve).await?;
        // A checksum in a trailer is known only now.
        let expected = expected();
        if expected.bytes.is_some_and(|bytes| bytes != received.bytes) {
            return Err(StagingError::Mismatch { what: "length" });
        }
        if expected.crc32.is_some_and(|crc32| crc32 != received.crc32) {
            return Err(StagingError::Mismatch { what: "CRC-32" });
        }
        let part = Part {
            number,
            etag: format!("{:08x}{:012x}", received.crc32, received.bytes),
            bytes: received.bytes,
        };
        let (placing, task_folder, upload) =
            (Arc::clone(&self.placing), self.task_folder(task), upload.clone());
        blocking(move || {
            if let Some(sha256) = expected.sha256 {
                let mut file = fs::File::open(received.file.path())?;
                let mut hasher = sha2::Sha256::new();
                io::copy(&mut file, &mut hasher)?;
                if <[u8; 32]>::from(hasher.finalize()) != sha256 {
                    return Err(StagingError::Mismatch { what: "SHA-256" });
                }
            }
            received.file.as_file().sync_data()?;
            let _placing = placing.lock().unwrap_or_else(PoisonError::into_inner);
            // A part that comes late must not take the place of one that the file is made of.
            if is_completed(&task_folder, &upload)? {
                return Err(StagingError::NoSuchUpload);
            }
            let earlier = parts_in(&folder)?;
            match received.file.persist(folder.join(part.file_name())) {
                Ok(_) => {}
                // The upload was aborted meanwhile.
                Err(error) if error.error.kind() == io::ErrorKind::NotFound => {
                    return Err(StagingError::NoSuchUpload);
                }
                Err(error) => return Err(error.error.into()),
            }
            for earlier in earlier {
                if earlier.number == part.number && earlier.etag != part.etag {
                    fs::remove_file(folder.join(earlier.file_name()))?;
                }
            }
            sync_folder(&folder)?;
            Ok(part)
        })
        .await
    }

    /// The parts that are there, in order.
    pub(crate) fn parts(&self, task: &TaskId, upload: &UploadId) -> Result<Vec<Part>, StagingError> {
        parts_in(&self.upload_folder(task, upload))
    }

    /// Makes these parts the task's file. May be repeated. Call it with the task's lock held and the
    /// task a draft.
    pub(crate) fn complete(
        &self,
        task: &TaskId,
        file: &str,
        upload: &UploadId,
        chosen: &[(u32, String)],
        limit: u64,
    ) -> Result<Manifest, StagingError> {
        let _placing = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = self.staged(task, file)?;
        let present = self.parts(task, upload)?;
        let mut parts = Vec::with_capacity(chosen.len());
        let mut last = 0;
        for (number, etag) in chosen {
            if *number <= last {
                return Err(StagingError::InvalidPartOrder);
            }
            last = *number;
            let part = present
                .iter()
                .find(|part| part.number == *number && part.etag == *etag)
                .ok_or(StagingError::InvalidPart(*number))?;
            parts.push(part.clone());
        }
        if parts.is_empty() {
            return Err(StagingError::InvalidPart(1));
        }
        let bytes = parts.iter().map(|part| part.bytes).sum();
        if bytes > limit {
            return Err(StagingError::TooLarge { limit });
        }
        let mut etags = String::new();
        for part in &parts {
            etags.push_str(&part.etag);
        }
        let etag = wavetask_document::Digest::of(etags.as_bytes()).to_string()[..32].to_owned();
        let manifest = Manifest { upload: upload.0.clone(), parts, bytes, etag };
        let text = serde_json::to_vec(&manifest).map_err(io::Error::other)?;
        write_durably(&self.manifest_path(task, file), &text)?;
        // What was uploaded under this name before is nobody's any more.
        if let Some(earlier) = earlier
            && earlier.upload != upload.0
            && let Err(error) = fs::remove_dir_all(self.task_folder(task).join(&earlier.upload))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%task, %error, "an upload that was replaced could not be removed");
        }
        Ok(manifest)
    }

    /// Gives an upload up. The parts of a completed one stay.
    pub(crate) fn abort(&self, task: &TaskId, file: &str, upload: &UploadId) -> Result<(), StagingError> {
        let _placing = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.staged(task, file)?.is_some_and(|manifest| manifest.upload == upload.0) {
            return Ok(());
        }
        match fs::remove_dir_all(self.upload_folder(task, upload)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StagingError::NoSuchUpload),
            other => Ok(other?),
        }
    }

    /// The task's file, if one was uploaded completely.
    pub(crate) fn staged(&self, task: &TaskId, file: &str) -> io::Result<Option<Manifest>> {
        match fs::read(self.manifest_path(task, file)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).map_err(io::Error::other)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a staged file from its beginning.
    pub(crate) fn reader(&self, task: &TaskId, manifest: &Manifest) -> StagedReader {
        let folder = self.task_folder(task).join(&manifest.upload);
        let mut paths: Vec<PathBuf> =
            manifest.parts.iter().map(|part| folder.join(part.file_name())).collect();
        paths.reverse();
        StagedReader { current: None, remaining: paths }
    }

    /// Forgets everything that was uploaded for a task.
    pub(crate) fn discard(&self, task: &TaskId) -> io::Result<()> {
        match fs::remove_dir_all(self.task_folder(task)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Removes what an earlier run was receiving when it was cut off.
    pub(crate) fn remove_temporary(&self) -> io::Result<()> {
        let is_temporary = |name: &std::ffi::OsStr| {
            name.to_str().is_some_and(|name| name.starts_with(".receiving-") || name.starts_with(".writing-"))
        };
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if is_temporary(&entry.file_name()) {
                fs::remove_file(entry.path())?;
                continue;
            }
            // Task folders hold manifests and one folder per upload.
            for folder in std::iter::once(entry.path())
                .chain(fs::read_dir(entry.path()).into_iter().flatten().flatten().map(|entry| entry.path()))
            {
                for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                    if is_temporary(&entry.file_name()) {
                        fs::remove_file(entry.path())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The tasks that something was uploaded for, with the time of the last change.
    pub(crate) fn tasks(&self) -> io::Result<Vec<(TaskId, Duration)>> {
        let now = SystemTime::now();
        let mut tasks = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let Some(task) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let modified = entry.metadata()?.modified()?;
            tasks.push((task, now.duration_since(modified).unwrap_or_default()));
        }
        Ok(tasks)
    }
}

/// The parts in an upload's folder, in order.
fn parts_in(folder: &Path) -> Result<Vec<Part>, StagingError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StagingError::NoSuchUpload),
        Err(error) => return Err(error.into()),
    };
    let mut parts = Vec::new();
    for entry in entries {
        if let Some(part) = entry?.file_name().to_str().and_then(Part::parse) {
            parts.push(part);
        }
    }
    parts.sort_by_key(|part| part.number);
    Ok(parts)
}

/// Whether a file is made of this upload.
fn is_completed(task_folder: &Path, upload: &UploadId) -> Result<bool, StagingError> {
    let entries = match fs::read_dir(task_folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "manifest")
            && serde_json::from_slice::<Manifest>(&fs::read(&path)?).map_err(io::Error::other)?.upload
                == upload.0
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads the parts of a staged file one after the other.
#[derive(Debug)]
pub(crate) struct StagedReader {
    current: Option<fs::File>,
    remaining: Vec<PathBuf>,
}

impl Read for StagedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.current {
                let read = file.read(buffer)?;
                if read > 0 || buffer.is_empty() {
                    return Ok(read);
                }
            }
            match self.remaining.pop() {
                Some(path) => self.current = Some(fs::File::open(path)?),
                None => return Ok(0),
            }
        }
    }
}

/// A body that lies in a temporary file, not yet flushed.
pub(crate) struct Received {
    pub(crate) file: tempfile::NamedTempFile,
    pub(crate) bytes: u64,
    pub(crate) crc32: u32,
}

/// Writes a body into a temporary file in `folder`, as long as more than `reserve` bytes are free there: several
/// bodies that come at once may each have found room when they began.
pub(crate) async fn receive_file<S, E>(
    folder: &Path,
    mut body: S,
    limit: u64,
    reserve: u64,
) -> Result<Received, StagingError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let folder = folder.to_owned();
    let place = folder.clone();
    let mut file = blocking(move || {
        tempfile::Builder::new().prefix(".receiving-").tempfile_in(place).map_err(StagingError::from)
    })
    .await?;
    let mut hasher = crc32fast::Hasher::new();
    let mut bytes = 0_u64;
    let mut gathered: Vec<Bytes> = Vec::new();
    let mut gathered_bytes = 0;
    loop {
        let chunk = match body.next().await {
            Some(chunk) => Some(chunk.map_err(|error| StagingError::Body(error.into()))?),
            None => None,
        };
        let ended = chunk.is_none();
        if let Some(chunk) = chunk {
            bytes += chunk.len() as u64;
            if bytes > limit {
                return Err(StagingError::TooLarge { limit });
            }
            gathered_bytes += chunk.len();
            gathered.push(chunk);
        }
        if gathered_bytes >= GATHER || (ended && gathered_bytes > 0) {
            let (chunks, place) = (std::mem::take(&mut gathered), folder.clone());
            let length = std::mem::take(&mut gathered_bytes) as u64;
            (file, hasher) = blocking(move || {
                check_reserve(&place, length, reserve)?;
                for chunk in &chunks {
                    hasher.update(chunk);
                    file.write_all(chunk)?;
                }
                Ok::<_, StagingError>((file, hasher))
            })
            .await?;
        }
        if ended {
            return Ok(Received { file, bytes, crc32: hasher.finalize() });
        }
    }
}

/// Runs something that may block on the pool for such things.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StagingError> + Send + 'static,
) -> Result<T, StagingError> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
