//! Tasks whose input is made of the results of others.

use std::slice::from_ref;
use std::sync::Arc;

use wavetask_core::{Command, Effect, Refusal, Template};
use wavetask_protocol::native::InputSlot;
use wavetask_protocol::{ErrorKind, Estimate, KeyId, TaskId, TaskState};

use super::TaskCheck;
use super::fixture::{Fixture, SOLVER, document, error};
use crate::error::{ApplyError, StoreError};
use crate::model::{DocumentRole, StoredDocument};
use crate::task_store::TaskStore;

pub(super) const CHECKS: &[TaskCheck] = &[
    ("a template is resolved when its inputs are there", a_template_is_resolved),
    ("a resolved input that is solved already is not solved again", a_known_result_is_taken),
    ("a template that cannot be resolved fails", a_refused_resolution),
    ("a failed reference fails its users, and retry resumes them", failure_and_retry),
    ("what a held task refers to is not deleted", held_users),
    ("a template refers to dependencies only", dependencies_only),
];

const ESTIMATE: Estimate = Estimate { unknowns: 7, memory_bytes: 1_000, cpu_seconds: 0.1 };

fn template(task: &TaskId, text: &StoredDocument) -> Template {
    let slot = InputSlot { path: "medium/permittivity".to_owned(), task: task.clone(), output: 0 };
    Template { document: text.digest, slots: vec![slot], cache: true }
}

/// A submitted task whose input is made of the result of another, and its template's document.
fn referring(fixture: &Fixture, name: &str, to: &TaskId) -> (TaskId, StoredDocument) {
    let (task, text) = held(fixture, name, to);
    fixture.apply(&task, &Command::Submit { priority: 0 });
    (task, text)
}

/// As [`referring`], before it is submitted.
fn held(fixture: &Fixture, name: &str, to: &TaskId) -> (TaskId, StoredDocument) {
    let mut task = fixture.new_task(name);
    task.dependencies.push(to.clone());
    let task = fixture.create(task).task.id;
    fixture.apply(&task, &Command::StartValidation);
    let text = document(&format!("template of {name}"), &[]);
    let command = Command::AcceptTemplate { template: template(to, &text), references: Vec::new() };
    let accepted = fixture.store.apply_with_document(&task, &command, &text, fixture.now());
    assert_eq!(accepted.expect("a template can be accepted").record.state, TaskState::Validated);
    (task, text)
}

fn unresolved(fixture: &Fixture) -> Vec<TaskId> {
    let tasks = fixture.store.unresolved_tasks(10).expect("no error");
    tasks.into_iter().map(|record| record.task.id).collect()
}

fn resolve(fixture: &Fixture, task: &TaskId, text: &str) -> StoredDocument {
    let input = document(text, &[]);
    let command = Command::Resolve { estimate: ESTIMATE, input: input.digest };
    let resolved = fixture.store.apply_with_document(task, &command, &input, fixture.now());
    assert!(resolved.expect("it can be resolved").record.is_ready());
    input
}

fn a_template_is_resolved(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (first, lease) = fixture.running("first");
    let (second, second_text) = referring(&fixture, "second", &first);
    let (third, _) = referring(&fixture, "third", &second);
    assert_eq!(fixture.lease_any(), None, "there is no result yet that they could be made of");
    assert!(unresolved(&fixture).is_empty());
    fixture.has_document(&second, DocumentRole::Template, Some(&second_text));
    let in_use = store.apply(&first, &Command::Delete, fixture.now());
    assert!(
        matches!(&in_use, Err(ApplyError::Refused(Refusal::InUse { users })) if users == from_ref(&second)),
        "{in_use:?}"
    );

    let published = fixture.publish(&first, &lease, &document("1", &[]));
    assert!(published.effects.contains(&(second.clone(), Effect::Resolve)), "{:?}", published.effects);
    assert_eq!(unresolved(&fixture), from_ref(&second));
    assert_eq!(fixture.lease_any(), None, "it has no input yet");

    let input = resolve(&fixture, &second, "resolved");
    assert!(unresolved(&fixture).is_empty());
    fixture.has_document(&second, DocumentRole::Input, Some(&input));
    let again = Command::Resolve { estimate: ESTIMATE, input: input.digest };
    assert!(!fixture.apply(&second, &again).changed, "resolving again changes nothing");
    let (leased, lease) = fixture.lease_any().expect("it can be leased now");
    assert_eq!(leased, second);
    // A lost attempt keeps the input that was made.
    fixture.apply(
        &second,
        &Command::Fail { lease, error: error(ErrorKind::Infrastructure), solver_version: None },
    );
    let (leased, lease) = fixture.lease_any().expect("it is tried again");
    assert_eq!((leased, fixture.record(&second).input), (second.clone(), Some(input.digest)));
    fixture.publish(&second, &lease, &document("2", &[]));
    assert_eq!(unresolved(&fixture), from_ref(&third));

    fixture.apply(&third, &Command::Delete);
    fixture.apply(&second, &Command::Delete);
    assert!(unresolved(&fixture).is_empty());
    assert_eq!(store.unreferenced(&input.blocks).expect("no error"), input.blocks);
}

fn a_known_result_is_taken(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let first = fixture.succeeded("first");
    let (second, _) = referring(&fixture, "second", &first);
    let input = resolve(&fixture, &second, "resolved");
    let unfinished = |owner: &KeyId| -> Vec<TaskId> {
        let found = store.unfinished_tasks(owner, &input.digest, 10).expect("no error");
        found.into_iter().map(|record| record.task.id).collect()
    };
    let owner = fixture.record(&second).task.owner;
    assert_eq!(unfinished(&owner), from_ref(&second));
    let (_, lease) = fixture.lease_any().expect("it can be leased");
    assert_eq!(unfinished(&owner), from_ref(&second));
    assert!(unfinished(&"key-of-a-stranger".parse().expect("it is an id")).is_empty());
    let result = document("2", &[]);
    fixture.publish(&second, &lease, &result);
    assert!(unfinished(&owner).is_empty());

    let (third, _) = referring(&fixture, "third", &first);
    let solved = |input: &StoredDocument| Command::ResolveSolved {
        estimate: ESTIMATE,
        input: input.digest,
        result: Some(result.digest),
        solver_version: SOLVER.to_owned(),
    };
    let unknown = store.apply(&third, &solved(&document("another", &[])), fixture.now());
    assert!(matches!(unknown, Err(ApplyError::Store(StoreError::NotFound("document")))), "{unknown:?}");
    assert_eq!(unresolved(&fixture), from_ref(&third), "what fails changes nothing");
    assert_eq!(fixture.apply(&third, &solved(&input)).record.state, TaskState::Success);
    fixture.apply(&second, &Command::Delete);
    fixture.has_document(&third, DocumentRole::Input, Some(&input));
    fixture.has_document(&third, DocumentRole::Result, Some(&result));
}

fn a_refused_resolution(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let first = fixture.succeeded("first");
    let (second, _) = referring(&fixture, "second", &first);
    let (third, _) = referring(&fixture, "third", &second);
    let refuse = Command::RefuseResolution { error: error(ErrorKind::Validation), solver_version: None };
    assert_eq!(fixture.apply(&second, &refuse).record.state, TaskState::Error);
    assert!(!fixture.apply(&second, &refuse).changed);
    let record = fixture.record(&third);
    assert_eq!(record.error.map(|error| error.kind), Some(ErrorKind::Dependency));
    assert!(unresolved(&fixture).is_empty());
}

fn failure_and_retry(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (first, lease) = fixture.running("first");
    let (second, _) = referring(&fixture, "second", &first);
    let (third, _) = referring(&fixture, "third", &second);
    fixture.apply(&first, &Command::Fail { lease, error: error(ErrorKind::Solver), solver_version: None });
    for task in [&second, &third] {
        let found = fixture.record(task).error.expect("it failed");
        assert_eq!(found.kind, ErrorKind::Dependency, "{}", found.message);
        assert!(found.message.contains("because a test wanted so"), "the cause is told: {}", found.message);
    }
    fixture.apply(&first, &Command::Retry);
    assert_eq!(fixture.record(&third).waiting_for, from_ref(&second));
    let (_, lease) = fixture.lease_any().expect("the first is run again");
    fixture.publish(&first, &lease, &document("1", &[]));
    let input = resolve(&fixture, &second, "resolved");

    // What was made of earlier results goes when the task itself is run again.
    fixture.apply(&second, &Command::Abort);
    assert_eq!(fixture.state(&third), TaskState::Error);
    let retried = fixture.apply(&second, &Command::Retry);
    assert!(retried.effects.contains(&(second.clone(), Effect::Resolve)), "{:?}", retried.effects);
    fixture.has_document(&second, DocumentRole::Input, None);
    assert_eq!(store.unreferenced(&input.blocks).expect("no error"), input.blocks);
    assert_eq!(unresolved(&fixture), from_ref(&second));
    assert_eq!(fixture.record(&third).waiting_for, from_ref(&second));
}

fn held_users(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let first = fixture.succeeded("first");
    let (second, _) = held(&fixture, "second", &first);
    let refused = store.apply(&first, &Command::Delete, fixture.now());
    assert!(
        matches!(&refused, Err(ApplyError::Refused(Refusal::InUse { users })) if users == from_ref(&second)),
        "{refused:?}"
    );
    fixture.apply(&second, &Command::Delete);
    assert_eq!(fixture.apply(&first, &Command::Delete).record.state, TaskState::Deleted);
}

fn dependencies_only(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (first, later) = (fixture.draft("first"), fixture.draft("later"));
    fixture.apply(&first, &Command::StartValidation);
    let text = document("template", &[]);
    for referred in [&first, &later] {
        let command = Command::AcceptTemplate { template: template(referred, &text), references: Vec::new() };
        let refused = store.apply_with_document(&first, &command, &text, fixture.now());
        assert!(
            matches!(refused, Err(ApplyError::Refused(Refusal::NotADependency { .. }))),
            "a circle: {refused:?}"
        );
    }
    fixture.has_document(&first, DocumentRole::Template, None);
}
