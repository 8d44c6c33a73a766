//! Coming back to a batch by its name: what the server has is followed, and what the journal has and the server
//! lacks goes on.

mod elsewhere;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use wavetask_protocol::native::{Member, MemberList, MemberQuery};
use wavetask_protocol::{TaskId, TaskState};

use crate::batch::{Batch, BatchCell};
use crate::client::Client;
use crate::engine::{Engine, Nonce, SubmissionFacts, now_milliseconds};
use crate::error::{ClientError, ErrorGroup};
use crate::flow::{Attached, Input, MemberId, Push, SubmissionId};
use crate::journal::{FailureRecord, MemberRecord, Note, Standing, SubmissionRecord};
use crate::server::{Server, TaskAction};
use crate::status::Phase;
use crate::task::TaskCell;

use elsewhere::Elsewhere;

impl Client {
    /// A batch by its name.
    ///
    /// One that another process is submitting is followed: its members come here as they come to the server, and the
    /// batch is sealed once that process is through, or gone. Then what the journal has of it goes on here.
    ///
    /// # Errors
    /// `NotFound` if neither journal nor server knows it; those of the connection if only the server could know.
    pub fn open_batch(&self, name: &str) -> Result<Batch, ClientError> {
        let engine = self.engine();
        if let Some(batch) = engine.live_batch(name) {
            return Ok(Batch::from_cell(batch));
        }
        let mut opening = Opening {
            engine: engine.clone(),
            batch: BatchCell::new(name.to_owned(), engine.clone()),
            scope: self.settings().scope(),
            handles: HashMap::new(),
        };
        let standing = opening.standing()?;
        let journaled = opening.journaled()?;
        let listed = match opening.listed() {
            Ok(listed) => listed,
            // What the journal has can be shown, and goes on, without the server.
            Err(error) if error.group.may_pass() && journaled.is_some() => Vec::new(),
            Err(error) if error.group == ErrorGroup::NotFound && journaled.is_some() => Vec::new(),
            Err(error) => return Err(error),
        };
        let batch = opening.batch.clone();
        engine.keep_batch(&batch);
        let elsewhere = match &journaled {
            Some(_) => standing.is_some_and(|standing| standing.lives),
            None => is_open(&listed),
        };
        if elsewhere {
            let members = journaled.map(|(_, members)| members);
            Elsewhere::begin(opening, &listed, members)?;
        } else {
            opening.go_on(&listed, journaled);
            // Without them, the rest is right all the same.
            let _ = opening.show_failures();
            batch.seal();
        }
        engine.settle();
        Ok(Batch::from_cell(batch))
    }
}

/// Whether the server waits for more of a batch.
fn is_open(listed: &[MemberList]) -> bool {
    let complete = listed.last().is_none_or(|page| page.batch.complete);
    !complete || each(listed).any(|(_, member)| member.task.state == TaskState::Draft)
}

/// A batch that is being opened.
struct Opening {
    engine: Arc<Engine>,
    batch: Arc<BatchCell>,
    scope: String,
    handles: HashMap<String, Handle>,
}

/// A member's handle.
struct Handle {
    member: MemberId,
    cell: Arc<TaskCell>,
    /// Whether the flow has the member.
    followed: bool,
    /// Whether the wish to stop it has been passed on.
    stopped: bool,
}

impl Opening {
    fn standing(&self) -> Result<Option<Standing>, ClientError> {
        let (scope, name) = (self.scope.clone(), self.batch.name.clone());
        self.engine.parts.journal.ask(move |journal| journal.standing(&scope, &name))
    }

    fn journaled(&self) -> Result<Option<(SubmissionRecord, Vec<MemberRecord>)>, ClientError> {
        let (scope, name) = (self.scope.clone(), self.batch.name.clone());
        self.engine.parts.journal.ask(move |journal| journal.find(&scope, &name))
    }

    fn listed(&self) -> Result<Vec<MemberList>, ClientError> {
        let (server, name) = (self.engine.server().clone(), self.batch.name.clone());
        self.engine.block(async move { list_members(&*server, &name).await })
    }

    /// Follows what the server has, and goes on with what the journal has besides: nobody else does.
    fn go_on(&mut self, listed: &[MemberList], journaled: Option<(SubmissionRecord, Vec<MemberRecord>)>) {
        let Some((record, members)) = journaled else {
            for (page, member) in each(listed) {
                self.attach(member, page.last_event, None);
            }
            return;
        };
        // A submission about which all is decided is not gone on with; what became of it is looked at.
        let submission = (!record.finished).then(|| self.take_over(record));
        let journaled: HashMap<&str, &MemberRecord> =
            members.iter().map(|member| (member.key.as_str(), member)).collect();
        let mut done = HashSet::new();
        for (page, member) in each(listed) {
            let known = journaled.get(member.key.as_str());
            let followed = self.handles.get(&member.key).filter(|handle| handle.followed);
            match (followed, known, submission) {
                (Some(handle), Some(_), Some(submission)) => {
                    let member = handle.member;
                    self.engine.send(Input::Adopted { member, submission });
                }
                (Some(_), _, _) => {}
                // It may be that of an earlier submission: naming it says which task it is.
                (None, Some(known), Some(_)) if known.payload.is_some() => continue,
                (None, Some(_), _) => self.attach(member, page.last_event, submission),
                (None, None, _) => self.attach(member, page.last_event, None),
            }
            done.insert(member.key.clone());
        }
        drop(journaled);
        for member in members {
            if !done.contains(&member.key) {
                self.resume(member, submission);
            }
        }
        if let Some(submission) = submission {
            self.engine.send(Input::Sealed { submission });
        }
    }

    /// Goes on with a submission: from here on, this is the process that does.
    fn take_over(&self, record: SubmissionRecord) -> SubmissionId {
        let (row, whole) = (record.row, record.sealed);
        self.engine.parts.journal.post(move |journal| {
            // Without it, two processes may go on with the same, which costs requests and nothing else.
            let _ = journal.note(&[Note::TakenOver { row }], now_milliseconds());
        });
        self.engine.open_submission(facts(record), whole)
    }

    /// The handle of a member, made if there is none: its name and parameters, its task, and where it is.
    fn handle(
        &mut self,
        key: &str,
        of: (String, BTreeMap<String, Value>),
        task: Option<TaskId>,
        phase: Phase,
    ) -> &mut Handle {
        let Self { engine, batch, handles, .. } = self;
        handles.entry(key.to_owned()).or_insert_with(|| {
            let member = engine.new_member();
            let make = |position| {
                let (name, parameters) = of;
                let identity = (key.to_owned(), name, position, parameters);
                TaskCell::new(engine.clone(), Arc::downgrade(batch), identity, member, task, phase)
            };
            let cell = batch.add(key, make);
            let cell = cell.unwrap_or_else(|| unreachable!("only handles that are kept here are added"));
            Handle { member, cell, followed: false, stopped: false }
        })
    }

    /// Shows the members that could not be packed, as the journal says. One that got further under the same key is
    /// shown as that.
    fn show_failures(&mut self) -> Result<(), ClientError> {
        let (scope, name) = (self.scope.clone(), self.batch.name.clone());
        let failures = self.engine.parts.journal.ask(move |journal| journal.failures(&scope, &name))?;
        for FailureRecord { key, name, parameters, error } in failures {
            if self.handles.contains_key(&key) {
                continue;
            }
            let handle = self.handle(&key, (name, parameters), None, Phase::Packing);
            handle.followed = true;
            handle.cell.update(handle.member, |state| {
                state.status.phase = Phase::Failed;
                state.status.error = Some(error);
            });
        }
        Ok(())
    }

    /// Follows what the server has.
    fn attach(&mut self, listed: &Member, version: u64, submission: Option<SubmissionId>) {
        let task = listed.task.task.clone();
        let of = (listed.task.name.clone(), listed.parameters.clone());
        let handle = self.handle(&listed.key, of, Some(task.clone()), Phase::Queued);
        handle.followed = true;
        let (member, cell) = (handle.member, handle.cell.clone());
        self.engine.register(member, &cell);
        self.engine.send(Input::Attached(Attached {
            member,
            submission,
            task,
            summary: Some(Box::new(listed.task.clone())),
            version,
            lazy: true,
            first: TaskAction::Status,
        }));
        self.engine.start_if_wanted(&cell);
    }

    /// Goes on with what the journal has.
    fn resume(&mut self, record: MemberRecord, submission: Option<SubmissionId>) {
        let phase = if record.payload.is_some() { Phase::Waiting } else { Phase::Queued };
        let of = told(&record);
        let MemberRecord { key, task, payload } = record;
        let handle = self.handle(&key, of, task.clone(), phase);
        if std::mem::replace(&mut handle.followed, true) {
            return;
        }
        let (member, cell) = (handle.member, handle.cell.clone());
        self.engine.register(member, &cell);
        match (payload, task, submission) {
            (Some((payload, complete)), _, Some(submission)) => {
                let blocks =
                    payload.blocks.iter().map(|(digest, place)| (*digest, place.length as u64)).collect();
                let document_bytes = payload.document_bytes;
                self.engine.send(Input::Announced { member, submission });
                self.engine.parts.holdings.hold(member, payload);
                self.engine.send(Input::Pushed(Push {
                    member,
                    blocks,
                    document_bytes,
                    lazy: true,
                    journaled: true,
                    complete,
                }));
            }
            (_, Some(task), _) => self.engine.send(Input::Attached(Attached {
                member,
                submission,
                task,
                summary: None,
                version: 0,
                lazy: true,
                first: TaskAction::Status,
            })),
            (_, None, _) => self.lose(member, &cell, submission),
        }
        self.engine.start_if_wanted(&cell);
    }

    /// Nobody has anything of it any more.
    fn lose(&self, member: MemberId, cell: &Arc<TaskCell>, submission: Option<SubmissionId>) {
        let message = "It ended before the server had it; the journal keeps no more of it.";
        let error =
            ClientError::new(ErrorGroup::NotFound, "task.not_placed", message).hint("Run the script again.");
        match submission {
            Some(submission) => {
                self.engine.send(Input::Announced { member, submission });
                self.engine.send(Input::PackFailed { member, error });
            }
            None => cell.update(member, |state| {
                state.status.phase = Phase::Failed;
                state.status.error = Some(error);
            }),
        }
    }
}

/// Name and parameters, as far as the journal still has them.
fn told(record: &MemberRecord) -> (String, BTreeMap<String, Value>) {
    match &record.payload {
        Some((payload, _)) => (payload.member.name.clone(), payload.member.parameters.clone()),
        None => (record.key.clone(), BTreeMap::new()),
    }
}

fn facts(record: SubmissionRecord) -> SubmissionFacts {
    SubmissionFacts {
        row: record.row,
        batch: record.batch,
        named: record.named,
        token: record.token,
        nonce: Nonce::new(record.nonce, true),
        tags: record.tags,
        // These are in each journaled member already.
        cache: true,
        hold: false,
        lazy: record.lazy,
        folder: String::new(),
        priority: 0,
        after: Vec::<TaskId>::new(),
    }
}

fn each(pages: &[MemberList]) -> impl Iterator<Item = (&MemberList, &Member)> {
    pages.iter().flat_map(|page| page.members.iter().map(move |member| (page, member)))
}

async fn list_members(server: &dyn Server, batch: &str) -> Result<Vec<MemberList>, ClientError> {
    let mut pages = Vec::new();
    let mut query = MemberQuery::default();
    loop {
        let page = server.members(batch, &query).await?;
        query.after.clone_from(&page.next);
        pages.push(page);
        if query.after.is_none() {
            return Ok(pages);
        }
    }
}
