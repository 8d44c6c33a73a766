//! A process that hammers the store is killed at random moments: what it acknowledged is there, and nothing
//! else contradicts itself.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first fault, as tests do")]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use common::{Account, Numbers};
use wavetask_core::Command;
use wavetask_core::schedule::Capacity;
use wavetask_protocol::{LeaseId, TaskId, TaskState, WorkerId};
use wavetask_store::{BlockStore, DocumentRole, LocalStore, TaskStore, collect_everything, collect_released};

const FOLDER: &str = "WAVETASK_TEST_CRASH_FOLDER";
const ROUND: &str = "WAVETASK_TEST_CRASH_ROUND";
const ROUNDS: u64 = 12;

/// The process that is killed. Its lines are acknowledgements: what they say must be true for ever.
#[test]
fn hammer() {
    let (Ok(folder), Ok(round)) = (std::env::var(FOLDER), std::env::var(ROUND)) else { return };
    let store = LocalStore::open(Path::new(&folder), &common::options()).unwrap();
    store.tasks.recover(common::now()).unwrap();
    let account = Account::new(&store).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (store, account, round) = (&store, &account, &round);
            scope.spawn(move || {
                let mut numbers = Numbers(thread + 1000 * round.parse::<u64>().unwrap());
                for number in 0_u32.. {
                    work(store, account, &format!("{round}-{thread}-{number}"), &mut numbers);
                }
            });
        }
        scope.spawn(|| {
            loop {
                collect_everything(&*store.tasks, &*store.blocks).unwrap();
                collect_released(&*store.tasks, &*store.blocks).unwrap();
            }
        });
    });
}

fn acknowledge(what: &str, task: &TaskId) {
    let line = format!("{what} {task}\n");
    let mut output = std::io::stdout().lock();
    output.write_all(line.as_bytes()).and_then(|()| output.flush()).unwrap();
}

/// The blocks of a task are known from its name, so that another process can tell what they must be.
fn blocks_of(task: &TaskId, role: &str) -> Vec<Vec<u8>> {
    let own = format!("{role} of {task}").into_bytes();
    vec![
        own,
        b"a block that all share".to_vec(),
        vec![u8::try_from(task.as_str().len() % 7).unwrap(); 100_000],
    ]
}

fn work(store: &LocalStore, account: &Account, name: &str, numbers: &mut Numbers) {
    let task = account.create(store, &format!("task-{name}")).unwrap();
    acknowledge("created", &task);
    common::submit(store, &task, &blocks_of(&task, "input")).unwrap();
    acknowledge("submitted", &task);
    let worker: WorkerId = "worker-1".parse().unwrap();
    let lease: LeaseId = format!("lease-{name}").parse().unwrap();
    let capacity = Capacity::new(1 << 30, 1 << 30, true);
    let outcome = store.tasks.lease_next(&worker, &lease, &capacity, common::now()).unwrap();
    let Some(leased) = outcome.leased.into_iter().next() else { return };
    let task = leased.record.task.id;
    match numbers.below(10) {
        0 => return,
        1 => {
            store.tasks.apply(&task, &Command::Return { lease }, common::now()).unwrap();
            return;
        }
        _ => {}
    }
    common::publish(store, &task, &lease, &blocks_of(&task, "result")).unwrap();
    acknowledge("published", &task);
    if numbers.below(4) == 0 {
        store.tasks.apply(&task, &Command::Delete, common::now()).unwrap();
        acknowledge("deleted", &task);
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let folder = common::folder();
    let mut numbers = Numbers(u64::from(std::process::id()));
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        acknowledged.extend(run_and_kill(folder.path(), round, Duration::from_millis(numbers.below(500))));
        check(folder.path(), &acknowledged);
    }
    let published = acknowledged.iter().filter(|line| line.starts_with("published")).count();
    assert!(published >= ROUNDS as usize / 2, "only {published} results were published: this tested little");
    println!("{} acknowledgements in {ROUNDS} processes, {published} of them results", acknowledged.len());
}

fn run_and_kill(folder: &Path, round: u64, after: Duration) -> Vec<String> {
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args(["hammer", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        let tell = |line: &String| {
            if line.contains("published") {
                let _ = tell.send(());
            }
        };
        lines.inspect(tell).collect::<Vec<_>>()
    });
    // Every other process is killed in the middle of its work, the others wherever they are, which may be
    // while they open the store.
    if round.is_multiple_of(2) {
        told.recv_timeout(Duration::from_secs(60)).expect("a result is published within a minute");
    }
    std::thread::sleep(after);
    let ended = child.try_wait().unwrap();
    assert_eq!(ended, None, "the process ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    let lines = reader.join().unwrap();
    let words = ["created", "submitted", "published", "deleted"];
    // The first line may come after the test harness's own words.
    let cut = |line: String| {
        words.iter().find_map(|word| line.find(&format!("{word} task-")).map(|at| line[at..].to_owned()))
    };
    lines.into_iter().filter_map(cut).collect()
}

fn check(folder: &Path, acknowledged: &[String]) {
    let store = LocalStore::open(folder, &common::options()).unwrap();
    assert_eq!(store.tasks.check().unwrap(), [""; 0]);
    let deleted: Vec<&str> = acknowledged.iter().filter_map(|line| line.strip_prefix("deleted ")).collect();
    for line in acknowledged {
        let (what, id) = line.split_once(' ').unwrap();
        let task: TaskId = id.parse().unwrap();
        let record = store.tasks.task(&task).unwrap();
        let last = store.tasks.events_of(&task).unwrap().last().map(|event| event.state);
        if deleted.contains(&id) {
            assert_eq!((record, last), (None, Some(TaskState::Deleted)), "{line}");
            continue;
        }
        // A deletion may have been done and not acknowledged.
        if last == Some(TaskState::Deleted) {
            continue;
        }
        let record = record.unwrap_or_else(|| panic!("lost: {line}"));
        match what {
            "submitted" => assert!(record.submitted_at.is_some(), "lost: {line}"),
            "published" => assert_eq!(record.state, TaskState::Success, "lost: {line}"),
            _ => {}
        }
    }
    // What documents say is there can be read, whether it was acknowledged or not.
    let page = store.tasks.list_tasks(&Default::default(), None, usize::MAX).unwrap();
    for record in &page.tasks {
        let id = record.id();
        for (role, name) in [(DocumentRole::Input, "input"), (DocumentRole::Result, "result")] {
            if let Some(bytes) = common::read(&store, id, role) {
                assert_eq!(bytes, blocks_of(id, name).concat(), "{name} of {id}");
            }
        }
        assert!(record.state != TaskState::Success || record.result.is_some());
    }
    // What is left over can be collected: then there is exactly what documents need.
    collect_everything(&*store.tasks, &*store.blocks).unwrap();
    assert_eq!(store.blocks.usage().unwrap().blocks, store.tasks.statistics().unwrap().blocks);
}
