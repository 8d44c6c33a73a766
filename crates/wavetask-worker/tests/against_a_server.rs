//! The whole worker against a server that says what each test wants to hear, with shell scripts as solvers:
//! what is tested is who is told what, when, and that no process is left behind.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

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
use wavetask_protocol::{ErrorKind, Estimate, TaskKind};
use wavetask_worker::process::Program;
use wavetask_worker::room::Capacity;
use wavetask_worker::{WorkerConfig, WorkerError, run};

/// What the server will say, and what it has heard.
#[derive(Default)]
struct Script {
    queue: VecDeque<Assignment>,
    verdicts: BTreeMap<String, Verdict>,
    /// Statuses of the next answers to results; 200 when there is none left.
    result_statuses: VecDeque<u16>,
    input_status: Option<u16>,
    /// Whether questions that do not want to wait get no answer.
    silent_when_hurried: bool,
    /// The solver of small tasks, a script that reads orders; each answer to a lease request then holds as many
    /// tasks as are wanted, with their input.
    several: Option<String>,
    /// How many requests with several results fail as a whole.
    bulk_failures: usize,
    /// What is said, once, to a result that comes with others; the rest are published.
    bulk_answers: BTreeMap<String, ResultAnswer>,
    /// While this file has fewer lines, several results at once get no answer.
    answers_wait_for: Option<(PathBuf, usize)>,
    /// How many results came at once.
    loads: Vec<usize>,
    key: String,
    url: String,
    requests: Vec<LeaseRequest>,
    /// How many of them were answered with tasks.
    answered: usize,
    log: BTreeMap<String, BTreeMap<u64, String>>,
    stages: Vec<String>,
    results: BTreeMap<String, Vec<u8>>,
    failures: BTreeMap<String, Vec<Failure>>,
    /// Lines of the log that were there when a result came.
    lines_at_result: BTreeMap<String, usize>,
}

type Shared = Arc<Mutex<Script>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Script> {
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

struct Setting {
    shared: Shared,
    folder: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    worker: tokio::task::JoinHandle<Result<(), WorkerError>>,
}

fn assignment(number: u32) -> Assignment {
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

fn config(url: String, folder: &Path, solver: &str) -> WorkerConfig {
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
async fn set(solver: &str, tasks: u32, prepare: impl FnOnce(&mut Script)) -> Setting {
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
    async fn until<T>(&self, what: &str, look: impl Fn(&Script) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(found) = look(&lock(&self.shared)) {
                return found;
            }
            assert!(Instant::now() < deadline, "still not: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn failure(&self, lease: &str) -> Failure {
        self.until("a failure", |script| script.failures.get(lease)?.first().cloned()).await
    }

    async fn result(&self, lease: &str) -> Vec<u8> {
        self.until("a result", |script| script.results.get(lease).cloned()).await
    }

    /// Stops the worker and checks that it leaves nothing behind.
    async fn stop(mut self) -> Duration {
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
fn alive(file: &Path) -> bool {
    let number = std::fs::read_to_string(file).unwrap();
    std::fs::read_to_string(format!("/proc/{}/stat", number.trim()))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

#[tokio::test]
async fn a_result_is_handed_in_after_its_log() {
    let script = r#"
        test "$(cat "$4")" = "the simulation" || exit 9
        echo '{"is":"progress","percent":50,"residual":0.5,"stage":"halfway"}'
        sleep 0.6
        i=0; while [ $i -lt 2500 ]; do echo "line $i"; i=$((i+1)); done
        echo "result of $8 threads" > "$6""#;
    let setting = set(script, 1, |_| ()).await;
    assert_eq!(setting.result("lease-1").await, b"result of 2 threads\n");
    {
        let script = lock(&setting.shared);
        assert_eq!(script.lines_at_result["lease-1"], 2500);
        assert_eq!(script.log["lease-1"][&2499], "line 2499");
        assert!(script.stages.iter().any(|stage| stage == "halfway"), "{:?}", script.stages);
        assert!(script.failures.is_empty());
    }
    setting.stop().await;
}

#[tokio::test]
async fn each_end_of_a_solver_is_told_as_what_it_is() {
    let script = r#"
        case "$6" in
            *lease-1/*) echo '{"is":"failed","error":{"kind":"solver","code":"heat/mesh","message":"too thin"}}'; exit 3;;
            *lease-2/*) kill -9 $$;;
            *lease-3/*) echo "memory allocation of 99 bytes failed" >&2; kill -ABRT $$;;
            *lease-4/*) exit 0;;
            *lease-5/*) echo "thread 'main' panicked at x.rs" >&2; exit 101;;
        esac"#;
    let setting = set(script, 5, |_| ()).await;
    for (number, kind, code) in [
        (1, ErrorKind::Solver, "heat/mesh"),
        (2, ErrorKind::Infrastructure, "solver.killed"),
        (3, ErrorKind::Resources, "solver.out_of_memory"),
        (4, ErrorKind::Solver, "solver.no_result"),
        (5, ErrorKind::Solver, "solver.crashed"),
    ] {
        match setting.failure(&format!("lease-{number}")).await {
            Failure::Failed { error, log_lines, first_log_line } => {
                assert_eq!((error.kind, error.code.as_str()), (kind, code), "{}", error.message);
                let told = lock(&setting.shared).log.get(&format!("lease-{number}")).map_or(0, BTreeMap::len);
                assert!(told as u64 >= first_log_line && (told > 0 || !log_lines.is_empty()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(lock(&setting.shared).results.is_empty());
    setting.stop().await;
}

#[tokio::test]
async fn an_abort_ends_the_solver_within_a_second() {
    let setting = set(r#"echo $$ > "$6.pid"; echo started; exec sleep 600"#, 1, |_| ()).await;
    let pid_file = setting.folder.path().join("work/lease-1/result.hdf5.pid");
    setting.until("the solver's first line", |script| script.log.get("lease-1")?.get(&0).cloned()).await;
    assert!(alive(&pid_file));
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    let asked = Instant::now();
    lock(&setting.shared).verdicts.insert("lease-1".to_owned(), Verdict::Abort);
    assert_eq!(setting.failure("lease-1").await, Failure::Aborted);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(!Path::new("/proc").join(pid.trim()).exists());
    setting.stop().await;
}

#[tokio::test]
async fn a_lost_lease_is_dropped_without_a_word() {
    let setting = set("echo started; exec sleep 600", 1, |script| {
        script.verdicts.insert("lease-1".to_owned(), Verdict::Lost);
    })
    .await;
    let folder = setting.folder.path().join("work/lease-1");
    setting.until("a heartbeat", |script| script.stages.first().cloned()).await;
    let asked = Instant::now();
    while folder.exists() {
        assert!(asked.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The first question is idle, too: it was asked before there was a task.
    setting
        .until("the next question", |script| {
            (script.requests.len() > 1 && script.requests.last()?.idle).then_some(())
        })
        .await;
    assert!(lock(&setting.shared).failures.is_empty());
    setting.stop().await;
}

#[tokio::test]
async fn a_result_outlives_a_server_that_has_trouble() {
    let setting = set(r#"echo "the result" > "$6""#, 1, |script| {
        script.result_statuses.extend([503, 500, 507, 401]);
    })
    .await;
    assert_eq!(setting.result("lease-1").await, b"the result\n");
    assert!(lock(&setting.shared).failures.is_empty());
    setting.stop().await;
}

#[tokio::test]
async fn while_a_result_waits_for_room_no_new_task_is_taken() {
    let setting = set(r#"echo "the result" > "$6""#, 1, |script| {
        script.result_statuses.extend(std::iter::repeat_n(507, 6));
    })
    .await;
    setting.until("a refusal", |script| (script.result_statuses.len() < 6).then_some(())).await;
    // A question that was on its way already is answered within this time.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    lock(&setting.shared).queue.push_back(assignment(2));
    while !lock(&setting.shared).result_statuses.is_empty() {
        assert_eq!(lock(&setting.shared).queue.len(), 1, "task 2 must wait");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    setting.result("lease-1").await;
    setting.result("lease-2").await;
    setting.stop().await;
}

#[tokio::test]
async fn a_result_that_the_server_will_never_take_is_told_as_a_failure() {
    let setting = set(r#"echo x > "$6""#, 2, |script| script.result_statuses.extend([413, 410])).await;
    let failures = setting.until("a failure", |script| script.failures.values().next().cloned()).await;
    assert!(
        matches!(&failures[0], Failure::Failed { error, .. } if error.code == "worker.result_refused"),
        "{failures:?}"
    );
    setting.until("idleness", |script| (script.requests.last()?.idle).then_some(())).await;
    let script_failures = lock(&setting.shared).failures.len();
    assert_eq!(script_failures, 1, "nothing is said about a lease that is gone");
    setting.stop().await;
}

#[tokio::test]
async fn no_more_solvers_than_cores_and_they_share_them() {
    let script = r#"
        d=$(dirname "$(dirname "$6")"); touch "$d/run-$$"
        ls "$d" | grep -c run- > "$6.new"; sleep 0.3; echo "$8" >> "$6.new"
        rm "$d/run-$$"; mv "$6.new" "$6""#;
    let setting = set(script, 6, |_| ()).await;
    for number in 1..=6 {
        let text = String::from_utf8(setting.result(&format!("lease-{number}")).await).unwrap();
        let (at_once, threads) = text.trim().split_once('\n').unwrap();
        assert!(at_once.parse::<u32>().unwrap() <= 2, "{text}");
        assert!(["1", "2"].contains(&threads), "{text}");
    }
    let idle = |script: &Script| script.requests.last()?.idle.then_some(script.requests.len());
    let asked = setting.until("idleness", idle).await;
    assert!(asked < 100, "the server was asked {asked} times for 6 tasks");
    setting.stop().await;
}

#[tokio::test]
async fn leaving_gives_tasks_back_and_hands_in_what_is_finished() {
    let script = r#"case "$6" in *lease-1/*) exec sleep 600;; *) echo done > "$6";; esac"#;
    let setting = set(script, 2, |script| script.result_statuses.extend([500, 500])).await;
    setting.until("the first try", |script| (script.result_statuses.len() < 2).then_some(())).await;
    let shared = Arc::clone(&setting.shared);
    let took = setting.stop().await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let script = lock(&shared);
    assert_eq!(script.failures["lease-1"], [Failure::Returned]);
    assert_eq!(script.results["lease-2"], b"done\n");
}

#[tokio::test]
async fn leaving_gives_back_what_has_not_set_out_yet() {
    let setting = set("exit 0", 1, |script| script.silent_when_hurried = true).await;
    let asks_again = |script: &Script| (script.requests.last()?.wait_milliseconds == 0).then_some(());
    setting.until("the question for a second task", asks_again).await;
    let shared = Arc::clone(&setting.shared);
    let took = setting.stop().await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(lock(&shared).failures["lease-1"], [Failure::Returned]);
}

#[tokio::test]
async fn a_new_key_is_read_when_the_old_one_is_refused() {
    let setting = set(r#"echo x > "$6""#, 1, |script| script.key = "new".to_owned()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(lock(&setting.shared).requests.is_empty());
    std::fs::write(setting.folder.path().join("worker.key"), "new").unwrap();
    setting.result("lease-1").await;
    setting.stop().await;
}

#[tokio::test]
async fn an_input_that_is_gone_ends_the_attempt() {
    let setting = set("exit 0", 1, |script| script.input_status = Some(410)).await;
    setting.until("two questions", |script| (script.requests.len() >= 3).then_some(())).await;
    let script_is_silent = {
        let script = lock(&setting.shared);
        script.failures.is_empty() && script.results.is_empty()
    };
    assert!(script_is_silent);
    setting.stop().await;
}

#[tokio::test]
async fn what_a_dead_worker_left_is_given_back_at_once() {
    let setting = set(r#"echo x > "$6""#, 1, |script| script.result_statuses.push_back(500)).await;
    setting.result("lease-1").await;
    let shared = Arc::clone(&setting.shared);
    let Setting { stop, worker, folder, .. } = setting;
    // A worker that is killed leaves its folders: its task here is dropped without any order.
    worker.abort();
    let _ = worker.await;
    drop(stop);
    let left = folder.path().join("work/lease-dead");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("result.hdf5"), "never synced").unwrap();
    let url = lock(&shared).url.clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let config = config(url, folder.path(), "exit 0");
    let worker = tokio::spawn(run(config, async {
        let _ = stopped.await;
    }));
    let setting = Setting { shared, folder, stop: Some(stop), worker };
    let asked = Instant::now();
    assert_eq!(setting.failure("lease-dead").await, Failure::Returned);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(!lock(&setting.shared).results.contains_key("lease-dead"));
    setting.stop().await;
}

#[tokio::test]
async fn two_workers_do_not_share_a_folder_and_leftovers_are_removed() {
    let setting = set("exit 0", 0, |_| ()).await;
    setting.until("a question", |script| script.requests.first().cloned()).await;
    let second = config("http://127.0.0.1:1".to_owned(), setting.folder.path(), "exit 0");
    let left = setting.folder.path().join("work/lease-old");
    std::fs::create_dir(&left).unwrap();
    let refused = run(second.clone(), std::future::ready(())).await;
    assert!(matches!(refused, Err(WorkerError::WorkFolderInUse { .. })), "{refused:?}");
    assert!(left.exists(), "the folder belongs to the first worker");
    let id = std::fs::read_to_string(setting.folder.path().join("work/worker-id")).unwrap();
    let folder = setting.folder.path().to_owned();
    let Setting { stop, worker, folder: kept, .. } = setting;
    stop.unwrap().send(()).unwrap();
    worker.await.unwrap().unwrap();
    let nobody_there = Duration::from_secs(2);
    tokio::time::timeout(nobody_there * 5, run(second, tokio::time::sleep(nobody_there)))
        .await
        .unwrap()
        .unwrap();
    assert!(!left.exists());
    assert_eq!(std::fs::read_to_string(folder.join("work/worker-id")).unwrap(), id, "the id stays");
    drop(kept);
}

/// A solver of small tasks: for each order, finds where the result goes and does what stands in `work`, with
/// `$out` and `$in`; then says that it is done.
fn several(work: &str) -> String {
    format!(
        r#"n=0; while read -r order; do
            out=${{order#*'"output":"'}}; out=${{out%%'"'*}}
            in=${{order#*'"input":"'}}; in=${{in%%'"'*}}
            n=$((n+1)); {work}
            echo '{{"is":"done"}}'
        done"#
    )
}

fn small(number: u32, input: Option<&str>) -> Assignment {
    let estimate = Estimate { unknowns: 10, memory_bytes: 1 << 20, cpu_seconds: 0.01 };
    Assignment { estimate, input: input.map(str::to_owned), ..assignment(number) }
}

#[tokio::test]
async fn small_tasks_share_processes_requests_and_nothing_else() {
    let solved = tempfile::tempdir().unwrap();
    let list = solved.path().join("list");
    let work = several(
        r#"echo "task $n here"; { echo $$; cat "$in"; } > "$out"; echo $n >> LIST"#
            .replace("LIST", list.to_str().unwrap())
            .as_str(),
    );
    let setting = set("exit 9", 0, |script| {
        // "the simulation" in base64 for some; the others have to ask for it.
        let input = |number: u32| (!number.is_multiple_of(3)).then_some("dGhlIHNpbXVsYXRpb24=");
        script.queue = (1..=60).map(|number| small(number, input(number))).collect();
        script.several = Some(work);
        // The first requests are answered when there are more results than they carry.
        script.answers_wait_for = Some((list, 20));
    })
    .await;
    let mut processes = std::collections::BTreeSet::new();
    for number in 1..=60 {
        let result = String::from_utf8(setting.result(&format!("lease-{number}")).await).unwrap();
        let (process, input) = result.split_once('\n').unwrap();
        assert_eq!(input, "the simulation");
        processes.insert(process.to_owned());
    }
    assert!(processes.len() <= 2, "{processes:?}");
    {
        let script = lock(&setting.shared);
        assert!(script.failures.is_empty(), "{:?}", script.failures);
        assert!(script.loads.len() < 60, "{:?}", script.loads);
        assert!(script.log.values().all(|log| log[&0].starts_with("task ")), "{:?}", script.log);
        assert!(script.answered < 60, "{} requests", script.answered);
    }
    setting.stop().await;
    assert!(processes.iter().all(|process| !Path::new("/proc").join(process).exists()));
}

#[tokio::test]
async fn a_crash_is_the_fault_of_one_small_task_only() {
    let work = several(
        r#"case "$out" in
            *lease-3/*) kill -SEGV $$;;
            *lease-5/*) echo '{"is":"failed","error":{"kind":"solver","code":"heat/mesh","message":"too thin"}}'; continue;;
            *lease-7/*) echo "memory allocation of 99 bytes failed" >&2; kill -ABRT $$;;
            *lease-9/*) continue 2>/dev/null; exit 0;;
        esac; echo fine > "$out""#,
    )
    .replace("*lease-9/*) continue 2>/dev/null; exit 0;;", "*lease-9/*) exit 0;;");
    let setting = set("exit 9", 0, |script| {
        script.queue = (1..=20).map(|number| small(number, Some("eA=="))).collect();
        script.several = Some(work);
    })
    .await;
    for (number, kind, code) in [
        (3, ErrorKind::Solver, "solver.crashed"),
        (5, ErrorKind::Solver, "heat/mesh"),
        (7, ErrorKind::Resources, "solver.out_of_memory"),
        (9, ErrorKind::Solver, "solver.no_result"),
    ] {
        match setting.failure(&format!("lease-{number}")).await {
            Failure::Failed { error, .. } => assert_eq!((error.kind, error.code.as_str()), (kind, code)),
            other => panic!("{other:?}"),
        }
    }
    for number in (1..=20).filter(|number| ![3, 5, 7, 9].contains(number)) {
        assert_eq!(setting.result(&format!("lease-{number}")).await, b"fine\n");
    }
    setting.stop().await;
}

#[tokio::test]
async fn small_results_that_are_not_taken_together_go_one_by_one() {
    let setting = set("exit 9", 0, |script| {
        script.queue = (1..=4).map(|number| small(number, Some("eA=="))).collect();
        script.several = Some(several(r#"echo fine > "$out""#));
        script.bulk_failures = 1;
    })
    .await;
    // However they are divided among requests, the first request is refused, and its results get there.
    setting.until("the first results", |script| (script.results.len() == 4).then_some(())).await;
    {
        let mut script = lock(&setting.shared);
        assert_eq!(script.bulk_failures, 0);
        script.bulk_answers =
            [("lease-5".to_owned(), ResultAnswer::Again), ("lease-6".to_owned(), ResultAnswer::Gone)].into();
        script.queue = (5..=8).map(|number| small(number, Some("eA=="))).collect();
    }
    let all_but_one = |script: &Script| script.bulk_answers.is_empty() && script.results.len() == 7;
    setting.until("all results but one", |script| all_but_one(script).then_some(())).await;
    let shared = Arc::clone(&setting.shared);
    setting.stop().await;
    let script = lock(&shared);
    assert!(script.failures.is_empty(), "{:?}", script.failures);
    assert!(!script.results.contains_key("lease-6"), "it was taken from somebody else: not sent again");
}

#[tokio::test]
async fn small_tasks_are_aborted_and_given_back_like_others() {
    let setting = set("exit 9", 0, |script| {
        script.queue = (1..=8).map(|number| small(number, Some("eA=="))).collect();
        script.several = Some(several("echo started; sleep 600"));
        script.verdicts.insert("lease-1".to_owned(), Verdict::Abort);
    })
    .await;
    assert_eq!(setting.failure("lease-1").await, Failure::Aborted);
    let shared = Arc::clone(&setting.shared);
    assert!(setting.stop().await < Duration::from_secs(5));
    let script = lock(&shared);
    let returned = script.failures.values().filter(|said| said[0] == Failure::Returned).count();
    assert_eq!(returned, 7, "{:?}", script.failures);
}
