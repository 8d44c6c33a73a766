//! Tasks whose input is made of the results of other tasks.
//!
//! ```text
//!  member ─ check what can be checked ─► template, with its dependencies
//!                                           │  all of them have succeeded
//!                                           ▼
//!  template + results ─ resolve ─► document ─ known? ─► solved
//!                                           └─ validator ─► ready for a worker, or in error
//! ```
//!
//! There are two kinds of templates. An [evaluation](evaluation) is a recipe whose expressions name the results of
//! tasks; resolving it puts the digest of each result in the task's place. Every other template has
//! [slots](slots) that are filled with the arrays of an evaluation's output. Neither reads a byte of an array here: what
//! is resolved is descriptors and digests, so that it costs the same for a kilobyte and a gigabyte, and the same
//! recipe on the same results is the same document, whose result may be known.
//!
//! What cannot be said before the results are there: whether an array fits the place that it is put into, and what the
//! simulation will need. The validator is asked when it can be; a template that turns out not to be runnable fails then.

pub(crate) mod evaluation;
pub(crate) mod reading;
pub(crate) mod resolve;
pub(crate) mod slots;
pub(crate) mod twins;

use std::collections::HashMap;

use axum::http::StatusCode;
use wavetask_core::TaskRecord;
use wavetask_protocol::{ErrorKind, KeyId, TaskError, TaskId};

use crate::answer::Refused;
use crate::app::App;

/// Tasks that one may depend on in all.
pub(crate) const DEPENDENCIES: usize = 1_000;

/// The tasks that are referred to, all of which must be the account's.
///
/// # Errors
/// If one is not: whether it is another account's or nobody's is not told.
pub(crate) fn known_tasks<'t>(
    app: &App,
    owner: &KeyId,
    tasks: impl IntoIterator<Item = &'t TaskId>,
) -> Result<HashMap<TaskId, TaskRecord>, Refused> {
    let mut known = HashMap::new();
    for task in tasks {
        if known.contains_key(task) {
            continue;
        }
        if known.len() >= DEPENDENCIES {
            let message = format!("a task depends on {DEPENDENCIES} others at most");
            return Err(Refused::new(StatusCode::BAD_REQUEST, "task.too_many_inputs", message)
                .hint("reduce them in several steps"));
        }
        let record = app.tasks.task_of(owner, task)?.ok_or_else(|| {
            let message = format!("there is no task {task} that this one could refer to");
            Refused::new(StatusCode::CONFLICT, "task.input_not_found", message)
                .hint("references name tasks of this key that are not deleted")
        })?;
        known.insert(task.clone(), record);
    }
    Ok(known)
}

/// An input cannot be made of these results.
fn unfit(code: &str, message: String) -> TaskError {
    TaskError { kind: ErrorKind::Validation, code: code.to_owned(), message }
}
