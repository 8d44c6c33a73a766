//! The client against a real server: through a line that is slow, far and unreliable, and without one.
#![expect(clippy::unwrap_used, reason = "also helpers of tests fail by panicking")]

#[path = "http_support/real.rs"]
mod real;
#[path = "http_support/transfer.rs"]
mod transfer;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use real::RealServer;
use wavetask_client::http::{NativeServer, Tuning};
use wavetask_client::server::TaskAction;
use wavetask_client::shaping::{Line, ShapingProxy};
use wavetask_client::{ErrorGroup, Server};
use wavetask_document::{Array, BlockSource, Digest, Document, MemoryBlocks};
use wavetask_protocol::native::{
    BatchQuery, LogQuery, MemberAnswer, MemberDocument, MemberQuery, NewMember, SubmitRequest, TaskAnswer,
    TaskFilter, TaskSelection, WantedBlock,
};
use wavetask_protocol::{TaskKind, TaskState};

async fn through(line: Line, server: &RealServer) -> (ShapingProxy, NativeServer) {
    let proxy = ShapingProxy::start(server.address, line).await.unwrap();
    let client =
        NativeServer::connect(&format!("http://{}", proxy.address()), &server.key, Tuning::default())
            .unwrap();
    (proxy, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_of_the_real_server_is_spoken() {
    let server = RealServer::start();
    let client = NativeServer::connect(&server.address.to_string(), &server.key, Tuning::default()).unwrap();
    let status = client.status().await.unwrap();
    assert!(status.administrator);

    let mut blocks = MemoryBlocks::new();
    let values: Vec<f64> = (0..300_000).map(f64::from).collect();
    let array = Array::from_floats(values).store(&mut blocks, 1 << 20).unwrap();
    let json = r#"{"type":"HeatChargeSimulation","size":[1,1,1],"monitors":[]}"#;
    let document =
        Document { json: json.into(), arrays: BTreeMap::from([("sources/0/rate/x".to_owned(), array)]) };
    let member = NewMember {
        key: "I=4mA".to_owned(),
        position: 0,
        kind: TaskKind::HeatCharge,
        name: "heater".to_owned(),
        folder: "default".to_owned(),
        document: MemberDocument::Inline(
            serde_json::value::RawValue::from_string(serde_json::to_string(&document).unwrap()).unwrap(),
        ),
        parameters: BTreeMap::from([("I".to_owned(), serde_json::json!(0.004))]),
        inputs: Vec::new(),
        after: vec![],
        cache: true,
        hold: false,
        priority: 0,
        idempotency_key: "one".to_owned(),
    };
    let request = SubmitRequest {
        batch: "a sweep/with..odd µ signs".to_owned(),
        tags: vec!["paper".to_owned()],
        submission: "1".to_owned(),
        members: vec![member],
        complete: true,
    };
    let answer = client.submit(&request).await.unwrap();
    let [MemberAnswer::Missing { task, blocks: missing }] = answer.members.as_slice() else {
        panic!("{answer:?}")
    };
    assert_eq!(missing.len(), 3);
    let places: transfer::Task = missing
        .iter()
        .map(|digest| {
            let mut bytes = Vec::new();
            blocks.get(digest, &mut bytes).unwrap();
            let length = bytes.len();
            let array = std::sync::Arc::new(bytes);
            (*digest, wavetask_client::member::BlockPlace { array, offset: 0, length, width: 8 })
        })
        .collect();
    let wanted: Vec<_> = missing.iter().map(|digest| WantedBlock { digest: *digest, width: 8 }).collect();
    let error = client.fetch_blocks(&wanted, &|_, _| panic!("it is not there")).await.unwrap_err();
    assert_eq!((error.group, error.code.as_str()), (ErrorGroup::NotFound, "block.not_found"));

    let arrived = Mutex::new(0);
    client.send_blocks(&places, &|digests| *arrived.lock().unwrap() += digests.len()).await.unwrap();
    assert_eq!(arrived.into_inner().unwrap(), 3);
    let again = client.submit(&request).await.unwrap();
    let [MemberAnswer::Accepted { task: summary, .. }] = again.members.as_slice() else {
        panic!("{again:?}")
    };
    assert_eq!(summary.task, *task);

    let fetched = Mutex::new(Vec::new());
    client
        .fetch_blocks(&wanted, &|digest, bytes| {
            assert_eq!(Digest::of(&bytes), digest);
            fetched.lock().unwrap().push(digest);
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(fetched.into_inner().unwrap().len(), 3);

    let mut after = answer.last_event;
    let mut states = Vec::new();
    while !states.contains(&TaskState::Queued) {
        let page =
            tokio::time::timeout(Duration::from_secs(20), client.next_events(after)).await.unwrap().unwrap();
        after = page.last;
        states.extend(page.events.iter().map(|event| event.state));
    }

    let filter = TaskFilter {
        conditions: Some("I>=0.003".to_owned()),
        tag: Some("paper".to_owned()),
        ..TaskFilter::default()
    };
    assert_eq!(client.list(&filter).await.unwrap().tasks.len(), 1);
    let batches = client.batches(&BatchQuery::default()).await.unwrap();
    assert_eq!(batches.batches[0].name, request.batch);
    let members = client.members(&request.batch, &MemberQuery::default()).await.unwrap();
    assert_eq!(members.members[0].key, "I=4mA");
    client.log(task, &LogQuery::default()).await.unwrap();
    let selection = TaskSelection { tasks: vec![task.clone()], priority: 0 };
    for (action, state) in [(TaskAction::Status, TaskState::Queued), (TaskAction::Cancel, TaskState::Aborted)]
    {
        let answers = client.act(action, &selection).await.unwrap();
        let [TaskAnswer::Task { task }] = answers.tasks.as_slice() else { panic!("{answers:?}") };
        assert_eq!(task.state, state);
    }
    let answers = client.act(TaskAction::Delete, &selection).await.unwrap();
    assert_eq!(answers.tasks, [TaskAnswer::Deleted]);

    let stranger =
        NativeServer::connect(&server.address.to_string(), "not-a-key", Tuning::default()).unwrap();
    assert_eq!(stranger.status().await.unwrap_err().group, ErrorGroup::Unauthorized);
}

/// The benchmark `line` in small; that one measures, this one counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losses_resets_and_an_outage_cost_what_was_in_flight_and_nothing_else() {
    let server = RealServer::start();
    let line = Line {
        loss: 0.002,
        reset_every: Some(Duration::from_millis(1_500)),
        outage: Some((Duration::from_millis(500), Duration::from_millis(700))),
        ..Line::megabits(100.0, Duration::from_millis(10))
    };
    let (proxy, client) = through(line, &server).await;
    let tasks = transfer::tasks(8, 2_500_000, 5);
    let (blocks, bytes) = (8 * 3, 8 * 2_500_000);

    let sent = transfer::send(&client, &tasks, &proxy).await.unwrap();
    assert_eq!((sent.blocks, sent.reports), (blocks, blocks), "each block is reported once");
    let counts = sent.after;
    assert!(counts.resets > 0, "{counts:?}");
    // A connection that breaks loses what was between the two: the line's 10 ms, and what its ends buffer.
    let lost = counts.up_taken - bytes;
    let retransmitted = counts.losses * 1_448;
    let allowed = (counts.resets + 2) * 350_000 + retransmitted + bytes / 50;
    assert!(lost < allowed, "{lost} bytes too many, {allowed} at most: {counts:?}");

    let fetched = transfer::fetch(&client, &tasks, &proxy).await.unwrap();
    assert_eq!((fetched.blocks, fetched.reports), (blocks, blocks), "each block is handed over once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_task_does_not_wait_for_large_ones() {
    let server = RealServer::start();
    let (_proxy, client) = through(Line::megabits(40.0, Duration::from_millis(10)), &server).await;
    let large = transfer::tasks(1, 20_000_000, 1);
    let small = transfer::tasks(1, 20_000, 2);
    let began = std::time::Instant::now();
    let (large_took, small_took) = tokio::join!(
        async {
            client.send_blocks(&large[0], &|_| {}).await.unwrap();
            began.elapsed()
        },
        async {
            // Behind the large one, which has every lane by now.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let asked = std::time::Instant::now();
            client.send_blocks(&small[0], &|_| {}).await.unwrap();
            asked.elapsed()
        }
    );
    assert!(small_took * 2 < large_took, "{small_took:?} of {large_took:?}");
}
