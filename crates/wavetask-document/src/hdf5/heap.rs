//! The global heap: where the characters of variable-length strings are.

use std::collections::HashMap;

use super::source::{Fields, Reader};
use crate::DocumentError;

/// Objects that may be remembered, at about 40 bytes each. A writer fills one collection after the
/// other, so starting afresh beyond this costs an honest file nothing.
const REMEMBERED: usize = 1 << 20;

/// Collections already walked: where each of their objects is.
#[derive(Default)]
pub(super) struct GlobalHeap {
    collections: HashMap<u64, HashMap<u16, (u64, u64)>>,
    remembered: usize,
}

/// A variable-length element: how long, and which object.
pub(super) struct Reference {
    length: u32,
    collection: u64,
    index: u32,
}

impl Reference {
    pub(super) fn parse(bytes: &[u8], offset: u64) -> Result<Self, DocumentError> {
        let mut fields = Fields::new(bytes, "a reference to a string", offset);
        Ok(Self { length: fields.u32()?, collection: fields.u64()?, index: fields.u32()? })
    }

    pub(super) fn length(&self) -> u64 {
        u64::from(self.length)
    }
}

impl GlobalHeap {
    /// Appends the bytes of a string to a buffer; the caller has bounded the length.
    pub(super) fn read(
        &mut self,
        reader: &Reader<'_>,
        reference: &Reference,
        output: &mut Vec<u8>,
    ) -> Result<(), DocumentError> {
        if reference.length == 0 {
            return Ok(());
        }
        if !self.collections.contains_key(&reference.collection) {
            if self.remembered > REMEMBERED {
                self.collections.clear();
                self.remembered = 0;
            }
            let objects = walk(reader, reference.collection)?;
            self.remembered += objects.len();
            self.collections.insert(reference.collection, objects);
        }
        let objects = &self.collections[&reference.collection];
        let found = u16::try_from(reference.index).ok().and_then(|index| objects.get(&index));
        let Some(&(start, _)) = found.filter(|(_, length)| *length >= reference.length()) else {
            return Fields::new(&[], "a heap collection", reference.collection)
                .malformed("does not have the string that is looked for");
        };
        let before = output.len();
        // Bounded by the file's length, which `walk` checked the object against.
        output.resize(before + reference.length as usize, 0);
        reader.fill(start, &mut output[before..], "a string")
    }
}

fn walk(reader: &Reader<'_>, address: u64) -> Result<HashMap<u16, (u64, u64)>, DocumentError> {
    let what = "a heap collection";
    let bytes = reader.small::<16>(address, what)?;
    let mut fields = Fields::new(&bytes, what, address);
    fields.signature(b"GCOL\x01")?;
    fields.take(3)?;
    let length = fields.u64()?;
    let Some(end) = address.checked_add(length).filter(|&end| end <= reader.length()) else {
        return fields.malformed("lies outside the file");
    };
    let mut objects = HashMap::new();
    let mut at = address + 16;
    while at + 16 <= end {
        let bytes = reader.small::<16>(at, what)?;
        let mut object = Fields::new(&bytes, what, at);
        let index = object.u16()?;
        object.take(6)?;
        let length = object.u64()?;
        if index == 0 {
            break;
        }
        let start = at + 16;
        let padded = length.checked_next_multiple_of(8);
        match padded.and_then(|padded| start.checked_add(padded)).filter(|&next| next <= end) {
            Some(next) => at = next,
            None => return object.malformed("has an object that does not fit"),
        }
        if objects.insert(index, (start, length)).is_some() {
            return object.malformed("has two objects of one index");
        }
    }
    Ok(objects)
}
