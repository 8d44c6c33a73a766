//! The worker itself: asks for tasks while there is room, keeps their leases alive, and leaves in order.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use wavetask_protocol::worker::{
    Assignment, Failure, Heartbeat, LeaseAnswer, LeaseRequest, Report, SmallTasks,
};
use wavetask_protocol::{TaskKind, WorkerId};

use crate::client::{Client, RequestError};
use crate::crew::{self, Crew};
use crate::decide::{Answer, after_workers_death, pause};
use crate::journey::{Held, Surroundings, send_failure, travel};
use crate::leases::Leases;
use crate::orphans::{self, Orphan};
use crate::process::Program;
use crate::report::BYTES_PER_REQUEST;
use crate::room::{self, Capacity, Occupant};
use crate::shipment::ship;

/// How a worker is set up.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Address of the server, such as `http://127.0.0.1:8600`.
    pub url: String,
    /// File with the worker key.
    pub key_file: PathBuf,
    /// Folder for the files of running tasks: emptied at the start, used by one worker at a time.
    pub work_folder: PathBuf,
    /// What to use of the machine.
    pub capacity: Capacity,
    /// The solver: this worker adds `--kind`, `--input`, `--output`, `--threads` and `--memory`.
    pub program: Program,
    /// The solver of many small tasks: reads jobs from its standard input ([`crate::solve::run_several`]).
    /// `None`: each task gets a process of its own, however small.
    pub small_program: Option<Program>,
}

/// Why a worker cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The key file cannot be read: name the right one, or run as the server's user.
    #[error("cannot read the worker key in {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The work folder cannot be used: mend its permissions or choose another.
    #[error("cannot use the work folder {}", path.display())]
    WorkFolder {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another worker uses the work folder: stop it or choose another.
    #[error("another worker uses the folder {}", path.display())]
    WorkFolderInUse {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system refused something that every worker needs.
    #[error("cannot set up the worker")]
    SetUp(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Time between heartbeats: an abort is heard, and the solver dead, within a second.
const BEAT: Duration = Duration::from_millis(400);
/// How long the server may hold the question of a worker that has nothing to do.
const IDLE_WAIT: Duration = Duration::from_secs(20);
/// The same while tasks run: when one ends there is more room, and the question must be asked anew.
const BUSY_WAIT: Duration = Duration::from_millis(1000);
/// How long a worker that starts waits for one that is just being killed to release the folder.
const FOLDER_WAIT: Duration = Duration::from_secs(5);
/// The same for small tasks only, while others run: soon there may be room for any task again.
const SMALL_WAIT: Duration = Duration::from_millis(200);
/// Small tasks that may lie here at most, more or less.
const MOST_SMALL: usize = 64;
/// How long leaving may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(6);

/// A number in 0..1 for jitter. Not for secrets.
pub(crate) fn random_fraction() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::hash::RandomState::new().build_hasher().finish() >> 32;
    #[expect(clippy::cast_precision_loss, reason = "32 bits fit")]
    let fraction = bits as f64 / 4_294_967_296.0;
    fraction
}

/// Runs a worker until `shutdown` is ready, then gives its tasks back and returns.
///
/// # Errors
/// If it cannot start; once it runs, it goes on whatever the network does.
pub async fn run(config: WorkerConfig, shutdown: impl Future<Output = ()>) -> Result<(), WorkerError> {
    let (_lock, orphans) = claim_folder(&config.work_folder).await?;
    let client = Client::new(&config.url, &config.key_file).map_err(|error| match error {
        RequestError::File { path, source } => WorkerError::Key { path, source },
        error @ RequestError::Server { .. } => WorkerError::SetUp(Box::new(error)),
    })?;
    let id = own_id(&config.work_folder)?;
    tracing::info!(
        worker = %id,
        cores = config.capacity.cores,
        memory = crate::decide::size(config.capacity.memory_bytes),
        "working for {}",
        config.url
    );
    let worker = Worker {
        id,
        crew: config.small_program.map(|program| Arc::new(Crew::new(program, config.capacity.cores))),
        surroundings: Arc::new(Surroundings {
            client,
            program: config.program,
            capacity: config.capacity,
            work_folder: config.work_folder,
            leases: Leases::default(),
            evaluating: tokio::sync::Semaphore::new(config.capacity.cores.max(1)),
            heart: Notify::new(),
            waiting_for_room: watch::Sender::new(0),
            freed: Notify::new(),
            room: Notify::new(),
        }),
    };
    worker.work(orphans, shutdown).await;
    Ok(())
}

/// Takes the folder for this worker alone and empties it.
async fn claim_folder(folder: &Path) -> Result<(File, Vec<Orphan>), WorkerError> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |source| WorkerError::WorkFolder { path, source }
    };
    {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().mode(0o700).recursive(true).create(folder).map_err(unusable(folder))?;
    }
    let path = folder.join("lock");
    let lock =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(unusable(&path))?;
    let deadline = tokio::time::Instant::now() + FOLDER_WAIT;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(std::fs::TryLockError::WouldBlock) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(WorkerError::WorkFolderInUse { path: folder.to_owned() });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(unusable(&path)(source)),
        }
    }
    let orphans = orphans::collect(folder).map_err(unusable(folder))?;
    Ok((lock, orphans))
}

/// This worker's id, the same after a restart: the server then knows that what its predecessor held is lost.
fn own_id(folder: &Path) -> Result<WorkerId, WorkerError> {
    let path = folder.join("worker-id");
    if let Ok(text) = std::fs::read_to_string(&path)
        && let Ok(id) = text.trim().parse()
    {
        return Ok(id);
    }
    let id = WorkerId::from_uuid(uuid::Uuid::now_v7());
    let temporary = folder.join("worker-id.new");
    std::fs::write(&temporary, format!("{id}\n"))
        .and_then(|()| std::fs::rename(&temporary, &path))
        .map_err(|source| WorkerError::WorkFolder { path, source })?;
    Ok(id)
}

struct Worker {
    id: WorkerId,
    crew: Option<Arc<Crew>>,
    surroundings: Arc<Surroundings>,
}

impl Worker {
    async fn work(self, orphans: Vec<Orphan>, shutdown: impl Future<Output = ()>) {
        let mut journeys = JoinSet::new();
        for orphan in orphans {
            tracing::info!(lease = %orphan.lease, deaths = orphan.deaths, "giving back what a dead worker left");
            let failure = after_workers_death(orphan.deaths);
            let surroundings = Arc::clone(&self.surroundings);
            journeys.spawn(async move { send_failure(&surroundings, &orphan.lease, &failure).await });
        }
        let (leave, leaving) = watch::channel(false);
        if let Some(crew) = &self.crew {
            let (parcels, shipment) = mpsc::channel(2 * MOST_SMALL);
            for _ in 0..self.surroundings.capacity.cores.max(1) {
                let surroundings = Arc::clone(&self.surroundings);
                journeys.spawn(crew::work(Arc::clone(crew), surroundings, parcels.clone(), leaving.clone()));
            }
            journeys.spawn(ship(shipment, Arc::clone(&self.surroundings)));
        }
        let worker = &self;
        {
            let heart = worker.beat();
            let leasing = worker.lease(&mut journeys);
            tokio::select! {
                biased;
                () = shutdown => {}
                never = leasing => match never {},
                () = heart => {}
            }
        }
        for held in self.surroundings.leases.all() {
            held.shut_down();
            // Small ones wait in their queue, from where they are given back.
            if !held.is_small && !held.has_set_out.load(Ordering::Relaxed) {
                let surroundings = Arc::clone(&self.surroundings);
                journeys.spawn(async move {
                    send_failure(&surroundings, &held.assignment.lease, &Failure::Returned).await;
                });
            }
        }
        leave.send_replace(true);
        let farewell = async { while journeys.join_next().await.is_some() {} };
        tokio::select! {
            () = farewell => {}
            () = worker.beat() => {}
            () = tokio::time::sleep(LEAVE_WITHIN) => {
                tracing::warn!("{} tasks could not be given back", self.surroundings.leases.count());
            }
        }
        // What is left is dropped here, and with it the solver processes.
        journeys.shutdown().await;
    }

    /// Takes on tasks for as long as there is room, forever.
    async fn lease(&self, journeys: &mut JoinSet<()>) -> std::convert::Infallible {
        let mut tries = 0;
        loop {
            while journeys.try_join_next().is_some() {}
            let Some((room, small)) = self.wanted() else {
                let mut waiting = self.surroundings.waiting_for_room.subscribe();
                waiting.mark_unchanged();
                tokio::select! {
                    () = self.surroundings.room.notified() => {}
                    _ = waiting.changed() => {}
                    () = tokio::time::sleep(BUSY_WAIT) => {}
                }
                continue;
            };
            let wait = match &small {
                Some(small) if small.only => SMALL_WAIT,
                _ if room.idle => IDLE_WAIT,
                _ => BUSY_WAIT,
            };
            match self.ask(room, small, wait).await {
                Ok(answer) => {
                    tries = 0;
                    let all = answer.assignment.into_iter().chain(answer.more);
                    let big: Vec<_> = all.filter_map(|assignment| self.keep_small(assignment)).collect();
                    if !big.is_empty() {
                        self.set_out(big, journeys).await;
                    }
                }
                Err((error, answer)) => {
                    tries += 1;
                    if tries == 1 {
                        tracing::warn!("{error}; trying again");
                    } else {
                        tracing::debug!(tries, "{error}");
                    }
                    if answer == Answer::WrongKey
                        && let Err(error) = self.surroundings.client.read_key()
                    {
                        tracing::warn!("{error}");
                    }
                    tokio::time::sleep(pause(answer, tries, random_fraction())).await;
                }
            }
        }
    }

    /// What to ask for now: any task if there is room for one more, small ones if they will be needed soon.
    fn wanted(&self) -> Option<(room::Room, Option<SmallTasks>)> {
        let room = self.room();
        let small = |only| self.crew.as_ref().and_then(|crew| crew.wanted(only));
        match room {
            Some(room) => Some((room, small(false))),
            None if *self.surroundings.waiting_for_room.borrow() > 0 => None,
            None => {
                let small = small(true)?;
                // A small task that comes soon needs a core only when its turn comes.
                let capacity = room::Capacity { cores: usize::MAX, ..self.surroundings.capacity };
                Some((self.room_in(capacity)?, Some(small)))
            }
        }
    }

    /// Hands a small task to the crew; gives back any other, and what is no task for a solver.
    fn keep_small(&self, assignment: Assignment) -> Option<Assignment> {
        match &self.crew {
            Some(crew) if crew::is_small(&assignment.estimate) && assignment.kind != TaskKind::Evaluation => {
                tracing::debug!(task = %assignment.task, attempt = assignment.attempt, "queued here");
                crew.push(self.hold(assignment, true));
                None
            }
            _ => Some(assignment),
        }
    }

    /// Room for one more, unless results pile up because the server has no room for them.
    fn room(&self) -> Option<room::Room> {
        if *self.surroundings.waiting_for_room.borrow() > 0 {
            return None;
        }
        self.room_in(self.surroundings.capacity)
    }

    fn room_in(&self, capacity: room::Capacity) -> Option<room::Room> {
        let held = self.surroundings.leases.all();
        let mut occupants: Vec<Occupant> = held.iter().filter_map(|held| held.occupant()).collect();
        if let Some(crew) = &self.crew {
            crew.set_taken(occupants.len());
            occupants.extend(crew.occupants());
        }
        let available = crate::machine::available_memory_bytes().unwrap_or(u64::MAX);
        let mut room = room::for_one_more(capacity, &occupants, available)?;
        // "Idle" also tells the server that no lease of this worker is alive.
        room.idle &= held.is_empty();
        Some(room)
    }

    async fn ask(
        &self,
        room: room::Room,
        small: Option<SmallTasks>,
        wait: Duration,
    ) -> Result<LeaseAnswer, (RequestError, Answer)> {
        let request = LeaseRequest {
            worker: self.id.clone(),
            free_memory_bytes: room.free_memory_bytes,
            idle: room.idle,
            total_memory_bytes: self.surroundings.capacity.memory_bytes,
            wait_milliseconds: u64::try_from(wait.as_millis()).unwrap_or(0),
            small,
        };
        match self.surroundings.client.lease(&request).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let answer = match &error {
                    RequestError::Server { answer, .. } => *answer,
                    RequestError::File { .. } => Answer::Unavailable,
                };
                Err((error, answer))
            }
        }
    }

    /// Sets out with a task and, since more may be waiting behind it, with as many as there is room for:
    /// a solver's threads are fixed at its start, so it is good to know first how many will share the cores.
    async fn set_out(&self, first: Vec<Assignment>, journeys: &mut JoinSet<()>) {
        let mut fresh: Vec<_> = first.into_iter().map(|assignment| self.hold(assignment, false)).collect();
        while let Some(room) = self.room() {
            match self.ask(room, None, Duration::ZERO).await {
                Ok(LeaseAnswer { assignment: Some(next), .. }) => {
                    if let Some(next) = self.keep_small(next) {
                        fresh.push(self.hold(next, false));
                    }
                }
                Ok(_) | Err(_) => break,
            }
        }
        let big = self.surroundings.leases.all().iter().filter(|held| held.occupant().is_some()).count();
        let running = big + self.crew.as_ref().map_or(0, |crew| crew.occupants().len());
        let threads = room::threads(self.surroundings.capacity.cores, running);
        for held in fresh {
            let assignment = &held.assignment;
            tracing::info!(
                task = %assignment.task, attempt = assignment.attempt, kind = %assignment.kind, threads, "running"
            );
            journeys.spawn(self.journey(held, threads));
        }
    }

    fn hold(&self, assignment: Assignment, is_small: bool) -> Arc<Held> {
        let held = Arc::new(Held::new(assignment, is_small));
        self.surroundings.leases.insert(&held);
        held
    }

    fn journey(&self, held: Arc<Held>, threads: usize) -> impl Future<Output = ()> + Send + 'static {
        let surroundings = Arc::clone(&self.surroundings);
        held.set_out();
        travel(held, surroundings, threads)
    }

    /// Sends heartbeats forever.
    async fn beat(&self) {
        let mut interval = tokio::time::interval(BEAT);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut silent = false;
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = self.surroundings.heart.notified() => {}
            }
            let mut held = self.surroundings.leases.all();
            // Most small tasks are over before anybody could want to hear of them.
            held.retain(|held| !held.is_small || held.since.elapsed() > BEAT);
            if held.is_empty() {
                continue;
            }
            let reports: Vec<Report> = {
                let bytes = BYTES_PER_REQUEST / held.len();
                held.iter().map(|held| held.report(bytes)).collect()
            };
            let heartbeat = Heartbeat { worker: self.id.clone(), reports };
            match self.surroundings.client.heartbeat(&heartbeat).await {
                Ok(answer) => {
                    if std::mem::take(&mut silent) {
                        tracing::info!("the server answers again");
                    }
                    for ((held, report), verdict) in held.iter().zip(&heartbeat.reports).zip(answer.verdicts)
                    {
                        held.answered(report, verdict);
                    }
                }
                Err(error) => {
                    // The solvers go on: a server that restarts finds them where they were.
                    if !std::mem::replace(&mut silent, true) {
                        tracing::warn!("{error}; the tasks here go on");
                    }
                    if let RequestError::Server { answer: Answer::WrongKey, .. } = error
                        && let Err(error) = self.surroundings.client.read_key()
                    {
                        tracing::warn!("{error}");
                    }
                }
            }
        }
    }
}
