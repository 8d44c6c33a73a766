//! Callbacks.

use std::sync::Arc;

use wavetask_core::Command;
use wavetask_protocol::ErrorKind;

use super::TaskCheck;
use super::fixture::{Fixture, error};
use crate::task_store::TaskStore;

pub(super) const CHECKS: &[TaskCheck] = &[("callbacks", callbacks)];

fn callbacks(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let mut task = fixture.new_task("one");
    task.callback = Some("https://example.org/done".to_owned());
    let task = fixture.queue_task(task, 1);
    let (_, lease) = fixture.lease_any().expect("it can be leased");
    let due = || store.callbacks_due(fixture.now(), 10).expect("no error");
    assert_eq!(due(), []);
    fixture.apply(&task, &Command::Fail { lease, error: error(ErrorKind::Solver), solver_version: None });
    let first = due();
    assert_eq!(first.len(), 1);
    assert_eq!(
        (&first[0].task, first[0].url.as_str(), first[0].tries),
        (&task, "https://example.org/done", 0)
    );
    let later = fixture.now().plus(std::time::Duration::from_secs(30));
    store.callback_failed(first[0].id, later).expect("no error");
    assert_eq!(due(), []);
    fixture.pass(30_000);
    assert_eq!(due()[0].tries, 1);
    store.callback_sent(first[0].id).expect("no error");
    assert_eq!(due(), []);
    assert_eq!(store.statistics().expect("no error").callbacks, 0);
}
