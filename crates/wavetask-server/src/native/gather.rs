//! Large JSON bodies: gathered where they do no harm, unpacked within a limit.
//!
//! A body is kept in memory up to [`SMALL`] and in a file without a name beyond, so a thousand slow senders hold a
//! thousand files and hardly any memory. Only when all has come does it take memory of the server's budget, and it
//! may be compressed: how long it becomes is not believed but measured.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt;

use crate::answer::Refused;
use crate::app::App;
use crate::disk::RoomyWriter;
use crate::extract::{SWALLOWED, body_error};

/// Bytes of one body that are held in memory while it comes.
const SMALL: usize = 256 << 10;

/// zstd's window is at most so large, as a power of two: more would be memory that the sender chooses.
const WINDOW: u32 = 27;

/// A body that has come.
#[derive(Debug)]
pub(super) struct Gathered {
    content: Content,
    compressed: bool,
    /// Bytes as they came.
    pub(super) length: u64,
}

#[derive(Debug)]
enum Content {
    Memory(Vec<u8>),
    File(File),
}

/// Waits for a body.
pub(super) async fn gather(app: &Arc<App>, headers: &HeaderMap, body: Body) -> Result<Gathered, Refused> {
    let compressed = match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"identity") => false,
        Some(b"zstd") => true,
        Some(_) => {
            let message = "a body may be sent as it is or compressed with zstd";
            return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "request.encoding", message)
                .hint("leave out `content-encoding`, or make it `zstd`"));
        }
    };
    let limit = app.config.limits.submission_bytes;
    let mut stream = body.into_data_stream();
    let mut content = Content::Memory(Vec::new());
    let mut length = 0_u64;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| body_error(&error))?;
        length += piece.len() as u64;
        if length > limit.saturating_add(SWALLOWED as u64) {
            break;
        }
        // What is too much is read on for a while and thrown away: many clients look for an answer only once
        // they have sent everything.
        if length <= limit {
            content = append(app, content, piece).await?;
        }
    }
    if length > limit {
        return Err(too_large(limit));
    }
    Ok(Gathered { content, compressed, length })
}

async fn append(app: &Arc<App>, content: Content, piece: Bytes) -> Result<Content, Refused> {
    match content {
        Content::Memory(mut bytes) if bytes.len() + piece.len() <= SMALL => {
            bytes.extend_from_slice(&piece);
            Ok(Content::Memory(bytes))
        }
        content => {
            app.blocking(move |app| {
                let folder = app.staging.root();
                let (file, start) = match content {
                    Content::Memory(bytes) => (tempfile::tempfile_in(folder)?, bytes),
                    Content::File(file) => (file, Vec::new()),
                };
                {
                    let mut output = RoomyWriter::new(&file, folder, app.config.limits.reserve_bytes);
                    output.write_all(&start)?;
                    output.write_all(&piece)?;
                }
                Ok(Content::File(file))
            })
            .await
        }
    }
}

fn too_large(limit: u64) -> Refused {
    let message = format!("the body is larger than {limit} bytes");
    Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "request.too_large", message)
        .hint("send fewer members at once, and long documents as blocks")
}

impl Gathered {
    /// Bytes that the text probably has, and that room should be asked for.
    pub(super) fn expected_length(&self, limit: u64) -> u64 {
        let factor = if self.compressed { 30 } else { 1 };
        self.length.saturating_mul(factor).clamp(1 << 20, limit.max(1 << 20))
    }

    /// The text, if it has at most this many bytes; may be asked for again with more. Blocks.
    pub(super) fn text(&mut self, at_most: u64) -> Result<Option<Vec<u8>>, Refused> {
        let source: &mut dyn Read = match &mut self.content {
            Content::Memory(bytes) => &mut &bytes[..],
            Content::File(file) => {
                file.rewind()?;
                file
            }
        };
        let mut text = Vec::new();
        let read = if self.compressed {
            let mut decoder = zstd::stream::read::Decoder::new(io::BufReader::new(source))?;
            decoder.window_log_max(WINDOW)?;
            decoder.take(at_most.saturating_add(1)).read_to_end(&mut text)
        } else {
            source.take(at_most.saturating_add(1)).read_to_end(&mut text)
        };
        read.map_err(|error| {
            if self.compressed {
                Refused::bad_request(format!("the body is not zstd as its header says: {error}"))
                    .hint("send it again, or uncompressed")
            } else {
                error.into()
            }
        })?;
        Ok((text.len() as u64 <= at_most).then_some(text))
    }

    /// The refusal of a text that is longer than the server takes.
    pub(super) fn refuse(limit: u64) -> Refused {
        too_large(limit)
    }
}
