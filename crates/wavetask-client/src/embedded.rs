//! A server of the user's own, started when it is needed and shared by all of the user's processes.
//!
//! It is a process of its own, `wavetask serve --embedded`: tasks go on when the notebook that submitted them is
//! restarted, and two notebooks and the command line see the same tasks. Whoever needs it first starts it; the
//! `address` file in the data folder tells the others where it is. Nobody has to stop it: it ends by itself after a
//! while without clients and tasks.
//!
//! A server inside the client's process would be simpler, but it would take the running tasks with it when that
//! process ends, and only one process could open the data folder.
//!
//! Everything here blocks, for a millisecond if the server runs and for a second or so if it has to be started.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::error::{ClientError, ErrorGroup};
use crate::locate::{Address, in_folder};

/// File in the data folder that is locked by whoever starts the server. It stays, and says that the server of this
/// folder is one that clients start.
pub const LOCK_FILE: &str = "embedded.lock";
/// File in the data folder with what the embedded server has to say.
pub const LOG_FILE: &str = "embedded.log";
/// Beyond this length the log begins anew; the one before is kept beside it.
const LOG_BYTES: u64 = 4 << 20;
/// A server that does not answer within this time is not there, or as good as that.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How often a server that starts is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Pause before starting again after a start that failed: the server before may still be closing.
const AGAIN: Duration = Duration::from_millis(200);

/// How the embedded server is found and started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder.
    pub data: PathBuf,
    /// The `wavetask` binary; `None` is `WAVETASK_BINARY`, else `wavetask` on the search path.
    pub binary: Option<PathBuf>,
    /// How long to wait until it answers. Default 30 s.
    pub wait: Duration,
    /// After how long without clients and tasks it stops; `None` is what `wavetask serve --embedded` does by itself.
    pub idle_stop: Option<Duration>,
}

impl Options {
    /// The defaults, for this data folder.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self { data: data.into(), binary: None, wait: Duration::from_secs(30), idle_stop: None }
    }
}

/// Whether clients start the server of this folder.
pub fn is_embedded(data: &Path) -> bool {
    data.join(LOCK_FILE).exists()
}

/// The server that answers on this data folder, embedded or not; `None` if there is none.
pub fn find(data: &Path) -> Option<Address> {
    let address = in_folder(data, None, |path| std::fs::read_to_string(path)).ok()?;
    answers(&address).then_some(address)
}

/// The server of this data folder, which is started if there is none.
///
/// Any number of processes may do this at once; one starts the server and the others find it.
///
/// # Errors
/// `Usage` if there is no binary to start, `Infrastructure` if it cannot be started or does not answer in time.
pub fn ensure(options: &Options) -> Result<Address, ClientError> {
    if let Some(address) = find(&options.data) {
        return Ok(address);
    }
    let deadline = Instant::now() + options.wait;
    make_folder(&options.data).map_err(|error| unusable(&options.data, error))?;
    let lock = File::options()
        .create(true)
        .append(true)
        .open(options.data.join(LOCK_FILE))
        .map_err(|error| unusable(&options.data, error))?;
    // Held until this function ends, by whatever way, or the process does.
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(unusable(&options.data, error)),
        }
        if let Some(address) = find(&options.data) {
            return Ok(address);
        }
        if Instant::now() > deadline {
            return Err(too_slow(options, None));
        }
        std::thread::sleep(LOOK);
    }
    let mut ended = None;
    loop {
        // The one who had the lock before may have started it.
        if let Some(address) = find(&options.data) {
            return Ok(address);
        }
        if Instant::now() > deadline {
            return Err(too_slow(options, ended));
        }
        let mut child = start(options)?;
        ended = loop {
            if let Some(status) = child.try_wait().map_err(|error| unusable(&options.data, error))? {
                break Some(status);
            }
            if let Some(address) = find(&options.data) {
                reap(child);
                return Ok(address);
            }
            if Instant::now() > deadline {
                reap(child);
                return Err(too_slow(options, None));
            }
            std::thread::sleep(LOOK);
        };
        // It ends at once if another server has the folder: one that was started by hand a moment ago, or one that
        // is just stopping.
        std::thread::sleep(AGAIN);
    }
}

/// Waits for the end of a child that goes on by itself, so that it leaves no entry in the process table.
fn reap(mut child: Child) {
    let waiting = std::thread::Builder::new().name("embedded server".to_owned()).spawn(move || child.wait());
    // Without a thread the entry stays until this process ends, which harms nobody.
    drop(waiting);
}

fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The binary to start.
fn binary(options: &Options) -> PathBuf {
    options
        .binary
        .clone()
        .or_else(|| std::env::var_os("WAVETASK_BINARY").filter(|path| !path.is_empty()).map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from("wavetask"))
}

fn start(options: &Options) -> Result<Child, ClientError> {
    let log = open_log(&options.data.join(LOG_FILE)).map_err(|error| unusable(&options.data, error))?;
    let errors = log.try_clone().map_err(|error| unusable(&options.data, error))?;
    let binary = binary(options);
    let mut command = Command::new(&binary);
    command.args(["serve", "--embedded", "--listen", "127.0.0.1:0", "--data"]).arg(&options.data);
    if let Some(time) = options.idle_stop {
        command.args(["--idle-stop", &format!("{}s", time.as_secs_f64())]);
    }
    // It leaves the terminal and the process group of this program by itself (`--embedded` begins a new session).
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    command.spawn().map_err(|error| {
        let what = format!("cannot start `{}`: {error}", binary.display());
        if error.kind() == io::ErrorKind::NotFound {
            ClientError::new(ErrorGroup::Usage, "embedded.no_binary", what)
                .hint("set WAVETASK_BINARY to the wavetask binary, or name a server with WAVETASK_URL and WAVETASK_KEY")
        } else {
            ClientError::new(ErrorGroup::Infrastructure, "embedded.cannot_start", what)
        }
        .caused_by(error)
    })
}

/// Opens the log for appending, after setting a long one aside.
fn open_log(path: &Path) -> io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    let mut options = File::options();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn unusable(data: &Path, error: io::Error) -> ClientError {
    ClientError::new(
        ErrorGroup::Infrastructure,
        "embedded.data_folder",
        format!("cannot use the data folder {}: {error}", data.display()),
    )
    .hint("name another with --data or WAVETASK_DATA, or mend its owner, permissions and disk room")
    .caused_by(error)
}

fn too_slow(options: &Options, ended: Option<ExitStatus>) -> ClientError {
    let log = options.data.join(LOG_FILE);
    let last = last_lines(&log, 3);
    let what = match ended {
        Some(status) => format!("the embedded server ended ({status}) instead of answering"),
        None => format!("the embedded server did not answer within {} s", options.wait.as_secs()),
    };
    let what = if last.is_empty() { what } else { format!("{what}: {last}") };
    ClientError::new(ErrorGroup::Infrastructure, "embedded.no_answer", what)
        .hint(format!("see {}, or start it by hand with `wavetask serve`", log.display()))
}

fn last_lines(path: &Path, count: usize) -> String {
    let text =
        std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}

/// Whether this server answers and knows the key: an address file may be left over from a server that was killed,
/// and its port may be somebody else's now.
fn answers(address: &Address) -> bool {
    let Some(socket) = address.url.strip_prefix("http://").and_then(|rest| rest.parse::<SocketAddr>().ok())
    else {
        return false;
    };
    status_line(socket, &address.key).is_ok_and(|line| line.starts_with(b"HTTP/1.1 200 "))
}

/// The first line of the answer to `GET /api/v1/status`. By hand, because an engine with its own runtime is not there
/// yet when the server is looked for.
fn status_line(socket: SocketAddr, key: &str) -> io::Result<[u8; 13]> {
    let mut stream = TcpStream::connect_timeout(&socket, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let key: String = key.chars().filter(|c| !c.is_control()).collect();
    let request = format!(
        "GET /api/v1/status HTTP/1.1\r\nhost: {socket}\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut line = [0; 13];
    stream.read_exact(&mut line)?;
    Ok(line)
}
