//! One module per command.

pub(crate) mod doctor;
pub(crate) mod env;
pub(crate) mod key;
pub(crate) mod logs;
pub(crate) mod ls;
mod resolve;
pub(crate) mod serve;
pub(crate) mod solve;
pub(crate) mod tasks;
pub(crate) mod watch;
pub(crate) mod worker;

use crate::api::Api;
use crate::arguments::DataArguments;
use crate::failure::Failure;
use crate::locate::{Absent, Surroundings, locate};

/// The server that these arguments and this environment name.
fn connect(data: DataArguments) -> Result<Api, Failure> {
    let surroundings = Surroundings::of_process(data.data);
    Api::new(locate(&surroundings, Absent::StartAgain)?)
}
