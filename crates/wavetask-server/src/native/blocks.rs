//! Packs of blocks, on their way out.
//!
//! Frames are made when the connection has taken those before. While a pack is on its way a session pins its blocks,
//! so that none can be collected under it.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, stream};
use wavetask_document::Digest;
use wavetask_document::pack::{self, Compression};
use wavetask_protocol::native::{FetchRequest, MAXIMUM_BLOCKS, PACK_TYPE, WantedBlock};
use wavetask_store::{BlockSession, StoreError};

use super::{Routes, bad, too_many};
use crate::answer::Refused;
use crate::app::App;
use crate::extract::{Body, Caller};

/// Bytes of a pack that are made at once.
pub(super) const PIECE: usize = 1 << 20;

/// The routes of this part.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.post("/api/v1/blocks/fetch", fetch)
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
    let pack = app
        .blocking(move |app| {
            let digests: Vec<Digest> = request.blocks.iter().map(|wanted| wanted.digest).collect();
            // Before anything is looked for: what the account does not have is answered alike, wherever it is.
            let possessed = app.tasks.possessed(caller.id(), &digests)?;
            if let Some(place) = possessed.iter().position(|possessed| !possessed) {
                return Err(no_such_block(&digests[place]));
            }
            PackOfBlocks::new(app, request.blocks, compression)
        })
        .await?;
    Ok(pack.answer(app))
}

fn no_such_block(digest: &Digest) -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "block.not_found", format!("there is no block {digest}"))
        .hint("ask for blocks of your own tasks' documents only")
}

pub(super) const fn compression(compress: bool) -> Compression {
    if compress { Compression::WherePays } else { Compression::Never }
}

/// A pack of blocks on its way out.
pub(crate) struct PackOfBlocks {
    blocks: Vec<WantedBlock>,
    next: usize,
    begun: bool,
    compression: Compression,
    #[expect(dead_code, reason = "it pins the blocks for as long as it lives")]
    session: Box<dyn BlockSession>,
}

impl PackOfBlocks {
    /// Pins the blocks, which the caller may have. Blocks.
    pub(crate) fn new(
        app: &App,
        blocks: Vec<WantedBlock>,
        compression: Compression,
    ) -> Result<Self, Refused> {
        let mut session = app.blocks.session();
        for wanted in &blocks {
            if !session.pin(&wanted.digest)? {
                return Err(no_such_block(&wanted.digest));
            }
        }
        Ok(Self { blocks, next: 0, begun: false, compression, session })
    }

    /// The answer that holds the pack.
    pub(crate) fn answer(self, app: Arc<App>) -> Response {
        answer(stream_pack(app, self, |making, app, out| making.fill(app, out)))
    }

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
