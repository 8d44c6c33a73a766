//! The embedded server with real processes: shared, started again, and gone when nobody needs it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wavetask_client::ErrorGroup;
use wavetask_client::embedded::{LOCK_FILE, LOG_FILE, Options, ensure, find, is_embedded};
use wavetask_client::locate::Address;

const BINARY: &str = env!("CARGO_BIN_EXE_wavetask");

/// A data folder whose server is stopped at the end.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn options(&self, idle_stop: Duration) -> Options {
        Options { binary: Some(BINARY.into()), idle_stop: Some(idle_stop), ..Options::new(self.data()) }
    }

    /// The processes whose command line names this folder, without children of theirs: until it runs its own
    /// program, a worker that is just being started looks like the server that starts it.
    fn servers(&self) -> Vec<i32> {
        let data = self.data();
        let data = data.to_str().unwrap();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let Ok(number) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(data) && line.contains(" serve ") {
                found.push(number);
            }
        }
        let parents: Vec<Option<i32>> = found.iter().map(|number| parent(*number)).collect();
        let child = |parent: &Option<i32>| parent.is_some_and(|parent| found.contains(&parent));
        found.iter().zip(&parents).filter(|(_, parent)| !child(parent)).map(|(number, _)| *number).collect()
    }

    fn only_server(&self) -> i32 {
        let servers = self.servers();
        assert_eq!(servers.len(), 1, "{}", self.log());
        servers[0]
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.data().join(LOG_FILE)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for process in self.servers() {
            kill(process);
        }
        // Its files are removed once it writes no more.
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.servers().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The process that started this one.
fn parent(process: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After the name in brackets: the state, then the parent.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn kill(process: i32) {
    // SAFETY: kill has no memory preconditions; the number was just read from the process table by its command line.
    unsafe { libc::kill(process, libc::SIGKILL) };
}

fn until(what: &str, within: Duration, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !look() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn wavetask(data: &Path) -> Command {
    let mut command = Command::new(BINARY);
    for name in ["WAVETASK_DATA", "WAVETASK_URL", "WAVETASK_KEY", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"]
    {
        command.env_remove(name);
    }
    command.env("WAVETASK_DATA", data).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

const LONG: Duration = Duration::from_secs(600);

#[test]
fn several_that_start_it_at_once_share_one() {
    let folder = Folder::new();
    let options = folder.options(LONG);
    let found: BTreeSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| ensure(&options).unwrap().url)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(found.len(), 1, "{found:?}");
    folder.only_server();
    assert_eq!(find(&folder.data()).map(|address| address.url), found.into_iter().next());
    // Its log and its lock are the user's own, and the folder says whose server it is.
    assert!(is_embedded(&folder.data()));
    assert!(folder.log().contains("wavetask is ready at"), "{}", folder.log());
}

#[test]
fn processes_that_start_it_at_once_share_one_and_it_survives_them() {
    let folder = Folder::new();
    // A folder that had an embedded server once: commands start it again.
    std::fs::create_dir(folder.data()).unwrap();
    std::fs::write(folder.data().join(LOCK_FILE), "").unwrap();
    let clients: Vec<_> =
        (0..4).map(|_| wavetask(&folder.data()).args(["env", "--json"]).spawn().unwrap()).collect();
    let settings: BTreeSet<String> = clients
        .into_iter()
        .map(|client| {
            let output = client.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        })
        .collect();
    assert_eq!(settings.len(), 1, "{settings:?}");
    let server = folder.only_server();
    // It has left the session of whoever started it.
    let stat = std::fs::read_to_string(format!("/proc/{server}/stat")).unwrap();
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap().to_owned();
    assert_eq!(session, server.to_string());
    assert!(find(&folder.data()).is_some(), "the server went with the commands that started it");
}

#[test]
fn a_server_that_was_killed_is_started_again() {
    let folder = Folder::new();
    let options = folder.options(LONG);
    let first = ensure(&options).unwrap();
    let process = folder.only_server();
    kill(process);
    until("the server is gone", Duration::from_secs(10), || !folder.servers().contains(&process));
    assert!(folder.data().join("address").exists(), "a killed server leaves its address");
    assert_eq!(find(&folder.data()), None);
    let second = ensure(&options).unwrap();
    assert_eq!(second.key, first.key);
    assert_ne!(folder.only_server(), process);
    assert_eq!(find(&folder.data()), Some(second));
}

/// Opens an event stream or holds a long request, and keeps it.
fn hold(address: &Address, path: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address.url.strip_prefix("http://").unwrap()).unwrap();
    let key = &address.key;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {key}\r\n\r\n").unwrap();
    BufReader::new(stream)
}

#[test]
fn it_stops_when_nobody_needs_it_and_not_before() {
    let folder = Folder::new();
    let options = folder.options(Duration::from_secs(1));
    let address = ensure(&options).unwrap();
    // A client that waits for news, for longer than the server would wait for clients.
    let held = Instant::now();
    let mut client = hold(&address, "/api/v1/events?after=0&wait_milliseconds=3000");
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    assert!(held.elapsed() > Duration::from_millis(2500), "the question was not held");
    drop(client);
    let last = Instant::now();
    until("it has stopped", Duration::from_secs(15), || folder.servers().is_empty());
    assert!(last.elapsed() > Duration::from_millis(700), "{:?}", last.elapsed());
    assert!(!folder.data().join("address").exists());
    assert_eq!(find(&folder.data()), None);
    assert!(folder.log().contains("nobody has needed this server"), "{}", folder.log());
    // The next one finds everything as it was.
    let again = ensure(&folder.options(LONG)).unwrap();
    assert_eq!(again.key, address.key);
}

#[test]
fn a_server_started_by_hand_is_used_and_what_cannot_start_says_why() {
    let folder = Folder::new();
    let mut by_hand = wavetask(&folder.data()).args(["serve", "--listen", "127.0.0.1:0"]).spawn().unwrap();
    until("it answers", Duration::from_secs(20), || find(&folder.data()).is_some());
    let address = ensure(&folder.options(LONG)).unwrap();
    assert_eq!(find(&folder.data()), Some(address));
    assert!(!is_embedded(&folder.data()));
    by_hand.kill().unwrap();
    by_hand.wait().unwrap();

    let missing = Options { binary: Some("/nowhere/wavetask".into()), ..folder.options(LONG) };
    let error = ensure(&missing).unwrap_err();
    assert_eq!(error.group, ErrorGroup::Usage);
    assert!(error.hint.is_some_and(|hint| hint.contains("WAVETASK_BINARY")));
    let fails = Options {
        binary: Some("/bin/false".into()),
        wait: Duration::from_millis(500),
        ..folder.options(LONG)
    };
    let error = ensure(&fails).unwrap_err();
    assert_eq!((error.group, error.code.as_str()), (ErrorGroup::Infrastructure, "embedded.no_answer"));
    let file = folder.0.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = ensure(&Options::new(file)).unwrap_err();
    assert_eq!((error.group, error.code.as_str()), (ErrorGroup::Infrastructure, "embedded.data_folder"));
}
