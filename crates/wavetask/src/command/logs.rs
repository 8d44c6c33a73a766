//! `wavetask logs`.

use std::io::Write;
use std::process::ExitCode;

use wavetask_protocol::native::LogQuery;

use crate::arguments::LogsArguments;
use crate::command::{connect, resolve};
use crate::failure::Failure;

pub(crate) async fn run(arguments: LogsArguments) -> Result<ExitCode, Failure> {
    let api = connect(arguments.data)?;
    let task = resolve::task(&api, &arguments.task).await?;
    let mut query = LogQuery { offset: 0, wait_milliseconds: 0 };
    let mut whole = String::new();
    loop {
        let part = api.log(&task.task, &query).await?;
        if arguments.json {
            whole.push_str(&part.text);
        } else {
            let mut output = std::io::stdout().lock();
            output.write_all(without_controls(&part.text).as_bytes())?;
            output.flush()?;
        }
        let came_further = part.next > query.offset;
        query.offset = part.next;
        let at_the_end = part.complete || (!arguments.follow && !came_further);
        if at_the_end {
            if arguments.json {
                let told = serde_json::json!({ "task": task.task, "text": whole, "complete": part.complete });
                writeln!(std::io::stdout(), "{told:#}")?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        if arguments.follow {
            query.wait_milliseconds = 10_000;
            if !came_further {
                // A server that does not hold its answers must not be asked in a tight loop.
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        }
    }
}

/// A log line may quote names from a simulation: no escape sequence in it reaches the terminal.
fn without_controls(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c }).collect()
}
