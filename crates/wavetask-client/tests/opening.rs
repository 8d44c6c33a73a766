//! Coming back to a batch that another process submits: it is killed on the way, or still at it.

#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

#[path = "../../wavetask-server/tests/common/mod.rs"]
mod common;
mod engine_support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::TestServer;
use engine_support::{aside, member, packed, soon, work};
use serde_json::{Value, json};
use wavetask_client::http::{NativeServer, Tuning};
use wavetask_client::{Batch, Client, Phase, Server, Settings, SubmissionOptions};
use wavetask_protocol::TaskState;
use wavetask_protocol::native::{BatchQuery, Member, MemberQuery, TaskFilter};

/// Numbers of an array that is not kept in the journal (4 MB), and of one that is.
const LARGE: usize = 500_000;
const SMALL: usize = 100;

/// Says what the other process does.
const SCRIPT: &str = "WAVETASK_TEST_SCRIPT";

fn client(url: &str, key: &str, data: &Path, bytes_per_second: Option<u64>) -> Client {
    patient(url, key, data, bytes_per_second, Duration::from_secs(60))
}

fn patient(
    url: &str,
    key: &str,
    data: &Path,
    bytes_per_second: Option<u64>,
    abandoned_after: Duration,
) -> Client {
    let tuning = Tuning { upload_bytes_per_second: bytes_per_second, ..Tuning::default() };
    let native = NativeServer::connect(url, key, tuning).unwrap();
    let settings = Settings {
        url: Some(url.to_owned()),
        key: Some(key.to_owned()),
        data: data.to_owned(),
        scope: Some("test".to_owned()),
        abandoned_after,
        ..Settings::default()
    };
    Client::with_server(settings, Arc::new(native)).unwrap()
}

/// What the user's script submits: small simulations, and a large one at the end.
fn submit(client: &Client, name: Option<&str>, small: usize, cache: bool) -> Batch {
    let options = SubmissionOptions {
        name: name.map(str::to_owned),
        cache,
        program: Some("script".to_owned()),
        ..SubmissionOptions::default()
    };
    let submission = client.submit(options).unwrap();
    for index in 0..small {
        submission.push(member(index.to_string()), Ok(packed(1.0 + index as f64, SMALL))).unwrap();
    }
    submission.push(member("large"), Ok(packed(100.0, LARGE))).unwrap();
    submission.finish()
}

#[test]
#[ignore = "this is the other process of the tests in this file"]
fn the_other_process() {
    let script: Value = serde_json::from_str(&std::env::var(SCRIPT).unwrap()).unwrap();
    let text = |name: &str| script[name].as_str().unwrap();
    let client =
        client(text("url"), text("key"), Path::new(text("data")), script["bytes_per_second"].as_u64());
    let small = usize::try_from(script["small"].as_u64().unwrap()).unwrap();
    let batch = submit(&client, script["name"].as_str(), small, script["cache"].as_bool().unwrap());
    batch.wait(soon()).unwrap();
}

/// A process that runs the script, until it is killed or through.
struct Other(Child);

impl Other {
    fn start(server: &TestServer, data: &Path, script: Value) -> Self {
        let mut script = script;
        for (name, value) in
            [("url", server.url.as_str()), ("key", &server.key), ("data", data.to_str().unwrap())]
        {
            script[name] = json!(value);
        }
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "the_other_process"])
            .env(SCRIPT, script.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The members of the batch, as soon as there are so many, the last of them a draft.
async fn uploading(server: &TestServer, count: usize) -> Vec<Member> {
    let native = NativeServer::connect(&server.url, &server.key, Tuning::default()).unwrap();
    let started = Instant::now();
    loop {
        let batches = native.batches(&BatchQuery::default()).await.unwrap().batches;
        if let Some(batch) = batches.first()
            && let Ok(page) = native.members(&batch.name, &MemberQuery::default()).await
            && page.members.len() == count
        {
            let draft = |member: &Member| member.key != "large" || member.task.state == TaskState::Draft;
            assert!(page.members.iter().all(draft), "it was too quick for this test");
            return page.members;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the other process does not get on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every task of the account.
async fn all_tasks(server: &TestServer) -> usize {
    let native = NativeServer::connect(&server.url, &server.key, Tuning::default()).unwrap();
    native.list(&TaskFilter::default()).await.unwrap().tasks.len()
}

/// Killed while it uploads, opened by name, run again: with `cache=False`, too, everything is computed once.
#[tokio::test(flavor = "multi_thread")]
async fn a_submission_that_was_cut_off_is_gone_on_with_after_it_was_looked_at() {
    let server = TestServer::start();
    let solved = work(&server);
    let data = tempfile::tempdir().unwrap();
    let script = json!({"name": "scan", "small": 3, "cache": false, "bytes_per_second": 200_000});
    let mut other = Other::start(&server, data.path(), script);
    uploading(&server, 4).await;
    other.kill();

    let looking = client(&server.url, &server.key, data.path(), None);
    aside(move || {
        let batch = looking.open_batch("scan").unwrap();
        batch.wait(soon()).unwrap();
        let counts = BTreeMap::from([(Phase::Done, 3), (Phase::WaitingForData, 1)]);
        assert_eq!(batch.counts(), counts, "what only the script has waits for it");
    })
    .await;

    let again = client(&server.url, &server.key, data.path(), None);
    aside(move || {
        let batch = submit(&again, Some("scan"), 3, false);
        batch.wait(soon()).unwrap();
        assert_eq!(batch.counts(), BTreeMap::from([(Phase::Done, 4)]));
        // That was all of it: what comes now is a new run.
        let anew = submit(&again, Some("scan"), 3, false);
        anew.wait(soon()).unwrap();
        assert_eq!(anew.counts(), BTreeMap::from([(Phase::Done, 4)]));
    })
    .await;
    assert_eq!(all_tasks(&server).await, 8, "two runs of four");
    assert_eq!(solved.load(Ordering::SeqCst), 8, "each solved once");
}

/// A batch that another process uploads is followed to its end, and nothing of it is sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_followed_while_another_process_uploads_it() {
    let server = TestServer::start();
    let solved = work(&server);
    let data = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let script = json!({"name": "scan", "small": 3, "cache": true, "bytes_per_second": 1_000_000});
    let mut other = Other::start(&server, data.path(), script);
    uploading(&server, 4).await;

    let beside = client(&server.url, &server.key, data.path(), None);
    let far = client(&server.url, &server.key, elsewhere.path(), None);
    aside(move || {
        let batches = [&beside, &far].map(|client| client.open_batch("scan").unwrap());
        for batch in &batches {
            assert_eq!(batch.keys().len(), 4);
            let phase = batch.get("large").unwrap().status().phase;
            assert_eq!(phase, Phase::Uploading, "that process is at it");
        }
        for batch in &batches {
            batch.wait(soon()).unwrap();
            assert_eq!(batch.counts(), BTreeMap::from([(Phase::Done, 4)]));
            batch.get("large").unwrap().result(soon()).unwrap();
        }
        assert!(other.0.wait().unwrap().success());
    })
    .await;
    assert_eq!(solved.load(Ordering::SeqCst), 4);
}

/// If that process is killed, what it had not sent waits for its data, here and on other machines.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_while_it_is_followed_is_waited_for_no_more() {
    let server = TestServer::start();
    work(&server);
    let data = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let script = json!({"name": "scan", "small": 2, "cache": true, "bytes_per_second": 100_000});
    let mut other = Other::start(&server, data.path(), script);
    uploading(&server, 3).await;

    let beside = client(&server.url, &server.key, data.path(), None);
    let far = patient(&server.url, &server.key, elsewhere.path(), None, Duration::from_secs(2));
    aside(move || {
        let batches = [&beside, &far].map(|client| client.open_batch("scan").unwrap());
        assert!(!batches[0].get("large").unwrap().is_done());
        other.kill();
        for batch in &batches {
            batch.wait(soon()).unwrap();
            let counts = BTreeMap::from([(Phase::Done, 2), (Phase::WaitingForData, 1)]);
            assert_eq!(batch.counts(), counts);
        }
        // Run again, it goes on; nothing was decided about it.
        let again = submit(&beside, Some("scan"), 2, true);
        again.wait(soon()).unwrap();
        assert_eq!(again.counts(), BTreeMap::from([(Phase::Done, 3)]));
    })
    .await;
    assert_eq!(all_tasks(&server).await, 3);
}

/// What another process still uploads can be stopped from here.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_another_process_uploads_is_stopped() {
    let server = TestServer::start();
    work(&server);
    let data = tempfile::tempdir().unwrap();
    let script = json!({"name": "scan", "small": 1, "cache": true, "bytes_per_second": 100_000});
    let _other = Other::start(&server, data.path(), script);
    uploading(&server, 2).await;
    let beside = client(&server.url, &server.key, data.path(), None);
    aside(move || {
        let batch = beside.open_batch("scan").unwrap();
        let large = batch.get("large").unwrap();
        large.cancel();
        assert_eq!(large.wait(soon()).unwrap().phase, Phase::Cancelled);
        batch.wait(soon()).unwrap();
    })
    .await;
}

/// Without a name, too: the same program that submits the same goes on with what was cut off, once.
#[tokio::test(flavor = "multi_thread")]
async fn an_unnamed_submission_that_was_killed_is_computed_once() {
    let server = TestServer::start();
    let solved = work(&server);
    let data = tempfile::tempdir().unwrap();
    let script = json!({"name": null, "small": 3, "cache": false, "bytes_per_second": 200_000});
    let mut other = Other::start(&server, data.path(), script);
    uploading(&server, 4).await;
    other.kill();

    let again = client(&server.url, &server.key, data.path(), None);
    let again = aside(move || {
        let batch = submit(&again, None, 3, false);
        batch.wait(soon()).unwrap();
        assert_eq!(batch.counts(), BTreeMap::from([(Phase::Done, 4)]));
        again
    })
    .await;
    assert_eq!((all_tasks(&server).await, solved.load(Ordering::SeqCst)), (4, 4), "each once");
    aside(move || submit(&again, None, 3, false).wait(soon()).unwrap()).await;
    assert_eq!((all_tasks(&server).await, solved.load(Ordering::SeqCst)), (8, 8), "and then anew");
}
