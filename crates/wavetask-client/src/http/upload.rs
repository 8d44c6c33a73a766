//! Blocks to the server, in packs.
//!
//! A pack is small ([`Link`](super::link)) and its answer says that all in it is durable. If its connection breaks, the
//! server is asked how much of it has come, and it goes on from that byte: what is sent twice is what was between
//! the two. Each pack does so by itself, whatever became of the others, and `arrived` is told of those that made it. Packs are encoded on blocking threads, one for each core at most,
//! while others are on the line; each holds a lane from its encoding to its answer. That bounds memory, and where
//! encoding is what takes the time it makes the control add lanes until the cores are busy, as it should.
//!
//! One pack that fails for good does not cut off those under way: they are waited for, so that what they carry
//! counts, and then the error is told.

use std::pin::Pin;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use wavetask_document::{Digest, pack};
use wavetask_protocol::native::{MAXIMUM_PACK_BLOCKS, PACK_TYPE, PackAnswer, PackHeld};

use super::fault::Fault;
use super::lanes::Lane;
use super::retry::Retries;
use super::transport::Ask;
use super::{CompressionChoice, Core};
use crate::error::{ClientError, ErrorGroup};
use crate::member::BlockPlace;

const PATH: &str = "/api/v1/blocks";
const HELD: &str = "/api/v1/packs";

/// The code of an answer that cannot go on where the pack is said to have stopped.
const NOT_HELD: &str = "pack.not_held";

/// Bytes of answer that are read.
const ANSWER: usize = 64 << 10;

/// Most raw bytes of a pack that is expected to shrink: it may not, and the server takes 64 MiB.
const MOST_RAW: u64 = 32 << 20;

pub(super) async fn send_blocks(
    core: &Core,
    blocks: &[(Digest, BlockPlace)],
    arrived: &(dyn Fn(&[Digest]) + Send + Sync),
) -> Result<(), ClientError> {
    let mut rest = blocks;
    let mut left: u64 = blocks.iter().map(|(_, place)| place.length as u64).sum();
    let mut failure = None;
    let mut under_way = FuturesUnordered::new();
    let mut turn: Option<Pin<Box<dyn Future<Output = Lane> + Send + '_>>> = None;
    loop {
        if failure.is_some() {
            rest = &[];
            turn = None;
        } else if !rest.is_empty() && turn.is_none() {
            turn = Some(Box::pin(core.up.turn(left)));
        }
        tokio::select! {
            // Turns first: a lane that is freed before the next turn was asked for would look unwanted.
            biased;
            lane = async { match &mut turn { Some(turn) => turn.await, None => std::future::pending().await } }, if turn.is_some() => {
                turn = None;
                let compress = core.compress();
                let (chosen, others) = rest.split_at(core.choose(rest, compress));
                rest = others;
                left -= chosen.iter().map(|(_, place)| place.length as u64).sum::<u64>();
                under_way.push(send_pack(core, lane, chosen, compress));
            }
            Some(outcome) = under_way.next() => match outcome {
                Ok(digests) => arrived(&digests),
                Err(error) => failure = failure.or(Some(error)),
            },
            else => return failure.map_or(Ok(()), Err),
        }
    }
}

impl Core {
    /// Whether to compress the next pack.
    fn compress(&self) -> bool {
        match self.compression {
            CompressionChoice::Always => true,
            CompressionChoice::Never => false,
            CompressionChoice::Measured => {
                let line = self.up.link(|link| link.bytes_per_second());
                self.economy().compress(line)
            }
        }
    }

    /// How many of these blocks make the next pack; one at least.
    fn choose(&self, blocks: &[(Digest, BlockPlace)], compress: bool) -> usize {
        let on_line = self.up.link(|link| link.transfer_bytes());
        let raw = if compress { self.economy().raw_bytes(on_line) } else { on_line };
        let mut room = raw.min(MOST_RAW.max(on_line));
        let fitting = blocks.iter().take(MAXIMUM_PACK_BLOCKS).take_while(|(_, place)| {
            let fits = place.length as u64 <= room;
            room = room.saturating_sub(place.length as u64);
            fits
        });
        fitting.count().max(1)
    }
}

async fn send_pack(
    core: &Core,
    lane: Lane,
    blocks: &[(Digest, BlockPlace)],
    compress: bool,
) -> Result<Vec<Digest>, ClientError> {
    let body = encode(core, blocks, compress).await?;
    let name = format!("{:032x}", fastrand::u128(..));
    // Bytes that the server has.
    let mut offset = 0;
    let mut retries = core.retries(format!("POST {PATH}"));
    loop {
        let began = core.up.now();
        let rest = body.slice(offset..);
        let length = rest.len() as u64;
        let path = format!("{PATH}?pack={name}&offset={offset}");
        let ask = Ask::post(path, PACK_TYPE, rest).counted();
        let fault = match core.transport.json::<PackAnswer>(&ask, ANSWER).await {
            Ok(answer) if answer.blocks == blocks.len() as u64 => {
                core.up.carried(began, length);
                drop(lane);
                return Ok(blocks.iter().map(|(digest, _)| *digest).collect());
            }
            Ok(answer) => {
                let message = format!("{} of {} blocks were taken", answer.blocks, blocks.len());
                return Err(retries.give_up(Fault::Unreadable(message.into())));
            }
            Err(fault) => fault,
        };
        core.up.failed(began, &fault);
        if fault.is_code(NOT_HELD) {
            // It has forgotten what it had, as after a restart.
            offset = 0;
            continue;
        }
        let may_go_on = fault.is_lost();
        if let Err(error) = retries.again(fault).await {
            return Err(explained(error, blocks).await);
        }
        if may_go_on {
            offset = held(core, &name, &mut retries).await?.min(body.len());
        }
    }
}

/// How many bytes of a pack the server has.
async fn held(core: &Core, name: &str, retries: &mut Retries<'_>) -> Result<usize, ClientError> {
    let ask = Ask::get(format!("{HELD}/{name}"));
    loop {
        match core.transport.json::<PackHeld>(&ask, ANSWER).await {
            Ok(PackHeld { bytes }) => return Ok(usize::try_from(bytes).unwrap_or(0)),
            Err(fault) if fault.is_lost() || fault.is_overload() => retries.again(fault).await?,
            // None, or it keeps none at all.
            Err(_) => return Ok(0),
        }
    }
}

async fn encode(core: &Core, blocks: &[(Digest, BlockPlace)], compress: bool) -> Result<Bytes, ClientError> {
    let turn = std::sync::Arc::clone(&core.encoders).acquire_owned().await;
    let blocks = blocks.to_vec();
    let (body, raw, time) = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let began = Instant::now();
        encode_now(&blocks, compress).map(|(body, raw)| (body, raw, began.elapsed()))
    })
    .await
    .map_err(|error| {
        ClientError::new(ErrorGroup::Internal, "pack.encoding", "encoding broke off").caused_by(error)
    })??;
    if compress {
        core.economy().compressed(raw, body.len() as u64, time);
    }
    Ok(body)
}

fn encode_now(blocks: &[(Digest, BlockPlace)], compress: bool) -> Result<(Bytes, u64), ClientError> {
    let raw: usize = blocks.iter().map(|(_, place)| place.length).sum();
    let frames = pack::MAGIC.len() + (blocks.len() + 1) * pack::HEADER_BYTES;
    let mut body = Vec::with_capacity(if compress { raw / 2 } else { raw } + frames);
    body.extend_from_slice(&pack::MAGIC);
    let compression = if compress { pack::Compression::WherePays } else { pack::Compression::Never };
    for (digest, place) in blocks {
        pack::encode_block(digest, place.bytes(), place.width, compression, &mut body).map_err(|error| {
            ClientError::new(ErrorGroup::Usage, error.code(), "a block cannot be sent")
                .hint(error.hint())
                .caused_by(error)
        })?;
    }
    pack::end(&mut body);
    Ok((Bytes::from(body), raw as u64))
}

/// If the server found damage: whether it was there before the bytes left. Arrays are views of memory that belongs
/// to others, and nothing but their word keeps them from writing to it.
async fn explained(error: ClientError, blocks: &[(Digest, BlockPlace)]) -> ClientError {
    if error.group != ErrorGroup::DataCorrupted {
        return error;
    }
    let blocks = blocks.to_vec();
    let changed = tokio::task::spawn_blocking(move || {
        blocks.iter().any(|(digest, place)| Digest::of(place.bytes()) != *digest)
    });
    if changed.await.unwrap_or(false) {
        ClientError::new(ErrorGroup::Usage, "array.changed", "an array was changed while it was being sent")
            .hint("leave the arrays of a simulation alone until it is submitted, or submit a copy")
            .caused_by(error)
    } else {
        error
    }
}
