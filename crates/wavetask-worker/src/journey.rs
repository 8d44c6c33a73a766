//! One attempt of one task: files down, solver, files up, with a way out at every step.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use wavetask_protocol::worker::{Assignment, Failure, Report, Verdict};
use wavetask_protocol::{ErrorKind, LeaseId, Progress, TaskError, TaskKind};

use crate::client::{Client, RequestError};
use crate::decide::{Answer, ChildEnd, Disposition, Stop, after_child, after_verdict, pause};
use crate::evaluation;
use crate::leases::Leases;
use crate::line::{self, Message};
use crate::process::{self, Event, Gone, Hygiene, Program};
use crate::report::{BYTES_PER_REQUEST, Telling};
use crate::room::Occupant;
use crate::work_folder::{file_failure, make_folder, remove_folder};

/// A task that this worker holds a lease on. Shared by its journey, the heart and the lease loop.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) assignment: Assignment,
    /// When it came.
    pub(crate) since: Instant,
    /// Whether it is one of many small ones.
    pub(crate) is_small: bool,
    telling: Mutex<Telling>,
    stop: watch::Sender<Option<Stop>>,
    told: watch::Sender<bool>,
    /// Whether its journey has begun: nobody else tells how it ended.
    pub(crate) has_set_out: AtomicBool,
    /// Process id of the solver; 0 while there is none.
    solver: AtomicU32,
    /// Whether it still needs cores and memory here.
    occupies: watch::Sender<bool>,
}

impl Held {
    pub(crate) fn new(mut assignment: Assignment, is_small: bool) -> Self {
        if !is_small {
            // Its input goes straight to a file: no need to keep it for hours.
            assignment.input = None;
        }
        Self {
            assignment,
            since: Instant::now(),
            is_small,
            telling: Mutex::default(),
            stop: watch::Sender::new(None),
            told: watch::Sender::new(true),
            has_set_out: AtomicBool::new(false),
            solver: AtomicU32::new(0),
            occupies: watch::Sender::new(true),
        }
    }

    fn telling(&self) -> MutexGuard<'_, Telling> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its journey begins.
    pub(crate) fn set_out(&self) {
        self.has_set_out.store(true, Ordering::Relaxed);
    }

    /// The process that solves it now; 0 for none.
    pub(crate) fn watch_solver(&self, process: u32) {
        self.solver.store(process, Ordering::Relaxed);
    }

    /// Whether it takes a core, and is not one of the small ones.
    pub(crate) fn takes_a_core(&self) -> bool {
        !self.is_small && *self.occupies.borrow()
    }

    /// What it takes of the machine; `None` once only files are left to be sent. Small ones are counted by their
    /// crew.
    pub(crate) fn occupant(&self) -> Option<Occupant> {
        if !self.takes_a_core() {
            return None;
        }
        let solver = self.solver.load(Ordering::Relaxed);
        let resident = if solver == 0 { None } else { crate::machine::resident_bytes(solver) };
        Some(Occupant {
            reserved_bytes: self.assignment.estimate.memory_bytes,
            resident_bytes: resident.unwrap_or(0),
        })
    }

    /// The next report to the server, with about this many bytes of log at most.
    pub(crate) fn report(&self, bytes: usize) -> Report {
        let telling = self.telling();
        let (first_log_line, log_lines) = telling.unconfirmed(bytes);
        Report {
            lease: self.assignment.lease.clone(),
            progress: telling.progress().clone(),
            first_log_line,
            log_lines,
        }
    }

    /// All log lines that the server has not confirmed, and the number of the first; `None` if they are too many
    /// for one request.
    pub(crate) fn all_unconfirmed(&self) -> Option<(u64, Vec<String>)> {
        let telling = self.telling();
        let (first, lines) = telling.unconfirmed(16 << 10);
        telling.holds_no_more_than(lines.len()).then_some((first, lines))
    }

    /// It is settled: its files go, and it is no longer this worker's.
    pub(crate) async fn done(&self, surroundings: &Surroundings, folder: &Path) {
        if let Err(error) = remove_folder(folder).await {
            tracing::warn!("cannot remove {}: {error}", folder.display());
        }
        surroundings.leases.remove(&self.assignment.lease);
        surroundings.room.notify_one();
    }

    /// Takes what the solver says.
    pub(crate) fn hear(
        &self,
        message: Message,
        surroundings: &Surroundings,
        reported: &mut Option<TaskError>,
    ) {
        match message {
            Message::Progress(progress) => self.telling().set_progress(progress),
            Message::Log { text } => self.log(&text),
            Message::Failed { error } => {
                *reported = Some(error);
                surroundings.heart.notify_one();
            }
            Message::Done => {}
        }
    }

    /// Writes into the task's log why it failed, if it did.
    pub(crate) fn judge(&self, end: &ChildEnd, disposition: Disposition) -> Disposition {
        if let Disposition::Fail(error) = &disposition {
            if !end.last_words.trim().is_empty() {
                self.log(&end.last_words);
            }
            self.log(&format!("ERROR: {}", error.message));
        }
        disposition
    }

    /// The server has taken a report and said what to do.
    pub(crate) fn answered(&self, report: &Report, verdict: Verdict) {
        let mut telling = self.telling();
        telling.confirm(report.first_log_line + report.log_lines.len() as u64);
        let is_told = telling.is_told();
        drop(telling);
        self.told.send_if_modified(|told| std::mem::replace(told, is_told) != is_told);
        self.stop.send_if_modified(|stop| {
            let after = after_verdict(*stop, verdict);
            std::mem::replace(stop, after) != after
        });
    }

    /// The worker is shutting down.
    pub(crate) fn shut_down(&self) {
        self.stop.send_if_modified(|stop| {
            let changed = stop.is_none();
            stop.get_or_insert(Stop::Shutdown);
            changed
        });
    }

    fn log(&self, text: &str) {
        self.telling().log(text);
        self.told.send_replace(false);
    }

    pub(crate) fn stage(&self, stage: &str) {
        let mut telling = self.telling();
        let percent = telling.progress().percent;
        telling.set_progress(Progress { percent, residual: None, stage: stage.to_owned() });
    }

    /// Ready when the task is to be stopped, and says why.
    pub(crate) async fn stopped(&self) -> Stop {
        let mut stop = self.stop.subscribe();
        let reason = stop.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
        // The sender lives in `self`, so waiting cannot fail.
        reason.unwrap_or(Stop::Shutdown)
    }

    pub(crate) fn stop_now(&self) -> Option<Stop> {
        *self.stop.borrow()
    }
}

/// What journeys have in common.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) client: Client,
    pub(crate) program: Program,
    pub(crate) capacity: crate::room::Capacity,
    pub(crate) work_folder: PathBuf,
    pub(crate) leases: Leases,
    /// A permit for each core: evaluations run in this process.
    pub(crate) evaluating: tokio::sync::Semaphore,
    /// Wakes the heart: something should be told now and not at the next beat.
    pub(crate) heart: tokio::sync::Notify,
    /// How many results wait for room on the server.
    pub(crate) waiting_for_room: watch::Sender<usize>,
    /// Wakes those who wait for a core.
    pub(crate) freed: tokio::sync::Notify,
    /// Wakes the lease loop: room may have become free.
    pub(crate) room: tokio::sync::Notify,
}

/// How long a result or a report is still offered after the worker was told to shut down.
const FAREWELL: Duration = Duration::from_secs(4);

/// Takes a task from its lease to its end, whatever that is.
pub(crate) async fn travel(held: Arc<Held>, surroundings: Arc<Surroundings>, threads: usize) {
    let folder = surroundings.work_folder.join(held.assignment.lease.as_str());
    let disposition = attempt(&held, &surroundings, &folder, threads).await;
    held.occupies.send_replace(false);
    surroundings.room.notify_one();
    surroundings.freed.notify_waiters();
    tell_end(&held, &disposition);
    settle(&held, &surroundings, &folder, disposition).await;
    held.done(&surroundings, &folder).await;
}

/// Tells the worker's log how a task has ended here.
pub(crate) fn tell_end(held: &Held, disposition: &Disposition) {
    let task = &held.assignment.task;
    match disposition {
        Disposition::HandIn => tracing::debug!(%task, "solved"),
        Disposition::Fail(error) => tracing::warn!(%task, code = error.code, "{}", error.message),
        Disposition::Aborted => tracing::info!(%task, "aborted"),
        Disposition::Return => tracing::info!(%task, "given back"),
        Disposition::Forget => tracing::info!(%task, "no longer ours"),
    }
}

/// Downloads the input and runs the solver.
async fn attempt(
    held: &Arc<Held>,
    surroundings: &Arc<Surroundings>,
    folder: &Path,
    threads: usize,
) -> Disposition {
    // Waited for whatever happens: a folder that is made by a thread which nobody waits for may be made after it
    // was removed.
    if let Err(disposition) = prepare_folder(folder, held.assignment.task.as_str()).await {
        return disposition;
    }
    held.stage("loading");
    let target = folder.join("input.hdf5");
    tokio::select! {
        biased;
        reason = held.stopped() => return after_stop(reason),
        fetched = fetch_input(held, surroundings, &target) => {
            if let Err(disposition) = fetched {
                return disposition;
            }
        }
    }
    if held.assignment.kind == TaskKind::Evaluation {
        evaluation::attempt(held, surroundings, folder).await
    } else {
        solve(held, surroundings, folder, threads).await
    }
}

pub(crate) const fn after_stop(reason: Stop) -> Disposition {
    match reason {
        Stop::Abort => Disposition::Aborted,
        Stop::Lost => Disposition::Forget,
        Stop::Shutdown => Disposition::Return,
    }
}

async fn prepare_folder(folder: &Path, task: &str) -> Result<(), Disposition> {
    let (place, task) = (folder.to_owned(), task.to_owned());
    let made = tokio::task::spawn_blocking(move || make_folder(&place, &task)).await;
    let made = made.map_err(std::io::Error::other).and_then(|made| made);
    made.map_err(|error| Disposition::Fail(file_failure(folder, &error)))
}

pub(crate) async fn fetch_input(
    held: &Held,
    surroundings: &Surroundings,
    target: &Path,
) -> Result<(), Disposition> {
    fetch(surroundings, "the simulation", || surroundings.client.input(&held.assignment.lease, target)).await
}

/// Asks until there is an answer.
pub(crate) async fn fetch<T, F: Future<Output = Result<T, RequestError>>>(
    surroundings: &Surroundings,
    what: &str,
    request: impl Fn() -> F,
) -> Result<T, Disposition> {
    let mut tries = 0;
    loop {
        match request().await {
            Ok(fetched) => return Ok(fetched),
            Err(RequestError::File { path, source }) => {
                return Err(Disposition::Fail(file_failure(&path, &source)));
            }
            Err(RequestError::Server { answer: Answer::Gone, .. }) => return Err(Disposition::Forget),
            Err(error @ RequestError::Server { answer: Answer::Refused, .. }) => {
                return Err(Disposition::Fail(TaskError {
                    kind: ErrorKind::Infrastructure,
                    code: "worker.input_refused".to_owned(),
                    message: format!("The server does not give {what}: {error}."),
                }));
            }
            Err(error @ RequestError::Server { answer, .. }) => {
                tries += 1;
                wait_to_try_again(surroundings, &error, answer, tries).await;
            }
        }
    }
}

/// Logs why a request must be made again, and pauses.
async fn wait_to_try_again(surroundings: &Surroundings, error: &RequestError, answer: Answer, tries: u32) {
    if tries == 1 {
        tracing::warn!("{error}; trying again");
    } else {
        tracing::debug!(tries, "{error}");
    }
    if answer == Answer::WrongKey
        && let Err(error) = surroundings.client.read_key()
    {
        tracing::warn!("{error}");
    }
    tokio::time::sleep(pause(answer, tries, crate::worker::random_fraction())).await;
}

/// Runs the solver child to its end.
async fn solve(held: &Held, surroundings: &Surroundings, folder: &Path, threads: usize) -> Disposition {
    let assignment = &held.assignment;
    let output = folder.join("result.hdf5");
    let memory_bytes = crate::room::memory(assignment.estimate.memory_bytes, surroundings.capacity);
    let allowed_bytes = crate::room::address_space(memory_bytes, threads);
    let arguments: Vec<OsString> = vec![
        "--kind".into(),
        assignment.kind.as_str().into(),
        "--input".into(),
        folder.join("input.hdf5").into(),
        "--output".into(),
        output.clone().into(),
        "--threads".into(),
        threads.to_string().into(),
        "--memory".into(),
        memory_bytes.to_string().into(),
    ];
    let environment = vec![("RUST_BACKTRACE".into(), "0".into()), ("TMPDIR".into(), folder.into())];
    let kills_before = crate::machine::out_of_memory_kills();
    held.stage("starting");
    let hygiene = Hygiene::solver(allowed_bytes);
    let started = process::start(&surroundings.program, arguments, environment, hygiene).await;
    let (child, mut events) = match started {
        Ok(started) => started,
        Err(error) => {
            return Disposition::Fail(TaskError {
                kind: ErrorKind::Infrastructure,
                code: "worker.cannot_start_solver".to_owned(),
                message: format!("The worker cannot start {}: {error}.", surroundings.program.path.display()),
            });
        }
    };
    held.solver.store(child.id(), Ordering::Relaxed);
    let mut reported = None;
    let mut killed = None;
    let gone = loop {
        let event = tokio::select! {
            biased;
            reason = held.stopped(), if killed.is_none() => {
                child.kill();
                killed = Some(reason);
                continue;
            }
            event = events.recv() => event,
        };
        match event {
            Some(Event::Line(text)) => {
                if let Some(message) = line::parse(&text) {
                    held.hear(message, surroundings, &mut reported);
                }
            }
            Some(Event::Ended(gone)) => break gone,
            None => {
                break Gone {
                    ended: crate::decide::Ended::Exited(-1),
                    last_words: "the thread that waits for the solver has died".to_owned(),
                    peak_bytes: 0,
                };
            }
        }
    };
    held.solver.store(0, Ordering::Relaxed);
    let end = ChildEnd {
        ended: gone.ended,
        reported,
        result_is_there: tokio::fs::try_exists(&output).await.unwrap_or(false),
        last_words: gone.last_words,
        peak_bytes: gone.peak_bytes,
        allowed_bytes,
        estimated_bytes: assignment.estimate.memory_bytes,
        kernel_ran_out_of_memory: crate::machine::out_of_memory_kills() > kills_before,
        stopped: held.stop_now().filter(|_| killed.is_some()),
    };
    held.judge(&end, after_child(&end))
}

/// Tells the server how the task ended, until it has heard.
pub(crate) async fn settle(
    held: &Held,
    surroundings: &Surroundings,
    folder: &Path,
    disposition: Disposition,
) {
    match disposition {
        Disposition::Forget => {}
        Disposition::HandIn => hand_in(held, surroundings, &folder.join("result.hdf5")).await,
        Disposition::Fail(error) => report(held, surroundings, Some(error)).await,
        Disposition::Aborted => deliver(held, surroundings, &Failure::Aborted).await,
        Disposition::Return => deliver(held, surroundings, &Failure::Returned).await,
    }
}

/// Sends the log's last lines, then the result, until it is accepted or the task is stopped.
async fn hand_in(held: &Held, surroundings: &Surroundings, result: &Path) {
    held.stage("publishing");
    let handing_in = async {
        if !held.telling().is_told() {
            surroundings.heart.notify_one();
            let mut told = held.told.subscribe();
            // The sender lives as long as `held`, so this only ends when all lines are told.
            let _ = told.wait_for(|told| *told).await;
        }
        send_result(held, surroundings, result).await
    };
    let leave = async {
        match held.stopped().await {
            Stop::Shutdown => {
                // The result is there: give it a moment to get through before giving the task back.
                let mut stop = held.stop.subscribe();
                let changed = stop.wait_for(|stop| *stop != Some(Stop::Shutdown));
                match tokio::time::timeout(FAREWELL, changed).await {
                    Ok(Ok(reason)) => reason.unwrap_or(Stop::Shutdown),
                    _ => Stop::Shutdown,
                }
            }
            reason => reason,
        }
    };
    tokio::select! {
        biased;
        failure = handing_in => {
            if let Some(error) = failure {
                report(held, surroundings, Some(error)).await;
            }
        }
        reason = leave => match reason {
            Stop::Abort => deliver(held, surroundings, &Failure::Aborted).await,
            Stop::Shutdown => deliver(held, surroundings, &Failure::Returned).await,
            Stop::Lost => {}
        },
    }
}

/// Counts a result that waits for room for as long as it lives.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Sends the result until it is accepted; a failure to report instead if it never will be.
async fn send_result(held: &Held, surroundings: &Surroundings, result: &Path) -> Option<TaskError> {
    let mut tries = 0;
    let mut waiting = None;
    loop {
        match surroundings.client.result(&held.assignment.lease, result).await {
            Ok(()) | Err(RequestError::Server { answer: Answer::Gone, .. }) => return None,
            Err(RequestError::File { path, source }) => return Some(file_failure(&path, &source)),
            Err(error @ RequestError::Server { answer: Answer::Refused, .. }) => {
                return Some(TaskError {
                    kind: ErrorKind::Infrastructure,
                    code: "worker.result_refused".to_owned(),
                    message: format!("The server does not take the result: {error}."),
                });
            }
            Err(error @ RequestError::Server { answer, .. }) => {
                tries += 1;
                if answer == Answer::NoRoom {
                    waiting.get_or_insert_with(|| Waiting::new(&surroundings.waiting_for_room));
                    held.stage("waiting for disk room on the server");
                }
                wait_to_try_again(surroundings, &error, answer, tries).await;
            }
        }
    }
}

/// Reports a failure with the log's last lines.
async fn report(held: &Held, surroundings: &Surroundings, error: Option<TaskError>) {
    let Some(error) = error else { return };
    // The bulk of a long log goes with heartbeats; what fits one report goes with the failure itself.
    let (first_log_line, log_lines) = held.telling().unconfirmed(BYTES_PER_REQUEST);
    deliver(held, surroundings, &Failure::Failed { error, log_lines, first_log_line }).await;
}

/// Tells how a lease ended, again and again until the server has heard.
pub(crate) async fn send_failure(surroundings: &Surroundings, lease: &LeaseId, failure: &Failure) {
    let mut tries = 0;
    loop {
        match surroundings.client.failure(lease, failure).await {
            Ok(()) | Err(RequestError::Server { answer: Answer::Gone, .. }) => return,
            Err(
                error @ (RequestError::File { .. } | RequestError::Server { answer: Answer::Refused, .. }),
            ) => {
                tracing::error!("{error}");
                return;
            }
            Err(error @ RequestError::Server { answer, .. }) => {
                tries += 1;
                wait_to_try_again(surroundings, &error, answer, tries).await;
            }
        }
    }
}

/// Sends how the task ended until the server has heard, or until nobody wants to hear it any more.
async fn deliver(held: &Held, surroundings: &Surroundings, failure: &Failure) {
    let sending = send_failure(surroundings, &held.assignment.lease, failure);
    let leave = async {
        let mut stop = held.stop.subscribe();
        let lost = {
            let reason = stop.wait_for(|stop| matches!(stop, Some(Stop::Lost | Stop::Shutdown))).await;
            matches!(reason.as_deref(), Ok(Some(Stop::Lost)))
        };
        if !lost {
            tokio::time::sleep(FAREWELL).await;
        }
    };
    tokio::select! {
        biased;
        () = sending => {}
        () = leave => {}
    }
}
