//! `wavetask watch`: bars in a terminal, one line per change anywhere else, JSON lines for programs.
//!
//! Changes come as events, held by the server until there are some, so a change shows at once and a quiet
//! hour costs nothing. Only where bars are drawn are running tasks asked for their progress in between.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use wavetask_protocol::native::{EventQuery, TaskAnswer, TaskFilter, TaskSummary};
use wavetask_protocol::{TaskId, TaskState};

use crate::api::Api;
use crate::arguments::WatchArguments;
use crate::command::{connect, resolve};
use crate::failure::{Exit, Failure};
use crate::terminal::{Terminal, one_line, shortened};

/// How long the server may hold the question for events while nothing is drawn.
const PLAIN_WAIT: Duration = Duration::from_secs(20);
/// The same while bars are drawn: then progress is asked for in between.
const LIVE_WAIT: Duration = Duration::from_millis(500);
/// A server that restarts is waited for; after so many failures in a row, it is not.
const PATIENCE: u32 = 30;

pub(crate) async fn run(arguments: WatchArguments) -> Result<ExitCode, Failure> {
    let api = connect(arguments.data)?;
    // The number of the newest event comes first: what happens after it is not missed.
    let mut after = api.tasks(&TaskFilter { limit: Some(1), ..TaskFilter::default() }).await?.last_event;
    let first = if arguments.tasks.is_empty() {
        unfinished(&api).await?
    } else {
        resolve::tasks(&api, &arguments.tasks).await?
    };
    let terminal = Terminal::standard_output();
    let live = terminal.live && !arguments.json;
    let mut board = Board::new(arguments.tasks.is_empty());
    let mut face: Box<dyn Face> = match (arguments.json, live) {
        (true, _) => Box::new(JsonLines),
        (false, true) => Box::new(Bars::new(terminal)),
        (false, false) => Box::new(Lines),
    };
    for task in first {
        let change = board.take(task);
        face.show(change)?;
    }
    let mut failures = 0;
    while !board.is_over() {
        let wait = if live { LIVE_WAIT } else { PLAIN_WAIT };
        let query = EventQuery {
            after,
            wait_milliseconds: u64::try_from(wait.as_millis()).unwrap_or(0),
            limit: None,
        };
        let asked = tokio::time::Instant::now();
        let page = match api.events(&query).await {
            Ok(page) => page,
            Err(failure @ Failure::Told { exit: Exit::Unreachable, .. }) => {
                failures += 1;
                if failures > PATIENCE {
                    return Err(failure);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        if failures > 0 {
            // What was missed while the server was away: look at everything again.
            failures = 0;
            refresh(&api, &mut board, face.as_mut(), |_| true).await?;
        }
        let quiet = page.events.is_empty();
        after = page.last.max(after);
        for event in page.events {
            face.show(board.take(event.task))?;
        }
        if live {
            refresh(&api, &mut board, face.as_mut(), |state| state == TaskState::Running).await?;
        }
        if quiet && asked.elapsed() < Duration::from_millis(100) {
            // A server that does not hold its answers must not be asked in a tight loop.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    face.end(&board)?;
    Ok(if board.all_succeeded() { ExitCode::SUCCESS } else { Exit::Failed.into() })
}

/// All tasks of this key that have not ended, oldest first.
async fn unfinished(api: &Api) -> Result<Vec<TaskSummary>, Failure> {
    let mut found = Vec::new();
    for state in [
        TaskState::Validating,
        TaskState::Validated,
        TaskState::Queued,
        TaskState::Running,
        TaskState::Publishing,
        TaskState::Aborting,
    ] {
        let filter = TaskFilter { state: Some(state), ..TaskFilter::default() };
        found.extend(api.tasks_up_to(&filter, None).await?.tasks);
    }
    found.sort_by(|a, b| (a.created_milliseconds, &a.task).cmp(&(b.created_milliseconds, &b.task)));
    found.dedup_by(|a, b| a.task == b.task);
    Ok(found)
}

/// Asks for the tasks whose state is of interest and have not ended.
async fn refresh(
    api: &Api,
    board: &mut Board,
    face: &mut dyn Face,
    interest: impl Fn(TaskState) -> bool,
) -> Result<(), Failure> {
    let tasks = board.unfinished(interest);
    if tasks.is_empty() {
        return Ok(());
    }
    for (task, answer) in tasks.iter().zip(api.act("status", &tasks).await?) {
        face.show(match answer {
            TaskAnswer::Task { task } => board.take(*task),
            _ => board.vanished(task),
        })?;
    }
    Ok(())
}

/// What is watched and how it stands.
#[derive(Debug)]
struct Board {
    tasks: BTreeMap<TaskId, TaskSummary>,
    /// Whether tasks that turn up later are watched too.
    open: bool,
    begun: bool,
}

/// What a new summary changed.
#[derive(Clone, Debug, PartialEq)]
enum Change {
    /// Nothing worth showing, or not a watched task.
    None,
    /// Another state; the first summary of a task counts as one.
    State(TaskSummary),
    /// The same state, further on.
    Progress(TaskSummary),
}

impl Board {
    fn new(open: bool) -> Self {
        Self { tasks: BTreeMap::new(), open, begun: false }
    }

    /// Takes a summary. With named tasks, the first round (before any event) names them.
    fn take(&mut self, summary: TaskSummary) -> Change {
        match self.tasks.get(&summary.task) {
            None if self.open || !self.begun => {
                self.tasks.insert(summary.task.clone(), summary.clone());
                Change::State(summary)
            }
            None => Change::None,
            // An event may be older than what a question in between has answered.
            Some(known) if known.state.is_final() && !summary.state.is_final() => Change::None,
            Some(known) if *known == summary => Change::None,
            Some(known) => {
                let same = known.state == summary.state;
                self.tasks.insert(summary.task.clone(), summary.clone());
                if same { Change::Progress(summary) } else { Change::State(summary) }
            }
        }
    }

    /// A task that the server does not know any more counts as deleted.
    fn vanished(&mut self, task: &TaskId) -> Change {
        match self.tasks.get(task) {
            Some(known) if known.state != TaskState::Deleted => {
                let mut summary = known.clone();
                summary.state = TaskState::Deleted;
                self.take(summary)
            }
            _ => Change::None,
        }
    }

    fn unfinished(&self, interest: impl Fn(TaskState) -> bool) -> Vec<TaskId> {
        let of_interest = |task: &&TaskSummary| !task.state.is_final() && interest(task.state);
        self.tasks.values().filter(of_interest).map(|task| task.task.clone()).collect()
    }

    /// Drafts are waited for, too: somebody is sending them, or will go on.
    fn is_over(&mut self) -> bool {
        self.begun = true;
        self.tasks.values().all(|task| task.state.is_final())
    }

    fn count(&self, state: TaskState) -> usize {
        self.tasks.values().filter(|task| task.state == state).count()
    }

    fn all_succeeded(&self) -> bool {
        self.count(TaskState::Success) == self.tasks.len()
    }

    fn summary(&self) -> String {
        let states = [
            TaskState::Success,
            TaskState::Diverged,
            TaskState::Error,
            TaskState::Aborted,
            TaskState::Deleted,
        ];
        let parts: Vec<String> = states
            .into_iter()
            .filter(|&state| self.count(state) > 0)
            .map(|state| format!("{} {state}", self.count(state)))
            .collect();
        if parts.is_empty() { "no tasks to watch".to_owned() } else { parts.join(", ") }
    }
}

/// How changes are shown.
trait Face {
    fn show(&mut self, change: Change) -> Result<(), Failure>;
    fn end(&mut self, board: &Board) -> Result<(), Failure>;
}

/// One line per change of state.
struct Lines;

impl Face for Lines {
    fn show(&mut self, change: Change) -> Result<(), Failure> {
        if let Change::State(task) = change {
            writeln!(std::io::stdout(), "{}", line_of(&task))?;
        }
        Ok(())
    }

    fn end(&mut self, board: &Board) -> Result<(), Failure> {
        Ok(writeln!(std::io::stdout(), "{}", board.summary())?)
    }
}

/// A JSON object for each change, as soon as it is known: programs read line by line.
struct JsonLines;

impl JsonLines {
    fn write(told: &serde_json::Value) -> Result<(), Failure> {
        let mut output = std::io::stdout().lock();
        writeln!(output, "{told}")?;
        Ok(output.flush()?)
    }
}

impl Face for JsonLines {
    fn show(&mut self, change: Change) -> Result<(), Failure> {
        let (what, task) = match change {
            Change::None => return Ok(()),
            Change::State(task) => ("state", task),
            Change::Progress(task) => ("progress", task),
        };
        Self::write(&json!({ "event": what, "task": task }))
    }

    fn end(&mut self, board: &Board) -> Result<(), Failure> {
        let mut states = BTreeMap::new();
        for task in board.tasks.values() {
            *states.entry(task.state.as_str()).or_insert(0_u64) += 1;
        }
        Self::write(&json!({ "event": "end", "tasks": board.tasks.len(), "states": states }))
    }
}

fn line_of(task: &TaskSummary) -> String {
    let mut line = format!("{}  {:10}  {}", task.task, task.state.as_str(), one_line(&task.name));
    // While it runs again, the error of the attempt before is no longer news.
    if let Some(error) = &task.error
        && task.state != TaskState::Running
    {
        line.push_str("  ");
        line.push_str(&one_line(&error.message));
    }
    line
}

/// Live bars: one per unfinished task, ended ones above.
struct Bars {
    terminal: Terminal,
    all: MultiProgress,
    bars: BTreeMap<TaskId, ProgressBar>,
    style: ProgressStyle,
}

impl Bars {
    fn new(terminal: Terminal) -> Self {
        let template = if terminal.colours {
            "{prefix:32} [{bar:30.cyan}] {pos:>3} %  {msg}"
        } else {
            "{prefix:32} [{bar:30}] {pos:>3} %  {msg}"
        };
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout_with_hz(10));
        Self { terminal, all, bars: BTreeMap::new(), style }
    }
}

impl Face for Bars {
    fn show(&mut self, change: Change) -> Result<(), Failure> {
        let (Change::State(task) | Change::Progress(task)) = change else { return Ok(()) };
        if task.state.is_final() {
            if let Some(bar) = self.bars.remove(&task.task) {
                bar.finish_and_clear();
                self.all.remove(&bar);
            }
            let mut line = format!(
                "{}  {}  {}",
                self.terminal.state(task.state, 8),
                task.task,
                shortened(&one_line(&task.name), 48)
            );
            if let Some(error) = &task.error {
                line.push_str("\n          ");
                line.push_str(&one_line(&error.message));
            }
            return Ok(self.all.println(line)?);
        }
        let bar = self.bars.entry(task.task.clone()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(100).with_style(self.style.clone()));
            bar.set_prefix(shortened(&one_line(&task.name), 32));
            bar
        });
        let mut message = task.state.as_str().to_owned();
        if task.state == TaskState::Running
            && let Some(progress) = &task.progress
        {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
            bar.set_position(progress.percent.clamp(0.0, 100.0) as u64);
            message = one_line(&progress.stage);
            if let Some(residual) = progress.residual {
                message.push_str(&format!(", residual {residual:.1e}"));
            }
        }
        bar.set_message(message);
        Ok(())
    }

    fn end(&mut self, board: &Board) -> Result<(), Failure> {
        Ok(self.all.println(board.summary())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::resolve::tests::summary;
    use wavetask_protocol::Progress;

    #[test]
    fn named_tasks_are_watched_and_no_others() {
        let mut board = Board::new(false);
        assert!(matches!(board.take(summary("task-1", TaskState::Queued)), Change::State(_)));
        assert!(!board.is_over());
        assert_eq!(board.take(summary("task-2", TaskState::Running)), Change::None);
        assert!(matches!(board.take(summary("task-1", TaskState::Success)), Change::State(_)));
        assert!(board.is_over() && board.all_succeeded());
    }

    #[test]
    fn without_names_tasks_that_turn_up_later_are_watched_too() {
        let mut board = Board::new(true);
        assert!(board.is_over() && board.all_succeeded());
        board.take(summary("task-1", TaskState::Running));
        assert!(!board.is_over());
        board.take(summary("task-2", TaskState::Error));
        board.take(summary("task-1", TaskState::Success));
        assert!(board.is_over() && !board.all_succeeded());
        assert_eq!(board.summary(), "1 success, 1 error");
    }

    #[test]
    fn what_has_ended_does_not_come_back_to_life_by_an_older_event() {
        let mut board = Board::new(true);
        board.take(summary("task-1", TaskState::Success));
        assert_eq!(board.take(summary("task-1", TaskState::Running)), Change::None);
        assert!(board.is_over());
    }

    #[test]
    fn progress_is_told_from_a_change_of_state() {
        let mut board = Board::new(true);
        let mut task = summary("task-1", TaskState::Running);
        board.take(task.clone());
        assert_eq!(board.take(task.clone()), Change::None);
        task.progress = Some(Progress { percent: 10.0, residual: None, stage: String::new() });
        assert!(matches!(board.take(task), Change::Progress(_)));
        assert!(matches!(board.vanished(&"task-1".parse().unwrap()), Change::State(_)));
        assert!(board.is_over() && !board.all_succeeded());
    }
}
