//! The way in: a connection to a server, and everything that can be asked of it.

use std::sync::Arc;
use std::time::Duration;

use wavetask_protocol::TaskId;
use wavetask_protocol::native::{
    BatchList, BatchQuery, MemberList, MemberQuery, ServerStatus, TaskFilter, TaskList,
};

use crate::batch::{Batch, BatchCell};
use crate::engine::{Engine, Nonce, SubmissionFacts, now_milliseconds};
use crate::error::{ClientError, ErrorGroup};
use crate::flow::{Attached, Input};
use crate::journal::{Journal, JournalThread, SubmissionRecord};
use crate::server::{Server, TaskAction, Told};
use crate::settings::Settings;
use crate::status::Phase;
use crate::submission::{Submission, SubmissionOptions, no_order};
use crate::task::{Task, TaskCell};

/// Submissions that never finished are forgotten after so long.
const ABANDONED: Duration = Duration::from_secs(90 * 24 * 3600);

/// A connection to a server, with the engine behind it. Cheap to clone, usable from any thread.
///
/// ```text
/// let client = Client::connect(Settings::default())?;
/// let submission = client.submit(SubmissionOptions { name: Some("scan".into()), ..Default::default() })?;
/// for (key, simulation) in simulations {
///     submission.push(MemberOptions { key, ..Default::default() }, pack(simulation))?;
/// }
/// let batch = submission.finish();
/// let mut completed = batch.as_completed();
/// while let Some(task) = completed.next(None)? { … }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    engine: Arc<Engine>,
}

/// What a name or an id stands for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Opened {
    /// A batch.
    Batch(Batch),
    /// A task.
    Task(Task),
}

impl Client {
    /// An engine for this server, with its own threads: callers may be anything.
    ///
    /// # Errors
    /// If the journal cannot be opened or threads cannot be started.
    pub fn with_server(settings: Settings, server: Arc<dyn Server>) -> Result<Self, ClientError> {
        Self::on_runtime(settings, runtime()?, server)
    }

    pub(crate) fn on_runtime(
        settings: Settings,
        runtime: tokio::runtime::Runtime,
        server: Arc<dyn Server>,
    ) -> Result<Self, ClientError> {
        let journal = match Journal::open(&settings.journal_path()) {
            Ok(journal) => journal,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let journal = JournalThread::start(journal)?;
        let now = now_milliseconds();
        let before = |age: Duration| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let (finished, begun) = (before(settings.keep_finished), before(ABANDONED));
        journal.post(move |journal| {
            let _ = journal.prune(finished, begun);
        });
        Ok(Self { engine: Engine::start(settings, server, journal, runtime) })
    }

    /// What the engine may use.
    pub fn settings(&self) -> &Settings {
        self.engine.settings()
    }

    pub(crate) const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The server behind the engine.
    pub fn server(&self) -> &Arc<dyn Server> {
        self.engine.server()
    }

    /// Why the server cannot be reached at the moment, if it cannot; the engine keeps trying.
    pub fn trouble(&self) -> Option<ClientError> {
        self.engine.parts.trouble.read(Clone::clone)
    }

    /// Lets the journal come to rest and keeps it there until the answer is dropped: for the instant of a fork, which
    /// would otherwise copy locks of SQLite's that nobody releases in the child. `None` if that takes longer.
    pub fn rest(&self, within: Duration) -> Option<crate::journal::JournalRest> {
        self.engine.parts.journal.rest(within)
    }

    /// Who is there.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn status(&self) -> Result<ServerStatus, ClientError> {
        let server = self.server().clone();
        self.engine.block(async move { server.status().await })
    }

    /// Begins a submission. Asks nobody but the journal: it returns at once, whether the server can be reached or
    /// not.
    ///
    /// # Errors
    /// `Usage` if the name is none, or if tasks are to run after others on a server that cannot have them wait; those of
    /// the journal.
    pub fn submit(&self, options: SubmissionOptions) -> Result<Submission, ClientError> {
        let SubmissionOptions { name, tags, cache, hold, lazy, folder, priority, after, program } = options;
        if !after.is_empty() && !self.server().evaluates() {
            return Err(no_order());
        }
        let named = name.is_some();
        let program = program.unwrap_or_else(this_program);
        let name = match name {
            Some(name) => name,
            None => automatic_name(&program)?,
        };
        if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
            let message = "A batch's name has 1 to 200 characters, none of them a control character.";
            return Err(ClientError::new(ErrorGroup::Usage, "batch.bad_name", message));
        }
        let nonce = if cache { String::new() } else { random_word()? };
        let wanted = SubmissionRecord {
            row: 0,
            batch: name.clone(),
            named,
            token: random_word()?,
            nonce,
            program,
            lazy,
            tags: tags.clone(),
            sealed: false,
            finished: false,
        };
        let scope = self.settings().scope();
        let record = self
            .engine
            .parts
            .journal
            .ask(move |journal| journal.begin(&scope, &wanted, now_milliseconds()))?;
        let SubmissionRecord { row, token, nonce, .. } = record;
        let facts = SubmissionFacts {
            row,
            batch: name.clone(),
            named,
            token,
            nonce: Nonce::new(nonce, named),
            tags,
            cache,
            hold,
            lazy,
            folder,
            priority,
            after,
        };
        let batch = BatchCell::new(name, self.engine.clone());
        self.engine.keep_batch(&batch);
        let id = self.engine.open_submission(facts, true);
        Ok(Submission::new(self.engine.clone(), id, Batch::from_cell(batch)))
    }

    /// A task by its id, or a batch by its name: of this process, of an earlier one, or of another machine. What an
    /// earlier process has journaled and not placed goes on.
    ///
    /// # Errors
    /// `NotFound` if there is none; those of the connection.
    pub fn open(&self, name_or_id: &str) -> Result<Opened, ClientError> {
        let as_batch = || self.open_batch(name_or_id).map(Opened::Batch);
        let Ok(id) = name_or_id.parse() else { return as_batch() };
        let as_task = || self.open_task(&id).map(Opened::Task);
        // An id may be a name, too, and on servers of the plain protocol it looks like one.
        if name_or_id.starts_with("task-") {
            or_if_missing(as_task(), as_batch)
        } else {
            or_if_missing(as_batch(), as_task)
        }
    }

    /// A task by its id.
    ///
    /// # Errors
    /// `NotFound` if there is none; those of the connection.
    pub fn open_task(&self, id: &TaskId) -> Result<Task, ClientError> {
        let (engine, task) = (self.engine.clone(), id.clone());
        let (summary, version) = self.engine.block(async move { engine.look(&task).await })?;
        let member = self.engine.new_member();
        let identity = (summary.name.clone(), summary.name.clone(), 0, Default::default());
        let cell = TaskCell::new(
            self.engine.clone(),
            std::sync::Weak::new(),
            identity,
            member,
            Some(id.clone()),
            Phase::Queued,
        );
        self.engine.register(member, &cell);
        self.engine.send(Input::Attached(Attached {
            member,
            submission: None,
            task: id.clone(),
            summary: Some(Box::new(summary)),
            version,
            lazy: true,
            first: TaskAction::Status,
        }));
        self.engine.settle();
        Ok(Task { cell })
    }

    /// Tasks by state, name, tag and parameters, newest first.
    ///
    /// # Errors
    /// Those of the connection; `Usage` if the filter makes no sense.
    pub fn list(&self, filter: &TaskFilter) -> Result<TaskList, ClientError> {
        let (server, filter) = (self.server().clone(), filter.clone());
        self.engine.block(async move { server.list(&filter).await })
    }

    /// What the tidy3d protocol tells of a task that goes by another id there; `None` for every other.
    ///
    /// # Errors
    /// `NotFound` if it was deleted; those of the connection.
    pub fn told(&self, task: &TaskId, what: Told) -> Result<Option<serde_json::Value>, ClientError> {
        let (server, task) = (self.server().clone(), task.clone());
        self.engine.block(async move { server.told(&task, what).await })
    }

    /// Batches by name and tag, the last touched first.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn batches(&self, query: &BatchQuery) -> Result<BatchList, ClientError> {
        let (server, query) = (self.server().clone(), query.clone());
        self.engine.block(async move { server.batches(&query).await })
    }

    /// The members of a batch with their parameters and tasks, page by page.
    ///
    /// # Errors
    /// `NotFound` if there is no such batch; those of the connection.
    pub fn members(&self, batch: &str, query: &MemberQuery) -> Result<MemberList, ClientError> {
        let (server, batch, query) = (self.server().clone(), batch.to_owned(), query.clone());
        self.engine.block(async move { server.members(&batch, &query).await })
    }
}

/// The engine's own threads: a few, because what takes long there waits for sockets.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, ClientError> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("wavetask")
        .enable_all()
        .build()
        .map_err(|error| {
            ClientError::new(ErrorGroup::Internal, "engine.no_thread", "Threads cannot be started.")
                .caused_by(error)
        })
}

/// `<program>-<yyyymmdd-hhmmss>-<8 hexadecimal digits>`: hundreds of threads may ask within one second.
fn automatic_name(program: &str) -> Result<String, ClientError> {
    let program: String = program.chars().filter(|character| !character.is_control()).take(60).collect();
    let program = if program.is_empty() { "batch".to_owned() } else { program };
    let now = time::OffsetDateTime::now_utc();
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    let (hour, minute, second) = (now.hour(), now.minute(), now.second());
    let word = random_word()?;
    let word = word.get(..8).unwrap_or_default();
    Ok(format!("{program}-{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}-{word}"))
}

fn this_program() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&path).file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// 32 hexadecimal digits that nobody has drawn before.
fn random_word() -> Result<String, ClientError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        let message = format!("The operating system gives no random numbers: {error}.");
        ClientError::new(ErrorGroup::Internal, "engine.no_random", message)
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What was found first; if that is nothing, what the other way leads to.
fn or_if_missing(
    first: Result<Opened, ClientError>,
    other: impl FnOnce() -> Result<Opened, ClientError>,
) -> Result<Opened, ClientError> {
    match first {
        Err(missing) if missing.group == ErrorGroup::NotFound => match other() {
            Err(error) if error.group == ErrorGroup::NotFound => Err(missing),
            found => found,
        },
        found => found,
    }
}
