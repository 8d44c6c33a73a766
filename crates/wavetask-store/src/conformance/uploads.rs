//! Uploaded files, multipart uploads and callbacks.

use std::sync::Arc;

use wavetask_core::{Command, Refusal};
use wavetask_protocol::{ErrorKind, TaskId, TaskState};

use super::TaskCheck;
use super::fixture::{Fixture, error};
use crate::error::{ApplyError, StoreError};
use crate::model::{MultipartUpload, StagedFile, UploadPart};
use crate::task_store::TaskStore;

pub(super) const CHECKS: &[TaskCheck] =
    &[("files", files), ("multipart uploads", multiparts), ("callbacks", callbacks)];

fn file(fixture: &Fixture, name: &str, token: &str) -> StagedFile {
    StagedFile {
        name: name.to_owned(),
        token: token.to_owned(),
        byte_length: 5_000_000_000,
        tag: format!("tag of {token}"),
        received_at: fixture.now(),
    }
}

fn files(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let task = fixture.draft("one");
    let stage = |file: &StagedFile| store.stage_file(&task, file, fixture.now());
    let first = file(&fixture, "simulation.hdf5.gz", "a");
    assert_eq!(stage(&first).expect("a draft takes files"), None);
    assert_eq!(store.staged_file(&task, "simulation.hdf5.gz").expect("no error"), Some(first));
    let second = file(&fixture, "simulation.hdf5.gz", "b");
    assert_eq!(stage(&second).expect("a draft takes files"), Some("a".to_owned()));
    let other = file(&fixture, "keys.hdf5", "c");
    stage(&other).expect("a draft takes files");
    assert_eq!(store.staged_files(&task).expect("no error"), [other, second]);
    let tokens = ["a", "b", "c", "d"].map(str::to_owned);
    assert_eq!(store.unused_tokens(&tokens).expect("no error"), ["a", "d"]);

    fixture.validate(&task, 1);
    stage(&file(&fixture, "simulation.hdf5.gz", "e")).expect("a validated task takes files");
    assert_eq!(fixture.state(&task), TaskState::Draft, "what was validated no longer counts");
    assert_eq!(store.unstage_file(&task, "keys.hdf5").expect("no error"), Some("c".to_owned()));
    assert_eq!(store.unstage_file(&task, "keys.hdf5").expect("no error"), None);
    fixture.validate(&task, 1);
    fixture.apply(&task, &Command::Submit { priority: 0 });
    let late = stage(&file(&fixture, "simulation.hdf5.gz", "f"));
    assert!(matches!(late, Err(ApplyError::Refused(Refusal::NotAllowed { .. }))), "{late:?}");
    fixture.apply(&task, &Command::Delete);
    assert_eq!(store.released_tokens(10).expect("no error"), ["e"]);
    store.forget_released_tokens(&["e".to_owned()]).expect("no error");
    assert_eq!(store.released_tokens(10).expect("no error"), [""; 0]);
    let gone = stage(&file(&fixture, "simulation.hdf5.gz", "g"));
    assert!(matches!(gone, Err(ApplyError::NoSuchTask)), "{gone:?}");
}

fn multiparts(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let task = fixture.draft("one");
    let upload = |id: &str, task: &TaskId| MultipartUpload {
        id: id.to_owned(),
        task: task.clone(),
        name: "simulation.hdf5.gz".to_owned(),
        created_at: fixture.now(),
        expires_at: fixture.now().plus(std::time::Duration::from_secs(60)),
    };
    let part = |number, token: &str| UploadPart {
        number,
        token: token.to_owned(),
        byte_length: 8 << 20,
        tag: format!("tag of {token}"),
    };
    store.multipart_create(&upload("u", &task)).expect("an upload can begin");
    let later = fixture.now().plus(std::time::Duration::from_secs(120));
    let put = |number, token| store.multipart_put_part("u", &part(number, token), later).expect("no error");
    assert_eq!(put(2, "p2"), None);
    assert_eq!(put(1, "p1"), None);
    assert_eq!(put(2, "p2 again"), Some("p2".to_owned()));
    assert_eq!(store.multipart_parts("u").expect("no error"), [part(1, "p1"), part(2, "p2 again")]);
    assert_eq!(store.multipart("u").expect("no error").map(|upload| upload.expires_at), Some(later));
    store.stage_file(&task, &file(&fixture, "simulation.hdf5.gz", "old"), fixture.now()).expect("no error");
    let whole = file(&fixture, "simulation.hdf5.gz", "whole");
    let tokens = store.multipart_complete("u", &whole, fixture.now()).expect("an upload can end");
    assert_eq!(tokens, ["p1", "p2 again", "old"]);
    assert_eq!(store.staged_file(&task, "simulation.hdf5.gz").expect("no error"), Some(whole.clone()));
    assert_eq!(store.multipart("u").expect("no error"), None);
    let again = store.multipart_complete("u", &whole, fixture.now());
    assert!(matches!(again, Err(ApplyError::Store(StoreError::NotFound(_)))), "{again:?}");
    let orphan = store.multipart_put_part("u", &part(3, "p3"), later);
    assert!(matches!(orphan, Err(StoreError::NotFound(_))), "{orphan:?}");

    store.multipart_create(&upload("v", &task)).expect("an upload can begin");
    store.multipart_put_part("v", &part(1, "q1"), fixture.now()).expect("no error");
    assert_eq!(store.expired_multiparts(fixture.now()).expect("no error"), []);
    fixture.pass(60_000);
    let expired = store.expired_multiparts(fixture.now()).expect("no error");
    assert_eq!(expired.len(), 1);
    assert_eq!(store.multipart_abort("v").expect("no error"), ["q1"]);
    assert_eq!(store.multipart_abort("v").expect("no error"), [""; 0]);

    store.multipart_create(&upload("w", &task)).expect("an upload can begin");
    store.multipart_put_part("w", &part(1, "r1"), later).expect("no error");
    fixture.apply(&task, &Command::Delete);
    let mut released = store.released_tokens(10).expect("no error");
    released.sort_unstable();
    assert_eq!(released, ["r1", "whole"]);
    let begun = store.multipart_create(&upload("x", &task));
    assert!(matches!(begun, Err(StoreError::NotFound("task"))), "{begun:?}");
}

fn callbacks(store: &Arc<dyn TaskStore>) {
    let fixture = Fixture::new(store);
    let mut task = fixture.new_task("one");
    task.callback = Some("https://example.org/done".to_owned());
    let task = fixture.queue_task(task, 1);
    let (_, lease) = fixture.lease_any().expect("it can be leased");
    let due = || store.callbacks_due(fixture.now(), 10).expect("no error");
    assert_eq!(due(), []);
    fixture.apply(&task, &Command::Fail { lease, error: error(ErrorKind::Solver) });
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
