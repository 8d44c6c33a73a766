//! Writing a result as a file that tidy3d reads: whole and durable, or not at all.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use wavetask_document::hdf5::{BlockInFile, FilePlan};
use wavetask_document::{BlockSource, Digest, Document, DocumentError, ElementType};
use wavetask_protocol::native::{MAXIMUM_BLOCKS, WantedBlock};

use super::Engine;
use super::results::{blocks_of, missing};
use crate::error::{ClientError, ErrorGroup};
use crate::result::ResultDocument;
use crate::signal::lock;

/// Bytes between two blocks of the file that are written at once.
const PIECE: u64 = 8 << 20;

/// Writes the file beside its place, then moves it there. Blocks go to their places in the file as they come, in
/// any order; those that an earlier attempt has left there with the right bytes are not fetched again.
pub(crate) async fn save(
    engine: Arc<Engine>,
    result: ResultDocument,
    path: PathBuf,
) -> Result<(), ClientError> {
    let name = path.file_name().ok_or_else(|| cannot_write(&path, io::ErrorKind::InvalidInput.into()))?;
    let mut partial_name = name.to_owned();
    partial_name.push(".partial");
    let partial = path.with_file_name(partial_name);
    let (plan, file, lacking) = {
        let (result, partial) = (result.clone(), partial.clone());
        offload(move || {
            let plan = FilePlan::new(result.document()).map_err(unwritable)?;
            let file = open(&partial, plan.length()).map_err(|error| cannot_write(&partial, error))?;
            let lacking = lacking(&plan, &file).map_err(|error| cannot_write(&partial, error))?;
            Ok((plan, file, lacking))
        })
        .await?
    };
    let file = Arc::new(Mutex::new(file));
    for part in requests(&lacking) {
        let mut unique: Vec<WantedBlock> = part.iter().map(wanted).collect();
        let mut places: BTreeMap<Digest, Vec<u64>> = BTreeMap::new();
        for block in part {
            places.entry(block.digest).or_default().push(block.offset);
        }
        let came = Mutex::new(HashSet::new());
        let take = |digest: Digest, bytes: Bytes| {
            let mut file = lock(&file);
            for offset in places.get(&digest).into_iter().flatten() {
                write_at(&mut file, *offset, &bytes).map_err(|error| cannot_write(&partial, error))?;
            }
            lock(&came).insert(digest);
            Ok(())
        };
        unique.sort_unstable_by_key(|block| block.digest);
        unique.dedup_by_key(|block| block.digest);
        engine.server().fetch_blocks(&unique, &take).await?;
        let came = lock(&came);
        if let Some(block) = unique.iter().find(|block| !came.contains(&block.digest)) {
            return Err(missing(&block.digest));
        }
    }
    let texts = Texts(engine.blocks(&text_blocks(result.document())).await?);
    offload(move || {
        let mut file = lock(&file);
        write_rest(&plan, &texts, &mut file).map_err(unwritable)?;
        let finish = || -> io::Result<()> {
            file.sync_all()?;
            std::fs::rename(&partial, &path)?;
            // The name is durable only with its folder; where folders cannot be opened, it is so by itself.
            if let Some(folder) = path.parent() {
                let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                if let Ok(folder) = File::open(folder) {
                    let _ = folder.sync_all();
                }
            }
            Ok(())
        };
        finish().map_err(|error| cannot_write(&path, error))
    })
    .await
}

/// Runs what blocks on a thread that may.
async fn offload<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(ClientError::new(ErrorGroup::Internal, "save.panicked", "Writing the file has panicked."))
    })
}

fn open(partial: &Path, length: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(partial)?;
    file.set_len(length)?;
    Ok(file)
}

/// The blocks of arrays that are not in the file yet.
fn lacking(plan: &FilePlan, mut file: &File) -> io::Result<Vec<BlockInFile>> {
    let mut lacking = Vec::new();
    let mut buffer = Vec::new();
    for block in plan.blocks() {
        buffer.resize(usize::try_from(block.length).map_err(|_| io::ErrorKind::OutOfMemory)?, 0);
        file.seek(SeekFrom::Start(block.offset))?;
        file.read_exact(&mut buffer)?;
        if Digest::of(&buffer) != block.digest {
            lacking.push(block);
        }
    }
    Ok(lacking)
}

/// Requests of a bounded number of blocks.
fn requests(blocks: &[BlockInFile]) -> impl Iterator<Item = &[BlockInFile]> {
    blocks.chunks(MAXIMUM_BLOCKS / 4)
}

/// Everything that is not a block of an array: metadata, JSON, texts.
fn write_rest(plan: &FilePlan, texts: &Texts, file: &mut File) -> Result<(), DocumentError> {
    let mut at = 0;
    let mut write = |range: std::ops::Range<u64>| {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + PIECE);
            let mut bytes = Vec::new();
            plan.write_range(start..end, texts, &mut bytes)?;
            write_at(file, start, &bytes)
                .map_err(|source| DocumentError::Io { doing: "writing the file", source })?;
            start = end;
        }
        Ok::<(), DocumentError>(())
    };
    for block in plan.blocks() {
        write(at..block.offset)?;
        at = block.offset + block.length;
    }
    write(at..plan.length())
}

fn write_at(file: &mut File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

/// Texts are laid out anew, so their blocks are needed as a whole; they are small.
struct Texts(std::collections::HashMap<Digest, Bytes>);

impl BlockSource for Texts {
    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()> {
        let bytes = self.0.get(digest).ok_or(io::ErrorKind::NotFound)?;
        buffer.clear();
        buffer.extend_from_slice(bytes);
        Ok(())
    }
}

fn text_blocks(document: &Document) -> Vec<WantedBlock> {
    let texts = document.arrays.values().filter(|array| array.element_type == ElementType::Text);
    texts.flat_map(blocks_of).collect()
}

fn wanted(block: &BlockInFile) -> WantedBlock {
    WantedBlock { digest: block.digest, width: block.width }
}

fn cannot_write(path: &Path, error: io::Error) -> ClientError {
    ClientError::new(ErrorGroup::Usage, "save.unwritable", format!("{} cannot be written.", path.display()))
        .hint("Check that the folder exists, can be written and has room; then save again: it goes on where it stopped.")
        .caused_by(error)
}

fn unwritable(error: DocumentError) -> ClientError {
    let group = match error {
        DocumentError::Io { .. } => ErrorGroup::Usage,
        _ => ErrorGroup::DataCorrupted,
    };
    ClientError::new(group, error.code(), "The result cannot be written as an HDF5 file.")
        .hint(error.hint())
        .caused_by(error)
}
