//! One module per command.

pub(crate) mod doctor;
pub(crate) mod env;
pub(crate) mod get;
pub(crate) mod key;
pub(crate) mod logs;
pub(crate) mod ls;
mod resolve;
pub(crate) mod serve;
pub(crate) mod solve;
pub(crate) mod submit;
pub(crate) mod tasks;
pub(crate) mod watch;
pub(crate) mod worker;

use wavetask_client::Client;

use crate::api::Api;
use crate::arguments::DataArguments;
use crate::failure::Failure;
use crate::locate::{Absent, Surroundings, locate};

/// The server that these arguments and this environment name.
fn connect(data: DataArguments) -> Result<Api, Failure> {
    let surroundings = Surroundings::of_process(data.data);
    Api::new(locate(&surroundings, Absent::StartAgain)?)
}

/// The engine on the server that these surroundings name; the server of a data folder is started if there is none.
fn engine(surroundings: &Surroundings) -> Result<Client, Failure> {
    let mut settings = surroundings.settings()?;
    settings.binary = std::env::current_exe().ok();
    Ok(Client::connect(settings)?)
}
