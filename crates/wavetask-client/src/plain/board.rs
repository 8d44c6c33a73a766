//! The events that the protocol does not have: what was heard of tasks, in order, with numbers.
//!
//! Numbers are microseconds since 1970 at least, so that those of a later process are larger. Events of an earlier
//! one are gone: who asks from before this process began is told how each task stands now.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{EventPage, TaskEvent, TaskSummary};

use super::row::now;

/// Events that are kept.
const EVENTS: usize = 50_000;
/// Events of one page.
const PAGE: usize = 1_000;
/// How long a page is waited for.
const WAIT: Duration = Duration::from_secs(15);

/// What is known of tasks.
#[derive(Debug)]
pub(super) struct Board {
    known: Mutex<Known>,
    news: Notify,
}

#[derive(Debug)]
struct Known {
    tasks: HashMap<TaskId, TaskSummary>,
    events: VecDeque<TaskEvent>,
    /// The number before the oldest event that is kept.
    before: u64,
    last: u64,
}

impl Board {
    pub(super) fn new() -> Self {
        let start = u64::try_from(now()).unwrap_or(0) * 1_000;
        let known = Known { tasks: HashMap::new(), events: VecDeque::new(), before: start, last: start };
        Self { known: Mutex::new(known), news: Notify::new() }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the newest event.
    pub(super) fn last(&self) -> u64 {
        self.known().last
    }

    /// Notes how a task stands; what is new is an event.
    pub(super) fn note(&self, summary: TaskSummary) {
        {
            let mut known = self.known();
            if known.tasks.get(&summary.task) == Some(&summary) {
                return;
            }
            known.last += 1;
            let event = TaskEvent {
                sequence: known.last,
                at_milliseconds: now(),
                state: summary.state,
                task: summary.clone(),
            };
            known.tasks.insert(summary.task.clone(), summary);
            known.events.push_back(event);
            if known.events.len() > EVENTS
                && let Some(gone) = known.events.pop_front()
            {
                known.before = gone.sequence;
            }
        }
        self.news.notify_waiters();
    }

    /// A task as it was heard of last.
    pub(super) fn task(&self, id: &TaskId) -> Option<TaskSummary> {
        self.known().tasks.get(id).cloned()
    }

    /// Forgets a task.
    pub(super) fn forget(&self, id: &TaskId) {
        self.known().tasks.remove(id);
    }

    /// The events after a number, waited for for a while.
    pub(super) async fn after(&self, after: u64) -> EventPage {
        let deadline = tokio::time::Instant::now() + WAIT;
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // Listen first, look second: what comes in between is not missed.
            news.as_mut().enable();
            let page = self.page(after);
            if !page.events.is_empty() || tokio::time::timeout_at(deadline, news).await.is_err() {
                return page;
            }
        }
    }

    fn page(&self, after: u64) -> EventPage {
        let mut known = self.known();
        // A clock that was set back: numbers go on from where the caller is.
        known.last = known.last.max(after);
        if after < known.before {
            let last = known.last;
            let at_milliseconds = now();
            let mut events: Vec<TaskEvent> = known
                .tasks
                .values()
                .map(|task| TaskEvent {
                    sequence: last,
                    at_milliseconds,
                    state: task.state,
                    task: task.clone(),
                })
                .collect();
            events.sort_by(|one, other| one.task.task.cmp(&other.task.task));
            return EventPage { events, last };
        }
        let start = known.events.partition_point(|event| event.sequence <= after);
        let events: Vec<TaskEvent> = known.events.iter().skip(start).take(PAGE).cloned().collect();
        let last = events.last().map_or(known.last.max(after), |event| event.sequence);
        EventPage { events, last }
    }

    /// Waits until a task is as the caller wants it.
    pub(super) async fn until(&self, id: &TaskId, mut is: impl FnMut(Option<&TaskSummary>) -> bool) {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if is(self.known().tasks.get(id)) {
                return;
            }
            news.await;
        }
    }
}
