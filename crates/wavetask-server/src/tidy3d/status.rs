//! Our states in the client's words.
//!
//! Chosen for what the client does with them, not for their sound. It sleeps two seconds at the sight of
//! any state before `running`, so a task that was started *is* running to it, though it may still wait for
//! a worker. It takes the state of the task and that of its validation (`metadataStatus`) apart, and of
//! the latter's words for success older versions know `processed` only.

use wavetask_core::TaskRecord;
use wavetask_protocol::{ErrorKind, TaskState};

/// The word for where a task stands.
pub(crate) const fn status_word(state: TaskState) -> &'static str {
    match state {
        TaskState::Draft | TaskState::Validating | TaskState::Validated => "draft",
        TaskState::Queued | TaskState::Running | TaskState::Publishing => "running",
        TaskState::Success => "success",
        TaskState::Diverged => "diverged",
        TaskState::Aborting => "aborting",
        TaskState::Aborted => "aborted",
        TaskState::Deleted => "deleted",
        // `Error`, and what may be added one day.
        _ => "error",
    }
}

/// Whether the task will change without the client's doing: only then is there something to wait for.
pub(crate) const fn is_under_way(state: TaskState) -> bool {
    matches!(state, TaskState::Queued | TaskState::Running | TaskState::Publishing | TaskState::Aborting)
}

/// The word for where a task's validation stands.
pub(crate) fn metadata_word(record: &TaskRecord) -> &'static str {
    match record.state {
        TaskState::Draft => "draft",
        TaskState::Validating => "validating",
        TaskState::Error if is_validation_error(record) => "validate_error",
        TaskState::Aborted | TaskState::Deleted if record.input.is_none() => "aborted",
        _ => "processed",
    }
}

/// Whether the task failed because its simulation cannot be run as it is.
pub(crate) fn is_validation_error(record: &TaskRecord) -> bool {
    record.state == TaskState::Error
        && record.error.as_ref().is_some_and(|error| error.kind == ErrorKind::Validation)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end words of client versions 2.8 to 2.12: with any other the client polls on.
    const ENDS: [&str; 5] = ["success", "diverged", "error", "aborted", "deleted"];

    #[test]
    fn final_states_are_final_to_the_client_and_others_are_not() {
        for state in [
            TaskState::Draft,
            TaskState::Validating,
            TaskState::Validated,
            TaskState::Queued,
            TaskState::Running,
            TaskState::Publishing,
            TaskState::Success,
            TaskState::Diverged,
            TaskState::Error,
            TaskState::Aborting,
            TaskState::Aborted,
            TaskState::Deleted,
        ] {
            assert_eq!(ENDS.contains(&status_word(state)), state.is_final(), "{state}");
            assert!(!(state.is_final() && is_under_way(state)));
        }
    }
}
