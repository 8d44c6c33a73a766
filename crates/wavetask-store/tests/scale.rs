//! With ten thousand tasks stored, what clients ask for often is still quick; readers do not wait for writers.
//!
//! The figures are printed (`--nocapture`); the bounds are wide, for machines that do other things meanwhile.

#![expect(clippy::print_stdout, reason = "it prints what it measures")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::Account;
use serde_json::json;
use wavetask_core::schedule::Capacity;
use wavetask_document::Digest;
use wavetask_protocol::{LeaseId, TaskId, WorkerId};
use wavetask_store::{
    BatchFilter, BatchMember, BlockStore, Comparison, LocalStore, MemberUpdate, Operation,
    ParameterCondition, TaskFilter, TaskStore,
};

const TASKS: u32 = 10_000;

/// Times of one operation, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn of(count: usize, mut operation: impl FnMut(usize)) -> Self {
        let mut times: Vec<_> = (0..count)
            .map(|number| {
                let start = Instant::now();
                operation(number);
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        Self(times)
    }

    fn report(&self, what: &str) -> Duration {
        let median = self.0[self.0.len() / 2];
        let late = self.0[self.0.len() * 99 / 100];
        println!("{what:<44} median {median:>10.1?}   99th percentile {late:>10.1?}");
        median
    }
}

/// All tasks in one batch, with two parameters each; then what a table of it and a search in it cost.
fn fill_a_batch(store: &LocalStore, account: &Account, tasks: &[TaskId]) {
    let start = Instant::now();
    for (part, tasks) in tasks.chunks(1000).enumerate() {
        let member = |(number, task): (usize, &TaskId)| {
            let number = part * 1000 + number;
            BatchMember {
                key: format!("I={number}"),
                position: number as u64,
                task: task.clone(),
                parameters: BTreeMap::from([
                    ("current".to_owned(), json!(number as f64 * 1e-3)),
                    ("shape".to_owned(), json!(if number.is_multiple_of(2) { "ring" } else { "disk" })),
                ]),
            }
        };
        let update = MemberUpdate {
            owner: account.owner.clone(),
            batch: "batch-1".parse().expect("no error"),
            name: "scan".to_owned(),
            tags: vec!["paper".to_owned()],
            submission: "1".to_owned(),
            members: tasks.iter().enumerate().map(member).collect(),
            complete: (part + 1) * 1000 >= TASKS as usize,
        };
        store
            .tasks
            .transact(&[Operation::SetMembers(update)], common::now())
            .expect("no error")
            .pop()
            .expect("no error")
            .expect("no error");
    }
    println!("{} members of a batch set in {:.1?}", tasks.len(), start.elapsed());
    let members = Times::of(5, |_| {
        let members = store.tasks.batch_members(&account.owner, "scan", None, 20_000).expect("no error");
        assert_eq!(members.len(), tasks.len());
    });
    assert!(members.report("all 10,000 members of a batch") < Duration::from_secs(3));
    let paper = BatchFilter { tag: Some("paper".to_owned()), ..BatchFilter::default() };
    let batches = Times::of(5, |_| {
        assert_eq!(store.tasks.batches(&account.owner, &paper, 10).expect("no error")[0].members, 10_000);
    });
    assert!(batches.report("batches with their states") < Duration::from_secs(1));
    let condition =
        |name: &str, operator, value| ParameterCondition { name: name.to_owned(), operator, value };
    let filter = TaskFilter {
        owner: Some(account.owner.clone()),
        batch: Some("scan".to_owned()),
        parameters: vec![
            condition("current", Comparison::GreaterOrEqual, json!(9.95)),
            condition("shape", Comparison::Equal, json!("ring")),
        ],
        ..TaskFilter::default()
    };
    let found = Times::of(20, |_| {
        assert_eq!(store.tasks.list_tasks(&filter, None, 1000).expect("no error").tasks.len(), 25);
    });
    assert!(found.report("search by two parameters") < Duration::from_millis(500));
    let blocks: Vec<Digest> = (0..4000_u32).map(|number| Digest::of(&number.to_le_bytes())).collect();
    let arrived: Vec<(Digest, u64)> = blocks.iter().map(|block| (*block, 100)).collect();
    let start = Instant::now();
    store.tasks.note_arrivals(&account.owner, &arrived, common::now()).expect("no error");
    println!("4000 arrivals noted in {:.1?}", start.elapsed());
    let possessed = Times::of(20, |_| {
        assert!(store.tasks.possessed(&account.owner, &blocks).expect("no error").into_iter().all(|has| has));
    });
    assert!(possessed.report("possession of 4000 blocks") < Duration::from_millis(500));
}

#[test]
fn ten_thousand_tasks() {
    let folder = common::folder();
    let store = LocalStore::open(folder.path(), &common::options()).unwrap();
    let account = Account::new(&store).unwrap();
    let start = Instant::now();
    let tasks: Vec<TaskId> =
        (0..TASKS).map(|number| account.create(&store, &format!("task-{number:05}")).unwrap()).collect();
    println!("{TASKS} tasks created one by one in {:.1?}", start.elapsed());
    for task in tasks.iter().step_by(100) {
        common::submit(&store, task, &[b"the same block".to_vec()]).unwrap();
    }

    let task = |number: usize| &tasks[number * 7919 % tasks.len()];
    let detail = Times::of(2000, |number| {
        store.tasks.task_of(&account.owner, task(number)).unwrap().unwrap();
    });
    assert!(detail.report("detail of a task") < Duration::from_millis(20));

    let filter = TaskFilter {
        owner: Some(account.owner.clone()),
        folder: Some(account.folder.clone()),
        ..TaskFilter::default()
    };
    let page = Times::of(50, |_| {
        assert_eq!(store.tasks.list_tasks(&filter, None, 100).unwrap().tasks.len(), 100);
    });
    assert!(page.report("first 100 of a folder") < Duration::from_millis(200));
    let all = Times::of(3, |_| {
        assert_eq!(store.tasks.list_tasks(&filter, None, usize::MAX).unwrap().tasks.len(), tasks.len());
    });
    assert!(all.report("all 10,000 of a folder") < Duration::from_secs(10));
    let search = TaskFilter { name_contains: Some("task-09999".to_owned()), ..filter.clone() };
    let found = Times::of(10, |_| {
        assert_eq!(store.tasks.list_tasks(&search, None, 10).unwrap().tasks.len(), 1);
    });
    found.report("search by name");
    let create = Times::of(200, |number| {
        account.create(&store, &format!("task-later-{number}")).unwrap();
    });
    create.report("create a task");
    fill_a_batch(&store, &account, &tasks);
    let worker: WorkerId = "worker-1".parse().unwrap();
    let capacity = Capacity::new(1 << 30, 1 << 30, true);
    let lease = Times::of(100, |number| {
        let lease: LeaseId = format!("lease-{number}").parse().unwrap();
        store.tasks.lease_next(&worker, &lease, &capacity, common::now()).unwrap().leased.pop().unwrap();
    });
    lease.report("lease the next of 100 ready tasks");
    let statistics = Times::of(10, |_| {
        store.tasks.statistics().unwrap();
    });
    statistics.report("statistics");
    let start = Instant::now();
    assert_eq!(store.tasks.check().unwrap(), [""; 0]);
    println!("everything checked in {:.1?}", start.elapsed());

    // What a small task costs the disk: a session with four blocks of its own, and the commit.
    let sessions = Times::of(100, |number| {
        let text = format!("document {number}");
        let blocks: Vec<_> = (0..4).map(|block| format!("{block} of {text}").into_bytes()).collect();
        let mut session = store.blocks.session();
        common::put(&mut *session, &text, &blocks).unwrap();
    });
    sessions.report("four small blocks made durable");
    let sessions = Times::of(10, |number| {
        let blocks: Vec<_> = (0..200).map(|block| format!("{block} of {number}").into_bytes()).collect();
        let mut session = store.blocks.session();
        common::put(&mut *session, "200 blocks", &blocks).unwrap();
    });
    sessions.report("200 small blocks made durable at once");

    let sessions = Times::of(10, |number| {
        let blocks: Vec<_> =
            (0..20).map(|block| format!("{block} {number} ").repeat(20_000).into_bytes()).collect();
        let mut session = store.blocks.session();
        common::put(&mut *session, "20 blocks", &blocks).unwrap();
    });
    sessions.report("20 blocks of 100 kB made durable at once");

    // Readers in the middle of writes.
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            while !done.load(Ordering::Relaxed) {
                account.create(&store, &format!("task-meanwhile-{written}")).unwrap();
                written += 1;
            }
            written
        });
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    Times::of(500, |number| {
                        store.tasks.task_of(&account.owner, task(number)).unwrap().unwrap();
                    })
                })
            })
            .collect();
        for reader in readers {
            let times = reader.join().unwrap();
            assert!(times.report("detail with 4 readers and a writer") < Duration::from_millis(100));
        }
        done.store(true, Ordering::Relaxed);
        println!("{} tasks created meanwhile", writer.join().unwrap());
    });
}
