//! What tests of the engine against a real server share.

#![allow(clippy::unwrap_used, reason = "this is for tests")]
#![allow(
    clippy::allow_attributes,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wavetask_client::member::BlockPlace;
use wavetask_client::{MemberOptions, PackedSimulation, SubmissionOptions};
use wavetask_document::{Array, BlockSource, Document, MemoryBlocks};
use wavetask_protocol::TaskKind;

use crate::common::{TestServer, result_file, simulation_json};

/// A simulation of this size with an array of so many numbers, the same in all.
pub fn packed(size: f64, numbers: usize) -> PackedSimulation {
    let mut store = MemoryBlocks::new();
    let values = (0..numbers).map(|at| (at as f64).sin()).collect();
    let array = Array::from_floats(values).store(&mut store, 1 << 20).unwrap();
    let mut blocks = HashMap::new();
    for digest in &array.blocks {
        let mut bytes = Vec::new();
        store.get(digest, &mut bytes).unwrap();
        let length = bytes.len();
        blocks.insert(*digest, BlockPlace { array: Arc::new(bytes), offset: 0, length, width: 8 });
    }
    let array_bytes = array.byte_length;
    let document = Document {
        json: simulation_json(size).into(),
        arrays: BTreeMap::from([("sources/0/rate/x".to_owned(), array)]),
    };
    let digest = document.digest().unwrap();
    PackedSimulation { kind: TaskKind::HeatCharge, document, digest, blocks, array_bytes, inputs: Vec::new() }
}

pub fn options(name: &str) -> SubmissionOptions {
    SubmissionOptions { name: Some(name.to_owned()), ..SubmissionOptions::default() }
}

pub fn member(key: impl Into<String>) -> MemberOptions {
    MemberOptions { key: key.into(), ..MemberOptions::default() }
}

pub fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(120))
}

/// A worker that solves whatever comes; how much it has solved.
pub fn work(server: &TestServer) -> Arc<AtomicUsize> {
    let solved = Arc::new(AtomicUsize::new(0));
    let (worker, count) = (server.worker(), solved.clone());
    tokio::spawn(async move {
        loop {
            if let Some(assignment) = worker.lease(Duration::from_secs(1)).await {
                worker.result(&assignment, result_file(&[300.0, 301.0, 302.0])).await;
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    solved
}

/// What blocks runs beside the server's threads.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}
