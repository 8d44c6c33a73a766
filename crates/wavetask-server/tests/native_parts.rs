//! Large results in bricks: parts that the server cuts out, blocks, files, and what is refused.

#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

mod common;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::native::{Client, packed, read, refused_member, request, unpack};
use common::{TestServer, result_on_grid};
use reqwest::Method;
use serde_json::{Value, json};
use wavetask_document::pack::FrameKind;
use wavetask_document::{Array, Digest, Document, Layout, Limits, MemoryBlocks, Values, hdf5};
use wavetask_protocol::native::{PACK_TYPE, PartEnd, ResultOutcome};

const EXTENTS: [usize; 3] = [160, 130, 120];
const PATH: &str = "data/0/temperature/__xarray_dataarray_variable__";

fn values() -> Vec<f64> {
    (0..EXTENTS.iter().product::<usize>()).map(|number| (number as f64).sqrt()).collect()
}

/// The bytes of a part, element by element.
fn expected(values: &[f64], ranges: &[Range<usize>; 3]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for x in ranges[0].clone() {
        for y in ranges[1].clone() {
            let row = (x * EXTENTS[1] + y) * EXTENTS[2];
            let row = &values[row + ranges[2].start..row + ranges[2].end];
            bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
        }
    }
    bytes
}

/// A task with a large result.
async fn solved(client: &Client<'_>, server: &TestServer, values: &[f64]) -> String {
    let task = client.submitted("large", "a", &packed(1.0)).await;
    let worker = server.worker();
    let assignment = worker.lease(Duration::from_secs(10)).await.unwrap();
    assert_eq!(worker.result(&assignment, result_on_grid(EXTENTS, values)).await, 200);
    task.task.to_string()
}

fn part(task: &str, ranges: &[Range<usize>], compress: bool) -> Value {
    let ranges: Vec<[usize; 2]> = ranges.iter().map(|range| [range.start, range.end]).collect();
    json!({ "task": task, "path": PATH, "ranges": ranges, "compress": compress })
}

/// A part that must come: its bytes, and how many bytes were on the line.
async fn cut(client: &Client<'_>, request: &Value) -> (Vec<u8>, usize) {
    let answer = client.ask(Method::POST, "results/part").json(request).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], PACK_TYPE);
    let pack = answer.bytes().await.unwrap();
    let mut frames = unpack(&pack);
    let end = frames.pop().unwrap();
    assert_eq!(end.kind, FrameKind::Message);
    let end: PartEnd = serde_json::from_slice(&end.bytes).unwrap();
    assert!(frames.iter().all(|frame| frame.kind == FrameKind::Block));
    let bytes = frames.into_iter().flat_map(|frame| frame.bytes).collect::<Vec<u8>>();
    assert_eq!((end.byte_length, end.digest), (bytes.len() as u64, Digest::of(&bytes)));
    (bytes, pack.len())
}

async fn document_of(client: &Client<'_>, task: &str) -> Document {
    let wanted = json!({ "tasks": [task], "inline_bytes": 0, "compress": false });
    let (messages, _) = client.results(&wanted).await;
    let ResultOutcome::Document { document, .. } = &messages[0].outcome else { panic!("{messages:?}") };
    serde_json::from_str(document.get()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_large_result_are_cut_out_and_everything_else_is_as_ever() {
    let server = TestServer::start();
    let client = server.client();
    let values = values();
    let task = solved(&client, &server, &values).await;

    let document = document_of(&client, &task).await;
    let array = &document.arrays[PATH];
    assert!(matches!(array.layout, Layout::Bricks { .. }), "{:?}", array.layout);
    for (path, small) in &document.arrays {
        assert!(path == PATH || small.is_linear(), "{path}");
    }

    let whole = [0..EXTENTS[0], 0..EXTENTS[1], 0..EXTENTS[2]];
    let mut planes = Vec::new();
    for axis in 0..3 {
        let mut plane = whole.clone();
        plane[axis] = 71..72;
        planes.push(plane);
    }
    let boxes = [[3..50, 7..8, 100..120], [159..160, 0..130, 1..2], [0..0, 0..130, 0..120]];
    for ranges in planes.into_iter().chain(boxes).chain([whole.clone()]) {
        for compress in [false, true] {
            let (bytes, sent) = cut(&client, &part(&task, &ranges, compress)).await;
            assert!(bytes == expected(&values, &ranges), "{ranges:?}");
            assert!(sent < bytes.len() + bytes.len() / 50 + 500, "{sent} bytes for {}", bytes.len());
        }
    }
    // Ranges that are not named are whole.
    let [first, ..] = whole.clone();
    let first = part(&task, std::slice::from_ref(&(first.end - 1..first.end)), false);
    assert!(cut(&client, &first).await.0 == expected(&values, &[159..160, 0..130, 0..120]));

    // Block by block it is the same array.
    let wanted: Vec<Value> =
        array.blocks.iter().map(|digest| json!({ "digest": digest, "width": 8 })).collect();
    let fetch = json!({ "blocks": wanted, "compress": false });
    let pack = client.ask(Method::POST, "blocks/fetch").json(&fetch).send().await.unwrap();
    let mut bytes = vec![0; array.byte_length as usize];
    let all = array.blocks_of(&[]).unwrap();
    for (number, frame) in unpack(&pack.bytes().await.unwrap()).into_iter().enumerate() {
        all.place(number, &frame.bytes, &mut bytes).unwrap();
    }
    assert!(bytes == expected(&values, &whole) && Digest::of(&bytes) == array.digest);

    // The unmodified client's file, whole and in ranges.
    let file = server.download(&task, "output/simulation_data.hdf5").await.unwrap();
    let read = hdf5::read(&file.as_slice(), &Limits::default(), &mut MemoryBlocks::new()).unwrap();
    assert_eq!(read.arrays[PATH].digest, array.digest);
    let token = server.token(&task, "output/simulation_data.hdf5").await;
    for start in [0, 1 << 20, 7_654_321, file.len() - 5000] {
        let end = (start + 3_000_001).min(file.len());
        let range = format!("bytes={start}-{}", end - 1);
        let answer = server.s3_with(Method::GET, &token, "", Vec::new(), &[("range", &range)]).await;
        assert_eq!(answer.status(), 206);
        assert!(answer.bytes().await.unwrap() == file[start..end], "from {start}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_has_no_parts() {
    let server = TestServer::start();
    let client = server.client();
    let task = solved(&client, &server, &values()).await;
    let waiting = client.submitted("other", "b", &packed(2.0)).await.task.to_string();
    let refused = async |client: &Client<'_>, request: Value| {
        let answer = client.ask(Method::POST, "results/part").json(&request).send().await.unwrap();
        common::native::refusal(answer).await
    };
    let not_found = |code: &str| (404, code.to_owned());
    let all = part(&task, &[], false);
    let somebody = server.somebody("somebody").await;
    assert_eq!(refused(&somebody, all.clone()).await, not_found("task.not_found"));
    assert_eq!(refused(&client, part("task-0", &[], false)).await, not_found("task.not_found"));
    assert_eq!(refused(&client, part(&waiting, &[], false)).await, not_found("result.none"));
    let mut nowhere = all.clone();
    nowhere["path"] = json!("data/0/temperature/w");
    assert_eq!(refused(&client, nowhere).await, not_found("result.no_array"));
    for ranges in [
        json!([[0, 161]]),
        json!([[5, 4]]),
        json!([[0, 1], [0, 1], [0, 1], [0, 1]]),
        json!([[0, u64::MAX]]),
        json!([[-1, 1]]),
        json!([[0]]),
    ] {
        let mut unfit = all.clone();
        unfit["ranges"] = ranges;
        assert_eq!(refused(&client, unfit.clone()).await.0, 400, "{unfit}");
    }
    let answer = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = answer.post(format!("{}/api/v1/results/part", server.url)).json(&all).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let deleted = client.ask(Method::DELETE, &format!("tasks/{task}")).send().await.unwrap();
    let _: Value = read("deleting", deleted).await;
    assert_eq!(refused(&client, all).await, not_found("task.not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn simulations_are_not_taken_in_bricks() {
    let server = TestServer::start();
    let client = server.client();
    let mut simulation = packed(1.0);
    let array = Array::new(vec![2, 2, 2], Values::Float64(vec![1.0; 8])).unwrap();
    let bricks = array.store_in_bricks(&mut simulation.blocks, &[1, 2, 2]).unwrap();
    simulation.document.arrays.insert("sources/0/rate/y".to_owned(), bricks);
    let answer = client.submit(&request("bricks", vec![simulation.member("a", 0)])).await;
    assert_eq!(refused_member(&answer.members[0]), ("document_unsupported".to_owned(), false));
}

/// The files of blocks below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_brick_is_noticed_and_the_others_are_whole() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut server = TestServer::start_in(Arc::clone(&folder), |_| {});
    let values = values();
    let task = solved(&server.client(), &server, &values).await;
    let array = document_of(&server.client(), &task).await.arrays[PATH].clone();
    server.stop().await;
    let last = array.blocks.last().unwrap().to_string();
    let file = files(&folder.path().join("data/blocks"))
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy() == last))
        .unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&file, bytes).unwrap();

    let server = TestServer::start_in(folder, |_| {});
    let client = server.client();
    let first = [0..10, 0..130, 0..60];
    assert!(cut(&client, &part(&task, &first, false)).await.0 == expected(&values, &first));
    let touched = part(&task, &[159..160, 0..130, 119..120], false);
    let answer = client.ask(Method::POST, "results/part").json(&touched).send().await.unwrap();
    assert!(answer.bytes().await.is_err(), "it breaks off");
}
