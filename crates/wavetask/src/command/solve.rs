//! `wavetask solve`: the process in which one task is solved, or several small ones one after the other.

use std::io::Write;
use std::process::ExitCode;

use wavetask_worker::solve::{self, Job, run as solve};

use crate::arguments::SolveArguments;

/// Solves what standard input names, until it ends.
pub(crate) fn run_several() -> ExitCode {
    ExitCode::from(solve::run_several(std::io::stdin().lock()))
}

pub(crate) fn run(arguments: SolveArguments) -> ExitCode {
    let kind = match arguments.kind.parse() {
        Ok(kind) => kind,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            return ExitCode::from(2);
        }
    };
    ExitCode::from(solve(&Job {
        kind,
        input: arguments.input,
        output: arguments.output,
        threads: arguments.threads,
        memory_bytes: arguments.memory,
    }))
}
