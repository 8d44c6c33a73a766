//! Packs: blocks and messages on their way between client and server.
//!
//! ```text
//!  pack  = magic, frame …, end frame
//!  frame = kind u8 │ codec u8 │ width u8 │ 0 │ raw length u32 │ coded length u32 │ BLAKE3 of the raw bytes │ coded bytes
//! ```
//!
//! Numbers are little-endian. A pack is neither an archive nor a file format: it is written once, read once from
//! front to back, and each frame can be believed as soon as it has come, because it carries the digest of what is
//! in it. A transfer that breaks has lost the frame in flight and no more.
//!
//! # Compression
//!
//! Numbers of physics compress badly as they stand: in eight bytes of a smooth field the first two vary slowly and
//! the last four look like noise. Sorted by place within the number (the *byte shuffle*), the slow bytes lie
//! together, and a fast compressor does better than a slow one does without. It pays for most arrays but not for all:
//! a mask or a grid of a few different values repeats itself as it stands. So each block is sampled
//! ([`Compression::WherePays`]), and what does not shrink travels as it is and costs next to nothing.
//!
//! # Why not a format that exists
//!
//! Multipart bodies have textual boundaries to search for and no digests; tar and zip have names and padding and
//! want a whole file; HTTP's own `content-encoding` compresses everything alike, cannot shuffle, and makes what
//! comes behind a damaged byte unreadable.
//!
//! # Reading from strangers
//!
//! [`Reader`] holds the bytes that it was fed and has not taken apart yet, and one decoded frame. A frame that
//! claims more than [`PackLimits`] allow is refused when its header comes, before anything is allocated for it; the
//! decoder writes into a buffer of the length claimed and stops there, so a bomb costs no more than an honest frame.
//!
//! ```
//! use wavetask_document::{BLOCK_BYTES, Digest, pack};
//!
//! let numbers: Vec<u8> = (0..4096).flat_map(|index| f64::from(index).to_le_bytes()).collect();
//! let mut body = pack::MAGIC.to_vec();
//! pack::encode(pack::FrameKind::Message, br#"{"task":"hec-1"}"#, 1, pack::Compression::WherePays, &mut body)?;
//! pack::encode(pack::FrameKind::Block, &numbers, 8, pack::Compression::WherePays, &mut body)?;
//! pack::end(&mut body);
//! assert!(body.len() < numbers.len() / 4);
//!
//! let mut reader = pack::Reader::new(pack::PackLimits { block_bytes: BLOCK_BYTES, ..Default::default() });
//! let mut found = Vec::new();
//! for received in body.chunks(1000) {
//!     reader.feed(received);
//!     while let Some(frame) = reader.next()? {
//!         found.push(frame);
//!     }
//! }
//! reader.finish()?;
//! assert_eq!(found[1].digest, Digest::of(&numbers));
//! assert_eq!(found[1].bytes, numbers);
//! # Ok::<(), pack::PackError>(())
//! ```

mod encode;
mod read;
mod shuffle;

pub use encode::{Compression, encode, encode_block, end};
pub use read::{Frame, PackLimits, Reader};

/// The first bytes of every pack: name, version, line feed.
pub const MAGIC: [u8; 8] = *b"wtpack\x01\n";

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 44;

/// Most bytes that a frame can hold, uncompressed: 64 MiB.
pub const MAXIMUM_FRAME: u64 = 64 << 20;

const CODEC_RAW: u8 = 0;
const CODEC_ZSTD: u8 = 1;
const CODEC_SHUFFLED_ZSTD: u8 = 2;
const KIND_END: u8 = 0;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameKind {
    /// JSON, whose meaning the request says.
    Message,
    /// A block of an array or a document.
    Block,
}

impl FrameKind {
    const fn code(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::Block => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Message),
            2 => Some(Self::Block),
            _ => None,
        }
    }
}

/// A pack could not be read, or a frame could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// A frame's bytes are not what its digest says. Frames that came before are good; send or fetch the others
    /// again.
    #[error("the bytes of the frame at byte {offset} are not what its digest {digest} says")]
    Corrupted {
        /// The digest that came with the bytes.
        digest: crate::Digest,
        /// Where the frame begins, in bytes from the start of the pack.
        offset: u64,
    },
    /// The bytes are not a pack. Frames that came before are good; send or fetch the others again.
    #[error("the pack is damaged at byte {offset}: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// Where the frame begins, in bytes from the start of the pack.
        offset: u64,
    },
    /// The bytes end before the pack does: the connection broke. Frames that came are good; send or fetch the
    /// others again.
    #[error("the pack ends too early, after {offset} bytes")]
    Truncated {
        /// How many bytes came.
        offset: u64,
    },
    /// A limit was exceeded. Make smaller frames or packs.
    #[error("too large for a pack: {found} exceeds the limit {limit} = {allowed}")]
    TooLarge {
        /// The name of the field of [`PackLimits`], or `frame_bytes` for [`MAXIMUM_FRAME`].
        limit: &'static str,
        /// The limit's value.
        allowed: u64,
        /// What was found, at least.
        found: u64,
    },
}

impl PackError {
    /// A stable word for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Corrupted { .. } => "block.corrupted",
            Self::Damaged { .. } => "pack.damaged",
            Self::Truncated { .. } => "pack.truncated",
            Self::TooLarge { .. } => "pack.too_large",
        }
    }

    /// What the reader of the message can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Corrupted { .. } | Self::Damaged { .. } => {
                "Send it again; if it comes again, something between client and server changes bytes."
            }
            Self::Truncated { .. } => "The connection broke; send what has not arrived again.",
            Self::TooLarge { .. } => "Send more packs with less in each.",
        }
    }
}
