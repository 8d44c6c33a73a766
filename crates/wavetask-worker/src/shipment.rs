//! Results of small tasks on their way to the server, as many in one request as are there when it sets out.
//!
//! Nobody waits for company: while requests are under way, what comes gathers and goes with the next. A result
//! that the server does not take so goes by itself, on the road that knows every way in which that can fail.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wavetask_protocol::SOLVER_VERSION;
use wavetask_protocol::worker::{ResultAnswer, ResultHeader};

use crate::decide::Disposition;
use crate::journey::{Held, Surroundings, settle};

/// Requests under way at once.
const REQUESTS: usize = 2;
/// Results in one request.
const MOST: usize = 64;
/// Bytes of files in one request, less than what a server takes.
const BYTES: usize = 6 << 20;

/// A result that is to be sent.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) held: Arc<Held>,
    pub(crate) folder: PathBuf,
    pub(crate) file: Vec<u8>,
    pub(crate) first_log_line: u64,
    pub(crate) log_lines: Vec<String>,
}

/// Sends what comes until nothing more can come.
pub(crate) async fn ship(mut parcels: mpsc::Receiver<Parcel>, surroundings: Arc<Surroundings>) {
    let mut requests = JoinSet::new();
    let mut waiting: Vec<Parcel> = Vec::new();
    loop {
        while requests.try_join_next().is_some() {}
        if requests.len() >= REQUESTS {
            requests.join_next().await;
        }
        if waiting.is_empty() && parcels.recv_many(&mut waiting, MOST).await == 0 {
            break;
        }
        let rest = waiting.split_off(fitting(&waiting));
        let load = std::mem::replace(&mut waiting, rest);
        requests.spawn(send(load, Arc::clone(&surroundings)));
    }
    while requests.join_next().await.is_some() {}
}

/// How many of these go into one request; at least one.
fn fitting(parcels: &[Parcel]) -> usize {
    let mut bytes = 0;
    let fits = parcels.iter().take_while(|parcel| {
        bytes += parcel.file.len();
        bytes <= BYTES
    });
    fits.count().max(1)
}

async fn send(parcels: Vec<Parcel>, surroundings: Arc<Surroundings>) {
    let mut body = Vec::with_capacity(parcels.iter().map(|parcel| parcel.file.len() + 512).sum());
    for parcel in &parcels {
        write(parcel, &mut body);
    }
    let answers = match surroundings.client.results(body).await {
        Ok(answers) if answers.results.len() == parcels.len() => answers.results,
        Ok(_) => vec![ResultAnswer::Again; parcels.len()],
        Err(error) => {
            tracing::debug!("{error}; each of {} results goes by itself", parcels.len());
            vec![ResultAnswer::Again; parcels.len()]
        }
    };
    let mut again = JoinSet::new();
    for (parcel, answer) in parcels.into_iter().zip(answers) {
        let surroundings = Arc::clone(&surroundings);
        let end = async move {
            let Parcel { held, folder, .. } = parcel;
            if answer == ResultAnswer::Again {
                settle(&held, &surroundings, &folder, Disposition::HandIn).await;
            }
            held.done(&surroundings, &folder).await;
        };
        if answer == ResultAnswer::Again {
            again.spawn(end);
        } else {
            end.await;
        }
    }
    while again.join_next().await.is_some() {}
}

fn write(parcel: &Parcel, body: &mut Vec<u8>) {
    let header = ResultHeader {
        lease: parcel.held.assignment.lease.clone(),
        solver_version: SOLVER_VERSION.to_owned(),
        first_log_line: parcel.first_log_line,
        log_lines: parcel.log_lines.clone(),
        length: parcel.file.len() as u64,
    };
    // Plain data with texts for keys: it can always be written.
    let header = serde_json::to_vec(&header).unwrap_or_default();
    body.extend_from_slice(&u32::try_from(header.len()).unwrap_or(u32::MAX).to_le_bytes());
    body.extend_from_slice(&header);
    body.extend_from_slice(&parcel.file);
}
