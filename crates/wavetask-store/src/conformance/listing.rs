//! Lists and counts.

use std::slice::from_ref;
use std::sync::Arc;

use wavetask_core::Command;
use wavetask_protocol::{TaskKind, TaskState};

use super::TaskCheck;
use super::fixture::Fixture;
use crate::model::{Cursor, TaskFilter};
use crate::task_store::TaskStore;

pub(super) const CHECKS: &[TaskCheck] =
    &[("lists in pages", pages), ("filters", filters), ("old tasks", old_tasks), ("statistics", statistics)];

fn pages(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let mut made = Vec::new();
    for number in 0..25 {
        made.push(fixture.draft(&format!("task {number}")));
        // Several are made within the same millisecond: their order must be stable all the same.
        if number % 3 == 0 {
            fixture.pass(1);
        }
    }
    let filter = TaskFilter { owner: Some(fixture.owner.clone()), ..TaskFilter::default() };
    let mut seen = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let page = store.list_tasks(&filter, after.as_ref(), 7).expect("no error");
        assert!(page.tasks.len() <= 7);
        seen.extend(page.tasks.into_iter().map(|task| task.task.id));
        // A task that is made meanwhile is newer than all that follows: it moves nothing.
        fixture.pass(1);
        fixture.draft("made meanwhile");
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    made.reverse();
    assert_eq!(seen, made);
}

fn filters(store: &Arc<dyn TaskStore>) {
    let ada = Fixture::new(store);
    let bob = ada.other_account();
    let first = ada.draft("Heater 1");
    ada.pass(10);
    let middle = ada.now();
    let mut mesh = ada.new_task("heater 2");
    mesh.kind = TaskKind::VolumeMesh;
    let second = ada.create(mesh).task.id;
    ada.pass(10);
    let third = ada.queued("100 % _ waveguide");
    let foreign = bob.draft("heater of bob");
    let deleted = ada.draft("heater 0");
    ada.apply(&deleted, &Command::Delete);

    let list = |change: &dyn Fn(&mut TaskFilter)| {
        let mut filter = TaskFilter { owner: Some(ada.owner.clone()), ..TaskFilter::default() };
        change(&mut filter);
        let page = store.list_tasks(&filter, None, 100).expect("no error");
        page.tasks.into_iter().map(|task| task.task.id).collect::<Vec<_>>()
    };
    assert_eq!(list(&|_| {}), [third.clone(), second.clone(), first.clone()]);
    assert_eq!(list(&|filter| filter.owner = Some(bob.owner.clone())), [foreign]);
    assert_eq!(list(&|filter| filter.owner = None).len(), 4);
    assert_eq!(list(&|filter| filter.folder = Some(bob.folder.clone())).len(), 0);
    assert_eq!(list(&|filter| filter.name_contains = Some("HEATER".to_owned())).len(), 2);
    assert_eq!(list(&|filter| filter.name_contains = Some("% _".to_owned())), from_ref(&third));
    assert_eq!(list(&|filter| filter.kinds = vec![TaskKind::VolumeMesh]), from_ref(&second));
    assert_eq!(list(&|filter| filter.states = vec![TaskState::Queued]), from_ref(&third));
    assert_eq!(list(&|filter| filter.states = vec![TaskState::Deleted]), [deleted]);
    assert_eq!(list(&|filter| filter.created_from = Some(middle)), [third, second]);
    assert_eq!(list(&|filter| filter.created_before = Some(middle)), [first]);
}

fn old_tasks(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let (running, _) = fixture.running("running");
    let old = fixture.succeeded("old");
    let draft = fixture.draft("draft");
    let limit = fixture.pass(1_000);
    let young = fixture.draft("young");
    let delete =
        || store.delete_old(&fixture.owner, &fixture.folder, limit, fixture.now()).expect("no error");
    assert_eq!(delete(), 2);
    assert_eq!(delete(), 0);
    for (task, stays) in [(running, true), (old, false), (draft, false), (young, true)] {
        assert_eq!(store.task(&task).expect("no error").is_some(), stays);
    }
}

fn statistics(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    fixture.succeeded("one");
    let blocked_by = fixture.draft("input");
    let mut task = fixture.new_task("waits");
    task.dependencies = vec![blocked_by];
    fixture.queue_task(task, 1);
    let since = fixture.pass(10);
    fixture.queued("ready");
    let statistics = store.statistics().expect("no error");
    let count = |state: &str| statistics.tasks.get(state).copied().unwrap_or(0);
    assert_eq!((count("success"), count("queued"), count("draft")), (1, 2, 1));
    assert_eq!((statistics.waiting_for_inputs, statistics.oldest_ready_at), (1, Some(since)));
    assert_eq!(statistics.events, store.latest_sequence().expect("no error"));
    assert_eq!((statistics.documents, statistics.blocks), (4, 4));
    assert_eq!(statistics.callbacks, 0);
}
