//! Holding answers back until there is news, so that clients that poll need not.
//!
//! The tidy3d client asks for a task's detail, sleeps, and asks again; its sleeps are what makes a half
//! second's task take four. An answer that is held until the task changes costs the client no sleep and
//! the server no work. What decides whether to hold:
//!
//! - **Only news that the client can see counts**: a task that goes from queued to running looks the same
//!   to it.
//! - **The first answer on a connection is never held**: whoever asks anew (`web.abort` in another
//!   terminal asks for the detail first) wants to know now. It is held when the same connection has been
//!   told the same already.
//! - **Nobody waits while there is news elsewhere.** A batch asks for its tasks one after the other. If any
//!   task of the key has changed since it was last asked for, all answers come at once until that task's
//!   turn comes. This is what lets a hold be long without making a batch's finished members wait.
//! - **Never twice in a row**: the client asks for each detail twice.
//!
//! A task whose news nobody fetches (its client is gone) is forgotten after [`UNFETCHED`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use wavetask_protocol::{KeyId, TaskId, TaskState};
use wavetask_store::{EventListener, LoggedEvent};

use crate::connection::ConnectionId;
use crate::tidy3d::status::status_word;

/// How long news keep others from being held while nobody fetches them.
const UNFETCHED: Duration = Duration::from_secs(5);

/// A second question so soon after a held answer belongs to it.
const TWIN: Duration = Duration::from_millis(200);

/// How long a second connection is held while another one waits for the same task already.
const SECOND_HOLDER: Duration = Duration::from_millis(250);

/// How long a task that nobody asks for is remembered.
const FORGET: Duration = Duration::from_secs(600);

/// Who waits for what, and who was told what.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    accounts: Mutex<HashMap<KeyId, Account>>,
    connections: Mutex<HashMap<ConnectionId, HashMap<TaskId, Told>>>,
    /// Those who follow everything that happens to an account's tasks, and the number of its last event.
    followed: Mutex<HashMap<KeyId, tokio::sync::watch::Sender<u64>>>,
    /// Tasks that came further lately, of which the event log says nothing.
    progress: Mutex<Progress>,
    /// Wakes those who wait for a task to become ready.
    ready: Notify,
    /// Wakes whoever sends callbacks.
    callbacks: Notify,
}

/// Which tasks came further, and when.
#[derive(Debug, Default)]
struct Progress {
    /// Counts the reports.
    count: u64,
    /// The number of each task's last report.
    tasks: HashMap<TaskId, u64>,
}

/// Tasks whose progress is remembered: more than can run at once.
const PROGRESSING: usize = 10_000;

#[derive(Debug, Default)]
struct Account {
    news: Arc<Notify>,
    tasks: HashMap<TaskId, Followed>,
}

#[derive(Debug)]
struct Followed {
    /// The word that some client was told last.
    told: &'static str,
    at: Instant,
    /// Since when there is news that nobody has fetched.
    unfetched: Option<Instant>,
    holders: u32,
}

/// What one connection was told of one task.
#[derive(Clone, Copy, Debug)]
struct Told {
    word: &'static str,
    at: Instant,
    held: bool,
}

impl Watch {
    fn accounts(&self) -> MutexGuard<'_, HashMap<KeyId, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<ConnectionId, HashMap<TaskId, Told>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while there is nothing to say that this connection has not been told: at most `cap`, often
    /// not at all. Returns whether it has waited.
    pub(crate) async fn hold(
        &self,
        key: &KeyId,
        task: &TaskId,
        connection: ConnectionId,
        word: &'static str,
        cap: Duration,
    ) -> bool {
        let told = self.connections().get(&connection).and_then(|tasks| tasks.get(task)).copied();
        let Some(told) = told else { return false };
        if told.word != word || (told.held && told.at.elapsed() < TWIN) {
            return false;
        }
        let (news, cap) = {
            let mut accounts = self.accounts();
            let Some(account) = accounts.get_mut(key) else { return false };
            let news = Arc::clone(&account.news);
            let Some(followed) = account.tasks.get_mut(task) else { return false };
            let cap = if followed.holders > 0 { cap.min(SECOND_HOLDER) } else { cap };
            followed.holders += 1;
            (news, cap)
        };
        let _holder = Holder { watch: self, key, task };
        let deadline = tokio::time::Instant::now() + cap;
        loop {
            // Listen first, look second: news in between are not missed.
            let heard = news.notified();
            if self.has_news(key, task, word) {
                return true;
            }
            tokio::select! {
                () = heard => {}
                () = tokio::time::sleep_until(deadline) => return true,
            }
        }
    }

    fn has_news(&self, key: &KeyId, task: &TaskId, word: &'static str) -> bool {
        self.accounts().get(key).is_none_or(|account| {
            // Another connection may have fetched the news of this very task.
            if account.tasks.get(task).is_none_or(|followed| followed.told != word) {
                return true;
            }
            account.tasks.values().any(|task| task.unfetched.is_some_and(|since| since.elapsed() < UNFETCHED))
        })
    }

    /// Notes what a connection is being told.
    pub(crate) fn tell(
        &self,
        key: &KeyId,
        task: &TaskId,
        connection: ConnectionId,
        word: &'static str,
        held: bool,
    ) {
        let at = Instant::now();
        {
            let mut connections = self.connections();
            let tasks = connections.entry(connection).or_default();
            if tasks.len() >= 4096 {
                tasks.clear();
            }
            tasks.insert(task.clone(), Told { word, at, held });
        }
        let mut accounts = self.accounts();
        let account = accounts.entry(key.clone()).or_default();
        if account.tasks.len() >= 4096 && !account.tasks.contains_key(task) {
            account.tasks.retain(|_, task| task.holders > 0 || task.at.elapsed() < FORGET);
        }
        let followed = account.tasks.entry(task.clone()).or_insert(Followed {
            told: word,
            at,
            unfetched: None,
            holders: 0,
        });
        followed.told = word;
        followed.at = at;
        followed.unfetched = None;
    }

    /// A connection has closed.
    pub(crate) fn forget(&self, connection: ConnectionId) {
        self.connections().remove(&connection);
    }

    /// Lets everybody go who is being held: the server stops.
    pub(crate) fn release_all(&self) {
        for account in self.accounts().values_mut() {
            for task in account.tasks.values_mut() {
                task.unfetched = Some(Instant::now());
            }
            account.news.notify_waiters();
        }
        self.ready.notify_waiters();
    }

    /// Tells of every event of an account from now on. Others' events wake nobody.
    pub(crate) fn follow(&self, key: &KeyId) -> tokio::sync::watch::Receiver<u64> {
        let mut followed = self.followed();
        followed.retain(|_, sender| sender.receiver_count() > 0);
        followed.entry(key.clone()).or_default().subscribe()
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<KeyId, tokio::sync::watch::Sender<u64>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tasks that came further since this number of reports, anybody's, and the number of reports now.
    pub(crate) fn progressed_since(&self, count: u64) -> (Vec<TaskId>, u64) {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.count == count {
            return (Vec::new(), count);
        }
        let tasks = progress.tasks.iter().filter(|(_, at)| **at > count).map(|(task, _)| task.clone());
        (tasks.collect(), progress.count)
    }

    /// Becomes ready when a task may have become ready to run.
    pub(crate) fn ready_task(&self) -> tokio::sync::futures::Notified<'_> {
        self.ready.notified()
    }
}

impl Watch {
    /// There may be a callback to send.
    pub(crate) fn wake_callbacks(&self) {
        self.callbacks.notify_one();
    }

    /// Becomes ready when there may be a callback to send.
    pub(crate) fn callback(&self) -> tokio::sync::futures::Notified<'_> {
        self.callbacks.notified()
    }
}

impl EventListener for Watch {
    fn committed(&self, events: &[LoggedEvent]) {
        let mut accounts = self.accounts();
        for event in events {
            let Some(account) = accounts.get_mut(&event.owner) else { continue };
            let Some(followed) = account.tasks.get_mut(&event.task) else { continue };
            let word = status_word(event.state);
            if word == followed.told {
                followed.unfetched = None;
            } else if followed.at.elapsed() < FORGET {
                followed.unfetched = Some(Instant::now());
                account.news.notify_waiters();
            }
        }
        drop(accounts);
        {
            let followed = self.followed();
            if !followed.is_empty() {
                for event in events {
                    if let Some(sender) = followed.get(&event.owner) {
                        sender.send_replace(event.sequence);
                    }
                }
            }
        }
        {
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            for event in events.iter().filter(|event| event.state != TaskState::Running) {
                progress.tasks.remove(&event.task);
            }
        }
        if events.iter().any(|event| event.state == TaskState::Queued) {
            self.ready.notify_waiters();
        }
    }

    fn progressed(&self, tasks: &[TaskId]) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.tasks.len() >= PROGRESSING {
            progress.tasks.clear();
        }
        progress.count += 1;
        let count = progress.count;
        progress.tasks.extend(tasks.iter().map(|task| (task.clone(), count)));
    }
}

/// Counts a holder for as long as it holds, however that ends: a client may hang up.
struct Holder<'a> {
    watch: &'a Watch,
    key: &'a KeyId,
    task: &'a TaskId,
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        if let Some(account) = self.watch.accounts().get_mut(self.key)
            && let Some(followed) = account.tasks.get_mut(self.task)
        {
            followed.holders = followed.holders.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetask_core::{Event, Timestamp};

    const CAP: Duration = Duration::from_millis(400);

    fn event(task: &str, state: TaskState) -> LoggedEvent {
        LoggedEvent {
            sequence: 1,
            at: Timestamp::default(),
            task: task.parse().unwrap(),
            owner: "key".parse().unwrap(),
            state,
            event: Event::Aborted,
        }
    }

    struct Asker {
        watch: Arc<Watch>,
        connection: ConnectionId,
    }

    impl Asker {
        fn new(watch: &Arc<Watch>) -> Self {
            Self { watch: Arc::clone(watch), connection: ConnectionId::next() }
        }

        /// Asks as the handler does; returns how long that took.
        async fn ask(&self, task: &str, word: &'static str) -> Duration {
            let (key, task) = ("key".parse().unwrap(), task.parse().unwrap());
            let before = Instant::now();
            let held = self.watch.hold(&key, &task, self.connection, word, CAP).await;
            self.watch.tell(&key, &task, self.connection, word, held);
            before.elapsed()
        }
    }

    const SOON: Duration = Duration::from_millis(150);

    #[tokio::test]
    async fn the_first_answer_comes_at_once_and_the_next_is_held_and_its_twin_is_not() {
        let watch = Arc::new(Watch::default());
        let asker = Asker::new(&watch);
        assert!(asker.ask("t", "running").await < SOON);
        assert!(asker.ask("t", "running").await >= CAP);
        assert!(asker.ask("t", "running").await < SOON, "the twin");
        assert!(asker.ask("t", "running").await >= CAP);
        assert!(Asker::new(&watch).ask("t", "running").await < SOON, "another connection");
        watch.forget(asker.connection);
        assert!(asker.ask("t", "running").await < SOON, "a connection that was closed is a new one");
    }

    #[tokio::test]
    async fn news_of_any_task_of_the_key_end_a_hold() {
        let watch = Arc::new(Watch::default());
        let asker = Asker::new(&watch);
        asker.ask("a", "running").await;
        asker.ask("b", "running").await;
        let other = Arc::clone(&watch);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            other.committed(&[event("a", TaskState::Running)]);
            tokio::time::sleep(Duration::from_millis(20)).await;
            other.committed(&[event("b", TaskState::Success)]);
        });
        let took = asker.ask("a", "running").await;
        assert!(took >= Duration::from_millis(40) && took < CAP, "{took:?}");
        // Until b is asked for, nothing is held.
        tokio::time::sleep(TWIN).await;
        assert!(asker.ask("a", "running").await < SOON);
        assert!(asker.ask("b", "success").await < SOON);
        tokio::time::sleep(TWIN).await;
        assert!(asker.ask("a", "running").await >= CAP);
    }

    #[tokio::test]
    async fn two_connections_do_not_both_hold_for_long() {
        let watch = Arc::new(Watch::default());
        let (one, two) = (Asker::new(&watch), Asker::new(&watch));
        one.ask("t", "running").await;
        two.ask("t", "running").await;
        let (first, second) = tokio::join!(one.ask("t", "running"), two.ask("t", "running"));
        assert!(first >= CAP, "{first:?}");
        assert!(second >= SECOND_HOLDER && second < CAP, "{second:?}");
    }

    #[tokio::test]
    async fn a_stop_lets_everybody_go() {
        let watch = Arc::new(Watch::default());
        let asker = Asker::new(&watch);
        asker.ask("t", "running").await;
        let other = Arc::clone(&watch);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            other.release_all();
        });
        assert!(asker.ask("t", "running").await < CAP);
    }
}
