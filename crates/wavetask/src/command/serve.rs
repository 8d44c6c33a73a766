//! `wavetask serve`: the server and a worker beside it.
//!
//! Order matters. Starting: open, listen, serve, start the worker, say that it is ready. Stopping: the worker
//! first, while the server still listens, so that it can hand over what is finished and give back what is
//! not; then the server.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use wavetask_protocol::chain;
use wavetask_server::{ADDRESS_FILE, Activity, Server, ServerConfig, ServerError, WORKER_KEY_FILE};
use wavetask_worker::process::Program;

use crate::arguments::{IdleStop, ServeArguments};
use crate::failure::{Exit, Failure};
use crate::locate::Surroundings;
use crate::supervise::Supervisor;
use crate::validate::Solvers;

/// After how long without clients and tasks an embedded server stops.
const EMBEDDED_IDLE: Duration = Duration::from_secs(600);

pub(crate) fn run(arguments: ServeArguments) -> Result<ExitCode, Failure> {
    let folder = Surroundings::of_process(arguments.data.data.clone()).data_folder()?;
    if arguments.embedded {
        leave_terminal();
    }
    super::worker::start_log();
    let mut config = ServerConfig::new(&folder);
    config.listen = arguments.listen;
    config.allow_private_callbacks = arguments.allow_private_callbacks;
    config.native_api = !arguments.no_native_api;
    if let Some(seconds) = arguments.lease_seconds {
        config.lease = Duration::from_secs_f64(seconds);
    }
    let server = Server::open(config, Arc::new(Solvers)).map_err(|error| cannot_start(&error, &folder))?;
    let address = server.local_address();
    if !address.ip().is_loopback() {
        warn_about_strangers(address);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::CannotStart, chain(&error)))?;
    runtime.block_on(serve(server, address, &folder, &arguments))
}

async fn serve(
    server: Server,
    address: SocketAddr,
    folder: &Path,
    arguments: &ServeArguments,
) -> Result<ExitCode, Failure> {
    let cannot = |error: std::io::Error| Failure::new(Exit::CannotStart, chain(&error));
    // Signals count from here on: nothing that is started below is left behind.
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let idle = idle_for(server.activity(), idle_limit(arguments));
    let mut running = tokio::spawn(server.run(async {
        // A dropped sender means the same as a message.
        let _ = stopped.await;
    }));
    let supervisor = if arguments.no_worker {
        None
    } else {
        Some(Supervisor::start(worker_program(address, folder, arguments)?).map_err(cannot)?)
    };
    let ready =
        writeln!(std::io::stdout(), "wavetask is ready at http://{address} (data: {})", folder.display())
            .and_then(|()| std::io::stdout().flush());
    if let Err(error) = ready {
        tracing::debug!("nobody reads the ready line: {error}");
    }
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = &mut running => Some(ended),
        limit = idle => {
            tracing::info!("nobody has needed this server for {} s", limit.as_secs());
            // Clients that come now start the next one rather than find this one closing.
            if let Err(error) = std::fs::remove_file(folder.join(ADDRESS_FILE)) {
                tracing::debug!("the address file cannot be removed: {error}");
            }
            None
        }
    };
    tracing::info!("stopping");
    let orderly = async {
        if let Some(supervisor) = supervisor {
            let _ = tokio::task::spawn_blocking(move || supervisor.stop()).await;
        }
        let _ = stop.send(());
        match ended {
            Some(ended) => ended,
            None => running.await,
        }
    };
    let result = tokio::select! {
        result = orderly => result,
        // A second request to stop means now.
        _ = terminate.recv() => return Ok(ExitCode::from(130)),
        _ = interrupt.recv() => return Ok(ExitCode::from(130)),
    };
    match result {
        Ok(Ok(())) => Ok(ExitCode::SUCCESS),
        Ok(Err(error)) => Err(Failure::new(Exit::Failed, chain(&error))),
        Err(error) => {
            Err(Failure::new(Exit::Failed, format!("the server stopped by a fault: {}", chain(&error))))
        }
    }
}

/// After how long without clients and tasks to stop; `None` is never.
fn idle_limit(arguments: &ServeArguments) -> Option<Duration> {
    match arguments.idle_stop {
        Some(IdleStop::After(time)) => Some(time),
        Some(IdleStop::Never) => None,
        None => arguments.embedded.then_some(EMBEDDED_IDLE),
    }
}

/// Becomes ready once nobody has needed the server for the limit; never without one.
async fn idle_for(activity: Activity, limit: Option<Duration>) -> Duration {
    let Some(limit) = limit else { return std::future::pending().await };
    let look = (limit / 10).clamp(Duration::from_millis(50), Duration::from_secs(10));
    loop {
        tokio::time::sleep(look).await;
        let activity = activity.clone();
        match tokio::task::spawn_blocking(move || activity.idle_for()).await {
            Ok(Ok(Some(idle))) if idle >= limit => return limit,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!("cannot tell whether anybody needs this server: {}", chain(&error))
            }
            Err(error) => tracing::warn!("cannot tell whether anybody needs this server: {}", chain(&error)),
        }
    }
}

/// Begins a session of its own, so that neither Ctrl-C nor the end of the terminal or the notebook that started
/// this server reaches it.
fn leave_terminal() {
    // SAFETY: setsid has no memory preconditions. It fails for the leader of a process group, which has been started
    // by a shell with job control: by hand, that is, and then stays with its terminal.
    unsafe { libc::setsid() };
}

/// The worker of this machine: this same binary.
fn worker_program(
    address: SocketAddr,
    folder: &Path,
    arguments: &ServeArguments,
) -> Result<Program, Failure> {
    let path = std::env::current_exe().map_err(|error| {
        Failure::new(Exit::CannotStart, format!("cannot find this program's file: {error}"))
    })?;
    let mut words: Vec<std::ffi::OsString> = vec![
        "worker".into(),
        "--url".into(),
        format!("http://{}", reachable(address)).into(),
        "--worker-key-file".into(),
        folder.join(WORKER_KEY_FILE).into(),
        "--work".into(),
        folder.join("work").into(),
    ];
    if let Some(cores) = arguments.cores {
        words.extend(["--cores".into(), cores.to_string().into()]);
    }
    if let Some(memory) = arguments.memory {
        words.extend(["--memory".into(), memory.to_string().into()]);
    }
    Ok(Program { path, arguments: words })
}

/// Where a process on this machine reaches a server that listens there.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn warn_about_strangers(address: SocketAddr) {
    let _ = writeln!(
        std::io::stderr(),
        "\
WARNING: wavetask listens on {address}, which other machines can reach, WITHOUT ENCRYPTION.
WARNING: keys, simulations and results can be read and changed by anyone on the way. Use this only in a
WARNING: network that you trust, or listen on 127.0.0.1 behind a TLS proxy or an SSH tunnel."
    );
}

fn cannot_start(error: &ServerError, folder: &Path) -> Failure {
    let mut what = chain(error);
    let folder = folder.display().to_string();
    let about_folder = matches!(error, ServerError::DataFolder { .. } | ServerError::Store(_));
    if about_folder && !what.contains(&folder) {
        what = format!("cannot use the data folder {folder}: {what}");
    }
    let failure = Failure::new(Exit::CannotStart, what);
    match error {
        ServerError::Listen { .. } => {
            failure.hint("choose another port with --listen 127.0.0.1:PORT (0 takes a free one)")
        }
        ServerError::DataFolder { .. } | ServerError::Store(_) => {
            failure.hint("choose another folder with --data, or mend its owner, permissions and disk room")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_reaches_a_server_that_listens_everywhere() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:8600"), "127.0.0.1:8600");
        assert_eq!(reach("[::]:8600"), "[::1]:8600");
        assert_eq!(reach("192.0.2.1:1"), "192.0.2.1:1");
    }
}
