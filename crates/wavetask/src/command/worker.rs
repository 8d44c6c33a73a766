//! `wavetask worker`.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use wavetask_protocol::chain;
use wavetask_worker::process::Program;
use wavetask_worker::room::Capacity;
use wavetask_worker::{WorkerConfig, WorkerError, machine};

use crate::arguments::WorkerArguments;
use crate::failure::{Exit, Failure};

/// Log lines of `serve` and `worker` go to standard error; `WAVETASK_LOG` says how much. The S3 library calls
/// every answer other than 200 an error, also those to clients that only look whether a file is there.
pub(crate) fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WAVETASK_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,s3s=off"));
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
        && std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}

pub(crate) fn run(arguments: WorkerArguments) -> Result<ExitCode, Failure> {
    start_log();
    let set_up = |error: std::io::Error| Failure::new(Exit::CannotStart, chain(&error));
    let path = std::env::current_exe().map_err(set_up)?;
    // Removed at the end; a folder that was named stays.
    let temporary = match arguments.work {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("wavetask-worker-").tempdir().map_err(set_up)?),
    };
    let work_folder = match (arguments.work, &temporary) {
        (Some(folder), _) => folder,
        (None, Some(folder)) => folder.path().to_owned(),
        (None, None) => std::env::temp_dir(),
    };
    let config = WorkerConfig {
        url: arguments.url,
        key_file: arguments.worker_key_file,
        work_folder,
        capacity: Capacity {
            cores: arguments.cores.map_or_else(machine::cores, |cores| cores as usize),
            memory_bytes: arguments.memory.unwrap_or_else(machine::default_memory_bytes),
        },
        small_program: Some(Program { path: path.clone(), arguments: vec!["solve-several".into()] }),
        program: Program { path, arguments: vec!["solve".into()] },
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(set_up)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(set_up)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(set_up)?;
        let shutdown = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("leaving");
        };
        wavetask_worker::run(config, shutdown).await.map_err(|error| cannot_start(&error))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn cannot_start(error: &WorkerError) -> Failure {
    let failure = Failure::new(Exit::CannotStart, chain(error));
    match error {
        WorkerError::Key { .. } => failure
            .hint("--worker-key-file names the file `worker.key` in the server's data folder, or a copy"),
        WorkerError::WorkFolder { .. } => failure.hint("choose a folder that you may write to with --work"),
        WorkerError::WorkFolderInUse { .. } => {
            failure.hint("stop the other worker, or choose a folder with --work")
        }
        _ => failure,
    }
}
