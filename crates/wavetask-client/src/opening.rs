//! Coming back to a batch by its name: what the server has is followed, and what the journal has and the server
//! lacks goes on.

use std::collections::HashMap;
use std::sync::Arc;

use wavetask_protocol::TaskId;
use wavetask_protocol::native::{Member, MemberList, MemberQuery};

use crate::batch::{Batch, BatchCell};
use crate::client::Client;
use crate::engine::{Engine, SubmissionFacts};
use crate::error::{ClientError, ErrorGroup};
use crate::flow::{Attached, Input, MemberId, Push, SubmissionId};
use crate::journal::{MemberRecord, SubmissionRecord};
use crate::server::{Server, TaskAction};
use crate::status::Phase;
use crate::task::TaskCell;

impl Client {
    /// A batch by its name.
    ///
    /// # Errors
    /// `NotFound` if neither journal nor server knows it; those of the connection if only the server could know.
    pub fn open_batch(&self, name: &str) -> Result<Batch, ClientError> {
        let engine = self.engine();
        if let Some(batch) = engine.live_batch(name) {
            return Ok(Batch::from_cell(batch));
        }
        let (scope, wanted) = (self.settings().scope(), name.to_owned());
        let journaled = engine.parts.journal.ask(move |journal| journal.find(&scope, &wanted))?;
        let (server, wanted) = (self.server().clone(), name.to_owned());
        let listed = engine.block(async move { list_members(&*server, &wanted).await });
        let listed = match listed {
            Ok(listed) => listed,
            // What the journal has can be shown, and goes on, without the server.
            Err(error) if error.group.may_pass() && journaled.is_some() => Vec::new(),
            Err(error) if error.group == ErrorGroup::NotFound && journaled.is_some() => Vec::new(),
            Err(error) => return Err(error),
        };
        let batch = BatchCell::new(name.to_owned(), engine.clone());
        let opening = Opening { engine: engine.clone(), batch: batch.clone() };
        opening.go_on(&listed, journaled);
        batch.seal();
        engine.keep_batch(&batch);
        Ok(Batch::from_cell(batch))
    }
}

/// A batch that is being opened.
struct Opening {
    engine: Arc<Engine>,
    batch: Arc<BatchCell>,
}

impl Opening {
    fn go_on(&self, listed: &[MemberList], journaled: Option<(SubmissionRecord, Vec<MemberRecord>)>) {
        let Some((record, members)) = journaled else {
            for (page, member) in each(listed) {
                self.attach(member, page.last_event, None);
            }
            return;
        };
        let sealed = record.sealed;
        // A submission about which all is decided is not gone on with; what became of it is looked at.
        let submission = (!record.finished).then(|| self.engine.open_submission(facts(record)));
        let mut journaled: HashMap<&str, &MemberRecord> = HashMap::new();
        for member in &members {
            journaled.insert(&member.key, member);
        }
        for (page, member) in each(listed) {
            match journaled.get(member.key.as_str()) {
                // It may be that of an earlier submission: naming it says which task it is.
                Some(known) if known.payload.is_some() => {}
                Some(_) => self.attach(member, page.last_event, submission),
                None => self.attach(member, page.last_event, None),
            }
        }
        let listed = Batch::from_cell(self.batch.clone());
        let left: Vec<_> = members.into_iter().filter(|member| listed.get(&member.key).is_none()).collect();
        for member in left {
            self.resume(member, submission);
        }
        if let Some(submission) = submission
            && sealed
        {
            self.engine.send(Input::Sealed { submission });
        }
    }

    /// Follows what the server has.
    fn attach(&self, listed: &Member, version: u64, submission: Option<SubmissionId>) {
        let id = self.engine.new_member();
        let cell = self.batch.add(&listed.key, |position| {
            let identity =
                (listed.key.clone(), listed.task.name.clone(), position, listed.parameters.clone());
            let task = Some(listed.task.task.clone());
            TaskCell::new(self.engine.clone(), Arc::downgrade(&self.batch), identity, id, task, Phase::Queued)
        });
        let Some(cell) = cell else { return };
        self.engine.register(id, &cell);
        self.engine.send(Input::Attached(Attached {
            member: id,
            submission,
            task: listed.task.task.clone(),
            summary: Some(Box::new(listed.task.clone())),
            version,
            lazy: true,
            first: TaskAction::Status,
        }));
    }

    /// Goes on with what the journal has.
    fn resume(&self, record: MemberRecord, submission: Option<SubmissionId>) {
        let MemberRecord { key, task, payload } = record;
        let member = self.engine.new_member();
        let known = payload.as_ref().map(|(payload, _)| payload.member.clone());
        let name = known.as_ref().map_or_else(|| key.clone(), |member| member.name.clone());
        let parameters = known.map(|member| member.parameters).unwrap_or_default();
        let phase = if payload.is_some() { Phase::Waiting } else { Phase::Queued };
        let cell = self.batch.add(&key, |position| {
            let identity = (key.clone(), name, position, parameters);
            let batch = Arc::downgrade(&self.batch);
            TaskCell::new(self.engine.clone(), batch, identity, member, task.clone(), phase)
        });
        let Some(cell) = cell else { return };
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

fn facts(record: SubmissionRecord) -> SubmissionFacts {
    SubmissionFacts {
        row: record.row,
        batch: record.batch,
        named: record.named,
        token: record.token,
        nonce: record.nonce,
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
