//! A simulation as it waits to be sent: its document and where its blocks can be read. Views, no copies.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use wavetask_document::{BlockSource, Digest, Document};

use crate::member::BlockPlace;

/// A simulation that can be written as a file.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) document: Document,
    pub(super) blocks: Arc<dyn BlockSource + Send + Sync>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Content").field("arrays", &self.document.arrays.len()).finish_non_exhaustive()
    }
}

/// Blocks in somebody's memory. Read with a check of their digests, so that an array that its owner changed
/// meanwhile is not sent as what it was.
#[derive(Debug, Default)]
pub(super) struct Places(pub(super) HashMap<Digest, BlockPlace>);

impl BlockSource for Places {
    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()> {
        let place = self.0.get(digest).ok_or(io::ErrorKind::NotFound)?;
        buffer.clear();
        buffer.extend_from_slice(place.bytes());
        if Digest::of(buffer) == *digest {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "an array was changed while it was being sent"))
        }
    }
}

/// The blocks of a document, each once.
pub(super) fn blocks_of(document: &Document) -> HashSet<Digest> {
    document.arrays.values().flat_map(|array| array.blocks.iter().copied()).collect()
}

/// What the mesh task of a heat simulation is sent: the mesher that holds the simulation, without monitors of its
/// own, as the current client makes it.
pub(super) fn mesher(simulation: &Document) -> Document {
    let json = format!(
        "{{\"attrs\":{{}},\"simulation\":{},\"monitors\":[],\"type\":\"VolumeMesher\"}}",
        simulation.json
    );
    let arrays: BTreeMap<_, _> =
        simulation.arrays.iter().map(|(path, array)| (format!("simulation/{path}"), array.clone())).collect();
    Document { json: json.into(), arrays }
}

/// Writes blocks one behind the other, each behind its digest and length: how small simulations lie in the table.
pub(super) fn write_blocks(places: &HashMap<Digest, BlockPlace>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (digest, place) in places {
        bytes.extend_from_slice(digest.as_bytes());
        bytes.extend_from_slice(&(place.length as u64).to_le_bytes());
        bytes.extend_from_slice(place.bytes());
    }
    bytes
}

/// Reads what [`write_blocks`] wrote; what is damaged is missing.
pub(super) fn read_blocks(mut bytes: &[u8]) -> Places {
    let mut places = HashMap::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<40>() {
        let (digest, length) = head.split_at(32);
        let digest: [u8; 32] = std::array::from_fn(|at| digest[at]);
        let length = u64::from_le_bytes(std::array::from_fn(|at| length[at]));
        let Some((block, rest)) =
            usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length))
        else {
            break;
        };
        let place = BlockPlace { array: Arc::new(block.to_vec()), offset: 0, length: block.len(), width: 1 };
        places.insert(Digest::from_bytes(digest), place);
        bytes = rest;
    }
    Places(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(bytes: &[u8]) -> (Digest, BlockPlace) {
        let place = BlockPlace { array: Arc::new(bytes.to_vec()), offset: 0, length: bytes.len(), width: 8 };
        (Digest::of(bytes), place)
    }

    #[test]
    fn blocks_come_back_and_changed_ones_are_noticed() {
        let places: HashMap<_, _> = [place(b"one"), place(b""), place(b"three")].into();
        let mut written = write_blocks(&places);
        let read = read_blocks(&written);
        let mut buffer = Vec::new();
        for (digest, place) in &places {
            read.get(digest, &mut buffer).unwrap();
            assert_eq!(buffer, place.bytes());
        }
        for at in 0..written.len() {
            assert!(read_blocks(&written[..at]).0.len() < 3);
        }
        if let Some(last) = written.last_mut() {
            *last ^= 1;
        }
        let damaged = read_blocks(&written);
        assert!(places.keys().any(|digest| damaged.get(digest, &mut buffer).is_err()));
    }
}
