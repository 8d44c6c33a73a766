//! Writing: a plan of the whole file first, then its bytes, any range of them, from the blocks.
//!
//! The layout is the one the client itself writes: superblock version 0, symbol-table groups,
//! contiguous datasets, strings in global heap collections. Nothing in it is compressed or moved
//! after the fact, so the position of every byte follows from the descriptors alone. The length is
//! known before the first byte (`Content-Length`), ranges are served without writing the file
//! anywhere, memory is the metadata and one block, and the bytes are the same every time.
//!
//! The elements of an array in bricks lie in C order in the file as all others, so a range of the file touches a whole
//! layer of bricks. They are put together in windows of at most [`SLAB_BYTES`] that end where layers end, and each brick
//! that a window touches is read once for it: memory is a window and a brick, and a file that is written from front to
//! back reads each brick once. Whoever asks for many small ranges gives a source that keeps bricks
//! ([`BlockSource::look`]).
//!
//! Rejected: a library's writer. The one that was measured builds each dataset in memory (1.7 GiB
//! for a 1.2 GiB file) and needs the file to end before its length is known.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use super::encode::{self, GroupAddresses, Target, UNDEFINED, put_u32, put_u64};
use crate::bytes::texts;
use crate::descriptor::element_count;
use crate::{
    ArrayDescriptor, BlockSource, Digest, Document, DocumentError, ElementType, Limits, SLAB_BYTES, json,
};

/// JSON longer than this is continued in `JSON_STRING_1`, `JSON_STRING_2`, …: the client's own split,
/// in bytes here and in characters there; its reader takes any.
const JSON_PART_BYTES: usize = 1_000_000_000;
/// The smallest global heap collection that the HDF5 library accepts.
const COLLECTION_BYTES: u64 = 4096;
/// Objects of a collection: indices are 16 bits and zero means free space.
const COLLECTION_OBJECTS: usize = 65_535;

/// An array in bricks, and where in the file its elements lie, in C order.
#[derive(Clone, Copy, Debug)]
pub struct BricksInFile<'p> {
    /// Where in the file they begin.
    pub offset: u64,
    /// The array.
    pub array: &'p ArrayDescriptor,
}

/// A block that lies in the file as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInFile {
    /// Where in the file it begins.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Which block.
    pub digest: Digest,
    /// Bytes per number in it.
    pub width: u8,
}

/// The layout of the HDF5 file of a document, from which any of its bytes can be made.
#[derive(Debug)]
pub struct FilePlan {
    json: Arc<str>,
    segments: Vec<Segment>,
    length: u64,
}

#[derive(Debug)]
struct Segment {
    start: u64,
    length: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Superblock, groups, headers.
    Metadata(Vec<u8>),
    /// A collection with one object: this range of the JSON.
    Json(Range<usize>),
    /// The elements of an array, as its blocks hold them.
    Elements(ArrayDescriptor),
    /// The elements of a text array: length, collection, index.
    References { array: ArrayDescriptor, heap: u64 },
    /// The collections that hold the strings themselves.
    Strings { array: ArrayDescriptor },
}

/// What a dataset's header waits for: the address of the data.
struct Pending {
    patch: usize,
    length: u64,
    content: PendingContent,
}

enum PendingContent {
    Json(Range<usize>),
    Array(ArrayDescriptor),
}

/// A group or an array, while the tree is built from paths.
enum Node<'d> {
    Group(BTreeMap<&'d str, Node<'d>>),
    Array(&'d ArrayDescriptor),
    Json(Range<usize>),
}

impl FilePlan {
    /// Lays out the file of a document.
    ///
    /// A result's `data/<index>` groups are made even where they hold no arrays: the client looks
    /// them up when it loads one monitor.
    ///
    /// # Errors
    /// `Malformed` if the document's paths or descriptors do not fit together or its JSON is none.
    pub fn new(document: &Document) -> Result<Self, DocumentError> {
        Self::with_json_parts(document, JSON_PART_BYTES)
    }

    /// As [`new`](Self::new), with JSON split every `part_bytes` bytes (at least 4).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_json_parts(document: &Document, part_bytes: usize) -> Result<Self, DocumentError> {
        document.check()?;
        let entries = json::list_length(&document.json, "data", Limits::default().json_depth)?.unwrap_or(0);
        let names: Vec<String> = (0..entries).map(|index| index.to_string()).collect();
        let parts = split(&document.json, part_bytes.max(4));
        let part_names: Vec<String> = (0..parts.len()).map(super::json_dataset_name).collect();

        let mut root = BTreeMap::new();
        if !names.is_empty() {
            let groups = names.iter().map(|name| (name.as_str(), Node::Group(BTreeMap::new()))).collect();
            root.insert("data", Node::Group(groups));
        }
        for (path, array) in &document.arrays {
            insert(&mut root, path, array)?;
        }
        // The client counts every name of the root that contains this as a part of the JSON.
        if let Some(name) = root.keys().find(|name| name.contains(super::JSON_DATASET)) {
            return Err(DocumentError::malformed("an array where the JSON belongs", *name));
        }
        for (name, part) in part_names.iter().zip(parts) {
            root.insert(name, Node::Json(part));
        }

        let mut metadata = vec![0; encode::SUPERBLOCK_BYTES];
        let mut pending = Vec::new();
        let root = emit_group(&root, &mut metadata, &mut pending)?;
        encode::pad8(&mut metadata);
        Ok(Self::place(document.json.clone(), metadata, root, pending))
    }

    /// Gives the data their addresses, behind the metadata in the order of the headers.
    fn place(json: Arc<str>, mut metadata: Vec<u8>, root: GroupAddresses, pending: Vec<Pending>) -> Self {
        let mut at = metadata.len() as u64;
        let mut segments = Vec::new();
        for item in pending {
            if item.length == 0 {
                continue;
            }
            let mut push = |length: u64, content| {
                let start = at;
                segments.push(Segment { start, length, content });
                at = (start + length).next_multiple_of(8);
                start
            };
            let address = match item.content {
                // The reference itself (length, collection, index) stands in the metadata already.
                PendingContent::Json(range) => push(item.length, Content::Json(range)),
                PendingContent::Array(array) if array.element_type == ElementType::Text => {
                    let heap = push(strings_bytes(&array), Content::Strings { array: array.clone() });
                    push(item.length, Content::References { array, heap })
                }
                PendingContent::Array(array) => push(item.length, Content::Elements(array)),
            };
            metadata[item.patch..item.patch + 8].copy_from_slice(&address.to_le_bytes());
        }
        let length = at;
        let superblock = encode::superblock(root, length);
        metadata[..superblock.len()].copy_from_slice(&superblock);
        let first = Segment { start: 0, length: metadata.len() as u64, content: Content::Metadata(metadata) };
        segments.insert(0, first);
        Self { json, segments, length }
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The arrays of numbers by their place in the file.
    fn elements(&self) -> impl Iterator<Item = (u64, &ArrayDescriptor)> {
        self.segments.iter().filter_map(|segment| match &segment.content {
            Content::Elements(array) => Some((segment.start, array)),
            _ => None,
        })
    }

    /// The arrays in bricks, which lie in the file row by row.
    pub fn bricks(&self) -> impl Iterator<Item = BricksInFile<'_>> {
        let bricked = self.elements().filter(|(_, array)| !array.is_linear());
        bricked.map(|(offset, array)| BricksInFile { offset, array })
    }

    /// The blocks that lie in the file as they are, by their place in it; those of text arrays and of
    /// [`bricks`](Self::bricks) do not. Whoever writes the file may put them there in any order, and see which of them
    /// are there already.
    pub fn blocks(&self) -> impl Iterator<Item = BlockInFile> {
        self.elements().filter(|(_, array)| array.is_linear()).flat_map(|(start, array)| {
            let block_bytes = array.block_bytes();
            let width = array.element_type.size().map_or(1, |size| u8::try_from(size).unwrap_or(1));
            array.blocks.iter().zip(0..).map(move |(digest, index)| {
                let from = index * block_bytes;
                let length = block_bytes.min(array.byte_length - from);
                BlockInFile { offset: start + from, length, digest: *digest, width }
            })
        })
    }

    /// Writes the whole file.
    ///
    /// # Errors
    /// `Io` if a block cannot be read or the output not be written, `Malformed` if a block does not
    /// fit its descriptor.
    pub fn write(&self, blocks: &dyn BlockSource, output: &mut dyn Write) -> Result<(), DocumentError> {
        self.write_range(0..self.length, blocks, output)
    }

    /// Writes the bytes of a range of the file, which is cut at the file's end.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_range(
        &self,
        range: Range<u64>,
        blocks: &dyn BlockSource,
        output: &mut dyn Write,
    ) -> Result<(), DocumentError> {
        let end = range.end.min(self.length);
        let mut at = range.start;
        let first = self.segments.partition_point(|segment| segment.start + segment.length <= at);
        for segment in &self.segments[first..] {
            if at >= end {
                break;
            }
            pad(output, segment.start.min(end).saturating_sub(at))?;
            at = at.max(segment.start);
            let stop = end.min(segment.start + segment.length);
            if at < stop {
                self.write_segment(segment, at - segment.start..stop - segment.start, blocks, output)?;
                at = stop;
            }
        }
        pad(output, end.saturating_sub(at))
    }

    /// Writes a range within a segment.
    fn write_segment(
        &self,
        segment: &Segment,
        range: Range<u64>,
        blocks: &dyn BlockSource,
        output: &mut dyn Write,
    ) -> Result<(), DocumentError> {
        match &segment.content {
            Content::Metadata(bytes) => write_slice(bytes, range, output),
            Content::Json(part) => {
                let text = &self.json.as_bytes()[part.clone()];
                let head = collection_head(segment.length, text.len() as u64);
                let tail = collection_tail(segment.length - (head.len() + text.len()) as u64, text.len());
                let mut start = 0;
                for piece in [head.as_slice(), text, &tail] {
                    let stop = start + piece.len() as u64;
                    let (from, to) = (range.start.clamp(start, stop), range.end.clamp(start, stop));
                    write_slice(piece, from - start..to - start, output)?;
                    start = stop;
                }
                Ok(())
            }
            Content::Elements(array) => write_elements(array, range, blocks, output),
            Content::References { array, heap } => {
                let bytes = array.read_bytes(blocks, u64::MAX)?;
                write_slice(&Strings::lay_out(&bytes, *heap, strings_bytes(array))?.references, range, output)
            }
            Content::Strings { array } => {
                let bytes = array.read_bytes(blocks, u64::MAX)?;
                write_slice(&Strings::lay_out(&bytes, segment.start, segment.length)?.heap, range, output)
            }
        }
    }
}

/// Cuts text into ranges of at most `bytes` bytes, at character boundaries; at least one.
fn split(text: &str, bytes: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    loop {
        let end = text.floor_char_boundary((start + bytes).min(text.len()));
        parts.push(start..end);
        start = end;
        if start == text.len() {
            return parts;
        }
    }
}

fn insert<'d>(
    root: &mut BTreeMap<&'d str, Node<'d>>,
    path: &'d str,
    array: &'d ArrayDescriptor,
) -> Result<(), DocumentError> {
    let (groups, name) = path.rsplit_once('/').map_or((None, path), |(groups, name)| (Some(groups), name));
    let mut group = root;
    for component in groups.into_iter().flat_map(|groups| groups.split('/')) {
        match group.entry(component).or_insert_with(|| Node::Group(BTreeMap::new())) {
            Node::Group(children) => group = children,
            _ => return Err(DocumentError::malformed("an array inside an array", path)),
        }
    }
    match group.insert(name, Node::Array(array)) {
        None => Ok(()),
        Some(_) => Err(DocumentError::malformed("an array where a group belongs", path)),
    }
}

/// Appends a group and everything below it; depth is bounded by that of the checked paths.
fn emit_group(
    children: &BTreeMap<&str, Node<'_>>,
    file: &mut Vec<u8>,
    pending: &mut Vec<Pending>,
) -> Result<GroupAddresses, DocumentError> {
    let mut entries = Vec::with_capacity(children.len());
    for (name, node) in children {
        let target = match node {
            Node::Group(children) => Target::Group(emit_group(children, file, pending)?),
            Node::Array(array) => Target::Dataset { header: emit_array(array, file, pending)? },
            Node::Json(part) => Target::Dataset { header: emit_json(part, file, pending) },
        };
        entries.push((*name, target));
    }
    Ok(encode::group(file, &entries))
}

fn emit_array(
    array: &ArrayDescriptor,
    file: &mut Vec<u8>,
    pending: &mut Vec<Pending>,
) -> Result<u64, DocumentError> {
    if array.shape.len() > 32 {
        return Err(DocumentError::unsupported("more than 32 dimensions", "an array"));
    }
    let length = match array.element_type {
        ElementType::Text => element_count(&array.shape).unwrap_or(0).saturating_mul(16),
        _ => array.byte_length,
    };
    let (header, patch) = encode::dataset(file, array.element_type, &array.shape, length);
    pending.push(Pending { patch, length, content: PendingContent::Array(array.clone()) });
    Ok(header)
}

/// The scalar string's own 16 bytes follow its header at once; what waits is the collection.
fn emit_json(part: &Range<usize>, file: &mut Vec<u8>, pending: &mut Vec<Pending>) -> u64 {
    let (header, data_address) = encode::dataset(file, ElementType::Text, &[], 16);
    let reference = file.len();
    file[data_address..data_address + 8].copy_from_slice(&(reference as u64).to_le_bytes());
    // Parts are at most a billion bytes.
    put_u32(file, u32::try_from(part.len()).unwrap_or(u32::MAX));
    put_u64(file, UNDEFINED);
    put_u32(file, 1);
    let length = (16 + 16 + (part.len() as u64).next_multiple_of(8)).max(COLLECTION_BYTES);
    pending.push(Pending { patch: reference + 4, length, content: PendingContent::Json(part.clone()) });
    header
}

/// A collection's header and the header of its only object (III.E).
fn collection_head(collection: u64, object: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    put_collection(&mut bytes, collection);
    put_object(&mut bytes, 1, object);
    bytes
}

/// What follows the object: padding, then free space to the end.
fn collection_tail(length: u64, object: usize) -> Vec<u8> {
    let padding = object.next_multiple_of(8) - object;
    let mut bytes = vec![0; padding];
    put_free_space(&mut bytes, length - padding as u64);
    bytes
}

fn put_collection(bytes: &mut Vec<u8>, length: u64) {
    bytes.extend_from_slice(b"GCOL\x01\0\0\0");
    put_u64(bytes, length);
}

fn put_object(bytes: &mut Vec<u8>, index: u16, length: u64) {
    bytes.extend_from_slice(&index.to_le_bytes());
    bytes.extend_from_slice(&[1, 0, 0, 0, 0, 0]);
    put_u64(bytes, length);
}

/// Object 0: free space, whose size counts its own header; too little for one is left as zeros.
fn put_free_space(bytes: &mut Vec<u8>, length: u64) {
    let end = bytes.len() + length as usize;
    if length >= 16 {
        bytes.extend_from_slice(&[0; 8]);
        put_u64(bytes, length);
    }
    bytes.resize(end, 0);
}

/// Bytes reserved for the collections of a text array: as many as its strings can need, which is
/// known without reading them.
fn strings_bytes(array: &ArrayDescriptor) -> u64 {
    let count = element_count(&array.shape).unwrap_or(0);
    let characters = array.byte_length.saturating_sub(4 * count);
    let collections = count.div_ceil(COLLECTION_OBJECTS as u64).max(1);
    (16 + 8) * count + characters.next_multiple_of(8) + collections * (COLLECTION_BYTES + 16)
}

/// A text array as HDF5 stores it.
struct Strings {
    references: Vec<u8>,
    heap: Vec<u8>,
}

impl Strings {
    /// Lays out strings in collections at an address, filling exactly `length` bytes.
    fn lay_out(bytes: &[u8], address: u64, length: u64) -> Result<Self, DocumentError> {
        let strings = texts(bytes).collect::<Result<Vec<_>, _>>()?;
        let mut references = Vec::with_capacity(strings.len() * 16);
        let mut heap = Vec::with_capacity(length as usize);
        let last = strings.len().div_ceil(COLLECTION_OBJECTS).max(1) - 1;
        for (number, part) in strings.chunks(COLLECTION_OBJECTS).enumerate() {
            let start = heap.len();
            let used: usize = part
                .iter()
                .filter(|text| !text.is_empty())
                .map(|text| 16 + text.len().next_multiple_of(8))
                .sum();
            let end = if number == last {
                length as usize
            } else {
                start + (16 + used).max(COLLECTION_BYTES as usize)
            };
            put_collection(&mut heap, (end - start) as u64);
            for (index, text) in (1_u16..=u16::MAX).zip(part) {
                if text.contains('\0') {
                    return Err(DocumentError::unsupported("a zero character in a string", "a text array"));
                }
                if text.is_empty() {
                    references.extend_from_slice(&[0; 16]);
                    continue;
                }
                put_u32(&mut references, u32::try_from(text.len()).unwrap_or(u32::MAX));
                put_u64(&mut references, address + start as u64);
                put_u32(&mut references, u32::from(index));
                put_object(&mut heap, index, text.len() as u64);
                heap.extend_from_slice(text.as_bytes());
                encode::pad8(&mut heap);
            }
            let free = end - heap.len();
            put_free_space(&mut heap, free as u64);
        }
        Ok(Self { references, heap })
    }
}

/// Writes a range of the bytes of an array in bricks, one window at a time.
fn write_bricks(
    array: &ArrayDescriptor,
    range: Range<u64>,
    blocks: &dyn BlockSource,
    output: &mut dyn Write,
) -> Result<(), DocumentError> {
    let size = array.element_type.size().unwrap_or(1) as u64;
    let mut boxes = Vec::new();
    boxes_between(&array.shape, &mut Vec::new(), range.start / size..range.end.div_ceil(size), &mut boxes);
    let mut at = range.start / size * size;
    let mut bytes = Vec::new();
    for window in boxes.iter().map(|indices| array.windows(indices, SLAB_BYTES)) {
        for indices in window? {
            let part = array.blocks_of(&indices)?;
            array.read_part(&part, blocks, &mut bytes)?;
            // The first element and the last may be cut.
            let end = at + part.byte_length;
            write_slice(&bytes, range.start.max(at) - at..range.end.min(end) - at, output)?;
            at = end;
        }
    }
    Ok(())
}

/// The boxes of indices, each a run in C order, that make up a range of elements: of each dimension at most what is
/// left at both ends and what is whole between.
fn boxes_between(
    shape: &[u64],
    outer: &mut Vec<Range<u64>>,
    elements: Range<u64>,
    boxes: &mut Vec<Vec<Range<u64>>>,
) {
    let axis = outer.len();
    let row: u64 = shape.iter().skip(axis + 1).product();
    let (first, last) = (elements.start.div_ceil(row), elements.end / row);
    let mut within = |index: u64, elements: Range<u64>| {
        outer.push(index..index + 1);
        boxes_between(shape, outer, elements, boxes);
        outer.pop();
    };
    if first > last {
        // All of it lies within one row.
        return within(last, elements.start - last * row..elements.end - last * row);
    }
    if elements.start < first * row {
        within(first - 1, elements.start + row - first * row..row);
    }
    if first < last {
        boxes.push(outer.iter().cloned().chain(std::iter::once(first..last)).collect());
    }
    if elements.end > last * row {
        outer.push(last..last + 1);
        boxes_between(shape, outer, 0..elements.end - last * row, boxes);
        outer.pop();
    }
}

/// Writes a range of an array's bytes, one block at a time.
fn write_elements(
    array: &ArrayDescriptor,
    range: Range<u64>,
    blocks: &dyn BlockSource,
    output: &mut dyn Write,
) -> Result<(), DocumentError> {
    if !array.is_linear() {
        return write_bricks(array, range, blocks, output);
    }
    let block_bytes = array.block_bytes();
    let mut at = range.start;
    let mut buffer = Vec::new();
    while at < range.end {
        let index = at / block_bytes;
        array.read_block(blocks, index as usize, &mut buffer)?;
        let start = index * block_bytes;
        let stop = range.end.min(start + buffer.len() as u64);
        write_slice(&buffer, at - start..stop - start, output)?;
        at = stop;
    }
    Ok(())
}

fn write_slice(bytes: &[u8], range: Range<u64>, output: &mut dyn Write) -> Result<(), DocumentError> {
    output
        .write_all(&bytes[range.start as usize..range.end as usize])
        .map_err(DocumentError::io("writing the HDF5 file"))
}

/// Writes the zeros between two segments: fewer than eight.
fn pad(output: &mut dyn Write, length: u64) -> Result<(), DocumentError> {
    write_slice(&[0; 8], 0..length.min(8), output)
}
