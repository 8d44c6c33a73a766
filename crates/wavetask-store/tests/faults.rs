//! Failures on purpose: a crash between any two operations on the disk, and a disk that is full.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests stop at the first fault, as tests do, and say what they left out"
)]

mod common;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Account, Numbers};
use wavetask_core::schedule::Capacity;
use wavetask_core::{Command, Refusal};
use wavetask_protocol::worker::{Report, Verdict};
use wavetask_protocol::{LeaseId, Progress, TaskId, TaskState, WorkerId};
use wavetask_store::{
    ApplyError, BlockStore, DiskOperation, DocumentRole, Faults, LocalOptions, LocalStore, StoreError,
    TaskStore, collect_everything, collect_released,
};

fn lease(store: &LocalStore, name: &str) -> Option<(TaskId, LeaseId)> {
    let worker: WorkerId = "worker-1".parse().unwrap();
    let lease: LeaseId = name.parse().unwrap();
    let capacity = Capacity::new(1 << 30, 1 << 30, true);
    let outcome = store.tasks.lease_next(&worker, &lease, &capacity, common::now()).unwrap();
    outcome.leased.into_iter().next().map(|leased| (leased.record.task.id, leased.lease))
}

fn blocks(text: &str) -> Vec<Vec<u8>> {
    vec![text.as_bytes().to_vec(), vec![7; 300_000], vec![9; 70_000], vec![8; 100]]
}

/// A little of everything that writes files. Stops at the first failure, as a server does when it dies.
fn scenario(store: &LocalStore, account: &Account) -> Result<(), ApplyError> {
    for name in ["task-1", "task-2"] {
        let task = account.create(store, name)?;
        common::submit(store, &task, &blocks(task.as_str()))?;
        let (task, lease) = lease(store, &format!("lease-of-{task}")).unwrap();
        common::publish(store, &task, &lease, &blocks("the result"))?;
    }
    store.tasks.apply(&"task-1".parse().unwrap(), &Command::Delete, common::now())?;
    collect_released(&*store.tasks, &*store.blocks)?;
    Ok(())
}

/// Ends the world at the `limit`-th operation on the disk: that one and all after it fail.
fn doomed(limit: u64) -> (LocalOptions, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let hook = move |_: DiskOperation, _: &Path| {
        if counted.fetch_add(1, Ordering::SeqCst) >= limit {
            return Err(io::Error::other("the world has ended"));
        }
        Ok(())
    };
    (LocalOptions { faults: Faults::new(Arc::new(hook)), ..common::options() }, count)
}

#[test]
fn a_crash_between_any_two_operations_leaves_all_or_nothing() {
    let mut limit = 0;
    loop {
        let folder = common::folder();
        let (options, count) = doomed(limit);
        let store = LocalStore::open(folder.path(), &options).unwrap();
        let account = Account::new(&store).unwrap();
        let ended = scenario(&store, &account);
        drop(store);

        let store = LocalStore::open(folder.path(), &common::options()).unwrap();
        store.tasks.recover(common::now()).unwrap();
        assert_eq!(store.tasks.check().unwrap(), [""; 0], "after operation {limit}");
        for name in ["task-1", "task-2"] {
            let id: TaskId = name.parse().unwrap();
            let Some(task) = store.tasks.task(&id).unwrap() else { continue };
            if task.submitted_at.is_some() {
                let expected = blocks(name).concat();
                assert_eq!(common::read(&store, &id, DocumentRole::Input), Some(expected));
            }
            let result = common::read(&store, &id, DocumentRole::Result);
            let expected = (task.state == TaskState::Success).then(|| blocks("the result").concat());
            assert_eq!(result, expected, "after operation {limit}");
        }
        collect_everything(&*store.tasks, &*store.blocks).unwrap();
        collect_released(&*store.tasks, &*store.blocks).unwrap();
        let statistics = store.tasks.statistics().unwrap();
        assert_eq!(store.blocks.usage().unwrap().blocks, statistics.blocks, "after operation {limit}");
        drop(store);
        if ended.is_ok() {
            assert!(count.load(Ordering::SeqCst) <= limit);
            break;
        }
        limit += 1;
    }
    assert!(limit > 12, "only {limit} operations were tried");
    println!("{limit} moments to crash at");
}

/// A session that failed once accepts nothing more, and the next one goes on as if nothing had been.
#[test]
fn no_space_is_reported_and_passes() {
    let full = Arc::new(AtomicU64::new(0));
    let switch = Arc::clone(&full);
    let hook = move |operation: DiskOperation, _: &Path| {
        let writes = matches!(operation, DiskOperation::Write | DiskOperation::SyncFile);
        if writes && switch.load(Ordering::SeqCst) > 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    };
    let folder = common::folder();
    let options = LocalOptions { faults: Faults::new(Arc::new(hook)), ..common::options() };
    let store = LocalStore::open(folder.path(), &options).unwrap();
    let mut session = store.blocks.session();
    session.put(&[1; 100_000]).unwrap();
    session.put(b"small").unwrap();
    full.store(1, Ordering::SeqCst);
    let put = session.put(&[2; 100_000]).unwrap_err();
    assert_eq!(put.kind(), io::ErrorKind::StorageFull);
    let sync = session.make_durable().unwrap_err();
    assert!(matches!(sync, StoreError::NoSpace { .. }), "{sync:?}");
    assert!(session.put(b"after").is_err(), "this session has failed");
    drop(session);
    full.store(0, Ordering::SeqCst);
    let mut session = store.blocks.session();
    session.put(&[1; 100_000]).unwrap();
    session.put(&[2; 100_000]).unwrap();
    session.put(b"small").unwrap();
    session.make_durable().unwrap();
    assert_eq!(session.written().blocks, 3);
}

#[test]
fn the_reserve_is_left_to_the_database() {
    let folder = common::folder();
    let free = wavetask_store::free_space(folder.path()).unwrap();
    let options = LocalOptions { reserve: free * 2, ..common::options() };
    let store = LocalStore::open(folder.path(), &options).unwrap();
    assert!(matches!(store.blocks.check_space(1), Err(StoreError::NoSpace { .. })));
    assert_eq!(store.blocks.session().put(b"some").unwrap_err().kind(), io::ErrorKind::StorageFull);
    let account = Account::new(&store).unwrap();
    account.create(&store, "task-1").expect("the database goes on");
}

/// A file system of a few megabytes, or nothing where mounting is not allowed.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Process::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            other => {
                println!("SKIPPED: a small file system cannot be mounted here ({other:?})");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Process::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

fn is_no_space(error: &ApplyError) -> bool {
    matches!(error, ApplyError::Store(StoreError::NoSpace { .. }))
}

/// With a disk that is really full, down to the last byte: every write is refused in words, what was
/// acknowledged stays, running tasks keep their leases, and all goes on when there is room again.
#[test]
fn a_full_disk_loses_nothing() {
    let Some(disk) = SmallDisk::new("12m") else { return };
    let path = disk.0.path().join("data");
    let store = LocalStore::open(&path, &common::options()).unwrap();
    let account = Account::new(&store).unwrap();
    let running = account.create(&store, "task-running").unwrap();
    common::submit(&store, &running, &blocks("running")).unwrap();
    let (_, running_lease) = lease(&store, "lease-running").unwrap();

    // Something else fills the disk.
    let filler = disk.0.path().join("filler");
    let mut fill = std::fs::File::create(&filler).unwrap();
    while fill.write_all(&[0; 65_536]).is_ok() {}
    while fill.write_all(&[0; 512]).is_ok() {}
    let length = fill.metadata().unwrap().len();
    fill.set_len(length - 400_000).unwrap();
    let mut numbers = Numbers(1);
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for number in 0..400 {
        let name = format!("task-{number}");
        let done = account.create(&store, &name).map_err(ApplyError::from).and_then(|task| {
            acknowledged.push(task.clone());
            common::submit(&store, &task, &[numbers.block(2000)])
        });
        match done {
            Ok(()) => {}
            Err(error) => {
                assert!(is_no_space(&error), "{error:?}");
                refused += 1;
            }
        }
    }
    assert!(refused > 300, "the disk was not full");
    assert!(!acknowledged.is_empty(), "the disk was full from the beginning");
    let sequence = store.tasks.latest_sequence().unwrap();
    let refusal = store.tasks.apply(&running, &Command::Abort, common::now());
    let result = common::publish(&store, &running, &running_lease, &[numbers.block(3_000_000)]);
    // The last bytes may have been enough for the abort, which needs few of them.
    let aborted = refusal.is_ok();
    let expected = |error: &ApplyError| match error {
        ApplyError::Refused(Refusal::AbortRequested) => aborted,
        error => is_no_space(error),
    };
    assert!(result.is_err_and(|error| expected(&error)));

    // The worker that speaks to a server without room keeps its task, far beyond its lease.
    let later = common::now().plus(std::time::Duration::from_secs(3600));
    let report = Report {
        lease: running_lease.clone(),
        progress: Progress::default(),
        first_log_line: 0,
        log_lines: vec!["a line ".repeat(500); 200],
    };
    let verdicts = store.tasks.heartbeat(&[report], later).unwrap();
    assert_eq!(verdicts, [if aborted { Verdict::Abort } else { Verdict::Continue }]);
    if let Err(error) = &refusal {
        assert!(is_no_space(error), "{error:?}");
    }
    assert!(store.tasks.expire_leases(later).unwrap().is_empty(), "its worker is alive");
    assert!(store.tasks.latest_sequence().unwrap() <= sequence + 2);

    // Room again: the same things succeed now.
    drop(fill);
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(store.tasks.check().unwrap(), [""; 0]);
    for task in &acknowledged {
        assert!(store.tasks.task(task).unwrap().is_some(), "{task} was acknowledged");
    }
    if !aborted {
        common::publish(&store, &running, &running_lease, &[numbers.block(3_000_000)]).unwrap();
        assert_eq!(store.tasks.task(&running).unwrap().unwrap().state, TaskState::Success);
    }
    for number in 1000..1010 {
        let task = account.create(&store, &format!("task-{number}")).unwrap();
        common::submit(&store, &task, &[numbers.block(2000)]).unwrap();
    }
    collect_everything(&*store.tasks, &*store.blocks).unwrap();
    assert_eq!(store.blocks.usage().unwrap().blocks, store.tasks.statistics().unwrap().blocks);
    drop(store);
    let store = LocalStore::open(&path, &common::options()).unwrap();
    assert_eq!(store.tasks.check().unwrap(), [""; 0]);
    println!("{} tasks acknowledged before the disk was full, {refused} refusals", acknowledged.len());
    drop(store);
}
