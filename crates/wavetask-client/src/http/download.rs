//! Results and blocks from the server: packs that are taken apart as they come.
//!
//! Frames are verified one by one, so when a connection breaks only what has not come is asked for again. Blocks are
//! asked for in several requests at once, of a size that [`Link`](super::link) chooses. Decoding and hashing run on
//! blocking threads unless there is next to nothing to do.
//!
//! A result counts as come when all its frames have: they are handed over when the next result begins or the pack
//! ends. After a break the results that had not come are asked for again, and nobody gets half of one.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use wavetask_document::Digest;
use wavetask_document::pack::{Frame, FrameKind, MAXIMUM_FRAME, PackError, PackLimits, Reader};
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{
    FetchRequest, MAXIMUM_BLOCKS, MAXIMUM_TASKS, PACK_TYPE, ResultAnswer, ResultsRequest, WantedBlock,
};

use super::fault::Fault;
use super::lanes::Lane;
use super::retry::Retries;
use super::transport::Answer;
use super::{CompressionChoice, Core, json_ask};
use crate::error::{ClientError, ErrorGroup};
use crate::server::ResultSink;

/// Bytes that are decoded at once, and from which on that is done elsewhere.
const BITE: usize = 256 << 10;

/// What a block is taken to measure before any has come.
const USUAL_BLOCK: u64 = 512 << 10;

/// Above this rate, in bytes a second, the server's compressor would be slower than the line.
const TOO_FAST_TO_COMPRESS: f64 = 150e6;

/// A pack that is being received.
pub(super) struct Receiving {
    answer: Answer,
    reader: Option<Reader>,
    /// Bytes that came.
    pub(super) bytes: u64,
}

/// Why no frames came.
pub(super) enum Trouble {
    /// Another try may help.
    Fault(Fault),
    /// The program itself failed.
    Broken(ClientError),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        Self::Broken(error)
    }
}

impl Receiving {
    pub(super) fn new(answer: Answer) -> Self {
        let limits = PackLimits { block_bytes: MAXIMUM_FRAME, ..PackLimits::default() };
        Self { answer, reader: Some(Reader::new(limits)), bytes: 0 }
    }

    /// The next frames, at least one; `None` at the proper end of the pack.
    pub(super) async fn frames(&mut self) -> Result<Option<Vec<Frame>>, Trouble> {
        loop {
            let mut pieces = Vec::new();
            let (mut length, mut ended) = (0, false);
            while length < BITE {
                // What has come already is taken along; what has not is waited for only if there is nothing to do.
                let piece = if pieces.is_empty() {
                    self.answer.piece().await?
                } else {
                    match self.answer.piece().now_or_never() {
                        Some(piece) => piece?,
                        None => break,
                    }
                };
                let Some(piece) = piece else {
                    ended = true;
                    break;
                };
                length += piece.len();
                pieces.push(piece);
            }
            self.bytes += length as u64;
            let Some(mut reader) = self.reader.take() else { return Ok(None) };
            let decode = move || {
                let mut frames = Vec::new();
                for piece in &pieces {
                    reader.feed(piece);
                }
                let outcome = loop {
                    match reader.next() {
                        Ok(Some(frame)) => frames.push(frame),
                        Ok(None) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                };
                (reader, frames, outcome)
            };
            let (reader, frames, outcome) = if length < BITE / 4 {
                decode()
            } else {
                tokio::task::spawn_blocking(decode).await.map_err(|error| {
                    ClientError::new(ErrorGroup::Internal, "pack.decoding", "decoding broke off")
                        .caused_by(error)
                })?
            };
            if !frames.is_empty() {
                // Good frames in front of a damaged one are good; the reader remembers the damage.
                self.reader = Some(reader);
                return Ok(Some(frames));
            }
            outcome.map_err(damage)?;
            if ended {
                reader.finish().map_err(damage)?;
                return Ok(None);
            }
            self.reader = Some(reader);
        }
    }
}

fn damage(error: PackError) -> Fault {
    match error {
        // The body ended properly by HTTP's account, but a proxy or a dying server cut it short.
        PackError::Truncated { .. } => Fault::Broken(Box::new(error)),
        _ => Fault::Damaged(Box::new(error)),
    }
}

impl Core {
    /// Whether the server should compress what it sends.
    pub(super) fn wants_compression(&self) -> bool {
        match self.compression {
            CompressionChoice::Always => true,
            CompressionChoice::Never => false,
            CompressionChoice::Measured => {
                !self.transport.address().is_this_machine()
                    && self.down.link(|link| link.bytes_per_second()) < TOO_FAST_TO_COMPRESS
            }
        }
    }

    pub(super) async fn failed(
        &self,
        fault: Fault,
        retries: &mut Retries<'_>,
        began: std::time::Duration,
    ) -> Result<(), ClientError> {
        self.down.failed(began, &fault);
        retries.again(fault).await
    }
}

/// Takes blocks as they come.
type TakeBlock<'a> = &'a (dyn Fn(Digest, Bytes) -> Result<(), ClientError> + Send + Sync);

pub(super) async fn fetch_blocks(
    core: &Core,
    blocks: &[WantedBlock],
    take: TakeBlock<'_>,
) -> Result<(), ClientError> {
    let mut seen = HashSet::new();
    let mut rest: Vec<WantedBlock> =
        blocks.iter().copied().filter(|block| seen.insert(block.digest)).collect();
    drop(seen);
    // Taken from the end, so that the order is that in which they were asked for.
    rest.reverse();
    let (mut came, mut came_bytes) = (0, 0);
    let mut failure = None;
    let mut under_way = FuturesUnordered::new();
    let mut turn: Option<Pin<Box<dyn Future<Output = Lane> + Send + '_>>> = None;
    loop {
        if failure.is_some() {
            rest.clear();
            turn = None;
        } else if !rest.is_empty() && turn.is_none() {
            turn = Some(Box::pin(core.down.turn(rest.len() as u64 * USUAL_BLOCK)));
        }
        tokio::select! {
            biased;
            lane = async { match &mut turn { Some(turn) => turn.await, None => std::future::pending().await } }, if turn.is_some() => {
                turn = None;
                let usual = u64::checked_div(came_bytes, came).map_or(USUAL_BLOCK, |usual| usual.max(1));
                let (wanted, lanes) = core.down.link(|link| (link.transfer_bytes() / usual, link.lanes()));
                // Lanes share what is left evenly, rather than one of them carrying it all.
                let share = rest.len().div_ceil(lanes as usize);
                let number = usize::try_from(wanted).unwrap_or(usize::MAX).clamp(1, MAXIMUM_BLOCKS).min(share);
                let group = rest.drain(rest.len() - number..).rev().collect();
                under_way.push(fetch_group(core, lane, group, take));
            }
            Some(outcome) = under_way.next() => match outcome {
                Ok((blocks, bytes)) => {
                    came += blocks;
                    came_bytes += bytes;
                }
                Err(error) => failure = failure.or(Some(error)),
            },
            else => return failure.map_or(Ok(()), Err),
        }
    }
}

/// Fetches these blocks; answers how many came and their bytes on the line.
async fn fetch_group(
    core: &Core,
    lane: Lane,
    blocks: Vec<WantedBlock>,
    take: TakeBlock<'_>,
) -> Result<(u64, u64), ClientError> {
    let number = blocks.len() as u64;
    let mut missing: HashMap<Digest, WantedBlock> =
        blocks.iter().map(|block| (block.digest, *block)).collect();
    let mut retries = core.retries("POST /api/v1/blocks/fetch");
    let mut bytes = 0;
    loop {
        let wanted = blocks.iter().filter(|block| missing.contains_key(&block.digest)).copied().collect();
        let request = FetchRequest { blocks: wanted, compress: core.wants_compression() };
        let ask = json_ask("/api/v1/blocks/fetch", &request)?.accept(PACK_TYPE);
        let began = core.down.now();
        let outcome = async {
            let mut receiving = Receiving::new(core.transport.open(&ask).await?);
            while let Some(frames) = receiving.frames().await? {
                for frame in frames {
                    if frame.kind == FrameKind::Block && missing.remove(&frame.digest).is_some() {
                        retries.progress();
                        take(frame.digest, frame.bytes.into())?;
                    }
                }
            }
            Ok::<u64, Trouble>(receiving.bytes)
        }
        .await;
        match outcome {
            Ok(came) if missing.is_empty() => {
                bytes += came;
                core.down.carried(began, bytes);
                drop(lane);
                return Ok((number, bytes));
            }
            Ok(_) => {
                let message = format!("the server does not have {} of {number} blocks", missing.len());
                return Err(ClientError::new(ErrorGroup::NotFound, "block.not_found", message)
                    .hint("the task that needs them may have been deleted meanwhile"));
            }
            Err(Trouble::Broken(error)) => return Err(error),
            // All came before it broke: the end frame alone is nothing to repeat a request for.
            Err(Trouble::Fault(_)) if missing.is_empty() => return Ok((number, bytes)),
            Err(Trouble::Fault(fault)) => core.failed(fault, &mut retries, began).await?,
        }
    }
}

pub(super) async fn results(
    core: &Core,
    request: &ResultsRequest,
    take: &mut ResultSink<'_>,
) -> Result<(), ClientError> {
    let mut seen = HashSet::new();
    let tasks: Vec<TaskId> = request.tasks.iter().filter(|task| seen.insert(*task)).cloned().collect();
    for part in tasks.chunks(MAXIMUM_TASKS) {
        results_part(core, part, request, take).await?;
    }
    Ok(())
}

async fn results_part(
    core: &Core,
    tasks: &[TaskId],
    request: &ResultsRequest,
    take: &mut ResultSink<'_>,
) -> Result<(), ClientError> {
    let mut missing: HashSet<&TaskId> = tasks.iter().collect();
    let mut retries = core.retries("POST /api/v1/results");
    let lane = core.down.turn(0).await;
    loop {
        let wanted = tasks.iter().filter(|task| missing.contains(task)).cloned().collect();
        let compress = request.compress && core.wants_compression();
        let request = ResultsRequest { tasks: wanted, compress, ..request.clone() };
        let ask = json_ask("/api/v1/results", &request)?.accept(PACK_TYPE);
        let (began, before) = (core.down.now(), missing.len());
        let outcome = async {
            let mut receiving = Receiving::new(core.transport.open(&ask).await?);
            let mut open: Option<(ResultAnswer, Vec<Frame>)> = None;
            while let Some(frames) = receiving.frames().await? {
                for frame in frames {
                    if frame.kind == FrameKind::Message {
                        let next = serde_json::from_slice(&frame.bytes)
                            .map_err(|error| Fault::Unreadable(error.into()))?;
                        if let Some(whole) = open.replace((next, Vec::new())) {
                            hand_over(whole, &mut missing, &mut retries, take)?;
                        }
                    } else if let Some((_, blocks)) = &mut open {
                        blocks.push(frame);
                    } else {
                        return Err(Fault::Unreadable("a block before any result".into()).into());
                    }
                }
            }
            if let Some(whole) = open {
                hand_over(whole, &mut missing, &mut retries, take)?;
            }
            Ok::<u64, Trouble>(receiving.bytes)
        }
        .await;
        match outcome {
            Ok(bytes) if missing.is_empty() => {
                core.down.carried(began, bytes);
                drop(lane);
                return Ok(());
            }
            // A server may answer in parts, as long as it comes forward.
            Ok(_) if missing.len() < before => {}
            Ok(_) => {
                let message = format!("the server did not answer for {} of {before} tasks", missing.len());
                return Err(ClientError::new(ErrorGroup::Internal, "answer.incomplete", message));
            }
            Err(Trouble::Broken(error)) => return Err(error),
            Err(Trouble::Fault(_)) if missing.is_empty() => return Ok(()),
            Err(Trouble::Fault(fault)) => core.failed(fault, &mut retries, began).await?,
        }
    }
}

/// Hands a whole result over, once.
fn hand_over(
    (result, blocks): (ResultAnswer, Vec<Frame>),
    missing: &mut HashSet<&TaskId>,
    retries: &mut Retries<'_>,
    take: &mut ResultSink<'_>,
) -> Result<(), ClientError> {
    if !missing.remove(&result.task) {
        return Ok(());
    }
    retries.progress();
    (take.result)(result)?;
    for block in blocks {
        (take.block)(block.digest, block.bytes.into())?;
    }
    Ok(())
}
