//! What can be said about a part of a batch by looking at it: names, lengths, numbers of things.

use std::collections::HashSet;

use serde_json::Value;
use wavetask_core::TaskRecord;
use wavetask_protocol::native::{
    MAXIMUM_INLINE_DOCUMENT, MAXIMUM_INPUTS, MAXIMUM_MEMBERS, MemberDocument, NewMember, SubmitRequest,
};
use wavetask_protocol::{ErrorKind, TaskState};

use crate::answer::Refused;
use crate::native::{bad, too_many};
use crate::references::DEPENDENCIES;

/// Characters of the name of a batch, a task or a folder.
const NAME: usize = 200;

/// Characters of a member's key.
const KEY: usize = 200;

/// Characters of a submission's name.
const SUBMISSION: usize = 64;

/// Characters of an idempotency key.
const IDEMPOTENCY_KEY: usize = 128;

/// Tags of a batch, and characters of each.
const TAGS: usize = 32;
const TAG: usize = 100;

/// Parameters of a member, characters of a name, and bytes of a text.
const PARAMETERS: usize = 64;
const PARAMETER_NAME: usize = 100;
const PARAMETER_TEXT: usize = 1_000;

/// Tasks that one may wait for.
const AFTER: usize = DEPENDENCIES;

/// Blocks that a document's text may be cut into.
const DOCUMENT_BLOCKS: usize = 512;

/// Refuses a part as a whole.
pub(super) fn request(request: &SubmitRequest) -> Result<(), Refused> {
    if request.members.len() > MAXIMUM_MEMBERS {
        return Err(too_many("members", MAXIMUM_MEMBERS));
    }
    text("the batch's name", &request.batch, NAME)?;
    text("the submission's name", &request.submission, SUBMISSION)?;
    if request.tags.len() > TAGS {
        return Err(bad(format!("a batch has {TAGS} tags at most")));
    }
    request.tags.iter().try_for_each(|tag| text("a tag", tag, TAG))
}

/// Refuses a member for what it says about itself.
pub(super) fn member(member: &NewMember) -> Result<(), Refused> {
    text("a member's key", &member.key, KEY)?;
    text("a task's name", &member.name, NAME)?;
    text("a folder's name", &member.folder, NAME)?;
    text("an idempotency key", &member.idempotency_key, IDEMPOTENCY_KEY)?;
    if i64::try_from(member.position).is_err() {
        return Err(bad("a position is less than 2^63"));
    }
    if member.after.len() > AFTER {
        return Err(bad(format!("a task waits for {AFTER} others at most")));
    }
    if member.inputs.len() > MAXIMUM_INPUTS {
        return Err(bad(format!("a member has {MAXIMUM_INPUTS} inputs at most")));
    }
    if member.after.iter().collect::<HashSet<_>>().len() < member.after.len() {
        return Err(bad("`after` names a task twice"));
    }
    if member.parameters.len() > PARAMETERS {
        return Err(bad(format!("a member has {PARAMETERS} parameters at most")));
    }
    for (name, value) in &member.parameters {
        text("a parameter's name", name, PARAMETER_NAME)?;
        match value {
            Value::Number(_) | Value::Bool(_) => {}
            Value::String(value) if value.len() <= PARAMETER_TEXT => {}
            _ => {
                let message = format!(
                    "the parameter `{name}` is neither a number nor a truth value nor a text of at most \
                     {PARAMETER_TEXT} bytes"
                );
                return Err(bad(message));
            }
        }
    }
    match &member.document {
        MemberDocument::Inline(json) if json.get().len() > MAXIMUM_INLINE_DOCUMENT => {
            let message =
                format!("a document of more than {MAXIMUM_INLINE_DOCUMENT} bytes is sent as blocks");
            Err(bad(message))
        }
        MemberDocument::Blocks(blocks) if !(1..=DOCUMENT_BLOCKS).contains(&blocks.len()) => {
            Err(bad(format!("a document is sent in 1 to {DOCUMENT_BLOCKS} blocks")))
        }
        _ => Ok(()),
    }
}

fn text(what: &str, text: &str, longest: usize) -> Result<(), Refused> {
    if text.is_empty() || text.chars().count() > longest || text.chars().any(char::is_control) {
        return Err(bad(format!("{what} has 1 to {longest} characters, none of them control characters")));
    }
    Ok(())
}

/// What a task that was made before means for the member that it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// It is what the member wants, or its state is the answer.
    Stands,
    /// It waits for blocks: go on where it stands.
    Draft,
    /// It was held, and is wanted now: start it.
    Held,
    /// It ended for a reason that may have gone: run it again.
    Again,
    /// It was stopped before there was anything to run: it makes room for a new one.
    Replaced,
    /// What became of it is what a solver of another version made of it, failed at, or refused: it stays, and the key is
    /// that of a new one.
    Outdated,
}

/// Decides what a repetition does with the task that the first request made.
///
/// `solver_version` is what would solve it now. A result of another version is another result, and at what that version
/// failed this one may succeed, unless any outcome will do that this key has had (`cache` is not set: the key names one
/// run). What no solver has run may be asked for again.
pub(super) fn existing(record: &TaskRecord, hold: bool, cache: bool, solver_version: &str) -> Existing {
    let may_pass =
        |kind| matches!(kind, ErrorKind::Infrastructure | ErrorKind::Resources | ErrorKind::Dependency);
    let could_run = record.can_run();
    let other = record.solver_version.as_deref().map(|version| version != solver_version);
    let failed_as = |kind| record.error.as_ref().is_some_and(|error| error.kind == kind);
    match record.state {
        TaskState::Success | TaskState::Diverged if cache && other == Some(true) => Existing::Outdated,
        TaskState::Error if failed_as(ErrorKind::Validation) && other != Some(false) => Existing::Outdated,
        TaskState::Error if failed_as(ErrorKind::Solver) && cache && other == Some(true) => {
            Existing::Outdated
        }
        TaskState::Draft => Existing::Draft,
        TaskState::Validated if !hold => Existing::Held,
        TaskState::Aborted if could_run => Existing::Again,
        TaskState::Aborted => Existing::Replaced,
        TaskState::Error if record.error.as_ref().is_some_and(|error| may_pass(error.kind)) && could_run => {
            Existing::Again
        }
        _ => Existing::Stands,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetask_core::{NewTask, Timestamp};
    use wavetask_protocol::{Estimate, TaskError, TaskKind};

    fn record(state: TaskState, error: Option<ErrorKind>, checked: bool) -> TaskRecord {
        let id = "task-1".parse().unwrap();
        let task = NewTask {
            id,
            owner: "key-1".parse().unwrap(),
            folder: "folder-1".parse().unwrap(),
            name: "a".to_owned(),
            kind: TaskKind::Heat,
            dependencies: Vec::new(),
            callback: None,
            attributes: Default::default(),
        };
        let mut record = TaskRecord::create(task, Timestamp::default());
        record.state = state;
        record.error = error.map(|kind| TaskError { kind, code: "x".to_owned(), message: "x".to_owned() });
        record.estimate = checked.then(Estimate::default);
        record.input = checked.then(|| wavetask_document::Digest::of(b"x"));
        record
    }

    #[test]
    fn a_repetition_goes_on_where_that_can_help_and_nowhere_else() {
        use ErrorKind::{Dependency, Infrastructure, Resources, Solver, Validation};
        use TaskState::{Aborted, Aborting, Draft, Error, Queued, Running, Success, Validated};
        for (state, error, checked, hold, wanted) in [
            (Draft, None, false, false, Existing::Draft),
            (Validated, None, true, false, Existing::Held),
            (Validated, None, true, true, Existing::Stands),
            (Queued, None, true, false, Existing::Stands),
            (Running, None, true, false, Existing::Stands),
            (Success, None, true, false, Existing::Stands),
            (Aborting, None, true, false, Existing::Stands),
            (Aborted, None, true, false, Existing::Again),
            (Aborted, None, false, false, Existing::Replaced),
            (Error, Some(Infrastructure), true, false, Existing::Again),
            (Error, Some(Resources), true, false, Existing::Again),
            (Error, Some(Dependency), true, false, Existing::Again),
            (Error, Some(Solver), true, false, Existing::Stands),
            // Nobody knows which version refused it.
            (Error, Some(Validation), false, false, Existing::Outdated),
        ] {
            let found = existing(&record(state, error, checked), hold, true, "1");
            assert_eq!(found, wanted, "{state} {error:?} {checked} {hold}");
        }
    }

    #[test]
    fn what_another_version_found_or_refused_is_asked_for_anew() {
        use ErrorKind::{Infrastructure, Solver, Validation};
        use TaskState::{Diverged, Error, Success};
        for (state, error, cache, now, wanted) in [
            (Success, None, true, "1", Existing::Stands),
            (Success, None, true, "2", Existing::Outdated),
            (Success, None, false, "2", Existing::Stands),
            (Diverged, None, true, "2", Existing::Outdated),
            (Error, Some(Validation), true, "1", Existing::Stands),
            (Error, Some(Validation), true, "2", Existing::Outdated),
            (Error, Some(Validation), false, "2", Existing::Outdated),
            (Error, Some(Infrastructure), true, "2", Existing::Again),
            (Error, Some(Solver), true, "1", Existing::Stands),
            (Error, Some(Solver), true, "2", Existing::Outdated),
            (Error, Some(Solver), false, "2", Existing::Stands),
        ] {
            let mut record = record(state, error, true);
            record.solver_version = Some("1".to_owned());
            let found = existing(&record, false, cache, now);
            assert_eq!(found, wanted, "{state} {error:?} {cache} {now}");
        }
    }
}
