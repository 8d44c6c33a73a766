//! Several small results in one request: two waits for the disk for all of them instead of three for each.
//!
//! Whatever is not plain here (a task that is to be stopped, a result that cannot be read) is answered
//! [`Again`](ResultAnswer::Again): the worker sends that one by itself, and the road for single results knows what
//! to do with it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::StatusCode;
use futures::TryStreamExt;
use wavetask_core::{Command, TaskRecord};
use wavetask_document::{DocumentError, hdf5};
use wavetask_protocol::worker::{MAXIMUM_RESULTS, ResultAnswer, ResultAnswers, ResultHeader};
use wavetask_protocol::{TaskState, chain};
use wavetask_store::{BlockSession, Done, Operation, StoreError, StoredDocument, put_document};

use crate::answer::Refused;
use crate::app::{App, now};
use crate::extract::WorkerCaller;
use crate::logs;
use crate::workers::{BASE_MEMORY, assemble};

/// Most results in one request.
const MOST: usize = 256;

/// Takes several results: in blocks, durable, visible; in this order, and an answer only after the last.
pub(crate) async fn results(
    _: WorkerCaller,
    State(app): State<Arc<App>>,
    body: HttpBody,
) -> Result<Json<ResultAnswers>, Refused> {
    if app.staging.free_bytes()? < app.config.limits.reserve_bytes {
        return Err(Refused::no_room());
    }
    let mut bytes = Vec::new();
    let mut stream = body.into_data_stream();
    let broke_off = |error: axum::Error| {
        Refused::new(
            StatusCode::REQUEST_TIMEOUT,
            "result.broke_off",
            format!("the results broke off: {error}"),
        )
    };
    while let Some(piece) = stream.try_next().await.map_err(broke_off)? {
        if bytes.len() + piece.len() > MAXIMUM_RESULTS {
            let message = format!("the results are larger than {MAXIMUM_RESULTS} bytes");
            return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "result.too_large", message));
        }
        bytes.extend_from_slice(&piece);
    }
    let _work = app.budget.work(BASE_MEMORY.saturating_add(2 * bytes.len() as u64)).await?;
    // A worker that hangs up does not leave a publication half done.
    let own = Arc::clone(&app);
    let publishing = app.background.spawn_blocking(move || publish(&own, &split(&bytes)?));
    let results = publishing.await.unwrap_or_else(|error| Err(Refused::internal(&error)))?;
    Ok(Json(ResultAnswers { results }))
}

/// One result of the body.
struct Part<'b> {
    header: ResultHeader,
    file: &'b [u8],
}

fn split(mut bytes: &[u8]) -> Result<Vec<Part<'_>>, Refused> {
    let cut = || Refused::bad_request("the results are cut off");
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| cut())?;
        let (header, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        let header: ResultHeader = serde_json::from_slice(header)
            .map_err(|error| Refused::bad_request(format!("the header of a result is not one: {error}")))?;
        let length = usize::try_from(header.length).map_err(|_| cut())?;
        let (file, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        parts.push(Part { header, file });
        if parts.len() > MOST {
            return Err(Refused::bad_request(format!("more than {MOST} results at once")));
        }
        bytes = rest;
    }
    Ok(parts)
}

fn publish(app: &App, parts: &[Part<'_>]) -> Result<Vec<ResultAnswer>, Refused> {
    let mut session = app.blocks.session();
    let mut operations = Vec::new();
    let mut answers = Vec::with_capacity(parts.len());
    for part in parts {
        let lease = &part.header.lease;
        let record = app.tasks.task_by_any_lease(lease)?;
        answers.push(match record {
            None => ResultAnswer::Gone,
            Some(record) if record.is_leased_by(lease) && record.state != TaskState::Aborting => {
                match make(app, &record, part, &mut *session)? {
                    Some((stored, diverged)) => {
                        operations.extend(publication(&record, part, stored, diverged));
                        ResultAnswer::Published
                    }
                    None => ResultAnswer::Again,
                }
            }
            // Perhaps a repetition: the road for single results tells.
            Some(_) => ResultAnswer::Again,
        });
    }
    session.make_durable()?;
    let done = app.tasks.transact(&operations, now())?;
    let mut published = answers.iter_mut().filter(|answer| **answer == ResultAnswer::Published);
    // Two operations for each result, of which the second publishes.
    for done in done.into_iter().skip(1).step_by(2) {
        let Some(answer) = published.next() else { break };
        match done.map(Done::into_task) {
            Ok(Some(applied)) => app.carry_out(&applied.effects),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(error = chain(&error), "one of several results was not published");
                *answer = ResultAnswer::Again;
            }
        }
    }
    Ok(answers)
}

/// The document of a result; none if the result cannot be used.
fn make(
    app: &App,
    record: &TaskRecord,
    part: &Part<'_>,
    session: &mut dyn BlockSession,
) -> Result<Option<(StoredDocument, bool)>, Refused> {
    let log = logs::text_with(app, record, Some((part.header.first_log_line, &part.header.log_lines)))?;
    let limits = crate::validation::document_limits(&app.config);
    let made = hdf5::read_result(&part.file, &limits, &mut *session)
        .and_then(|output| assemble(app, record, &output, &log, &mut *session))
        .and_then(|(document, diverged)| Ok((document.digest()?, document, diverged)));
    match made {
        Ok((digest, document, diverged)) => Ok(Some((put_document(session, &document, digest)?, diverged))),
        Err(DocumentError::Io { doing, source }) => Err(StoreError::from_io(doing, source).into()),
        Err(error) => {
            tracing::debug!(task = %record.id(), error = chain(&error), "one of several results cannot be used");
            Ok(None)
        }
    }
}

fn publication(
    record: &TaskRecord,
    part: &Part<'_>,
    document: StoredDocument,
    diverged: bool,
) -> [Operation; 2] {
    let header = &part.header;
    let version = &header.solver_version;
    let command = Command::Publish {
        lease: header.lease.clone(),
        result: Some(document.digest),
        diverged,
        solver_version: crate::workers::is_solver_version(version).then(|| version.clone()),
    };
    [
        Operation::AppendLog {
            lease: header.lease.clone(),
            first_line: header.first_log_line,
            lines: header.log_lines.clone(),
        },
        Operation::Apply { task: record.id().clone(), command, document: Some(document) },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(lease: &str, file: &[u8]) -> Vec<u8> {
        let header = ResultHeader {
            lease: lease.parse().unwrap(),
            solver_version: "1".to_owned(),
            first_log_line: 3,
            log_lines: vec!["done".to_owned()],
            length: file.len() as u64,
        };
        let header = serde_json::to_vec(&header).unwrap();
        let length = u32::try_from(header.len()).unwrap().to_le_bytes();
        [&length[..], &header, file].concat()
    }

    #[test]
    fn results_are_told_apart_and_cut_ones_refused() {
        let whole = [part("lease-1", b"one"), part("lease-2", b""), part("lease-3", b"three")].concat();
        let parts = split(&whole).unwrap();
        let files: Vec<_> = parts.iter().map(|part| (part.header.lease.as_str(), part.file)).collect();
        assert_eq!(files, [("lease-1", &b"one"[..]), ("lease-2", b""), ("lease-3", b"three")]);
        let ends =
            [part("lease-1", b"one").len(), part("lease-1", b"one").len() + part("lease-2", b"").len()];
        for length in 1..whole.len() {
            assert_eq!(split(&whole[..length]).is_ok(), ends.contains(&length), "{length}");
        }
        assert!(split(&[0xff; 64]).is_err());
        assert!(split(&part("lease-1", b"").repeat(MOST + 1)).is_err());
    }
}
