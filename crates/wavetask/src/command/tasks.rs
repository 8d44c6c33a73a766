//! `wavetask cancel` and `wavetask rm`.

use std::io::Write;
use std::process::ExitCode;

use crate::arguments::TasksArguments;
use crate::command::{connect, resolve};
use crate::failure::Failure;

pub(crate) async fn cancel(arguments: TasksArguments) -> Result<ExitCode, Failure> {
    let api = connect(arguments.data)?;
    // All ids are looked up first: a mistyped one stops the command before it has done half its work.
    for task in resolve::tasks(&api, &arguments.tasks).await? {
        let after = api.cancel(&task.task).await?;
        writeln!(std::io::stdout(), "{}  {}", after.task, after.state)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn remove(arguments: TasksArguments) -> Result<ExitCode, Failure> {
    let api = connect(arguments.data)?;
    for task in resolve::tasks(&api, &arguments.tasks).await? {
        api.delete(&task.task).await?;
        writeln!(std::io::stdout(), "{}  deleted", task.task)?;
    }
    Ok(ExitCode::SUCCESS)
}
