//! Parts of arrays that the server cuts out: one pack each, of which the frames are the part one after the other.
//!
//! A part is short beside what it is cut out of, so a connection that breaks costs the whole of it, not a bookkeeping of
//! what has come.

use bytes::Bytes;
use wavetask_document::Digest;
use wavetask_document::pack::FrameKind;
use wavetask_protocol::native::{MAXIMUM_PART, PACK_TYPE, PartEnd, PartRequest, RESULTS_PART};

use super::download::{Receiving, Trouble};
use super::fault::Fault;
use super::{Core, json_ask};
use crate::error::{ClientError, ErrorGroup};

/// From this length on a digest is made where it keeps nobody waiting.
const LONG: usize = 256 << 10;

pub(super) async fn fetch_part(core: &Core, request: &PartRequest) -> Result<Bytes, ClientError> {
    let mut retries = core.retries(format!("POST {RESULTS_PART}"));
    let lane = core.down.turn(0).await;
    loop {
        let compress = request.compress && core.wants_compression();
        let ask = json_ask(RESULTS_PART, &PartRequest { compress, ..request.clone() })?.accept(PACK_TYPE);
        let began = core.down.now();
        let outcome = async {
            let mut receiving = Receiving::new(core.transport.open(&ask).await?);
            let part = receive(&mut receiving).await?;
            Ok::<_, Trouble>((part, receiving.bytes))
        };
        match outcome.await {
            Ok((part, bytes)) => {
                core.down.carried(began, bytes);
                drop(lane);
                return Ok(part);
            }
            Err(Trouble::Broken(error)) => return Err(error),
            Err(Trouble::Fault(fault)) => core.failed(fault, &mut retries, began).await?,
        }
    }
}

async fn receive(receiving: &mut Receiving) -> Result<Bytes, Trouble> {
    let mut part = Vec::new();
    let mut end: Option<PartEnd> = None;
    while let Some(frames) = receiving.frames().await? {
        for frame in frames {
            if end.is_some() {
                return Err(Fault::Unreadable("a part goes on behind its end".into()).into());
            }
            if frame.kind == FrameKind::Block {
                if (part.len() + frame.bytes.len()) as u64 > MAXIMUM_PART {
                    return Err(Fault::Unreadable("a part is longer than was asked for".into()).into());
                }
                part.extend_from_slice(&frame.bytes);
            } else {
                let found = serde_json::from_slice(&frame.bytes);
                end = Some(found.map_err(|error| Fault::Unreadable(error.into()))?);
            }
        }
    }
    let hash = move || {
        let digest = Digest::of(&part);
        (part, digest)
    };
    let (part, digest) = if end.is_some_and(|end| end.byte_length < LONG as u64) {
        hash()
    } else {
        tokio::task::spawn_blocking(hash).await.map_err(|error| {
            ClientError::new(ErrorGroup::Internal, "part.hashing", "hashing broke off").caused_by(error)
        })?
    };
    match end {
        Some(end) if end.byte_length == part.len() as u64 && end.digest == digest => Ok(part.into()),
        Some(_) => Err(Fault::Damaged("a part is not what its digest says".into()).into()),
        None => Err(Fault::Unreadable("a part without an end".into()).into()),
    }
}
