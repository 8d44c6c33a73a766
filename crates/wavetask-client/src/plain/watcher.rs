//! Polling, because the protocol has no events: one loop for all tasks that somebody waits for.
//!
//! Few tasks of a folder are asked for one by one (some servers hold that answer back until there is news); many are
//! read from the folder's list, one request for all of them. Pauses grow while nothing changes, and a list that takes
//! long is asked for less often.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, watch};
use wavetask_protocol::TaskState;

use super::rest::{Detail, Rest};
use super::transport::Failure;
use super::words::standing;
use crate::error::{ClientError, ErrorGroup};

/// Up to so many tasks of a folder are asked for one by one.
const ONE_BY_ONE: usize = 4;
/// A list may be so many times longer than the tasks in it that are waited for.
const LONG_LIST: usize = 50;
/// Requests at once.
const AT_ONCE: usize = 8;
/// The progress of so many running tasks is asked for, and how often.
const PROGRESS: usize = 4;
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// What was heard of a task last: nothing yet, or how it is, or why nothing will be heard.
type Heard = Option<Result<Arc<Detail>, ClientError>>;

/// Follows tasks.
#[derive(Debug)]
pub(super) struct Watcher {
    rest: Arc<Rest>,
    tempo: Tempo,
    inner: Mutex<Inner>,
    wake: Notify,
    asking: Semaphore,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: HashMap<String, Waiting>,
    /// Lengths of the folders' lists when they were read last.
    lists: HashMap<String, usize>,
    running: bool,
}

#[derive(Debug)]
struct Waiting {
    folder: String,
    waiters: usize,
    heard: watch::Sender<Heard>,
    progress_at: Option<Instant>,
    /// Whether an answer about it is on its way.
    asked: bool,
}

/// How often is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tempo {
    /// The first pause after something has changed.
    pub(super) shortest: Duration,
    /// The longest, when nothing does.
    pub(super) longest: Duration,
}

impl Default for Tempo {
    fn default() -> Self {
        Self { shortest: Duration::from_millis(150), longest: Duration::from_secs(5) }
    }
}

impl Watcher {
    pub(super) fn new(rest: Arc<Rest>, tempo: Tempo) -> Arc<Self> {
        Arc::new(Self {
            rest,
            tempo,
            inner: Mutex::default(),
            wake: Notify::new(),
            asking: Semaphore::new(AT_ONCE),
        })
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of one of the server's tasks until `is` says that this is it.
    ///
    /// # Errors
    /// Those that do not pass: the key is not accepted any more.
    pub(super) async fn until(
        self: &Arc<Self>,
        folder: &str,
        task: &str,
        mut is: impl FnMut(&Detail) -> bool + Send,
    ) -> Result<Arc<Detail>, ClientError> {
        let mut heard = {
            let mut inner = self.inner();
            let waiting = inner.waiting.entry(task.to_owned()).or_insert_with(|| Waiting {
                folder: folder.to_owned(),
                waiters: 0,
                heard: watch::channel(None).0,
                progress_at: None,
                asked: false,
            });
            waiting.waiters += 1;
            let heard = waiting.heard.subscribe();
            if !inner.running {
                inner.running = true;
                tokio::spawn(run(Arc::downgrade(self)));
            }
            heard
        };
        let _guard = Guard { watcher: self, task };
        self.wake.notify_one();
        loop {
            if let Some(news) = heard.borrow_and_update().clone() {
                let detail = news?;
                if is(&detail) {
                    return Ok(detail);
                }
            }
            if heard.changed().await.is_err() {
                return Err(ClientError::new(
                    ErrorGroup::Internal,
                    "plain.internal",
                    "nobody polls any more",
                ));
            }
        }
    }

    /// Tells those who wait for a task how it is; true if that is news.
    fn tell(&self, detail: Detail) -> bool {
        let inner = self.inner();
        let Some(waiting) = inner.waiting.get(&detail.id) else { return false };
        waiting.heard.send_if_modified(|heard| {
            let mut detail = detail;
            if let Some(Ok(before)) = heard {
                // Lists know nothing of progress.
                detail.percent = detail.percent.or(before.percent);
                detail.residual = detail.residual.or(before.residual);
                if **before == detail {
                    return false;
                }
            }
            *heard = Some(Ok(Arc::new(detail)));
            true
        })
    }

    fn tell_all(&self, tasks: &[String], error: &ClientError) {
        let inner = self.inner();
        for waiting in tasks.iter().filter_map(|task| inner.waiting.get(task)) {
            waiting.heard.send_replace(Some(Err(error.clone())));
        }
    }

    /// One look at everything that is waited for: whether there was news, and how long lists took.
    async fn round(self: &Arc<Self>) -> (bool, Duration) {
        let mut folders: HashMap<String, Vec<String>> = HashMap::new();
        for (task, waiting) in &self.inner().waiting {
            folders.entry(waiting.folder.clone()).or_default().push(task.clone());
        }
        let mut news = false;
        let mut longest = Duration::ZERO;
        for (folder, tasks) in folders {
            let length = self.inner().lists.get(&folder).copied().unwrap_or(0);
            if tasks.len() <= ONE_BY_ONE || length > tasks.len() * LONG_LIST {
                self.one_by_one(tasks);
                continue;
            }
            let begun = Instant::now();
            match self.rest.tasks(&folder).await {
                Ok(list) => {
                    longest = longest.max(begun.elapsed());
                    self.inner().lists.insert(folder, list.len());
                    let mut missing: std::collections::HashSet<&String> = tasks.iter().collect();
                    for detail in list {
                        // A list without states is no use.
                        if detail.status.is_some() && missing.remove(&detail.id) {
                            news |= self.tell(detail);
                        }
                    }
                    let missing: Vec<String> = missing.into_iter().cloned().collect();
                    self.one_by_one(missing);
                }
                Err(failure) => self.failed(&tasks, failure),
            }
        }
        (news, longest)
    }

    /// Asks for each task by itself, without waiting for the answers: some servers hold them back.
    fn one_by_one(self: &Arc<Self>, tasks: Vec<String>) {
        let among = tasks.len();
        for task in tasks {
            match self.inner().waiting.get_mut(&task) {
                Some(waiting) if !waiting.asked => waiting.asked = true,
                _ => continue,
            }
            let watcher = Arc::clone(self);
            tokio::spawn(async move {
                let news = watcher.ask(&task, among).await;
                if let Some(waiting) = watcher.inner().waiting.get_mut(&task) {
                    waiting.asked = false;
                }
                if news {
                    watcher.wake.notify_one();
                }
            });
        }
    }

    async fn ask(&self, task: &str, among: usize) -> bool {
        let _permit = self.asking.acquire().await;
        match self.rest.detail(task).await {
            Ok(mut detail) => {
                if self.wants_progress(task, &detail, among)
                    && let Ok((percent, residual)) = self.rest.progress(task).await
                {
                    (detail.percent, detail.residual) = (percent, residual);
                }
                self.tell(detail)
            }
            Err(failure) => {
                self.failed(&[task.to_owned()], failure);
                false
            }
        }
    }

    fn wants_progress(&self, task: &str, detail: &Detail, among: usize) -> bool {
        let running =
            detail.status.as_deref().map(standing).is_some_and(|(state, _)| state == TaskState::Running);
        let mut inner = self.inner();
        let Some(waiting) = inner.waiting.get_mut(task) else { return false };
        // Not at the first sight of it: most tasks that take no time never need it.
        let due = match waiting.progress_at {
            None => {
                waiting.progress_at = running.then(Instant::now);
                false
            }
            Some(at) => at.elapsed() >= PROGRESS_EVERY,
        };
        if running && due && among <= PROGRESS {
            waiting.progress_at = Some(Instant::now());
            return true;
        }
        false
    }

    /// What passes is waited out; the rest is told.
    fn failed(&self, tasks: &[String], failure: Failure) {
        if !failure.may_pass() {
            self.tell_all(tasks, &failure.into());
        }
    }
}

async fn run(watcher: Weak<Watcher>) {
    let mut pause = Duration::ZERO;
    let mut begun = Instant::now();
    loop {
        let Some(watcher) = watcher.upgrade() else { return };
        let idle = {
            let mut inner = watcher.inner();
            let idle = inner.waiting.is_empty();
            // Whoever comes next starts another loop.
            inner.running = !idle;
            idle
        };
        if idle {
            return;
        }
        let tempo = watcher.tempo;
        let waits = watcher.inner().waiting.len();
        // A newcomer shortens the pause, so that short tasks are short.
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = watcher.wake.notified() => {
                let since = begun.elapsed();
                if since < tempo.shortest {
                    tokio::time::sleep(tempo.shortest - since).await;
                }
                pause = Duration::ZERO;
            }
        }
        begun = Instant::now();
        let (news, list) = watcher.round().await;
        let grown = pause.max(tempo.shortest).mul_f64(1.4).min(tempo.longest);
        let wanted = if news || watcher.inner().waiting.len() != waits { tempo.shortest } else { grown };
        pause = wanted.max(list * 3).min(tempo.longest.max(list * 3));
    }
}

/// One waiter less when it goes, however it goes.
struct Guard<'w> {
    watcher: &'w Watcher,
    task: &'w str,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut inner = self.watcher.inner();
        if let Some(waiting) = inner.waiting.get_mut(self.task) {
            waiting.waiters -= 1;
            if waiting.waiters == 0 {
                inner.waiting.remove(self.task);
            }
        }
    }
}
