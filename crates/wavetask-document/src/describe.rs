//! From arrays in memory to a document, without copying them: hashing on all cores.
//!
//! An array's digest is of all its bytes, and each block has a digest of its own, so every byte is hashed twice; with
//! two passes a large array would also be read twice from memory. BLAKE3 is a tree whose inner nodes cover powers of
//! two, so the node of each block is made while the block is in the processor's cache, by whichever thread has the
//! block, and the nodes are joined at the end to the digest that hashing from front to back gives.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};

use crate::bytes::push_text;
use crate::error::within;
use crate::{ArrayDescriptor, BLOCK_BYTES, Digest, Document, DocumentError, ElementType, Layout, Limits};

/// Blocks as `usize`; a power of two and at least one chunk of BLAKE3, as the nodes of its tree must be.
const BLOCK: usize = 1 << 20;
const _: () = assert!(BLOCK as u64 == BLOCK_BYTES);
/// Below this, starting a thread takes longer than hashing.
const BYTES_PER_THREAD: usize = 4 << 20;

/// An array in somebody's memory.
#[derive(Clone, Debug)]
pub struct ArrayView<'a> {
    /// Its path in the document, without a leading slash.
    pub path: &'a str,
    /// Type of the elements.
    pub element_type: ElementType,
    /// Extent of each dimension.
    pub shape: &'a [u64],
    /// Little-endian elements in C order; of text what [`text_bytes`] makes.
    pub bytes: &'a [u8],
}

impl ElementType {
    /// Bytes per number, for the byte shuffle of [`pack`](crate::pack): a complex number counts as a whole, so that
    /// its real and its imaginary parts are kept apart.
    pub const fn width(self) -> u8 {
        match self {
            Self::Complex128 => 16,
            Self::Float64 | Self::Int64 | Self::Complex64 => 8,
            Self::Float32 | Self::Int32 => 4,
            Self::Uint8 | Self::Text => 1,
        }
    }
}

/// The bytes of an array of strings: each behind its length.
///
/// # Errors
/// `TooLarge` for a string of 4 GiB or more.
pub fn text_bytes<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Vec<u8>, DocumentError> {
    let mut bytes = Vec::new();
    for text in texts {
        within("text_bytes", u64::from(u32::MAX), text.len() as u64)?;
        push_text(&mut bytes, text);
    }
    Ok(bytes)
}

/// Describes a document whose arrays are in memory: the descriptors that reading a file with the same content gives
/// ([`hdf5::read`](crate::hdf5::read) with the default limits), hashed on all cores.
///
/// Nothing is stored: where each block's bytes are is said by [`ArrayDescriptor::block_ranges`]. The bytes must not
/// change until they have been sent; if they do, whoever receives a block notices by its digest.
///
/// # Errors
/// `Malformed` if a path cannot be one or appears twice, or bytes do not fit their shape; `TooLarge` beyond the
/// default limits of JSON and arrays.
pub fn describe(json: impl Into<Arc<str>>, arrays: &[ArrayView<'_>]) -> Result<Document, DocumentError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    describe_on(json, arrays, cores)
}

/// As [`describe`], on at most so many threads; with one, on the caller's.
///
/// # Errors
/// As [`describe`].
pub fn describe_on(
    json: impl Into<Arc<str>>,
    arrays: &[ArrayView<'_>],
    threads: usize,
) -> Result<Document, DocumentError> {
    let json = json.into();
    let limits = Limits::default();
    within("json_bytes", limits.json_bytes, json.len() as u64)?;
    within("objects", limits.objects, arrays.len() as u64)?;
    for array in arrays {
        let allowed = if array.element_type == ElementType::Text {
            within("text_bytes", limits.text_bytes, array.bytes.len() as u64)?;
            limits.text_bytes
        } else {
            limits.array_bytes
        };
        within("array_bytes", allowed, array.bytes.len() as u64)?;
    }
    let pieces: Vec<Piece<'_>> = arrays.iter().flat_map(|array| pieces(array.bytes)).collect();
    let mut hashed = hash(&pieces, threads).into_iter();
    let mut described = BTreeMap::new();
    for array in arrays {
        let count = array.bytes.len().div_ceil(BLOCK);
        let mut nodes = Vec::with_capacity(count);
        let mut blocks = Vec::with_capacity(count);
        for (digest, node) in hashed.by_ref().take(count) {
            blocks.push(digest);
            nodes.push(node);
        }
        let digest = match &*blocks {
            [] => Digest::of(&[]),
            [only] => *only,
            _ => root(&nodes, array.bytes.len() as u64),
        };
        let descriptor = ArrayDescriptor {
            element_type: array.element_type,
            shape: array.shape.to_vec(),
            byte_length: array.bytes.len() as u64,
            digest,
            layout: Layout::Linear { block_bytes: BLOCK_BYTES },
            blocks,
        };
        if described.insert(array.path.to_owned(), descriptor).is_some() {
            return Err(DocumentError::malformed("two arrays at one path", array.path));
        }
    }
    let document = Document { json, arrays: described };
    document.check()?;
    Ok(document)
}

impl ArrayDescriptor {
    /// Each block with its place in the array's bytes, in order, of an array in one line, as described ones are.
    /// Nothing of one in bricks, which lie nowhere in one piece: [`Part::place`](crate::Part::place) is for both.
    pub fn block_ranges(&self) -> impl Iterator<Item = (Digest, Range<u64>)> + '_ {
        let block_bytes = self.block_bytes();
        let in_line: &[Digest] = if self.is_linear() { &self.blocks } else { &[] };
        in_line.iter().zip(0_u64..).map(move |(digest, index)| {
            let start = index * block_bytes;
            (*digest, start..self.byte_length.min(start + block_bytes))
        })
    }
}

/// One block to hash.
#[derive(Clone, Copy)]
struct Piece<'a> {
    bytes: &'a [u8],
    /// Where it begins in its array; `None` if it is the whole array, which has no inner node.
    offset: Option<u64>,
}

fn pieces(bytes: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let several = bytes.len() > BLOCK;
    bytes
        .chunks(BLOCK)
        .enumerate()
        .map(move |(index, bytes)| Piece { bytes, offset: several.then_some(index as u64 * BLOCK_BYTES) })
}

fn hash_piece(piece: &Piece<'_>) -> (Digest, ChainingValue) {
    let node = piece.offset.map_or([0; 32], |offset| {
        blake3::Hasher::new().set_input_offset(offset).update(piece.bytes).finalize_non_root()
    });
    (Digest::of(piece.bytes), node)
}

/// Digests and inner nodes of all pieces, in their order.
fn hash(pieces: &[Piece<'_>], threads: usize) -> Vec<(Digest, ChainingValue)> {
    let bytes: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
    let threads = threads.min(bytes / BYTES_PER_THREAD).min(pieces.len());
    if threads < 2 {
        return pieces.iter().map(hash_piece).collect();
    }
    // Each thread takes the next piece that nobody has, so that none waits for a slow one.
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((index, piece)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            pieces.get(index).map(|piece| (index, piece))
        } {
            done.push((index, hash_piece(piece)));
        }
        done
    };
    let mut all = vec![(Digest::from_bytes([0; 32]), [0; 32]); pieces.len()];
    std::thread::scope(|scope| {
        let others: Vec<_> =
            (1..threads).map_while(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let own = work();
        let rest = others.into_iter().map(|other| match other.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        for (index, hashed) in std::iter::once(own).chain(rest).flatten() {
            all[index] = hashed;
        }
    });
    all
}

/// The digest of `length` bytes, more than one block, from the inner nodes of their blocks.
fn root(nodes: &[ChainingValue], length: u64) -> Digest {
    let (left, right) = halves(nodes, length);
    Digest::from_bytes(*hazmat::merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
}

fn halves(nodes: &[ChainingValue], length: u64) -> (ChainingValue, ChainingValue) {
    let left = hazmat::left_subtree_len(length);
    // The left side is a power of two of bytes and at least a block, so it is whole blocks.
    let (left_nodes, right_nodes) = nodes.split_at((left / BLOCK_BYTES) as usize);
    (node(left_nodes, left), node(right_nodes, length - left))
}

fn node(nodes: &[ChainingValue], length: u64) -> ChainingValue {
    match nodes {
        [only] => *only,
        _ => {
            let (left, right) = halves(nodes, length);
            hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash)
        }
    }
}
