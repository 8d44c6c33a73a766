//! Writing frames, each compressed as it pays.

use std::cell::RefCell;
use std::io;

use super::read::within;
use super::shuffle::{is_width, shuffle};
use super::{
    CODEC_RAW, CODEC_SHUFFLED_ZSTD, CODEC_ZSTD, FrameKind, HEADER_BYTES, KIND_END, MAXIMUM_FRAME, PackError,
};
use crate::Digest;

/// Whether to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Send bytes as they are: for lines that are faster than a compressor, such as the loopback.
    Never,
    /// Look at samples of each block, and compress it in the way that is best for it, if one saves enough.
    #[default]
    WherePays,
}

/// Frames shorter than this travel as they are: zstd's own header eats what could be saved.
const SHORT: usize = 64;
/// Frames up to this length are compressed in each way, and the shortest is taken; longer ones are sampled.
const TRIED: usize = 16 << 10;
/// Pieces of a sample, and bytes of each; a multiple of 16, so that no number is cut in two.
const PIECES: usize = 8;
const PIECE: usize = 2 << 10;
/// zstd's level, chosen by measurement (`examples/pack_speed.rs`, megabytes a second and ratio, on one thread with the
/// shuffle): a smooth field 840 and 1.33 at level -1, 760 and 1.34 at 1, 350 and 1.45 at 3; a complex wave 730 and
/// 2.18, 680 and 2.28, 340 and 2.66. At level 3 a
/// single thread would not fill a line of four gigabits.
const LEVEL: i32 = 1;

/// Appends a frame and returns the digest of its bytes.
///
/// `width` is the number of bytes per number, for the shuffle: 2, 4, 8 or 16; with any other the bytes are not
/// shuffled.
///
/// # Errors
/// `TooLarge` beyond [`MAXIMUM_FRAME`]; `out` is unchanged then.
pub fn encode(
    kind: FrameKind,
    raw: &[u8],
    width: u8,
    compression: Compression,
    out: &mut Vec<u8>,
) -> Result<Digest, PackError> {
    let digest = Digest::of(raw);
    frame(kind, &digest, raw, width, compression, out)?;
    Ok(digest)
}

/// Appends the frame of a block whose digest is known. The digest is not checked here; a wrong one is noticed by the
/// reader.
///
/// # Errors
/// As [`encode`].
pub fn encode_block(
    digest: &Digest,
    raw: &[u8],
    width: u8,
    compression: Compression,
    out: &mut Vec<u8>,
) -> Result<(), PackError> {
    frame(FrameKind::Block, digest, raw, width, compression, out)
}

/// Appends the end frame.
pub fn end(out: &mut Vec<u8>) {
    const { assert!(KIND_END == 0, "the end frame is all zeros") };
    out.extend_from_slice(&[0; HEADER_BYTES]);
}

fn frame(
    kind: FrameKind,
    digest: &Digest,
    raw: &[u8],
    width: u8,
    compression: Compression,
    out: &mut Vec<u8>,
) -> Result<(), PackError> {
    within("frame_bytes", MAXIMUM_FRAME, raw.len() as u64)?;
    if compression == Compression::WherePays && raw.len() >= SHORT {
        let width = if is_width(width) { width } else { 1 };
        // Without memory for a compressor there is still the frame as it is.
        let compressed = COMPRESSOR.with_borrow_mut(|compressor| compressor.best(raw, width).unwrap_or(None));
        if let Some(codec) = compressed {
            return COMPRESSOR.with_borrow(|compressor| {
                header(kind, codec, width, raw.len(), compressor.coded.len(), digest, out);
                out.extend_from_slice(&compressor.coded);
                Ok(())
            });
        }
    }
    header(kind, CODEC_RAW, 1, raw.len(), raw.len(), digest, out);
    out.extend_from_slice(raw);
    Ok(())
}

fn header(
    kind: FrameKind,
    codec: u8,
    width: u8,
    raw_length: usize,
    coded_length: usize,
    digest: &Digest,
    out: &mut Vec<u8>,
) {
    // Both are at most `MAXIMUM_FRAME`, because what does not shrink is not compressed.
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    out.reserve(HEADER_BYTES + coded_length);
    out.extend_from_slice(&[kind.code(), codec, if codec == CODEC_SHUFFLED_ZSTD { width } else { 1 }, 0]);
    out.extend_from_slice(&length(raw_length));
    out.extend_from_slice(&length(coded_length));
    out.extend_from_slice(digest.as_bytes());
}

thread_local! {
    /// A compressor's tables are larger than most blocks, so each thread keeps its own.
    static COMPRESSOR: RefCell<Compressor> = const { RefCell::new(Compressor::new()) };
}

/// What a thread compresses with.
struct Compressor {
    zstd: Option<zstd::bulk::Compressor<'static>>,
    sample: Vec<u8>,
    shuffled: Vec<u8>,
    coded: Vec<u8>,
}

/// Whether it saves enough to be worth taking apart again: a sixteenth.
const fn pays(raw: usize, coded: usize) -> bool {
    coded < raw - raw / 16
}

impl Compressor {
    const fn new() -> Self {
        Self { zstd: None, sample: Vec::new(), shuffled: Vec::new(), coded: Vec::new() }
    }

    /// Compresses into `self.coded` in the way that is best; `None` if none pays.
    fn best(&mut self, raw: &[u8], width: u8) -> io::Result<Option<u8>> {
        let codec = if raw.len() <= TRIED { self.try_both(raw, width)? } else { self.sampled(raw, width)? };
        Ok(codec.filter(|_| pays(raw.len(), self.coded.len())))
    }

    fn try_both(&mut self, raw: &[u8], width: u8) -> io::Result<Option<u8>> {
        let plain = self.compress(CODEC_ZSTD, raw, width)?;
        if width == 1 {
            return Ok(Some(CODEC_ZSTD));
        }
        let shuffled = self.compress(CODEC_SHUFFLED_ZSTD, raw, width)?;
        if shuffled <= plain {
            return Ok(Some(CODEC_SHUFFLED_ZSTD));
        }
        self.compress(CODEC_ZSTD, raw, width)?;
        Ok(Some(CODEC_ZSTD))
    }

    fn sampled(&mut self, raw: &[u8], width: u8) -> io::Result<Option<u8>> {
        let mut sample = std::mem::take(&mut self.sample);
        sample.clear();
        let stride = (raw.len() - PIECE) / (PIECES - 1) / 16 * 16;
        for piece in 0..PIECES {
            sample.extend_from_slice(&raw[piece * stride..piece * stride + PIECE]);
        }
        let lengths = self.compress(CODEC_ZSTD, &sample, width).and_then(|plain| {
            let shuffled =
                if width == 1 { usize::MAX } else { self.compress(CODEC_SHUFFLED_ZSTD, &sample, width)? };
            Ok((plain, shuffled))
        });
        let length = sample.len();
        self.sample = sample;
        let (plain, shuffled) = lengths?;
        let (codec, coded) =
            if shuffled < plain { (CODEC_SHUFFLED_ZSTD, shuffled) } else { (CODEC_ZSTD, plain) };
        if !pays(length, coded) {
            return Ok(None);
        }
        self.compress(codec, raw, width)?;
        Ok(Some(codec))
    }

    /// Compresses into `self.coded` and returns the length.
    fn compress(&mut self, codec: u8, raw: &[u8], width: u8) -> io::Result<usize> {
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            empty => empty.insert(zstd::bulk::Compressor::new(LEVEL)?),
        };
        let input = if codec == CODEC_SHUFFLED_ZSTD {
            self.shuffled.clear();
            shuffle(raw, width, &mut self.shuffled);
            &self.shuffled
        } else {
            raw
        };
        self.coded.clear();
        self.coded.reserve(zstd::zstd_safe::compress_bound(input.len()));
        zstd.compress_to_buffer(input, &mut self.coded)
    }
}
