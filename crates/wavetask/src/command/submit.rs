//! `wavetask submit`: files of simulations become the tasks of a batch.
//!
//! Files are read and taken apart on all cores while earlier ones are on their way; a file that cannot be read is its
//! own failure and stops no other.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use wavetask_client::{Batch, Client, MemberOptions, Phase, SubmissionOptions, Task};

use crate::arguments::SubmitArguments;
use crate::failure::{Exit, Failure};
use crate::locate::Surroundings;
use crate::simulation_file;
use crate::terminal::{Terminal, one_line};

/// How often the bar is drawn anew when nothing changes.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) fn run(arguments: SubmitArguments) -> Result<ExitCode, Failure> {
    let keys = keys(&arguments.files);
    let client = super::engine(&Surroundings::of_process(arguments.data.data.clone()))?;
    let parameters: BTreeMap<String, Value> = arguments.parameters.iter().cloned().collect();
    let submission = client.submit(SubmissionOptions {
        name: arguments.name.clone(),
        tags: arguments.tags.clone(),
        cache: !arguments.no_cache,
        hold: arguments.hold,
        // Results stay on the server until `get` asks for them.
        lazy: true,
        folder: arguments.folder.clone(),
        priority: arguments.priority,
        ..SubmissionOptions::default()
    })?;
    let mut pending = Vec::with_capacity(keys.len());
    for (key, path) in keys.into_iter().zip(&arguments.files) {
        let options = MemberOptions { name: Some(key.clone()), key, parameters: parameters.clone() };
        pending.push((submission.add(options)?, path.as_path()));
    }
    // In the order given, as many at once as there are cores.
    let pending = Mutex::new(pending.into_iter());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(arguments.files.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
                    let Some((pending, path)) = next else { return };
                    pending.packed(simulation_file::read(path));
                }
            });
        }
    });
    let batch = submission.finish();
    let terminal = Terminal::standard_output();
    let mut face = Face::new(terminal, &arguments, batch.len());
    follow(&client, &batch, &arguments, &mut face)?;
    face.end();
    report(&batch, &arguments)
}

/// A key for each file: its name without its format, and as much of its folder as makes it different from others.
fn keys(files: &[PathBuf]) -> Vec<String> {
    let mut taken = HashSet::new();
    files
        .iter()
        .map(|path| {
            let stem = simulation_file::stem(path);
            let stem = if stem.is_empty() { "simulation".to_owned() } else { one_line(&stem) };
            let mut key = stem.clone();
            let folder = path.parent().unwrap_or(Path::new("")).to_string_lossy().into_owned();
            if taken.contains(&key) && !folder.is_empty() {
                key = one_line(&format!("{folder}/{stem}"));
            }
            let mut number = 1;
            while taken.contains(&key) {
                number += 1;
                key = format!("{stem} ({number})");
            }
            taken.insert(key.clone());
            key
        })
        .collect()
}

/// Waits until the server has all tasks, or until they have ended, and shows how it goes.
fn follow(
    client: &Client,
    batch: &Batch,
    arguments: &SubmitArguments,
    face: &mut Face,
) -> Result<(), Failure> {
    let news = batch.subscribe();
    let mut placed: HashSet<String> = HashSet::new();
    let mut ended: HashSet<String> = HashSet::new();
    let mut changed = batch.tasks();
    loop {
        for task in changed {
            let status = task.status();
            let is_placed = status.phase.is_final()
                || matches!(status.phase, Phase::Held | Phase::Queued | Phase::Running | Phase::Fetching);
            if is_placed && placed.insert(task.key().to_owned()) && !status.phase.is_final() {
                face.line(&task, status.phase)?;
            }
            // Held tasks wait for their user.
            let is_over = status.phase.is_final() || status.phase == Phase::Held;
            if is_over && ended.insert(task.key().to_owned()) && status.phase.is_final() {
                face.line(&task, status.phase)?;
            }
        }
        let (done, trouble) = (if arguments.wait { ended.len() } else { placed.len() }, client.trouble());
        face.bar(done, batch, trouble.map(|error| error.message));
        if done >= batch.len() {
            return Ok(());
        }
        changed = news.next(Some(std::time::Instant::now() + LOOK));
    }
}

/// How progress is shown: a bar in a terminal, a line per task anywhere else, nothing with `--json`.
struct Face {
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Face {
    fn new(terminal: Terminal, arguments: &SubmitArguments, tasks: usize) -> Self {
        let bar = (terminal.live && !arguments.json).then(|| {
            let template = if terminal.colours {
                "[{bar:30.cyan}] {pos}/{len}  {wide_msg}"
            } else {
                "[{bar:30}] {pos}/{len}  {wide_msg}"
            };
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ");
            let bar =
                ProgressBar::with_draw_target(Some(tasks as u64), ProgressDrawTarget::stdout_with_hz(10));
            bar.with_style(style)
        });
        Self { bar, quiet: arguments.json }
    }

    fn line(&self, task: &Task, phase: Phase) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        let id = task.id().map_or_else(|| "-".to_owned(), |id| id.to_string());
        let mut line = format!("{id}  {phase:10}  {}", one_line(task.key()));
        if let Some(error) = task.status().error {
            line.push_str("  ");
            line.push_str(&one_line(&error.message));
        }
        match &self.bar {
            Some(bar) => bar.println(line),
            None => writeln!(std::io::stdout(), "{line}")?,
        }
        Ok(())
    }

    fn bar(&self, done: usize, batch: &Batch, trouble: Option<String>) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            let counts: Vec<String> =
                batch.counts().into_iter().map(|(phase, count)| format!("{count} {phase}")).collect();
            bar.set_message(trouble.map_or_else(|| counts.join(", "), |trouble| one_line(&trouble)));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Says what has become of each, and what to type next.
fn report(batch: &Batch, arguments: &SubmitArguments) -> Result<ExitCode, Failure> {
    let mut output = std::io::stdout().lock();
    let failed: Vec<Task> = batch
        .tasks()
        .into_iter()
        .filter(|task| {
            matches!(task.status().phase, Phase::Failed | Phase::Cancelled | Phase::WaitingForData)
        })
        .collect();
    if arguments.json {
        let tasks: Vec<Value> = batch.tasks().iter().map(told).collect();
        let text = serde_json::to_string_pretty(&json!({ "batch": batch.name(), "tasks": tasks }))
            .map_err(std::io::Error::from)?;
        writeln!(output, "{text}")?;
    } else {
        let counts: Vec<String> =
            batch.counts().into_iter().map(|(phase, count)| format!("{count} {phase}")).collect();
        writeln!(output, "batch {}: {}", quoted(batch.name()), counts.join(", "))?;
        for task in &failed {
            if let Some(hint) = task.status().error.and_then(|error| error.hint) {
                writeln!(output, "hint: {}: {}", one_line(task.key()), one_line(&hint))?;
            }
        }
        let phases: Vec<(bool, Phase)> =
            batch.tasks().iter().map(|task| (task.id().is_some(), task.status().phase)).collect();
        if let Some(next) = next(&phases) {
            writeln!(output, "next: wavetask {next} {}", quoted(batch.name()))?;
        }
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { Exit::Failed.into() })
}

/// What to do next with a batch, by which of its tasks the server has and how far they are; nothing if it has none.
fn next(tasks: &[(bool, Phase)]) -> Option<&'static str> {
    let has = |wanted: fn(Phase) -> bool| tasks.iter().any(|(known, phase)| *known && wanted(*phase));
    if has(|phase| !phase.is_final()) {
        Some("watch")
    } else if has(|phase| phase == Phase::Done) {
        Some("get")
    } else {
        has(|_| true).then_some("ls --batch")
    }
}

/// A task as JSON.
fn told(task: &Task) -> Value {
    let status = task.status();
    let error = status.error.map(|error| {
        json!({ "group": error.group.as_str(), "code": error.code, "message": error.message, "hint": error.hint })
    });
    json!({
        "key": task.key(),
        "task": task.id().map(|id| id.to_string()),
        "phase": status.phase.as_str(),
        "state": status.state.map(|state| state.as_str()),
        "diverged": status.diverged,
        "error": error,
    })
}

/// A name as a shell takes it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.=+/:,".contains(c);
    if name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("'{}'", one_line(name).replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_a_key_of_its_own() {
        let files = ["a/x.hdf5", "b/x.hdf5", "b/x.json", "y.json", "x.hdf5.gz"].map(PathBuf::from);
        assert_eq!(keys(&files), ["x", "b/x", "x (2)", "y", "x (3)"]);
    }

    #[test]
    fn what_comes_next_is_something_that_can_be_done() {
        let here = |phase| (true, phase);
        assert_eq!(next(&[here(Phase::Done), here(Phase::Running)]), Some("watch"));
        assert_eq!(next(&[here(Phase::Done), here(Phase::Failed)]), Some("get"));
        assert_eq!(next(&[here(Phase::Failed), here(Phase::Cancelled)]), Some("ls --batch"));
        assert_eq!(next(&[(false, Phase::Failed)]), None);
    }

    #[test]
    fn names_are_quoted_for_shells() {
        assert_eq!(quoted("scan-1"), "scan-1");
        assert_eq!(quoted("it's mine"), r"'it'\''s mine'");
    }
}
