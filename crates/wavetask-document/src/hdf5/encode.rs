//! The structures of a classic HDF5 file as bytes: object headers, groups, types.
//!
//! Numbers in comments refer to the sections of the HDF5 file format specification, version 3.0.

use crate::ElementType;

/// The undefined address.
pub(super) const UNDEFINED: u64 = u64::MAX;
/// Entries of a symbol table node: twice the leaf rank that the superblock states.
const NODE_ENTRIES: usize = 8;
/// Children of a B-tree node: twice the internal rank that the superblock states.
const TREE_CHILDREN: usize = 32;
const SYMBOL_NODE_BYTES: usize = 8 + NODE_ENTRIES * 40;
const TREE_NODE_BYTES: usize = 24 + TREE_CHILDREN * 8 + (TREE_CHILDREN + 1) * 8;
/// Bytes of the superblock, version 0 (II.A).
pub(super) const SUPERBLOCK_BYTES: usize = 96;

/// Addresses that a parent's symbol table entry repeats about a group.
#[derive(Clone, Copy)]
pub(super) struct GroupAddresses {
    pub(super) header: u64,
    pub(super) tree: u64,
    pub(super) heap: u64,
}

/// What an entry of a group points to.
#[derive(Clone, Copy)]
pub(super) enum Target {
    Group(GroupAddresses),
    Dataset { header: u64 },
}

impl Target {
    fn put(self, name_offset: u64, bytes: &mut Vec<u8>) {
        // Symbol table entry (III.C): name, header, cache type, reserved, scratch pad.
        put_u64(bytes, name_offset);
        match self {
            Self::Group(group) => {
                put_u64(bytes, group.header);
                put_u32(bytes, 1);
                put_u32(bytes, 0);
                put_u64(bytes, group.tree);
                put_u64(bytes, group.heap);
            }
            Self::Dataset { header } => {
                put_u64(bytes, header);
                bytes.extend_from_slice(&[0; 24]);
            }
        }
    }
}

pub(super) fn put_u32(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u64(bytes: &mut Vec<u8>, value: u64) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn pad8(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

/// The superblock, for a root group and a file length.
pub(super) fn superblock(root: GroupAddresses, file_length: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SUPERBLOCK_BYTES);
    bytes.extend_from_slice(&crate::unpack::HDF5_MAGIC);
    // Versions of superblock, free space, root entry; reserved; shared headers; sizes of addresses
    // and lengths; reserved; ranks of leaf and internal nodes; consistency flags.
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 8, 8, 0, 4, 0, 16, 0, 0, 0, 0, 0]);
    put_u64(&mut bytes, 0);
    put_u64(&mut bytes, UNDEFINED);
    put_u64(&mut bytes, file_length);
    put_u64(&mut bytes, UNDEFINED);
    Target::Group(root).put(0, &mut bytes);
    bytes
}

/// Appends a version 1 object header with these messages (IV.A.1.a); returns its address.
pub(super) fn object_header(file: &mut Vec<u8>, messages: &[(u16, Vec<u8>)]) -> u64 {
    pad8(file);
    let address = file.len() as u64;
    let mut body = Vec::new();
    for (kind, data) in messages {
        let length = data.len().next_multiple_of(8);
        body.extend_from_slice(&kind.to_le_bytes());
        body.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        body.extend_from_slice(&[0; 4]);
        body.extend_from_slice(data);
        pad8(&mut body);
    }
    file.extend_from_slice(&[1, 0]);
    file.extend_from_slice(&u16::try_from(messages.len()).unwrap_or(u16::MAX).to_le_bytes());
    put_u32(file, 1);
    put_u32(file, u32::try_from(body.len()).unwrap_or(u32::MAX));
    put_u32(file, 0);
    file.extend_from_slice(&body);
    address
}

/// Appends a group with these entries, sorted by name as bytes: local heap, symbol nodes, B-tree of
/// as many levels as needed, header. Linear in the number of entries.
pub(super) fn group(file: &mut Vec<u8>, entries: &[(&str, Target)]) -> GroupAddresses {
    // Local heap (III.D): names, zero-terminated, each at a multiple of 8; offset 0 is the empty name.
    let mut names = vec![0; 8];
    let mut offsets = Vec::with_capacity(entries.len());
    for (name, _) in entries {
        offsets.push(names.len() as u64);
        names.extend_from_slice(name.as_bytes());
        names.push(0);
        pad8(&mut names);
    }
    pad8(file);
    let heap = file.len() as u64;
    file.extend_from_slice(b"HEAP\0\0\0\0");
    put_u64(file, names.len() as u64);
    put_u64(file, 1); // no free space: the library's null offset
    put_u64(file, heap + 32);
    file.extend_from_slice(&names);

    // Symbol table nodes (III.B). A child's key is the name before which it begins and the last it holds.
    let mut children: Vec<(u64, u64)> = Vec::new();
    for (entries, offsets) in entries.chunks(NODE_ENTRIES).zip(offsets.chunks(NODE_ENTRIES)) {
        let address = file.len() as u64;
        file.extend_from_slice(b"SNOD\x01\0");
        file.extend_from_slice(&u16::try_from(entries.len()).unwrap_or(0).to_le_bytes());
        for ((_, target), &offset) in entries.iter().zip(offsets) {
            target.put(offset, file);
        }
        file.resize(address as usize + SYMBOL_NODE_BYTES, 0);
        children.push((address, offsets.last().copied().unwrap_or(0)));
    }
    // B-tree nodes, level by level (III.A.1); an empty group has one empty leaf.
    let mut level = 0;
    let tree = loop {
        let nodes = children.len().div_ceil(TREE_CHILDREN).max(1);
        let first = file.len() as u64;
        let mut parents = Vec::with_capacity(nodes);
        let mut left_key = 0;
        for index in 0..nodes {
            let start = (index * TREE_CHILDREN).min(children.len());
            let part = &children[start..(start + TREE_CHILDREN).min(children.len())];
            let address = first + (index * TREE_NODE_BYTES) as u64;
            let neighbour = |exists: bool, address: u64| if exists { address } else { UNDEFINED };
            file.extend_from_slice(b"TREE\0");
            file.push(level);
            file.extend_from_slice(&u16::try_from(part.len()).unwrap_or(0).to_le_bytes());
            put_u64(file, neighbour(index > 0, address.wrapping_sub(TREE_NODE_BYTES as u64)));
            put_u64(file, neighbour(index + 1 < nodes, address + TREE_NODE_BYTES as u64));
            put_u64(file, left_key);
            for &(child, last) in part {
                put_u64(file, child);
                put_u64(file, last);
                left_key = last;
            }
            file.resize(address as usize + TREE_NODE_BYTES, 0);
            parents.push((address, left_key));
        }
        if nodes == 1 {
            break first;
        }
        children = parents;
        level += 1;
    };
    let mut message = Vec::with_capacity(16);
    put_u64(&mut message, tree);
    put_u64(&mut message, heap);
    let header = object_header(file, &[(0x11, message)]);
    GroupAddresses { header, tree, heap }
}

/// Appends the header of a contiguous dataset; returns its address and where in `file` the address
/// of its data stands, to be filled in when it is known.
pub(super) fn dataset(
    file: &mut Vec<u8>,
    element_type: ElementType,
    shape: &[u64],
    stored_bytes: u64,
) -> (u64, usize) {
    // Dataspace, version 1 (IV.A.2.b), with the extents as maximum extents, as the library writes it.
    let mut space =
        vec![1, u8::try_from(shape.len()).unwrap_or(u8::MAX), u8::from(!shape.is_empty()), 0, 0, 0, 0, 0];
    for _ in 0..2 {
        for &extent in shape {
            put_u64(&mut space, extent);
        }
    }
    // Fill value, version 2 (IV.A.2.f): allocated late, written on allocation, the default.
    let fill = vec![2, 2, 0, 1, 0, 0, 0, 0];
    // Layout, version 3, contiguous (IV.A.2.i).
    let mut layout = vec![3, 1];
    put_u64(&mut layout, UNDEFINED);
    put_u64(&mut layout, stored_bytes);
    let address =
        object_header(file, &[(0x01, space), (0x03, datatype(element_type)), (0x05, fill), (0x08, layout)]);
    // The layout is the last message: 24 padded bytes, the address behind version and class.
    let data_address = file.len() - 24 + 2;
    (address, data_address)
}

/// The datatype message (IV.A.2.d).
fn datatype(element_type: ElementType) -> Vec<u8> {
    match element_type {
        ElementType::Float64 => float(8),
        ElementType::Float32 => float(4),
        ElementType::Int64 => integer(8, true),
        ElementType::Int32 => integer(4, true),
        ElementType::Uint8 => integer(1, false),
        ElementType::Complex128 => complex(8),
        ElementType::Complex64 => complex(4),
        // Variable-length string: zero-terminated, UTF-8, of unsigned bytes.
        ElementType::Text => {
            let mut bytes = vec![0x19, 0x01, 0x01, 0];
            put_u32(&mut bytes, 16);
            bytes.extend(integer(1, false));
            bytes
        }
    }
}

fn integer(size: u8, signed: bool) -> Vec<u8> {
    vec![0x10, if signed { 8 } else { 0 }, 0, 0, size, 0, 0, 0, 0, 0, size * 8, 0]
}

/// IEEE 754, little-endian: implied leading bit, then where sign, exponent and mantissa are.
fn float(size: u8) -> Vec<u8> {
    let (sign, exponent, exponent_bits, mantissa, bias) =
        if size == 8 { (63, 52, 11, 52, 1023_u32) } else { (31, 23, 8, 23, 127) };
    let mut bytes =
        vec![0x11, 0x20, sign, 0, size, 0, 0, 0, 0, 0, size * 8, 0, exponent, exponent_bits, 0, mantissa];
    put_u32(&mut bytes, bias);
    bytes
}

/// The compound `{r, i}` that h5py reads as complex, version 1.
fn complex(part: u8) -> Vec<u8> {
    let mut bytes = vec![0x16, 2, 0, 0, part * 2, 0, 0, 0];
    for (name, offset) in [(b'r', 0), (b'i', part)] {
        bytes.extend_from_slice(&[name, 0, 0, 0, 0, 0, 0, 0]);
        put_u32(&mut bytes, u32::from(offset));
        // Dimensions of an array member: none, permutation, reserved, four extents.
        bytes.extend_from_slice(&[0; 28]);
        bytes.extend(float(part));
    }
    bytes
}
