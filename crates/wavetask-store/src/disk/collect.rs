//! Removing blocks that nobody needs, and counting them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::mem;
use std::sync::PoisonError;

use wavetask_document::Digest;

use super::{Abandoned, DIGITS, Inner};
use crate::block_store::{BlockReferences, Candidates, Collected, Usage};
use crate::error::{Result, StoreError};
use crate::faults::DiskOperation;

/// How many blocks the database is asked about at once.
const BATCH: usize = 500;

pub(super) fn collect(
    inner: &Inner,
    candidates: Candidates<'_>,
    references: &dyn BlockReferences,
) -> Result<Collected> {
    let mut collected = Collected::default();
    match candidates {
        Candidates::These(digests) => {
            for digests in digests.chunks(BATCH) {
                collect_batch(inner, digests, references, &mut collected)?;
            }
        }
        Candidates::All => collect_all(inner, references, &mut collected)?,
        Candidates::Abandoned => {
            let mut abandoned = inner.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
            let candidates = mem::replace(&mut *abandoned, Abandoned::Blocks(HashSet::new()));
            drop(abandoned);
            let done = match &candidates {
                Abandoned::Any => collect_all(inner, references, &mut collected),
                Abandoned::Blocks(blocks) => {
                    let blocks: Vec<Digest> = blocks.iter().copied().collect();
                    blocks
                        .chunks(BATCH)
                        .try_for_each(|blocks| collect_batch(inner, blocks, references, &mut collected))
                }
            };
            if done.is_err() {
                put_back(inner, candidates);
            }
            done?;
        }
    }
    if collected.removed.blocks > 0 {
        inner.small.shrink().map_err(|error| StoreError::from_io("give room back", error))?;
    }
    Ok(collected)
}

/// What could not be looked at is looked at the next time.
fn put_back(inner: &Inner, candidates: Abandoned) {
    match candidates {
        Abandoned::Any => *inner.abandoned.lock().unwrap_or_else(PoisonError::into_inner) = Abandoned::Any,
        Abandoned::Blocks(blocks) => inner.abandon(blocks),
    }
}

fn collect_all(inner: &Inner, references: &dyn BlockReferences, collected: &mut Collected) -> Result<()> {
    let failed = |error| StoreError::from_io("list blocks", error);
    let mut collect = |blocks: Vec<(Digest, u64)>| {
        let digests: Vec<Digest> = blocks.into_iter().map(|(digest, _)| digest).collect();
        digests.chunks(BATCH).try_for_each(|digests| collect_batch(inner, digests, references, collected))
    };
    collect(inner.small.list().map_err(failed)?)?;
    DIGITS.into_iter().try_for_each(|digit| collect(list(inner, digit)?))
}

fn collect_batch(
    inner: &Inner,
    digests: &[Digest],
    references: &dyn BlockReferences,
    collected: &mut Collected,
) -> Result<()> {
    collected.examined += digests.len() as u64;
    // A first look without any lock leaves few to look at with one.
    for digest in references.unreferenced(digests)? {
        let shard = inner.shard(&digest);
        if shard.pins.contains_key(&digest) {
            // Whoever pins it may not need it in the end.
            inner.abandon([digest]);
            collected.pinned += 1;
            continue;
        }
        if references.unreferenced(&[digest])?.is_empty() {
            continue;
        }
        let removed = remove(inner, &digest);
        let Some(length) = removed.map_err(|error| StoreError::from_io("remove a block", error))? else {
            continue;
        };
        drop(shard);
        collected.removed.blocks += 1;
        collected.removed.bytes += length;
    }
    Ok(())
}

/// Removes a block wherever it is; answers with its length.
fn remove(inner: &Inner, digest: &Digest) -> io::Result<Option<u64>> {
    if let Some(length) = inner.small.remove(digest, &inner.faults)? {
        return Ok(Some(length));
    }
    let path = inner.path(digest);
    let length = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    inner.faults.check(DiskOperation::Remove, &path)?;
    fs::remove_file(&path)?;
    Ok(Some(length))
}

pub(super) fn usage(inner: &Inner) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut count = |blocks: Vec<(Digest, u64)>| {
        usage.blocks += blocks.len() as u64;
        usage.bytes += blocks.iter().map(|(_, length)| length).sum::<u64>();
    };
    count(inner.small.list().map_err(|error| StoreError::from_io("list blocks", error))?);
    for digit in DIGITS {
        count(list(inner, digit)?);
    }
    Ok(usage)
}

/// The files whose digests begin with this digit, and their lengths. Names that are no digests are left
/// alone: they are not ours.
fn list(inner: &Inner, digit: u8) -> Result<Vec<(Digest, u64)>> {
    let failed = |error| StoreError::from_io("list blocks", error);
    let mut blocks = Vec::new();
    for entry in fs::read_dir(inner.root.join(format!("{digit:x}"))).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()) else {
            continue;
        };
        match entry.metadata() {
            Ok(metadata) => blocks.push((digest, metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(blocks)
}
