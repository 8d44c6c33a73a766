//! `wavetask doctor`: looks at everything that a run needs and says what to do where something is wrong.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use wavetask_protocol::native::ServerStatus;
use wavetask_server::{KEY_FILE, WORKER_KEY_FILE};

use crate::api::Api;
use crate::arguments::DoctorArguments;
use crate::failure::{Exit, Failure};
use crate::locate::{Absent, Connection, Surroundings, locate};
use crate::terminal::{bytes, now_milliseconds, span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// As it should be.
    Good,
    /// Works, but should be known.
    Warning,
    /// Something will not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
struct Check {
    /// What was looked at.
    name: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, found: found.into(), hint: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warning, found: found.into(), hint: Some(hint.into()) }
    }

    fn bad(name: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Bad, found: found.into(), hint: Some(hint.into()) }
    }
}

pub(crate) async fn run(arguments: DoctorArguments) -> Result<ExitCode, Failure> {
    let surroundings = Surroundings::of_process(arguments.data.data);
    let mut checks = vec![memory_check(
        wavetask_worker::machine::total_memory_bytes(),
        wavetask_worker::machine::available_memory_bytes(),
    )];
    if let Some(folder) = surroundings.folder()? {
        checks.extend(folder_checks(&folder));
    }
    match locate(&surroundings, Absent::Tell) {
        Err(failure) => checks.push(of_failure("server", failure)),
        Ok(connection) => {
            let api = Api::new(connection)?;
            let asked = now_milliseconds();
            match api.status().await {
                Err(failure) => checks.push(of_failure("server", failure)),
                Ok(status) => {
                    let now = asked.midpoint(now_milliseconds());
                    checks.extend(status_checks(&api.connection().url, &status, now));
                }
            }
            let variable = |name: &str| std::env::var(name).ok();
            checks.extend(client_checks(api.connection(), variable));
        }
    }
    let mut output = std::io::stdout().lock();
    if arguments.json {
        let text = serde_json::to_string_pretty(&checks).map_err(std::io::Error::from)?;
        writeln!(output, "{text}")?;
    } else {
        for check in &checks {
            let word = match check.verdict {
                Verdict::Good => "ok  ",
                Verdict::Warning => "warn",
                Verdict::Bad => "FAIL",
            };
            writeln!(output, "{word}  {}: {}", check.name, check.found)?;
            if let Some(hint) = &check.hint {
                writeln!(output, "      {hint}")?;
            }
        }
    }
    let worst = checks.iter().map(|check| check.verdict).max();
    Ok(if worst == Some(Verdict::Bad) { Exit::Failed.into() } else { ExitCode::SUCCESS })
}

fn of_failure(name: &'static str, failure: Failure) -> Check {
    match failure {
        Failure::Told { what, hint, .. } => Check { name, verdict: Verdict::Bad, found: what, hint },
        Failure::OutputClosed => Check::bad(name, "standard output is closed", "run it in a terminal"),
    }
}

fn memory_check(total: Option<u64>, available: Option<u64>) -> Check {
    let name = "memory";
    let (Some(total), Some(available)) = (total, available) else {
        return Check::warning(name, "cannot be found out", "give serve --memory a size");
    };
    let found = format!("{} of {} available", bytes(available.min(total)), bytes(total));
    if available < 512 << 20 {
        Check::warning(
            name,
            found,
            "large simulations will wait or fail: end other programs or use a coarser grid",
        )
    } else {
        Check::good(name, found)
    }
}

/// The data folder's and the key files' permissions.
fn folder_checks(folder: &Path) -> Vec<Check> {
    let name = "data folder";
    let metadata = match std::fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => {
            return vec![Check::bad(
                name,
                format!("{} is not a folder", folder.display()),
                "choose another with --data",
            )];
        }
        Err(error) => {
            return vec![Check::bad(
                name,
                format!("{}: {error}", folder.display()),
                "`wavetask serve` makes it; or name the right one with --data or WAVETASK_DATA",
            )];
        }
    };
    let mut checks = vec![if metadata.mode() & 0o077 == 0 {
        Check::good(name, folder.display().to_string())
    } else {
        Check::bad(
            name,
            format!("{} can be read by other users (mode {:o})", folder.display(), metadata.mode() & 0o7777),
            format!("chmod 700 '{}'", folder.display()),
        )
    }];
    for (name, file) in [("key file", KEY_FILE), ("worker key file", WORKER_KEY_FILE)] {
        let path = folder.join(file);
        checks.push(match std::fs::metadata(&path) {
            Ok(metadata) if metadata.mode() & 0o077 == 0 => Check::good(name, path.display().to_string()),
            Ok(metadata) => Check::bad(
                name,
                format!(
                    "{} can be read by other users (mode {:o})",
                    path.display(),
                    metadata.mode() & 0o7777
                ),
                format!("chmod 600 '{}'", path.display()),
            ),
            Err(error) => Check::bad(
                name,
                format!("{}: {error}", path.display()),
                "`wavetask serve` makes it at its first start",
            ),
        });
    }
    checks
}

/// What the server says about itself, its clock, its disk and its workers.
fn status_checks(url: &str, status: &ServerStatus, now_milliseconds: i64) -> Vec<Check> {
    let own = env!("CARGO_PKG_VERSION");
    let uptime = span(status.now_milliseconds - status.started_milliseconds);
    let found = format!("{url} answers, version {}, running for {uptime}", status.version);
    let mut checks = vec![if status.version == own {
        Check::good("server", found)
    } else {
        Check::warning("server", found, format!("this command is version {own}: use the same for both"))
    }];
    checks.push(Check::good("key", format!("`{}` is valid", crate::terminal::one_line(&status.key_name))));
    let skew = (status.now_milliseconds - now_milliseconds).abs();
    checks.push(if skew < 60_000 {
        Check::good("clock", "agrees with the server's")
    } else {
        Check::bad(
            "clock",
            format!("is off by {} from the server's", span(skew)),
            "uploads are signed with the time and refused when clocks differ: set this machine's clock (timedatectl)",
        )
    });
    let room = status.disk_free_bytes;
    let found = format!("{} free in the data folder", bytes(room));
    checks.push(match room {
        0..=0x1fff_ffff => {
            Check::bad("disk", found, "delete tasks (`wavetask rm`) or other files: uploads and results wait")
        }
        0x2000_0000..=0x1_3fff_ffff => {
            Check::warning("disk", found, "delete tasks (`wavetask rm`) or other files soon")
        }
        _ => Check::good("disk", found),
    });
    checks.push(if status.workers.is_empty() {
        Check::bad(
            "worker",
            "no worker has been heard of in the last minute",
            "`serve` starts one unless --no-worker is given: look at what it writes to standard error",
        )
    } else {
        let running: u64 = status.workers.iter().map(|worker| worker.leases).sum();
        Check::good("worker", format!("{} working, {running} tasks at hand", status.workers.len()))
    });
    checks
}

/// Whether the tidy3d client in this shell would reach this server.
fn client_checks(connection: &Connection, variable: impl Fn(&str) -> Option<String>) -> Vec<Check> {
    let settings = super::env::settings(connection, false);
    let given = settings.iter().filter(|(name, _)| variable(name).is_some()).count();
    let other: Vec<&str> = settings
        .iter()
        .filter(|(name, value)| variable(name).is_some_and(|set| set.trim_end_matches('/') != value))
        .map(|(name, _)| *name)
        .collect();
    let hint = "eval \"$(wavetask env)\"   in the shell that runs Python";
    let mut checks = vec![if given == 0 {
        Check::warning("client settings", "not set in this shell", hint)
    } else if !other.is_empty() {
        Check::warning("client settings", format!("other values in {}", other.join(", ")), hint)
    } else if given < settings.len() {
        Check::warning("client settings", "some are set in this shell, some are not", hint)
    } else {
        Check::good("client settings", "point at this server")
    }];
    let loopback = ["127.", "localhost", "[::1]"]
        .iter()
        .any(|host| connection.url.split_once("://").is_some_and(|(_, rest)| rest.starts_with(host)));
    let proxy = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        .into_iter()
        .find(|name| variable(name).is_some());
    let exempt = ["no_proxy", "NO_PROXY"].iter().filter_map(|name| variable(name)).any(|list| {
        list.split(',').any(|host| matches!(host.trim(), "*" | "localhost" | "127.0.0.1" | "127.0.0.0/8"))
    });
    if let Some(proxy) = proxy
        && loopback
        && !exempt
    {
        checks.push(Check::warning(
            "client proxy",
            format!("{proxy} is set: Python would ask the proxy for this machine"),
            "export NO_PROXY=localhost,127.0.0.1",
        ));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetask_protocol::native::WorkerStatus;

    fn status() -> ServerStatus {
        ServerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now_milliseconds: 1_000_000,
            started_milliseconds: 0,
            disk_free_bytes: 100 << 30,
            key: "key-1".parse().unwrap(),
            key_name: "first".to_owned(),
            administrator: true,
            tasks: Vec::new(),
            workers: vec![WorkerStatus {
                worker: "worker-1".parse().unwrap(),
                idle_milliseconds: 0,
                leases: 2,
            }],
        }
    }

    fn verdict(checks: &[Check], name: &str) -> Verdict {
        checks.iter().find(|check| check.name == name).unwrap().verdict
    }

    #[test]
    fn a_healthy_server_is_called_so() {
        let checks = status_checks("http://x", &status(), 1_000_400);
        assert!(checks.iter().all(|check| check.verdict == Verdict::Good), "{checks:?}");
    }

    #[test]
    fn each_fault_is_found_and_has_a_hint() {
        let faulty = ServerStatus {
            version: "0.0.0".to_owned(),
            disk_free_bytes: 1 << 20,
            workers: Vec::new(),
            ..status()
        };
        let checks = status_checks("http://x", &faulty, 9_000_000);
        assert_eq!(verdict(&checks, "server"), Verdict::Warning);
        for name in ["clock", "disk", "worker"] {
            assert_eq!(verdict(&checks, name), Verdict::Bad, "{name}");
        }
        assert!(checks.iter().all(|check| check.verdict == Verdict::Good || check.hint.is_some()));
    }

    #[test]
    fn the_clients_settings_are_compared_with_the_server() {
        let connection =
            Connection { url: "http://127.0.0.1:8600".into(), key: "k".into(), data_folder: None };
        let settings = super::super::env::settings(&connection, false);
        let look =
            |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        assert_eq!(verdict(&client_checks(&connection, look), "client settings"), Verdict::Good);
        let none = client_checks(&connection, |_| None);
        assert_eq!(verdict(&none, "client settings"), Verdict::Warning);
        let elsewhere = |name: &str| look(name).map(|value| value.replace("8600", "8601"));
        let checks = client_checks(&connection, elsewhere);
        assert!(checks[0].found.contains("AWS_ENDPOINT_URL_S3"), "{checks:?}");
        let proxied =
            |name: &str| if name == "HTTP_PROXY" { Some("http://proxy".to_owned()) } else { look(name) };
        assert_eq!(verdict(&client_checks(&connection, proxied), "client proxy"), Verdict::Warning);
    }

    #[test]
    fn folders_that_others_can_read_are_found() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let key = folder.path().join(KEY_FILE);
        std::fs::write(&key, "k").unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let checks = folder_checks(folder.path());
        assert_eq!(verdict(&checks, "data folder"), Verdict::Bad);
        assert_eq!(verdict(&checks, "key file"), Verdict::Good);
        assert_eq!(verdict(&checks, "worker key file"), Verdict::Bad);
        assert_eq!(verdict(&folder_checks(&folder.path().join("none")), "data folder"), Verdict::Bad);
    }
}
