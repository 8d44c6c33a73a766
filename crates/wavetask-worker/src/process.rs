//! Child processes that cannot outlive, outgrow or hide from their parent.
//!
//! Each child has a thread of this process that starts it, waits for it and ends with it. That is not a
//! convenience: `PR_SET_PDEATHSIG` fires when the *thread* that started the child ends, so a thread of a
//! pool, which may end at any time, would kill children at random.

use std::ffi::{CString, OsString};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::decide::Ended;
use crate::line::MAXIMUM_LINE_BYTES;

/// What a child process starts with.
#[derive(Clone, Copy, Debug)]
pub struct Hygiene {
    /// Signal that the kernel sends it when its parent dies, however that happens.
    pub signal_at_parents_death: i32,
    /// Address space in bytes; `None` leaves it unlimited.
    pub address_space_bytes: Option<u64>,
    /// Added to its nice value: a solver gives way to everything else.
    pub nice: i32,
    /// 0 to 1000: how much rather than others the kernel kills it when memory runs out; `None` leaves it.
    pub out_of_memory_score: Option<i32>,
}

impl Hygiene {
    /// For a solver.
    pub const fn solver(address_space_bytes: u64) -> Self {
        Self {
            signal_at_parents_death: libc::SIGKILL,
            address_space_bytes: Some(address_space_bytes),
            nice: 5,
            out_of_memory_score: Some(500),
        }
    }

    /// Makes `command` start so, in a process group of its own (so that a Ctrl-C in the terminal reaches
    /// the parent only, which then decides) and without core dumps.
    pub fn apply(self, command: &mut Command) {
        command.process_group(0);
        let score = self.out_of_memory_score.and_then(|score| CString::new(score.to_string()).ok());
        // SAFETY: getpid has no preconditions.
        let parent = unsafe { libc::getpid() };
        let set_up = move || {
            // SAFETY: the calls below are plain system calls with valid arguments; everything they need
            // was allocated before the fork.
            unsafe {
                check(libc::prctl(libc::PR_SET_PDEATHSIG, self.signal_at_parents_death, 0, 0, 0))?;
                if libc::getppid() != parent {
                    // The parent died between fork and prctl: its signal will never come.
                    libc::_exit(0);
                }
                limit(libc::RLIMIT_CORE, 0)?;
                if let Some(bytes) = self.address_space_bytes {
                    limit(libc::RLIMIT_AS, bytes)?;
                }
                let nice = libc::getpriority(libc::PRIO_PROCESS, 0) + self.nice;
                check(libc::setpriority(libc::PRIO_PROCESS, 0, nice))?;
                if let Some(score) = &score {
                    // Best effort: some containers do not let it be written.
                    let file =
                        libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                    if file >= 0 {
                        libc::write(file, score.as_ptr().cast(), score.as_bytes().len());
                        libc::close(file);
                    }
                }
            }
            Ok(())
        };
        // SAFETY: `set_up` neither allocates nor takes locks, as is required between fork and exec.
        unsafe { command.pre_exec(set_up) };
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lowers a limit; one that is lower already stays.
fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let mut known = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `known` is a valid place to write to.
    check(unsafe { libc::getrlimit(resource, &raw mut known) })?;
    let value = value.min(known.rlim_max);
    let wanted = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: `wanted` is a valid place to read from.
    check(unsafe { libc::setrlimit(resource, &raw const wanted) })
}

/// A program and its first arguments, to which a worker adds those of the task.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file to run.
    pub path: PathBuf,
    /// Its first arguments.
    pub arguments: Vec<OsString>,
}

/// What comes from a child.
#[derive(Debug)]
pub enum Event {
    /// A line of its standard output, without the line feed, cut after [`MAXIMUM_LINE_BYTES`].
    Line(String),
    /// It is gone; nothing comes after this.
    Ended(Gone),
}

/// A child that is gone.
#[derive(Clone, Debug)]
pub struct Gone {
    /// How it ended.
    pub ended: Ended,
    /// The end of what it wrote to standard error.
    pub last_words: String,
    /// The most memory it had, in bytes.
    pub peak_bytes: u64,
}

/// A running child: can be killed, and is when this value is dropped.
#[derive(Debug)]
pub struct Child {
    process: Arc<Mutex<Option<libc::pid_t>>>,
    id: u32,
}

impl Child {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Kills it and every process it may have started, at once. Nothing happens if it is gone already.
    pub fn kill(&self) {
        if let Some(process) = *lock(&self.process) {
            // SAFETY: kill has no memory preconditions. The child is not reaped while the lock is held,
            // so its number cannot have been given to another process.
            unsafe { libc::kill(-process, libc::SIGKILL) };
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Events that may wait before the child has to: a flood of lines slows the child, not the worker.
const EVENTS: usize = 256;

/// Bytes of standard error that are kept, from its end.
const LAST_WORDS_BYTES: usize = 8 << 10;

/// Starts a program and reports what it says and how it ends.
///
/// # Errors
/// If the program cannot be started.
pub async fn start(
    program: &Program,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    hygiene: Hygiene,
) -> io::Result<(Child, mpsc::Receiver<Event>)> {
    let (child, _, events) = begin(program, arguments, environment, hygiene, Stdio::null()).await?;
    Ok((child, events))
}

/// As [`start`], for a program that listens to its standard input.
///
/// # Errors
/// If the program cannot be started.
pub async fn start_listening(
    program: &Program,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    hygiene: Hygiene,
) -> io::Result<(Child, ChildStdin, mpsc::Receiver<Event>)> {
    let (child, input, events) = begin(program, arguments, environment, hygiene, Stdio::piped()).await?;
    let input = input.ok_or_else(|| io::Error::other("the program has no standard input"))?;
    Ok((child, input, events))
}

async fn begin(
    program: &Program,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    hygiene: Hygiene,
    input: Stdio,
) -> io::Result<(Child, Option<ChildStdin>, mpsc::Receiver<Event>)> {
    let mut command = Command::new(&program.path);
    command
        .args(&program.arguments)
        .args(arguments)
        .envs(environment)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    hygiene.apply(&mut command);
    let (events, receiver) = mpsc::channel(EVENTS);
    let (started, has_started) = oneshot::channel();
    thread::Builder::new().name("solver-parent".to_owned()).spawn(move || run(command, started, &events))?;
    let (child, input) =
        has_started.await.map_err(|_| io::Error::other("the thread that starts solvers has died"))??;
    Ok((child, input, receiver))
}

/// A child that has been started, and its standard input if it listens.
type Started = (Child, Option<ChildStdin>);

/// A child's whole life, on a thread of its own.
fn run(mut command: Command, started: oneshot::Sender<io::Result<Started>>, events: &mpsc::Sender<Event>) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let id = child.id();
    #[expect(clippy::cast_possible_wrap, reason = "process numbers are positive pid_t values")]
    let process = Arc::new(Mutex::new(Some(id as libc::pid_t)));
    // If nobody waits for it any more, dropping the handle that comes back kills the child.
    let input = child.stdin.take();
    drop(started.send(Ok((Child { process: Arc::clone(&process), id }, input))));
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let last_words = thread::scope(|scope| {
        let words = scope.spawn(|| errors.map(last_bytes).unwrap_or_default());
        let lines = scope.spawn(|| {
            if let Some(output) = output {
                read_lines(output, |line| events.blocking_send(Event::Line(line)).is_ok());
            }
        });
        wait_without_reaping(id);
        // Whatever it started goes with it: the pipes close and the readers end.
        if let Some(process) = *lock(&process) {
            // SAFETY: as in `Child::kill`.
            unsafe { libc::kill(-process, libc::SIGKILL) };
        }
        let _ = lines.join();
        words.join().unwrap_or_default()
    });
    let (ended, peak_bytes) = {
        let mut process = lock(&process);
        *process = None;
        reap(id)
    };
    let gone = Gone { ended, last_words: String::from_utf8_lossy(&last_words).into_owned(), peak_bytes };
    let _ = events.blocking_send(Event::Ended(gone));
}

/// Returns when the process has ended, and leaves it as a zombie so that its number stays taken.
fn wait_without_reaping(id: u32) {
    loop {
        // SAFETY: an all-zero siginfo_t is a valid value for the call to overwrite.
        let result = unsafe {
            let mut information: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, id, &raw mut information, libc::WEXITED | libc::WNOWAIT)
        };
        if result == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Reaps an ended process: how it ended and its peak memory in bytes.
fn reap(id: u32) -> (Ended, u64) {
    let mut status = 0;
    #[expect(clippy::cast_possible_wrap, reason = "process numbers are positive pid_t values")]
    let process = id as libc::pid_t;
    // SAFETY: an all-zero rusage is a valid value; both places are valid to write to.
    let (result, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(process, &raw mut status, 0, &raw mut usage), usage)
    };
    let peak = u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024);
    let ended = if result != process {
        Ended::Exited(-1)
    } else if libc::WIFSIGNALED(status) {
        Ended::Signaled(libc::WTERMSIG(status))
    } else {
        Ended::Exited(libc::WEXITSTATUS(status))
    };
    (ended, peak)
}

/// Reads lines until the end, or until `take` says that nobody wants more.
fn read_lines(output: impl Read, mut take: impl FnMut(String) -> bool) {
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(MAXIMUM_LINE_BYTES as u64).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let complete = line.last() == Some(&b'\n');
        if complete {
            line.pop();
        }
        if !take(String::from_utf8_lossy(&line).into_owned()) {
            return;
        }
        if !complete && line.len() >= MAXIMUM_LINE_BYTES && reader.skip_until(b'\n').is_err() {
            return;
        }
    }
}

/// Reads to the end and keeps the last bytes.
fn last_bytes(mut errors: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        match errors.read(&mut buffer) {
            Ok(0) => return kept,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return kept,
            Ok(count) => {
                kept.extend_from_slice(&buffer[..count]);
                if kept.len() > 2 * LAST_WORDS_BYTES {
                    kept.drain(..kept.len() - LAST_WORDS_BYTES);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_the_rest_of_a_long_one_is_skipped() {
        let mut text = b"one\n\n".to_vec();
        text.extend(std::iter::repeat_n(b'x', MAXIMUM_LINE_BYTES + 10));
        text.extend(b"\nlast");
        let mut lines = Vec::new();
        read_lines(&text[..], |line| {
            lines.push(line);
            true
        });
        let lengths: Vec<usize> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [3, 0, MAXIMUM_LINE_BYTES, 4]);
        assert_eq!(lines[3], "last");
    }

    #[test]
    fn the_end_of_standard_error_is_kept() {
        let text = (0..20_000).map(|n| format!("{n}\n")).collect::<String>();
        let kept = last_bytes(text.as_bytes());
        assert!(kept.len() <= 2 * LAST_WORDS_BYTES);
        assert!(text.as_bytes().ends_with(&kept));
    }
}
