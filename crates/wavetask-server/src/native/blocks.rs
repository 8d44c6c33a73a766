//! Packs of blocks, in and out.
//!
//! **In**: a pack is taken apart as it comes, on a thread of its own piece of work, which outlives the request: if
//! the line breaks, the blocks that had come whole are kept and noted like those of a pack that ended well, so the
//! client sends no more than the rest. What is answered comes after all of it is durable and noted.
//!
//! **Out**: frames are made when the connection has taken those before. While a pack is on its way a session pins
//! its blocks, so that none can be collected under it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use wavetask_document::Digest;
use wavetask_document::pack::{self, Compression, FrameKind, PackError, PackLimits};
use wavetask_protocol::KeyId;
use wavetask_protocol::native::{
    FetchRequest, MAXIMUM_BLOCK, MAXIMUM_BLOCKS, MAXIMUM_PACK, MAXIMUM_PACK_BLOCKS, PACK_TYPE, PackAnswer,
    WantedBlock,
};
use wavetask_store::{BlockSession, StoreError};

use super::{Routes, bad, too_many};
use crate::answer::{Refused, chain};
use crate::app::{App, now};
use crate::budget::Share;
use crate::extract::{Body, Caller, SWALLOWED, body_error};

/// Bytes of a pack that are gathered before they are taken apart: work has a price of its own.
const GATHER: usize = 512 << 10;

/// Bytes of a pack that are made at once.
pub(super) const PIECE: usize = 1 << 20;

/// The routes of this part.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.post("/api/v1/blocks", receive).post("/api/v1/blocks/fetch", fetch)
}

/// What comes of a part of a pack: more is wanted, or it is over.
type Pieces = mpsc::Receiver<Result<Bytes, Refused>>;

async fn receive(
    caller: Caller,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: HttpBody,
) -> Result<Json<PackAnswer>, Refused> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let announced: u64 = announced.unwrap_or(0);
    if announced > (MAXIMUM_PACK + SWALLOWED) as u64 {
        return Err(too_large());
    }
    check_room(&app, announced)?;
    let share = app.receiving.share(caller.id(), 1).await?;
    let (sender, pieces) = mpsc::channel(2);
    let own = Arc::clone(&app);
    let key = caller.id().clone();
    let quota = caller.key.quota.bytes;
    let taken = app.background.spawn(async move { take(&own, key, quota, pieces, share).await });
    forward(body, sender).await;
    taken.await.unwrap_or_else(|error| Err(Refused::internal(&error))).map(Json)
}

/// Refuses what cannot be kept before it is read.
fn check_room(app: &App, bytes: u64) -> Result<(), Refused> {
    Ok(app.blocks.check_space(bytes)?)
}

fn too_large() -> Refused {
    let message = format!("a pack has at most {MAXIMUM_PACK} bytes");
    Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "request.too_large", message)
        .hint("send several packs; they may be sent at the same time")
}

/// Hands the body on in pieces. Ends early if nobody takes them any more: an answer is there.
async fn forward(body: HttpBody, sender: mpsc::Sender<Result<Bytes, Refused>>) {
    let mut stream = body.into_data_stream();
    let mut gathered = Vec::new();
    let mut length = 0;
    let mut swallowing = false;
    loop {
        let piece = match stream.next().await {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => {
                let _ = sender.send(Ok(std::mem::take(&mut gathered).into())).await;
                let _ = sender.send(Err(body_error(&error))).await;
                return;
            }
            None => break,
        };
        length += piece.len();
        if length > MAXIMUM_PACK + SWALLOWED {
            let _ = sender.send(Err(too_large())).await;
            return;
        }
        // What nobody wants is read on for a while and thrown away: many clients look for an answer only once
        // they have sent everything.
        if swallowing || length > MAXIMUM_PACK {
            continue;
        }
        gathered.extend_from_slice(&piece);
        if gathered.len() >= GATHER {
            swallowing = sender.send(Ok(std::mem::take(&mut gathered).into())).await.is_err();
        }
    }
    let end = if length > MAXIMUM_PACK { Err(too_large()) } else { Ok(gathered.into()) };
    let _ = sender.send(end).await;
}

/// A pack that is being taken apart.
struct Arriving {
    reader: pack::Reader,
    session: Box<dyn BlockSession>,
    /// Digests and lengths of those that came whole.
    blocks: Vec<(Digest, u64)>,
    bytes: u64,
    /// Bytes of new blocks beyond which the account's quota would be exceeded.
    allowed: u64,
}

/// Takes a pack apart. Whatever comes of it, what came whole is kept.
async fn take(
    app: &Arc<App>,
    key: KeyId,
    quota: Option<u64>,
    mut pieces: Pieces,
    _share: Share,
) -> Result<PackAnswer, Refused> {
    let owner = key.clone();
    let mut arriving = app
        .blocking(move |app| {
            let allowed = match quota {
                Some(quota) => quota.saturating_sub(crate::quota::bytes_held(app, &owner)?),
                None => u64::MAX,
            };
            let limits = PackLimits {
                block_bytes: MAXIMUM_BLOCK as u64,
                // None belongs here.
                message_bytes: 0,
                frames: MAXIMUM_PACK_BLOCKS as u64,
                ..PackLimits::default()
            };
            Ok(Arriving {
                reader: pack::Reader::new(limits),
                session: app.blocks.session(),
                blocks: Vec::new(),
                bytes: 0,
                allowed,
            })
        })
        .await?;
    let mut outcome = Err(broke_off());
    while let Some(piece) = pieces.recv().await {
        let bytes = match piece {
            Ok(bytes) => bytes,
            Err(refused) => {
                outcome = Err(refused);
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
            outcome = Err(refused);
            break;
        }
        if arriving.reader.is_ended() {
            outcome = Ok(());
        }
    }
    // Whoever sends has the answer once nobody takes its pieces.
    drop(pieces);
    app.blocking(move |app| {
        let Arriving { mut session, blocks, bytes, .. } = arriving;
        if !blocks.is_empty() {
            session.make_durable()?;
            app.tasks.note_arrivals(&key, &blocks, now())?;
        }
        outcome.map(|()| PackAnswer { blocks: blocks.len() as u64, bytes })
    })
    .await
}

impl Arriving {
    /// Takes the whole frames of what came. Blocks.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        self.reader.feed(bytes);
        while let Some(frame) = self.reader.next().map_err(|error| pack_refused(&error))? {
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

async fn fetch(
    caller: Caller,
    State(app): State<Arc<App>>,
    Body(request): Body<FetchRequest>,
) -> Result<Response, Refused> {
    if request.blocks.len() > MAXIMUM_BLOCKS {
        return Err(too_many("blocks", MAXIMUM_BLOCKS));
    }
    if let Some(wanted) = request.blocks.iter().find(|wanted| !matches!(wanted.width, 1 | 2 | 4 | 8 | 16)) {
        return Err(bad(format!("no number has {} bytes: a width is 1, 2, 4, 8 or 16", wanted.width)));
    }
    let compression = compression(request.compress);
    let (session, blocks) = app
        .blocking(move |app| {
            let digests: Vec<Digest> = request.blocks.iter().map(|wanted| wanted.digest).collect();
            // Before anything is looked for: what the account does not have is answered alike, wherever it is.
            let possessed = app.tasks.possessed(caller.id(), &digests)?;
            if let Some(place) = possessed.iter().position(|possessed| !possessed) {
                return Err(no_such_block(&digests[place]));
            }
            let mut session = app.blocks.session();
            for digest in &digests {
                if !session.pin(digest)? {
                    return Err(no_such_block(digest));
                }
            }
            Ok((session, request.blocks))
        })
        .await?;
    let making = Making { blocks, next: 0, begun: false, compression, session };
    Ok(answer(stream_pack(app, making, |making, app, out| making.fill(app, out))))
}

fn no_such_block(digest: &Digest) -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "block.not_found", format!("there is no block {digest}"))
        .hint("ask for blocks of your own tasks' documents only")
}

pub(super) const fn compression(compress: bool) -> Compression {
    if compress { Compression::WherePays } else { Compression::Never }
}

/// A pack of blocks on its way out.
struct Making {
    blocks: Vec<WantedBlock>,
    next: usize,
    begun: bool,
    compression: Compression,
    #[expect(dead_code, reason = "it pins the blocks for as long as it lives")]
    session: Box<dyn BlockSession>,
}

impl Making {
    /// Makes the next piece; answers whether that was the last. Blocks.
    fn fill(&mut self, app: &App, out: &mut Vec<u8>) -> Result<bool, Refused> {
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(&pack::MAGIC);
        }
        let mut bytes = Vec::new();
        while out.len() < PIECE {
            let Some(wanted) = self.blocks.get(self.next) else {
                pack::end(out);
                return Ok(true);
            };
            append_block(app, &wanted.digest, wanted.width, self.compression, &mut bytes, out)?;
            self.next += 1;
        }
        Ok(false)
    }
}

/// Appends a block's frame. Blocks.
pub(super) fn append_block(
    app: &App,
    digest: &Digest,
    width: u8,
    compression: Compression,
    bytes: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    app.blocks.get(digest, bytes).map_err(|error| StoreError::from_io("read a block", error))?;
    pack::encode_block(digest, bytes, width, compression, out).map_err(|error| Refused::internal(&error))
}

/// A pack as it is made: each piece on a thread that may block, and none before the one before it was taken.
/// `fill` makes the next piece and says whether it was the last.
pub(super) fn stream_pack<M: Send + 'static>(
    app: Arc<App>,
    making: M,
    fill: impl Fn(&mut M, &App, &mut Vec<u8>) -> Result<bool, Refused> + Send + Sync + Copy + 'static,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    stream::try_unfold(Some(making), move |making| {
        let app = Arc::clone(&app);
        async move {
            let Some(mut making) = making else { return Ok(None) };
            let broken = |refused: Refused| std::io::Error::other(refused.message().to_owned());
            let _core = app.packing.work(0).await.map_err(broken)?;
            let (making, out, ended) = app
                .blocking(move |app| {
                    let mut out = Vec::with_capacity(PIECE + (PIECE >> 2));
                    let ended = fill(&mut making, app, &mut out)?;
                    Ok((making, out, ended))
                })
                .await
                .inspect_err(|refused| {
                    tracing::error!(reason = refused.message(), "a pack on its way out broke off");
                })
                .map_err(broken)?;
            Ok(Some((Bytes::from(out), (!ended).then_some(making))))
        }
    })
}

/// An answer with a pack.
pub(super) fn answer(pieces: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static) -> Response {
    let mut response = HttpBody::from_stream(pieces).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PACK_TYPE));
    response
}
