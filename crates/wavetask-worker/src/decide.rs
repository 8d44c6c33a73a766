//! What to do next: about a child that ended, a verdict of the server, an answer to a request, a pause.

use std::time::Duration;

use wavetask_core::SolverExit;
use wavetask_protocol::worker::{Failure, Verdict};
use wavetask_protocol::{ErrorKind, TaskError};

use crate::line::EXIT_FAILED;

/// Why a running task is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The user wants it.
    Abort,
    /// The lease is gone; the task is no longer ours.
    Lost,
    /// The worker is shutting down.
    Shutdown,
}

/// What a verdict means for a task that may have been told to stop already.
///
/// A lost lease beats everything, since nothing that is said about the task counts any more; an abort
/// beats a shutdown, since the user should read "aborted" and not see the task run again.
pub fn after_verdict(known: Option<Stop>, verdict: Verdict) -> Option<Stop> {
    match (known, verdict) {
        (_, Verdict::Lost) | (Some(Stop::Lost), _) => Some(Stop::Lost),
        (_, Verdict::Abort) => Some(Stop::Abort),
        (known, Verdict::Continue) => known,
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an exit code.
    Exited(i32),
    /// Killed by a signal.
    Signaled(i32),
}

/// What is known about a solver child that is gone.
#[derive(Clone, Debug)]
pub struct ChildEnd {
    /// How it ended.
    pub ended: Ended,
    /// The failure that it reported, if it did.
    pub reported: Option<TaskError>,
    /// Whether the result file is there, complete.
    pub result_is_there: bool,
    /// The end of what it wrote to standard error.
    pub last_words: String,
    /// The most memory it had, in bytes.
    pub peak_bytes: u64,
    /// The address space that it was allowed, in bytes.
    pub allowed_bytes: u64,
    /// The memory that it was estimated to need, in bytes.
    pub estimated_bytes: u64,
    /// Whether the kernel killed some process for want of memory while it ran.
    pub kernel_ran_out_of_memory: bool,
    /// Whether this worker killed it, and why.
    pub stopped: Option<Stop>,
}

/// What to do about a task whose child is gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Disposition {
    /// Send the result.
    HandIn,
    /// Report this failure.
    Fail(TaskError),
    /// Report that it was stopped.
    Aborted,
    /// Give it back.
    Return,
    /// Say nothing: it is not ours any more.
    Forget,
}

/// Decides about a task whose child is gone.
pub fn after_child(end: &ChildEnd) -> Disposition {
    // A result that was finished before the signal arrived is still thrown away: the user was told it stops.
    match end.stopped {
        Some(Stop::Lost) => return Disposition::Forget,
        Some(Stop::Abort) => return Disposition::Aborted,
        Some(Stop::Shutdown) if !(end.ended == Ended::Exited(0) && end.result_is_there) => {
            return Disposition::Return;
        }
        Some(Stop::Shutdown) | None => {}
    }
    match end.ended {
        Ended::Exited(0) if end.result_is_there => Disposition::HandIn,
        Ended::Exited(EXIT_FAILED) if let Some(error) = &end.reported => Disposition::Fail(error.clone()),
        // A panic in want of memory: a thread that could not be started, for instance.
        Ended::Exited(101) if says_out_of_memory(&end.last_words) => {
            Disposition::Fail(out_of_memory(end, "An allocation failed"))
        }
        Ended::Exited(code) => Disposition::Fail(SolverExit::Code(code).to_error(&last_lines(end))),
        Ended::Signaled(libc::SIGABRT) if says_out_of_memory(&end.last_words) => {
            Disposition::Fail(out_of_memory(end, "An allocation failed"))
        }
        Ended::Signaled(libc::SIGKILL) if end.kernel_ran_out_of_memory => Disposition::Fail(out_of_memory(
            end,
            "The operating system ran out of memory and killed the solver process",
        )),
        Ended::Signaled(signal) => Disposition::Fail(SolverExit::Signal(signal).to_error(&last_lines(end))),
    }
}

fn says_out_of_memory(last_words: &str) -> bool {
    ["memory allocation of ", "Cannot allocate memory", "Resource temporarily unavailable"]
        .iter()
        .any(|sign| last_words.contains(sign))
}

/// The error of core's rule, with the figures that tell what to change.
fn out_of_memory(end: &ChildEnd, what: &str) -> TaskError {
    let message = format!(
        "{what}. The solver had taken {} of memory; {} were estimated, and its address space was limited to {}. \
         Use a coarser grid, run fewer tasks at once, or start the worker with more memory (--memory).",
        size(end.peak_bytes),
        size(end.estimated_bytes),
        size(end.allowed_bytes)
    );
    TaskError { message, ..SolverExit::OutOfMemory.to_error("") }
}

/// The last lines of standard error on one line.
fn last_lines(end: &ChildEnd) -> String {
    let lines: Vec<&str> = end.last_words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join(" / ")
}

/// Bytes in words: `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let bytes = bytes as f64;
    let mebibytes = bytes / f64::from(1 << 20);
    if mebibytes < 1024.0 { format!("{mebibytes:.0} MiB") } else { format!("{:.1} GiB", mebibytes / 1024.0) }
}

/// What an answer of the server means for whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Accepted,
    /// The lease is no longer valid: drop the work.
    Gone,
    /// No room there now: keep everything, try again later.
    NoRoom,
    /// The key is wrong: read the file anew, try again.
    WrongKey,
    /// The server will not have this, now or later.
    Refused,
    /// No answer, or a fault of the server: try again.
    Unavailable,
}

/// Classes an HTTP status; `None` means that no answer came.
pub fn answer(status: Option<u16>) -> Answer {
    match status {
        Some(200..=299) => Answer::Accepted,
        Some(404 | 410) => Answer::Gone,
        Some(507) => Answer::NoRoom,
        Some(401 | 403) => Answer::WrongKey,
        Some(408 | 429) | None => Answer::Unavailable,
        Some(400..=499) => Answer::Refused,
        Some(_) => Answer::Unavailable,
    }
}

/// How long to wait before try number `tries` + 1 (`tries` ≥ 1 have failed).
///
/// Doubles from a tenth of a second to a cap: 5 s for a server that is away (it may be back any moment),
/// 20 s for one without room (someone must make some). `fraction` in 0..1 is random, so that many
/// workers do not come back in step.
pub fn pause(answer: Answer, tries: u32, fraction: f64) -> Duration {
    let cap = match answer {
        Answer::NoRoom => 20.0,
        _ => 5.0,
    };
    let exponent = i32::try_from(tries.saturating_sub(1).min(16)).unwrap_or(16);
    let full: f64 = (0.1 * f64::powi(2.0, exponent)).min(cap);
    Duration::from_secs_f64(full * (0.5 + 0.5 * fraction.clamp(0.0, 1.0)))
}

/// How long a supervisor waits before it starts a program again that has just ended: `quick_ends` times
/// in a row it ended soon after its start.
///
/// One that was killed may be there again at once: tasks wait. One that ended by itself cannot do its work
/// as things are, so the pauses grow.
pub fn restart_delay(quick_ends: u32, killed: bool) -> Duration {
    let cap = if killed { 1.0 } else { 10.0 };
    let exponent = i32::try_from(quick_ends.min(16)).unwrap_or(16);
    Duration::from_secs_f64((0.2 * f64::powi(1.5, exponent)).min(cap))
}

/// Times in a row that a worker may die with the same task at hand before the task is suspected.
const DEATHS: u32 = 25;

/// What the next worker says about a task that its predecessor had at hand when it died, for the `deaths`th
/// time in a row.
///
/// A worker that is killed is no fault of its tasks: they are given back and lose no attempt. Only a task
/// that is there every time, again and again, is taken for the cause.
pub fn after_workers_death(deaths: u32) -> Failure {
    if deaths <= DEATHS {
        return Failure::Returned;
    }
    Failure::Failed {
        error: TaskError {
            kind: ErrorKind::Infrastructure,
            code: "worker.died".to_owned(),
            message: format!("The worker has died {deaths} times in a row while it ran this task."),
        },
        log_lines: Vec::new(),
        first_log_line: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: ErrorKind, code: &str, message: &str) -> TaskError {
        TaskError { kind, code: code.to_owned(), message: message.to_owned() }
    }

    fn end(ended: Ended) -> ChildEnd {
        ChildEnd {
            ended,
            reported: None,
            result_is_there: false,
            last_words: String::new(),
            peak_bytes: 3 << 30,
            allowed_bytes: 4 << 30,
            estimated_bytes: 1 << 30,
            kernel_ran_out_of_memory: false,
            stopped: None,
        }
    }

    fn failed(end: &ChildEnd) -> TaskError {
        match after_child(end) {
            Disposition::Fail(error) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_clean_result_is_handed_in_and_a_missing_one_is_a_fault_of_the_solver() {
        let mut child = end(Ended::Exited(0));
        assert_eq!(failed(&child).code, "solver.no_result");
        child.result_is_there = true;
        assert_eq!(after_child(&child), Disposition::HandIn);
    }

    #[test]
    fn a_reported_failure_is_passed_on_as_it_is() {
        let error = failure(ErrorKind::Solver, "heat/mesh", "too thin");
        let mut child = end(Ended::Exited(EXIT_FAILED));
        assert_eq!(failed(&child).code, "solver.crashed");
        child.reported = Some(error.clone());
        assert_eq!(failed(&child), error);
    }

    #[test]
    fn a_crash_after_a_report_counts_as_a_crash() {
        let mut child = end(Ended::Signaled(libc::SIGSEGV));
        child.reported = Some(failure(ErrorKind::Solver, "heat/mesh", "too thin"));
        assert_eq!(failed(&child).code, "solver.crashed");
    }

    #[test]
    fn a_panic_is_not_tried_again_and_quotes_its_message() {
        let mut child = end(Ended::Exited(101));
        child.last_words = "thread 'main' panicked at mesh.rs:1:\nindex out of bounds\n".to_owned();
        let error = failed(&child);
        assert_eq!(error.kind, ErrorKind::Solver);
        assert!(error.message.contains("index out of bounds"), "{}", error.message);
    }

    #[test]
    fn want_of_memory_is_told_from_a_crash_and_has_numbers() {
        let mut refused = end(Ended::Signaled(libc::SIGABRT));
        assert_eq!(failed(&refused).kind, ErrorKind::Solver);
        refused.last_words = "memory allocation of 8589934592 bytes failed".to_owned();
        let error = failed(&refused);
        assert_eq!(error.kind, ErrorKind::Resources);
        for number in ["3.0 GiB", "4.0 GiB", "1.0 GiB"] {
            assert!(error.message.contains(number), "{}", error.message);
        }
        let mut killed = end(Ended::Signaled(libc::SIGKILL));
        assert_eq!(failed(&killed).kind, ErrorKind::Infrastructure);
        killed.kernel_ran_out_of_memory = true;
        assert_eq!(failed(&killed).kind, ErrorKind::Resources);
    }

    #[test]
    fn why_it_was_stopped_decides_what_is_said() {
        let mut child = end(Ended::Signaled(libc::SIGKILL));
        for (stop, expected) in [
            (Stop::Abort, Disposition::Aborted),
            (Stop::Lost, Disposition::Forget),
            (Stop::Shutdown, Disposition::Return),
        ] {
            child.stopped = Some(stop);
            assert_eq!(after_child(&child), expected);
        }
        // Finished at the moment of a shutdown: the work is not thrown away.
        child.ended = Ended::Exited(0);
        child.result_is_there = true;
        assert_eq!(after_child(&child), Disposition::HandIn);
        child.stopped = Some(Stop::Abort);
        assert_eq!(after_child(&child), Disposition::Aborted);
    }

    #[test]
    fn verdicts_add_up() {
        assert_eq!(after_verdict(None, Verdict::Continue), None);
        assert_eq!(after_verdict(None, Verdict::Abort), Some(Stop::Abort));
        assert_eq!(after_verdict(Some(Stop::Shutdown), Verdict::Abort), Some(Stop::Abort));
        assert_eq!(after_verdict(Some(Stop::Abort), Verdict::Continue), Some(Stop::Abort));
        assert_eq!(after_verdict(Some(Stop::Abort), Verdict::Lost), Some(Stop::Lost));
        assert_eq!(after_verdict(Some(Stop::Lost), Verdict::Abort), Some(Stop::Lost));
    }

    #[test]
    fn answers_are_classed_by_what_to_do() {
        assert_eq!(answer(Some(200)), Answer::Accepted);
        assert_eq!(answer(Some(410)), Answer::Gone);
        assert_eq!(answer(Some(507)), Answer::NoRoom);
        assert_eq!(answer(Some(401)), Answer::WrongKey);
        assert_eq!(answer(Some(413)), Answer::Refused);
        for status in [None, Some(500), Some(503), Some(429), Some(302)] {
            assert_eq!(answer(status), Answer::Unavailable, "{status:?}");
        }
    }

    #[test]
    fn pauses_grow_to_a_cap_and_never_vanish() {
        assert_eq!(pause(Answer::Unavailable, 1, 1.0), Duration::from_millis(100));
        assert_eq!(pause(Answer::Unavailable, 1, 0.0), Duration::from_millis(50));
        assert_eq!(pause(Answer::Unavailable, u32::MAX, 1.0), Duration::from_secs(5));
        assert_eq!(pause(Answer::NoRoom, 40, 1.0), Duration::from_secs(20));
        assert_eq!(restart_delay(0, false), Duration::from_millis(200));
        assert_eq!(restart_delay(99, false), Duration::from_secs(10));
        assert_eq!(restart_delay(99, true), Duration::from_secs(1));
    }

    #[test]
    fn a_task_is_suspected_only_after_many_deaths_in_a_row() {
        assert_eq!(after_workers_death(1), Failure::Returned);
        assert_eq!(after_workers_death(DEATHS), Failure::Returned);
        assert!(matches!(after_workers_death(DEATHS + 1), Failure::Failed { .. }));
    }
}
