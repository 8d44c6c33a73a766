//! Accounts, folders, and tasks from draft to their end.

use std::slice::from_ref;
use std::sync::{Arc, Mutex, PoisonError};

use wavetask_core::{Command, Event, Refusal};
use wavetask_document::Digest;
use wavetask_protocol::{ErrorKind, Estimate, TaskState};

use super::TaskCheck;
use super::fixture::{Fixture, SOLVER, document, error};
use crate::error::{ApplyError, Conflict, StoreError};
use crate::model::{DocumentRole, EventListener, KeyRole, LoggedEvent, SecretHash, TaskRequest};
use crate::task_store::TaskStore;

pub(super) const CHECKS: &[TaskCheck] = &[
    ("keys", keys),
    ("folders", folders),
    ("creation is idempotent", creation_is_idempotent),
    ("accounts are separate", accounts_are_separate),
    ("a task from draft to success", from_draft_to_success),
    ("documents are attached with the state or not at all", documents_are_atomic),
    ("inputs are resolved", inputs_are_resolved),
    ("failed inputs fail their dependents", failed_inputs),
    ("abort and delete", abort_and_delete),
    ("deleted documents release their blocks", blocks_are_released),
    ("known results are shared", known_results),
    ("events are told in order", events_are_told),
];

fn keys(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let secret = SecretHash::of("ada's secret");
    let key = store.key_by_secret(&secret).expect("keys can be looked up").expect("the key is found");
    assert_eq!((key.name.as_str(), key.role, key.used_at), ("ada", KeyRole::User, None));
    assert_eq!(store.key_by_secret(&SecretHash::of("another")).expect("keys can be looked up"), None);

    let first = fixture.pass(1);
    store.touch_key(&key.id, first).expect("a use can be noted");
    store.touch_key(&key.id, fixture.pass(1_000)).expect("a use can be noted");
    let used_at = store.keys().expect("keys can be listed")[0].used_at;
    assert_eq!(used_at, Some(first), "a use within the minute is not noted again");
    let later = fixture.pass(61_000);
    store.touch_key(&key.id, later).expect("a use can be noted");
    assert_eq!(store.keys().expect("keys can be listed")[0].used_at, Some(later));

    assert!(store.revoke_key(&key.id, fixture.now()).expect("keys can be revoked"));
    assert!(!store.revoke_key(&"key-nobody".parse().expect("an id"), fixture.now()).expect("no error"));
    assert_eq!(store.key_by_secret(&secret).expect("keys can be looked up"), None);
    assert!(store.keys().expect("keys can be listed")[0].revoked_at.is_some());

    assert_eq!(store.setting_or_insert("signing key", b"first").expect("settings work"), b"first");
    assert_eq!(store.setting_or_insert("signing key", b"second").expect("settings work"), b"first");
}

fn folders(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let other = fixture.other_account();
    let id = "folder-scan".parse().expect("an id");
    let made = store.create_folder(&fixture.owner, &id, "scan", fixture.now()).expect("a folder can be made");
    let id_again = "folder-again".parse().expect("an id");
    let again = store.create_folder(&fixture.owner, &id_again, "scan", fixture.pass(5)).expect("it is there");
    assert_eq!(made, again, "a folder of this name is there already");
    assert_eq!(store.folder_by_name(&fixture.owner, "scan").expect("no error"), Some(made.clone()));
    assert_eq!(store.folder_by_name(&other.owner, "scan").expect("no error"), None);
    assert_eq!(store.folder(&other.owner, &made.id).expect("no error"), None);
    let names: Vec<_> =
        store.folders(&fixture.owner).expect("no error").into_iter().map(|folder| folder.name).collect();
    assert_eq!(names, ["default", "scan"]);

    let task = fixture.draft("in default");
    let foreign = store.delete_folder(&other.owner, &fixture.folder, fixture.now());
    assert!(matches!(foreign, Err(StoreError::NotFound("folder"))), "{foreign:?}");
    let deleted = store.delete_folder(&fixture.owner, &fixture.folder, fixture.now()).expect("it is mine");
    assert_eq!(deleted.len(), 1);
    assert_eq!(store.task(&task).expect("no error"), None);
    let request = Fixture::request(fixture.new_task("too late"));
    let late = store.create_task(&request, fixture.now());
    assert!(matches!(late, Err(StoreError::NotFound("folder"))), "{late:?}");
}

fn creation_is_idempotent(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let keyed = |task| TaskRequest { task, idempotency_key: Some("request 1".to_owned()) };
    let first = store.create_task(&keyed(fixture.new_task("a")), fixture.now()).expect("a task can be made");
    let second = store.create_task(&keyed(fixture.new_task("a")), fixture.pass(9)).expect("it is answered");
    assert!(first.is_new && !second.is_new);
    assert_eq!(first.record, second.record);
    let other = store.create_task(&keyed(fixture.new_task("b")), fixture.now());
    assert!(
        matches!(&other, Err(StoreError::Conflict(Conflict::IdempotencyKey { task })) if task == first.record.id()),
        "{other:?}"
    );
    let taken = store.create_task(&Fixture::request(first.record.task.clone()), fixture.now());
    assert!(matches!(taken, Err(StoreError::Conflict(Conflict::TaskId { .. }))), "{taken:?}");
    // Keys of different accounts have nothing to do with each other, and a deleted task frees its key.
    let bob = fixture.other_account();
    assert!(store.create_task(&keyed(bob.new_task("c")), bob.now()).expect("a task can be made").is_new);
    fixture.apply(first.record.id(), &Command::Delete);
    assert!(store.create_task(&keyed(fixture.new_task("b")), fixture.now()).expect("the key is free").is_new);
}

fn accounts_are_separate(store: &Arc<dyn TaskStore>) {
    let ada = Fixture::new(store);
    let bob = ada.other_account();
    let task = ada.draft("ada's");
    assert!(store.task_of(&ada.owner, &task).expect("no error").is_some());
    assert_eq!(store.task_of(&bob.owner, &task).expect("no error"), None);
    let mut dependent = bob.new_task("bob's");
    dependent.dependencies.push(task.clone());
    let refused = store.create_task(&Fixture::request(dependent), bob.now());
    assert!(
        matches!(&refused, Err(StoreError::Conflict(Conflict::Dependency { input })) if *input == task),
        "{refused:?}"
    );
    assert_eq!(store.events_after(0, Some(&bob.owner), 10).expect("no error"), []);
    assert_eq!(store.events_after(0, Some(&ada.owner), 10).expect("no error").len(), 1);
}

fn from_draft_to_success(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let task = fixture.draft("one");
    assert_eq!(fixture.state(&task), TaskState::Draft);
    let early = store.apply(&task, &Command::Submit { priority: 0 }, fixture.now());
    assert!(matches!(early, Err(ApplyError::Refused(Refusal::NotAllowed { .. }))), "{early:?}");
    fixture.validate(&task, 1);
    fixture.has_document(&task, DocumentRole::Input, Some(&document(task.as_str(), &[])));
    assert!(fixture.apply(&task, &Command::Submit { priority: 3 }).changed);
    assert!(
        !fixture.apply(&task, &Command::Submit { priority: 3 }).changed,
        "submitting again changes nothing"
    );
    let (leased, lease) = fixture.lease_any().expect("it can be leased");
    assert_eq!(leased, task);
    assert_eq!(fixture.lease_any(), None, "it is leased once");
    assert_eq!(store.task_by_lease(&lease).expect("no error").map(|task| task.task.id), Some(task.clone()));
    let result = document("the result", &[]);
    fixture.pass(100);
    assert!(fixture.publish(&task, &lease, &result).changed);
    let record = fixture.record(&task);
    assert_eq!((record.state, record.attempt, record.priority), (TaskState::Success, 1, 3));
    assert_eq!(record.finished_at, Some(fixture.now()));
    fixture.has_document(&task, DocumentRole::Result, Some(&result));
    assert_eq!(store.task_by_lease(&lease).expect("no error"), None);
    assert!(store.task_by_any_lease(&lease).expect("no error").is_some());
    let command =
        Command::Publish { lease, result: Some(result.digest), diverged: false, solver_version: None };
    let again = store.apply_with_document(&task, &command, &result, fixture.now()).expect("it is answered");
    assert!(!again.changed, "publishing again changes nothing");

    let events = store.events_of(&task).expect("no error");
    let states: Vec<_> = events.iter().map(|event| event.state.as_str()).collect();
    let expected = ["draft", "validating", "validated", "queued", "running", "publishing", "success"];
    assert_eq!(states, expected);
    assert_eq!(store.latest_sequence().expect("no error"), 7);
}

fn documents_are_atomic(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (task, lease) = fixture.running("one");
    let (right, wrong) = (document("right", &[]), document("wrong", &[]));
    let command = Command::Publish {
        lease: lease.clone(),
        result: Some(right.digest),
        diverged: false,
        solver_version: None,
    };
    let before = store.latest_sequence().expect("no error");
    let refused = store.apply_with_document(&task, &command, &wrong, fixture.now());
    assert!(
        matches!(refused, Err(ApplyError::Store(StoreError::Conflict(Conflict::Document { .. })))),
        "{refused:?}"
    );
    let missing = store.apply(&task, &command, fixture.now());
    assert!(matches!(missing, Err(ApplyError::Store(StoreError::NotFound("document")))), "{missing:?}");
    assert_eq!(fixture.state(&task), TaskState::Running, "what fails changes nothing");
    assert_eq!(store.latest_sequence().expect("no error"), before);
    fixture.has_document(&task, DocumentRole::Result, None);
    assert_eq!(store.unreferenced(&wrong.blocks).expect("no error"), wrong.blocks);
    fixture.publish(&task, &lease, &right);
    assert_eq!(store.unreferenced(&right.blocks).expect("no error"), []);
}

fn inputs_are_resolved(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (first, first_lease) = fixture.running("first");
    let (second, second_lease) = fixture.running("second");
    let mut task = fixture.new_task("third");
    task.dependencies = vec![first.clone(), second.clone()];
    let third = fixture.queue_task(task, 1);
    assert_eq!(fixture.record(&third).waiting_for, [first.clone(), second.clone()]);
    assert_eq!(fixture.lease_any(), None, "its inputs are not there");
    fixture.publish(&first, &first_lease, &document("1", &[]));
    assert_eq!(fixture.lease_any(), None, "one of its inputs is not there");
    let applied = fixture.publish(&second, &second_lease, &document("2", &[]));
    assert!(applied.effects.iter().any(|(task, _)| *task == third), "{:?}", applied.effects);
    assert_eq!(fixture.lease_any().map(|(task, _)| task), Some(third));
    // One whose inputs have all succeeded before it is submitted waits for nothing.
    let mut task = fixture.new_task("fourth");
    task.dependencies = vec![first, second];
    let fourth = fixture.queue_task(task, 1);
    assert!(fixture.record(&fourth).is_ready());
}

fn failed_inputs(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (first, lease) = fixture.running("first");
    let mut previous = first.clone();
    let mut chain = Vec::new();
    for number in 0..50 {
        let mut task = fixture.new_task(&format!("link {number}"));
        task.dependencies = vec![previous];
        previous = fixture.queue_task(task, 1);
        chain.push(previous.clone());
    }
    fixture.apply(&first, &Command::Fail { lease, error: error(ErrorKind::Solver), solver_version: None });
    for task in &chain {
        let record = fixture.record(task);
        assert_eq!(record.state, TaskState::Error);
        assert_eq!(record.error.map(|error| error.kind), Some(ErrorKind::Dependency));
    }
    let late = {
        let mut task = fixture.new_task("late");
        task.dependencies = vec![first.clone()];
        fixture.queue_task(task, 1)
    };
    assert_eq!(fixture.state(&late), TaskState::Error, "its input had failed before it was submitted");

    fixture.apply(&first, &Command::Retry);
    fixture.apply(&chain[0], &Command::Retry);
    assert_eq!(fixture.record(&chain[0]).waiting_for, from_ref(&first));
    let (leased, lease) = fixture.lease_any().expect("the first can run again");
    assert_eq!(leased, first);
    fixture.publish(&first, &lease, &document("1", &[]));
    assert!(fixture.record(&chain[0]).is_ready());
}

fn abort_and_delete(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let queued = fixture.queued("queued");
    assert_eq!(fixture.apply(&queued, &Command::Abort).record.state, TaskState::Aborted);
    assert!(!fixture.apply(&queued, &Command::Abort).changed);
    let (task, lease) = fixture.running("running");
    assert_eq!(fixture.apply(&task, &Command::Abort).record.state, TaskState::Aborting);
    let publishing = store.apply(&task, &Command::BeginPublish { lease: lease.clone() }, fixture.now());
    assert!(matches!(publishing, Err(ApplyError::Refused(Refusal::AbortRequested))), "{publishing:?}");
    let confirm = Command::ConfirmAbort { lease };
    assert_eq!(fixture.apply(&task, &confirm).record.state, TaskState::Aborted);
    assert!(!fixture.apply(&task, &confirm).changed, "confirming again changes nothing");

    let (task, lease) = fixture.running("to be deleted");
    fixture.apply(&task, &Command::Delete);
    assert_eq!(store.task(&task).expect("no error"), None);
    assert!(matches!(store.apply(&task, &Command::Delete, fixture.now()), Err(ApplyError::NoSuchTask)));
    assert_eq!(store.task_by_lease(&lease).expect("no error"), None);
    assert_eq!(store.task_by_any_lease(&lease).expect("no error"), None);
    let events = store.events_of(&task).expect("no error");
    assert_eq!(events.last().map(|event| &event.event), Some(&Event::Deleted), "its history stays");
}

fn blocks_are_released(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let shared = Digest::of(b"shared");
    let (first, first_lease) = fixture.running("first");
    let (second, second_lease) = fixture.running("second");
    fixture.publish(&first, &first_lease, &document("1", &[shared]));
    fixture.publish(&second, &second_lease, &document("2", &[shared]));
    let mine = [Digest::of(b"1"), Digest::of(first.as_str().as_bytes())];
    assert_eq!(store.unreferenced(&mine).expect("no error"), []);
    fixture.apply(&first, &Command::Delete);
    assert_eq!(store.unreferenced(&mine).expect("no error"), mine);
    assert_eq!(store.unreferenced(&[shared]).expect("no error"), [], "the second needs it still");
    let mut released = store.released_blocks(10).expect("no error");
    released.sort_unstable();
    let mut expected = mine.to_vec();
    expected.sort_unstable();
    assert_eq!(released, expected);
    store.forget_released(&released).expect("no error");
    assert_eq!(store.released_blocks(10).expect("no error"), []);
    fixture.apply(&second, &Command::Delete);
    assert_eq!(store.unreferenced(&[shared]).expect("no error"), [shared]);
    assert!(store.released_blocks(10).expect("no error").contains(&shared));
    // A new document needs it again: it is no longer released.
    let (third, third_lease) = fixture.running("third");
    fixture.publish(&third, &third_lease, &document("3", &[shared]));
    assert!(!store.released_blocks(10).expect("no error").contains(&shared));
}

fn known_results(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (first, lease) = fixture.running("first");
    let result = document("the result", &[]);
    fixture.publish(&first, &lease, &result);
    let input = fixture.record(&first).input.expect("it was validated");
    let same_input = |task: &_| {
        fixture.apply(task, &Command::StartValidation);
        let command = Command::AcceptUpload { estimate: Estimate::default(), input };
        let document = document(first.as_str(), &[]);
        store.apply_with_document(task, &command, &document, fixture.now()).expect("it is valid");
    };
    let second = fixture.draft("second");
    same_input(&second);
    let known = store.solved_tasks(&fixture.owner, &input, SOLVER, 10).expect("no error");
    assert_eq!(known.iter().map(|task| task.id()).collect::<Vec<_>>(), [&first]);
    fixture.apply(
        &second,
        &Command::SubmitSolved { result: Some(result.digest), solver_version: Some(SOLVER.to_owned()) },
    );
    assert_eq!(fixture.state(&second), TaskState::Success);
    // The result stays for the second when the first is deleted.
    fixture.apply(&first, &Command::Delete);
    fixture.has_document(&second, DocumentRole::Result, Some(&result));
    // Another account cannot name it, whatever it knows.
    let bob = fixture.other_account();
    let task = bob.draft("bob's");
    bob.apply(&task, &Command::StartValidation);
    let command = Command::AcceptUpload { estimate: Estimate::default(), input };
    store
        .apply_with_document(&task, &command, &document(first.as_str(), &[]), bob.now())
        .expect("it has the document itself");
    assert_eq!(store.solved_tasks(&bob.owner, &input, SOLVER, 10).expect("no error"), []);
    let stolen = store.apply(
        &task,
        &Command::SubmitSolved { result: Some(result.digest), solver_version: Some(SOLVER.to_owned()) },
        bob.now(),
    );
    assert!(matches!(stolen, Err(ApplyError::Store(StoreError::NotFound("document")))), "{stolen:?}");
    // A task without a result document may be solved too.
    bob.apply(&task, &Command::SubmitSolved { result: None, solver_version: None });
    assert_eq!(bob.state(&task), TaskState::Success);
}

#[derive(Default)]
struct Recorder(Mutex<Vec<LoggedEvent>>);

impl EventListener for Recorder {
    fn committed(&self, events: &[LoggedEvent]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(events);
    }
}

fn events_are_told(store: &Arc<dyn TaskStore>) {
    let fixture = Arc::new(Fixture::new(store));
    let recorder = Arc::new(Recorder::default());
    let listener: Arc<dyn EventListener> = recorder.clone();
    store.subscribe(&listener);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let fixture = &fixture;
            scope.spawn(move || {
                for number in 0..10 {
                    let task = fixture.draft(&format!("{thread}/{number}"));
                    fixture.validate(&task, 1);
                    if number % 2 == 0 {
                        fixture.apply(&task, &Command::Abort);
                    }
                }
            });
        }
    });
    let heard = recorder.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let stored = store.events_after(0, None, usize::MAX).expect("no error");
    assert_eq!(heard, stored, "what is told is what is stored, in the same order");
    assert!((1..).zip(&stored).all(|(sequence, event)| event.sequence == sequence), "numbers have no gaps");
    assert_eq!(store.latest_sequence().expect("no error"), stored.len() as u64);
    let page = store.events_after(17, None, 5).expect("no error");
    assert_eq!(page, stored[17..22]);
}
