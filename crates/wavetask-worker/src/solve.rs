//! The solver child's side: one simulation in, one result out, messages on standard output.
//!
//! Everything that can go wrong in a way that an engineer can act on is reported as a message and exit code
//! [`EXIT_FAILED`]; a panic or a signal speaks for itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use wavetask_document::{Array, BLOCK_BYTES, Document, DocumentArrays, DocumentError, Limits, hdf5};
use wavetask_heat::{Controls, SolveError};
use wavetask_protocol::{ErrorKind, Progress, TaskError, TaskKind, chain};

use crate::line::{EXIT_FAILED, Message};
use crate::scratch::ScratchBlocks;
use crate::support;

/// What a solver child is asked to do.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Job {
    /// Which solver.
    pub kind: TaskKind,
    /// The simulation: an HDF5 file as the server assembles it.
    pub input: PathBuf,
    /// Where the result goes, complete or not at all.
    pub output: PathBuf,
    /// Threads to use.
    pub threads: usize,
    /// Bytes of memory to use at most.
    pub memory_bytes: u64,
}

/// Solves one job after another as they come, one JSON object per line, until the end of the input; returns the
/// process's exit code. After each comes [`Message::Done`] or [`Message::Failed`].
///
/// Between two jobs nothing is kept, but for memory that the allocator holds on to.
pub fn run_several(orders: impl io::BufRead) -> u8 {
    for line in orders.lines() {
        let Ok(line) = line else { return 1 };
        let reporter = Reporter::default();
        let job = serde_json::from_str::<Job>(&line).map_err(|error| {
            task_error(
                ErrorKind::Infrastructure,
                "solver.order",
                format!("An order cannot be read: {error}."),
            )
        });
        let solved = job.and_then(|job| {
            greet(&job, &reporter);
            solve(&job, &reporter)
        });
        reporter.send(&match solved {
            Ok(()) => Message::Done,
            Err(error) => Message::Failed { error },
        });
    }
    0
}

fn greet(job: &Job, reporter: &Reporter) {
    reporter.log(&format!(
        "wavetask {} solves a {} task on {} thread{}",
        env!("CARGO_PKG_VERSION"),
        job.kind,
        job.threads,
        if job.threads == 1 { "" } else { "s" }
    ));
}

/// Solves, and returns the process's exit code: 0 with a result, [`EXIT_FAILED`] with a reported failure.
pub fn run(job: &Job) -> u8 {
    let reporter = Reporter::default();
    greet(job, &reporter);
    match solve(job, &reporter) {
        Ok(()) => 0,
        Err(error) => {
            reporter.send(&Message::Failed { error });
            u8::try_from(EXIT_FAILED).unwrap_or(1)
        }
    }
}

fn solve(job: &Job, reporter: &Reporter) -> Result<(), TaskError> {
    if let Some(message) = support::missing(job.kind) {
        return Err(task_error(ErrorKind::Validation, "task.unsupported", message));
    }
    let started = Instant::now();
    let folder = job.output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), ToOwned::to_owned);
    let mut blocks =
        ScratchBlocks::new(&folder).map_err(|error| file_error("making a scratch file", &error))?;
    let input = File::open(&job.input).map_err(|error| file_error("opening the simulation", &error))?;
    let document =
        hdf5::read_file(&input, &Limits::default(), &mut blocks).map_err(|error| document_error(&error))?;
    let simulation: Value = serde_json::from_str(&document.json).map_err(|error| {
        task_error(
            ErrorKind::Validation,
            "document.json",
            format!("The simulation's JSON cannot be read: {error}."),
        )
    })?;
    let found = {
        let arrays = DocumentArrays { document: &document, blocks: &blocks, array_bytes: job.memory_bytes };
        match job.kind {
            TaskKind::Mode | TaskKind::ModeSolver => modes(job, &simulation, &arrays, reporter)?,
            _ => heat(job, &simulation, &arrays, reporter)?,
        }
    };
    drop((document, blocks));
    write_result(&job.output, found, &folder)?;
    reporter.log(&format!("done in {:.2} s", started.elapsed().as_secs_f64()));
    reporter.send(&Message::Progress(Progress { percent: 100.0, residual: None, stage: "done".to_owned() }));
    Ok(())
}

/// What a solver found: the data in the client's form, and its arrays by their paths in the result.
pub(crate) type Found = (Vec<Value>, BTreeMap<String, Array>);

fn heat(
    job: &Job,
    simulation: &Value,
    arrays: &DocumentArrays<'_>,
    reporter: &Reporter,
) -> Result<Found, TaskError> {
    let progress = |progress: wavetask_heat::Progress| {
        reporter.progress(progress.stage.describe(), progress.fraction, progress.residual, &progress.message)
    };
    let controls =
        Controls { threads: job.threads, memory_limit: Some(job.memory_bytes), progress: &progress };
    let solution = match job.kind {
        TaskKind::VolumeMesh if support::wants_no_mesh(simulation) => {
            reporter.log("no mesh monitors: nothing to mesh here, the heat task makes its own mesh");
            return Ok(Found::default());
        }
        TaskKind::VolumeMesh => wavetask_heat::mesh_data(simulation, arrays, &controls),
        _ => wavetask_heat::solve(simulation, arrays, &controls),
    };
    solution.map(|solution| (solution.data, solution.arrays)).map_err(|error| solve_error(&error))
}

fn modes(
    job: &Job,
    document: &Value,
    arrays: &DocumentArrays<'_>,
    reporter: &Reporter,
) -> Result<Found, TaskError> {
    let progress = |progress: wavetask_mode::Progress| {
        reporter.progress(progress.stage.describe(), progress.fraction, None, &progress.message)
    };
    let controls = wavetask_mode::Controls {
        threads: job.threads,
        memory_limit: Some(job.memory_bytes),
        progress: &progress,
    };
    wavetask_mode::solve(document, arrays, &controls)
        .map(|solution| (vec![solution.data], solution.arrays))
        .map_err(|error| mode_error(&error))
}

/// Writes `{"data": […], "diverged": false}` and the arrays, under another name first.
pub(crate) fn write_result(output: &Path, (data, arrays): Found, folder: &Path) -> Result<(), TaskError> {
    let mut blocks =
        ScratchBlocks::new(folder).map_err(|error| file_error("making a scratch file", &error))?;
    let json = serde_json::json!({ "data": data, "diverged": false }).to_string();
    let mut document = Document { json: json.into(), arrays: BTreeMap::new() };
    for (path, array) in arrays {
        let descriptor = array
            .store(&mut blocks, BLOCK_BYTES)
            .map_err(|error| file_error("writing the result", &error))?;
        document.arrays.insert(path, descriptor);
    }
    let plan = hdf5::FilePlan::new(&document).map_err(|error| document_error(&error))?;
    let unfinished = output.with_extension("unfinished");
    let write = || -> Result<(), DocumentError> {
        let io = |doing| move |source| DocumentError::Io { doing, source };
        let file = File::create(&unfinished).map_err(io("creating the result file"))?;
        let mut writer = io::BufWriter::with_capacity(1 << 20, file);
        plan.write(&blocks, &mut writer)?;
        writer.flush().map_err(io("writing the result file"))?;
        std::fs::rename(&unfinished, output).map_err(io("naming the result file"))
    };
    write().map_err(|error| document_error(&error))
}

/// Messages to the worker, in order, from any thread.
#[derive(Debug, Default)]
struct Reporter {
    state: Mutex<Sent>,
}

/// What was sent last, so that progress is sent often enough to watch and no more.
#[derive(Debug, Default)]
struct Sent {
    at: Option<Instant>,
    stage: &'static str,
}

/// Time between progress messages within a stage.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

impl Reporter {
    fn log(&self, text: &str) {
        self.send(&Message::Log { text: text.to_owned() });
    }

    /// Passes a solver's progress on.
    fn progress(
        &self,
        stage: &'static str,
        fraction: f64,
        residual: Option<f64>,
        message: &str,
    ) -> ControlFlow<()> {
        if !message.is_empty() {
            self.log(message);
        }
        {
            let mut sent = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if sent.stage == stage && sent.at.is_some_and(|at| at.elapsed() < PROGRESS_EVERY) {
                return ControlFlow::Continue(());
            }
            *sent = Sent { at: Some(Instant::now()), stage };
        }
        self.send(&Message::Progress(Progress {
            // The last hundredth is writing the result.
            percent: fraction.clamp(0.0, 1.0) * 99.0,
            residual,
            stage: stage.to_owned(),
        }));
        ControlFlow::Continue(())
    }

    fn send(&self, message: &Message) {
        let written = serde_json::to_string(message).map_err(io::Error::from).and_then(|mut line| {
            line.push('\n');
            let mut output = io::stdout().lock();
            output.write_all(line.as_bytes())?;
            output.flush()
        });
        if written.is_err() {
            // Nobody listens any more: whatever comes out could not be handed to anyone.
            std::process::exit(1);
        }
    }
}

fn task_error(kind: ErrorKind, code: &str, message: impl Into<String>) -> TaskError {
    TaskError { kind, code: code.to_owned(), message: message.into() }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn file_error(doing: &str, error: &io::Error) -> TaskError {
    if is_full(error) {
        task_error(
            ErrorKind::Resources,
            "solver.disk_full",
            format!(
                "There is no room on the worker's disk (while {doing}). Make room and run the task again."
            ),
        )
    } else {
        task_error(
            ErrorKind::Infrastructure,
            "solver.files",
            format!("The solver cannot use its files (while {doing}): {error}."),
        )
    }
}

fn document_error(error: &DocumentError) -> TaskError {
    match error {
        DocumentError::Io { doing, source } => file_error(doing, source),
        DocumentError::TooLarge { .. } => {
            task_error(ErrorKind::Resources, "document.too_large", chain(error))
        }
        _ => task_error(ErrorKind::Validation, "document.malformed", chain(error)),
    }
}

/// Which side a solver's failure is on.
fn solve_error(error: &SolveError) -> TaskError {
    let kind = match error {
        SolveError::Refused(_) => ErrorKind::Validation,
        SolveError::TooLarge { .. } => ErrorKind::Resources,
        SolveError::Array(_) | SolveError::Cancelled { .. } => ErrorKind::Infrastructure,
        _ => ErrorKind::Solver,
    };
    task_error(kind, error.code(), format!("{} {}", sentence(&chain(error)), error.hint()))
}

/// The same for the mode solver's.
fn mode_error(error: &wavetask_mode::SolveError) -> TaskError {
    use wavetask_mode::SolveError;
    let kind = match error {
        SolveError::Refused(_) => ErrorKind::Validation,
        SolveError::TooLarge { .. } => ErrorKind::Resources,
        SolveError::Array(_) | SolveError::Cancelled { .. } => ErrorKind::Infrastructure,
        _ => ErrorKind::Solver,
    };
    task_error(kind, error.code(), format!("{} {}", sentence(&chain(error)), error.hint()))
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut characters = text.trim().chars();
    let mut sentence: String =
        characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default();
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_solver_say_whose_fault_it_is_and_what_to_do() {
        let too_large =
            SolveError::TooLarge { needed: "9 GiB of memory".into(), allowed: "4 GiB of memory".into() };
        let error = solve_error(&too_large);
        assert_eq!(error.kind, ErrorKind::Resources);
        assert!(error.message.starts_with("The problem is too large: 9 GiB"), "{}", error.message);
        assert!(error.message.contains("Use a larger cell size"), "{}", error.message);
        let internal = solve_error(&SolveError::Internal("x".into()));
        assert_eq!(internal.kind, ErrorKind::Solver);
    }

    #[test]
    fn a_full_disk_is_a_matter_of_resources() {
        let full = DocumentError::Io { doing: "writing", source: io::ErrorKind::StorageFull.into() };
        assert_eq!(document_error(&full).code, "solver.disk_full");
        let denied = DocumentError::Io { doing: "writing", source: io::ErrorKind::PermissionDenied.into() };
        assert_eq!(document_error(&denied).kind, ErrorKind::Infrastructure);
    }
}
