//! What waits to be sent: documents and views of arrays, within a budget of bytes.

use std::collections::HashMap;
use std::sync::Arc;

use wavetask_document::Digest;
use wavetask_protocol::native::NewMember;

use crate::flow::MemberId;
use crate::member::BlockPlace;
use crate::signal::Signal;

/// All that is needed to name a member and to send its blocks.
#[derive(Debug)]
pub(crate) struct Payload {
    /// The submission in the journal that it belongs to.
    pub(crate) row: i64,
    pub(crate) member: NewMember,
    /// Bytes of the document as JSON.
    pub(crate) document_bytes: u64,
    /// Its blocks, sorted, each once.
    pub(crate) blocks: Vec<(Digest, BlockPlace)>,
}

/// Payloads by member, and blocks by digest: equal blocks of many members count once, and keep one array alive.
#[derive(Debug)]
pub(crate) struct Holdings {
    budget: u64,
    document_budget: u64,
    state: Signal<State>,
}

#[derive(Debug, Default)]
struct State {
    members: HashMap<MemberId, Held>,
    blocks: HashMap<Digest, Shared>,
    bytes: u64,
    document_bytes: u64,
}

#[derive(Debug)]
struct Held {
    payload: Arc<Payload>,
}

#[derive(Debug)]
struct Shared {
    place: BlockPlace,
    users: usize,
}

impl Holdings {
    pub(crate) fn new(budget: u64, document_budget: u64) -> Self {
        Self { budget, document_budget, state: Signal::new(State::default()) }
    }

    /// Takes a payload in, as soon as there is room for it. What exceeds the whole budget passes alone.
    pub(crate) fn hold(&self, member: MemberId, payload: Payload) {
        let mut payload = Some(payload);
        self.state.wait(None, |state| {
            let waiting = payload.as_ref()?;
            let new: u64 = waiting
                .blocks
                .iter()
                .filter(|(digest, _)| !state.blocks.contains_key(digest))
                .map(|(_, place)| place.length as u64)
                .sum();
            let arrays_fit = state.bytes == 0 || new == 0 || state.bytes + new <= self.budget;
            let documents_fit = state.document_bytes == 0
                || state.document_bytes + waiting.document_bytes <= self.document_budget;
            if !arrays_fit || !documents_fit {
                return None;
            }
            state.take(member, payload.take()?);
            Some(())
        });
    }

    /// Lets go of a member's bytes.
    pub(crate) fn release(&self, member: MemberId) {
        self.state.change(|state| {
            let Some(Held { payload }) = state.members.remove(&member) else { return };
            state.document_bytes -= payload.document_bytes;
            for (digest, _) in &payload.blocks {
                if let Some(shared) = state.blocks.get_mut(digest) {
                    shared.users -= 1;
                    if shared.users == 0 {
                        state.bytes -= shared.place.length as u64;
                        state.blocks.remove(digest);
                    }
                }
            }
        });
    }

    /// A member's payload, while it is held.
    pub(crate) fn payload(&self, member: MemberId) -> Option<Arc<Payload>> {
        self.state.read(|state| state.members.get(&member).map(|held| held.payload.clone()))
    }

    /// Where these blocks are; those that are not held any more are left out.
    pub(crate) fn places(&self, blocks: &[Digest]) -> Vec<(Digest, BlockPlace)> {
        self.state.read(|state| {
            let place = |digest: &Digest| Some((*digest, state.blocks.get(digest)?.place.clone()));
            blocks.iter().filter_map(place).collect()
        })
    }
}

impl State {
    fn take(&mut self, member: MemberId, mut payload: Payload) {
        self.document_bytes += payload.document_bytes;
        for (digest, place) in &mut payload.blocks {
            let shared = self.blocks.entry(*digest).or_insert_with(|| {
                self.bytes += place.length as u64;
                Shared { place: place.clone(), users: 0 }
            });
            shared.users += 1;
            // From here on, one array serves all.
            *place = shared.place.clone();
        }
        self.members.insert(member, Held { payload: Arc::new(payload) });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use wavetask_protocol::TaskKind;
    use wavetask_protocol::native::MemberDocument;

    use super::*;

    fn payload(contents: &[&[u8]]) -> Payload {
        let place = |bytes: &&[u8]| {
            let length = bytes.len();
            (Digest::of(bytes), BlockPlace { array: Arc::new(bytes.to_vec()), offset: 0, length, width: 1 })
        };
        let member = NewMember {
            key: "0".into(),
            position: 0,
            kind: TaskKind::Heat,
            name: "0".into(),
            folder: "default".into(),
            document: MemberDocument::Blocks(Vec::new()),
            parameters: Default::default(),
            inputs: Vec::new(),
            after: Vec::new(),
            cache: true,
            hold: false,
            priority: 0,
            idempotency_key: "k".into(),
        };
        Payload { row: 1, member, document_bytes: 1, blocks: contents.iter().map(place).collect() }
    }

    #[test]
    fn shared_blocks_count_once_and_the_budget_makes_others_wait() {
        let holdings = Arc::new(Holdings::new(10, 100));
        holdings.hold(MemberId(1), payload(&[b"12345678"]));
        holdings.hold(MemberId(2), payload(&[b"12345678"]));
        let passed = Arc::new(AtomicBool::new(false));
        let waiting = std::thread::spawn({
            let (holdings, passed) = (holdings.clone(), passed.clone());
            move || {
                holdings.hold(MemberId(3), payload(&[b"abcdefgh"]));
                passed.store(true, Ordering::SeqCst);
            }
        });
        holdings.release(MemberId(1));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!passed.load(Ordering::SeqCst), "the block is still the second member's");
        holdings.release(MemberId(2));
        waiting.join().unwrap();
        assert_eq!(holdings.places(&[Digest::of(b"12345678"), Digest::of(b"abcdefgh")]).len(), 1);
    }
}
