//! What the end of a solver process means for its task.
//!
//! The rule: **what would happen again is the task's own fault; what came from outside is not.**
//!
//! | end of the process | kind | tried again |
//! |---|---|---|
//! | it reported an error itself | as reported | no |
//! | it panicked, aborted or was stopped for an illegal access or instruction | solver | no |
//! | it ran out of memory: an allocation failed, or the kernel's or a limit's out-of-memory killer | resources | no |
//! | it used up its limit of processor time | resources | no |
//! | it was killed by a signal from outside (SIGKILL, SIGTERM, SIGHUP, SIGINT, ...) | infrastructure | yes |
//! | it ended without an error and without a result | solver | no |
//!
//! A plain SIGKILL is ambiguous: an operator's `kill -9` looks like the kernel's out-of-memory killer. The
//! worker tells them apart by the kernel's counter (`oom_kill` in the cgroup's `memory.events` or in
//! `/proc/vmstat`) before and after; where it cannot, it says [`SolverExit::Signal`], and the attempts'
//! limit bounds what a wrong guess costs.

use wavetask_protocol::{ErrorKind, TaskError};

/// How a solver process ended, in words that any operating system can fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SolverExit {
    /// With an exit code and without a result or a report. A Rust panic exits with 101.
    Code(i32),
    /// By this signal, not for want of memory.
    Signal(i32),
    /// For want of memory.
    OutOfMemory,
    /// It used more processor time than it may.
    OutOfTime,
}

impl SolverExit {
    /// The task's error. `last_words` is the end of what the process wrote to its standard error.
    pub fn to_error(&self, last_words: &str) -> TaskError {
        let last_words = last_words.trim();
        let tail =
            if last_words.is_empty() { String::new() } else { format!(" Its last words were: {last_words}") };
        let (kind, code, text) = match self {
            Self::Code(0) => (
                ErrorKind::Solver,
                "solver.no_result",
                "The solver ended without a result. This is a fault of the solver: please report it."
                    .to_owned(),
            ),
            Self::Code(code) => (
                ErrorKind::Solver,
                "solver.crashed",
                format!(
                    "The solver crashed (exit code {code}). This is a fault of the solver: please report it."
                ),
            ),
            // SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS: raised by what the process did.
            Self::Signal(signal @ (4 | 5 | 6 | 7 | 8 | 11 | 31)) => (
                ErrorKind::Solver,
                "solver.crashed",
                format!(
                    "The solver crashed (signal {signal}). This is a fault of the solver: please report it."
                ),
            ),
            Self::Signal(signal) => (
                ErrorKind::Infrastructure,
                "solver.killed",
                format!("The solver was killed from outside (signal {signal})."),
            ),
            Self::OutOfMemory => (
                ErrorKind::Resources,
                "solver.out_of_memory",
                "The solver ran out of memory. Use a coarser grid, or give the worker more memory."
                    .to_owned(),
            ),
            Self::OutOfTime => (
                ErrorKind::Resources,
                "solver.out_of_time",
                "The solver used up its limit of processor time. Use a coarser grid, or raise the limit."
                    .to_owned(),
            ),
        };
        TaskError { kind, code: code.to_owned(), message: format!("{text}{tail}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_outside_kill_is_tried_again() {
        let kind = |exit: SolverExit| exit.to_error("").kind;
        assert_eq!(kind(SolverExit::Signal(9)), ErrorKind::Infrastructure);
        assert_eq!(kind(SolverExit::Signal(15)), ErrorKind::Infrastructure);
        assert_eq!(kind(SolverExit::Signal(11)), ErrorKind::Solver);
        assert_eq!(kind(SolverExit::Signal(6)), ErrorKind::Solver);
        assert_eq!(kind(SolverExit::Code(101)), ErrorKind::Solver);
        assert_eq!(kind(SolverExit::Code(0)), ErrorKind::Solver);
        assert_eq!(kind(SolverExit::OutOfMemory), ErrorKind::Resources);
        assert_eq!(kind(SolverExit::OutOfTime), ErrorKind::Resources);
    }

    #[test]
    fn last_words_are_kept() {
        let error = SolverExit::Code(101).to_error("thread 'main' panicked at 'index'\n");
        assert!(error.message.ends_with("panicked at 'index'"), "{}", error.message);
    }
}
