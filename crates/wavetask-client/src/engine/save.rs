//! Writing a result as a file that tidy3d reads: whole and durable, or not at all.
//!
//! Blocks of an array in one line lie in the file as they are and are written as they come. Bricks lie in it row by row:
//! a slab of them at a time is put together in memory and written as one piece. Either way what an earlier attempt has
//! written is compared with the digests of blocks and not fetched again.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use wavetask_document::hdf5::{BlockInFile, BricksInFile, FilePlan};
use wavetask_document::{
    ArrayDescriptor, BlockSource, Digest, Document, DocumentError, ElementType, Part, SLAB_BYTES,
};
use wavetask_protocol::native::{MAXIMUM_BLOCKS, WantedBlock};

use super::Engine;
use super::results::{blocks_of, missing, wanted};
use crate::error::{ClientError, ErrorGroup};
use crate::result::ResultDocument;
use crate::signal::lock;

/// Bytes between two blocks of the file that are written at once.
const PIECE: u64 = 8 << 20;

/// Writes the file beside its place, then moves it there.
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
            Ok((Arc::new(plan), file, lacking))
        })
        .await?
    };
    let file = Arc::new(Mutex::new(file));
    for part in requests(&lacking) {
        let mut unique: Vec<WantedBlock> =
            part.iter().map(|block| WantedBlock { digest: block.digest, width: block.width }).collect();
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
    save_bricks(&engine, &plan, &file, &partial).await?;
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

/// Writes the arrays in bricks, slab by slab.
async fn save_bricks(
    engine: &Engine,
    plan: &Arc<FilePlan>,
    file: &Arc<Mutex<File>>,
    partial: &Path,
) -> Result<(), ClientError> {
    for BricksInFile { mut offset, array } in plan.bricks() {
        for window in array.windows(&[], SLAB_BYTES).map_err(unwritable)? {
            let part = array.blocks_of(&window).map_err(unwritable)?;
            let length = part.byte_length;
            let slab = Slab { file: Arc::clone(file), offset, part, array: array.clone() };
            let cannot = |error| cannot_write(partial, error);
            let (slab, bytes, lacking) = {
                let partial = partial.to_owned();
                offload(move || slab.read().map_err(|error| cannot_write(&partial, error))).await?
            };
            offset += length;
            if lacking.is_empty() {
                continue;
            }
            let bytes = Mutex::new(bytes);
            let came = Mutex::new(HashSet::new());
            let take = |digest: Digest, brick: Bytes| {
                let mut bytes = lock(&bytes);
                for number in lacking.get(&digest).into_iter().flatten() {
                    slab.part.place(*number, &brick, &mut bytes).map_err(unwritable)?;
                }
                lock(&came).insert(digest);
                Ok(())
            };
            let blocks: Vec<WantedBlock> = lacking.keys().map(|digest| wanted(array, digest)).collect();
            for part in blocks.chunks(MAXIMUM_BLOCKS) {
                engine.server().fetch_blocks(part, &take).await?;
            }
            if let Some(digest) = lacking.keys().find(|digest| !lock(&came).contains(*digest)) {
                return Err(missing(digest));
            }
            let bytes = bytes.into_inner().unwrap_or_else(PoisonError::into_inner);
            let (file, offset) = (Arc::clone(file), slab.offset);
            let write = move || Ok(write_at(&mut lock(&file), offset, &bytes));
            offload(write).await?.map_err(cannot)?;
        }
    }
    Ok(())
}

/// A slab of bricks in the file.
struct Slab {
    file: Arc<Mutex<File>>,
    offset: u64,
    part: Part,
    array: ArrayDescriptor,
}

/// A slab, its bytes in the file, and the bricks that are not among them, each with its numbers.
type Found = (Slab, Vec<u8>, BTreeMap<Digest, Vec<usize>>);

impl Slab {
    fn read(self) -> io::Result<Found> {
        let length = usize::try_from(self.part.byte_length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = vec![0; length];
        {
            let mut file = lock(&self.file);
            file.seek(SeekFrom::Start(self.offset))?;
            file.read_exact(&mut bytes)?;
        }
        let mut lacking: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
        let mut brick = Vec::new();
        for number in self.part.blocks() {
            let digest = self.array.blocks.get(number).ok_or(io::ErrorKind::InvalidData)?;
            if !self.part.take(number, &bytes, &mut brick) || Digest::of(&brick) != *digest {
                lacking.entry(*digest).or_default().push(number);
            }
        }
        Ok((self, bytes, lacking))
    }
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

/// Everything that is not the numbers of an array: metadata, JSON, texts.
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
    let bricks = plan.bricks().map(|bricks| (bricks.offset, bricks.array.byte_length));
    let mut there: Vec<(u64, u64)> =
        plan.blocks().map(|block| (block.offset, block.length)).chain(bricks).collect();
    there.sort_unstable();
    for (offset, length) in there {
        write(at..offset)?;
        at = offset + length;
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
