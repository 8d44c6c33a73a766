//! Superblock and object headers: what an object is, and where its parts are.

use super::element::Coding;
use super::source::{Fields, Reader, place};
use crate::DocumentError;
use crate::descriptor::element_count;
use crate::unpack::HDF5_MAGIC;

/// Bytes of one object header with its continuations; the format allows more than anyone needs.
const HEADER_BYTES: u64 = 1 << 20;
const CONTINUATIONS: usize = 64;
/// The HDF5 library's own limit.
const DIMENSIONS: usize = 32;

/// An object, as far as documents need it.
pub(super) enum Object {
    Group { tree: u64, heap: u64 },
    Dataset(Dataset),
}

pub(super) struct Dataset {
    pub(super) shape: Vec<u64>,
    pub(super) coding: Coding,
    pub(super) storage: Storage,
    /// One element as it reads where none was written; empty means zeros.
    pub(super) fill: Vec<u8>,
}

pub(super) enum Storage {
    /// In the header itself.
    Compact(Vec<u8>),
    /// One piece; `None` if nothing was ever written.
    Contiguous(Option<u64>),
    Chunked {
        tree: Option<u64>,
        chunk: Vec<u64>,
        filters: Vec<Filter>,
    },
}

/// A filter that chunks went through, in the order of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Deflate,
    Shuffle,
    Fletcher32,
}

impl Dataset {
    /// Number of elements; the shape was checked not to overflow.
    pub(super) fn count(&self) -> u64 {
        element_count(&self.shape).unwrap_or(0)
    }
}

/// Reads the superblock and returns the address of the root group's header.
pub(super) fn root_address(reader: &Reader<'_>) -> Result<u64, DocumentError> {
    let magic = reader.small::<16>(0, "the superblock")?;
    let mut fields = Fields::new(&magic, "the superblock", 0);
    fields.signature(&HDF5_MAGIC)?;
    let version = fields.u8()?;
    let extra = match version {
        0 => 0,
        1 => 4,
        _ => return fields.unsupported(&format!("version {version}, that of the 'latest' file format")),
    };
    fields.take(4)?;
    if fields.take(2)? != [8, 8] {
        return fields.unsupported("addresses or lengths that are not 8 bytes");
    }
    let bytes = reader.bytes(24 + extra, 72, "the superblock")?;
    let mut fields = Fields::new(&bytes, "the superblock", 24);
    if fields.u64()? != 0 {
        return fields.unsupported("a user block");
    }
    fields.u64()?;
    if fields.u64()? > reader.length() {
        return Err(DocumentError::malformed(
            "the file ends before its stated length",
            place(reader.length()),
        ));
    }
    fields.u64()?;
    fields.u64()?;
    fields.u64()
}

/// The messages of an object header that say what the object is; each at most once.
#[derive(Default)]
struct Messages {
    space: Option<Vec<u8>>,
    datatype: Option<Vec<u8>>,
    old_fill: Option<Vec<u8>>,
    fill: Option<Vec<u8>>,
    layout: Option<Vec<u8>>,
    filters: Option<Vec<u8>>,
    symbols: Option<Vec<u8>>,
}

/// Reads the object at an address.
pub(super) fn read_object(reader: &Reader<'_>, address: u64) -> Result<Object, DocumentError> {
    let what = "an object header";
    let messages = read_messages(reader, address)?;
    if let Some(symbols) = &messages.symbols {
        let mut fields = Fields::new(symbols, what, address);
        return Ok(Object::Group { tree: fields.u64()?, heap: fields.u64()? });
    }
    let (Some(space), Some(datatype), Some(layout)) = (&messages.space, &messages.datatype, &messages.layout)
    else {
        return Err(DocumentError::unsupported(
            "an object that is neither group nor dataset",
            place(address),
        ));
    };
    let shape = parse_space(Fields::new(space, "a dataspace", address))?;
    let coding = Coding::parse(Fields::new(datatype, "a datatype", address))?;
    let Some(bytes) = element_count(&shape).and_then(|count| count.checked_mul(coding.stored_bytes())) else {
        return Err(DocumentError::malformed("the size of a dataset overflows", place(address)));
    };
    let filters = match &messages.filters {
        Some(filters) => parse_filters(Fields::new(filters, "a filter pipeline", address))?,
        None => Vec::new(),
    };
    let layout = Fields::new(layout, "a data layout", address);
    let storage = parse_layout(layout, bytes, shape.len(), coding.stored_bytes(), filters)?;
    let fill = match (&messages.fill, &messages.old_fill) {
        (Some(fill), _) => parse_fill(Fields::new(fill, "a fill value", address))?,
        (None, Some(fill)) => {
            let mut fields = Fields::new(fill, "a fill value", address);
            let length = fields.u32()?;
            fields.take(length as usize)?.to_vec()
        }
        (None, None) => Vec::new(),
    };
    if !fill.is_empty() && fill.len() as u64 != coding.stored_bytes() {
        return Err(DocumentError::malformed("a fill value has the wrong size", place(address)));
    }
    Ok(Object::Dataset(Dataset { shape, coding, storage, fill }))
}

fn read_messages(reader: &Reader<'_>, address: u64) -> Result<Messages, DocumentError> {
    let what = "an object header";
    let prefix = reader.small::<16>(address, what)?;
    let mut fields = Fields::new(&prefix, what, address);
    if prefix.starts_with(b"OHDR") {
        return fields.unsupported("version 2, that of the 'latest' file format");
    }
    if fields.u8()? != 1 {
        return fields.malformed("has an unknown version");
    }
    fields.u8()?;
    let count = fields.u16()?;
    fields.u32()?;
    let mut total = u64::from(fields.u32()?);
    let mut blocks = vec![(address + 16, total)];
    let mut messages = Messages::default();
    let mut seen = 0;
    let mut next = 0;
    while let Some(&(start, length)) = blocks.get(next) {
        next += 1;
        if total > HEADER_BYTES {
            return fields.malformed("is larger than a mebibyte");
        }
        let bytes = reader.bytes(start, length, what)?;
        let mut block = Fields::new(&bytes, what, start);
        while block.rest().len() >= 8 && seen < count {
            seen += 1;
            let kind = block.u16()?;
            let length = block.u16()?;
            let flags = block.u8()?;
            block.take(3)?;
            let body = block.take(usize::from(length))?;
            if kind == 0x10 {
                let mut continuation = Fields::new(body, "a header continuation", start);
                let (offset, length) = (continuation.u64()?, continuation.u64()?);
                total = total.saturating_add(length);
                if blocks.len() > CONTINUATIONS {
                    return fields.malformed("has too many continuations");
                }
                blocks.push((offset, length));
                continue;
            }
            let slot = match kind {
                0x01 => &mut messages.space,
                0x03 => &mut messages.datatype,
                0x04 => &mut messages.old_fill,
                0x05 => &mut messages.fill,
                0x08 => &mut messages.layout,
                0x0b => &mut messages.filters,
                0x11 => &mut messages.symbols,
                0x02 | 0x06 => return fields.unsupported("a group of the 'latest' file format"),
                0x07 => return fields.unsupported("data in another file"),
                _ => continue,
            };
            if flags & 2 != 0 {
                return fields.unsupported("a shared message, such as a committed datatype");
            }
            if slot.replace(body.to_vec()).is_some() {
                return fields.malformed("repeats a message");
            }
        }
    }
    Ok(messages)
}

/// The dataspace message, versions 1 and 2.
fn parse_space(mut fields: Fields<'_>) -> Result<Vec<u64>, DocumentError> {
    let version = fields.u8()?;
    let rank = usize::from(fields.u8()?);
    let _flags = fields.u8()?;
    match version {
        1 => {
            fields.take(5)?;
        }
        // Version 2 says whether it is scalar, simple or null.
        2 => {
            if fields.u8()? == 2 {
                return fields.unsupported("a null dataspace");
            }
        }
        _ => return fields.malformed("has an unknown version"),
    }
    if rank > DIMENSIONS {
        return fields.malformed("has more than 32 dimensions");
    }
    (0..rank).map(|_| fields.u64()).collect()
}

/// The data layout message, version 3.
fn parse_layout(
    mut fields: Fields<'_>,
    bytes: u64,
    rank: usize,
    element_bytes: u64,
    filters: Vec<Filter>,
) -> Result<Storage, DocumentError> {
    let version = fields.u8()?;
    if version != 3 {
        return fields.unsupported(&format!("version {version}"));
    }
    let class = fields.u8()?;
    if class < 2 && !filters.is_empty() {
        return fields.malformed("has filters without chunks");
    }
    match class {
        0 => {
            let length = fields.u16()?;
            let data = fields.take(usize::from(length))?;
            if data.len() as u64 != bytes {
                return fields.malformed("does not have the size of its dataspace");
            }
            Ok(Storage::Compact(data.to_vec()))
        }
        1 => {
            let address = defined(fields.u64()?);
            if address.is_some() && fields.u64()? != bytes {
                return fields.malformed("does not have the size of its dataspace");
            }
            Ok(Storage::Contiguous(address))
        }
        2 => {
            if usize::from(fields.u8()?) != rank + 1 {
                return fields.malformed("has chunks of another rank than its dataspace");
            }
            let tree = defined(fields.u64()?);
            let chunk = (0..rank).map(|_| Ok(u64::from(fields.u32()?))).collect::<Result<Vec<_>, _>>()?;
            if chunk.contains(&0) || rank == 0 || u64::from(fields.u32()?) != element_bytes {
                return fields.malformed("has chunks of a wrong size");
            }
            Ok(Storage::Chunked { tree, chunk, filters })
        }
        3 => fields.unsupported("a virtual dataset"),
        _ => fields.malformed("has an unknown class"),
    }
}

/// The filter pipeline message, versions 1 and 2.
fn parse_filters(mut fields: Fields<'_>) -> Result<Vec<Filter>, DocumentError> {
    let version = fields.u8()?;
    let count = fields.u8()?;
    match version {
        1 => {
            fields.take(6)?;
        }
        2 => {}
        _ => return fields.malformed("has an unknown version"),
    }
    if count > 32 {
        return fields.malformed("has too many filters");
    }
    (0..count)
        .map(|_| {
            let id = fields.u16()?;
            let name = if version == 1 || id >= 256 { fields.u16()? } else { 0 };
            fields.u16()?;
            let values = usize::from(fields.u16()?);
            fields.take(usize::from(name))?;
            fields.take(values * 4)?;
            if version == 1 && !values.is_multiple_of(2) {
                fields.take(4)?;
            }
            match id {
                1 => Ok(Filter::Deflate),
                2 => Ok(Filter::Shuffle),
                3 => Ok(Filter::Fletcher32),
                4 => fields.unsupported("the szip filter"),
                5 => fields.unsupported("the n-bit filter"),
                6 => fields.unsupported("the scale-offset filter"),
                32_000 => fields.unsupported("the lzf filter"),
                _ => fields.unsupported(&format!("filter number {id}")),
            }
        })
        .collect()
}

/// The fill value message, versions 1 to 3; empty if none is defined.
fn parse_fill(mut fields: Fields<'_>) -> Result<Vec<u8>, DocumentError> {
    let version = fields.u8()?;
    let defined = match version {
        1 | 2 => {
            fields.take(2)?;
            fields.u8()? != 0
        }
        3 => fields.u8()? & 0x20 != 0,
        _ => return fields.malformed("has an unknown version"),
    };
    if !defined && version != 1 {
        return Ok(Vec::new());
    }
    let length = fields.u32()?;
    // The library writes -1 for an undefined value in version 1.
    if length == u32::MAX {
        return Ok(Vec::new());
    }
    Ok(fields.take(length as usize)?.to_vec())
}

/// An address, unless it is the undefined one.
pub(super) fn defined(address: u64) -> Option<u64> {
    (address != u64::MAX).then_some(address)
}
