//! Groups of the classic format: a B-tree of symbol table nodes, names in a local heap.

use super::source::{Fields, Reader, place};
use crate::error::within;
use crate::{DocumentError, Limits};

/// A B-tree of this many levels over nodes of two or more children has more entries than memory.
const LEVELS: u8 = 32;

/// One link of a group.
pub(super) struct Link {
    pub(super) name: String,
    pub(super) header: u64,
}

/// Lists a group, when `used` objects were met before.
pub(super) fn list(
    reader: &Reader<'_>,
    tree: u64,
    heap: u64,
    limits: &Limits,
    used: u64,
) -> Result<Vec<Link>, DocumentError> {
    let names = read_names(reader, heap, limits)?;
    let mut links: Vec<Link> = Vec::new();
    let (mut counted, mut name_bytes) = (0, 0);
    // Nodes still to be read with the level they must have: it falls on every path, so all end.
    let root = reader.small::<8>(tree, "a group's B-tree")?[5];
    if root >= LEVELS {
        return Err(DocumentError::malformed("a group's B-tree is too deep", place(tree)));
    }
    let mut nodes = vec![(tree, root)];
    while let Some((address, level)) = nodes.pop() {
        let children = tree_children(reader, address, level)?;
        if level > 0 {
            // In reverse, so that they are taken off in order.
            nodes.extend(children.into_iter().rev().map(|child| (child, level - 1)));
            continue;
        }
        for child in children {
            read_symbols(reader, child, &names, limits, &mut links)?;
            within("objects", limits.objects, used + links.len() as u64)?;
            name_bytes += links[counted..].iter().map(|link| link.name.len() as u64).sum::<u64>();
            counted = links.len();
            within("path_bytes", limits.path_bytes, name_bytes)?;
        }
    }
    Ok(links)
}

fn read_names(reader: &Reader<'_>, heap: u64, limits: &Limits) -> Result<Vec<u8>, DocumentError> {
    let what = "a group's heap of names";
    let bytes = reader.small::<32>(heap, what)?;
    let mut fields = Fields::new(&bytes, what, heap);
    fields.signature(b"HEAP\0")?;
    fields.take(3)?;
    let length = fields.u64()?;
    fields.u64()?;
    let start = fields.u64()?;
    within("working_bytes", limits.working_bytes, length)?;
    reader.bytes(start, length, what)
}

/// The children of a B-tree node, which must be of the expected level.
fn tree_children(reader: &Reader<'_>, address: u64, level: u8) -> Result<Vec<u64>, DocumentError> {
    let what = "a group's B-tree";
    let bytes = reader.small::<24>(address, what)?;
    let mut fields = Fields::new(&bytes, what, address);
    fields.signature(b"TREE\0")?;
    if fields.u8()? != level {
        return fields.malformed("has a node of the wrong level");
    }
    let count = fields.u16()?;
    let body = reader.bytes(address + 24, u64::from(count) * 16 + 8, what)?;
    let mut fields = Fields::new(&body, what, address);
    (0..count)
        .map(|_| {
            fields.u64()?;
            fields.u64()
        })
        .collect()
}

fn read_symbols(
    reader: &Reader<'_>,
    address: u64,
    names: &[u8],
    limits: &Limits,
    links: &mut Vec<Link>,
) -> Result<(), DocumentError> {
    let what = "a symbol table node";
    let bytes = reader.small::<8>(address, what)?;
    let mut fields = Fields::new(&bytes, what, address);
    fields.signature(b"SNOD\x01\0")?;
    let count = fields.u16()?;
    let body = reader.bytes(address + 8, u64::from(count) * 40, what)?;
    let mut fields = Fields::new(&body, what, address);
    for _ in 0..count {
        let name = fields.u64()?;
        let header = fields.u64()?;
        let kind = fields.u32()?;
        fields.take(20)?;
        if kind == 2 {
            return fields.unsupported("a symbolic link");
        }
        links.push(Link { name: read_name(names, name, limits, &fields)?, header });
    }
    Ok(())
}

/// A name, which costs at most the limit to look at, wherever it points.
fn read_name(
    names: &[u8],
    offset: u64,
    limits: &Limits,
    fields: &Fields<'_>,
) -> Result<String, DocumentError> {
    let rest = usize::try_from(offset).ok().and_then(|offset| names.get(offset..)).unwrap_or_default();
    let longest = usize::try_from(limits.name_bytes).unwrap_or(usize::MAX).saturating_add(1);
    let Some(length) = rest.iter().take(longest).position(|&byte| byte == 0) else {
        if rest.len() >= longest {
            within("name_bytes", limits.name_bytes, limits.name_bytes + 1)?;
        }
        return fields.malformed("has a name outside its heap");
    };
    match std::str::from_utf8(&rest[..length]) {
        Ok(name) if !matches!(name, "" | "." | "..") && !name.contains('/') => Ok(name.to_owned()),
        _ => fields.malformed("has a name that cannot be one"),
    }
}
