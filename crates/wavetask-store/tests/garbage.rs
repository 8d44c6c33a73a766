//! The garbage collector never takes a block that an upload or a document needs, with the real database.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Account, Numbers};
use wavetask_core::Command;
use wavetask_store::{
    BlockStore, DocumentRole, LocalStore, TaskStore, Usage, collect_everything, collect_released,
};

/// Users at work on the store while two collectors go round and round; how many blocks were removed meanwhile.
fn beside_collectors(store: &LocalStore, users: u64, user: impl Fn(u64) + Sync) -> u64 {
    let done = AtomicBool::new(false);
    let removed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for everything in [true, false] {
            let (done, removed) = (&done, &removed);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let collected = if everything {
                        collect_everything(&*store.tasks, &*store.blocks)
                    } else {
                        collect_released(&*store.tasks, &*store.blocks)
                    };
                    removed.fetch_add(
                        collected.expect("nobody harms the collector").removed.blocks,
                        Ordering::Relaxed,
                    );
                }
            });
        }
        let user = &user;
        let users: Vec<_> = (0..users).map(|number| scope.spawn(move || user(number))).collect();
        let results: Vec<_> = users.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(results.into_iter().all(|result| result.is_ok()), "a user lost a block");
    });
    removed.into_inner()
}

/// Three users upload the same few blocks in documents of their own, look at them and delete them, while the
/// collector goes round and round.
#[test]
fn uploads_and_the_collector_race() {
    let folder = common::folder();
    let store = LocalStore::open(folder.path(), &common::options()).unwrap();
    let account = Account::new(&store).unwrap();
    let removed = beside_collectors(&store, 3, |user| {
        let mut numbers = Numbers(user);
        for round in 0..60 {
            let task = account.create(&store, &format!("task-{user}-{round}")).unwrap();
            let blocks: Vec<_> = (0..4)
                .map(|_| vec![u8::try_from(numbers.below(6)).unwrap(); 100 + 99_900 * (round % 2)])
                .collect();
            common::submit(&store, &task, &blocks).unwrap();
            std::thread::yield_now();
            let read = common::read(&store, &task, DocumentRole::Input);
            assert_eq!(read, Some(blocks.concat()));
            store.tasks.apply(&task, &Command::Delete, common::now()).unwrap();
        }
    });
    assert!(removed > 0, "the collector had something to do");
    collect_everything(&*store.tasks, &*store.blocks).unwrap();
    assert_eq!(store.blocks.usage().unwrap(), Usage::default());
    assert_eq!(store.tasks.check().unwrap(), [""; 0]);
}

/// A document too long for the database lies in blocks, which are collected with it.
#[test]
fn long_documents_are_kept_in_blocks() {
    let folder = common::folder();
    let store = LocalStore::open(folder.path(), &common::options()).unwrap();
    let account = Account::new(&store).unwrap();
    let task = account.create(&store, "task-long").unwrap();
    store.tasks.apply(&task, &Command::StartValidation, common::now()).unwrap();
    let text = format!("{{\"text\": \"{}\"}}", "words ".repeat(2_000_000));
    let mut session = store.blocks.session();
    let stored = common::put(&mut *session, &text, &[vec![1, 2, 3]]).unwrap();
    assert!(stored.body_length > 12_000_000);
    assert!(stored.blocks.len() > 3, "{}", stored.blocks.len());
    let input = stored.digest;
    let command = Command::AcceptUpload { estimate: wavetask_protocol::Estimate::default(), input };
    store.tasks.apply_with_document(&task, &command, &stored, common::now()).unwrap();
    drop(session);
    collect_everything(&*store.tasks, &*store.blocks).unwrap();
    let again = store.tasks.document(&task, DocumentRole::Input).unwrap().unwrap();
    assert_eq!(again, stored.clone().into());
    let needed = store.tasks.needed(&task, DocumentRole::Input, &stored.blocks).unwrap();
    assert!(needed.iter().all(|&needed| needed), "{needed:?}");
    let document = wavetask_store::get_document(&*store.blocks, &again).unwrap();
    assert_eq!(&*document.json, text.as_str());
    store.tasks.apply(&task, &Command::Delete, common::now()).unwrap();
    let collected = collect_released(&*store.tasks, &*store.blocks).unwrap();
    assert_eq!(collected.removed.blocks, stored.blocks.len() as u64);
    assert_eq!(store.blocks.usage().unwrap(), Usage::default());
}

/// Damage is noticed when a block is read.
#[test]
fn a_damaged_block_is_noticed() {
    let folder = common::folder();
    let store = LocalStore::open(folder.path(), &common::options()).unwrap();
    let mut session = store.blocks.session();
    let bytes = vec![7; 100_000];
    let digest = session.put(&bytes).unwrap();
    session.make_durable().unwrap();
    let name = digest.to_string();
    let path = folder.path().join("blocks").join(&name[..1]).join(&name);
    std::fs::write(&path, vec![8; 100_000]).unwrap();
    let mut buffer = Vec::new();
    let error = wavetask_document::BlockSource::get(&*store.blocks, &digest, &mut buffer).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(buffer.is_empty(), "no damaged byte is handed out");
    // One of another length is written anew by the next upload.
    drop(session);
    std::fs::write(&path, b"some").unwrap();
    let mut session = store.blocks.session();
    session.put(&bytes).unwrap();
    session.make_durable().unwrap();
    wavetask_document::BlockSource::get(&*store.blocks, &digest, &mut buffer).unwrap();
    assert_eq!(buffer, bytes);
}

/// Two users send blocks first and name them in documents later, as the native API lets them: what has arrived is
/// there when the document comes, however busy the collector is meanwhile.
#[test]
fn arrivals_do_not_race_with_the_collector() {
    let folder = common::folder();
    let store = LocalStore::open(folder.path(), &common::options()).unwrap();
    let account = Account::new(&store).unwrap();
    beside_collectors(&store, 2, |user| {
        let mut numbers = Numbers(user);
        for round in 0..60_u64 {
            // Both users' blocks are the same few.
            let block = vec![u8::try_from(numbers.below(4)).unwrap(); 100 + 99_900 * (round % 2) as usize];
            let at = common::now();
            let mut session = store.blocks.session();
            let digest = session.put(&block).unwrap();
            session.make_durable().unwrap();
            store.tasks.note_arrivals(&account.owner, &[(digest, block.len() as u64)], at).unwrap();
            drop(session);
            std::thread::yield_now();
            if round % 3 == 0 {
                // Given up: it stays until it expires.
                continue;
            }
            let mut session = store.blocks.session();
            assert_eq!(store.tasks.possessed(&account.owner, &[digest]).unwrap(), [true]);
            assert!(session.pin(&digest).unwrap(), "a block that has arrived is gone");
            let task = account.create(&store, &format!("task-{user}-{round}")).unwrap();
            common::submit(&store, &task, std::slice::from_ref(&block)).unwrap();
            drop(session);
            assert_eq!(common::read(&store, &task, DocumentRole::Input), Some(block));
            store.tasks.apply(&task, &Command::Abort, common::now()).unwrap();
            store.tasks.apply(&task, &Command::Delete, common::now()).unwrap();
        }
    });
    // They survive a restart, and go when their time is over.
    let kept = store.blocks.usage().unwrap().blocks;
    assert!(kept > 0);
    drop(store);
    let store = LocalStore::open(folder.path(), &common::options()).unwrap();
    collect_everything(&*store.tasks, &*store.blocks).unwrap();
    assert_eq!(store.blocks.usage().unwrap().blocks, kept);
    let later = common::now().plus(std::time::Duration::from_secs(1));
    assert!(store.tasks.expire_arrivals(later).unwrap() > 0);
    collect_released(&*store.tasks, &*store.blocks).unwrap();
    assert_eq!(store.blocks.usage().unwrap(), Usage::default());
    assert_eq!(store.tasks.check().unwrap(), [""; 0]);
}
