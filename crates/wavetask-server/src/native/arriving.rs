//! Packs of blocks, on their way in.
//!
//! A pack is taken apart as it comes, on a thread of its own piece of work, which outlives the request: if the line
//! breaks, the blocks that had come whole are kept and noted like those of a pack that ended well, and a pack that
//! has a name goes on at the byte where it stopped ([`CutOff`]). What is answered comes after all of it is durable
//! and noted.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::{Notify, mpsc};
use wavetask_document::Digest;
use wavetask_document::pack::{self, FrameKind, PackError, PackLimits};
use wavetask_protocol::native::{
    MAXIMUM_BLOCK, MAXIMUM_PACK, MAXIMUM_PACK_BLOCKS, PackAnswer, PackHeld, PackPart,
};
use wavetask_protocol::{KeyId, chain};
use wavetask_store::{BlockSession, StoreError};

use super::cut_off::{Coming, CutOff, Kept};
use super::{Asked, Routes, Segment, asked, bad};
use crate::answer::Refused;
use crate::app::{App, now};
use crate::budget::Share;
use crate::extract::{Caller, SWALLOWED, body_error};

/// Bytes of a pack that are gathered before they are taken apart: work has a price of its own.
const GATHER: usize = 512 << 10;

/// Characters of a pack's name.
const NAME: usize = 64;

/// Packs that were cut off, or whose answers may have been.
pub(crate) type CutOffPacks = CutOff<Box<Arriving>, PackAnswer>;

/// The routes of this part.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.post("/api/v1/blocks", receive).get("/api/v1/packs/{pack}", held)
}

/// A part of a pack.
enum Piece {
    Bytes(Bytes),
    /// No more comes: the line broke, or the client has come back by another.
    Broken(Refused),
    /// It is not taken.
    Refused(Refused),
}

async fn receive(
    caller: Caller,
    State(app): State<Arc<App>>,
    part: Asked<PackPart>,
    headers: HeaderMap,
    body: HttpBody,
) -> Result<Json<PackAnswer>, Refused> {
    let PackPart { pack, offset } = asked(part)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let announced: u64 = announced.unwrap_or(0);
    if announced.saturating_add(offset) > (MAXIMUM_PACK + SWALLOWED) as u64 {
        return Err(too_large());
    }
    // Refused before it is read, if it cannot be kept.
    app.blocks.check_space(announced)?;
    let (coming, before) = match pack {
        None if offset > 0 => return Err(not_held()),
        None => (None, None),
        Some(pack) => {
            let name = (caller.id().clone(), checked(pack)?);
            let (coming, before) = app.cut_off.begin(name, offset).await.ok_or_else(not_held)?;
            (Some(coming), before)
        }
    };
    let before = match before {
        None => None,
        Some(Kept::Part(arriving)) => Some(arriving),
        Some(Kept::Whole(answer)) => {
            // All of it came the last time; only the answer did not come through.
            if let Some(coming) = coming {
                coming.end(Kept::Whole(answer.clone()), offset, 0);
            }
            return Ok(Json(answer));
        }
    };
    let share = app.receiving.share(caller.id(), 1).await?;
    let (sender, pieces) = mpsc::channel(2);
    let own = Arc::clone(&app);
    let (key, quota) = (caller.id().clone(), caller.key.quota.bytes);
    let stop = coming.as_ref().map(Coming::stop);
    let taken =
        app.background.spawn(async move { take(&own, key, quota, (coming, before), pieces, share).await });
    let room = MAXIMUM_PACK.saturating_sub(usize::try_from(offset).unwrap_or(usize::MAX));
    forward(body, room, sender, stop).await;
    taken.await.unwrap_or_else(|error| Err(Refused::internal(&error))).map(Json)
}

async fn held(
    caller: Caller,
    State(app): State<Arc<App>>,
    Segment(pack): Segment,
) -> Result<Json<PackHeld>, Refused> {
    let name = (caller.id().clone(), checked(pack)?);
    let bytes = app.cut_off.bytes(&name).await.ok_or_else(not_held)?;
    Ok(Json(PackHeld { bytes }))
}

fn checked(pack: String) -> Result<String, Refused> {
    if pack.is_empty() || pack.len() > NAME || !pack.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(bad(format!("a pack's name has 1 to {NAME} letters and digits")));
    }
    Ok(pack)
}

fn not_held() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "pack.not_held", "this part of the pack cannot be gone on from")
        .hint("send the pack from its beginning; blocks of it that came whole are kept all the same")
}

fn too_large() -> Refused {
    let message = format!("a pack has at most {MAXIMUM_PACK} bytes");
    Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "request.too_large", message)
        .hint("send several packs; they may be sent at the same time")
}

/// Hands the body on in pieces. Ends early if nobody takes them any more (an answer is there), or if the client has
/// come back by another connection.
async fn forward(body: HttpBody, room: usize, sender: mpsc::Sender<Piece>, stop: Option<Arc<Notify>>) {
    let stopped = async {
        match &stop {
            Some(stop) => stop.notified().await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(stopped);
    let mut stream = body.into_data_stream();
    let mut gathered = Vec::new();
    let mut length = 0;
    let mut swallowing = false;
    loop {
        let piece = tokio::select! {
            piece = stream.next() => piece,
            () = &mut stopped => {
                let _ = sender.send(Piece::Bytes(std::mem::take(&mut gathered).into())).await;
                let _ = sender.send(Piece::Broken(broke_off())).await;
                return;
            }
        };
        let piece = match piece {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => {
                let _ = sender.send(Piece::Bytes(std::mem::take(&mut gathered).into())).await;
                let _ = sender.send(Piece::Broken(body_error(&error))).await;
                return;
            }
            None => break,
        };
        length += piece.len();
        if length > room + SWALLOWED {
            let _ = sender.send(Piece::Refused(too_large())).await;
            return;
        }
        // What nobody wants is read on for a while and thrown away: many clients look for an answer only once
        // they have sent everything.
        if swallowing || length > room {
            continue;
        }
        gathered.extend_from_slice(&piece);
        if gathered.len() >= GATHER {
            swallowing = sender.send(Piece::Bytes(std::mem::take(&mut gathered).into())).await.is_err();
        }
    }
    let end = if length > room { Piece::Refused(too_large()) } else { Piece::Bytes(gathered.into()) };
    let _ = sender.send(end).await;
}

/// A pack that is being taken apart.
pub(crate) struct Arriving {
    reader: pack::Reader,
    session: Box<dyn BlockSession>,
    /// Digests and lengths of the blocks that came whole, and how many of them have been noted.
    blocks: Vec<(Digest, u64)>,
    noted: usize,
    bytes: u64,
    /// Bytes of the pack itself, and those since the last whole frame, at most.
    received: u64,
    open: usize,
    /// Bytes of new blocks beyond which the account's quota would be exceeded.
    allowed: u64,
}

impl std::fmt::Debug for Arriving {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Arriving").field("received", &self.received).finish_non_exhaustive()
    }
}

impl Arriving {
    /// The beginning of a pack. Blocks.
    fn new(app: &App, owner: &KeyId, quota: Option<u64>) -> Result<Self, Refused> {
        let allowed = match quota {
            Some(quota) => quota.saturating_sub(crate::quota::bytes_held(app, owner)?),
            None => u64::MAX,
        };
        let limits = PackLimits {
            block_bytes: MAXIMUM_BLOCK as u64,
            // None belongs here.
            message_bytes: 0,
            frames: MAXIMUM_PACK_BLOCKS as u64,
            ..PackLimits::default()
        };
        Ok(Self {
            reader: pack::Reader::new(limits),
            session: app.blocks.session(),
            blocks: Vec::new(),
            noted: 0,
            bytes: 0,
            received: 0,
            open: 0,
            allowed,
        })
    }

    /// Takes the whole frames of what came. Blocks.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        self.reader.feed(bytes);
        self.received += bytes.len() as u64;
        self.open += bytes.len();
        while let Some(frame) = self.reader.next().map_err(|error| pack_refused(&error))? {
            // What is open is the end of what came just now.
            self.open = bytes.len();
            if frame.kind != FrameKind::Block {
                return Err(bad("a pack that is sent holds blocks and nothing else"));
            }
            let length = frame.bytes.len() as u64;
            if self.bytes.saturating_add(length) > self.allowed {
                return Err(crate::quota::bytes_exceeded());
            }
            let digest = self
                .session
                .put(&frame.bytes)
                .map_err(|error| StoreError::from_io("store a block that was sent", error))?;
            self.bytes += length;
            self.blocks.push((digest, length));
        }
        Ok(())
    }

    /// Makes what came whole durable, and notes it. Blocks.
    fn note(&mut self, app: &App, owner: &KeyId) -> Result<(), Refused> {
        if self.noted < self.blocks.len() {
            self.session.make_durable()?;
            app.tasks.note_arrivals(owner, &self.blocks[self.noted..], now())?;
            self.noted = self.blocks.len();
        }
        Ok(())
    }
}

/// What is known of the pack from before: its place among those that are cut off, and what had come of it.
type Before = (Option<Coming<Box<Arriving>, PackAnswer>>, Option<Box<Arriving>>);

/// Takes a pack apart. Whatever comes of it, what came whole is kept.
async fn take(
    app: &Arc<App>,
    key: KeyId,
    quota: Option<u64>,
    (coming, before): Before,
    mut pieces: mpsc::Receiver<Piece>,
    _share: Share,
) -> Result<PackAnswer, Refused> {
    let owner = key.clone();
    let mut arriving = match before {
        Some(before) => before,
        None => app.blocking(move |app| Arriving::new(app, &owner, quota).map(Box::new)).await?,
    };
    let mut outcome = Err(broke_off());
    let mut goes_on = true;
    while let Some(piece) = pieces.recv().await {
        let bytes = match piece {
            Piece::Bytes(bytes) => bytes,
            Piece::Broken(refused) => {
                // What comes after the end frame is missed by nobody.
                if !arriving.reader.is_ended() {
                    outcome = Err(refused);
                }
                break;
            }
            Piece::Refused(refused) => {
                (outcome, goes_on) = (Err(refused), false);
                break;
            }
        };
        let _core = app.packing.work(0).await?;
        let (back, step) = app
            .blocking(move |_| {
                let step = arriving.feed(&bytes);
                Ok((arriving, step))
            })
            .await?;
        arriving = back;
        if let Err(refused) = step {
            (outcome, goes_on) = (Err(refused), false);
            break;
        }
        if arriving.reader.is_ended() {
            outcome = Ok(());
        }
    }
    // Whoever sends has the answer once nobody takes its pieces.
    drop(pieces);
    app.blocking(move |app| {
        arriving.note(app, &key)?;
        let (received, open) = (arriving.received, arriving.open);
        let answer = PackAnswer { blocks: arriving.blocks.len() as u64, bytes: arriving.bytes };
        match (&outcome, coming) {
            (Ok(()), Some(coming)) => coming.end(Kept::Whole(answer.clone()), received, 0),
            (Err(_), Some(coming)) if goes_on => coming.end(Kept::Part(arriving), received, open),
            _ => {}
        }
        outcome.map(|()| answer)
    })
    .await
}

fn broke_off() -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "pack.truncated", "the pack ends before its end frame")
        .hint("send the member again: the answer names what is still missing")
}

fn pack_refused(error: &PackError) -> Refused {
    match error {
        PackError::TooLarge { limit, allowed, found } => {
            let message = format!("a pack's {limit} is {found}, and at most {allowed} is taken");
            Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "pack.too_large", message)
                .hint("cut arrays into smaller blocks, and send fewer of them in one pack")
        }
        error => Refused::new(StatusCode::BAD_REQUEST, error.code(), chain(error)).hint(error.hint()),
    }
}
