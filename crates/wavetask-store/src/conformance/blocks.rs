//! Blocks: what is put can be got, what is needed stays, what is not needed goes.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wavetask_document::Digest;

use crate::block_store::{BlockReferences, BlockStore, Candidates, Usage};
use crate::error::Result;

type BlockCheck = (&'static str, fn(&Arc<dyn BlockStore>));

pub(super) const CHECKS: [BlockCheck; 7] = [
    ("what is put can be got", put_and_get),
    ("equal blocks are stored once", stored_once),
    ("a dropped session leaves nothing", dropped_sessions),
    ("garbage goes, and nothing else", garbage),
    ("abandoned blocks go", abandoned),
    ("many blocks at once", many_blocks),
    ("the collector races uploads and loses", race),
];

/// The blocks that documents need, as a set.
#[derive(Default)]
struct Needed(Mutex<BTreeSet<Digest>>);

impl Needed {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockReferences for Needed {
    fn unreferenced(&self, blocks: &[Digest]) -> Result<Vec<Digest>> {
        let needed = self.lock();
        Ok(blocks.iter().filter(|block| !needed.contains(*block)).copied().collect())
    }
}

fn put(store: &Arc<dyn BlockStore>, blocks: &[&[u8]]) -> Vec<Digest> {
    let mut session = store.session();
    let digests = blocks.iter().map(|block| session.put(block).expect("a block can be put")).collect();
    session.make_durable().expect("blocks can be made durable");
    digests
}

fn get(store: &Arc<dyn BlockStore>, digest: &Digest) -> io::Result<Vec<u8>> {
    let mut buffer = b"left over".to_vec();
    store.get(digest, &mut buffer).map(|()| buffer)
}

fn put_and_get(store: &Arc<dyn BlockStore>) {
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    let blocks: [&[u8]; 4] = [b"", b"a", b"some bytes", &large];
    let mut session = store.session();
    for block in blocks {
        let digest = session.put(block).expect("a block can be put");
        assert_eq!(digest, Digest::of(block));
        assert_eq!(get(store, &digest).expect("it can be read at once"), block);
        assert!(!store.contains(&digest).expect("no error"), "it is not durable yet");
    }
    session.make_durable().expect("blocks can be made durable");
    drop(session);
    for block in blocks {
        let digest = Digest::of(block);
        assert!(store.contains(&digest).expect("no error"));
        assert_eq!(get(store, &digest).expect("it can be read"), block);
    }
    let missing = get(store, &Digest::of(b"missing")).expect_err("it is not there");
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    let bytes = blocks.iter().map(|block| block.len() as u64).sum();
    assert_eq!(store.usage().expect("no error"), Usage { blocks: 4, bytes });
}

fn stored_once(store: &Arc<dyn BlockStore>) {
    let first = put(store, &[b"one", b"two", b"one"]);
    assert_eq!(first[0], first[2]);
    let mut session = store.session();
    session.put(b"two").expect("no error");
    session.put(b"three").expect("no error");
    assert!(session.pin(&Digest::of(b"one")).expect("no error"));
    assert!(!session.pin(&Digest::of(b"four")).expect("no error"));
    session.put(b"four").expect("no error");
    session.make_durable().expect("no error");
    assert_eq!(session.written(), Usage { blocks: 2, bytes: 9 });
    assert_eq!(store.usage().expect("no error").blocks, 4);
    // Two sessions at once put the same block: both are right.
    let (mut left, mut right) = (store.session(), store.session());
    left.put(b"both").expect("no error");
    right.put(b"both").expect("no error");
    right.make_durable().expect("no error");
    drop(right);
    left.make_durable().expect("no error");
    drop(left);
    assert_eq!(get(store, &Digest::of(b"both")).expect("no error"), b"both");
}

fn dropped_sessions(store: &Arc<dyn BlockStore>) {
    for block in [b"never durable".to_vec(), b"never durable".repeat(100_000)] {
        let mut session = store.session();
        let digest = session.put(&block).expect("no error");
        drop(session);
        assert!(get(store, &digest).is_err());
        assert_eq!(store.usage().expect("no error"), Usage::default());
    }
    // Of two sessions with the same block the dropped one takes nothing from the other.
    let (mut left, mut right) = (store.session(), store.session());
    left.put(b"both").expect("no error");
    right.put(b"both").expect("no error");
    drop(left);
    right.make_durable().expect("no error");
    assert!(store.contains(&Digest::of(b"both")).expect("no error"));
}

fn garbage(store: &Arc<dyn BlockStore>) {
    let needed = Needed::default();
    let blocks = put(store, &[b"needed", b"not needed", b"pinned"]);
    needed.lock().insert(blocks[0]);
    let mut session = store.session();
    session.put(b"pinned").expect("no error");
    let unfinished = session.put(b"not yet durable").expect("no error");
    let collected = store.collect_garbage(Candidates::All, &needed).expect("no error");
    assert_eq!((collected.removed, collected.pinned), (Usage { blocks: 1, bytes: 10 }, 1));
    assert!(!store.contains(&blocks[1]).expect("no error"));
    session.make_durable().expect("no error");
    assert_eq!(get(store, &unfinished).expect("no error"), b"not yet durable");
    drop(session);
    let some = store.collect_garbage(Candidates::These(&blocks), &needed).expect("no error");
    assert_eq!((some.examined, some.removed.blocks), (3, 1));
    let rest = store.collect_garbage(Candidates::All, &needed).expect("no error");
    assert_eq!(rest.removed.blocks, 1);
    assert_eq!(store.usage().expect("no error").blocks, 1);
    assert_eq!(get(store, &blocks[0]).expect("no error"), b"needed");
}

fn abandoned(store: &Arc<dyn BlockStore>) {
    let needed = Needed::default();
    let collect = || store.collect_garbage(Candidates::Abandoned, &needed).expect("no error");
    collect();
    let blocks = put(store, &[b"needed", b"refused"]);
    needed.lock().insert(blocks[0]);
    // Somebody else holds on to the refused one, and does not need it either in the end.
    let mut session = store.session();
    assert!(session.pin(&blocks[1]).expect("no error"));
    let first = collect();
    assert_eq!((first.examined, first.removed.blocks, first.pinned), (2, 0, 1));
    drop(session);
    let second = collect();
    assert_eq!((second.examined, second.removed.blocks), (1, 1));
    assert_eq!(collect().examined, 0);
    assert!(store.contains(&blocks[0]).expect("no error"));
}

fn many_blocks(store: &Arc<dyn BlockStore>) {
    let mut session = store.session();
    let digests: Vec<Digest> =
        (0..500_u32).map(|number| session.put(&number.to_le_bytes()).expect("no error")).collect();
    session.make_durable().expect("no error");
    drop(session);
    for (number, digest) in (0..500_u32).zip(&digests) {
        assert_eq!(get(store, digest).expect("no error"), number.to_le_bytes());
    }
}

/// Uploads put the same few blocks over and over, name them, look whether they are there, and let them go,
/// while two collectors remove whatever they can.
fn race(store: &Arc<dyn BlockStore>) {
    let needed = Needed::default();
    let holders: Mutex<[u32; 8]> = Mutex::default();
    let done = AtomicBool::new(false);
    let removed = AtomicU64::new(0);
    // Some are large: a back-end may keep them elsewhere.
    let block = |number: usize| format!("block {number} ").repeat(1 + 9_000 * (number % 2)).into_bytes();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let collected = store.collect_garbage(Candidates::All, &needed).expect("no error");
                    removed.fetch_add(collected.removed.blocks, Ordering::Relaxed);
                }
            });
        }
        let uploads: Vec<_> = (0..3_usize)
            .map(|thread| {
                let (needed, holders) = (&needed, &holders);
                scope.spawn(move || {
                    for round in 0..60 {
                        let mine: Vec<usize> = (0..4).map(|step| (thread * 3 + round + step) % 8).collect();
                        let mut session = store.session();
                        let digests: Vec<Digest> = mine
                            .iter()
                            .map(|&number| session.put(&block(number)).expect("a block can be put"))
                            .collect();
                        session.make_durable().expect("blocks can be made durable");
                        // The commit.
                        {
                            let mut holders = holders.lock().unwrap_or_else(PoisonError::into_inner);
                            mine.iter().for_each(|&number| holders[number] += 1);
                            needed.lock().extend(&digests);
                        }
                        drop(session);
                        for (&number, digest) in mine.iter().zip(&digests) {
                            let bytes = get(store, digest).expect("a needed block is there");
                            assert_eq!(bytes, block(number));
                        }
                        // The deletion.
                        let mut holders = holders.lock().unwrap_or_else(PoisonError::into_inner);
                        for (&number, digest) in mine.iter().zip(&digests) {
                            holders[number] -= 1;
                            if holders[number] == 0 {
                                needed.lock().remove(digest);
                            }
                        }
                    }
                })
            })
            .collect();
        let results: Vec<_> = uploads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(results.into_iter().all(|result| result.is_ok()), "an upload lost a block");
    });
    assert!(removed.into_inner() > 0, "the collectors had something to do");
    store.collect_garbage(Candidates::All, &needed).expect("no error");
    assert_eq!(store.usage().expect("no error"), Usage::default());
}
