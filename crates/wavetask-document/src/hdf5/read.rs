//! Reading: from the root down, JSON first, then every dataset as an array.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;

use super::element::Coding;
use super::group::{self, Link};
use super::header::{self, Dataset, Object, Storage};
use super::heap::{GlobalHeap, Reference};
use super::source::{ByteSource, FileSource, Reader, place};
use super::{JSON_DATASET, chunk};
use crate::bytes::push_text;
use crate::error::within;
use crate::{
    ArrayDescriptor, ArrayWriter, BlockSink, Document, DocumentError, ElementType, Limits, brick_extents,
    json,
};

/// Bytes of elements read at once: a multiple of every element's size but strings'.
const PIECE_BYTES: u64 = 1 << 18;
const STORING: &str = "storing an array's blocks";

/// Reads a document from an open HDF5 file; see [`read`].
///
/// # Errors
/// As [`read`].
pub fn read_file(file: &File, limits: &Limits, sink: &mut dyn BlockSink) -> Result<Document, DocumentError> {
    let source = FileSource::new(file).map_err(DocumentError::io("reading the HDF5 file"))?;
    read(&source, limits, sink)
}

/// Reads a result from an open HDF5 file; see [`read_result`].
///
/// # Errors
/// As [`read`].
pub fn read_result_file(
    file: &File,
    limits: &Limits,
    sink: &mut dyn BlockSink,
) -> Result<Document, DocumentError> {
    let source = FileSource::new(file).map_err(DocumentError::io("reading the HDF5 file"))?;
    read_result(&source, limits, sink)
}

/// As [`read`], but large arrays are cut into bricks ([`brick_extents`]), which takes
/// [`SLAB_BYTES`](crate::SLAB_BYTES) of memory in addition. For results, of which parts are looked at; what clients
/// send is cut as they have described it.
///
/// # Errors
/// As [`read`].
pub fn read_result(
    source: &dyn ByteSource,
    limits: &Limits,
    sink: &mut dyn BlockSink,
) -> Result<Document, DocumentError> {
    read_cut(source, limits, sink, brick_extents)
}

/// Reads a document from the bytes of an HDF5 file; blocks of its arrays go to the sink.
///
/// Every dataset but the JSON becomes an array under its path. Attributes are ignored: the client
/// reads none. Nothing in the file is trusted; memory is bounded by `json_bytes`, `text_bytes`,
/// `working_bytes` and the descriptors, whatever the file's size. See the module for what is refused.
///
/// # Errors
/// `Malformed`, `TooLarge` or `Unsupported` by the file's fault; `Io` if reading or the sink fails.
pub fn read(
    source: &dyn ByteSource,
    limits: &Limits,
    sink: &mut dyn BlockSink,
) -> Result<Document, DocumentError> {
    read_cut(source, limits, sink, |_, _| None)
}

/// Says of which extents an array's bricks are, if it is to be cut into bricks.
type Bricks = fn(ElementType, &[u64]) -> Option<Vec<u64>>;

fn read_cut(
    source: &dyn ByteSource,
    limits: &Limits,
    sink: &mut dyn BlockSink,
    bricks: Bricks,
) -> Result<Document, DocumentError> {
    within("file_bytes", limits.file_bytes, source.length())?;
    if limits.block_bytes == 0 || !limits.block_bytes.is_multiple_of(16) {
        return Err(DocumentError::malformed("not a positive multiple of 16", "the limit block_bytes"));
    }
    let reader = Reader::new(source);
    let produced = Cell::new(limits.inflated_bytes(reader.length()));
    let mut walk = Walk {
        input: Input { reader, limits, produced },
        sink,
        bricks,
        heap: GlobalHeap::default(),
        seen: HashSet::new(),
        objects: 0,
        path_bytes: 0,
        arrays: BTreeMap::new(),
    };
    let json = walk.run()?;
    let document = Document { json: json.into(), arrays: walk.arrays };
    document.check()?;
    Ok(document)
}

/// What is read from, and how much of it.
struct Input<'w> {
    reader: Reader<'w>,
    limits: &'w Limits,
    /// Bytes that may still come from datasets that are not stored as they are.
    produced: Cell<u64>,
}

struct Walk<'w> {
    input: Input<'w>,
    sink: &'w mut dyn BlockSink,
    bricks: Bricks,
    heap: GlobalHeap,
    /// Headers met so far. One met twice is a hard link, and perhaps a cycle.
    seen: HashSet<u64>,
    objects: u64,
    path_bytes: u64,
    arrays: BTreeMap<String, ArrayDescriptor>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<String, DocumentError> {
        let root = header::root_address(&self.input.reader)?;
        let Object::Group { tree, heap } = self.object(root, "/")? else {
            return Err(DocumentError::malformed("the root is not a group", place(root)));
        };
        let (json, links) =
            self.list(tree, heap)?.into_iter().partition(|link: &Link| link.name.contains(JSON_DATASET));
        let json = self.json(json)?;

        let mut groups = vec![(String::new(), links, 1)];
        while let Some((parent, links, depth)) = groups.pop() {
            for link in links {
                let path = if parent.is_empty() { link.name } else { format!("{parent}/{}", link.name) };
                self.path_bytes += path.len() as u64;
                within("path_bytes", self.input.limits.path_bytes, self.path_bytes)?;
                match self.object(link.header, &path)? {
                    Object::Group { tree, heap } => {
                        within("group_depth", self.input.limits.group_depth as u64, depth + 1)?;
                        let links = self.list(tree, heap)?;
                        groups.push((path, links, depth + 1));
                    }
                    Object::Dataset(dataset) => {
                        let array = self.array(&dataset).map_err(|error| locate(error, &path))?;
                        if self.arrays.contains_key(&path) {
                            return Err(DocumentError::malformed("two datasets of one name", path));
                        }
                        self.arrays.insert(path, array);
                    }
                }
            }
        }
        Ok(json)
    }

    fn list(&mut self, tree: u64, heap: u64) -> Result<Vec<Link>, DocumentError> {
        let links = group::list(&self.input.reader, tree, heap, self.input.limits, self.objects)?;
        self.objects += links.len() as u64;
        self.path_bytes += links.iter().map(|link| link.name.len() as u64).sum::<u64>();
        within("path_bytes", self.input.limits.path_bytes, self.path_bytes)?;
        Ok(links)
    }

    fn object(&mut self, address: u64, path: &str) -> Result<Object, DocumentError> {
        if !self.seen.insert(address) {
            return Err(DocumentError::unsupported("an object with two names (hard link or cycle)", path));
        }
        header::read_object(&self.input.reader, address).map_err(|error| locate(error, path))
    }

    /// Reads `JSON_STRING` and its continuations, which must be all there.
    fn json(&mut self, links: Vec<Link>) -> Result<String, DocumentError> {
        let mut parts: BTreeMap<&str, u64> = BTreeMap::new();
        for link in &links {
            parts.insert(&link.name, link.header);
        }
        let mut text = Vec::new();
        for index in 0..links.len() {
            let name = super::json_dataset_name(index);
            let Some(&address) = parts.get(name.as_str()) else {
                return Err(DocumentError::malformed("a part of the JSON is missing", name));
            };
            let Object::Dataset(dataset) = self.object(address, &name)? else {
                return Err(DocumentError::malformed("a group where the JSON belongs", name));
            };
            if !dataset.shape.is_empty() {
                return Err(DocumentError::malformed("the JSON is not a scalar", name));
            }
            self.json_part(&dataset, &mut text).map_err(|error| locate(error, &name))?;
        }
        if links.is_empty() {
            return Err(DocumentError::malformed("the file has no JSON_STRING", "/"));
        }
        let text = String::from_utf8(text)
            .map_err(|_| DocumentError::malformed("the JSON is not UTF-8", JSON_DATASET))?;
        json::digest(&text, self.input.limits.json_depth)?;
        if !text.trim_start().starts_with('{') {
            return Err(DocumentError::malformed("the JSON is not an object", JSON_DATASET));
        }
        Ok(text)
    }

    fn json_part(&mut self, dataset: &Dataset, text: &mut Vec<u8>) -> Result<(), DocumentError> {
        let limits = self.input.limits;
        let room = |text: &Vec<u8>, more| within("json_bytes", limits.json_bytes, text.len() as u64 + more);
        let stored_bytes = dataset.coding.stored_bytes();
        match dataset.coding {
            Coding::VariableText => {
                let stored = self.input.whole(dataset)?;
                let reference = Reference::parse(&stored, 0)?;
                room(text, reference.length())?;
                self.heap.read(&self.input.reader, &reference, text)
            }
            Coding::FixedText { padding, .. } => {
                room(text, stored_bytes)?;
                text.extend_from_slice(unpadded(&self.input.whole(dataset)?, padding));
                Ok(())
            }
            _ => Err(DocumentError::malformed("the JSON is not a string", JSON_DATASET)),
        }
    }

    /// Turns a dataset into an array.
    fn array(&mut self, dataset: &Dataset) -> Result<ArrayDescriptor, DocumentError> {
        let Self { input, sink, heap, bricks, .. } = self;
        let limits = input.limits;
        let element_type = dataset.coding.element_type();
        let stored_bytes = dataset.count() * dataset.coding.stored_bytes();
        within("array_bytes", limits.array_bytes, stored_bytes)?;
        let shape = dataset.shape.clone();
        let mut writer = match bricks(element_type, &shape) {
            Some(extents) => ArrayWriter::in_bricks(element_type, shape, extents, *sink)?,
            None => ArrayWriter::new(element_type, shape, limits.block_bytes, *sink),
        };
        if element_type == ElementType::Text {
            within("text_bytes", limits.text_bytes, stored_bytes)?;
            writer.write(&texts(input, heap, dataset)?).map_err(DocumentError::io(STORING))?;
        } else {
            let mut converted = Vec::new();
            input.stored(dataset, &mut |bytes| {
                if dataset.coding.is_verbatim() {
                    return writer.write(bytes).map_err(DocumentError::io(STORING));
                }
                converted.clear();
                dataset.coding.convert(bytes, &mut converted)?;
                writer.write(&converted).map_err(DocumentError::io(STORING))
            })?;
        }
        writer.finish().map_err(DocumentError::io(STORING))
    }
}

impl Input<'_> {
    /// Hands over the stored bytes of a dataset in C order, in pieces of whole elements.
    fn stored(
        &self,
        dataset: &Dataset,
        take: &mut dyn FnMut(&[u8]) -> Result<(), DocumentError>,
    ) -> Result<(), DocumentError> {
        let element = dataset.coding.stored_bytes();
        let total = dataset.count() * element;
        if total == 0 {
            return Ok(());
        }
        let piece = (PIECE_BYTES / element).max(1) * element;
        match &dataset.storage {
            Storage::Compact(bytes) => take(bytes),
            Storage::Contiguous(Some(address)) => {
                within("working_bytes", self.limits.working_bytes, piece)?;
                // Before the memory is taken: the file must have the bytes.
                if address.checked_add(total).is_none_or(|end| end > self.reader.length()) {
                    return Err(DocumentError::malformed("elements lie outside the file", place(*address)));
                }
                let mut buffer = vec![0; piece.min(total) as usize];
                let mut at = 0;
                while at < total {
                    let part = &mut buffer[..piece.min(total - at) as usize];
                    self.reader.fill(address + at, part, "an array")?;
                    take(part)?;
                    at += part.len() as u64;
                }
                Ok(())
            }
            Storage::Contiguous(None) => {
                self.produce(total)?;
                within("working_bytes", self.limits.working_bytes, piece)?;
                let bytes = chunk::blank(&dataset.fill, piece.min(total));
                let mut at = 0;
                while at < total {
                    let part = &bytes[..piece.min(total - at) as usize];
                    take(part)?;
                    at += part.len() as u64;
                }
                Ok(())
            }
            Storage::Chunked { tree, chunk, filters } => {
                self.produce(total)?;
                chunk::read(&self.reader, dataset, *tree, chunk, filters, self.limits, take)
            }
        }
    }

    /// All stored bytes of a dataset that is known to be small.
    fn whole(&self, dataset: &Dataset) -> Result<Vec<u8>, DocumentError> {
        let mut all = Vec::new();
        self.stored(dataset, &mut |bytes| {
            all.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(all)
    }

    /// Counts bytes that come from less than themselves.
    fn produce(&self, bytes: u64) -> Result<(), DocumentError> {
        let left = self.produced.get();
        within("inflation_ratio", left, bytes)?;
        self.produced.set(left - bytes);
        Ok(())
    }
}

/// The strings of a dataset as the bytes of a text array.
fn texts(input: &Input<'_>, heap: &mut GlobalHeap, dataset: &Dataset) -> Result<Vec<u8>, DocumentError> {
    let mut output = Vec::new();
    let mut string = Vec::new();
    let size = dataset.coding.stored_bytes() as usize;
    input.stored(dataset, &mut |bytes| {
        for element in bytes.chunks_exact(size) {
            string.clear();
            if let Coding::FixedText { padding, .. } = dataset.coding {
                string.extend_from_slice(unpadded(element, padding));
            } else {
                let reference = Reference::parse(element, 0)?;
                let found = output.len() as u64 + 4 + reference.length();
                within("text_bytes", input.limits.text_bytes, found)?;
                heap.read(&input.reader, &reference, &mut string)?;
            }
            let text = std::str::from_utf8(&string)
                .map_err(|_| DocumentError::malformed("a string is not UTF-8", ""))?;
            push_text(&mut output, text);
            within("text_bytes", input.limits.text_bytes, output.len() as u64)?;
        }
        Ok(())
    })?;
    Ok(output)
}

/// A fixed-length string without its padding: 0 and 1 pad with zeros, 2 with spaces.
fn unpadded(bytes: &[u8], padding: u8) -> &[u8] {
    match padding {
        0 => &bytes[..bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len())],
        1 => &bytes[..bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)],
        _ => &bytes[..bytes.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1)],
    }
}

/// Says at which path of the document an error was met, beside where in the file.
fn locate(error: DocumentError, path: &str) -> DocumentError {
    let join = |location: String| {
        if location.is_empty() { path.to_owned() } else { format!("{path} ({location})") }
    };
    match error {
        DocumentError::Malformed { what, location } => {
            DocumentError::Malformed { what, location: join(location) }
        }
        DocumentError::Unsupported { what, location } => {
            DocumentError::Unsupported { what, location: join(location) }
        }
        other => other,
    }
}
