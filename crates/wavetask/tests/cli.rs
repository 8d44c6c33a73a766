//! The binary as a user meets it: real processes, a real server, files and exit codes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_wavetask");

/// A command with nothing of this process's settings.
fn wavetask() -> Command {
    let mut command = Command::new(BINARY);
    for name in ["WAVETASK_DATA", "WAVETASK_URL", "WAVETASK_KEY", "XDG_DATA_HOME", "SIMCLOUD_APIKEY"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A running `wavetask serve`, killed when the test is over.
struct Server {
    process: Child,
    /// The line that it printed.
    ready: String,
    folder: tempfile::TempDir,
    output: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), options)
    }

    fn start_in(folder: tempfile::TempDir, options: &[&str]) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
        let mut process = wavetask()
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(options)
            .arg("--data")
            .arg(folder.path().join("data"))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut ready = String::new();
        output.read_line(&mut ready).unwrap();
        assert!(!ready.is_empty(), "{}", std::fs::read_to_string(folder.path().join("log")).unwrap());
        Self { process, ready, folder, output }
    }

    fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    fn url(&self) -> String {
        self.ready.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned()
    }

    fn port(&self) -> u16 {
        self.url().rsplit(':').next().unwrap().parse().unwrap()
    }

    fn command(&self, words: &[&str]) -> Output {
        wavetask().args(words).arg("--data").arg(self.data()).output().unwrap()
    }

    /// Runs a command that must succeed, and returns what it printed.
    fn ask(&self, words: &[&str]) -> String {
        let output = self.command(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        text(&output.stdout)
    }

    fn signal(&self, signal: i32) {
        let number = i32::try_from(self.process.id()).unwrap();
        // SAFETY: kill has no memory preconditions; the process is a child of this one and not reaped yet.
        assert_eq!(unsafe { libc::kill(number, signal) }, 0);
    }

    /// Waits for the end, and returns the exit code and what else came on standard output.
    fn end(mut self) -> (Option<i32>, String, tempfile::TempDir) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not stop");
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        (status.code(), rest, folder)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Children of a process, as (process number, command line).
fn children(parent: u32) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Ok(number) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        if fields[0] != "Z" && fields[1] == parent.to_string() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((number, String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn assert_told(output: &Output, code: i32, what: &str) {
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.contains(what), "{errors}");
    assert!(errors.starts_with("error: ") && errors.contains("\nhint: "), "{errors}");
    assert_eq!(errors.trim().lines().count(), 2, "one line what, one line hint: {errors}");
}

#[test]
fn serve_says_one_line_answers_and_stops_cleanly() {
    let server = Server::start(&[]);
    let data = server.data();
    assert_eq!(server.ready, format!("wavetask is ready at {} (data: {})\n", server.url(), data.display()));
    let health = std::net::TcpStream::connect(("127.0.0.1", server.port()));
    assert!(health.is_ok());
    assert_eq!(mode(&data), 0o700);
    for file in ["key", "worker.key"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
        assert!(std::fs::read_to_string(data.join(file)).unwrap().trim().len() >= 32, "{file}");
    }
    let key = std::fs::read_to_string(data.join("key")).unwrap();
    assert_eq!(std::fs::read_to_string(data.join("address")).unwrap().trim(), server.url());
    let worker = until("the worker", || children(server.process.id()).first().cloned());
    assert!(worker.1.contains(" worker "), "{worker:?}");
    assert!(!worker.1.contains(key.trim()), "no key on a command line: everyone can read those");
    server.signal(libc::SIGTERM);
    let (code, rest, folder) = server.end();
    assert_eq!((code, rest.as_str()), (Some(0), ""), "one line and no more");
    assert!(!Path::new("/proc").join(worker.0.to_string()).exists(), "the worker is gone too");
    assert!(!data.join("address").exists());
    // The same folder again: the same key.
    let server = Server::start_in(folder, &[]);
    assert_eq!(std::fs::read_to_string(data.join("key")).unwrap(), key);
    server.signal(libc::SIGINT);
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn a_second_server_is_told_why_it_cannot_start() {
    let server = Server::start(&["--no-worker"]);
    let same_folder =
        wavetask().args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(server.data()).output().unwrap();
    assert_told(&same_folder, 6, "data");
    let address = format!("127.0.0.1:{}", server.port());
    let other = tempfile::tempdir().unwrap();
    let same_port =
        wavetask().args(["serve", "--listen", &address, "--data"]).arg(other.path()).output().unwrap();
    assert_told(&same_port, 6, &address);
    // Neither has done the first one any harm.
    assert!(server.ask(&["ls"]).starts_with("ID "));
}

#[test]
fn a_data_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = wavetask().args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&file).output().unwrap();
    assert_told(&output, 6, file.to_str().unwrap());
}

#[test]
fn a_worker_that_dies_is_started_again_and_dies_with_the_server() {
    let mut server = Server::start(&[]);
    let first = until("the worker", || children(server.process.id()).first().cloned()).0;
    // SAFETY: kill has no memory preconditions.
    unsafe { libc::kill(i32::try_from(first).unwrap(), libc::SIGKILL) };
    let second = until("another worker", || {
        children(server.process.id()).into_iter().find(|child| child.0 != first).map(|child| child.0)
    });
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    until("the end of the worker", || {
        let stat = std::fs::read_to_string(format!("/proc/{second}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

#[test]
fn listening_for_strangers_warns_loudly() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = wavetask()
        .args(["serve", "--no-worker", "--listen", "0.0.0.0:0", "--data"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    process.kill().unwrap();
    let errors = text(&process.wait_with_output().unwrap().stderr);
    assert!(errors.contains("WARNING") && errors.contains("WITHOUT ENCRYPTION"), "{errors}");
    assert!(ready.contains("0.0.0.0:"), "{ready}");
}

#[test]
fn env_sets_what_the_client_reads() {
    let server = Server::start(&["--no-worker"]);
    let key = std::fs::read_to_string(server.data().join("key")).unwrap();
    let script = format!(
        "eval \"$('{BINARY}' env --data '{}')\"; printf '%s\\n' \"$SIMCLOUD_APIKEY\" \
         \"$TIDY3D_WEB__API_ENDPOINT\" \"$TIDY3D_WEB__WEBSITE_ENDPOINT\" \"$AWS_ENDPOINT_URL_S3\"; \
         env | grep -c ^SIMCLOUD_APIKEY=",
        server.data().display()
    );
    // Without the quotes around the substitution it must work too: people forget them.
    for script in [script.clone(), script.replacen('"', "", 2)] {
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        let url = server.url();
        assert_eq!(text(&output.stdout), format!("{}\n{url}\n{url}\n{url}\n1\n", key.trim()), "{output:?}");
    }
    let json: serde_json::Value = serde_json::from_str(&server.ask(&["env", "--json"])).unwrap();
    assert_eq!(json["AWS_ENDPOINT_URL_S3"], server.url());
    assert_eq!(json["SIMCLOUD_APIKEY"], key.trim());
    assert_eq!(json.as_object().unwrap().len(), 4);
    let fish = server.ask(&["env", "--shell", "fish", "--no-client-cache"]);
    assert!(fish.lines().all(|line| line.starts_with("set -gx ") && line.ends_with("';")), "{fish}");
    assert!(fish.contains("TIDY3D_LOCAL_CACHE__ENABLED 'false'"), "{fish}");
}

#[test]
fn commands_find_the_server_by_folder_variable_default_or_url() {
    let server = Server::start(&["--no-worker"]);
    let ls = |command: &mut Command| command.arg("ls").output().unwrap();
    assert!(ls(wavetask().env("WAVETASK_DATA", server.data())).status.success());
    let key = std::fs::read_to_string(server.data().join("key")).unwrap();
    let by_url = ls(wavetask().env("WAVETASK_URL", server.url()).env("WAVETASK_KEY", key.trim()));
    assert!(by_url.status.success(), "{by_url:?}");
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join(".local/share")).unwrap();
    std::os::unix::fs::symlink(server.data(), home.path().join(".local/share/wavetask")).unwrap();
    assert!(ls(wavetask().env("HOME", home.path())).status.success());
    let empty = tempfile::tempdir().unwrap();
    assert_told(&ls(wavetask().env("HOME", empty.path())), 3, "no server is running");
    let no_key = ls(wavetask().env("WAVETASK_URL", server.url()));
    assert_told(&no_key, 4, "WAVETASK_KEY");
    let wrong_key = ls(wavetask().env("WAVETASK_URL", server.url()).env("WAVETASK_KEY", "x".repeat(43)));
    assert_eq!(wrong_key.status.code(), Some(4), "{wrong_key:?}");
    let nobody = ls(wavetask().env("WAVETASK_URL", "http://127.0.0.1:9").env("WAVETASK_KEY", "x"));
    assert_told(&nobody, 3, "cannot be reached");
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let server = Server::start(&["--no-worker"]);
    let secret = server.ask(&["key", "add", "lab"]);
    let secret = secret.trim();
    assert!(server.ask(&["key", "ls"]).lines().any(|line| line.contains(" lab ") && line.ends_with("valid")));
    assert!(!server.ask(&["key", "ls", "--json"]).contains(secret), "a secret is shown once");
    let as_lab = |words: &[&str]| {
        wavetask().args(words).env("WAVETASK_URL", server.url()).env("WAVETASK_KEY", secret).output().unwrap()
    };
    assert!(as_lab(&["ls"]).status.success());
    let denied = as_lab(&["key", "ls"]);
    assert_eq!(denied.status.code(), Some(4), "{denied:?}");
    assert!(server.ask(&["key", "revoke", "lab"]).contains("revoked"));
    assert_eq!(as_lab(&["ls"]).status.code(), Some(4));
    assert_told(&server.command(&["key", "revoke", "lab"]), 5, "no valid key `lab`");
}

#[test]
fn unknown_tasks_are_told_in_words() {
    let server = Server::start(&["--no-worker"]);
    for words in [["logs", "task-0"], ["cancel", "0"], ["rm", "../../key"], ["watch", "%00"]] {
        assert_told(&server.command(&words), 5, "there is no task");
    }
    assert_eq!(server.ask(&["watch"]), "no tasks to watch\n");
    let list: serde_json::Value = serde_json::from_str(&server.ask(&["ls", "--json"])).unwrap();
    assert_eq!(list["tasks"], serde_json::json!([]));
}

#[test]
fn wrong_usage_and_closed_pipes_are_no_crash() {
    assert_eq!(wavetask().arg("no-such-command").output().unwrap().status.code(), Some(2));
    assert_eq!(wavetask().args(["ls", "--state", "happy"]).output().unwrap().status.code(), Some(2));
    assert_eq!(wavetask().args(["serve", "--memory", "much"]).output().unwrap().status.code(), Some(2));
    let version = text(&wavetask().arg("--version").output().unwrap().stdout);
    assert_eq!(version, format!("wavetask {}\n", env!("CARGO_PKG_VERSION")));
    let help = text(&wavetask().arg("--help").output().unwrap().stdout);
    assert!(help.contains("Exit codes") && !help.contains("  solve "), "{help}");
    let server = Server::start(&["--no-worker"]);
    let script =
        format!("set -o pipefail; '{BINARY}' doctor --data '{}' | head -c 1", server.data().display());
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_doctor_finds_a_healthy_server_healthy_and_a_sick_one_sick() {
    let server = Server::start(&[]);
    until("the worker", || {
        let output = server.command(&["doctor"]);
        output.status.success().then_some(())
    });
    let checks: serde_json::Value = serde_json::from_str(&server.ask(&["doctor", "--json"])).unwrap();
    for name in ["data folder", "key file", "server", "key", "clock", "disk", "memory", "worker"] {
        let check = checks.as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
        assert_ne!(check["verdict"], "bad", "{check}");
    }
    std::fs::set_permissions(server.data().join("key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = server.command(&["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("chmod 600"), "{output:?}");
    server.signal(libc::SIGTERM);
    let (_, _, folder) = server.end();
    let output = wavetask().args(["doctor", "--data"]).arg(folder.path().join("data")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("FAIL  server: no server is running"), "{output:?}");
}

#[test]
fn a_worker_by_hand_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no.key");
    let output = wavetask().args(["worker", "--worker-key-file"]).arg(&missing).output().unwrap();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{errors}");
    assert!(errors.contains("no.key") && errors.contains("hint: "), "{errors}");
}
