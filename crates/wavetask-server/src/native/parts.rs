//! Parts of arrays of results, cut out of the blocks that they touch.
//!
//! A part is made window by window: of an array in bricks each window is what one layer of bricks has of the part, so
//! every brick is read once. What is held for a request is a window, a block and a piece of the pack, however long the
//! part is; the next piece is made when the connection has taken the one before. Blocks are compared with their digests
//! when they are read, and what leaves has digests of its own: of every frame, and of all together.
//!
//! Blocks are not pinned: if the task is deleted meanwhile, the part breaks off, as a download does.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use wavetask_document::pack::{self, Compression, FrameKind};
use wavetask_document::{ArrayDescriptor, Digest, DocumentError, ElementType};
use wavetask_protocol::native::{MAXIMUM_PART, PartEnd, PartRequest, RESULTS_PART};
use wavetask_protocol::{TaskState, chain};
use wavetask_store::{DocumentRole, StoreError};

use super::blocks::{answer, compression, stream_pack};
use super::{Routes, bad};
use crate::answer::Refused;
use crate::app::App;
use crate::downloads;
use crate::extract::{Body, Caller};

/// Bytes of a window, and of a frame: a few bricks have to be read before the first of them leaves.
const WINDOW: u64 = 256 << 10;

/// The routes of this part.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.post(RESULTS_PART, part)
}

async fn part(
    caller: Caller,
    State(app): State<Arc<App>>,
    Body(request): Body<PartRequest>,
) -> Result<Response, Refused> {
    let making = app.blocking(move |app| Making::new(app, &caller, &request)).await?;
    Ok(answer(stream_pack(app, making, |making, app, out| making.fill(app, out))))
}

/// A part on its way out.
struct Making {
    array: ArrayDescriptor,
    windows: VecDeque<Vec<Range<u64>>>,
    compression: Compression,
    begun: bool,
    whole: blake3::Hasher,
    sent: u64,
}

impl Making {
    /// Finds the array among the caller's results. Blocks.
    fn new(app: &App, caller: &Caller, request: &PartRequest) -> Result<Self, Refused> {
        let record = app.task_of(caller.id(), &request.task)?;
        if !matches!(record.state, TaskState::Success | TaskState::Diverged) {
            return Err(no_result());
        }
        let document = downloads::document(app, &record, DocumentRole::Result)?.ok_or_else(no_result)?;
        let mut arrays = document.arrays;
        let array = arrays.remove(&request.path).ok_or_else(|| {
            let message = format!("the result has no array at {:?}", request.path);
            Refused::new(StatusCode::NOT_FOUND, "result.no_array", message)
                .hint("the result's document names its arrays")
        })?;
        if array.element_type == ElementType::Text {
            return Err(bad("texts have no parts: fetch their blocks"));
        }
        let ranges: Vec<Range<u64>> = request.ranges.iter().map(|&(start, end)| start..end).collect();
        let unfit = |error: DocumentError| bad(chain(&error));
        let part = array.blocks_of(&ranges).map_err(unfit)?;
        if part.byte_length > MAXIMUM_PART {
            let message = format!("the part has {} bytes, more than {MAXIMUM_PART}", part.byte_length);
            return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "result.part_too_large", message)
                .hint("ask for it in several parts, or fetch the blocks"));
        }
        let windows = array.windows(&ranges, WINDOW).map_err(unfit)?.into();
        let compression = compression(request.compress);
        Ok(Self { array, windows, compression, begun: false, whole: blake3::Hasher::new(), sent: 0 })
    }

    /// Makes the next frame; answers whether that was the last. Blocks.
    fn fill(&mut self, app: &App, out: &mut Vec<u8>) -> Result<bool, Refused> {
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(&pack::MAGIC);
        }
        let internal = |error: pack::PackError| Refused::internal(&error);
        if let Some(window) = self.windows.pop_front() {
            let mut bytes = Vec::new();
            let blocks = app.kept_blocks.over(&*app.blocks);
            let read = self.array.blocks_of(&window).and_then(|part| {
                self.array.read_part(&part, &blocks, &mut bytes)?;
                // While this window is sent the disk reads the next one.
                self.windows.front().map_or(Ok(()), |next| self.array.announce_part(next, &blocks))
            });
            read.map_err(|error| match error {
                DocumentError::Io { doing, source } => Refused::from(StoreError::from_io(doing, source)),
                error => Refused::internal(&error),
            })?;
            self.whole.update(&bytes);
            self.sent += bytes.len() as u64;
            let width = self.array.element_type.width();
            pack::encode(FrameKind::Block, &bytes, width, self.compression, out).map_err(internal)?;
            return Ok(false);
        }
        let digest = Digest::from_bytes(*self.whole.finalize().as_bytes());
        let end = PartEnd { byte_length: self.sent, digest };
        let text = serde_json::to_vec(&end).map_err(|error| Refused::internal(&error))?;
        pack::encode(FrameKind::Message, &text, 1, Compression::Never, out).map_err(internal)?;
        pack::end(out);
        Ok(true)
    }
}

fn no_result() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "result.none", "the task has no result")
        .hint("wait until it has succeeded")
}
