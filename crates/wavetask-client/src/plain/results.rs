//! Results on this side: fetched in ranges, taken apart into document and blocks, and kept in unnamed files for as
//! long as there is room.
//!
//! The protocol offers whole files only. So the first question about a result fetches all of it, and parts of it are
//! answered from the copy here; a copy that had to make room is fetched again when it is asked for. Nothing of this
//! survives the process, on purpose: what the user wants to keep, the engine keeps.
//!
//! What is verified: the length against what the store says, that all ranges are of one version of the object
//! (`If-Match`), the gzip layer's CRC-32, and that the file is whole HDF5 with a JSON. An `ETag` is not taken for an
//! MD5 sum: of encrypted and of multipart objects it is none, and it does not say which it is.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::OnceCell;
use wavetask_document::{
    BlockSink, BlockSource, Digest, Document, DocumentError, Limits, hdf5, positioned, unpack,
};

use super::object::Object;
use super::transport::Failure;
use super::upload::PART_BYTES;
use crate::error::{ClientError, ErrorGroup};

/// Ranges of one file in flight.
const RANGES_AT_ONCE: usize = 4;

/// A file that was taken apart.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) document: Document,
    file: File,
    places: HashMap<Digest, (u64, u32)>,
    bytes: u64,
}

impl Stored {
    /// A block; `None` if it is not one of this file's.
    pub(super) fn block(&self, digest: &Digest) -> io::Result<Option<Bytes>> {
        if !self.places.contains_key(digest) {
            return Ok(None);
        }
        let mut buffer = Vec::new();
        self.get(digest, &mut buffer)?;
        Ok(Some(buffer.into()))
    }
}

impl BlockSource for Stored {
    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()> {
        let (at, length) = *self.places.get(digest).ok_or(io::ErrorKind::NotFound)?;
        buffer.clear();
        buffer.resize(length as usize, 0);
        positioned::read_exact_at(&self.file, buffer, at)?;
        if Digest::of(buffer) == *digest { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

/// Writes blocks into one file, each once.
struct Spool {
    file: File,
    places: HashMap<Digest, (u64, u32)>,
    end: u64,
}

impl BlockSink for Spool {
    fn put(&mut self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        if !self.places.contains_key(&digest) {
            let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            positioned::write_all_at(&self.file, bytes, self.end)?;
            self.places.insert(digest, (self.end, length));
            self.end += u64::from(length);
        }
        Ok(digest)
    }
}

/// Results by the server's task.
#[derive(Debug)]
pub(super) struct Results {
    scratch: PathBuf,
    room: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    results: HashMap<String, Arc<OnceCell<Arc<Stored>>>>,
    /// Those that are there, the longest unused first.
    order: VecDeque<String>,
    bytes: u64,
    /// Whose result a block is of, there or not.
    origins: HashMap<Digest, String>,
}

impl Results {
    /// Keeps up to `room` bytes of blocks in files in this folder.
    pub(super) fn new(scratch: &Path, room: u64) -> Self {
        Self { scratch: scratch.to_owned(), room, kept: Mutex::default() }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of a task, fetched by `fetch` if it is not here; many may ask at once.
    pub(super) async fn get<F>(
        &self,
        task: &str,
        fetch: impl FnOnce() -> F + Send,
    ) -> Result<Arc<Stored>, ClientError>
    where
        F: Future<Output = Result<Stored, ClientError>> + Send,
    {
        let cell = Arc::clone(self.kept().results.entry(task.to_owned()).or_default());
        let mut new = false;
        let stored = cell
            .get_or_try_init(|| async {
                new = true;
                fetch().await.map(Arc::new)
            })
            .await?
            .clone();
        let mut kept = self.kept();
        kept.order.retain(|other| other != task);
        kept.order.push_back(task.to_owned());
        if new {
            kept.bytes += stored.bytes;
            for digest in stored.places.keys() {
                kept.origins.entry(*digest).or_insert_with(|| task.to_owned());
            }
        }
        while kept.bytes > self.room && kept.order.len() > 1 {
            let Some(oldest) = kept.order.pop_front() else { break };
            if let Some(gone) = kept.results.remove(&oldest).and_then(|cell| cell.get().cloned()) {
                kept.bytes -= gone.bytes;
            }
        }
        Ok(stored)
    }

    /// The task whose result this block is of, if a result with it was fetched by this process.
    pub(super) fn origin(&self, digest: &Digest) -> Option<String> {
        self.kept().origins.get(digest).cloned()
    }

    /// Forgets a task's result.
    pub(super) fn forget(&self, task: &str) {
        let mut kept = self.kept();
        kept.order.retain(|other| other != task);
        if let Some(gone) = kept.results.remove(task).and_then(|cell| cell.get().cloned()) {
            kept.bytes -= gone.bytes;
        }
        kept.origins.retain(|_, origin| origin != task);
    }

    /// Fetches an object and takes it apart. `None` if it is not there.
    pub(super) async fn fetch(&self, object: &Object<'_>) -> Result<Option<Stored>, ClientError> {
        let scratch = self.scratch.clone();
        let file = blocking(move || tempfile::NamedTempFile::new_in(scratch)).await?.map_err(disk)?;
        let target = Arc::new(file.reopen().map_err(disk)?);
        if !download(object, &target).await? {
            return Ok(None);
        }
        drop(target);
        let scratch = self.scratch.clone();
        let stored = blocking(move || take_apart(file.path(), &scratch)).await?.map_err(|error| {
            let group = match error {
                DocumentError::Io { .. } => ErrorGroup::Infrastructure,
                _ => ErrorGroup::DataCorrupted,
            };
            ClientError::new(group, error.code(), format!("the downloaded file cannot be used: {error}"))
                .hint("Fetch it again; if that fails the same way, the server's copy is damaged.")
                .caused_by(error)
        })?;
        Ok(Some(stored))
    }
}

fn take_apart(path: &Path, scratch: &Path) -> Result<Stored, DocumentError> {
    let io = |source| DocumentError::Io { doing: "keeping a result", source };
    let limits = Limits::default();
    let plain = unpack::open(path, scratch, &limits)?;
    let file = tempfile::tempfile_in(scratch).map_err(io)?;
    let mut spool = Spool { file, places: HashMap::new(), end: 0 };
    let document = hdf5::read_file(&plain, &limits, &mut spool)?;
    Ok(Stored { document, file: spool.file, places: spool.places, bytes: spool.end })
}

/// Downloads an object into a file; false if it is not there.
async fn download(object: &Object<'_>, target: &Arc<File>) -> Result<bool, ClientError> {
    let first = match object.range(0, PART_BYTES, None).await {
        Ok(answer) => answer,
        Err(failure) if failure.status().is_some_and(|status| status.as_u16() == 404) => return Ok(false),
        Err(failure) => return Err(failure.into()),
    };
    let length = first.body.len() as u64;
    // A store that does not know ranges sends everything at once.
    let total = if first.status.as_u16() == 206 { total(&first) } else { Some(length) };
    let Some(total) = total else {
        return Err(incomplete("the object store does not say how long the file is"));
    };
    if length != total.min(PART_BYTES) && first.status.as_u16() == 206 {
        return Err(incomplete("the object store sent another range than the one asked for"));
    }
    let tag = first.header("etag").map(ToOwned::to_owned);
    write_at(target, first.body, 0).await?;
    let starts = (1..).map(|part| part * PART_BYTES).take_while(|start| *start < total);
    futures::stream::iter(starts.filter(|_| length < total))
        .map(|start| {
            let tag = tag.as_deref();
            async move {
                let end = (start + PART_BYTES).min(total);
                let answer = object.range(start, end, tag).await?;
                if answer.status.as_u16() != 206 || answer.body.len() as u64 != end - start {
                    return Err(incomplete("the object store sent another range than the one asked for"));
                }
                write_at(target, answer.body, start).await
            }
        })
        .buffer_unordered(RANGES_AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(true)
}

/// The length of the whole from `content-range: bytes 0-9/100`.
fn total(answer: &super::transport::Answer) -> Option<u64> {
    answer.header("content-range")?.rsplit_once('/')?.1.trim().parse().ok()
}

async fn write_at(file: &Arc<File>, bytes: Bytes, at: u64) -> Result<(), ClientError> {
    let file = Arc::clone(file);
    blocking(move || positioned::write_all_at(&file, &bytes, at)).await?.map_err(disk)
}

/// Runs something that may block where that harms nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ClientError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        ClientError::new(ErrorGroup::Internal, "plain.internal", "work in the background ended early")
            .caused_by(error)
    })
}

fn disk(error: io::Error) -> ClientError {
    ClientError::new(
        ErrorGroup::Infrastructure,
        "plain.disk",
        format!("a temporary file cannot be used: {error}"),
    )
    .hint("Make room on the disk of the client's data folder.")
    .caused_by(error)
}

fn incomplete(what: &str) -> ClientError {
    ClientError::new(ErrorGroup::DataCorrupted, "plain.incomplete_download", what).hint("Fetch it again.")
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        Self::other(failure)
    }
}
