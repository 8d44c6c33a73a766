//! What is known of one task of ours, and what to do next about it: a pure decision, so that a process that was
//! killed between any two steps is gone on with by the next one.

use wavetask_document::Digest;
use wavetask_protocol::{TaskError, TaskId, TaskKind, TaskState};

/// One of the server's tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Remote {
    /// The server's id, once it has been told.
    pub(super) id: Option<String>,
    /// Whether its simulation was uploaded.
    pub(super) sent: bool,
    /// Whether its simulation was found good.
    pub(super) checked: bool,
    /// Whether it was started.
    pub(super) started: bool,
    /// Whether it succeeded.
    pub(super) ended: bool,
}

/// Which of the server's tasks: heat may take two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The mesh.
    Mesh,
    /// The solution.
    Solve,
}

/// One task of ours.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct TaskRow {
    /// Its id, made of its idempotency key: it is there before the server has been asked for anything.
    pub(super) id: TaskId,
    /// The member's idempotency key.
    pub(super) key: String,
    /// 1, and one more each time it is run again: then the server gets new tasks.
    pub(super) attempt: u32,
    /// Name for people.
    pub(super) name: String,
    /// The folder's name.
    pub(super) folder: String,
    /// The folder's id at the server.
    pub(super) folder_id: Option<String>,
    /// What to compute.
    pub(super) kind: TaskKind,
    /// The mesh task, where heat takes two.
    pub(super) mesh: Option<Remote>,
    /// The task that solves.
    pub(super) solve: Remote,
    /// Whether to wait before it is started.
    pub(super) hold: bool,
    /// Whether the server may answer with a result that it knows.
    pub(super) cache: bool,
    /// Higher runs first.
    pub(super) priority: i32,
    /// Tasks that must succeed before it starts.
    pub(super) after: Vec<TaskId>,
    /// Where it stands.
    pub(super) state: TaskState,
    /// Why it failed.
    pub(super) error: Option<TaskError>,
    /// Milliseconds since 1970.
    pub(super) created: i64,
    /// When it was seen to run first.
    pub(super) run: Option<i64>,
    /// When it was seen to have ended.
    pub(super) ended: Option<i64>,
    /// Whether it was the server that said so, or an end that we made there.
    pub(super) ended_there: bool,
    /// The task of an earlier attempt that the simulation can be had from.
    pub(super) earlier: Option<String>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Create the server's task.
    Create(Part),
    /// Upload its simulation.
    Send(Part),
    /// Have it checked.
    Check(Part),
    /// Wait until somebody starts it.
    Hold,
    /// Start it, once the tasks before it have succeeded.
    Start(Part),
    /// Wait for its end.
    Await(Part),
    /// Nothing: it has ended.
    Done,
}

impl TaskRow {
    /// What to do next.
    pub(super) fn next_step(&self) -> Step {
        if self.state.is_final() {
            return Step::Done;
        }
        for part in [Part::Mesh, Part::Solve] {
            let Some(remote) = self.remote(part) else { continue };
            let gate = part == Part::Mesh || self.mesh.is_none();
            return match remote {
                Remote { id: None, .. } => Step::Create(part),
                Remote { sent: false, .. } => Step::Send(part),
                Remote { checked: false, .. } => Step::Check(part),
                Remote { started: false, .. } if gate && self.hold => Step::Hold,
                Remote { started: false, .. } => Step::Start(part),
                Remote { ended: false, .. } => Step::Await(part),
                _ => continue,
            };
        }
        Step::Done
    }

    /// The server's task of a part.
    pub(super) const fn remote(&self, part: Part) -> Option<&Remote> {
        match part {
            Part::Mesh => self.mesh.as_ref(),
            Part::Solve => Some(&self.solve),
        }
    }

    /// The same, to change it. There is always one of the part that [`next_step`](Self::next_step) named.
    pub(super) fn remote_mut(&mut self, part: Part) -> &mut Remote {
        match part {
            Part::Mesh => self.mesh.get_or_insert_default(),
            Part::Solve => &mut self.solve,
        }
    }

    /// Whether the simulation is still needed here.
    pub(super) fn needs_content(&self) -> bool {
        !self.state.is_final() && !self.solve.sent
    }

    /// The words at the end of the name of a task of this attempt: by them it is found again when the answer to its
    /// creation was lost. 48 bits of the digest of what it is for.
    pub(super) fn token(&self, part: Part) -> String {
        let part = match part {
            Part::Mesh => "mesh",
            Part::Solve => "solve",
        };
        let digest = Digest::of(format!("{} {} {part}", self.id, self.attempt).as_bytes()).to_string();
        format!("[wt:{}]", &digest[..12])
    }

    /// The name of the server's task: at most 200 characters, the token last.
    pub(super) fn remote_name(&self, part: Part) -> String {
        let name: String = self.name.chars().take(170).collect();
        let suffix = if part == Part::Mesh { "_mesh" } else { "" };
        format!("{name}{suffix} {}", self.token(part))
    }

    /// Opens a task again that has ended: with new tasks of the server's if it was there that it ended, else where
    /// it stopped. It runs at once, even if it was to be held: whoever asks for it again wants it now.
    pub(super) fn again(&mut self) {
        if self.ended_there {
            if self.solve.sent {
                self.earlier = self.solve.id.take();
            }
            if self.state == TaskState::Deleted {
                self.earlier = None;
            }
            self.attempt += 1;
            self.solve = Remote::default();
            self.mesh = self.mesh.as_ref().map(|_| Remote::default());
            self.ended_there = false;
        }
        self.state = TaskState::Draft;
        self.hold = false;
        self.error = None;
        self.run = None;
        self.ended = None;
    }
}

/// The id of the task of this idempotency key at this server.
pub(super) fn task_id(account: &str, key: &str) -> TaskId {
    let digest = Digest::of(format!("{account}\n{key}").as_bytes());
    let bits: [u8; 16] = std::array::from_fn(|at| digest.as_bytes()[at]);
    TaskId::from_uuid(uuid::Uuid::from_bytes(bits))
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(two: bool) -> TaskRow {
        TaskRow {
            id: task_id("a", "k"),
            key: "k".to_owned(),
            attempt: 1,
            name: "I=4mA".to_owned(),
            folder: "default".to_owned(),
            folder_id: None,
            kind: TaskKind::HeatCharge,
            mesh: two.then(Remote::default),
            solve: Remote::default(),
            hold: false,
            cache: true,
            priority: 0,
            after: Vec::new(),
            state: TaskState::Draft,
            error: None,
            created: 0,
            run: None,
            ended: None,
            ended_there: false,
            earlier: None,
        }
    }

    /// Does what the step says, and tells what it was.
    fn advance(row: &mut TaskRow) -> Step {
        let step = row.next_step();
        match step {
            Step::Create(part) => row.remote_mut(part).id = Some("x".to_owned()),
            Step::Send(part) => row.remote_mut(part).sent = true,
            Step::Check(part) => row.remote_mut(part).checked = true,
            Step::Hold => row.hold = false,
            Step::Start(part) => row.remote_mut(part).started = true,
            Step::Await(part) => row.remote_mut(part).ended = true,
            Step::Done => {}
        }
        step
    }

    #[test]
    fn one_task_goes_straight_and_a_held_one_waits_once() {
        use Part::Solve;
        let mut row = row(false);
        row.hold = true;
        let expected = [
            Step::Create(Solve),
            Step::Send(Solve),
            Step::Check(Solve),
            Step::Hold,
            Step::Start(Solve),
            Step::Await(Solve),
            Step::Done,
        ];
        for step in expected {
            assert_eq!(advance(&mut row), step);
        }
    }

    #[test]
    fn the_solve_task_is_created_after_the_mesh_has_succeeded() {
        let mut row = row(true);
        row.hold = true;
        let mut steps = Vec::new();
        while row.next_step() != Step::Done {
            steps.push(advance(&mut row));
        }
        let created = steps.iter().position(|step| *step == Step::Create(Part::Solve)).unwrap();
        assert_eq!(steps[created - 1], Step::Await(Part::Mesh));
        assert_eq!(steps.iter().filter(|step| **step == Step::Hold).count(), 1);
    }

    #[test]
    fn tokens_tell_attempts_and_parts_apart_and_long_names_keep_them() {
        let mut row = row(true);
        row.name = "n".repeat(1000);
        let first = (row.token(Part::Mesh), row.token(Part::Solve));
        assert_ne!(first.0, first.1);
        assert!(row.remote_name(Part::Mesh).ends_with(&first.0) && row.remote_name(Part::Mesh).len() <= 200);
        row.solve = Remote { id: Some("old".to_owned()), sent: true, ..Remote::default() };
        row.ended_there = true;
        row.again();
        assert_ne!(row.token(Part::Solve), first.1);
        assert_eq!(row.earlier.as_deref(), Some("old"));
        assert_eq!(row.next_step(), Step::Create(Part::Mesh));
    }

    #[test]
    fn what_was_held_runs_when_it_is_asked_for_again() {
        let mut row = row(false);
        row.hold = true;
        row.solve = Remote { id: Some("x".to_owned()), sent: true, checked: true, ..Remote::default() };
        assert_eq!(row.next_step(), Step::Hold);
        row.state = TaskState::Aborted;
        row.again();
        assert_eq!(row.next_step(), Step::Start(Part::Solve));
    }

    #[test]
    fn what_did_not_end_at_the_server_goes_on_there() {
        let mut row = row(false);
        row.solve =
            Remote { id: Some("x".to_owned()), sent: true, checked: true, started: true, ended: false };
        row.state = TaskState::Error;
        row.again();
        assert_eq!((row.next_step(), row.attempt), (Step::Await(Part::Solve), 1));
    }
}
