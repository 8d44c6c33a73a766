//! Many tasks under one name, as their user holds them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Instant;

use wavetask_protocol::TaskState;

use crate::engine::Engine;
use crate::error::ClientError;
use crate::server::TaskAction;
use crate::signal::{Signal, lock};
use crate::status::Phase;
use crate::task::{Task, TaskCell, is_on_its_way, timed_out};

/// Tasks under one name: a handle, cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Batch {
    cell: Arc<BatchCell>,
}

/// What all handles of a batch share.
pub(crate) struct BatchCell {
    pub(crate) name: String,
    pub(crate) engine: Arc<Engine>,
    state: Signal<BatchState>,
    subscriptions: std::sync::Mutex<Vec<Weak<Signal<News>>>>,
}

#[derive(Default)]
struct BatchState {
    tasks: Vec<Arc<TaskCell>>,
    by_key: HashMap<String, usize>,
    /// Positions in the order in which they ended; one that was run again may be there twice.
    ended: Vec<usize>,
    sealed: bool,
}

#[derive(Default)]
struct News {
    order: VecDeque<usize>,
    waiting: HashSet<usize>,
}

impl BatchCell {
    pub(crate) fn new(name: String, engine: Arc<Engine>) -> Arc<Self> {
        let subscriptions = std::sync::Mutex::default();
        Arc::new(Self { name, engine, state: Signal::new(BatchState::default()), subscriptions })
    }

    /// Adds a task that `make` makes for its position; `None` if the key is taken.
    pub(crate) fn add(&self, key: &str, make: impl FnOnce(usize) -> Arc<TaskCell>) -> Option<Arc<TaskCell>> {
        let cell = self.state.change(|state| {
            if state.by_key.contains_key(key) {
                return None;
            }
            let position = state.tasks.len();
            let cell = make(position);
            state.by_key.insert(key.to_owned(), position);
            state.tasks.push(cell.clone());
            Some(cell)
        })?;
        self.news(cell.position, false);
        Some(cell)
    }

    pub(crate) fn seal(&self) {
        self.state.change(|state| state.sealed = true);
    }

    /// A task's status changed.
    pub(crate) fn news(&self, position: usize, ended: bool) {
        if ended {
            self.state.change(|state| state.ended.push(position));
        }
        for subscription in self.subscribers() {
            subscription.change(|news| {
                if news.waiting.insert(position) {
                    news.order.push_back(position);
                }
            });
        }
    }

    fn subscribers(&self) -> Vec<Arc<Signal<News>>> {
        let mut subscriptions = lock(&self.subscriptions);
        subscriptions.retain(|subscription| subscription.strong_count() > 0);
        subscriptions.iter().filter_map(Weak::upgrade).collect()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Batch")
            .field("name", &self.cell.name)
            .field("tasks", &self.len())
            .finish_non_exhaustive()
    }
}

impl Batch {
    pub(crate) const fn from_cell(cell: Arc<BatchCell>) -> Self {
        Self { cell }
    }

    pub(crate) fn cell(&self) -> &Arc<BatchCell> {
        &self.cell
    }

    /// Its name, unique within the account.
    pub fn name(&self) -> &str {
        &self.cell.name
    }

    /// Number of tasks so far.
    pub fn len(&self) -> usize {
        self.cell.state.read(|state| state.tasks.len())
    }

    /// Whether there is no task yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all tasks are there: no more will come.
    pub fn is_sealed(&self) -> bool {
        self.cell.state.read(|state| state.sealed)
    }

    /// The keys in order.
    pub fn keys(&self) -> Vec<String> {
        self.cell.state.read(|state| state.tasks.iter().map(|task| task.key.clone()).collect())
    }

    /// The tasks in order.
    pub fn tasks(&self) -> Vec<Task> {
        self.cell.state.read(|state| state.tasks.iter().map(|cell| Task { cell: cell.clone() }).collect())
    }

    /// The task of this key.
    pub fn get(&self, key: &str) -> Option<Task> {
        self.cell.state.read(|state| {
            let position = *state.by_key.get(key)?;
            Some(Task { cell: state.tasks[position].clone() })
        })
    }

    /// The task at this place.
    pub fn at(&self, position: usize) -> Option<Task> {
        self.cell.state.read(|state| state.tasks.get(position).map(|cell| Task { cell: cell.clone() }))
    }

    /// How many tasks are in each phase.
    pub fn counts(&self) -> std::collections::BTreeMap<Phase, usize> {
        let mut counts = std::collections::BTreeMap::new();
        for task in self.tasks() {
            *counts.entry(task.cell.state.read(|state| state.status.phase)).or_insert(0) += 1;
        }
        counts
    }

    /// Calls `call` once, on a thread of the engine's, as soon as there are more tasks than `known` or no more will
    /// come; at once if that is so already. Never if the engine stops first.
    pub fn when_grown(&self, known: usize, call: impl FnOnce() + Send + 'static) {
        let cell = self.cell.clone();
        self.cell.engine.spawn(async move {
            cell.state.until(|state| (state.sealed || state.tasks.len() > known).then_some(())).await;
            call();
        });
    }

    /// Waits until all tasks are there and have ended.
    ///
    /// # Errors
    /// `TimedOut` at the deadline; the tasks go on. What became of each task is its own affair.
    pub fn wait(&self, deadline: Option<Instant>) -> Result<(), ClientError> {
        let mut completed = self.as_completed();
        while completed.next(deadline)?.is_some() {}
        Ok(())
    }

    /// As [`wait`](Self::wait), for async code of any runtime.
    pub async fn wait_async(&self) {
        let mut completed = self.as_completed();
        while completed.next_async().await.is_some() {}
    }

    /// Waits until all tasks are there and the server has accepted them or they have ended: from then on they need
    /// this program no more.
    ///
    /// # Errors
    /// `TimedOut` at the deadline.
    pub fn wait_placed(&self, deadline: Option<Instant>) -> Result<(), ClientError> {
        self.cell.state.wait(deadline, |state| state.sealed.then_some(())).ok_or_else(timed_out)?;
        for task in self.tasks() {
            task.wait_placed(deadline)?;
        }
        Ok(())
    }

    /// The tasks in the order in which they end, each once, those that have ended already first.
    pub fn as_completed(&self) -> Completed {
        Completed { cell: self.cell.clone(), cursor: 0, given: HashSet::new() }
    }

    /// News of all tasks from now on, the latest only: who reads slowly misses intermediate states, nothing else.
    pub fn subscribe(&self) -> Subscription {
        let news = Arc::new(Signal::new(News::default()));
        lock(&self.cell.subscriptions).push(Arc::downgrade(&news));
        Subscription { cell: self.cell.clone(), news }
    }

    /// Stops all tasks that have not ended; returns at once.
    pub fn cancel(&self) {
        for task in self.tasks() {
            if !task.is_done() {
                task.cancel();
            }
        }
    }

    /// Runs all tasks again that ended without success, and says of each that could not be why.
    pub fn retry(&self) -> Vec<(Task, ClientError)> {
        self.set_going(TaskAction::Retry, self.tasks().into_iter().filter(Task::is_unsuccessful).collect())
    }

    /// Starts all tasks that were submitted with `hold`, those that are on their way to the server when they are there,
    /// and says of each that could not be why.
    pub fn start(&self) -> Vec<(Task, ClientError)> {
        let (mut held, mut refused) = (Vec::new(), Vec::new());
        for task in self.tasks() {
            let status = task.status();
            // On a server that checks it after it has taken it in, it is held only then.
            let unchecked = matches!(status.state, Some(TaskState::Draft | TaskState::Validating));
            match status.phase {
                Phase::Held => held.push(task),
                phase if is_on_its_way(phase) => {
                    refused.extend(task.start().err().map(|error| (task, error)));
                }
                Phase::Queued if unchecked => task.start_when_held(),
                _ => {}
            }
        }
        refused.extend(self.set_going(TaskAction::Start, held));
        refused
    }

    /// Stops what has not ended and deletes all tasks that the server knows with their results, in a request per
    /// thousand, and says of each that could not be why.
    pub fn delete(&self) -> Vec<(Task, ClientError)> {
        let (known, unknown): (Vec<Task>, Vec<Task>) =
            self.tasks().into_iter().partition(|task| task.id().is_some());
        unknown.iter().filter(|task| !task.is_done()).for_each(Task::cancel);
        self.set_going(TaskAction::Delete, known)
    }

    fn set_going(&self, action: TaskAction, tasks: Vec<Task>) -> Vec<(Task, ClientError)> {
        let engine = self.cell.engine.clone();
        let again = tasks.clone();
        match self.cell.engine.block(async move { Ok(engine.set_going(action, again).await) }) {
            Ok(refused) => refused,
            Err(error) => tasks.into_iter().map(|task| (task, error.clone())).collect(),
        }
    }
}

/// The tasks of a batch in the order in which they end.
pub struct Completed {
    cell: Arc<BatchCell>,
    cursor: usize,
    given: HashSet<usize>,
}

impl fmt::Debug for Completed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Completed").field("given", &self.given.len()).finish_non_exhaustive()
    }
}

impl Completed {
    /// The next one, or `None` after the last.
    ///
    /// # Errors
    /// `TimedOut` at the deadline; ask again.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<Option<Task>, ClientError> {
        let Self { cell, cursor, given } = self;
        cell.state.wait(deadline, |state| look(state, cursor, given)).ok_or_else(timed_out)
    }

    /// As [`next`](Self::next), for async code of any runtime.
    pub async fn next_async(&mut self) -> Option<Task> {
        let Self { cell, cursor, given } = self;
        cell.state.until(|state| look(state, cursor, given)).await
    }
}

fn look(state: &BatchState, cursor: &mut usize, given: &mut HashSet<usize>) -> Option<Option<Task>> {
    while let Some(&position) = state.ended.get(*cursor) {
        *cursor += 1;
        let cell = &state.tasks[position];
        // One that is run again comes again when it ends again.
        if cell.state.read(|state| state.status.phase.is_final()) && given.insert(position) {
            return Some(Some(Task { cell: cell.clone() }));
        }
    }
    (state.sealed && given.len() == state.tasks.len()).then_some(None)
}

/// News of the tasks of a batch.
pub struct Subscription {
    cell: Arc<BatchCell>,
    news: Arc<Signal<News>>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Subscription").field("batch", &self.cell.name).finish_non_exhaustive()
    }
}

impl Subscription {
    /// The tasks that changed since the last call, as soon as there are any; empty at the deadline.
    pub fn next(&self, deadline: Option<Instant>) -> Vec<Task> {
        self.tasks(self.news.wait(deadline, changed).unwrap_or_default())
    }

    /// As [`next`](Self::next), for async code of any runtime.
    pub async fn next_async(&self) -> Vec<Task> {
        self.tasks(self.news.until(changed).await)
    }

    fn tasks(&self, positions: Vec<usize>) -> Vec<Task> {
        self.cell.state.read(|state| {
            positions.iter().map(|position| Task { cell: state.tasks[*position].clone() }).collect()
        })
    }
}

fn changed(news: &mut News) -> Option<Vec<usize>> {
    if news.order.is_empty() {
        return None;
    }
    news.waiting.clear();
    Some(news.order.drain(..).collect())
}
