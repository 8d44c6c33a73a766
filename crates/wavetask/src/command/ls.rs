//! `wavetask ls`.

use std::io::Write;
use std::process::ExitCode;

use wavetask_protocol::native::{BatchQuery, BatchSummary, REFERENCES_TAG, TaskFilter, TaskSummary};

use crate::arguments::ListArguments;
use crate::command::connect;
use crate::failure::Failure;
use crate::terminal::{Terminal, now_milliseconds, one_line, shortened, span, table};

pub(crate) async fn run(arguments: ListArguments) -> Result<ExitCode, Failure> {
    let api = connect(arguments.data)?;
    let mut output = std::io::stdout().lock();
    let terminal = Terminal::standard_output();
    let now = now_milliseconds();
    let most = if arguments.all { None } else { Some(arguments.limit as usize) };
    // What only computes what others are made of is listed for those who ask for it.
    let unless = |asked_for: bool| (!asked_for).then(|| REFERENCES_TAG.to_owned());
    if arguments.batches {
        let asked_for = arguments.name.is_some() || arguments.tag.is_some();
        let query = BatchQuery {
            name: arguments.name,
            tag: arguments.tag,
            without_tag: unless(asked_for),
            ..BatchQuery::default()
        };
        let list = api.batches_up_to(&query, most).await?;
        if arguments.json {
            writeln!(output, "{}", serde_json::to_string_pretty(&list).map_err(std::io::Error::from)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let heads = ["BATCH", "TASKS", "STATES", "AGE", "TAGS"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows.extend(list.batches.iter().map(|batch| batch_row(batch, now)));
        table(&mut output, &rows)?;
        if list.more {
            writeln!(output, "… and more: use --all, --limit, --tag or --name")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let asked_for = arguments.tag.is_some() || arguments.batch.is_some();
    let filter = TaskFilter {
        state: arguments.state,
        folder: arguments.folder,
        name: arguments.name,
        tag: arguments.tag,
        without_tag: unless(asked_for),
        batch: arguments.batch,
        conditions: arguments.conditions,
        ..TaskFilter::default()
    };
    let list = api.tasks_up_to(&filter, most).await?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&list).map_err(std::io::Error::from)?;
        writeln!(output, "{text}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let heads = ["ID", "STATE", "DONE", "KIND", "AGE", "FOLDER", "NAME"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(list.tasks.iter().map(|task| row(terminal, task, now)));
    table(&mut output, &rows)?;
    if list.more {
        writeln!(
            output,
            "… and more: use --all, --limit, --state, --name, --tag, --batch, --where or --folder"
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(terminal: Terminal, task: &TaskSummary, now: i64) -> Vec<String> {
    let done = match &task.progress {
        Some(progress) => format!("{:.0} %", progress.percent.clamp(0.0, 100.0)),
        None => "-".to_owned(),
    };
    vec![
        task.task.to_string(),
        terminal.state(task.state, 0),
        done,
        task.kind.to_string(),
        span(now - task.created_milliseconds),
        shortened(&one_line(&task.folder_name), 20),
        shortened(&one_line(&task.name), 48),
    ]
}

fn batch_row(batch: &BatchSummary, now: i64) -> Vec<String> {
    let states: Vec<String> = batch
        .states
        .iter()
        .filter(|one| one.count > 0)
        .map(|one| format!("{} {}", one.count, one.state))
        .collect();
    vec![
        // The name is what other commands are given: it is not shortened.
        one_line(&batch.name),
        batch.members.to_string(),
        if states.is_empty() { "-".to_owned() } else { states.join(", ") },
        span(now - batch.created_milliseconds),
        batch.tags.iter().map(|tag| one_line(tag)).collect::<Vec<_>>().join(", "),
    ]
}
