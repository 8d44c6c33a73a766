//! The protocol's status words, put into our states.
//!
//! A closed list of what servers of this protocol are known to say. A word that is not on it counts as under way: a
//! task is never given up for a word that came with a newer server.

use wavetask_protocol::{ErrorKind, TaskState};

/// Where a task stands by its status word, with the kind of error where the word is one.
pub(super) fn standing(word: &str) -> (TaskState, Option<ErrorKind>) {
    let state = match word {
        "draft" => TaskState::Draft,
        "validating" | "validate" => TaskState::Validating,
        "validate_success" | "validate_warn" | "warning" => TaskState::Validated,
        "queued" | "queued_solver" | "preprocess" => TaskState::Queued,
        "postprocess" | "run_success" => TaskState::Publishing,
        "success" | "visualize" | "completed" | "processed" | "postprocess_success" => TaskState::Success,
        "diverge" | "diverged" => TaskState::Diverged,
        "aborting" => TaskState::Aborting,
        "aborted" => TaskState::Aborted,
        "deleted" => TaskState::Deleted,
        "validate_error" => return (TaskState::Error, Some(ErrorKind::Validation)),
        // The account may not run it: no credit is left, or it is larger than the account allows.
        "blocked" => return (TaskState::Error, Some(ErrorKind::Resources)),
        "postprocess_error" => return (TaskState::Error, Some(ErrorKind::Infrastructure)),
        "error" | "errored" | "preprocess_error" | "run_error" => {
            return (TaskState::Error, Some(ErrorKind::Solver));
        }
        // "running", "preprocess_success", and whatever a newer server says.
        _ => TaskState::Running,
    };
    (state, None)
}

/// The word for where a task of ours stands that the server has no word for, or not yet.
pub(super) const fn word(state: TaskState) -> &'static str {
    match state {
        TaskState::Queued | TaskState::Running | TaskState::Publishing => "running",
        TaskState::Success => "success",
        TaskState::Diverged => "diverged",
        TaskState::Aborting => "aborting",
        TaskState::Aborted => "aborted",
        TaskState::Deleted => "deleted",
        TaskState::Error => "error",
        _ => "draft",
    }
}

/// What became of a task's validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// It goes on.
    Pending,
    /// The task may be started.
    Good,
    /// The simulation cannot be run.
    Bad,
}

/// Reads the word of `metadataStatus`, and the task's own beside it: a task that is past its validation has passed.
pub(super) fn check(metadata: Option<&str>, status: Option<&str>) -> Check {
    match status.map(standing) {
        Some((TaskState::Error, Some(ErrorKind::Validation))) => return Check::Bad,
        Some((
            TaskState::Queued
            | TaskState::Running
            | TaskState::Publishing
            | TaskState::Success
            | TaskState::Diverged,
            _,
        )) if status != Some("preprocess") => return Check::Good,
        _ => {}
    }
    match metadata {
        Some(
            "validate_success"
            | "validate_warn"
            | "warning"
            | "processed"
            | "success"
            | "completed"
            | "visualize"
            | "postprocess_success"
            | "running"
            | "preprocess_success"
            | "postprocess"
            | "run_success",
        ) => Check::Good,
        Some(
            "validate_error" | "error" | "errored" | "blocked" | "preprocess_error" | "run_error" | "aborted"
            | "deleted" | "postprocess_error",
        ) => Check::Bad,
        _ => Check::Pending,
    }
}

/// The file that a task's simulation is uploaded as; `None` for kinds that go other ways (component modellers).
pub(super) const fn upload_file(kind: wavetask_protocol::TaskKind) -> Option<&'static str> {
    use wavetask_protocol::TaskKind as Kind;
    match kind {
        Kind::Fdtd | Kind::Heat | Kind::HeatCharge | Kind::VolumeMesh | Kind::Mode | Kind::Eme => {
            Some("simulation.hdf5.gz")
        }
        Kind::ModeSolver => Some("mode_solver.hdf5.gz"),
        _ => None,
    }
}

/// The file that a task's result is downloaded as, without its gzip layer's ending.
pub(super) const fn result_file(kind: wavetask_protocol::TaskKind) -> &'static str {
    match kind {
        wavetask_protocol::TaskKind::ModeSolver => "output/mode_solver_data.hdf5",
        _ => "output/simulation_data.hdf5",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_words_end_and_others_do_not() {
        let ends = [
            "success",
            "visualize",
            "completed",
            "processed",
            "postprocess_success",
            "diverge",
            "diverged",
            "validate_error",
            "error",
            "errored",
            "blocked",
            "preprocess_error",
            "run_error",
            "aborted",
            "deleted",
            "postprocess_error",
        ];
        for word in ends {
            assert!(standing(word).0.is_final(), "{word}");
        }
        for word in [
            "draft",
            "validating",
            "validate",
            "validate_success",
            "validate_warn",
            "warning",
            "queued",
            "queued_solver",
            "preprocess",
            "running",
            "preprocess_success",
            "postprocess",
            "run_success",
            "aborting",
            "a word of next year",
        ] {
            assert!(!standing(word).0.is_final(), "{word}");
        }
    }

    #[test]
    fn our_own_words_stand_for_what_they_say() {
        for state in [
            TaskState::Draft,
            TaskState::Running,
            TaskState::Success,
            TaskState::Diverged,
            TaskState::Aborting,
            TaskState::Aborted,
            TaskState::Deleted,
            TaskState::Error,
        ] {
            assert_eq!(standing(word(state)).0, state);
        }
    }

    #[test]
    fn a_check_ends_by_either_word() {
        assert_eq!(check(None, Some("draft")), Check::Pending);
        assert_eq!(check(Some("validating"), Some("draft")), Check::Pending);
        assert_eq!(check(Some("processed"), Some("draft")), Check::Good);
        assert_eq!(check(Some("validate_error"), Some("error")), Check::Bad);
        assert_eq!(check(None, Some("validate_error")), Check::Bad);
        assert_eq!(check(Some("validating"), Some("running")), Check::Good);
    }
}
