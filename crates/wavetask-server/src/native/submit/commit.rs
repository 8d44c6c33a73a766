//! Writing down what was found of some members, all in one transaction.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::PoisonError;

use axum::http::StatusCode;
use wavetask_core::{Command, NewTask, Refusal};
use wavetask_protocol::native::NewMember;
use wavetask_protocol::{FolderId, KeyId, TaskId, TaskKind, TaskState};
use wavetask_store::{
    Applied, ApplyError, Conflict, Done, Operation, StoreError, StoredDocument, TaskRequest,
};

use super::Outcome;
use super::examine::{Session, Verdict};
use crate::answer::Refused;
use crate::app::{App, now};
use crate::quota::Room;

/// A member that is to be examined.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) member: NewMember,
    pub(super) place: Place,
}

/// Which member of the request, and the draft that an earlier request made of it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) draft: Option<TaskId>,
}

/// What is needed of a member besides its document.
#[derive(Clone, Debug)]
pub(super) struct Header {
    kind: TaskKind,
    name: String,
    folder: String,
    /// Tasks that it waits for, whatever its document says.
    after: Vec<TaskId>,
    hold: bool,
    priority: i32,
    idempotency_key: String,
}

impl Header {
    pub(super) fn of(member: &NewMember) -> Self {
        Self {
            kind: member.kind,
            name: member.name.clone(),
            folder: member.folder.clone(),
            after: member.after.iter().chain(member.inputs.iter().map(|slot| &slot.task)).cloned().collect(),
            hold: member.hold,
            priority: member.priority,
            idempotency_key: member.idempotency_key.clone(),
        }
    }
}

/// Who writes, and what that takes.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) owner: KeyId,
    pub(super) folders: HashMap<String, FolderId>,
    pub(super) room: Room,
    pub(super) session: Session,
}

/// One member on its way into the store.
struct Entry {
    index: usize,
    task: TaskId,
    /// Whether the task is there already, as a draft.
    is_draft: bool,
    header: Header,
    verdict: Verdict,
    /// Its operations.
    operations: Range<usize>,
}

impl Commit {
    /// Writes down what was found. Blocks.
    pub(super) fn write(
        mut self,
        app: &App,
        mut examined: Vec<(Place, Header, Verdict)>,
    ) -> (Self, Vec<(usize, Outcome)>) {
        // Tasks get their ids, and wait for workers, in the order of the members, whichever was examined first.
        examined.sort_by_key(|(place, ..)| place.index);
        let mut done = Vec::with_capacity(examined.len());
        let mut entries = Vec::with_capacity(examined.len());
        for (Place { index, draft }, header, verdict) in examined {
            match self.admit(draft.is_some(), verdict) {
                Err(refused) => done.push((index, Outcome::Refused(refused))),
                Ok(verdict) => {
                    let is_draft = draft.is_some();
                    let task = draft.unwrap_or_else(|| TaskId::from_uuid(uuid::Uuid::now_v7()));
                    entries.push(Entry { index, task, is_draft, header, verdict, operations: 0..0 });
                }
            }
        }
        // A second round takes those further whose task somebody else made in between.
        for _ in 0..2 {
            if entries.is_empty() {
                break;
            }
            entries = self.round(app, entries, &mut done);
        }
        done.extend(entries.into_iter().map(|entry| (entry.index, Outcome::Refused(Refused::busy()))));
        (self, done)
    }

    /// Whether a member may be taken at all.
    fn admit(&mut self, is_draft: bool, verdict: Verdict) -> Result<Verdict, Refused> {
        if let Verdict::Refused(refused) = verdict {
            return Err(refused);
        }
        let mut room = self.room;
        if !is_draft {
            room.take_task()?;
        }
        room.take_bytes(verdict.bytes())?;
        self.room = room;
        Ok(verdict)
    }

    /// One transaction. Answers with the entries that have to be tried again.
    fn round(&self, app: &App, mut entries: Vec<Entry>, done: &mut Vec<(usize, Outcome)>) -> Vec<Entry> {
        let mut operations = Vec::with_capacity(4 * entries.len());
        for entry in &mut entries {
            let start = operations.len();
            self.operations(app, entry, &mut operations);
            entry.operations = start..operations.len();
        }
        let durable = self.session.lock().unwrap_or_else(PoisonError::into_inner).make_durable();
        let outcomes = durable.and_then(|()| app.tasks.transact(&operations, now()));
        let outcomes = match outcomes {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // Nothing has happened; the same is told to all.
                let refused = Refused::from(error);
                done.extend(entries.iter().map(|entry| (entry.index, Outcome::Refused(refused.clone()))));
                return Vec::new();
            }
        };
        let mut outcomes: Vec<Option<Result<Done, ApplyError>>> = outcomes.into_iter().map(Some).collect();
        let mut again = Vec::new();
        for entry in entries {
            let of_entry: Vec<Result<Applied, ApplyError>> = outcomes[entry.operations.clone()]
                .iter_mut()
                .filter_map(Option::take)
                .map(|outcome| {
                    let applied = outcome?.into_task().ok_or(ApplyError::NoSuchTask)?;
                    app.carry_out(&applied.effects);
                    Ok(applied)
                })
                .collect();
            let index = entry.index;
            match conclude(app, entry, of_entry) {
                Concluded::Done(outcome) => done.push((index, outcome)),
                Concluded::Again(entry) => again.push(*entry),
            }
        }
        again
    }

    /// What takes a member from where it is to where it goes.
    fn operations(&self, app: &App, entry: &Entry, operations: &mut Vec<Operation>) {
        let Entry { task, header, .. } = entry;
        if !entry.is_draft {
            let folder = self.folders.get(&header.folder).cloned();
            operations.push(Operation::Create(TaskRequest {
                task: NewTask {
                    id: task.clone(),
                    owner: self.owner.clone(),
                    folder: folder.unwrap_or_else(|| FolderId::from_uuid(uuid::Uuid::nil())),
                    name: header.name.clone(),
                    kind: header.kind,
                    dependencies: dependencies(entry),
                    callback: None,
                    attributes: BTreeMap::new(),
                },
                idempotency_key: Some(header.idempotency_key.clone()),
            }));
        }
        let mut apply = |command: Command, document: Option<&StoredDocument>| {
            operations.push(Operation::Apply { task: task.clone(), command, document: document.cloned() });
        };
        match &entry.verdict {
            Verdict::Refused(_) | Verdict::Missing { .. } => {}
            Verdict::Rejected(error) => {
                apply(Command::StartValidation, None);
                let solver_version = Some(app.validator.solver_version(header.kind));
                apply(Command::RefuseUpload { error: error.clone(), solver_version }, None);
            }
            Verdict::Template { template, references, document } => {
                apply(Command::StartValidation, None);
                let (template, references) = (template.clone(), references.clone());
                apply(Command::AcceptTemplate { template, references }, Some(document));
                if !header.hold {
                    apply(Command::Submit { priority: header.priority }, None);
                }
            }
            Verdict::Accepted { estimate, document, done_at_once } => {
                apply(Command::StartValidation, None);
                let accept = Command::AcceptUpload { estimate: *estimate, input: document.digest };
                apply(accept, Some(document));
                if header.hold {
                    return;
                }
                if *done_at_once {
                    apply(Command::SubmitSolved { result: None, solver_version: None }, None);
                } else {
                    apply(Command::Submit { priority: header.priority }, None);
                }
            }
            Verdict::Solved { estimate, input, result, solver_version, .. } => {
                apply(Command::StartValidation, None);
                // Without a document of its own it shares that of the task that was solved, and so the result.
                apply(Command::AcceptUpload { estimate: *estimate, input: *input }, None);
                let solver_version = Some(solver_version.clone());
                apply(Command::SubmitSolved { result: *result, solver_version }, None);
            }
        }
    }
}

/// The tasks that a member's depends on, each once.
fn dependencies(entry: &Entry) -> Vec<TaskId> {
    let referred = match &entry.verdict {
        Verdict::Template { references, .. } => references.as_slice(),
        _ => &[],
    };
    let mut seen = HashSet::new();
    let all = entry.header.after.iter().chain(referred);
    all.filter(|task| seen.insert(*task)).cloned().collect()
}

enum Concluded {
    Done(Outcome),
    Again(Box<Entry>),
}

/// What a member's operations came to.
fn conclude(app: &App, mut entry: Entry, outcomes: Vec<Result<Applied, ApplyError>>) -> Concluded {
    let mut new = false;
    let mut outcomes = outcomes.into_iter();
    if !entry.is_draft {
        match outcomes.next() {
            Some(Ok(created)) if *created.record.id() == entry.task => new = true,
            Some(Ok(earlier)) => {
                // Another request was faster. Where it left a draft, this one goes on.
                let waits = earlier.record.state == TaskState::Draft;
                entry.task = earlier.record.id().clone();
                entry.is_draft = true;
                if waits && !matches!(entry.verdict, Verdict::Missing { .. }) {
                    return Concluded::Again(Box::new(entry));
                }
            }
            Some(Err(error)) => return Concluded::Done(Outcome::Refused(not_created(error))),
            None => return Concluded::Done(Outcome::Refused(Refused::busy())),
        }
    }
    let task = entry.task;
    if let Verdict::Missing { blocks, .. } = entry.verdict {
        return Concluded::Done(Outcome::Missing { task, blocks });
    }
    let failed = outcomes.find_map(|outcome| match outcome {
        Err(error @ (ApplyError::Store(_) | ApplyError::Refused(Refusal::NotADependency { .. }))) => {
            Some(error)
        }
        // Its state has moved on without us: how it stands now is the answer.
        Ok(_) | Err(_) => None,
    });
    match failed {
        None => Concluded::Done(Outcome::Task { task, new }),
        Some(error) => {
            put_back(app, &task);
            let is_gone = matches!(error, ApplyError::Store(StoreError::NotFound(_)));
            let refused = if is_gone { Refused::busy() } else { error.into() };
            Concluded::Done(Outcome::Refused(refused))
        }
    }
}

/// A task whose document could not be attached (the task that it shares with was deleted just now) goes back to
/// where it can be sent again.
fn put_back(app: &App, task: &TaskId) {
    for command in [Command::InterruptValidation, Command::Submit { priority: 0 }] {
        if let Err(error) = app.apply(task, &command) {
            tracing::debug!(%task, %error, "a task that was submitted half-way has moved on");
        }
    }
}

/// Why a task could not be made.
fn not_created(error: ApplyError) -> Refused {
    match error {
        ApplyError::Store(StoreError::Conflict(conflict @ Conflict::Dependency { .. })) => {
            Refused::new(StatusCode::CONFLICT, "task.input_not_found", conflict.to_string())
                .hint("`after` names tasks of this key that are not deleted")
        }
        ApplyError::Store(StoreError::Conflict(conflict)) => {
            Refused::new(StatusCode::CONFLICT, "task.idempotency_key", conflict.to_string())
                .hint("the same idempotency key means the same task: make another for another one")
        }
        error => error.into(),
    }
}
