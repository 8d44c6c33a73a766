//! Blocks of the documents that an evaluation refers to, from the server.
//!
//! An evaluation reads its blocks one after the other, and says beforehand which ones will be next. A request brings all
//! of those, so that a large result is not thousands of requests.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use wavetask_document::{BlockSource, Digest, Document};

use crate::decide::Disposition;
use crate::journey::{Held, Surroundings, after_stop, fetch};

/// The blocks. Its reads block: it is used where that harms nobody.
#[derive(Debug)]
pub(crate) struct RemoteBlocks {
    held: Arc<Held>,
    surroundings: Arc<Surroundings>,
    runtime: Handle,
    /// The document of each block.
    documents: HashMap<Digest, Digest>,
    ahead: Mutex<Ahead>,
    stopped: Arc<Mutex<Option<Disposition>>>,
}

/// What will be read next.
#[derive(Debug, Default)]
struct Ahead {
    announced: Vec<Digest>,
    /// What came and was not read yet: of one announcement.
    here: HashMap<Digest, Vec<u8>>,
}

impl Ahead {
    /// What a request for this block should bring: it, and those that were announced to come after it and are of the
    /// same document.
    fn wanted(&self, digest: &Digest, is_beside: impl Fn(&Digest) -> bool) -> Vec<Digest> {
        let mut wanted = vec![*digest];
        if let Some(place) = self.announced.iter().position(|announced| announced == digest) {
            for next in &self.announced[place + 1..] {
                if is_beside(next) && !self.here.contains_key(next) && !wanted.contains(next) {
                    wanted.push(*next);
                }
            }
        }
        wanted
    }
}

impl RemoteBlocks {
    pub(crate) fn new(
        held: &Arc<Held>,
        surroundings: &Arc<Surroundings>,
        documents: &[(Digest, Document)],
    ) -> Self {
        let blocks = documents.iter().flat_map(|(digest, document)| {
            let blocks = document.arrays.values().flat_map(|array| &array.blocks);
            blocks.map(move |block| (*block, *digest))
        });
        Self {
            held: Arc::clone(held),
            surroundings: Arc::clone(surroundings),
            runtime: Handle::current(),
            documents: blocks.collect(),
            ahead: Mutex::default(),
            stopped: Arc::default(),
        }
    }

    /// What a read that failed means for the task; filled in when one has.
    pub(crate) fn stopped(&self) -> Arc<Mutex<Option<Disposition>>> {
        Arc::clone(&self.stopped)
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockSource for RemoteBlocks {
    fn announce(&self, digests: &[Digest]) {
        let mut ahead = self.ahead();
        ahead.announced = digests.to_vec();
        ahead.here.retain(|digest, _| digests.contains(digest));
    }

    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()> {
        let document = self.documents.get(digest).ok_or(io::ErrorKind::NotFound)?;
        let stop = |disposition| {
            *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(disposition);
            io::Error::from(io::ErrorKind::Interrupted)
        };
        if let Some(reason) = self.held.stop_now() {
            return Err(stop(after_stop(reason)));
        }
        let wanted = {
            let mut ahead = self.ahead();
            if let Some(bytes) = ahead.here.remove(digest) {
                *buffer = bytes;
                return Ok(());
            }
            ahead.wanted(digest, |other| self.documents.get(other) == Some(document))
        };
        let lease = &self.held.assignment.lease;
        let request = || self.surroundings.client.blocks(lease, document, &wanted);
        let came = self.runtime.block_on(fetch(&self.surroundings, "blocks of a result", request));
        let mut came = came.map_err(stop)?;
        *buffer = came.remove(digest).ok_or(io::ErrorKind::NotFound)?;
        self.ahead().here.extend(came);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_brings_what_was_announced_after_it_and_nothing_twice() {
        let [a, b, c, d, e] = [b"a", b"b", b"c", b"d", b"e"].map(|bytes| Digest::of(bytes));
        let mut ahead = Ahead { announced: vec![a, b, c, b, d], here: HashMap::new() };
        let beside = |other: &Digest| *other != c;
        assert_eq!(ahead.wanted(&a, beside), [a, b, d], "one is of another document, one is announced twice");
        assert_eq!(ahead.wanted(&b, beside), [b, d]);
        assert_eq!(ahead.wanted(&e, beside), [e], "it was not announced");
        ahead.here.insert(d, Vec::new());
        assert_eq!(ahead.wanted(&a, beside), [a, b], "one is here");
    }
}
