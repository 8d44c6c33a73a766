//! Batches, and several changes in one transaction.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use wavetask_core::{Command, Refusal};
use wavetask_protocol::{Estimate, TaskId, TaskState};

use super::TaskCheck;
use super::fixture::{Fixture, document};
use crate::batch::{BatchFilter, BatchMember, Comparison, MemberUpdate, ParameterCondition};
use crate::error::ApplyError;
use crate::model::{EventListener, LoggedEvent, TaskFilter, TaskRequest};
use crate::operation::{Done, Operation};
use crate::task_store::TaskStore;

pub(super) const CHECKS: &[TaskCheck] = &[
    ("many operations at once", many_operations),
    ("operations that are refused", refused_operations),
    ("keys that are released", released_keys),
    ("batches are filled in parts", parts),
    ("late parts of a submission", late_parts),
    ("deleted tasks leave batches", deleted_tasks_leave),
    ("batches of other accounts", other_accounts),
    ("searches by tag and parameter", searches),
];

impl Fixture {
    fn update(&self, name: &str, submission: &str, members: &[(&str, &TaskId)]) -> MemberUpdate {
        let members = (0..).zip(members).map(|(position, (key, task))| BatchMember {
            key: (*key).to_owned(),
            position,
            task: (*task).clone(),
            parameters: BTreeMap::new(),
        });
        MemberUpdate {
            owner: self.owner.clone(),
            batch: format!("batch-{:08}", self.number()).parse().expect("an id"),
            name: name.to_owned(),
            tags: Vec::new(),
            submission: submission.to_owned(),
            members: members.collect(),
            complete: false,
        }
    }

    fn transact(&self, operations: &[Operation]) -> Vec<Result<Done, ApplyError>> {
        self.store.transact(operations, self.now()).expect("the store works")
    }

    /// Keys of the members that were left out.
    fn set(&self, update: MemberUpdate) -> Vec<String> {
        match self.transact(&[Operation::SetMembers(update)]).pop() {
            Some(Ok(Done::Members { left_out, .. })) => left_out,
            other => panic!("members can be set: {other:?}"),
        }
    }

    fn keys(&self, batch: &str) -> Vec<String> {
        let members = self.store.batch_members(&self.owner, batch, None, 1000).expect("no error");
        for (member, task) in &members {
            assert_eq!(member.task, *task.id());
        }
        members.into_iter().map(|(member, _)| member.key).collect()
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<LoggedEvent>>);

impl EventListener for Recorder {
    fn committed(&self, events: &[LoggedEvent]) {
        self.0.lock().expect("no panic").extend_from_slice(events);
    }
}

/// From nothing to queued, three hundred tasks and their batch in one call.
fn many_operations(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let recorder = Arc::new(Recorder::default());
    let listener: Arc<dyn EventListener> = recorder.clone();
    store.subscribe(&listener);
    let mut operations = Vec::new();
    let mut members = Vec::new();
    for number in 0..300 {
        let task = fixture.new_task(&format!("member {number}"));
        let id = task.id.clone();
        let input = document(id.as_str(), &[]);
        let command = Command::AcceptUpload { estimate: Estimate::default(), input: input.digest };
        let apply = |command, document| Operation::Apply { task: id.clone(), command, document };
        let idempotency_key = Some(format!("key {number}"));
        operations.push(Operation::Create(TaskRequest { task, idempotency_key }));
        operations.push(apply(Command::StartValidation, None));
        operations.push(apply(command, Some(input)));
        operations.push(apply(Command::Submit { priority: 1 }, None));
        members.push((format!("{number}"), id));
    }
    let named: Vec<_> = members.iter().map(|(key, task)| (key.as_str(), task)).collect();
    let update = MemberUpdate { complete: true, ..fixture.update("scan", "first", &named) };
    operations.push(Operation::SetMembers(update));
    let answers = fixture.transact(&operations);
    assert_eq!(answers.len(), operations.len());
    for answer in &answers {
        assert!(!matches!(answer, Ok(Done::Task(applied)) if !applied.changed), "{answer:?}");
        assert!(answer.is_ok(), "{answer:?}");
    }
    let batch = store.batch_by_name(&fixture.owner, "scan").expect("no error").expect("it is there");
    assert!(batch.complete);
    assert_eq!((batch.members, batch.states), (300, BTreeMap::from([(TaskState::Queued, 300)])));
    let stored = store.events_after(0, None, usize::MAX).expect("no error");
    assert_eq!(stored.len(), 4 * 300);
    assert_eq!(*recorder.0.lock().expect("no panic"), stored, "what is told is what is stored");

    // Once more: the same tasks, found by their keys, and nothing happens to them.
    let repeated: Vec<Operation> = (0..300)
        .map(|number| {
            let idempotency_key = Some(format!("key {number}"));
            Operation::Create(TaskRequest { task: fixture.new_task("another name"), idempotency_key })
        })
        .collect();
    for (answer, (_, task)) in fixture.transact(&repeated).into_iter().zip(&members) {
        let applied = answer.expect("it is known").into_task().expect("it is about a task");
        assert!(!applied.changed && applied.record.id() == task, "{applied:?}");
    }
    let keys: Vec<String> = (0..400).map(|number| format!("key {number}")).collect();
    let known = store.tasks_by_idempotency(&fixture.owner, &keys).expect("no error");
    assert_eq!(known.len(), 300);
    assert_eq!(known["key 7"].id(), &members[7].1);
}

/// What is refused leaves nothing behind, and the others stand.
fn refused_operations(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (good, other) = (fixture.new_task("good"), fixture.new_task("other"));
    let (good_id, other_id) = (good.id.clone(), other.id.clone());
    let (right, wrong) = (document("right", &[]), document("wrong", &[]));
    let accept = Command::AcceptUpload { estimate: Estimate::default(), input: right.digest };
    let mut foreign = fixture.new_task("foreign folder");
    foreign.folder = "folder-none".parse().expect("an id");
    let apply = |task: &TaskId, command: &Command, document| Operation::Apply {
        task: task.clone(),
        command: command.clone(),
        document,
    };
    let keyed =
        |task, key: &str| Operation::Create(TaskRequest { task, idempotency_key: Some(key.to_owned()) });
    let again = fixture.new_task("again");
    let again_id = again.id.clone();
    let answers = fixture.transact(&[
        keyed(good, "a"),
        keyed(other, "b"),
        Operation::Create(Fixture::request(foreign)),
        apply(&good_id, &Command::StartValidation, None),
        apply(&good_id, &accept, Some(wrong.clone())),
        apply(&good_id, &accept, Some(right.clone())),
        apply(&other_id, &Command::Submit { priority: 0 }, None),
        keyed(again, "a"),
        apply(&again_id, &Command::StartValidation, None),
        apply(&good_id, &Command::Submit { priority: 0 }, None),
    ]);
    let went: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(went, [true, true, false, true, false, true, false, true, false, true], "{answers:?}");
    assert!(matches!(answers[6], Err(ApplyError::Refused(Refusal::NotAllowed { .. }))), "{answers:?}");
    assert!(matches!(answers[8], Err(ApplyError::NoSuchTask)), "{answers:?}");
    assert_eq!(fixture.state(&good_id), TaskState::Queued);
    assert_eq!(fixture.state(&other_id), TaskState::Draft);
    assert_eq!(store.unreferenced(&wrong.blocks).expect("no error"), wrong.blocks);
    let states: Vec<_> =
        store.events_of(&good_id).expect("no error").iter().map(|event| event.state).collect();
    assert_eq!(states, [TaskState::Draft, TaskState::Validating, TaskState::Validated, TaskState::Queued]);
    // Numbers have no gaps although something was undone in between.
    let all = store.events_after(0, None, 100).expect("no error");
    assert!((1..).zip(&all).all(|(number, event)| event.sequence == number), "{all:?}");
}

/// A key that was taken from its task makes another one.
fn released_keys(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let keyed = |task| Operation::Create(TaskRequest { task, idempotency_key: Some("key".to_owned()) });
    let (first, second) = (fixture.new_task("first"), fixture.new_task("second"));
    let (first_id, second_id) = (first.id.clone(), second.id.clone());
    fixture.transact(&[keyed(first)]);
    let nobody: TaskId = "task-nobody".parse().expect("an id");
    let answers = fixture.transact(&[
        Operation::ReleaseKey { task: nobody },
        Operation::ReleaseKey { task: first_id.clone() },
        keyed(second),
        // Once more, by somebody who is late: only the task that is named loses its key.
        Operation::ReleaseKey { task: first_id.clone() },
    ]);
    assert!(matches!(answers[0], Err(ApplyError::NoSuchTask)), "{answers:?}");
    let known = store.tasks_by_idempotency(&fixture.owner, &["key".to_owned()]).expect("no error");
    assert_eq!(known["key"].id(), &second_id);
    assert_eq!(fixture.state(&first_id), TaskState::Draft, "the first stays as it is");
}

fn parts(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let tasks: Vec<TaskId> = (0..6).map(|number| fixture.draft(&format!("{number}"))).collect();
    assert_eq!(fixture.set(fixture.update("scan", "1", &[("b", &tasks[1]), ("a", &tasks[0])])), [""; 0]);
    let first = store.batch_by_name(&fixture.owner, "scan").expect("no error").expect("it is there");
    assert!(!first.complete);
    let complete = MemberUpdate { complete: true, ..fixture.update("scan", "1", &[("c", &tasks[2])]) };
    fixture.set(complete.clone());
    fixture.set(complete);
    let second = store.batch_by_name(&fixture.owner, "scan").expect("no error").expect("it is there");
    assert_eq!((second.complete, second.members, second.id), (true, 3, first.id));
    // `c` was the first of its part: equal positions are told apart by their keys.
    assert_eq!(fixture.keys("scan"), ["b", "c", "a"]);
    let page = store.batch_members(&fixture.owner, "scan", Some(&(0, "b".to_owned())), 1).expect("no error");
    assert_eq!(page.iter().map(|(member, _)| member.key.as_str()).collect::<Vec<_>>(), ["c"]);

    // A second submission takes the place of the first when it is complete, and no earlier.
    fixture.pass(5);
    fixture.set(fixture.update("scan", "2", &[("a", &tasks[3]), ("d", &tasks[4])]));
    assert_eq!(fixture.keys("scan").len(), 4);
    let third = store.batch_by_name(&fixture.owner, "scan").expect("no error").expect("it is there");
    assert!(!third.complete, "a submission is under way");
    fixture.set(MemberUpdate { complete: true, ..fixture.update("scan", "2", &[]) });
    assert_eq!(fixture.keys("scan"), ["a", "d"]);
    assert_eq!(fixture.state(&tasks[1]), TaskState::Draft, "tasks that leave a batch stay");
    fixture.pass(5);
    fixture.set(fixture.update("younger", "1", &[("x", &tasks[5])]));
    let listed = |filter: BatchFilter, limit| {
        let batches = store.batches(&fixture.owner, &filter, limit).expect("no error");
        batches.into_iter().map(|batch| batch.name).collect::<Vec<_>>()
    };
    let names =
        |tag: Option<&str>| listed(BatchFilter { tag: tag.map(str::to_owned), ..BatchFilter::default() }, 10);
    assert_eq!(names(None), ["younger", "scan"]);
    assert_eq!(listed(BatchFilter::default(), 1), ["younger"]);
    let behind = |name: &str| BatchFilter { after: Some(name.to_owned()), ..BatchFilter::default() };
    assert_eq!(listed(behind("younger"), 10), ["scan"]);
    assert_eq!(listed(behind("scan"), 10), [""; 0]);
    assert_eq!(listed(behind("not there"), 10), [""; 0]);
    let tags = vec!["paper".to_owned(), "draft".to_owned(), "paper".to_owned()];
    fixture.set(MemberUpdate { tags, ..fixture.update("scan", "3", &[]) });
    assert_eq!(names(Some("paper")), ["scan"]);
    assert_eq!(names(Some("pap")), [""; 0]);
    let without = |tag: &str| BatchFilter { without_tag: Some(tag.to_owned()), ..BatchFilter::default() };
    assert_eq!(listed(without("paper"), 10), ["younger"]);
    assert_eq!(listed(without("pap"), 10), ["younger", "scan"]);
    let batch = store.batch_by_name(&fixture.owner, "scan").expect("no error").expect("it is there");
    assert_eq!(batch.tags, ["draft", "paper"]);
}

fn late_parts(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let tasks: Vec<TaskId> = (0..4).map(|number| fixture.draft(&format!("{number}"))).collect();
    let first = fixture.update("scan", "first", &[("a", &tasks[0]), ("b", &tasks[1])]);
    fixture.set(first.clone());
    fixture.set(MemberUpdate { complete: true, ..fixture.update("scan", "second", &[("a", &tasks[2])]) });
    assert_eq!(fixture.keys("scan"), ["a"]);
    // A part of the first comes again, and its end too: the second began later, and was complete.
    fixture.set(MemberUpdate { complete: true, ..first });
    assert_eq!(fixture.keys("scan"), ["a"]);
    let members = store.batch_members(&fixture.owner, "scan", None, 10).expect("no error");
    assert_eq!(members[0].0.task, tasks[2]);
}

fn deleted_tasks_leave(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (first, second) = (fixture.draft("first"), fixture.draft("second"));
    let update = fixture.update("scan", "1", &[("a", &first), ("b", &second)]);
    fixture.set(MemberUpdate { complete: true, tags: vec!["paper".to_owned()], ..update });
    fixture.apply(&first, &Command::Delete);
    assert_eq!(fixture.keys("scan"), ["b"]);
    assert_eq!(fixture.set(fixture.update("scan", "2", &[("a", &first)])), ["a"], "it is deleted");
    fixture.set(MemberUpdate { complete: true, ..fixture.update("scan", "2", &[("b", &second)]) });
    fixture.apply(&second, &Command::Delete);
    assert_eq!(store.batches(&fixture.owner, &BatchFilter::default(), 10).expect("no error"), []);
}

fn other_accounts(store: &Arc<dyn TaskStore>) {
    let ada = Fixture::new(store);
    let bob = ada.other_account();
    let (hers, his) = (ada.draft("hers"), bob.draft("his"));
    assert_eq!(ada.set(ada.update("scan", "1", &[("hers", &hers), ("his", &his)])), ["his"]);
    assert_eq!(bob.set(bob.update("scan", "1", &[("his", &his)])), [""; 0]);
    assert_eq!((ada.keys("scan"), bob.keys("scan")), (vec!["hers".to_owned()], vec!["his".to_owned()]));
    let key = |fixture: &Fixture| {
        store.batch_by_name(&fixture.owner, "scan").expect("no error").map(|batch| batch.id)
    };
    assert_ne!(key(&ada), key(&bob));
    bob.apply(&his, &Command::Delete);
    assert_eq!(ada.keys("scan"), ["hers"]);
}

fn searches(store: &Arc<dyn TaskStore>) {
    let ada = Fixture::new(store);
    let bob = ada.other_account();
    let parameters = [
        ("small", json!({"current": 0.004, "width": 1, "shape": "ring", "heated": true})),
        ("middle", json!({"current": 4, "width": 2, "shape": "disk", "heated": false})),
        ("big", json!({"current": 40, "width": 2, "shape": "5", "heated": true, "list": [1, 2]})),
        ("odd", json!({"current": "4", "shape": null})),
    ];
    let fill = |fixture: &Fixture, name: &str, tag: &str| {
        let mut update = fixture.update(name, "1", &[]);
        update.tags = vec![tag.to_owned()];
        update.complete = true;
        for (position, (key, values)) in (0..).zip(&parameters) {
            fixture.pass(1);
            let parameters: BTreeMap<String, Value> =
                serde_json::from_value(values.clone()).expect("an object");
            let task = fixture.draft(key);
            update.members.push(BatchMember { key: (*key).to_owned(), position, task, parameters });
        }
        fixture.set(update.clone());
        update
    };
    let update = fill(&ada, "scan", "paper");
    fill(&ada, "other", "talk");
    fill(&bob, "scan", "paper");
    let members = store.batch_members(&ada.owner, "scan", None, 10).expect("no error");
    let stored: Vec<BatchMember> = members.into_iter().map(|(member, _)| member).collect();
    assert_eq!(stored, update.members, "parameters come back as they went");

    let find = |change: &dyn Fn(&mut TaskFilter)| {
        let mut filter = TaskFilter { owner: Some(ada.owner.clone()), ..TaskFilter::default() };
        filter.batch = Some("scan".to_owned());
        change(&mut filter);
        let page = store.list_tasks(&filter, None, 100).expect("no error");
        let mut names: Vec<String> = page.tasks.into_iter().map(|task| task.task.name).collect();
        names.reverse();
        names
    };
    let by = |name: &str, operator, value: Value| {
        find(&|filter| {
            let name = name.to_owned();
            filter.parameters = vec![ParameterCondition { name, operator, value: value.clone() }];
        })
    };
    assert_eq!(find(&|_| {}), ["small", "middle", "big", "odd"]);
    let without = |tag: &str| find(&|filter| filter.without_tag = Some(tag.to_owned()));
    assert_eq!(without("paper"), [""; 0]);
    assert_eq!(without("talk"), ["small", "middle", "big", "odd"]);
    assert_eq!(by("current", Comparison::GreaterOrEqual, json!(4)), ["middle", "big"]);
    assert_eq!(by("current", Comparison::Equal, json!(4.0)), ["middle"]);
    assert_eq!(by("current", Comparison::Less, json!(4)), ["small"]);
    assert_eq!(by("current", Comparison::LessOrEqual, json!(4)), ["small", "middle"]);
    assert_eq!(by("current", Comparison::NotEqual, json!(4)), ["small", "big"]);
    assert_eq!(by("current", Comparison::Equal, json!("4")), ["odd"]);
    assert_eq!(by("shape", Comparison::Greater, json!("disk")), ["small"]);
    assert_eq!(by("shape", Comparison::Less, json!("e")), ["middle", "big"]);
    assert_eq!(by("heated", Comparison::Equal, json!(true)), ["small", "big"]);
    assert_eq!(by("heated", Comparison::NotEqual, json!(true)), ["middle"]);
    assert_eq!(by("heated", Comparison::Greater, json!(false)), [""; 0]);
    assert_eq!(by("heated", Comparison::Equal, json!(1)), [""; 0]);
    assert_eq!(by("list", Comparison::Equal, json!([1, 2])), [""; 0]);
    assert_eq!(by("nothing", Comparison::NotEqual, json!(1)), [""; 0]);
    let both = |first: Value, second: Value| {
        find(&|filter| {
            let condition = |name: &str, value: &Value| ParameterCondition {
                name: name.to_owned(),
                operator: Comparison::Equal,
                value: value.clone(),
            };
            filter.parameters = vec![condition("width", &first), condition("heated", &second)];
        })
    };
    assert_eq!(both(json!(2), json!(true)), ["big"]);
    // Without the batch's name: both of Ada's batches, and never Bob's.
    assert_eq!(find(&|filter| filter.batch = None).len(), 8);
    assert_eq!(
        find(&|filter| {
            filter.batch = None;
            filter.tag = Some("talk".to_owned());
        })
        .len(),
        4
    );
    assert_eq!(find(&|filter| filter.tag = Some("talk".to_owned())), [""; 0], "one membership satisfies all");
    let wanted: HashSet<TaskId> = update.members[1..3].iter().map(|member| member.task.clone()).collect();
    let mut only: Vec<TaskId> = wanted.iter().cloned().collect();
    let theirs = store.batch_members(&bob.owner, "scan", None, 1).expect("no error");
    only.push(theirs[0].0.task.clone());
    assert_eq!(find(&|filter| filter.tasks.clone_from(&only)), ["middle", "big"]);
    // Other parameters for the same member: the old ones find it no more.
    let mut later = MemberUpdate { submission: "2".to_owned(), ..update };
    later.members[0].parameters = BTreeMap::from([("current".to_owned(), json!(5))]);
    ada.set(later);
    assert_eq!(by("current", Comparison::Greater, json!(1)), ["small", "middle", "big"]);
    assert_eq!(by("shape", Comparison::Equal, json!("ring")), [""; 0]);
}
