//! Taking packs apart as they come.

use std::cell::RefCell;

use super::shuffle::{is_width, unshuffle};
use super::{
    CODEC_RAW, CODEC_SHUFFLED_ZSTD, CODEC_ZSTD, FrameKind, HEADER_BYTES, KIND_END, MAGIC, MAXIMUM_FRAME,
    PackError,
};
use crate::{BLOCK_BYTES, Digest};

/// How much a pack may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLimits {
    /// Bytes of one block, uncompressed. Default [`BLOCK_BYTES`]; at most [`MAXIMUM_FRAME`] whatever is said here.
    pub block_bytes: u64,
    /// Bytes of one message, uncompressed. Default [`MAXIMUM_FRAME`].
    pub message_bytes: u64,
    /// Frames in all. Default 100,000.
    pub frames: u64,
    /// Bytes of all frames together, uncompressed. Default 64 GiB.
    pub raw_bytes: u64,
}

impl Default for PackLimits {
    fn default() -> Self {
        Self { block_bytes: BLOCK_BYTES, message_bytes: MAXIMUM_FRAME, frames: 100_000, raw_bytes: 64 << 30 }
    }
}

/// A frame, decoded and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it holds.
    pub kind: FrameKind,
    /// The digest of the bytes; they have been compared.
    pub digest: Digest,
    /// The bytes, uncompressed.
    pub bytes: Vec<u8>,
}

/// Takes one pack apart as its bytes come.
///
/// [`feed`](Self::feed) what has come, then take frames with [`next`](Self::next) until there is none; at the end of
/// the bytes call [`finish`](Self::finish). Memory: what was fed and not taken, and one frame.
#[derive(Debug)]
pub struct Reader {
    limits: PackLimits,
    buffer: Vec<u8>,
    /// Where the bytes that have not been taken apart begin in the buffer.
    start: usize,
    /// Where that is in the pack.
    offset: u64,
    frames: u64,
    raw_bytes: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Magic,
    Header,
    Payload(Header),
    Ended,
    Failed(PackError),
}

#[derive(Clone, Copy, Debug)]
struct Header {
    kind: FrameKind,
    codec: u8,
    width: u8,
    raw_length: usize,
    coded_length: usize,
    digest: Digest,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new(PackLimits::default())
    }
}

impl Reader {
    /// A reader at the beginning of a pack.
    pub fn new(limits: PackLimits) -> Self {
        Self { limits, buffer: Vec::new(), start: 0, offset: 0, frames: 0, raw_bytes: 0, state: State::Magic }
    }

    /// Takes the bytes that came next.
    pub fn feed(&mut self, bytes: &[u8]) {
        if matches!(self.state, State::Failed(_)) {
            return;
        }
        // What was taken is dropped when it is the larger part, so that each byte is moved at most once or twice.
        if self.start > 0 && self.start >= self.buffer.len() - self.start {
            self.buffer.copy_within(self.start.., 0);
            self.buffer.truncate(self.buffer.len() - self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame of what was fed; `None` if more bytes are needed or the pack is at its end.
    ///
    /// # Errors
    /// `Damaged` and `TooLarge`; after an error every call returns it again.
    #[expect(
        clippy::should_implement_trait,
        reason = "`None` says that more must be fed, not that this was all"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, PackError> {
        let outcome = self.step();
        if let Err(error) = &outcome {
            self.state = State::Failed(error.clone());
            self.buffer = Vec::new();
            self.start = 0;
        }
        outcome
    }

    /// Whether the end frame has come.
    pub const fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Says that no more bytes come.
    ///
    /// # Errors
    /// `Truncated` if the end frame has not come, or the error that [`next`](Self::next) met.
    pub fn finish(mut self) -> Result<(), PackError> {
        while self.next()?.is_some() {}
        match self.state {
            State::Ended => Ok(()),
            _ => Err(PackError::Truncated { offset: self.offset + (self.buffer.len() - self.start) as u64 }),
        }
    }

    fn step(&mut self) -> Result<Option<Frame>, PackError> {
        loop {
            match self.state {
                State::Magic => {
                    let available = &self.buffer[self.start..];
                    let length = available.len().min(MAGIC.len());
                    if available[..length] != MAGIC[..length] {
                        return Err(self.damaged("not a pack"));
                    }
                    if length < MAGIC.len() {
                        return Ok(None);
                    }
                    self.advance(MAGIC.len());
                    self.state = State::Header;
                }
                State::Header => {
                    let Some(bytes) = self.buffer[self.start..].first_chunk::<HEADER_BYTES>().copied() else {
                        return Ok(None);
                    };
                    self.state = match self.header(&bytes)? {
                        Some(header) => State::Payload(header),
                        None => {
                            self.advance(HEADER_BYTES);
                            State::Ended
                        }
                    };
                }
                State::Payload(header) => {
                    let length = HEADER_BYTES + header.coded_length;
                    let Some(frame) = self.buffer.get(self.start..self.start + length) else {
                        return Ok(None);
                    };
                    let bytes = decode(&header, &frame[HEADER_BYTES..]).map_err(|what| self.damaged(what))?;
                    if Digest::of(&bytes) != header.digest {
                        return Err(PackError::Corrupted { digest: header.digest, offset: self.offset });
                    }
                    self.advance(length);
                    self.state = State::Header;
                    return Ok(Some(Frame { kind: header.kind, digest: header.digest, bytes }));
                }
                State::Ended if self.buffer.len() > self.start => {
                    return Err(self.damaged("bytes after the end frame"));
                }
                State::Ended => return Ok(None),
                State::Failed(ref error) => return Err(error.clone()),
            }
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
    }

    const fn damaged(&self, what: &'static str) -> PackError {
        PackError::Damaged { what, offset: self.offset }
    }

    /// Reads a header and refuses what it may not ask for; `None` at the end frame.
    fn header(&mut self, bytes: &[u8; HEADER_BYTES]) -> Result<Option<Header>, PackError> {
        let [kind, codec, width, zero, rest @ ..] = *bytes;
        if kind == KIND_END {
            return if bytes.iter().all(|&byte| byte == 0) {
                Ok(None)
            } else {
                Err(self.damaged("an end frame that is not empty"))
            };
        }
        let Some(kind) = FrameKind::from_code(kind) else {
            return Err(self.damaged("a frame of an unknown kind"));
        };
        let (raw_length, coded_length) = (little_endian(&rest, 0), little_endian(&rest, 4));
        let mut digest = [0; 32];
        digest.copy_from_slice(&rest[8..]);
        let lengths_fit = match codec {
            CODEC_RAW => coded_length == raw_length,
            CODEC_ZSTD | CODEC_SHUFFLED_ZSTD => coded_length < raw_length,
            _ => return Err(self.damaged("a frame of an unknown codec")),
        };
        if !lengths_fit {
            return Err(self.damaged("lengths that do not fit the codec"));
        }
        if zero != 0 || (if codec == CODEC_SHUFFLED_ZSTD { !is_width(width) } else { width > 16 }) {
            return Err(self.damaged("a width that no number has"));
        }
        let (limit, allowed) = match kind {
            FrameKind::Message => ("message_bytes", self.limits.message_bytes),
            FrameKind::Block => ("block_bytes", self.limits.block_bytes),
        };
        self.frames += 1;
        self.raw_bytes += u64::from(raw_length);
        within(limit, allowed.min(MAXIMUM_FRAME), u64::from(raw_length))?;
        within("frames", self.limits.frames, self.frames)?;
        within("raw_bytes", self.limits.raw_bytes, self.raw_bytes)?;
        Ok(Some(Header {
            kind,
            codec,
            width,
            raw_length: raw_length as usize,
            coded_length: coded_length as usize,
            digest: Digest::from_bytes(digest),
        }))
    }
}

fn little_endian(bytes: &[u8; HEADER_BYTES - 4], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

pub(super) fn within(limit: &'static str, allowed: u64, found: u64) -> Result<(), PackError> {
    if found > allowed { Err(PackError::TooLarge { limit, allowed, found }) } else { Ok(()) }
}

thread_local! {
    /// A decoder's tables are larger than most frames, so each thread keeps its own.
    static DECODER: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The raw bytes of a frame.
fn decode(header: &Header, coded: &[u8]) -> Result<Vec<u8>, &'static str> {
    let bytes = match header.codec {
        CODEC_RAW => coded.to_vec(),
        codec => {
            let plain = inflate(coded, header.raw_length)?;
            if codec == CODEC_SHUFFLED_ZSTD {
                let mut bytes = Vec::with_capacity(plain.len());
                unshuffle(&plain, header.width, &mut bytes);
                bytes
            } else {
                plain
            }
        }
    };
    Ok(bytes)
}

fn inflate(coded: &[u8], raw_length: usize) -> Result<Vec<u8>, &'static str> {
    const DAMAGED: &str = "the compressed bytes cannot be expanded";
    // A frame says how long its content is, and ours always do: what does not agree is refused before room is made.
    if !matches!(zstd::zstd_safe::get_frame_content_size(coded), Ok(Some(length)) if length == raw_length as u64)
    {
        return Err(DAMAGED);
    }
    let mut plain = Vec::with_capacity(raw_length);
    DECODER.with_borrow_mut(|decoder| {
        let decoder = match decoder {
            Some(decoder) => decoder,
            None => decoder.insert(zstd::bulk::Decompressor::new().map_err(|_| "no memory for a decoder")?),
        };
        decoder.decompress_to_buffer(coded, &mut plain).map_err(|_| DAMAGED)
    })?;
    if plain.len() == raw_length { Ok(plain) } else { Err(DAMAGED) }
}
