//! What the tests of the plain protocol share: simulations, and a client's steps one by one.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part of this")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use wavetask_client::Server;
use wavetask_client::member::BlockPlace;
use wavetask_client::plain::{PlainServer, PlainSettings};
use wavetask_client::server::ResultSink;
use wavetask_document::{Array, BlockSource, Digest, Document, Limits, MemoryBlocks, hdf5, unpack};
use wavetask_protocol::native::{
    MemberAnswer, MemberDocument, NewMember, ResultAnswer, ResultOutcome, ResultsRequest, SubmitRequest,
    TaskSummary,
};
use wavetask_protocol::{TaskId, TaskKind};

use crate::common::{TestServer, simulation_json};

/// A simulation and where its blocks are.
pub(crate) struct Simulation {
    pub(crate) json: String,
    pub(crate) blocks: Vec<(Digest, BlockPlace)>,
}

/// A heat simulation with one array of this many numbers.
pub(crate) fn simulation(size: f64, numbers: usize) -> Simulation {
    let mut store = MemoryBlocks::new();
    let values = (0..numbers).map(|at| (at as f64).sin() * size).collect();
    let array = Array::from_floats(values).store(&mut store, 1 << 20).unwrap();
    let mut blocks = Vec::new();
    for digest in &array.blocks {
        let mut bytes = Vec::new();
        store.get(digest, &mut bytes).unwrap();
        let length = bytes.len();
        blocks.push((*digest, BlockPlace { array: Arc::new(bytes), offset: 0, length, width: 8 }));
    }
    let document = Document {
        json: simulation_json(size).into(),
        arrays: BTreeMap::from([("sources/0/rate/x".to_owned(), array)]),
    };
    Simulation { json: serde_json::to_string(&document).unwrap(), blocks }
}

pub(crate) fn member(key: &str, simulation: &Simulation) -> NewMember {
    NewMember {
        key: key.to_owned(),
        position: key.parse().unwrap_or(0),
        kind: TaskKind::HeatCharge,
        name: format!("task {key}"),
        folder: "scan".to_owned(),
        document: MemberDocument::Inline(
            serde_json::value::RawValue::from_string(simulation.json.clone()).unwrap(),
        ),
        parameters: BTreeMap::from([("I".to_owned(), json!(key.len()))]),
        inputs: Vec::new(),
        after: Vec::new(),
        cache: true,
        hold: false,
        priority: 0,
        idempotency_key: format!("key-{key}"),
    }
}

pub(crate) fn request(members: Vec<NewMember>) -> SubmitRequest {
    SubmitRequest {
        batch: "a scan".to_owned(),
        tags: vec!["paper".to_owned()],
        submission: "first".to_owned(),
        members,
        complete: true,
    }
}

pub(crate) fn settings(url: &str, server: &TestServer, folder: &Path) -> PlainSettings {
    let mut settings = PlainSettings::new(url, &server.key, folder);
    settings.object_store = None;
    settings.poll = (Duration::from_millis(30), Duration::from_millis(300));
    settings
}

/// Submits until everything is accepted; the tasks in order.
pub(crate) async fn submit(
    plain: &PlainServer,
    members: Vec<NewMember>,
    simulations: &[&Simulation],
) -> Vec<TaskSummary> {
    let request = request(members);
    for _ in 0..3 {
        let answer = plain.submit(&request).await.unwrap();
        let mut wanted = std::collections::HashSet::new();
        let mut accepted = Vec::new();
        for member in answer.members {
            match member {
                MemberAnswer::Accepted { task, .. } => accepted.push(task),
                MemberAnswer::Missing { blocks, .. } => wanted.extend(blocks),
                other => panic!("{other:?}"),
            }
        }
        if wanted.is_empty() {
            return accepted;
        }
        let blocks: HashMap<Digest, BlockPlace> = simulations
            .iter()
            .flat_map(|simulation| simulation.blocks.iter().cloned())
            .filter(|(digest, _)| wanted.contains(digest))
            .collect();
        let blocks: Vec<_> = blocks.into_iter().collect();
        let arrived = Mutex::new(0);
        plain.send_blocks(&blocks, &|digests| *arrived.lock().unwrap() += digests.len()).await.unwrap();
        assert_eq!(*arrived.lock().unwrap(), wanted.len());
    }
    panic!("still something missing");
}

/// Follows events until a task is in a state that is final; that state's summary.
pub(crate) async fn ended(plain: &PlainServer, task: &TaskId) -> TaskSummary {
    let mut after = 0;
    let waiting = async {
        loop {
            let page = plain.next_events(after).await.unwrap();
            after = page.last;
            for event in page.events {
                if event.task.task == *task && event.state.is_final() {
                    return event.task;
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the task ends")
}

/// The result of a task and the blocks that came with it.
pub(crate) async fn result(
    plain: &PlainServer,
    task: &TaskId,
    inline_bytes: u64,
) -> (Option<(Document, bool)>, ResultAnswer, HashMap<Digest, bytes::Bytes>) {
    let request =
        ResultsRequest { tasks: vec![task.clone()], inline_bytes, compress: false, simulation: false };
    let (mut answers, mut blocks) = (Vec::new(), HashMap::new());
    let mut sink = ResultSink {
        result: &mut |answer| {
            answers.push(answer);
            Ok(())
        },
        block: &mut |digest, bytes| {
            blocks.insert(digest, bytes);
            Ok(())
        },
    };
    plain.results(&request, &mut sink).await.unwrap();
    assert_eq!(answers.len(), 1);
    let answer = answers.pop().unwrap();
    let document = match &answer.outcome {
        ResultOutcome::Document { document, inline, .. } => {
            Some((serde_json::from_str(document.get()).unwrap(), *inline))
        }
        _ => None,
    };
    (document, answer, blocks)
}

/// What a worker was given to solve.
pub(crate) fn document_of(file: &[u8]) -> (Document, MemoryBlocks) {
    let mut plain = Vec::new();
    unpack::unpack(&mut &file[..], &mut plain, &Limits::default()).unwrap();
    let mut blocks = MemoryBlocks::new();
    let document = hdf5::read(&plain, &Limits::default(), &mut blocks).unwrap();
    (document, blocks)
}

/// The server's tasks in a folder.
pub(crate) async fn tasks_there(server: &TestServer, folder: &str) -> Vec<serde_json::Value> {
    let found = server.get(&format!("/tidy3d/project?projectName={folder}")).await;
    let Some(id) = found["projectId"].as_str() else { return Vec::new() };
    server.get(&format!("/tidy3d/projects/{id}/tasks")).await.as_array().unwrap().clone()
}
