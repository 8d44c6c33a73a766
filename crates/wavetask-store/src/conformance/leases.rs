//! Workers: who gets what, and what happens when they fall silent.

use std::collections::BTreeSet;
use std::slice::from_ref;
use std::sync::{Arc, Mutex, PoisonError};

use wavetask_core::schedule::Capacity;
use wavetask_core::{Command, Refusal};
use wavetask_protocol::worker::{Report, SmallTasks, Verdict};
use wavetask_protocol::{ErrorKind, LeaseId, Progress, TaskId, TaskState, WorkerId};

use super::TaskCheck;
use super::fixture::{Fixture, GIGABYTE, document, error};
use crate::error::ApplyError;
use crate::operation::Operation;
use crate::task_store::TaskStore;

pub(super) const CHECKS: &[TaskCheck] = &[
    ("tasks fit their worker", tasks_fit),
    ("small tasks are leased together", small_tasks),
    ("accounts take turns", accounts_take_turns),
    ("heartbeats keep a lease", heartbeats_keep_a_lease),
    ("a lost lease is tried again, and not for ever", lost_leases),
    ("stale reports change nothing", stale_reports),
    ("recovery", recovery),
    ("logs", logs),
    ("many workers take each task once", many_workers),
];

fn worker() -> WorkerId {
    "worker-1".parse().expect("an id")
}

fn report(lease: &LeaseId, percent: f64, first_log_line: u64, lines: &[&str]) -> Report {
    Report {
        lease: lease.clone(),
        progress: Progress { percent, residual: Some(0.1), stage: "solving".to_owned() },
        first_log_line,
        log_lines: lines.iter().map(|&line| line.to_owned()).collect(),
    }
}

fn tasks_fit(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let big = fixture.queue_task(fixture.new_task("big"), 8 * GIGABYTE);
    fixture.pass(1);
    let small = fixture.queue_task(fixture.new_task("small"), GIGABYTE);
    let lease = |capacity: &Capacity| {
        let id = fixture.lease_id();
        let outcome = store.lease_next(&worker(), &id, capacity, fixture.now()).expect("no error");
        outcome.leased.into_iter().next().map(|leased| leased.record.task.id)
    };
    let busy = Capacity::new(2 * GIGABYTE, 9 * GIGABYTE, false);
    assert_eq!(lease(&busy), Some(small));
    assert_eq!(lease(&busy), None);
    let idle = Capacity::new(2 * GIGABYTE, 9 * GIGABYTE, true);
    assert_eq!(lease(&idle), Some(big), "it may run alone");

    let huge = fixture.queue_task(fixture.new_task("huge"), 10 * GIGABYTE);
    let mut first_of_two = idle.clone();
    first_of_two.largest_memory_bytes = 20 * GIGABYTE;
    assert_eq!(lease(&first_of_two), None);
    assert_eq!(fixture.state(&huge), TaskState::Queued, "another worker may hold it");
    assert_eq!(lease(&idle), None);
    let record = fixture.record(&huge);
    assert_eq!(record.error.map(|error| error.kind), Some(ErrorKind::Resources), "no worker can hold it");
}

/// Several at once as long as they are small and it is their turn; a big one comes by itself, or waits.
fn small_tasks(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let bob = fixture.other_account();
    let queue = |fixture: &Fixture, name: &str, memory_bytes| {
        fixture.pass(1);
        let task = fixture.queue_task(fixture.new_task(name), memory_bytes);
        (name.to_owned(), task)
    };
    let mut tasks: Vec<(String, TaskId)> =
        (0..3).map(|number| queue(&fixture, &format!("{number}"), 5)).collect();
    tasks.push(queue(&fixture, "big", 2 * GIGABYTE));
    tasks.extend((4..10).map(|number| queue(&fixture, &format!("{number}"), 5)));
    bob.pass(1000);
    let his = queue(&bob, "his", 5);
    tasks.push(his);
    let capacity = Capacity::new(4 * GIGABYTE, 9 * GIGABYTE, false);
    let ask = |leases: usize, only: bool| {
        let leases: Vec<LeaseId> = (0..leases).map(|_| fixture.lease_id()).collect();
        let small = SmallTasks { count: 99, memory_bytes: 1000, cpu_seconds: 1.0, only };
        let outcome = store.lease_several(&worker(), &leases, &capacity, Some(&small), fixture.now());
        let leased = outcome.expect("no error").leased;
        let name =
            |id: &TaskId| tasks.iter().find(|(_, task)| task == id).expect("it is one of these").0.clone();
        for (leased, lease) in leased.iter().zip(&leases) {
            assert_eq!((leased.record.state, &leased.lease), (TaskState::Running, lease));
        }
        leased.iter().map(|leased| name(leased.record.id())).collect::<Vec<_>>()
    };
    assert_eq!(ask(1, true), ["0"]);
    // Bob has nothing running, so his comes first; then Ada's in order, up to the big one.
    assert_eq!(ask(8, true), ["his", "1", "2"]);
    assert_eq!(ask(8, true), [""; 0], "it is the big one's turn");
    assert_eq!(ask(8, false), ["big"]);
    assert_eq!(ask(3, false), ["4", "5", "6"]);
    assert_eq!(ask(8, true), ["7", "8", "9"]);

    // Lines of a log can come with other changes, under the lease alone.
    let (task, lease) = fixture.running("logged");
    let append = |lease: &LeaseId, first_line| Operation::AppendLog {
        lease: lease.clone(),
        first_line,
        lines: vec!["a line".to_owned()],
    };
    let operations =
        [append(&lease, 0), append(&fixture.lease_id(), 0), append(&lease, 1), append(&lease, 1)];
    let done = store.transact(&operations, fixture.now()).expect("no error");
    assert_eq!(done.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true]);
    assert_eq!(store.read_log(&task, None, 10).expect("no error").lines.len(), 2);
}

fn accounts_take_turns(store: &Arc<dyn TaskStore>) {
    let ada = Fixture::new(store);
    let bob = ada.other_account();
    for number in 0..100 {
        ada.queued(&format!("scan {number}"));
        ada.pass(1);
    }
    bob.pass(1_000);
    let single = bob.queued("single");
    let (first, _) = ada.lease_any().expect("there is work");
    assert_ne!(first, single, "the oldest goes first while nothing runs");
    let (second, _) = ada.lease_any().expect("there is work");
    assert_eq!(second, single, "then the account that has nothing running");
    let urgent = ada.draft("urgent");
    ada.validate(&urgent, 1);
    ada.apply(&urgent, &Command::Submit { priority: 9 });
    assert_eq!(ada.lease_any().map(|(task, _)| task), Some(urgent));
}

fn heartbeats_keep_a_lease(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (task, lease) = fixture.running("one");
    let lost: LeaseId = "lease-of-nobody".parse().expect("an id");
    let events = store.latest_sequence().expect("no error");
    for step in 0..10 {
        fixture.pass(10_000);
        let reports = [report(&lease, f64::from(step), 0, &[]), report(&lost, 0.0, 0, &[])];
        let verdicts = store.heartbeat(&reports, fixture.now()).expect("no error");
        assert_eq!(verdicts, [Verdict::Continue, Verdict::Lost]);
        assert!(store.expire_leases(fixture.now()).expect("no error").is_empty());
    }
    let record = fixture.record(&task);
    assert_eq!(record.progress.map(|progress| progress.percent), Some(9.0));
    assert_eq!(store.latest_sequence().expect("no error"), events, "heartbeats are no events");
    fixture.apply(&task, &Command::Abort);
    let verdicts = store.heartbeat(&[report(&lease, 10.0, 0, &[])], fixture.now()).expect("no error");
    assert_eq!(verdicts, [Verdict::Abort]);
    let end = store.next_expiry().expect("no error").expect("there is a lease");
    assert!(end > fixture.now());
    let ended = store.expire_leases(end).expect("no error");
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].record.state, TaskState::Aborted, "its worker was lost while it was to stop");
    assert_eq!(store.next_expiry().expect("no error"), None);
}

fn lost_leases(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let task = fixture.queued("one");
    let most = wavetask_core::Policy::default().maximum_attempts;
    for attempt in 1..=most {
        let (leased, _) = fixture.lease_any().expect("it can be leased");
        assert_eq!(leased, task);
        assert_eq!(fixture.record(&task).attempt, attempt);
        fixture.pass(3_600_000);
        let ended = store.expire_leases(fixture.now()).expect("no error");
        assert_eq!(ended.len(), 1);
        let expected = if attempt < most { TaskState::Queued } else { TaskState::Error };
        assert_eq!(ended[0].record.state, expected);
    }
    let failed = fixture.record(&task).error.expect("it says why");
    assert_eq!(failed.kind, ErrorKind::Infrastructure);
    fixture.apply(&task, &Command::Retry);
    let (_, lease) = fixture.lease_any().expect("it can be leased again");
    assert_eq!(fixture.record(&task).attempt, most + 1, "attempts are numbered through");
    fixture.apply(&task, &Command::Fail { lease, error: error(ErrorKind::Solver), solver_version: None });
    assert_eq!(fixture.state(&task), TaskState::Error, "an error of the solver is final at once");
}

fn stale_reports(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (task, old) = fixture.running("one");
    fixture.pass(3_600_000);
    store.expire_leases(fixture.now()).expect("no error");
    let (_, new) = fixture.lease_any().expect("it can be leased again");
    for command in [
        Command::BeginPublish { lease: old.clone() },
        Command::Publish { lease: old.clone(), result: None, diverged: false, solver_version: None },
        Command::Fail { lease: old.clone(), error: error(ErrorKind::Solver), solver_version: None },
        Command::Return { lease: old.clone() },
        Command::Heartbeat { lease: old.clone(), progress: None },
    ] {
        let stale = store.apply(&task, &command, fixture.now());
        assert!(
            matches!(stale, Err(ApplyError::Refused(Refusal::LeaseLost { .. }))),
            "{command:?}: {stale:?}"
        );
    }
    assert_eq!(fixture.state(&task), TaskState::Running);
    fixture.publish(&task, &new, &document("result", &[]));
    let stale = store.apply(&task, &Command::BeginPublish { lease: old }, fixture.now());
    assert!(matches!(stale, Err(ApplyError::Refused(Refusal::LeaseLost { .. }))), "{stale:?}");
    let repeated = fixture.apply(&task, &Command::BeginPublish { lease: new });
    assert!(!repeated.changed);
}

fn recovery(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let validating = fixture.draft("validating");
    fixture.apply(&validating, &Command::StartValidation);
    let (running, running_lease) = fixture.running("running");
    let (publishing, lease) = fixture.running("publishing");
    fixture.apply(&publishing, &Command::BeginPublish { lease: lease.clone() });
    let queued = fixture.queued("queued");
    fixture.pass(3_600_000);
    let recovered = store.recover(fixture.now()).expect("no error");
    assert_eq!(recovered.validations, from_ref(&validating));
    assert_eq!(recovered.publications, from_ref(&publishing));
    assert_eq!(recovered.leases, 2);
    assert_eq!(fixture.state(&validating), TaskState::Draft);
    assert_eq!(fixture.state(&queued), TaskState::Queued);
    assert!(
        store.expire_leases(fixture.now()).expect("no error").is_empty(),
        "workers get time to come back"
    );
    fixture.publish(&publishing, &lease, &document("result", &[]));
    let verdicts = store.heartbeat(&[report(&running_lease, 1.0, 0, &[])], fixture.now()).expect("no error");
    assert_eq!(verdicts, [Verdict::Continue]);
    fixture.pass(3_600_000);
    assert_eq!(store.expire_leases(fixture.now()).expect("no error").len(), 1);
    assert_eq!(fixture.state(&running), TaskState::Queued, "one that does not come back is lost");
}

fn logs(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (task, lease) = fixture.running("one");
    let beat = |first, lines: &[&str]| {
        store.heartbeat(&[report(&lease, 1.0, first, lines)], fixture.now()).expect("no error");
    };
    beat(0, &["a", "b"]);
    beat(0, &["a", "b"]);
    beat(1, &["b", "c"]);
    store.append_log(&task, 2, 0, &["second attempt".to_owned()]).expect("no error");
    store.append_log(&task, 1, crate::MAXIMUM_LOG_LINES, &["too many".to_owned()]).expect("no error");
    let page = store.read_log(&task, None, 2).expect("no error");
    let texts: Vec<_> = page.lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!((texts, page.more), (vec!["a", "b"], true));
    let last = page.lines.last().map(|line| (line.attempt, line.number));
    let rest = store.read_log(&task, last, 10).expect("no error");
    let texts: Vec<_> = rest.lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!((texts, rest.more), (vec!["c", "second attempt"], false));
    let long = "é".repeat(crate::MAXIMUM_LOG_LINE);
    store.append_log(&task, 3, 0, &[long]).expect("no error");
    let page = store.read_log(&task, Some((2, 0)), 1).expect("no error");
    assert_eq!(page.lines[0].text.len(), crate::MAXIMUM_LOG_LINE);
    fixture.apply(&task, &Command::Delete);
    assert!(store.read_log(&task, None, 10).expect("no error").lines.is_empty());
}

fn many_workers(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let tasks: BTreeSet<TaskId> = (0..60).map(|number| fixture.queued(&format!("task {number}"))).collect();
    let seen = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some((task, lease)) = fixture.lease_any() {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(task.clone());
                    fixture.publish(&task, &lease, &document(task.as_str(), &[]));
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(seen.len(), tasks.len(), "each was leased once");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), tasks);
    assert!(tasks.iter().all(|task| fixture.state(task) == TaskState::Success));
}
