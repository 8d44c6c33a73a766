//! The way in: a connection to a server, and everything that can be asked of it.

use std::sync::Arc;
use std::time::Duration;

use wavetask_protocol::TaskId;
use wavetask_protocol::native::{
    BatchList, BatchQuery, MemberList, MemberQuery, ServerStatus, TaskFilter, TaskList,
};

use crate::batch::{Batch, BatchCell};
use crate::engine::{Engine, SubmissionFacts, now_milliseconds};
use crate::error::{ClientError, ErrorGroup};
use crate::flow::{Input, Push};
use crate::journal::{Journal, JournalThread, MemberRecord, SubmissionRecord};
use crate::server::{Server, TaskAction};
use crate::settings::Settings;
use crate::status::Phase;
use crate::submission::{Submission, SubmissionOptions};
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

    /// The server behind the engine.
    pub fn server(&self) -> &Arc<dyn Server> {
        self.engine.server()
    }

    /// Why the server cannot be reached at the moment, if it cannot; the engine keeps trying.
    pub fn trouble(&self) -> Option<ClientError> {
        self.engine.parts.trouble.read(Clone::clone)
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
    /// `Usage` if the name is none; those of the journal.
    pub fn submit(&self, options: SubmissionOptions) -> Result<Submission, ClientError> {
        let SubmissionOptions { name, tags, cache, hold, lazy, folder, priority, after, program } = options;
        let named = name.is_some();
        let name = match name {
            Some(name) => name,
            None => automatic_name(program.as_deref())?,
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
            lazy,
            tags: tags.clone(),
            sealed: false,
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
            nonce,
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
        let id = self.engine.open_submission(facts);
        Ok(Submission::new(self.engine.clone(), id, Batch::from_cell(batch)))
    }

    /// A task by its id, or a batch by its name: of this process, of an earlier one, or of another machine. What an
    /// earlier process has journaled and not placed goes on.
    ///
    /// # Errors
    /// `NotFound` if there is none; those of the connection.
    pub fn open(&self, name_or_id: &str) -> Result<Opened, ClientError> {
        if name_or_id.starts_with("task-")
            && let Ok(id) = name_or_id.parse()
        {
            return self.open_task(&id).map(Opened::Task);
        }
        self.open_batch(name_or_id).map(Opened::Batch)
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
        let (task, summary, lazy, first) = (id.clone(), Some(Box::new(summary)), true, TaskAction::Status);
        self.engine.send(Input::Attached { member, task, summary, version, lazy, first });
        Ok(Task { cell })
    }

    /// A batch by its name.
    ///
    /// # Errors
    /// `NotFound` if neither journal nor server knows it; those of the connection if only the server could know.
    pub fn open_batch(&self, name: &str) -> Result<Batch, ClientError> {
        if let Some(batch) = self.engine.live_batch(name) {
            return Ok(Batch::from_cell(batch));
        }
        let (scope, wanted) = (self.settings().scope(), name.to_owned());
        let journaled = self.engine.parts.journal.ask(move |journal| journal.find(&scope, &wanted))?;
        let (server, wanted) = (self.server().clone(), name.to_owned());
        let listed = self.engine.block(async move { list_members(&*server, &wanted).await });
        let listed = match listed {
            Ok(listed) => listed,
            // What the journal has can be shown, and goes on, without the server.
            Err(error) if error.group.may_pass() && journaled.is_some() => Vec::new(),
            Err(error) if error.group == ErrorGroup::NotFound && journaled.is_some() => Vec::new(),
            Err(error) => return Err(error),
        };
        let batch = BatchCell::new(name.to_owned(), self.engine.clone());
        let unplaced = self.attach_listed(&batch, &listed, journaled.as_ref());
        if let Some((record, members)) = journaled {
            self.resume(&batch, record, members, &unplaced);
        }
        batch.seal();
        self.engine.keep_batch(&batch);
        Ok(Batch::from_cell(batch))
    }

    /// Adds what the server knows; returns the keys of members that the server has as drafts, for the journal to
    /// complete.
    fn attach_listed(
        &self,
        batch: &Arc<BatchCell>,
        listed: &[MemberList],
        journaled: Option<&(SubmissionRecord, Vec<MemberRecord>)>,
    ) -> std::collections::HashSet<String> {
        let waiting: std::collections::HashSet<&str> = journaled
            .iter()
            .flat_map(|(_, members)| members)
            .filter(|member| member.payload.is_some())
            .map(|member| member.key.as_str())
            .collect();
        let mut drafts = std::collections::HashSet::new();
        for (page, member) in
            listed.iter().flat_map(|page| page.members.iter().map(move |member| (page, member)))
        {
            let state = member.task.state;
            if state == wavetask_protocol::TaskState::Draft && waiting.contains(member.key.as_str()) {
                drafts.insert(member.key.clone());
                continue;
            }
            let id = self.engine.new_member();
            let cell = batch.add(&member.key, |position| {
                let identity =
                    (member.key.clone(), member.task.name.clone(), position, member.parameters.clone());
                let task = Some(member.task.task.clone());
                TaskCell::new(self.engine.clone(), Arc::downgrade(batch), identity, id, task, Phase::Queued)
            });
            let Some(cell) = cell else { continue };
            self.engine.register(id, &cell);
            self.engine.send(Input::Attached {
                member: id,
                task: member.task.task.clone(),
                summary: Some(Box::new(member.task.clone())),
                version: page.last_event,
                lazy: true,
                first: TaskAction::Status,
            });
        }
        drafts
    }

    /// Goes on with what the journal has and the server lacks.
    fn resume(
        &self,
        batch: &Arc<BatchCell>,
        record: SubmissionRecord,
        members: Vec<MemberRecord>,
        drafts: &std::collections::HashSet<String>,
    ) {
        let listed = Batch::from_cell(batch.clone());
        let left: Vec<_> = members
            .into_iter()
            .filter(|member| drafts.contains(&member.key) || listed.get(&member.key).is_none())
            .collect();
        if left.is_empty() {
            return;
        }
        let facts = SubmissionFacts {
            row: record.row,
            batch: record.batch,
            named: record.named,
            token: record.token,
            nonce: record.nonce,
            tags: record.tags,
            // These are in each journaled member already.
            cache: true,
            hold: false,
            lazy: record.lazy,
            folder: String::new(),
            priority: 0,
            after: Vec::new(),
        };
        let submission = self.engine.open_submission(facts);
        for MemberRecord { key, task, payload } in left {
            let member = self.engine.new_member();
            let known = payload.as_ref().map(|(payload, _)| payload.member.clone());
            let name = known.as_ref().map_or_else(|| key.clone(), |member| member.name.clone());
            let parameters = known.map(|member| member.parameters).unwrap_or_default();
            let phase = if payload.is_some() { Phase::Waiting } else { Phase::Queued };
            let cell = batch.add(&key, |position| {
                let identity = (key.clone(), name, position, parameters);
                let engine = self.engine.clone();
                TaskCell::new(engine, Arc::downgrade(batch), identity, member, task.clone(), phase)
            });
            let Some(cell) = cell else { continue };
            self.engine.register(member, &cell);
            match (payload, task) {
                (Some((payload, complete)), _) => {
                    let blocks =
                        payload.blocks.iter().map(|(digest, place)| (*digest, place.length as u64)).collect();
                    let document_bytes = payload.document_bytes;
                    self.engine.send(Input::Announced { submission });
                    self.engine.parts.holdings.hold(member, payload);
                    let push = Push {
                        member,
                        submission,
                        blocks,
                        document_bytes,
                        lazy: true,
                        journaled: true,
                        complete,
                    };
                    self.engine.send(Input::Pushed(push));
                }
                (None, Some(task)) => {
                    let (summary, version, lazy, first) = (None, 0, true, TaskAction::Status);
                    self.engine.send(Input::Attached { member, task, summary, version, lazy, first });
                }
                (None, None) => {
                    let message = "It ended before the server had it; the journal keeps no more of it.";
                    let error = ClientError::new(ErrorGroup::NotFound, "task.not_placed", message)
                        .hint("Run the script again.");
                    self.engine.send(Input::Announced { submission });
                    self.engine.send(Input::PackFailed { member, submission, error });
                }
            }
        }
        if record.sealed {
            self.engine.send(Input::Sealed { submission });
        }
    }

    /// Tasks by state, name, tag and parameters, newest first.
    ///
    /// # Errors
    /// Those of the connection; `Usage` if the filter makes no sense.
    pub fn list(&self, filter: &TaskFilter) -> Result<TaskList, ClientError> {
        let (server, filter) = (self.server().clone(), filter.clone());
        self.engine.block(async move { server.list(&filter).await })
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

async fn list_members(server: &dyn Server, batch: &str) -> Result<Vec<MemberList>, ClientError> {
    let mut pages = Vec::new();
    let mut query = MemberQuery::default();
    loop {
        let page = server.members(batch, &query).await?;
        query.after.clone_from(&page.next);
        pages.push(page);
        if query.after.is_none() {
            return Ok(pages);
        }
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
fn automatic_name(program: Option<&str>) -> Result<String, ClientError> {
    let own = || {
        let path = std::env::args_os().next().unwrap_or_default();
        std::path::Path::new(&path).file_stem().unwrap_or_default().to_string_lossy().into_owned()
    };
    let program = program.map_or_else(own, str::to_owned);
    let program: String = program.chars().filter(|character| !character.is_control()).take(60).collect();
    let program = if program.is_empty() { "batch".to_owned() } else { program };
    let now = time::OffsetDateTime::now_utc();
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    let (hour, minute, second) = (now.hour(), now.minute(), now.second());
    let word = random_word()?;
    let word = word.get(..8).unwrap_or_default();
    Ok(format!("{program}-{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}-{word}"))
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
