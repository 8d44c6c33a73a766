//! What an account has, may use and uses; and what is kept of tasks that are gone.

use std::sync::Arc;

use wavetask_core::{Command, Refusal, Timestamp};
use wavetask_document::Digest;
use wavetask_protocol::native::{Quota, Usage};
use wavetask_protocol::{ErrorKind, TaskState};

use super::TaskCheck;
use super::fixture::{Fixture, SOLVER, document, error};
use crate::error::{ApplyError, StoreError};
use crate::task_store::TaskStore;

pub(super) const CHECKS: &[TaskCheck] = &[
    ("arrivals", arrivals),
    ("the weight of arrivals", weights),
    ("possession", possession),
    ("use and quotas", usage),
    ("results of other solvers", solver_versions),
    ("retrying an input", retried_inputs),
    ("tasks in use", tasks_in_use),
    ("forgetting deleted tasks", forgotten),
];

fn arrivals(store: &Arc<dyn TaskStore>) {
    let ada = Fixture::new(store);
    let bob = ada.other_account();
    let [first, second, third] = ["1", "2", "3"].map(|text| Digest::of(text.as_bytes()));
    let noted = ada.now();
    store.note_arrivals(&ada.owner, &weighed(&[first, second]), noted).expect("no error");
    assert_eq!(store.unreferenced(&[first, second, third]).expect("no error"), [third]);
    let later = ada.pass(1000);
    store.note_arrivals(&bob.owner, &weighed(&[first]), later).expect("no error");
    store.note_arrivals(&ada.owner, &weighed(&[third]), later).expect("no error");
    assert_eq!(store.expire_arrivals(noted).expect("no error"), 0, "none is older");
    assert_eq!(store.expire_arrivals(later).expect("no error"), 2);
    assert_eq!(store.possessed(&ada.owner, &[first, second, third]).expect("no error"), [false, false, true]);
    assert_eq!(store.possessed(&bob.owner, &[first, second, third]).expect("no error"), [true, false, false]);
    assert_eq!(store.unreferenced(&[first, second, third]).expect("no error"), [second]);
    assert_eq!(store.released_blocks(10).expect("no error"), [second]);
    // It arrives again: whoever collects garbage has nothing to do with it any more.
    store.note_arrivals(&ada.owner, &weighed(&[second]), later).expect("no error");
    assert_eq!(store.released_blocks(10).expect("no error"), []);
    // An arrival that comes again is as young as the last time.
    let latest = ada.pass(1000);
    store.note_arrivals(&ada.owner, &weighed(&[second]), latest).expect("no error");
    assert_eq!(store.expire_arrivals(latest).expect("no error"), 2);
    assert_eq!(store.possessed(&ada.owner, &[second]).expect("no error"), [true]);
}

/// Arrivals with a length of 10 bytes each.
fn weighed(blocks: &[Digest]) -> Vec<(Digest, u64)> {
    blocks.iter().map(|block| (*block, 10)).collect()
}

/// What has arrived weighs until a document needs it, which weighs itself.
fn weights(store: &Arc<dyn TaskStore>) {
    let ada = Fixture::new(store);
    let bob = ada.other_account();
    let weight = |fixture: &Fixture| store.unneeded_arrivals(&fixture.owner).expect("no error");
    assert_eq!(weight(&ada), 0);
    let task = ada.succeeded("hers");
    let needed = Digest::of(task.as_str().as_bytes());
    let [first, second] = ["1", "2"].map(|text| Digest::of(text.as_bytes()));
    store.note_arrivals(&ada.owner, &weighed(&[first, second, needed]), ada.now()).expect("no error");
    store.note_arrivals(&ada.owner, &weighed(&[second]), ada.now()).expect("no error");
    assert_eq!(weight(&ada), 20, "each once, and not what a document needs");
    store.note_arrivals(&bob.owner, &weighed(&[needed]), ada.now()).expect("no error");
    assert_eq!((weight(&ada), weight(&bob)), (20, 10));
    let later = ada.pass(1000);
    store.expire_arrivals(later).expect("no error");
    assert_eq!((weight(&ada), weight(&bob)), (0, 0));
}

fn possession(store: &Arc<dyn TaskStore>) {
    let ada = Fixture::new(store);
    let bob = ada.other_account();
    let shared = Digest::of(b"shared");
    let task = ada.succeeded("hers");
    let input = Digest::of(task.as_str().as_bytes());
    let result = Digest::of(format!("result of {task}").as_bytes());
    let has =
        |fixture: &Fixture| store.possessed(&fixture.owner, &[input, result, shared]).expect("no error");
    assert_eq!(has(&ada), [true, true, false]);
    assert_eq!(has(&bob), [false, false, false], "nobody sees what another has");
    // The same document in both accounts: each has it by itself, and keeps it when the other's task goes.
    let (hers, her_lease) = ada.running("shared");
    ada.publish(&hers, &her_lease, &document("same", &[shared]));
    assert_eq!((has(&ada)[2], has(&bob)[2]), (true, false));
    let (his, his_lease) = bob.running("shared");
    bob.publish(&his, &his_lease, &document("same", &[shared]));
    assert_eq!((has(&ada)[2], has(&bob)[2]), (true, true));
    ada.apply(&hers, &Command::Delete);
    assert_eq!((has(&ada)[2], has(&bob)[2]), (false, true));
    assert_eq!(store.unreferenced(&[shared]).expect("no error"), []);
    bob.apply(&his, &Command::Delete);
    assert_eq!(store.unreferenced(&[shared]).expect("no error"), [shared]);
}

fn usage(store: &Arc<dyn TaskStore>) {
    let ada = Fixture::new(store);
    let bob = ada.other_account();
    let used = || store.usage(&ada.owner).expect("no error");
    assert_eq!(used(), Usage::default());
    let task = ada.draft("one");
    assert_eq!(used(), Usage { tasks: 1, bytes: 0 });
    ada.validate(&task, 1);
    let length = document(task.as_str(), &[]).body_length + 8;
    assert_eq!(used(), Usage { tasks: 1, bytes: length });
    // The same input once more counts again, for nobody can tell whose it is.
    let twin = ada.draft("two");
    ada.apply(&twin, &Command::StartValidation);
    let input = document(task.as_str(), &[]);
    let command =
        Command::AcceptUpload { estimate: wavetask_protocol::Estimate::default(), input: input.digest };
    store.apply_with_document(&twin, &command, &input, ada.now()).expect("it is valid");
    assert_eq!(used(), Usage { tasks: 2, bytes: 2 * length });
    bob.draft("his");
    assert_eq!(used(), Usage { tasks: 2, bytes: 2 * length });
    ada.apply(&task, &Command::Delete);
    ada.apply(&twin, &Command::Delete);
    assert_eq!(used(), Usage::default());

    let quota = |tasks, bytes| Quota { tasks, bytes };
    assert!(store.set_quota(&ada.owner, quota(Some(10), None)).expect("no error"));
    let of = |fixture: &Fixture| {
        let keys = store.keys().expect("no error");
        keys.into_iter().find(|key| key.id == fixture.owner).expect("it is there").quota
    };
    assert_eq!((of(&ada), of(&bob)), (quota(Some(10), None), Quota::default()));
    assert!(store.set_quota(&ada.owner, quota(None, Some(u64::MAX >> 1))).expect("no error"));
    assert_eq!(of(&ada), quota(None, Some(u64::MAX >> 1)));
    assert!(!store.set_quota(&"key-nobody".parse().expect("an id"), Quota::default()).expect("no error"));
}

fn solver_versions(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let task = fixture.succeeded("one");
    let record = fixture.record(&task);
    assert_eq!(record.solver_version.as_deref(), Some(SOLVER));
    let input = record.input.expect("it was validated");
    let known = |version| store.solved_tasks(&fixture.owner, &input, version, 10).expect("no error").len();
    assert_eq!((known(SOLVER), known("0.9"), known("")), (1, 0, 0));
    // A result without a version is nobody's but its task's.
    let (other, lease) = fixture.running("two");
    let result = document("result", &[]);
    let command =
        Command::Publish { lease, result: Some(result.digest), diverged: false, solver_version: None };
    store.apply_with_document(&other, &command, &result, fixture.now()).expect("it can be published at once");
    let record = fixture.record(&other);
    assert_eq!((record.state, record.solver_version), (TaskState::Success, None));
    let input = record.input.expect("it was validated");
    assert_eq!(store.solved_tasks(&fixture.owner, &input, SOLVER, 10).expect("no error"), []);
}

fn retried_inputs(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (first, lease) = fixture.running("first");
    let (other, other_lease) = fixture.running("other");
    let needs = |name: &str, inputs: &[&wavetask_protocol::TaskId]| {
        let mut task = fixture.new_task(name);
        task.dependencies = inputs.iter().map(|input| (*input).clone()).collect();
        fixture.queue_task(task, 1)
    };
    let second = needs("second", &[&first]);
    let third = needs("third", &[&second]);
    let both = needs("both", &[&first, &other]);
    fixture.apply(&first, &Command::Fail { lease, error: error(ErrorKind::Solver), solver_version: None });
    fixture.apply(
        &other,
        &Command::Fail { lease: other_lease, error: error(ErrorKind::Solver), solver_version: None },
    );
    for task in [&second, &third, &both] {
        assert_eq!(fixture.state(task), TaskState::Error);
    }
    // One that failed by itself is not run again because its input is.
    let applied = fixture.apply(&first, &Command::Retry);
    assert!(applied.effects.iter().any(|(task, _)| *task == third), "{:?}", applied.effects);
    assert_eq!(fixture.record(&second).waiting_for, std::slice::from_ref(&first));
    assert_eq!(fixture.record(&third).waiting_for, std::slice::from_ref(&second));
    assert_eq!(fixture.state(&both), TaskState::Error, "its other input stands failed");
    fixture.apply(&other, &Command::Retry);
    assert_eq!(fixture.record(&both).waiting_for.len(), 2);
    for _ in 0..2 {
        let (task, lease) = fixture.lease_any().expect("the inputs can run");
        fixture.publish(&task, &lease, &document(&format!("result of {task}"), &[]));
    }
    let (task, lease) = fixture.lease_any().expect("the dependents can run");
    assert_eq!(task, second);
    let failed = Command::Fail { lease, error: error(ErrorKind::Solver), solver_version: None };
    fixture.apply(&second, &failed);
    fixture.apply(&third, &Command::Abort);
    assert_eq!(fixture.state(&third), TaskState::Error);
    assert_eq!(fixture.lease_any().map(|(task, _)| task), Some(both));
}

fn tasks_in_use(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let input = fixture.queued("input");
    let mut task = fixture.new_task("user");
    task.dependencies = vec![input.clone()];
    let user = fixture.queue_task(task, 1);
    let refused = store.apply(&input, &Command::Delete, fixture.now());
    assert!(
        matches!(&refused, Err(ApplyError::Refused(Refusal::InUse { users })) if *users == [user.clone()]),
        "{refused:?}"
    );
    assert_eq!(fixture.state(&user), TaskState::Queued);
    fixture.apply(&user, &Command::Abort);
    fixture.apply(&input, &Command::Delete);
    // A folder goes with all that is in it, whoever in it needs whom.
    let input = fixture.queued("input");
    let mut task = fixture.new_task("user");
    task.dependencies = vec![input.clone()];
    let user = fixture.queue_task(task, 1);
    let limit = fixture.pass(10);
    assert_eq!(store.delete_old(&fixture.owner, &fixture.folder, limit, limit).expect("no error"), 3);
    assert!(
        store.task(&user).expect("no error").is_none() && store.task(&input).expect("no error").is_none()
    );
}

fn forgotten(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (gone, stays) = (fixture.succeeded("gone"), fixture.succeeded("stays"));
    fixture.apply(&gone, &Command::Delete);
    let deleted_at = fixture.now();
    let forget = |before: Timestamp| store.prune_events(before, 10).expect("no error");
    fixture.pass(10);
    assert_eq!(forget(deleted_at), 0, "it was deleted no earlier than that");
    let latest = store.latest_sequence().expect("no error");
    assert_eq!(forget(fixture.now()), 0, "the newest event stays");
    fixture.draft("later");
    assert_eq!(forget(fixture.now()), 1);
    assert_eq!(store.events_of(&gone).expect("no error"), []);
    assert!(!store.events_of(&stays).expect("no error").is_empty());
    let asked = store.events_after(3, None, 10);
    assert!(matches!(asked, Err(StoreError::EventsGone { pruned_to }) if pruned_to == latest), "{asked:?}");
    let rest = store.events_after(latest, None, 10).expect("these are all there");
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].sequence, latest + 1, "numbers go on");
}
