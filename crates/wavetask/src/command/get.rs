//! `wavetask get`: results into files.
//!
//! A whole result becomes the HDF5 file that tidy3d's own client would have downloaded. A monitor becomes an HDF5 file
//! of its own that tidy3d reads as that monitor's data class (`td.TemperatureData.from_file`), a field one with its
//! arrays, or, for programs that know nothing of either, a CSV file. Of a part, only its arrays are fetched.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use wavetask_client::{Client, ClientError, ErrorGroup, ResultDocument, Task};
use wavetask_document::{ArrayWriter, BLOCK_BYTES, Document, DocumentError, MemoryBlocks, hdf5};
use wavetask_protocol::chain;
use wavetask_protocol::native::TaskSummary;

use crate::api::Api;
use crate::arguments::GetArguments;
use crate::command::resolve::{self, Target};
use crate::csv;
use crate::failure::{Exit, Failure};
use crate::locate::{Absent, Surroundings, locate};
use crate::terminal::one_line;

/// Results of a batch that are fetched at once; the engine shares the line among them.
const AT_ONCE: usize = 4;

/// What is wanted of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Part {
    monitor: Option<String>,
    field: Option<String>,
}

/// What a file is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Hdf5,
    Csv,
}

pub(crate) fn run(arguments: &GetArguments) -> Result<ExitCode, Failure> {
    let surroundings = Surroundings::of_process(arguments.data.data.clone());
    let (typed, part) = split(&arguments.what);
    let connection = locate(&surroundings, Absent::StartAgain)?;
    let target = crate::on_this_thread(async {
        let api = Api::new(connection)?;
        resolve::target(&api, typed).await
    })??;
    let client = super::engine(&surroundings)?;
    match target {
        Target::Task(task) => one(&client, &task, &part, arguments),
        Target::Batch { name, members } => {
            let files = members.into_iter().map(|member| (file_name(&member.key), member.task)).collect();
            many(&client, &name, files, &part, arguments)
        }
    }
}

/// `ID:monitor:field`.
fn split(what: &str) -> (&str, Part) {
    let mut parts = what.splitn(3, ':');
    let typed = parts.next().unwrap_or_default();
    let mut next = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
    (typed, Part { monitor: next(), field: next() })
}

fn one(
    client: &Client,
    task: &TaskSummary,
    part: &Part,
    arguments: &GetArguments,
) -> Result<ExitCode, Failure> {
    let to_output = arguments.output.as_deref() == Some(Path::new("-"));
    let path = arguments.output.clone().unwrap_or_else(|| {
        let parts = [Some(task.task.as_str()), part.monitor.as_deref(), part.field.as_deref()];
        let name: Vec<String> = parts.into_iter().flatten().map(file_name).collect();
        PathBuf::from(format!("{}.hdf5", name.join("_")))
    });
    let path =
        if path.is_dir() { path.join(format!("{}.hdf5", file_name(task.task.as_str()))) } else { path };
    let format = if to_output { Format::Csv } else { format_of(&path)? };
    let handle = ready(client, task, arguments.wait)?;
    if to_output {
        let text = as_csv(&handle.result(None)?, part)?;
        std::io::stdout().lock().write_all(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let bytes = write(&handle, part, format, &path)?;
    let mut output = std::io::stdout().lock();
    if arguments.json {
        let told = json!({ "task": task.task, "file": path, "bytes": bytes });
        writeln!(output, "{}", serde_json::to_string_pretty(&told).map_err(std::io::Error::from)?)?;
    } else {
        writeln!(output, "{}  {}", task.task, path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn many(
    client: &Client,
    batch: &str,
    files: Vec<(String, TaskSummary)>,
    part: &Part,
    arguments: &GetArguments,
) -> Result<ExitCode, Failure> {
    let folder = arguments.output.clone().unwrap_or_else(|| PathBuf::from(file_name(batch)));
    let cannot = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("cannot write to {}: {error}", folder.display()))
    };
    std::fs::create_dir_all(&folder).map_err(cannot)?;
    let ending = if arguments.csv { "csv" } else { "hdf5" };
    let (next, told) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let failures = AtomicUsize::new(0);
    let work = || -> Result<(), Failure> {
        while let Some((name, task)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = folder.join(format!("{name}.{ending}"));
            let format = if arguments.csv { Format::Csv } else { Format::Hdf5 };
            let outcome =
                ready(client, task, arguments.wait).and_then(|handle| write(&handle, part, format, &path));
            let mut output = std::io::stdout().lock();
            match outcome {
                Ok(bytes) => {
                    if !arguments.json {
                        writeln!(output, "{}  {}", task.task, path.display())?;
                    }
                    let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    told.push(json!({ "task": task.task, "file": path, "bytes": bytes }));
                }
                Err(Failure::OutputClosed) => return Err(Failure::OutputClosed),
                Err(failure @ Failure::Told { .. }) => {
                    failures.fetch_add(1, Ordering::Relaxed);
                    let Failure::Told { what, .. } = &failure else { continue };
                    if !arguments.json {
                        writeln!(
                            output,
                            "{}  failed  {}: {}",
                            task.task,
                            one_line(&task.name),
                            one_line(what)
                        )?;
                    }
                    let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    told.push(json!({ "task": task.task, "error": what }));
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE.min(files.len())).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    if arguments.json {
        let told = told.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let text = serde_json::to_string_pretty(&told).map_err(std::io::Error::from)?;
        writeln!(std::io::stdout(), "{text}")?;
    }
    Ok(if failures.into_inner() == 0 { ExitCode::SUCCESS } else { Exit::Failed.into() })
}

/// A handle of a task that has ended, or that is waited for.
fn ready(client: &Client, task: &TaskSummary, wait: bool) -> Result<Task, Failure> {
    if !task.state.is_final() && !wait {
        return Err(Failure::new(
            Exit::Failed,
            format!("{} is {}: there is no result yet", task.task, task.state),
        )
        .hint("wait with `wavetask get --wait`, or see how it goes with `wavetask watch`"));
    }
    Ok(client.open_task(&task.task)?)
}

/// Writes what is wanted to the path, whole or not at all; returns the file's length.
fn write(task: &Task, part: &Part, format: Format, path: &Path) -> Result<u64, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
    };
    if part.monitor.is_none() && format == Format::Hdf5 {
        task.save(path, None)?;
        return Ok(std::fs::metadata(path).map_err(cannot)?.len());
    }
    let result = task.result(None)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".wavetask-").tempfile_in(folder).map_err(cannot)?;
    match format {
        Format::Csv => file.write_all(as_csv(&result, part)?.as_bytes()).map_err(cannot)?,
        Format::Hdf5 => {
            let (document, blocks) = fetch(&result, &base(&result, part)?)?;
            let mut buffered = BufWriter::new(file.as_file_mut());
            hdf5::write(&document, &blocks, &mut buffered).map_err(|error| of_document(&error))?;
            buffered.flush().map_err(cannot)?;
        }
    }
    let length = file.as_file().metadata().map_err(cannot)?.len();
    // Not readable by others than the user until here; from here on as other new files are.
    use std::os::unix::fs::PermissionsExt;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(cannot)?;
    file.persist(path).map_err(|error| cannot(error.error))?;
    Ok(length)
}

fn as_csv(result: &ResultDocument, part: &Part) -> Result<String, Failure> {
    if part.field.is_none() {
        return Err(Failure::new(Exit::Failed, "a CSV file holds one field")
            .hint("name it: wavetask get ID:monitor:field -o FILE.csv"));
    }
    let (document, blocks) = fetch(result, &base(result, part)?)?;
    csv::write(&document, &blocks).map_err(|refused| {
        Failure::new(Exit::Failed, refused.to_string()).hint("get it as .hdf5, which holds everything")
    })
}

/// Where in the result the part is; an error that names what there is if it is not there.
fn base(result: &ResultDocument, part: &Part) -> Result<String, Failure> {
    let Some(monitor) = &part.monitor else { return Ok(String::new()) };
    let document = result.document();
    let data = document.fragment("data").map_err(|error| of_document(&error))?.unwrap_or("[]");
    let names: Vec<Option<String>> = serde_json::from_str::<Vec<MonitorData>>(data)
        .unwrap_or_default()
        .into_iter()
        .map(|one| one.monitor.map(|monitor| monitor.name))
        .collect();
    let Some(index) = names.iter().position(|name| name.as_deref() == Some(monitor)) else {
        let names: Vec<String> = names.into_iter().flatten().collect();
        return Err(missing("monitor", monitor, &names));
    };
    let base = format!("data/{index}");
    let Some(field) = &part.field else { return Ok(base) };
    let prefix = format!("{base}/");
    let mut fields: Vec<String> = document
        .arrays
        .keys()
        .filter_map(|path| path.strip_prefix(&prefix)?.split('/').next())
        .map(str::to_owned)
        .collect();
    fields.dedup();
    let below = format!("{base}/{field}");
    let is_there = document.fragment(&below).is_ok_and(|fragment| fragment.is_some())
        && document.arrays.keys().any(|path| path.starts_with(&format!("{below}/")));
    if is_there { Ok(below) } else { Err(missing("field", field, &fields)) }
}

/// The head of a monitor's data in a result.
#[derive(serde::Deserialize)]
struct MonitorData {
    monitor: Option<Monitor>,
}

#[derive(serde::Deserialize)]
struct Monitor {
    name: String,
}

fn missing(what: &str, name: &str, known: &[String]) -> Failure {
    let known: Vec<String> = known.iter().map(|name| one_line(name)).collect();
    let hint =
        if known.is_empty() { format!("it has no {what}s") } else { format!("it has: {}", known.join(", ")) };
    Failure::new(Exit::NotFound, format!("the result has no {what} `{}`", one_line(name))).hint(hint)
}

/// The part of a result below a path as a document of its own, with its arrays in memory.
fn fetch(result: &ResultDocument, base: &str) -> Result<(Document, MemoryBlocks), Failure> {
    let mut document = result
        .document()
        .subdocument(base)
        .map_err(|error| of_document(&error))?
        .ok_or_else(|| Failure::new(Exit::Failed, format!("the result has nothing at `{base}`")))?;
    result.fetch(&[base])?;
    let mut blocks = MemoryBlocks::new();
    for (path, descriptor) in &mut document.arrays {
        let array = result.array(&format!("{base}/{path}"))?;
        // In one line, however the server has cut it.
        let mut writer = ArrayWriter::new(array.element_type, array.shape, BLOCK_BYTES, &mut blocks);
        writer.write(&array.bytes)?;
        let stored = writer.finish()?;
        if stored.digest != descriptor.digest {
            let error = ClientError::new(
                ErrorGroup::DataCorrupted,
                "result.corrupted",
                format!("the array at {base}/{path} is not what its digest says"),
            );
            return Err(error.into());
        }
        *descriptor = stored;
    }
    Ok((document, blocks))
}

fn of_document(error: &DocumentError) -> Failure {
    Failure::new(Exit::Failed, chain(error)).hint(error.hint())
}

fn format_of(path: &Path) -> Result<Format, Failure> {
    match path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).as_deref() {
        Some("hdf5" | "h5") => Ok(Format::Hdf5),
        Some("csv") => Ok(Format::Csv),
        _ => Err(Failure::new(Exit::Failed, format!("{}: not a format that can be written", path.display()))
            .hint("end the file's name with .hdf5 or .csv")),
    }
}

/// A name that is one file's name on every system.
fn file_name(text: &str) -> String {
    let safe: String = text
        .chars()
        .map(|c| if c.is_control() || r#"/\:*?"<>|"#.contains(c) { '_' } else { c })
        .take(120)
        .collect();
    let safe = safe.trim_matches(|c| c == '.' || c == ' ').to_owned();
    if safe.is_empty() { "_".to_owned() } else { safe }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_read_from_one_word() {
        let part = |monitor: Option<&str>, field: Option<&str>| Part {
            monitor: monitor.map(str::to_owned),
            field: field.map(str::to_owned),
        };
        assert_eq!(split("task-1"), ("task-1", part(None, None)));
        assert_eq!(split("task-1:heat"), ("task-1", part(Some("heat"), None)));
        assert_eq!(split("a b:heat:temperature"), ("a b", part(Some("heat"), Some("temperature"))));
        assert_eq!(split("1:m:"), ("1", part(Some("m"), None)));
    }

    #[test]
    fn names_become_names_of_files() {
        assert_eq!(file_name("I=4mA"), "I=4mA");
        assert_eq!(file_name("a/b:c"), "a_b_c");
        assert_eq!(file_name(".."), "_");
        assert_eq!(file_name("µ \u{7}"), "µ _");
    }

    #[test]
    fn formats_follow_the_files_name() {
        assert_eq!(format_of(Path::new("a.HDF5")).unwrap(), Format::Hdf5);
        assert_eq!(format_of(Path::new("a.csv")).unwrap(), Format::Csv);
        assert!(format_of(Path::new("a.npz")).is_err());
    }
}
