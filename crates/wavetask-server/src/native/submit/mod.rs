//! Taking a part of a batch.
//!
//! ```text
//!  part ─ check ─► known already? ─► examine each, side by side ─► commit, some hundred at once ─► members ─► answer
//! ```
//!
//! What makes it safe to repeat at any time, from several places at once, and after a crash between any two steps:
//! a task is made in the same transaction that takes it as far as it goes (a draft that waits for blocks, queued,
//! solved, or in error), under its idempotency key; a second one that finds it there goes on from where it stands.
//! The batch is filled last: a part whose answer did not arrive is sent again, and finds all its tasks.

mod check;
mod commit;
mod examine;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use wavetask_core::{Command, TaskRecord};
use wavetask_protocol::native::{MemberAnswer, NewMember, SubmitAnswer, SubmitRequest};
use wavetask_protocol::{BatchId, FolderId, KeyId, TaskId, TaskKind, TaskState};
use wavetask_store::{BatchMember, Done, MemberUpdate, Operation};

use self::check::Existing;
use self::commit::{Commit, Open};
use self::examine::{Examiner, Verdict};
use super::gather::Gathered;
use super::many::CHANGED_AT_ONCE;
use super::summary::{records, summarize};
use crate::answer::Refused;
use crate::app::{App, now};
use crate::documents;
use crate::extract::{Caller, not_json};
use crate::quota::Room;

/// Members that have been examined are not kept from the store for longer.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// What has become of a member.
#[derive(Debug)]
enum Outcome {
    /// It cannot be taken.
    Refused(Refused),
    /// Its task.
    Task { task: TaskId, new: bool },
    /// Its task, a draft, waits for blocks.
    Missing { task: TaskId, blocks: Vec<wavetask_document::Digest> },
    /// The same as that of the member at this place, which has the same idempotency key.
    Same(usize),
}

/// Takes a part of a batch.
pub(super) async fn submit(
    app: &Arc<App>,
    caller: &Caller,
    gathered: Gathered,
) -> Result<SubmitAnswer, Refused> {
    let (request, _room) = parse(app, caller.id(), gathered).await?;
    check::request(&request)?;
    let SubmitRequest { batch, tags, submission, members, complete } = request;
    let places: Vec<Place> = members.iter().map(Place::of).collect();
    let owner = caller.clone();
    let (mut outcomes, open, mut commit) = app.blocking(move |app| plan(app, &owner, members)).await?;

    let examiner =
        Examiner { app: Arc::clone(app), owner: caller.id().clone(), session: Arc::clone(&commit.session) };
    let mut examined = futures::stream::iter(open)
        .map(|open| {
            let examiner = examiner.clone();
            async move {
                let Open { member, place } = open;
                let header = commit::Header::of(&member);
                (place, header, examiner.examine(member).await)
            }
        })
        .buffer_unordered(app.config.cores.max(1));
    let mut waiting: Vec<(commit::Place, commit::Header, Verdict)> = Vec::new();
    let mut since = Instant::now();
    loop {
        let next = examined.next().await;
        let ended = next.is_none();
        waiting.extend(next);
        if waiting.len() >= CHANGED_AT_ONCE || ended || since.elapsed() > COMMIT_EVERY {
            let part = std::mem::take(&mut waiting);
            if !part.is_empty() {
                let (back, done) = app.blocking(move |app| Ok(commit.write(app, part))).await?;
                commit = back;
                for (index, outcome) in done {
                    outcomes[index] = Some(outcome);
                }
            }
            since = Instant::now();
        }
        if ended {
            break;
        }
    }
    let owner = caller.id().clone();
    app.blocking(move |app| {
        // Held until here: what pins blocks must outlive the transactions that name them.
        let _session = commit;
        let outcomes = settled(outcomes);
        let update = MemberUpdate {
            owner: owner.clone(),
            batch: BatchId::from_uuid(uuid::Uuid::now_v7()),
            name: batch,
            tags,
            submission,
            members: entries(places, &outcomes),
            complete,
        };
        let batch = fill(app, update)?;
        answer(app, &owner, batch, outcomes)
    })
    .await
}

/// What a batch keeps of a member.
struct Place {
    key: String,
    position: u64,
    parameters: std::collections::BTreeMap<String, serde_json::Value>,
}

impl Place {
    fn of(member: &NewMember) -> Self {
        let NewMember { key, position, parameters, .. } = member;
        Self { key: key.clone(), position: *position, parameters: parameters.clone() }
    }
}

/// Reads the request, within the room that its account has for texts that are being worked at.
async fn parse(
    app: &Arc<App>,
    key: &KeyId,
    mut gathered: Gathered,
) -> Result<(SubmitRequest, crate::budget::Share), Refused> {
    let limit = app.config.limits.submission_bytes;
    let mut at_most = gathered.expected_length(limit).min(limit);
    loop {
        // The text, and the members that are made of it.
        let weight = usize::try_from(at_most >> 19).unwrap_or(usize::MAX);
        let room = app.submitting.share(key, weight).await?;
        let _work = app.budget.work(2 * at_most).await?;
        let (back, request) = app
            .blocking(move |_| {
                let request = match gathered.text(at_most)? {
                    Some(text) => Some(
                        serde_json::from_slice::<SubmitRequest>(&text).map_err(|error| not_json(&error))?,
                    ),
                    None => None,
                };
                Ok((gathered, request))
            })
            .await?;
        gathered = back;
        match request {
            Some(request) => return Ok((request, room)),
            None if at_most >= limit => return Err(Gathered::refuse(limit)),
            // It was compressed better than most.
            None => at_most = limit,
        }
    }
}

type Planned = (Vec<Option<Outcome>>, Vec<Open>, Commit);

/// Sorts the members: refused, there already, or to be examined. Blocks.
fn plan(app: &App, caller: &Caller, members: Vec<NewMember>) -> Result<Planned, Refused> {
    let owner = caller.id();
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(members.len());
    let mut keys: HashMap<String, usize> = HashMap::new();
    let mut names: HashMap<String, usize> = HashMap::new();
    for (index, member) in members.iter().enumerate() {
        let refused = check::member(member).err().or_else(|| {
            let before = names.insert(member.key.clone(), index);
            before.map(|_| super::bad(format!("two members have the key `{}`", member.key)))
        });
        outcomes.push(match refused {
            Some(refused) => Some(Outcome::Refused(refused)),
            None => match keys.get(&member.idempotency_key) {
                Some(first) => Some(Outcome::Same(*first)),
                None => {
                    keys.insert(member.idempotency_key.clone(), index);
                    None
                }
            },
        });
    }
    let idempotency: Vec<String> = keys.keys().cloned().collect();
    let mut known = app.tasks.tasks_by_idempotency(owner, &idempotency)?;
    let mut open = Vec::new();
    let mut again: Vec<Operation> = Vec::new();
    let mut versions: HashMap<TaskKind, String> = HashMap::new();
    for (index, member) in members.into_iter().enumerate() {
        if outcomes[index].is_some() {
            continue;
        }
        let draft = match known.remove(&member.idempotency_key) {
            None => None,
            Some(record) => {
                let task = record.id().clone();
                let version =
                    versions.entry(member.kind).or_insert_with(|| app.validator.solver_version(member.kind));
                let apply = |command| Operation::Apply { task: task.clone(), command, document: None };
                match check::existing(&record, member.hold, member.cache, version) {
                    Existing::Draft => Some(task),
                    Existing::Replaced => {
                        again.push(apply(Command::Delete));
                        None
                    }
                    Existing::Outdated => {
                        again.push(Operation::ReleaseKey { task });
                        None
                    }
                    decided => {
                        match decided {
                            Existing::Again => again.push(apply(Command::Retry)),
                            Existing::Held => again.push(apply(start(app, &record, member.priority)?)),
                            _ => {}
                        }
                        outcomes[index] = Some(Outcome::Task { task, new: false });
                        continue;
                    }
                }
            }
        };
        open.push(Open { member, place: commit::Place { index, draft } });
    }
    for part in again.chunks(CHANGED_AT_ONCE) {
        // One that is refused has changed meanwhile: how it stands then is the answer.
        for done in app.tasks.transact(part, now())?.into_iter().flatten() {
            if let Some(applied) = done.into_task() {
                app.carry_out(&applied.effects);
            }
        }
    }
    let folders = folders(app, owner, &open)?;
    let commit = Commit {
        owner: owner.clone(),
        folders,
        room: Room::of(app, &caller.key)?,
        session: Arc::new(Mutex::new(app.blocks.session())),
    };
    Ok((outcomes, open, commit))
}

/// What starts a task that has been checked.
fn start(app: &App, record: &TaskRecord, priority: i32) -> Result<Command, Refused> {
    Ok(if documents::is_done_at_once(app, record.task.kind, record.id())? {
        Command::SubmitSolved { result: None, solver_version: None }
    } else {
        Command::Submit { priority }
    })
}

/// The folders that new tasks go to, made if they are not there.
fn folders(app: &App, owner: &KeyId, open: &[Open]) -> Result<HashMap<String, FolderId>, Refused> {
    let mut folders: HashMap<String, FolderId> = HashMap::new();
    for Open { member, place } in open {
        if place.draft.is_none() && !folders.contains_key(&member.folder) {
            let id = match app.tasks.folder_by_name(owner, &member.folder)? {
                Some(folder) => folder.id,
                None => {
                    let id = FolderId::from_uuid(uuid::Uuid::now_v7());
                    app.tasks.create_folder(owner, &id, &member.folder, now())?.id
                }
            };
            folders.insert(member.folder.clone(), id);
        }
    }
    Ok(folders)
}

/// What has become of every member, each of which has been looked at by now.
fn settled(outcomes: Vec<Option<Outcome>>) -> Vec<Outcome> {
    let lost = || Outcome::Refused(Refused::busy());
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect()
}

/// The members that have a task.
fn entries(places: Vec<Place>, outcomes: &[Outcome]) -> Vec<BatchMember> {
    let task = |outcome: &Outcome| match outcome {
        Outcome::Task { task, .. } | Outcome::Missing { task, .. } => Some(task.clone()),
        Outcome::Refused(_) | Outcome::Same(_) => None,
    };
    let entry = |(place, outcome): (Place, &Outcome)| {
        let outcome = if let Outcome::Same(first) = outcome { &outcomes[*first] } else { outcome };
        let Place { key, position, parameters } = place;
        Some(BatchMember { key, position, task: task(outcome)?, parameters })
    };
    places.into_iter().zip(outcomes).filter_map(entry).collect()
}

/// Puts the members into the batch.
fn fill(app: &App, update: MemberUpdate) -> Result<BatchId, Refused> {
    let outcome = app.tasks.transact(&[Operation::SetMembers(update)], now())?.pop();
    match outcome {
        Some(Ok(Done::Members { batch, .. })) => Ok(batch),
        Some(Err(error)) => Err(error.into()),
        _ => Err(Refused::busy()),
    }
}

/// Tells of each member how its task stands now: one query for all of them.
fn answer(app: &App, owner: &KeyId, batch: BatchId, outcomes: Vec<Outcome>) -> Result<SubmitAnswer, Refused> {
    // The newest number first: what happens while the answer is made is told by an event after it.
    let last_event = app.tasks.latest_sequence()?;
    let tasks: Vec<TaskId> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Task { task, .. } | Outcome::Missing { task, .. } => Some(task.clone()),
            Outcome::Refused(_) | Outcome::Same(_) => None,
        })
        .collect();
    let records = records(app, owner, &tasks)?;
    let mut members: Vec<MemberAnswer> = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        let of_task = |task: &TaskId, new: bool| {
            let Some(record) = records.get(task) else { return Ok(refused(&gone())) };
            Ok::<_, Refused>(MemberAnswer::Accepted { task: summarize(app, record)?, new })
        };
        let member = match outcome {
            Outcome::Refused(error) => refused(&error),
            Outcome::Task { task, new } => of_task(&task, new)?,
            Outcome::Missing { task, blocks } => match records.get(&task).map(|record| record.state) {
                Some(TaskState::Draft) => MemberAnswer::Missing { task, blocks },
                // Somebody else had them, and was faster.
                _ => of_task(&task, false)?,
            },
            Outcome::Same(first) => match members[first].clone() {
                MemberAnswer::Accepted { task, .. } => MemberAnswer::Accepted { task, new: false },
                same => same,
            },
        };
        members.push(member);
    }
    Ok(SubmitAnswer { batch, members, last_event })
}

fn refused(error: &Refused) -> MemberAnswer {
    MemberAnswer::Refused { error: error.error(), again_later: error.is_temporary() }
}

/// It was deleted while it was submitted.
fn gone() -> Refused {
    Refused::new(
        axum::http::StatusCode::SERVICE_UNAVAILABLE,
        "task.deleted",
        "the task was deleted while it was being submitted",
    )
    .hint("submit it again, if it is still wanted")
}
