//! The engine against a real server over HTTP, from submission to saved files.

#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

#[path = "../../wavetask-server/tests/common/mod.rs"]
mod common;
mod engine_support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{TestServer, result_on_grid};
use engine_support::{aside, member, options, packed, soon, work};
use wavetask_client::http::{NativeServer, Tuning};
use wavetask_client::member::BlockPlace;
use wavetask_client::server::{ResultSink, TaskAction};
use wavetask_client::{
    Batch, Client, ClientError, ErrorGroup, Opened, Phase, Server, Settings, SubmissionOptions, Task,
};
use wavetask_document::{Digest, Layout, Limits, MemoryBlocks, hdf5};
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{
    BatchList, BatchQuery, EventPage, LogPart, LogQuery, MemberList, MemberQuery, PartRequest,
    ResultsRequest, ServerStatus, SubmitAnswer, SubmitRequest, TaskAnswers, TaskFilter, TaskList,
    TaskSelection, WantedBlock,
};

/// The native server, with its calls and the bytes of blocks counted.
#[derive(Debug)]
struct Counted {
    server: NativeServer,
    calls: AtomicUsize,
    blocks: AtomicUsize,
    bytes: AtomicUsize,
    /// Blocks and parts that were fetched.
    fetched: AtomicUsize,
    parts: AtomicUsize,
}

impl Counted {
    fn count(&self) -> &NativeServer {
        self.calls.fetch_add(1, Ordering::SeqCst);
        &self.server
    }
}

#[async_trait::async_trait]
impl Server for Counted {
    async fn status(&self) -> Result<ServerStatus, ClientError> {
        self.count().status().await
    }

    async fn submit(&self, request: &SubmitRequest) -> Result<SubmitAnswer, ClientError> {
        self.count().submit(request).await
    }

    async fn send_blocks(
        &self,
        blocks: &[(Digest, BlockPlace)],
        arrived: &(dyn for<'a> Fn(&'a [Digest]) + Send + Sync),
    ) -> Result<(), ClientError> {
        self.blocks.fetch_add(blocks.len(), Ordering::SeqCst);
        self.bytes.fetch_add(blocks.iter().map(|(_, place)| place.length).sum(), Ordering::SeqCst);
        self.count().send_blocks(blocks, arrived).await
    }

    async fn results(&self, request: &ResultsRequest, take: &mut ResultSink<'_>) -> Result<(), ClientError> {
        self.count().results(request, take).await
    }

    async fn fetch_blocks(
        &self,
        blocks: &[WantedBlock],
        take: &(dyn Fn(Digest, Bytes) -> Result<(), ClientError> + Send + Sync),
    ) -> Result<(), ClientError> {
        self.fetched.fetch_add(blocks.len(), Ordering::SeqCst);
        self.count().fetch_blocks(blocks, take).await
    }

    fn gives_parts(&self) -> bool {
        self.server.gives_parts()
    }

    async fn fetch_part(&self, request: &PartRequest) -> Result<Bytes, ClientError> {
        self.parts.fetch_add(1, Ordering::SeqCst);
        self.count().fetch_part(request).await
    }

    async fn next_events(&self, after: u64) -> Result<EventPage, ClientError> {
        // One stream, however often its next page is asked for.
        self.server.next_events(after).await
    }

    async fn act(&self, action: TaskAction, tasks: &TaskSelection) -> Result<TaskAnswers, ClientError> {
        self.count().act(action, tasks).await
    }

    async fn log(&self, task: &TaskId, query: &LogQuery) -> Result<LogPart, ClientError> {
        self.count().log(task, query).await
    }

    async fn list(&self, filter: &TaskFilter) -> Result<TaskList, ClientError> {
        self.count().list(filter).await
    }

    async fn batches(&self, query: &BatchQuery) -> Result<BatchList, ClientError> {
        self.count().batches(query).await
    }

    async fn members(&self, batch: &str, query: &MemberQuery) -> Result<MemberList, ClientError> {
        self.count().members(batch, query).await
    }
}

fn client(server: &TestServer, data: &Path) -> (Client, Arc<Counted>) {
    let native = NativeServer::connect(&server.url, &server.key, Tuning::default()).unwrap();
    let counted = Arc::new(Counted {
        server: native,
        calls: 0.into(),
        blocks: 0.into(),
        bytes: 0.into(),
        fetched: 0.into(),
        parts: 0.into(),
    });
    let settings = Settings {
        url: Some(server.url.clone()),
        key: Some(server.key.clone()),
        data: data.to_owned(),
        scope: Some("test".to_owned()),
        ..Settings::default()
    };
    (Client::with_server(settings, counted.clone()).unwrap(), counted)
}

fn submit(client: &Client, name: &str, sizes: &[f64], numbers: usize) -> Batch {
    let submission = client.submit(options(name)).unwrap();
    for (index, size) in sizes.iter().enumerate() {
        submission.push(member(index.to_string()), Ok(packed(*size, numbers))).unwrap();
    }
    submission.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_small_tasks_need_few_requests_and_each_block_once() {
    let server = TestServer::start();
    let solved = work(&server);
    let data = tempfile::tempdir().unwrap();
    let path = data.path().to_owned();
    let (client, counted) = client(&server, data.path());
    let sizes: Vec<f64> = (1..=100).map(f64::from).collect();
    let sent = counted.clone();
    let (client, sizes) = aside(move || {
        let batch = submit(&client, "scan", &sizes, 1000);
        let mut completed = batch.as_completed();
        let mut seen = 0;
        while let Some(task) = completed.next(soon()).unwrap() {
            assert_eq!(task.status().phase, Phase::Done, "{:?}", task.status().error);
            let result = task.result(soon()).unwrap();
            let values = result.array("data/0/temperature/x").unwrap();
            assert_eq!(values.bytes, [300.0_f64, 301.0, 302.0].map(f64::to_le_bytes).concat());
            seen += 1;
        }
        assert_eq!(seen, 100);
        let calls = sent.calls.load(Ordering::SeqCst);
        println!("100 small tasks: {calls} requests");
        assert!(calls <= 200, "{calls} requests for 100 tasks");
        assert_eq!(sent.blocks.load(Ordering::SeqCst), 1, "the array that they share travels once");
        (client, sizes)
    })
    .await;
    assert_eq!(solved.load(Ordering::SeqCst), 100);

    // The same again with one more: only that is new.
    let sent = counted.clone();
    aside(move || {
        let mut more = sizes.clone();
        more.push(1000.0);
        let batch = submit(&client, "scan", &more, 1000);
        batch.wait(soon()).unwrap();
        assert_eq!(batch.counts(), BTreeMap::from([(Phase::Done, 101)]));
        assert_eq!(sent.blocks.load(Ordering::SeqCst), 1);
        let task = batch.get("7").unwrap();
        let path = path.join("seven.hdf5");
        task.save(&path, soon()).unwrap();
        let file = std::fs::read(&path).unwrap();
        let mut blocks = MemoryBlocks::new();
        let document = hdf5::read(&file.as_slice(), &Limits::default(), &mut blocks).unwrap();
        let values = document.arrays["data/0/temperature/x"].load(&blocks, 1 << 20).unwrap();
        assert_eq!(values.to_floats().unwrap(), [300.0, 301.0, 302.0]);
        assert!(document.arrays.contains_key("simulation/sources/0/rate/x"), "with the simulation's arrays");
        assert!(!path.with_file_name("seven.hdf5.partial").exists());
        let result = task.result(None).unwrap();
        let part = result.slice("data/0/temperature/x", std::slice::from_ref(&(1..3))).unwrap();
        assert_eq!((part.shape, part.bytes.len()), (vec![2], 16));
        let missing = result.array("data/0/nothing").unwrap_err();
        assert_eq!(missing.group, ErrorGroup::NotFound);
    })
    .await;
    assert_eq!(solved.load(Ordering::SeqCst), 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_member_sinks_no_other() {
    let server = TestServer::start();
    work(&server);
    let data = tempfile::tempdir().unwrap();
    let (client, _) = client(&server, data.path());
    aside(move || {
        let submission = client.submit(options("mixed")).unwrap();
        let good = submission.push(member("good"), Ok(packed(1.0, 10))).unwrap();
        let bad = submission.push(member("bad"), Ok(packed(0.0, 10))).unwrap();
        let broken = ClientError::new(ErrorGroup::InvalidSimulation, "pack.failed", "It cannot be packed.");
        let unpacked = submission.push(member("unpacked"), Err(broken)).unwrap();
        let dropped = submission.add(member("dropped")).unwrap().task().clone();
        assert_eq!(submission.add(member("good")).unwrap_err().code, "member.key_taken");
        let batch = submission.finish();
        batch.wait(soon()).unwrap();
        assert_eq!(good.status().phase, Phase::Done);
        let group = |task: &Task| task.error(None).unwrap().map(|error| (error.group, error.code));
        assert_eq!(group(&bad).unwrap().0, ErrorGroup::InvalidSimulation);
        assert!(bad.id().is_some(), "it is a task with a log");
        assert_eq!(group(&unpacked).unwrap().1, "pack.failed");
        assert_eq!(group(&dropped).unwrap().1, "member.not_packed");
        assert_eq!(bad.result(None).unwrap_err().group, ErrorGroup::InvalidSimulation);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_found_again_by_name_and_its_tasks_by_id() {
    let server = TestServer::start();
    let data = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (first, _) = client(&server, data.path());
    let (second, _) = client(&server, elsewhere.path());
    let first = aside(move || {
        let batch = submit(&first, "by name", &[1.0, 2.0, 3.0], 10);
        batch.wait_placed(soon()).unwrap();
        first
    })
    .await;
    drop(first);
    work(&server);
    aside(move || {
        let Opened::Batch(batch) = second.open("by name").unwrap() else { panic!("not a batch") };
        assert_eq!(batch.keys(), ["0", "1", "2"]);
        batch.wait(soon()).unwrap();
        let task = batch.get("1").unwrap();
        assert_eq!(task.result(soon()).unwrap().array("data/0/temperature/x").unwrap().shape, [3]);
        let id = task.id().unwrap();
        let Opened::Task(again) = second.open(id.as_str()).unwrap() else { panic!("not a task") };
        assert_eq!(again.wait(soon()).unwrap().phase, Phase::Done);
        assert_eq!(second.open("nothing").unwrap_err().group, ErrorGroup::NotFound);
        assert_eq!(second.open("task-0123").unwrap_err().group, ErrorGroup::NotFound);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_stopped_and_run_again() {
    let server = TestServer::start();
    let data = tempfile::tempdir().unwrap();
    let (client, _) = client(&server, data.path());
    let batch = aside(move || {
        let batch = submit(&client, "stopped", &[1.0, 2.0], 10);
        batch.wait_placed(soon()).unwrap();
        batch.cancel();
        batch.wait(soon()).unwrap();
        assert_eq!(batch.counts(), BTreeMap::from([(Phase::Cancelled, 2)]));
        let error = batch.get("0").unwrap().result(None).unwrap_err();
        assert_eq!(error.group, ErrorGroup::Cancelled);
        assert!(batch.retry().is_empty());
        assert!(!batch.get("0").unwrap().is_done());
        batch
    })
    .await;
    work(&server);
    aside(move || {
        batch.wait(soon()).unwrap();
        assert_eq!(batch.counts(), BTreeMap::from([(Phase::Done, 2)]));
        batch.get("0").unwrap().result(soon()).unwrap();
    })
    .await;
}

/// The server is stopped while tasks are sent and run, and comes back; nobody has to do anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_is_waited_for() {
    let mut server = TestServer::start();
    let port = server.url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut tuning = Tuning::default();
    tuning.retry.patience = Duration::from_millis(300);
    let native = NativeServer::connect(&server.url, &server.key, tuning).unwrap();
    let settings = Settings { data: data.path().to_owned(), ..Settings::default() };
    let client = Client::with_server(settings, Arc::new(native)).unwrap();
    let batch = aside({
        let client = client.clone();
        move || {
            let batch = submit(&client, "restart", &[1.0, 2.0, 3.0], 10);
            batch.wait_placed(soon()).unwrap();
            batch
        }
    })
    .await;
    server.stop().await;
    let more = aside({
        let client = client.clone();
        move || {
            let more = submit(&client, "while away", &[4.0, 5.0], 2000);
            let waited = Instant::now();
            while client.trouble().is_none() {
                assert!(waited.elapsed() < Duration::from_secs(60));
                std::thread::sleep(Duration::from_millis(20));
            }
            more
        }
    })
    .await;
    let server = TestServer::start_in(server.folder.clone(), |config| config.listen.set_port(port));
    work(&server);
    aside(move || {
        batch.wait(soon()).unwrap();
        more.wait(soon()).unwrap();
        assert_eq!(batch.counts(), BTreeMap::from([(Phase::Done, 3)]));
        assert_eq!(more.counts(), BTreeMap::from([(Phase::Done, 2)]));
        assert!(client.trouble().is_none());
    })
    .await;
}

/// A file that was cut off goes on: what is right in it is not fetched again.
#[tokio::test(flavor = "multi_thread")]
async fn a_saved_file_goes_on_where_it_stopped() {
    let server = TestServer::start();
    work(&server);
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("result.hdf5");
    let (client, counted) = client(&server, data.path());
    aside(move || {
        let batch = submit(&client, "large", &[1.0], 400_000);
        let task = batch.get("0").unwrap();
        task.save(&path, soon()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let partial = path.with_file_name("result.hdf5.partial");
        std::fs::write(&partial, &whole[..whole.len() / 2]).unwrap();
        std::fs::remove_file(&path).unwrap();
        let before = counted.calls.load(Ordering::SeqCst);
        task.save(&path, soon()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        assert!(counted.calls.load(Ordering::SeqCst) > before);
        std::fs::write(&partial, &whole).unwrap();
        let before = counted.calls.load(Ordering::SeqCst);
        task.save(&path, soon()).unwrap();
        assert_eq!(counted.calls.load(Ordering::SeqCst), before, "all blocks are there already");
        let nowhere = task.save("/nonexistent/folder/file.hdf5", soon()).unwrap_err();
        assert_eq!(nowhere.code, "save.unwritable");
    })
    .await;
}

/// A large result, which the server has cut into bricks: parts come as parts, the whole comes as blocks, and either is
/// what the solver found.
#[tokio::test(flavor = "multi_thread")]
async fn parts_and_files_of_a_large_result() {
    const EXTENTS: [usize; 3] = [160, 130, 120];
    const PATH: &str = "data/0/temperature/__xarray_dataarray_variable__";
    let server = TestServer::start();
    let values: Vec<f64> =
        (0..EXTENTS.iter().product()).map(|number: usize| (number as f64).sqrt()).collect();
    let worker = server.worker();
    let file = result_on_grid(EXTENTS, &values);
    tokio::spawn(async move {
        let assignment = worker.lease(Duration::from_secs(60)).await.unwrap();
        assert_eq!(worker.result(&assignment, file).await, 200);
    });
    let data = tempfile::tempdir().unwrap();
    let (client, counted) = client(&server, data.path());
    let path = data.path().join("result.hdf5");
    aside(move || {
        let submission = client.submit(SubmissionOptions { lazy: true, ..options("large") }).unwrap();
        let task = submission.push(member("a"), Ok(packed(1.0, 10))).unwrap();
        submission.finish();
        let result = task.result(soon()).unwrap();
        let array = result.document().arrays[PATH].clone();
        assert!(!array.is_linear());
        let fetched = || (counted.fetched.swap(0, Ordering::SeqCst), counted.parts.swap(0, Ordering::SeqCst));
        assert_eq!(fetched(), (0, 0));
        let plane = |z: usize| -> Vec<u8> {
            let plane = values.iter().skip(z).step_by(EXTENTS[2]);
            plane.flat_map(|value| value.to_le_bytes()).collect()
        };
        for expected in [(0, 1), (0, 0)] {
            let part = result.slice(PATH, &[0..160, 0..130, 7..8]).unwrap();
            assert!(part.shape == [160, 130, 1] && part.bytes == plane(7));
            assert_eq!(fetched(), expected, "the same again is here");
        }
        // Nearly all that some bricks have: the bricks, which are kept.
        let Layout::Bricks { extents } = &array.layout else { panic!("{:?}", array.layout) };
        let ranges: Vec<_> = extents.iter().map(|thick| 0..*thick).collect();
        assert_eq!(result.slice(PATH, &ranges).unwrap().bytes.len() as u64, array.block_length(0));
        assert_eq!(fetched(), (1, 0));
        assert_eq!(result.slice(PATH, &[0..2, 0..2, 0..2]).unwrap().bytes.len(), 64);
        assert_eq!(fetched(), (0, 0));

        task.save(&path, soon()).unwrap();
        let (blocks, parts) = fetched();
        assert!(blocks >= array.blocks.len() && parts == 0);
        let whole = std::fs::read(&path).unwrap();
        let mut store = MemoryBlocks::new();
        let document = hdf5::read(&whole.as_slice(), &Limits::default(), &mut store).unwrap();
        assert_eq!(document.arrays[PATH].digest, array.digest);
        assert_eq!(document.arrays[PATH].load(&store, 1 << 30).unwrap().to_floats().unwrap(), values);
        // What an earlier attempt has written is not fetched again, but for what is wrong in it.
        let partial = path.with_file_name("result.hdf5.partial");
        let mut broken = whole.clone();
        let place = whole.windows(16).position(|bytes| bytes == &plane_start(&values)[..]).unwrap();
        broken[place] ^= 1;
        std::fs::write(&partial, &broken).unwrap();
        task.save(&path, soon()).unwrap();
        assert!(std::fs::read(&path).unwrap() == whole);
        assert_eq!(fetched(), (1, 0), "the one brick that was damaged");

        let all = result.array(PATH).unwrap();
        assert!(Digest::of(&all.bytes) == array.digest && all.shape == [160, 130, 120]);
        assert!(result.slice(PATH, &[0..160, 0..130, 9..10]).unwrap().bytes == plane(9));
        assert_eq!(fetched().1, 0, "all of it is here");
    })
    .await;
}

/// The bytes of two numbers in the middle that stand beside each other nowhere else.
fn plane_start(values: &[f64]) -> Vec<u8> {
    values[1_000_000..1_000_002].iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A member whose arrays are not what it says: the journal cannot be written with it, and is without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_cannot_be_journaled_fails_alone() {
    let server = TestServer::start();
    work(&server);
    let data = tempfile::tempdir().unwrap();
    let (client, _) = client(&server, data.path());
    aside(move || {
        let submission = client.submit(options("lying")).unwrap();
        let mut lying = packed(1.0, 10);
        for place in lying.blocks.values_mut() {
            place.length += 1;
        }
        let pending: Vec<_> =
            ["a", "lying", "b"].into_iter().map(|key| submission.add(member(key)).unwrap()).collect();
        let simulations = [packed(2.0, 20), lying, packed(3.0, 30)];
        for (pending, simulation) in pending.into_iter().zip(simulations) {
            pending.packed(Ok(simulation));
        }
        let batch = submission.finish();
        batch.wait(soon()).unwrap();
        let error = batch.get("lying").unwrap().error(None).unwrap().unwrap();
        assert_eq!((error.group, error.code.as_str()), (ErrorGroup::Internal, "engine.panicked"));
        assert_eq!(batch.counts(), BTreeMap::from([(Phase::Done, 2), (Phase::Failed, 1)]));
        // The journal goes on.
        submit(&client, "after it", &[4.0], 10).wait(soon()).unwrap();
    })
    .await;
}

/// Stopping a task that is still being packed needs nobody's answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_stopped_while_it_is_packed() {
    let server = TestServer::start();
    let data = tempfile::tempdir().unwrap();
    let (client, counted) = client(&server, data.path());
    aside(move || {
        let submission = client.submit(options("stopped early")).unwrap();
        let pending = submission.add(member("a")).unwrap();
        let task = pending.task().clone();
        task.cancel();
        assert_eq!(task.wait(soon()).unwrap().phase, Phase::Cancelled);
        pending.packed(Ok(packed(1.0, 10)));
        submission.finish().wait(soon()).unwrap();
        assert_eq!(task.status().phase, Phase::Cancelled);
        assert_eq!(counted.calls.load(Ordering::SeqCst), 0, "the server never hears of it");
    })
    .await;
}
