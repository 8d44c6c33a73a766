//! The worker API, exactly as [`wavetask_protocol::worker`] says, and who of the workers is there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body as HttpBody;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use base64::Engine as _;
use futures::TryStreamExt;
use wavetask_core::schedule::Capacity;
use wavetask_core::{Command, Refusal, TaskRecord};
use wavetask_document::{Document, DocumentError, ResultBuilder, hdf5};
use wavetask_protocol::native::WorkerStatus;
use wavetask_protocol::worker::{
    Assignment, Failure, Heartbeat, HeartbeatAnswer, LeaseAnswer, LeaseRequest, MAXIMUM_AT_ONCE,
    SOLVER_VERSION_HEADER, SmallTasks,
};
use wavetask_protocol::{ErrorKind, LeaseId, TaskError, TaskKind, WorkerId, chain};
use wavetask_store::{ApplyError, DocumentRole, StoreError, put_document};

use crate::answer::Refused;
use crate::app::{App, now};
use crate::extract::{Body, WorkerCaller};
use crate::files::TaskFile;
use crate::staging::{StagingError, receive_file};
use crate::{documents, downloads, logs};

/// Longest time that a request for work is held.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long after its last word a worker counts as there.
const THERE: Duration = Duration::from_secs(60);

/// How long a server that has just started waits for all workers to find it before it takes the largest that it
/// knows for the largest there is: twice the longest pause between a worker's tries.
const SETTLE: Duration = Duration::from_secs(10);

/// Simulations up to this length are sent with the lease, in bytes.
const SHORT_INPUT: u64 = 64 << 10;

/// Memory that reading a result may need beside its size, in bytes.
pub(crate) const BASE_MEMORY: u64 = 64 << 20;

/// The routes of this part.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/worker/lease", post(lease))
        .route("/api/v1/worker/heartbeat", post(heartbeat))
        .route("/api/v1/worker/leases/{lease}/input", get(input))
        .route("/api/v1/worker/leases/{lease}/result", put(result))
        .route("/api/v1/worker/leases/{lease}/failure", post(failure))
        .route("/api/v1/worker/results", post(crate::small_results::results))
}

/// The workers that were heard of lately.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    known: Mutex<HashMap<WorkerId, Seen>>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    waiting: u32,
    total_memory_bytes: u64,
    leases: u64,
}

impl Workers {
    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<WorkerId, Seen>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, seen| seen.waiting > 0 || seen.at.elapsed() < THERE);
        known
    }

    fn saw(&self, worker: &WorkerId, change: impl FnOnce(&mut Seen)) {
        let mut known = self.known();
        let seen = known.entry(worker.clone()).or_insert(Seen {
            at: Instant::now(),
            waiting: 0,
            total_memory_bytes: 0,
            leases: 0,
        });
        seen.at = Instant::now();
        change(seen);
    }

    fn largest_memory(&self) -> u64 {
        self.known().values().map(|seen| seen.total_memory_bytes).max().unwrap_or(0)
    }

    /// For people.
    pub(crate) fn status(&self) -> Vec<WorkerStatus> {
        let idle = |seen: &Seen| if seen.waiting > 0 { 0 } else { seen.at.elapsed().as_millis() };
        self.known()
            .iter()
            .map(|(worker, seen)| WorkerStatus {
                worker: worker.clone(),
                idle_milliseconds: u64::try_from(idle(seen)).unwrap_or(u64::MAX),
                leases: seen.leases,
            })
            .collect()
    }
}

/// Counts a held request for as long as it is held, however that ends.
struct Waiting<'a> {
    app: &'a App,
    worker: WorkerId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.app.workers.saw(&self.worker, |seen| seen.waiting = seen.waiting.saturating_sub(1));
    }
}

async fn lease(
    _: WorkerCaller,
    State(app): State<Arc<App>>,
    Body(request): Body<LeaseRequest>,
) -> Result<Json<LeaseAnswer>, Refused> {
    app.workers.saw(&request.worker, |seen| {
        seen.total_memory_bytes = request.total_memory_bytes;
        seen.waiting += 1;
        if request.idle {
            seen.leases = 0;
        }
    });
    let _waiting = Waiting { app: &app, worker: request.worker.clone() };
    let wait = Duration::from_millis(request.wait_milliseconds).min(LONGEST_WAIT);
    let deadline = tokio::time::Instant::now() + wait;
    let settled = app.begun + SETTLE;
    let mut capacity = Capacity::new(request.free_memory_bytes, request.total_memory_bytes, request.idle);
    loop {
        // Listen first, look second: what becomes ready in between is not missed.
        let ready = app.watch.ready_task();
        tokio::pin!(ready);
        ready.as_mut().enable();
        // Refusing a task for its size is final. A small worker may be the first that finds the server again.
        let settling = tokio::time::Instant::now() < settled;
        capacity.largest_memory_bytes =
            if settling { u64::MAX } else { app.workers.largest_memory().max(request.total_memory_bytes) };
        let (worker, wanted, small) = (request.worker.clone(), capacity.clone(), request.small);
        let leased = app.blocking(move |app| lease_now(app, &worker, &wanted, small.as_ref())).await?;
        if !leased.is_empty() {
            app.workers.saw(&request.worker, |seen| seen.leases += leased.len() as u64);
            let mut leased = leased.into_iter();
            return Ok(Json(LeaseAnswer { assignment: leased.next(), more: leased.collect() }));
        }
        let nothing = LeaseAnswer { assignment: None, more: Vec::new() };
        tokio::select! {
            () = ready => {}
            () = tokio::time::sleep_until(settled), if settling => {}
            () = tokio::time::sleep_until(deadline) => return Ok(Json(nothing)),
            () = app.stopping.cancelled() => return Ok(Json(nothing)),
        }
    }
}

/// What there is for this worker now. Short simulations come along, so that they need not be asked for.
fn lease_now(
    app: &App,
    worker: &WorkerId,
    capacity: &Capacity,
    small: Option<&SmallTasks>,
) -> Result<Vec<Assignment>, Refused> {
    let count = small.map_or(1, |small| small.count.clamp(1, MAXIMUM_AT_ONCE));
    let leases: Vec<LeaseId> = (0..count).map(|_| LeaseId::from_uuid(uuid::Uuid::now_v7())).collect();
    let outcome = app.tasks.lease_several(worker, &leases, capacity, small, now())?;
    app.carry_out(&outcome.effects);
    let assignments = outcome.leased.into_iter().map(|leased| {
        let estimate = leased.record.estimate.unwrap_or_default();
        let input =
            small.filter(|small| small.fits(&estimate)).and_then(|_| short_input(app, &leased.record));
        Assignment {
            lease: leased.lease,
            task: leased.record.id().clone(),
            attempt: leased.record.attempt,
            kind: leased.record.task.kind,
            estimate,
            lease_milliseconds: u64::try_from(app.config.lease.as_millis()).unwrap_or(u64::MAX),
            input,
        }
    });
    Ok(assignments.collect())
}

/// The simulation as text, if it is short. If it cannot be read now, the worker asks for it, and hears why.
fn short_input(app: &App, record: &TaskRecord) -> Option<String> {
    let file = downloads::find(app, record, TaskFile::Input { gzip: false }).ok()??;
    if file.length > SHORT_INPUT {
        return None;
    }
    let bytes = file.read(0..file.length, &*app.blocks).ok()?;
    Some(base64::engine::general_purpose::STANDARD.encode(bytes))
}

async fn heartbeat(
    _: WorkerCaller,
    State(app): State<Arc<App>>,
    Body(heartbeat): Body<Heartbeat>,
) -> Result<Json<HeartbeatAnswer>, Refused> {
    app.workers.saw(&heartbeat.worker, |seen| seen.leases = heartbeat.reports.len() as u64);
    let verdicts = app.blocking(move |app| Ok(app.tasks.heartbeat(&heartbeat.reports, now())?)).await?;
    Ok(Json(HeartbeatAnswer { verdicts }))
}

/// The simulation, as the user uploaded it.
async fn input(
    _: WorkerCaller,
    State(app): State<Arc<App>>,
    Path(lease): Path<String>,
) -> Result<Response, Refused> {
    let lease = lease_id(&lease)?;
    let download = app
        .blocking(move |app| {
            let record = app.tasks.task_by_lease(&lease)?.ok_or_else(lost)?;
            downloads::find(app, &record, TaskFile::Input { gzip: false })?.ok_or_else(lost)
        })
        .await?;
    let length = download.length;
    let mut response = HttpBody::from_stream(downloads::stream(&app, download, 0, length)).into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    Ok(response)
}

/// Takes a result: on disk, taken apart, durable, visible; in this order, and 200 only after the last.
async fn result(
    _: WorkerCaller,
    State(app): State<Arc<App>>,
    Path(lease): Path<String>,
    headers: HeaderMap,
    body: HttpBody,
) -> Result<Json<serde_json::Value>, Refused> {
    let lease = lease_id(&lease)?;
    let solver_version = solver_version(&headers);
    let record = {
        let lease = lease.clone();
        app.blocking(move |app| app.tasks.task_by_any_lease(&lease)?.ok_or_else(lost)).await?
    };
    let limits = &app.config.limits;
    if app.staging.free_bytes()? < limits.reserve_bytes {
        return Err(Refused::no_room());
    }
    let stream = body.into_data_stream().map_err(std::io::Error::other);
    let received = receive_file(app.staging.root(), stream, limits.result_bytes, limits.reserve_bytes)
        .await
        .map_err(|error| match error {
            StagingError::TooLarge { limit } => Refused::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "result.too_large",
                format!("the result is larger than {limit} bytes"),
            ),
            StagingError::NoRoom => Refused::no_room(),
            // Not the worker's last word: it has the result still, and a refusal would throw it away.
            StagingError::Body(cause) => Refused::new(
                StatusCode::REQUEST_TIMEOUT,
                "result.broke_off",
                format!("the result broke off: {cause}"),
            ),
            error => Refused::internal(&error),
        })?;
    let _work = app.budget.work(BASE_MEMORY.saturating_add(received.bytes)).await?;
    // A worker that hangs up does not leave a publication half done.
    let publishing = {
        let own = Arc::clone(&app);
        app.background
            .spawn_blocking(move || publish(&own, &record, &lease, solver_version, received.file.as_file()))
    };
    publishing.await.unwrap_or_else(|error| Err(Refused::internal(&error)))?;
    Ok(Json(serde_json::json!({})))
}

fn publish(
    app: &App,
    record: &TaskRecord,
    lease: &LeaseId,
    solver_version: Option<String>,
    file: &std::fs::File,
) -> Result<(), Refused> {
    let task = record.id();
    match app.apply(task, &Command::BeginPublish { lease: lease.clone() }) {
        Ok(applied) if applied.record.state.is_final() => return Ok(()),
        Ok(_) => {}
        Err(error) => return Err(worker_refused(app, record, lease, error)),
    }
    let published = make_result(app, record, lease, solver_version, file);
    if let Err(refused) = &published
        && refused.status().is_server_error()
        && let Err(error) = app.apply(task, &Command::InterruptPublish { lease: lease.clone() })
    {
        tracing::debug!(%task, error = chain(&error), "an interrupted publication could not be noted");
    }
    published
}

fn make_result(
    app: &App,
    record: &TaskRecord,
    lease: &LeaseId,
    solver_version: Option<String>,
    file: &std::fs::File,
) -> Result<(), Refused> {
    let task = record.id();
    let mut session = app.blocks.session();
    let limits = crate::validation::document_limits(&app.config);
    let log = logs::text(app, record)?;
    let made = hdf5::read_result_file(file, &limits, &mut *session)
        .and_then(|output| assemble(app, record, &output, &log, &mut *session));
    let (document, diverged) = match made {
        Ok(made) => made,
        Err(DocumentError::Io { doing, source }) => return Err(StoreError::from_io(doing, source).into()),
        Err(error) => {
            let error = TaskError {
                kind: ErrorKind::Solver,
                code: "solver.bad_result".to_owned(),
                message: format!(
                    "The solver's result cannot be used: {}. This is a fault of the solver: please report it.",
                    chain(&error)
                ),
            };
            tracing::error!(%task, error = error.message, "a result is refused");
            let command = Command::Fail { lease: lease.clone(), error, solver_version };
            app.apply(task, &command).map_err(|error| worker_refused(app, record, lease, error))?;
            return Err(lost());
        }
    };
    let digest = document.digest().map_err(|error| Refused::internal(&error))?;
    let stored = put_document(&mut *session, &document, digest)?;
    session.make_durable()?;
    let command = Command::Publish { lease: lease.clone(), result: Some(digest), diverged, solver_version };
    match app.tasks.apply_with_document(task, &command, &stored, now()) {
        Ok(applied) => {
            app.carry_out(&applied.effects);
            Ok(())
        }
        Err(error) => Err(worker_refused(app, record, lease, error)),
    }
}

/// The result as the client reads it: the simulation as it was sent, the log, and what the solver found.
pub(crate) fn assemble(
    app: &App,
    record: &TaskRecord,
    output: &Document,
    log: &str,
    session: &mut dyn wavetask_store::BlockSession,
) -> Result<(Document, bool), DocumentError> {
    let malformed =
        |what: &'static str| DocumentError::Malformed { what: what.into(), location: "result".into() };
    let data = output.fragment("data")?.ok_or_else(|| malformed("there is no `data`"))?;
    let diverged = output.fragment("diverged")? == Some("true");
    let stored = |refused: Refused| DocumentError::Io {
        doing: "reading the task's input and log",
        source: std::io::Error::other(refused.message().to_owned()),
    };
    let input = documents::load(app, record.id(), DocumentRole::Input)
        .map_err(stored)?
        .ok_or_else(|| malformed("the input is gone"))?;
    // The input's blocks belong to the task; those of the result are pinned by the session that put them.
    for array in input.arrays.values() {
        for block in &array.blocks {
            session.pin(block).map_err(|error| DocumentError::Io {
                doing: "keeping the input's blocks",
                source: std::io::Error::other(error),
            })?;
        }
    }
    if matches!(record.task.kind, TaskKind::ModeSolver | TaskKind::Evaluation) {
        // What the client reads is the data alone.
        let data = output.subdocument("data/0")?.ok_or_else(|| malformed("there is no data"))?;
        return Ok((data, diverged));
    }
    let mut result = ResultBuilder::new(documents::result_class(record.task.kind, &input), session);
    documents::embed_simulation(&mut result, record.task.kind, &input)?;
    if record.task.kind == TaskKind::VolumeMesh {
        result.verbatim("monitors", input.fragment("monitors")?.unwrap_or("[]"))?;
    }
    if record.task.kind == TaskKind::Mode {
        let modes = output.subdocument("data/0")?.ok_or_else(|| malformed("there are no modes"))?;
        result.embed("modes_raw", &modes)?;
        result.verbatim("data", "[]")?;
        result.member("log", log)?;
        return Ok((result.finish()?, diverged));
    }
    result.verbatim("data", data)?;
    result.member("log", log)?;
    for (path, array) in &output.arrays {
        if !path.starts_with("data/") {
            return Err(malformed("there is an array outside of `data`"));
        }
        result.descriptor(path, array.clone())?;
    }
    Ok((result.finish()?, diverged))
}

async fn failure(
    _: WorkerCaller,
    State(app): State<Arc<App>>,
    Path(lease): Path<String>,
    headers: HeaderMap,
    Body(failure): Body<Failure>,
) -> Result<Json<serde_json::Value>, Refused> {
    let lease = lease_id(&lease)?;
    let solver_version = solver_version(&headers);
    app.blocking(move |app| {
        let record = app.tasks.task_by_any_lease(&lease)?.ok_or_else(lost)?;
        let command = match failure {
            Failure::Failed { error, log_lines, first_log_line } => {
                if record.is_leased_by(&lease) {
                    app.tasks.append_log(record.id(), record.attempt, first_log_line, &log_lines)?;
                }
                Command::Fail { lease: lease.clone(), error, solver_version }
            }
            Failure::Aborted => Command::ConfirmAbort { lease: lease.clone() },
            Failure::Returned => Command::Return { lease: lease.clone() },
        };
        app.apply(record.id(), &command).map_err(|error| worker_refused(app, &record, &lease, error))?;
        Ok(())
    })
    .await?;
    Ok(Json(serde_json::json!({})))
}

/// What a worker is told when its report changes nothing: that its work is no longer wanted.
fn worker_refused(app: &App, record: &TaskRecord, lease: &LeaseId, error: ApplyError) -> Refused {
    match error {
        ApplyError::Refused(Refusal::AbortRequested) => {
            // It has finished anyway, so nothing runs that would have to be waited for.
            match app.apply(record.id(), &Command::ConfirmAbort { lease: lease.clone() }) {
                Ok(_) | Err(ApplyError::Refused(_) | ApplyError::NoSuchTask) => lost(),
                Err(error) => error.into(),
            }
        }
        ApplyError::Refused(_) | ApplyError::NoSuchTask => lost(),
        error => error.into(),
    }
}

pub(crate) fn lost() -> Refused {
    Refused::new(StatusCode::GONE, "lease.lost", "the lease is no longer valid").hint("drop the work")
}

/// The version that the worker names; none if it is no plain short text.
fn solver_version(headers: &HeaderMap) -> Option<String> {
    let version = headers.get(SOLVER_VERSION_HEADER)?.to_str().ok()?;
    is_solver_version(version).then(|| version.to_owned())
}

/// Whether a worker may name its solver so.
pub(crate) fn is_solver_version(text: &str) -> bool {
    (1..=64).contains(&text.len()) && !text.contains(|character: char| character.is_control())
}

pub(crate) fn lease_id(text: &str) -> Result<LeaseId, Refused> {
    text.parse().map_err(|_| lost())
}
