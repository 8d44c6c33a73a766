//! Many arrays over one line, up and down, by one client: what is carried, how fast, and what is carried twice.
#![allow(clippy::allow_attributes, reason = "which of these lints a file meets differs")]
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "tests and examples use this"
)]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use wavetask_client::http::NativeServer;
use wavetask_client::member::BlockPlace;
use wavetask_client::shaping::{Counts, ShapingProxy};
use wavetask_client::{ArrayBytes, ClientError, Server};
use wavetask_document::Digest;
use wavetask_protocol::native::WantedBlock;

/// One simulation's blocks.
pub type Task = Vec<(Digest, BlockPlace)>;

/// Tasks with an array each that does not compress, in blocks of 1 MiB.
pub fn tasks(number: usize, bytes: usize, seed: u64) -> Vec<Task> {
    const BLOCK: usize = 1 << 20;
    let mut random = fastrand::Rng::with_seed(seed);
    (0..number)
        .map(|_| {
            let mut array = vec![0; bytes];
            random.fill(&mut array);
            let array: Arc<dyn ArrayBytes> = Arc::new(array);
            (0..bytes)
                .step_by(BLOCK)
                .map(|offset| {
                    let place = BlockPlace {
                        array: Arc::clone(&array),
                        offset,
                        length: BLOCK.min(bytes - offset),
                        width: 8,
                    };
                    (Digest::of(place.bytes()), place)
                })
                .collect()
        })
        .collect()
}

/// What a transfer came to.
#[derive(Debug)]
pub struct Outcome {
    pub seconds: f64,
    /// When the first task was through, in seconds.
    pub first: f64,
    pub before: Counts,
    pub after: Counts,
    /// Blocks that were reported or handed over, and how many times in all.
    pub blocks: usize,
    pub reports: usize,
}

/// Sends all tasks at once, as the engine does.
pub async fn send(
    client: &NativeServer,
    tasks: &[Task],
    proxy: &ShapingProxy,
) -> Result<Outcome, ClientError> {
    let (before, began) = (proxy.counts(), Instant::now());
    let reported = Mutex::new((HashSet::new(), 0));
    let first = Mutex::new(None);
    try_join_all(tasks.iter().map(async |task| {
        client
            .send_blocks(task, &|digests| {
                let mut reported = reported.lock().unwrap();
                reported.0.extend(digests.iter().copied());
                reported.1 += digests.len();
            })
            .await?;
        first.lock().unwrap().get_or_insert(began.elapsed());
        Ok::<(), ClientError>(())
    }))
    .await?;
    let (blocks, reports) = reported.into_inner().unwrap();
    Ok(outcome(began, first, before, proxy, blocks.len(), reports))
}

/// Fetches all tasks' blocks at once.
pub async fn fetch(
    client: &NativeServer,
    tasks: &[Task],
    proxy: &ShapingProxy,
) -> Result<Outcome, ClientError> {
    let (before, began) = (proxy.counts(), Instant::now());
    let reported = Mutex::new((HashSet::new(), 0));
    let first = Mutex::new(None);
    try_join_all(tasks.iter().map(async |task| {
        let wanted: Vec<_> =
            task.iter().map(|(digest, _)| WantedBlock { digest: *digest, width: 8 }).collect();
        client
            .fetch_blocks(&wanted, &|digest, _| {
                let mut reported = reported.lock().unwrap();
                reported.0.insert(digest);
                reported.1 += 1;
                Ok(())
            })
            .await?;
        first.lock().unwrap().get_or_insert(began.elapsed());
        Ok::<(), ClientError>(())
    }))
    .await?;
    let (blocks, reports) = reported.into_inner().unwrap();
    Ok(outcome(began, first, before, proxy, blocks.len(), reports))
}

fn outcome(
    began: Instant,
    first: Mutex<Option<Duration>>,
    before: Counts,
    proxy: &ShapingProxy,
    blocks: usize,
    reports: usize,
) -> Outcome {
    let first = first.into_inner().unwrap().unwrap_or_default().as_secs_f64();
    Outcome { seconds: began.elapsed().as_secs_f64(), first, before, after: proxy.counts(), blocks, reports }
}
