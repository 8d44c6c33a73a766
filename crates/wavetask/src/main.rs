//! One binary: the task server, its workers, their solver processes and the commands to look after them.
//!
//! This crate joins the others and talks to people; it decides nothing about tasks. `arguments` is the
//! grammar, `locate` finds the server, `api` talks to it, `failure` says what went wrong, and each
//! command has a module in `command`.

mod api;
mod arguments;
mod command;
mod csv;
mod failure;
mod locate;
mod simulation_file;
mod supervise;
mod terminal;
mod validate;

use std::process::ExitCode;

use clap::Parser;
use wavetask_protocol::chain;
use wavetask_protocol::native::Quota;

use crate::arguments::{Arguments, Command, KeyAction};
use crate::failure::{Exit, Failure};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(code) => code,
        Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing can be done if standard error is closed too.
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{failure}\n"));
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        // A solver child needs neither a runtime nor a logger: it starts in a millisecond.
        Command::Solve(arguments) => Ok(command::solve::run(arguments)),
        Command::SolveSeveral => Ok(command::solve::run_several()),
        Command::Serve(arguments) => command::serve::run(arguments),
        Command::Worker(arguments) => command::worker::run(arguments),
        Command::Env(arguments) => command::env::run(&arguments),
        Command::Submit(arguments) => command::submit::run(arguments),
        Command::Get(arguments) => command::get::run(&arguments),
        Command::Ls(arguments) => asynchronously(command::ls::run(arguments)),
        Command::Watch(arguments) => asynchronously(command::watch::run(arguments)),
        Command::Logs(arguments) => asynchronously(command::logs::run(arguments)),
        Command::Cancel(arguments) => asynchronously(command::tasks::cancel(arguments)),
        Command::Retry(arguments) => asynchronously(command::tasks::retry(arguments)),
        Command::Rm(arguments) => asynchronously(command::tasks::remove(arguments)),
        Command::Key(arguments) => match arguments.action {
            KeyAction::Add { data, name, json } => asynchronously(command::key::add(data, name, json)),
            KeyAction::Ls { data, json } => asynchronously(command::key::list(data, json)),
            KeyAction::Quota { data, key, tasks, bytes, json } => {
                asynchronously(command::key::limit(data, key, Quota { tasks, bytes }, json))
            }
            KeyAction::Revoke { data, key, json } => asynchronously(command::key::revoke(data, key, json)),
        },
        Command::Doctor(arguments) => asynchronously(command::doctor::run(arguments)),
    }
}

/// Runs a short command on this thread.
fn asynchronously(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    on_this_thread(command)?
}

/// Runs something asynchronous on this thread.
fn on_this_thread<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, chain(&error)))?;
    Ok(runtime.block_on(work))
}
