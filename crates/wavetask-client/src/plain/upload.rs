//! A simulation becomes a file while it is being sent: parts of the file are made from the blocks, compressed and
//! sent, several at once, and never more of it than those is in memory.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{Semaphore, mpsc};
use wavetask_document::DocumentError;
use wavetask_document::hdf5::FilePlan;

use super::content::Content;
use super::object::Object;
use super::transport::Failure;
use crate::error::{ClientError, ErrorGroup};

/// Bytes of a part: what the client of this protocol uses, too. Files up to one part go in one request.
pub(super) const PART_BYTES: u64 = 8 << 20;
/// Parts of an object that stores allow, with some to spare.
const MOST_PARTS: u64 = 9_000;
/// Parts of one file in flight.
const PARTS_AT_ONCE: usize = 4;

/// Sends a simulation's file.
///
/// `level` is that of the gzip layer, none without; `parts` bounds the parts in flight of all files together.
pub(super) async fn send(
    object: &Object<'_>,
    content: &Content,
    level: Option<u32>,
    parts: &Semaphore,
    part_bytes: u64,
) -> Result<(), ClientError> {
    let plan = FilePlan::new(&content.document).map_err(cannot_write)?;
    let part_bytes = part_bytes.max(plan.length().div_ceil(MOST_PARTS));
    let (sender, mut receiver) = mpsc::channel(1);
    let blocks = Arc::clone(&content.blocks);
    let part_length = usize::try_from(part_bytes).unwrap_or(usize::MAX);
    let producer = tokio::task::spawn_blocking(move || {
        let cutter = Cutter { pending: Vec::new(), part_length, sender };
        write(&plan, &*blocks, level, cutter)
    });
    let sent = send_parts(object, &mut receiver, level.is_some(), parts).await;
    // A producer whose parts nobody takes ends by itself.
    drop(receiver);
    let made = producer.await.map_err(|error| internal("a part could not be made", error))?;
    match (sent, made) {
        (Err(Unsent::Failure(failure)), _) => Err(failure.into()),
        (_, Err(error)) => Err(cannot_write(error)),
        (Err(Unsent::Cut), Ok(())) => {
            Err(ClientError::new(ErrorGroup::Internal, "plain.no_parts", "no part of the file was made"))
        }
        (Ok(()), Ok(())) => Ok(()),
    }
}

/// Why parts were not sent.
enum Unsent {
    Failure(Failure),
    /// No more of them came, though the file had not ended: the producer says why.
    Cut,
}

impl From<Failure> for Unsent {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// A part, and whether it is the last.
struct Piece {
    bytes: Bytes,
    last: bool,
}

async fn send_parts(
    object: &Object<'_>,
    receiver: &mut mpsc::Receiver<Piece>,
    gzip: bool,
    parts: &Semaphore,
) -> Result<(), Unsent> {
    let Some(first) = receiver.recv().await else { return Err(Unsent::Cut) };
    if first.last {
        let _permit = parts.acquire().await;
        return Ok(object.put(first.bytes, gzip).await?);
    }
    let upload = object.begin_parts(gzip).await?;
    let result = async {
        let mut tags = Vec::new();
        let mut flying = FuturesUnordered::new();
        let mut next = Some(first);
        let mut number = 0;
        let mut complete = false;
        loop {
            if let Some(piece) = next.take() {
                let (at, upload) = (number, &upload);
                number += 1;
                complete = piece.last;
                flying.push(async move {
                    let _permit = parts.acquire().await;
                    (at, object.put_part(upload, at + 1, piece.bytes).await)
                });
            }
            tokio::select! {
                piece = receiver.recv(), if flying.len() < PARTS_AT_ONCE && !complete => match piece {
                    Some(piece) => next = Some(piece),
                    None => return Err(Unsent::Cut),
                },
                Some((at, tag)) = flying.next() => {
                    tags.push((at, tag?));
                    if complete && flying.is_empty() {
                        break;
                    }
                }
            }
        }
        tags.sort_unstable_by_key(|(at, _)| *at);
        let tags: Vec<String> = tags.into_iter().map(|(_, tag)| tag).collect();
        Ok(object.end_parts(&upload, &tags).await?)
    }
    .await;
    if result.is_err() {
        // What cannot be taken back either is cleared away by the store in time.
        let _ = object.abandon_parts(&upload).await;
    }
    result
}

fn write(
    plan: &FilePlan,
    blocks: &dyn wavetask_document::BlockSource,
    level: Option<u32>,
    mut cutter: Cutter,
) -> Result<(), DocumentError> {
    let io = |source| DocumentError::Io { doing: "sending the simulation", source };
    match level {
        None => plan.write(blocks, &mut cutter)?,
        Some(level) => {
            let mut encoder = GzEncoder::new(cutter, Compression::new(level));
            plan.write(blocks, &mut encoder)?;
            cutter = encoder.finish().map_err(io)?;
        }
    }
    cutter.end().map_err(io)
}

/// Cuts what is written into parts of one length, the last one shorter.
struct Cutter {
    pending: Vec<u8>,
    part_length: usize,
    sender: mpsc::Sender<Piece>,
}

impl Cutter {
    fn hand_over(&mut self, last: bool) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.pending).into();
        self.sender
            .blocking_send(Piece { bytes, last })
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the parts are not taken any more"))
    }

    fn end(mut self) -> io::Result<()> {
        self.hand_over(true)
    }
}

impl Write for Cutter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full part waits for the next byte: only then it is certain that it is not the last.
        if self.pending.len() >= self.part_length && !bytes.is_empty() {
            self.hand_over(false)?;
        }
        let room = self.part_length.saturating_sub(self.pending.len());
        let taken = room.min(bytes.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn cannot_write(error: DocumentError) -> ClientError {
    let changed =
        matches!(&error, DocumentError::Io { source, .. } if source.kind() == io::ErrorKind::InvalidData);
    let (group, code) = if changed {
        (ErrorGroup::DataCorrupted, "plain.array_changed")
    } else {
        (ErrorGroup::InvalidSimulation, error.code())
    };
    let hint = if changed { "Do not change arrays until they have been sent." } else { error.hint() };
    ClientError::new(group, code, error.to_string()).hint(hint).caused_by(error)
}

fn internal(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> ClientError {
    ClientError::new(ErrorGroup::Internal, "plain.internal", what).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_one_length_and_the_last_says_so() {
        for total in [0, 1, 9, 10, 11, 20, 25] {
            let (sender, mut receiver) = mpsc::channel(100);
            let mut cutter = Cutter { pending: Vec::new(), part_length: 10, sender };
            let bytes: Vec<u8> = (0..total).collect();
            for piece in bytes.chunks(7) {
                cutter.write_all(piece).unwrap();
            }
            cutter.end().unwrap();
            let mut together = Vec::new();
            let mut lasts = Vec::new();
            while let Some(piece) = receiver.blocking_recv() {
                assert!(piece.bytes.len() <= 10 && (piece.last || piece.bytes.len() == 10));
                together.extend_from_slice(&piece.bytes);
                lasts.push(piece.last);
            }
            assert_eq!(together, bytes);
            assert_eq!(lasts.iter().filter(|last| **last).count(), 1);
            assert_eq!(lasts.last(), Some(&true));
        }
    }
}
