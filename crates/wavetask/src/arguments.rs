//! The command line's grammar. Every help text is written for someone who reads only it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use wavetask_client::limits::parse_size;

/// Runs tidy3d simulations on this machine: a task server, its workers and the commands to look after them.
///
/// Start with `wavetask serve`; then, in the shell that runs Python, `eval "$(wavetask env)"`.
#[derive(Debug, Parser)]
#[command(name = "wavetask", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Commands find the server by --data, else by WAVETASK_URL (with WAVETASK_KEY), else by WAVETASK_DATA, else
by `url` and `key`, or `data`, in $XDG_CONFIG_HOME/wavetask/config.toml (~/.config), else by the data folder
$XDG_DATA_HOME/wavetask (~/.local/share/wavetask).

Exit codes: 0 done; 1 it failed, or a watched task or a check did; 2 wrong usage; 3 the server cannot be
reached; 4 the key is not accepted or may not do this; 5 no such task or key, or several begin so;
6 the server cannot start (address or data folder in use, permissions).

NO_COLOR turns colours off. WAVETASK_LOG sets what serve and worker write to standard error
(error, warn, info, debug).";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server and, unless told otherwise, a worker on this machine.
    Serve(ServeArguments),
    /// Run tasks for a server; `serve` starts one by itself.
    Worker(WorkerArguments),
    /// Print the settings that point the tidy3d client at the server: eval "$(wavetask env)".
    Env(EnvArguments),
    /// Submit simulations that tidy3d has written to files; starts a server if none runs.
    Submit(SubmitArguments),
    /// List tasks, newest first, or batches.
    Ls(ListArguments),
    /// Show how tasks go until all of them have ended; exit code 0 if all succeeded.
    Watch(WatchArguments),
    /// Write results to files: of a task, of one of its monitors or fields, or of a whole batch.
    Get(GetArguments),
    /// Print a task's log.
    Logs(LogsArguments),
    /// Stop tasks.
    Cancel(TasksArguments),
    /// Run tasks again that ended without success; of a batch, those that did.
    Retry(TasksArguments),
    /// Delete tasks and their results.
    Rm(TasksArguments),
    /// Make, list, limit and revoke keys; a key sees only its own tasks.
    Key(KeyArguments),
    /// Check the server, the worker, this machine and the client's settings, and say what to do.
    Doctor(DoctorArguments),
    /// Solve one task (what a worker starts, one process per task).
    #[command(hide = true)]
    Solve(SolveArguments),
    /// Solve small tasks one after another, as they are named on standard input (what a worker starts).
    #[command(hide = true)]
    SolveSeveral,
}

/// Where the data folder is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DataArguments {
    /// Data folder of the server [default: $WAVETASK_DATA, else the user's data directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) data: DataArguments,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8600")]
    pub(crate) listen: SocketAddr,
    /// Let callback addresses lie on this machine or in a private network.
    #[arg(long)]
    pub(crate) allow_private_callbacks: bool,
    /// Speak the tidy3d protocol only, as other servers do: for tests of what clients make of that.
    #[arg(long, hide = true)]
    pub(crate) no_native_api: bool,
    /// Processor cores that solvers may use [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) cores: Option<u32>,
    /// Memory that solvers may use, such as 12GiB [default: four fifths of the machine's].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    /// Be the server that clients start by themselves and share: leave the terminal, and stop after 10 minutes
    /// without clients and tasks.
    #[arg(long)]
    pub(crate) embedded: bool,
    /// Stop after so long without clients and tasks, such as 90s, 10min, 2h, or never [default: never, with
    /// --embedded 10min].
    #[arg(long, value_name = "TIME", value_parser = parse_idle_stop)]
    pub(crate) idle_stop: Option<IdleStop>,
    /// Start no worker: run `wavetask worker` yourself.
    #[arg(long)]
    pub(crate) no_worker: bool,
    /// Seconds that a worker may stay silent before its tasks are run again elsewhere.
    #[arg(long, value_name = "SECONDS", hide = true, value_parser = parse_seconds)]
    pub(crate) lease_seconds: Option<f64>,
}

/// When a server stops by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum IdleStop {
    /// After so long without clients and tasks.
    After(Duration),
    /// Not at all.
    Never,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArguments {
    /// Address of the server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8600")]
    pub(crate) url: String,
    /// File with the key for workers: `worker.key` in the server's data folder.
    #[arg(long, value_name = "FILE")]
    pub(crate) worker_key_file: PathBuf,
    /// Folder for files of running tasks; emptied at the start [default: a new temporary folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
    /// Processor cores to use [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) cores: Option<u32>,
    /// Memory to use, such as 12GiB [default: four fifths of the machine's].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct SolveArguments {
    /// Task kind.
    #[arg(long)]
    pub(crate) kind: String,
    /// The simulation, an HDF5 file.
    #[arg(long)]
    pub(crate) input: PathBuf,
    /// Where to put the result.
    #[arg(long)]
    pub(crate) output: PathBuf,
    /// Threads to use.
    #[arg(long)]
    pub(crate) threads: usize,
    /// Memory to use at most, in bytes.
    #[arg(long)]
    pub(crate) memory: u64,
}

/// Which shell the settings are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// bash, zsh, dash and every other POSIX shell.
    Bash,
    /// fish: wavetask env --shell fish | source
    Fish,
}

#[derive(Debug, Args)]
pub(crate) struct EnvArguments {
    #[command(flatten)]
    pub(crate) data: DataArguments,
    /// The shell that reads it.
    #[arg(long, value_enum, default_value = "bash", conflicts_with = "json")]
    pub(crate) shell: Shell,
    /// One JSON object of names and values instead.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also switch off the client's own result cache. That cache does not know which server a result
    /// came from: with it on, a simulation solved elsewhere before is not sent here at all.
    #[arg(long)]
    pub(crate) no_client_cache: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    pub(crate) data: DataArguments,
    /// Only tasks in this state: draft, validated, queued, running, publishing, success, diverged,
    /// error, aborting, aborted.
    #[arg(long, value_parser = parse_state)]
    pub(crate) state: Option<wavetask_protocol::TaskState>,
    /// Only tasks in this folder.
    #[arg(long, value_name = "NAME")]
    pub(crate) folder: Option<String>,
    /// Only tasks with this text in their name; with --batches, the batch of exactly this name.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// Only batches with this tag, or tasks in one.
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Option<String>,
    /// Only tasks in the batch of this name.
    #[arg(long, value_name = "NAME")]
    pub(crate) batch: Option<String>,
    /// Only tasks whose parameters are so, such as "I>=0.004,width=0.5": = != < <= > >=, joined with commas.
    #[arg(long = "where", value_name = "CONDITIONS")]
    pub(crate) conditions: Option<String>,
    /// List batches instead of tasks.
    #[arg(long, conflicts_with_all = ["state", "folder", "batch", "conditions"])]
    pub(crate) batches: bool,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// All of them, however many there are.
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
    /// JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    #[command(flatten)]
    pub(crate) data: DataArguments,
    /// Ids, beginnings of ids that fit one task only, or names of batches; without any, all tasks that have
    /// not ended.
    #[arg(value_name = "ID|NAME")]
    pub(crate) tasks: Vec<String>,
    /// A JSON object a line: one for each change of a task, as `ls --json` shows it, and one at the end.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    #[command(flatten)]
    pub(crate) data: DataArguments,
    /// Id, or the beginning of one.
    #[arg(value_name = "ID")]
    pub(crate) task: String,
    /// Go on until the task has ended.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// One JSON object with the log as a text; with --follow, once the task has ended.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TasksArguments {
    #[command(flatten)]
    pub(crate) data: DataArguments,
    /// Ids, beginnings of ids that fit one task only, or names of batches for all their tasks.
    #[arg(value_name = "ID|NAME", required = true)]
    pub(crate) tasks: Vec<String>,
    /// JSON instead of lines.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Each file becomes a task, all of them together a batch. A simulation that this server has solved before is not
solved again, and arrays that it has are not sent again: running the same command twice costs next to nothing.
A file that cannot be read or a simulation that cannot be run stops no other; the exit code is 1 then.

  wavetask submit scan/*.hdf5 --name 'heater sweep' --tag paper
  wavetask submit device.hdf5 --param I=0.004 --param material=TiN --wait")]
pub(crate) struct SubmitArguments {
    #[command(flatten)]
    pub(crate) data: DataArguments,
    /// Simulations as tidy3d's to_file writes them: .json, .hdf5 or .hdf5.gz.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The batch's name, for watch, get and the others; one that exists is updated [default: made from the time].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// A word to find the batch by; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// The folder that the tasks are kept in.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) folder: String,
    /// A parameter of all these tasks, to find them by with `ls --where`: a number, true, false or a text; may
    /// be repeated.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_parameter)]
    pub(crate) parameters: Vec<(String, serde_json::Value)>,
    /// Tasks of a higher number run first.
    #[arg(long, value_name = "N", default_value_t = 0, allow_hyphen_values = true)]
    pub(crate) priority: i32,
    /// Solve again even what is known.
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Check the simulations and do not start them.
    #[arg(long)]
    pub(crate) hold: bool,
    /// Wait until all have ended; exit code 0 if all succeeded.
    #[arg(long, conflicts_with = "detach")]
    pub(crate) wait: bool,
    /// Return once the server has everything; the default.
    #[arg(long)]
    pub(crate) detach: bool,
    /// One JSON object instead of lines and bars.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
  wavetask get task-0192f                          the whole result, as tidy3d reads it: task-0192f….hdf5
  wavetask get task-0192f:plane -o plane.hdf5      one monitor: td.TemperatureData.from_file(\"plane.hdf5\")
  wavetask get task-0192f:plane:temperature -o t.csv     one field: a line per point with coordinates and value
  wavetask get task-0192f:plane:temperature -o -         the same to standard output
  wavetask get 'heater sweep' -o results           all results of a batch: results/KEY.hdf5

Of a monitor or field only its own arrays are fetched. Files appear whole or not at all.")]
pub(crate) struct GetArguments {
    #[command(flatten)]
    pub(crate) data: DataArguments,
    /// Id, beginning of one, or name of a batch; behind colons the monitor and the field.
    #[arg(value_name = "ID|NAME[:MONITOR[:FIELD]]")]
    pub(crate) what: String,
    /// Where to: a file ending with .hdf5 or .csv, - for CSV on standard output; of a batch, a folder [default: named
    /// after the task or batch].
    #[arg(long, short, value_name = "FILE|DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Of a batch: CSV files of the field instead of HDF5.
    #[arg(long)]
    pub(crate) csv: bool,
    /// Wait for tasks that have not ended.
    #[arg(long)]
    pub(crate) wait: bool,
    /// JSON instead of lines.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArguments {
    #[command(subcommand)]
    pub(crate) action: KeyAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyAction {
    /// Make a key and print it; it is not shown again.
    Add {
        #[command(flatten)]
        data: DataArguments,
        /// What to call it.
        name: String,
        /// JSON instead of the bare key.
        #[arg(long)]
        json: bool,
    },
    /// List keys.
    Ls {
        #[command(flatten)]
        data: DataArguments,
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key; its tasks stay.
    Revoke {
        #[command(flatten)]
        data: DataArguments,
        /// Id, the beginning of one, or the name.
        key: String,
        /// JSON instead of a line.
        #[arg(long)]
        json: bool,
    },
    /// Set what a key may use in all; a limit that is not given is lifted.
    Quota {
        #[command(flatten)]
        data: DataArguments,
        /// Id, the beginning of one, or the name.
        key: String,
        /// Tasks that are not deleted.
        #[arg(long, value_name = "N")]
        tasks: Option<u64>,
        /// Bytes of simulations and results, such as 50GB, each counted as if nothing were shared.
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        bytes: Option<u64>,
        /// JSON instead of a line.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    pub(crate) data: DataArguments,
    /// JSON instead of lines.
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_state(text: &str) -> Result<wavetask_protocol::TaskState, String> {
    serde_json::from_value(serde_json::Value::String(text.to_ascii_lowercase()))
        .map_err(|_| "it is not one of the states that `wavetask ls --help` lists".to_owned())
}

/// `NAME=VALUE`: numbers, true and false are what they look like, all else is a text.
fn parse_parameter(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("it must look like NAME=VALUE")?;
    let name = name.trim();
    if name.is_empty() || name.chars().any(|c| c.is_control() || "=!<>,".contains(c)) {
        return Err("a parameter's name has no = ! < > or comma in it".to_owned());
    }
    let value = match serde_json::from_str::<serde_json::Value>(value) {
        Ok(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => value,
        Ok(serde_json::Value::String(text)) => text.into(),
        _ => value.into(),
    };
    Ok((name.to_owned(), value))
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86400.0).contains(&seconds) => Ok(seconds),
        _ => Err("it must be a number from 0.1 to 86400".to_owned()),
    }
}

fn parse_idle_stop(text: &str) -> Result<IdleStop, String> {
    if text.trim().eq_ignore_ascii_case("never") {
        Ok(IdleStop::Never)
    } else {
        parse_time(text).map(IdleStop::After)
    }
}

/// A time from text such as `90s`, `10min` or `2h`; a bare number is seconds.
fn parse_time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "" | "s" => 1.0,
        "min" | "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err("its unit must be one of s, min, h, d".to_owned()),
    };
    match number.parse::<f64>().map(|number| number * factor) {
        Ok(seconds) if (0.1..=1e7).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("it must be a time such as 10min".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn parameters_are_what_they_look_like() {
        use serde_json::json;
        let value = |text: &str| parse_parameter(text).map(|(_, value)| value);
        assert_eq!(parse_parameter("I=0.004"), Ok(("I".to_owned(), json!(0.004))));
        assert_eq!(value("on=true"), Ok(json!(true)));
        assert_eq!(value("m=TiN"), Ok(json!("TiN")));
        assert_eq!(value("m=\"4\""), Ok(json!("4")));
        assert_eq!(value("e=a=b"), Ok(json!("a=b")));
        for wrong in ["I", "=3", "a<b=3"] {
            assert!(parse_parameter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(parse_time("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("10 min"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_time("0.5h"), Ok(Duration::from_secs(1800)));
        for wrong in ["", "s", "-1", "0", "1 week", "1e9", "99999999d"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_idle_stop("never"), Ok(IdleStop::Never));
    }

    #[test]
    fn states_are_read_by_their_api_words() {
        assert_eq!(parse_state("Running"), Ok(wavetask_protocol::TaskState::Running));
        assert!(parse_state("runing").is_err());
    }
}
