//! A batch that another process submits while it is opened here.
//!
//! That process sends what it has, and nothing of it is sent from here too. What it is at is told by the journal and
//! the server, which are looked at now and then: members that have got to the server are followed by its events like
//! all others; those that have not wait. When to stop waiting for that process:
//!
//! - If the journal has the batch, when the process is gone: it holds a lock as long as it lives
//!   (`journal/owner.rs`). Then what the journal has goes on here, and what only that process had waits for its data.
//! - If only the server has the batch, because it comes from another machine, when the server has heard nothing new
//!   of it for [`Settings::abandoned_after`](crate::Settings::abandoned_after).

use std::time::{Duration, Instant};

use wavetask_protocol::TaskState;
use wavetask_protocol::native::{BatchQuery, BatchSummary, Member, MemberList};

use super::{Opening, each, told};
use crate::error::{ClientError, ErrorGroup};
use crate::flow::Input;
use crate::journal::MemberRecord;
use crate::server::TaskAction;
use crate::status::Phase;

/// Time between two looks, if they are quick.
const LOOK: Duration = Duration::from_millis(500);
/// Looking takes this part of the time at most.
const PART: u32 = 10;

pub(super) struct Elsewhere {
    opening: Opening,
    /// Whether the journal has the batch.
    journaled: bool,
    /// What was seen at the last look, and when that was news.
    seen: Option<BatchSummary>,
    members: u64,
    news: Instant,
}

impl Elsewhere {
    /// Shows what there is of the batch, and follows it on a thread of its own until it needs that no more.
    pub(super) fn begin(
        opening: Opening,
        listed: &[MemberList],
        members: Option<Vec<MemberRecord>>,
    ) -> Result<(), ClientError> {
        let journaled = members.is_some();
        let seen = listed.last().map(|page| page.batch.clone());
        let mut elsewhere = Self { opening, journaled, seen, members: 0, news: Instant::now() };
        elsewhere.show(listed, members.unwrap_or_default());
        std::thread::Builder::new()
            .name("wavetask-follow".to_owned())
            .spawn(move || elsewhere.run())
            .map_err(|error| {
                ClientError::new(ErrorGroup::Internal, "engine.no_thread", "A thread cannot be started.")
                    .caused_by(error)
            })?;
        Ok(())
    }

    fn run(mut self) {
        loop {
            let began = Instant::now();
            // Where the journal or the server cannot be asked now, they are asked again.
            if self.look().unwrap_or(false) {
                self.opening.batch.seal();
                return;
            }
            std::thread::sleep(LOOK.max(began.elapsed() * PART));
        }
    }

    /// Looks what is new. True if the batch needs no more looks.
    fn look(&mut self) -> Result<bool, ClientError> {
        if self.journaled {
            // Asked before the server: what it says is as new at least as the end of that process.
            let standing = self.opening.standing()?.unwrap_or_default();
            if !standing.lives {
                let journaled = self.opening.journaled()?;
                let listed = or_none(self.opening.listed())?;
                self.opening.go_on(&listed, journaled);
                self.opening.show_failures()?;
                self.stop_unwanted();
                return Ok(true);
            }
            if standing.members != self.members {
                self.members = standing.members;
                let members = self.opening.journaled()?.map(|(_, members)| members);
                self.show(&[], members.unwrap_or_default());
            }
            self.opening.show_failures()?;
        }
        let summary = self.summary()?;
        if summary != self.seen {
            self.seen = summary;
            self.news = Instant::now();
            let listed = or_none(self.opening.listed())?;
            self.show(&listed, Vec::new());
        }
        self.stop_unwanted();
        let complete = self.seen.as_ref().is_some_and(|batch| batch.complete);
        if complete && self.opening.handles.values().all(|handle| handle.followed) {
            return Ok(true);
        }
        let patience = self.opening.engine.settings().abandoned_after;
        let abandoned = !self.journaled && self.news.elapsed() > patience;
        if abandoned {
            self.abandon();
        }
        Ok(abandoned)
    }

    fn summary(&self) -> Result<Option<BatchSummary>, ClientError> {
        let server = self.opening.engine.server().clone();
        let name = Some(self.opening.batch.name.clone());
        let query = BatchQuery { name, ..BatchQuery::default() };
        let found = self.opening.engine.block(async move { server.batches(&query).await })?;
        Ok(found.batches.into_iter().next())
    }

    /// Members on the server are followed, unless they wait for bytes there; others wait here.
    fn show(&mut self, listed: &[MemberList], members: Vec<MemberRecord>) {
        for (page, member) in each(listed) {
            let followed = self.opening.handles.get(&member.key).is_some_and(|handle| handle.followed);
            match member.task.state {
                _ if followed => {}
                TaskState::Draft => self.uploads(member),
                _ => self.opening.attach(member, page.last_event, None),
            }
        }
        for member in members {
            let of = told(&member);
            self.opening.handle(&member.key, of, member.task, Phase::Waiting);
        }
    }

    fn uploads(&mut self, listed: &Member) {
        let task = listed.task.task.clone();
        let of = (listed.task.name.clone(), listed.parameters.clone());
        let handle = self.opening.handle(&listed.key, of, Some(task.clone()), Phase::Uploading);
        let (member, cell) = (handle.member, handle.cell.clone());
        let known = cell.state.read(|state| state.id.as_ref() == Some(&task));
        if !known || cell.state.read(|state| state.status.phase) == Phase::Waiting {
            cell.update(member, |state| {
                state.id = Some(task);
                state.status.phase = Phase::Uploading;
            });
        }
    }

    /// Stops members that the user does not want: those that the other process sends, as soon as they have a task.
    fn stop_unwanted(&mut self) {
        for handle in self.opening.handles.values_mut() {
            let (unwanted, task, phase) =
                handle.cell.state.read(|state| (state.unwanted, state.id.clone(), state.status.phase));
            if !unwanted || handle.stopped || phase.is_final() {
                continue;
            }
            let (engine, member) = (&self.opening.engine, handle.member);
            if handle.followed {
                handle.stopped = true;
                engine.send(Input::Wanted { member, action: TaskAction::Cancel });
            } else if let Some(task) = task {
                (handle.followed, handle.stopped) = (true, true);
                engine.register(member, &handle.cell);
                engine.send(Input::Attached(crate::flow::Attached {
                    member,
                    submission: None,
                    task,
                    summary: None,
                    version: 0,
                    lazy: true,
                    first: TaskAction::Cancel,
                }));
            }
        }
    }

    /// Nothing more is expected from the other machine.
    fn abandon(&mut self) {
        let message = "The program that makes this simulation has sent nothing for a long time.";
        let error = ClientError::new(ErrorGroup::Usage, "task.waiting_for_data", message)
            .hint("Look at it there; if it has ended, run it again: it goes on where it stopped.");
        for handle in self.opening.handles.values().filter(|handle| !handle.followed) {
            handle.cell.update(handle.member, |state| {
                state.status.phase = Phase::WaitingForData;
                state.status.error = Some(error.clone());
            });
        }
    }
}

/// A batch of which the server has nothing yet has no members there.
fn or_none(listed: Result<Vec<MemberList>, ClientError>) -> Result<Vec<MemberList>, ClientError> {
    match listed {
        Err(error) if error.group == ErrorGroup::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}
