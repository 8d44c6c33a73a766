//! Small tasks, many in a row: a solver child for each core that solves one after another.
//!
//! For a task that is solved in milliseconds, starting a process and asking for one task at a time would cost
//! more than the solving. So small tasks are leased several at once, wait here in a queue, and are solved by
//! children that stay. What holds for big tasks holds for them too: each child works on one task at a time and
//! keeps nothing between two of them, so a crash, a want of memory or an abort ends that one task's attempt and
//! nobody else's; the next task gets a new child.
//!
//! The queue is kept as short as it can be without the children ever having to wait: what lies here could be
//! solved by somebody else meanwhile.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ChildStdin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use wavetask_protocol::worker::SmallTasks;
use wavetask_protocol::{ErrorKind, Estimate, TaskError};

use crate::decide::{ChildEnd, Disposition, Ended, Stop, after_child};
use crate::journey::{Held, Surroundings, after_stop, fetch_input, settle, tell_end};
use crate::line::{self, EXIT_FAILED, Message};
use crate::process::{self, Child, Event, Gone, Hygiene, Program};
use crate::room::Occupant;
use crate::shipment::Parcel;
use crate::solve::Job;
use crate::work_folder::{file_failure, make_folder};

/// Memory that a small task is estimated to need at most, in bytes.
const SMALL_MEMORY: u64 = 128 << 20;
/// Processor time that a small task is estimated to need at most, in seconds.
const SMALL_SECONDS: f64 = 0.25;
/// How much work lies in the queue at most, as the time that it takes.
const QUEUED_WORK: Duration = Duration::from_millis(400);
/// A task that has waited here for so long is given back: somebody else may have time for it.
const GIVE_BACK: Duration = Duration::from_secs(10);
/// A child that has had nothing to do for so long is let go.
const IDLE: Duration = Duration::from_secs(20);
/// A child is replaced after so many tasks, lest memory that it mislays adds up.
const TASKS_PER_CHILD: u32 = 500;
/// A result longer than this travels by itself, in bytes.
const LONGEST_PARCEL: u64 = 1 << 20;

/// Whether a task is small.
pub(crate) fn is_small(estimate: &Estimate) -> bool {
    welcome(1, false).fits(estimate)
}

fn welcome(count: u32, only: bool) -> SmallTasks {
    SmallTasks { count, memory_bytes: SMALL_MEMORY, cpu_seconds: SMALL_SECONDS, only }
}

/// The queue, and what is known about how fast it moves.
#[derive(Debug)]
pub(crate) struct Crew {
    program: Program,
    cores: usize,
    queue: Mutex<VecDeque<Arc<Held>>>,
    running: AtomicUsize,
    /// Cores that other tasks have.
    taken: AtomicUsize,
    pace: Mutex<Pace>,
    wake: Notify,
}

/// How long small tasks take here.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Seconds, averaged over the last few.
    seconds: f64,
}

impl Pace {
    const fn new() -> Self {
        Self { seconds: 0.05 }
    }

    fn note(&mut self, took: Duration) {
        self.seconds += 0.2 * (took.as_secs_f64() - self.seconds);
    }

    /// Tasks to have in the queue for so many children.
    fn queue(&self, children: usize) -> usize {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small positive numbers"
        )]
        let wanted = (QUEUED_WORK.as_secs_f64() / self.seconds.max(1e-4) * children as f64) as usize;
        wanted.clamp(children.max(1), 64)
    }
}

impl Crew {
    pub(crate) fn new(program: Program, cores: usize) -> Self {
        Self {
            program,
            cores: cores.max(1),
            queue: Mutex::default(),
            running: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            pace: Mutex::new(Pace::new()),
            wake: Notify::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Arc<Held>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many cores are taken by other tasks now.
    pub(crate) fn set_taken(&self, cores: usize) {
        if self.taken.swap(cores, Ordering::SeqCst) > cores {
            self.wake.notify_waiters();
        }
    }

    fn children(&self) -> usize {
        self.cores.saturating_sub(self.taken.load(Ordering::SeqCst))
    }

    /// How many small tasks are welcome now; none while there are enough of them here.
    pub(crate) fn wanted(&self, only: bool) -> Option<SmallTasks> {
        let children = self.children();
        if children == 0 {
            return None;
        }
        let (queued, enough) = (self.queue().len(), self.pace().queue(children));
        let count = u32::try_from(enough.saturating_sub(queued)).unwrap_or(0);
        (queued * 2 <= enough && count > 0).then(|| welcome(count, only))
    }

    /// Takes a small task.
    pub(crate) fn push(&self, held: Arc<Held>) {
        self.queue().push_back(held);
        self.wake.notify_waiters();
    }

    /// What small tasks take of the machine: those that run, and those that will as soon as these are done.
    pub(crate) fn occupants(&self) -> Vec<Occupant> {
        let busy = self.running.load(Ordering::SeqCst) + self.queue().len();
        let occupant = Occupant { reserved_bytes: SMALL_MEMORY, resident_bytes: 0 };
        vec![occupant; busy.min(self.children())]
    }

    /// The next task, if a core is free for it, or if it is only to be given back.
    fn pop(&self, leaving: bool) -> Option<(Arc<Held>, Running<'_>)> {
        let mut queue = self.queue();
        if !leaving && self.running.load(Ordering::SeqCst) >= self.children() {
            return None;
        }
        let held = queue.pop_front()?;
        self.running.fetch_add(1, Ordering::SeqCst);
        Some((held, Running(self)))
    }
}

/// Counts a task that runs for as long as it does.
struct Running<'a>(&'a Crew);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.wake.notify_waiters();
    }
}

/// A child that stays.
struct Hand {
    child: Child,
    orders: ChildStdin,
    events: mpsc::Receiver<Event>,
    tasks: u32,
}

impl Hand {
    /// Ends it and waits until it is gone: a worker that leaves leaves nobody behind.
    async fn dismiss(mut self) {
        self.child.kill();
        while let Some(event) = self.events.recv().await {
            if matches!(event, Event::Ended(_)) {
                break;
            }
        }
    }
}

/// Solves small tasks, one after another, until the worker leaves. One of these for each core.
pub(crate) async fn work(
    crew: Arc<Crew>,
    surroundings: Arc<Surroundings>,
    parcels: mpsc::Sender<Parcel>,
    mut leaving: watch::Receiver<bool>,
) {
    let mut hand: Option<Hand> = None;
    // What is not plain ends beside the next task, for it may take long.
    let mut ends = JoinSet::new();
    loop {
        while ends.try_join_next().is_some() {}
        // Listen first, look second: what comes in between is not missed.
        let (woken, freed) = (crew.wake.notified(), surroundings.freed.notified());
        tokio::pin!(woken, freed);
        woken.as_mut().enable();
        freed.as_mut().enable();
        crew.set_taken(surroundings.leases.cores_taken());
        let is_leaving = *leaving.borrow();
        let Some((held, running)) = crew.pop(is_leaving) else {
            if is_leaving {
                break;
            }
            tokio::select! {
                () = woken => {}
                () = freed => {}
                _ = leaving.wait_for(|leaving| *leaving) => {}
                () = tokio::time::sleep(IDLE) => hand = None,
            }
            continue;
        };
        // Room for more in the queue.
        surroundings.room.notify_one();
        let folder = surroundings.work_folder.join(held.assignment.lease.as_str());
        let started = Instant::now();
        let disposition = attempt(&held, &surroundings, &crew.program, &folder, &mut hand).await;
        crew.pace().note(started.elapsed());
        drop(running);
        tell_end(&held, &disposition);
        if disposition == Disposition::HandIn
            && let Some(parcel) = pack(&held, &folder).await
            && parcels.send(parcel).await.is_ok()
        {
            continue;
        }
        let surroundings = Arc::clone(&surroundings);
        ends.spawn(async move {
            settle(&held, &surroundings, &folder, disposition).await;
            held.done(&surroundings, &folder).await;
        });
    }
    if let Some(hand) = hand {
        hand.dismiss().await;
    }
    while ends.join_next().await.is_some() {}
}

/// Reads a result into memory, if it is short and all that there is to tell can go along.
async fn pack(held: &Arc<Held>, folder: &Path) -> Option<Parcel> {
    let path = folder.join("result.hdf5");
    let file = tokio::task::spawn_blocking(move || {
        let length = std::fs::metadata(&path).ok()?.len();
        (length <= LONGEST_PARCEL).then(|| std::fs::read(&path).ok())?
    });
    let file = file.await.ok()??;
    let (first_log_line, log_lines) = held.all_unconfirmed()?;
    Some(Parcel { held: Arc::clone(held), folder: folder.to_owned(), file, first_log_line, log_lines })
}

async fn attempt(
    held: &Arc<Held>,
    surroundings: &Surroundings,
    program: &Program,
    folder: &Path,
    hand: &mut Option<Hand>,
) -> Disposition {
    held.set_out();
    if let Some(reason) = held.stop_now() {
        return after_stop(reason);
    }
    if held.since.elapsed() > GIVE_BACK {
        return Disposition::Return;
    }
    if let Err(disposition) = prepare(held, surroundings, folder).await {
        return disposition;
    }
    let memory_bytes = crate::room::memory(SMALL_MEMORY, surroundings.capacity);
    let allowed_bytes = crate::room::address_space(memory_bytes, 1);
    let kills_before = crate::machine::out_of_memory_kills();
    let mut current = match hand.take().filter(|hand| hand.tasks < TASKS_PER_CHILD) {
        Some(hand) => hand,
        None => match start(program, &surroundings.work_folder, allowed_bytes).await {
            Ok(hand) => hand,
            Err(error) => return Disposition::Fail(cannot_start(program, &error)),
        },
    };
    let job = Job {
        kind: held.assignment.kind,
        input: folder.join("input.hdf5"),
        output: folder.join("result.hdf5"),
        threads: 1,
        memory_bytes,
    };
    // A child that has died since its last task cannot be told anything: its end, which follows, says why.
    let fresh = current.tasks == 0;
    let told = order(&mut current.orders, &job).is_ok();
    if !told && !fresh {
        // It died between two tasks: that is nobody's fault here, and a new one is started for this one.
        drop(current);
        return Box::pin(attempt(held, surroundings, program, folder, hand)).await;
    }
    current.tasks += 1;
    held.watch_solver(current.child.id());
    let ended = follow(held, surroundings, &mut current).await;
    held.watch_solver(0);
    let end = ChildEnd {
        ended: ended.gone.ended,
        reported: ended.reported,
        result_is_there: tokio::fs::try_exists(&job.output).await.unwrap_or(false),
        last_words: ended.gone.last_words,
        peak_bytes: ended.gone.peak_bytes,
        allowed_bytes,
        estimated_bytes: held.assignment.estimate.memory_bytes,
        kernel_ran_out_of_memory: crate::machine::out_of_memory_kills() > kills_before,
        stopped: ended.stopped,
    };
    if ended.lives {
        *hand = Some(current);
    }
    held.judge(&end, after_child(&end))
}

/// How a task of a child that stays has ended.
struct TaskEnd {
    gone: Gone,
    reported: Option<TaskError>,
    stopped: Option<Stop>,
    /// Whether the child is there for the next one.
    lives: bool,
}

async fn follow(held: &Held, surroundings: &Surroundings, hand: &mut Hand) -> TaskEnd {
    let mut reported = None;
    let mut stopped = None;
    let living = |code| Gone { ended: Ended::Exited(code), last_words: String::new(), peak_bytes: 0 };
    loop {
        let event = tokio::select! {
            biased;
            reason = held.stopped(), if stopped.is_none() => {
                hand.child.kill();
                stopped = Some(reason);
                continue;
            }
            event = hand.events.recv() => event,
        };
        match event {
            Some(Event::Line(text)) => match line::parse(&text) {
                Some(Message::Done) if stopped.is_none() => {
                    return TaskEnd { gone: living(0), reported, stopped, lives: true };
                }
                Some(Message::Failed { error }) if stopped.is_none() => {
                    return TaskEnd {
                        gone: living(EXIT_FAILED),
                        reported: Some(error),
                        stopped,
                        lives: true,
                    };
                }
                Some(message) => held.hear(message, surroundings, &mut reported),
                None => {}
            },
            Some(Event::Ended(gone)) => return TaskEnd { gone, reported, stopped, lives: false },
            None => {
                let last_words = "the thread that waits for the solver has died".to_owned();
                let gone = Gone { ended: Ended::Exited(-1), last_words, peak_bytes: 0 };
                return TaskEnd { gone, reported, stopped, lives: false };
            }
        }
    }
}

/// The folder with the task's files.
async fn prepare(held: &Held, surroundings: &Surroundings, folder: &Path) -> Result<(), Disposition> {
    let (place, task) = (folder.to_owned(), held.assignment.task.to_string());
    let input = held.assignment.input.clone();
    let written = tokio::task::spawn_blocking(move || -> std::io::Result<bool> {
        make_folder(&place, &task)?;
        let Some(bytes) = input.and_then(|text| decode(&text)) else { return Ok(false) };
        std::fs::write(place.join("input.hdf5"), bytes)?;
        Ok(true)
    });
    let written = written.await.map_err(std::io::Error::other).and_then(|written| written);
    let has_input = written.map_err(|error| Disposition::Fail(file_failure(folder, &error)))?;
    if has_input {
        return Ok(());
    }
    let target = folder.join("input.hdf5");
    let stop = held.stopped();
    tokio::select! {
        biased;
        reason = stop => Err(after_stop(reason)),
        fetched = fetch_input(held, surroundings, &target) => fetched,
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

async fn start(program: &Program, folder: &Path, allowed_bytes: u64) -> std::io::Result<Hand> {
    let environment: Vec<(OsString, OsString)> =
        vec![("RUST_BACKTRACE".into(), "0".into()), ("TMPDIR".into(), folder.into())];
    let hygiene = Hygiene::solver(allowed_bytes);
    let (child, orders, events) = process::start_listening(program, Vec::new(), environment, hygiene).await?;
    Ok(Hand { child, orders, events, tasks: 0 })
}

/// One line, far shorter than what a pipe holds: this does not block.
fn order(orders: &mut ChildStdin, job: &Job) -> std::io::Result<()> {
    let mut line = serde_json::to_string(job)?;
    line.push('\n');
    orders.write_all(line.as_bytes())
}

fn cannot_start(program: &Program, error: &std::io::Error) -> TaskError {
    TaskError {
        kind: ErrorKind::Infrastructure,
        code: "worker.cannot_start_solver".to_owned(),
        message: format!("The worker cannot start {}: {error}.", program.path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_holds_less_of_what_takes_longer() {
        let mut pace = Pace::new();
        let quick = pace.queue(2);
        for _ in 0..50 {
            pace.note(Duration::from_millis(1));
        }
        assert!(pace.queue(2) > quick);
        assert_eq!(pace.queue(2), 64);
        for _ in 0..50 {
            pace.note(Duration::from_secs(2));
        }
        assert_eq!((pace.queue(2), pace.queue(0)), (2, 1));
    }

    #[test]
    fn cores_that_others_have_are_not_counted_on() {
        let program = Program { path: "/bin/false".into(), arguments: Vec::new() };
        let crew = Crew::new(program, 2);
        assert!(crew.wanted(false).is_some_and(|small| small.count > 2 && !small.only));
        crew.set_taken(2);
        assert_eq!(crew.wanted(true), None);
        crew.set_taken(1);
        assert!(crew.wanted(true).is_some_and(|small| small.only));
        assert!(crew.occupants().is_empty());
    }

    #[test]
    fn big_ones_are_not_small() {
        let small = Estimate { unknowns: 10, memory_bytes: SMALL_MEMORY, cpu_seconds: SMALL_SECONDS };
        assert!(is_small(&small));
        assert!(!is_small(&Estimate { memory_bytes: SMALL_MEMORY + 1, ..small }));
        assert!(!is_small(&Estimate { cpu_seconds: SMALL_SECONDS * 1.01, ..small }));
    }
}
