//! A server that follows a script and remembers what it has heard, and a worker that serves it.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use tokio::sync::oneshot;
use wavetask_protocol::worker::{
    Assignment, Failure, Heartbeat, HeartbeatAnswer, LeaseAnswer, LeaseRequest, ResultAnswer, ResultAnswers,
    ResultHeader, Verdict,
};
use wavetask_protocol::{Estimate, TaskKind};
use wavetask_worker::process::Program;
use wavetask_worker::room::Capacity;
use wavetask_worker::{WorkerConfig, WorkerError, run};

/// What the server will say, and what it has heard.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) queue: VecDeque<Assignment>,
    pub(crate) verdicts: BTreeMap<String, Verdict>,
    /// Statuses of the next answers to results; 200 when there is none left.
    pub(crate) result_statuses: VecDeque<u16>,
    pub(crate) input_status: Option<u16>,
    /// Whether questions that do not want to wait get no answer.
    pub(crate) silent_when_hurried: bool,
    /// The solver of small tasks, a script that reads orders; each answer to a lease request then holds as many
    /// tasks as are wanted, with their input.
    pub(crate) several: Option<String>,
    /// How many requests with several results fail as a whole.
    pub(crate) bulk_failures: usize,
    /// What is said, once, to a result that comes with others; the rest are published.
    pub(crate) bulk_answers: BTreeMap<String, ResultAnswer>,
    /// While this file has fewer lines, several results at once get no answer.
    pub(crate) answers_wait_for: Option<(PathBuf, usize)>,
    /// How many results came at once.
    pub(crate) loads: Vec<usize>,
    pub(crate) key: String,
    pub(crate) url: String,
    pub(crate) requests: Vec<LeaseRequest>,
    /// How many of them were answered with tasks.
    pub(crate) answered: usize,
    pub(crate) log: BTreeMap<String, BTreeMap<u64, String>>,
    pub(crate) stages: Vec<String>,
    pub(crate) results: BTreeMap<String, Vec<u8>>,
    pub(crate) failures: BTreeMap<String, Vec<Failure>>,
    /// Lines of the log that were there when a result came.
    pub(crate) lines_at_result: BTreeMap<String, usize>,
}

pub(crate) type Shared = Arc<Mutex<Script>>;

pub(crate) fn lock(shared: &Shared) -> MutexGuard<'_, Script> {
    shared.lock().unwrap()
}

fn check_key(shared: &Shared, headers: &HeaderMap) -> Result<(), StatusCode> {
    let expected = format!("Bearer {}", lock(shared).key);
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    if given == Some(&expected) { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
}

async fn lease(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Json(request): Json<LeaseRequest>,
) -> Result<Json<LeaseAnswer>, StatusCode> {
    check_key(&shared, &headers)?;
    let wait = Duration::from_millis(request.wait_milliseconds);
    let several = request.small.filter(|_| lock(&shared).several.is_some()).map(|small| small.count);
    lock(&shared).requests.push(request);
    if wait.is_zero() && lock(&shared).silent_when_hurried {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let deadline = Instant::now() + wait;
    loop {
        let mut next: VecDeque<Assignment> = {
            let mut script = lock(&shared);
            let count = script.queue.len().min(several.unwrap_or(1) as usize);
            script.queue.drain(..count).collect()
        };
        if let Some(first) = next.pop_front() {
            lock(&shared).answered += 1;
            return Ok(Json(LeaseAnswer { assignment: Some(first), more: next.into() }));
        }
        if Instant::now() >= deadline {
            return Ok(Json(LeaseAnswer { assignment: None, more: Vec::new() }));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn heartbeat(State(shared): State<Shared>, Json(beat): Json<Heartbeat>) -> Json<HeartbeatAnswer> {
    let mut script = lock(&shared);
    let mut verdicts = Vec::new();
    for report in beat.reports {
        let lease = report.lease.to_string();
        script.stages.push(report.progress.stage);
        let log = script.log.entry(lease.clone()).or_default();
        for (number, line) in (report.first_log_line..).zip(report.log_lines) {
            log.insert(number, line);
        }
        verdicts.push(script.verdicts.get(&lease).copied().unwrap_or(Verdict::Continue));
    }
    Json(HeartbeatAnswer { verdicts })
}

async fn input(State(shared): State<Shared>) -> Result<&'static str, StatusCode> {
    match lock(&shared).input_status {
        Some(status) => Err(StatusCode::from_u16(status).unwrap()),
        None => Ok("the simulation"),
    }
}

async fn result(State(shared): State<Shared>, UrlPath(lease): UrlPath<String>, body: Bytes) -> StatusCode {
    let mut script = lock(&shared);
    match script.result_statuses.pop_front() {
        Some(status) => StatusCode::from_u16(status).unwrap(),
        None => {
            let lines = script.log.get(&lease).map_or(0, BTreeMap::len);
            script.lines_at_result.insert(lease.clone(), lines);
            script.results.insert(lease, body.to_vec());
            StatusCode::OK
        }
    }
}

/// Several results at once.
async fn results(State(shared): State<Shared>, body: Bytes) -> Result<Json<ResultAnswers>, StatusCode> {
    let awaited = lock(&shared).answers_wait_for.clone();
    while awaited.as_ref().is_some_and(|(file, lines)| {
        std::fs::read(file).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count()) < *lines
    }) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut script = lock(&shared);
    if script.bulk_failures > 0 {
        script.bulk_failures -= 1;
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let mut answers = Vec::new();
    let mut rest = &body[..];
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (header, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        let header: ResultHeader = serde_json::from_slice(header).unwrap();
        let (file, after) = after.split_at(usize::try_from(header.length).unwrap());
        rest = after;
        let lease = header.lease.to_string();
        let answer = script.bulk_answers.remove(&lease).unwrap_or(ResultAnswer::Published);
        answers.push(answer);
        if answer == ResultAnswer::Published {
            let log = script.log.entry(lease.clone()).or_default();
            for (number, line) in (header.first_log_line..).zip(header.log_lines) {
                log.insert(number, line);
            }
            assert_eq!(script.results.insert(lease, file.to_vec()), None, "published twice");
        }
    }
    script.loads.push(answers.len());
    Ok(Json(ResultAnswers { results: answers }))
}

async fn failure(
    State(shared): State<Shared>,
    UrlPath(lease): UrlPath<String>,
    Json(failure): Json<Failure>,
) -> StatusCode {
    lock(&shared).failures.entry(lease).or_default().push(failure);
    StatusCode::OK
}

pub(crate) struct Setting {
    pub(crate) shared: Shared,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) worker: tokio::task::JoinHandle<Result<(), WorkerError>>,
}

pub(crate) fn assignment(number: u32) -> Assignment {
    Assignment {
        lease: format!("lease-{number}").parse().unwrap(),
        task: format!("task-{number}").parse().unwrap(),
        attempt: 1,
        kind: TaskKind::HeatCharge,
        estimate: Estimate { unknowns: 10, memory_bytes: 64 << 20, cpu_seconds: 1.0 },
        lease_milliseconds: 30_000,
        input: None,
    }
}

pub(crate) fn config(url: String, folder: &Path, solver: &str) -> WorkerConfig {
    WorkerConfig {
        url,
        key_file: folder.join("worker.key"),
        work_folder: folder.join("work"),
        capacity: Capacity { cores: 2, memory_bytes: 1 << 30 },
        // The worker's arguments follow: $4 is the input, $6 the output, $8 the number of threads.
        program: Program {
            path: "/bin/sh".into(),
            arguments: vec!["-c".into(), solver.into(), "solver".into()],
        },
        small_program: None,
    }
}

/// A server with `tasks` in its queue and a worker whose solver is this script.
pub(crate) async fn set(solver: &str, tasks: u32, prepare: impl FnOnce(&mut Script)) -> Setting {
    let mut script =
        Script { queue: (1..=tasks).map(assignment).collect(), key: "right".to_owned(), ..Script::default() };
    prepare(&mut script);
    let shared = Arc::new(Mutex::new(script));
    let router = Router::new()
        .route("/api/v1/worker/lease", post(lease))
        .route("/api/v1/worker/heartbeat", post(heartbeat))
        .route("/api/v1/worker/results", post(results))
        .route("/api/v1/worker/leases/{lease}/input", get(input))
        .route("/api/v1/worker/leases/{lease}/result", put(result))
        .route("/api/v1/worker/leases/{lease}/failure", post(failure))
        .with_state(Arc::clone(&shared));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    lock(&shared).url.clone_from(&url);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("worker.key"), "right\n").unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut config = config(url, folder.path(), solver);
    config.small_program = lock(&shared).several.as_ref().map(|script| Program {
        path: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into(), "solver".into()],
    });
    let worker = tokio::spawn(run(config, async {
        let _ = stopped.await;
    }));
    Setting { shared, folder, stop: Some(stop), worker }
}

impl Setting {
    pub(crate) async fn until<T>(&self, what: &str, look: impl Fn(&Script) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(found) = look(&lock(&self.shared)) {
                return found;
            }
            assert!(Instant::now() < deadline, "still not: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn failure(&self, lease: &str) -> Failure {
        self.until("a failure", |script| script.failures.get(lease)?.first().cloned()).await
    }

    pub(crate) async fn result(&self, lease: &str) -> Vec<u8> {
        self.until("a result", |script| script.results.get(lease).cloned()).await
    }

    /// Stops the worker and checks that it leaves nothing behind.
    pub(crate) async fn stop(mut self) -> Duration {
        let asked = Instant::now();
        self.stop.take().unwrap().send(()).unwrap();
        self.worker.await.unwrap().unwrap();
        let left: Vec<PathBuf> = std::fs::read_dir(self.folder.path().join("work"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new());
        asked.elapsed()
    }
}

/// Whether a process whose number stands in this file is alive.
pub(crate) fn alive(file: &Path) -> bool {
    let number = std::fs::read_to_string(file).unwrap();
    std::fs::read_to_string(format!("/proc/{}/stat", number.trim()))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}
