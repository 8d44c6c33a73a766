//! Does what the flow decides.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use wavetask_document::Digest;
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{NewMember, SubmitRequest, TaskSelection, TaskSummary};

use super::referring::Make;
use super::results::{fetch_arrays, fetch_results};
use super::{Message, Parts, Payload, SubmissionFacts, now_milliseconds};
use crate::error::{ClientError, ErrorGroup};
use crate::flow::{Effect, Flow, Input, MemberId, RequestId, Rules, SubmissionId};
use crate::journal::{Journal, Note};
use crate::server::TaskAction;
use crate::signal::lock;
use crate::status::Phase;
use crate::task::TaskCell;

/// The code of an error that was a panic.
const PANICKED: &str = "engine.panicked";
/// Messages taken in before notes are written.
const MESSAGES: usize = 1_000;

/// Owns the flow, and everything that belongs to a member only while it is under way.
pub(super) struct Driver {
    parts: Arc<Parts>,
    flow: Flow,
    queue: mpsc::UnboundedReceiver<Message>,
    own: mpsc::WeakUnboundedSender<Message>,
    started: Instant,
    cells: HashMap<MemberId, Arc<TaskCell>>,
    /// Where the members of submissions are in the journal.
    rows: HashMap<MemberId, (i64, u64)>,
    notes: Vec<Note>,
    /// What makes members, of which it is time.
    to_make: Vec<Make>,
}

impl Driver {
    pub(super) fn new(
        parts: Arc<Parts>,
        queue: mpsc::UnboundedReceiver<Message>,
        own: mpsc::WeakUnboundedSender<Message>,
        seed: u64,
    ) -> Self {
        let flow = Flow::new(Rules::new(parts.settings.patience), seed);
        Self {
            parts,
            flow,
            queue,
            own,
            started: Instant::now(),
            cells: HashMap::new(),
            rows: HashMap::new(),
            notes: Vec::new(),
            to_make: Vec::new(),
        }
    }

    /// Until the engine is dropped.
    pub(super) async fn run(mut self) {
        let mut messages = Vec::new();
        loop {
            let wake = self.flow.next_wake().map(|wake| self.started + Duration::from_millis(wake));
            let received = async {
                match wake {
                    None => self.queue.recv_many(&mut messages, MESSAGES).await,
                    Some(wake) => {
                        let received = self.queue.recv_many(&mut messages, MESSAGES);
                        tokio::time::timeout_at(wake.into(), received).await.unwrap_or(usize::MAX)
                    }
                }
            };
            match received.await {
                0 => return,
                usize::MAX => self.step(Input::Tick),
                _ => {
                    for message in messages.drain(..) {
                        match message {
                            Message::Input(input) => self.step(input),
                            Message::Settled(settled) => {
                                let _ = settled.send(());
                            }
                            Message::Member(member, cell) => {
                                self.cells.insert(member, cell);
                            }
                        }
                    }
                }
            }
            self.write_notes();
        }
    }

    fn step(&mut self, input: Input) {
        if let Input::Pushed(push) = &input
            && let Some(payload) = self.parts.holdings.payload(push.member)
        {
            self.rows.insert(push.member, (payload.row, payload.member.position));
        }
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        for effect in self.flow.step(input, now) {
            self.perform(effect);
        }
        let made = std::mem::take(&mut self.to_make);
        if !made.is_empty() {
            // In their order, by which a submission without a name is known again. They may wait for room.
            tokio::task::spawn_blocking(move || {
                for make in made {
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(make));
                }
            });
        }
    }

    fn facts(&self, submission: SubmissionId) -> Option<Arc<SubmissionFacts>> {
        lock(&self.parts.facts).get(&submission).cloned()
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Journal { members } => self.journal(members),
            Effect::Refer { member } => self.to_make.extend(self.parts.referring.take(member)),
            Effect::Submit { request, submission, members, complete } => {
                self.submit(request, submission, &members, complete);
            }
            Effect::Send { request, blocks } => self.send_blocks(request, &blocks),
            Effect::Follow { after } => {
                let server = self.parts.server.clone();
                self.spawn(async move { server.next_events(after).await }, |outcome| Input::Events {
                    outcome,
                });
            }
            Effect::Act { request, action, tasks } => self.act(request, action, tasks),
            Effect::Fetch { request, tasks } => self.fetch(request, tasks),
            Effect::FetchArrays { member, task } => {
                let parts = self.parts.clone();
                self.spawn(
                    async move { fetch_arrays(&*parts.server, &parts.results, &task).await },
                    move |outcome| Input::ArraysFetched { member, outcome },
                );
            }
            Effect::Placed { member, task } => {
                self.parts.holdings.release(member);
                if let Some(&(row, position)) = self.rows.get(&member) {
                    self.notes.push(Note::Placed { row, position, task: task.clone() });
                }
                self.update(member, |state| state.id = Some(task));
            }
            Effect::Unwanted { member } => {
                self.parts.holdings.release(member);
                self.parts.referring.take(member);
                self.rows.remove(&member);
            }
            Effect::Moved { member, phase } => self.update(member, |state| state.status.phase = phase),
            Effect::Refused { member, error } => self.update(member, |state| {
                state.status.phase = Phase::Waiting;
                state.status.stage = error.message;
            }),
            Effect::News { member, phase, summary } => self.news(member, phase, &summary),
            Effect::Ended { member, phase, error } => self.ended(member, phase, error),
            Effect::Written { submission } => {
                if let Some(facts) = self.facts(submission) {
                    self.notes.push(Note::Sealed { row: facts.row });
                }
            }
            Effect::Finished { submission } => {
                if let Some(facts) = lock(&self.parts.facts).remove(&submission) {
                    self.notes.push(Note::Finished { row: facts.row });
                }
            }
            Effect::CutOff { submission } => {
                if let Some(facts) = lock(&self.parts.facts).remove(&submission) {
                    self.notes.push(Note::CutOff { row: facts.row });
                }
            }
            Effect::Connection { trouble } => self.parts.trouble.change(|value| *value = trouble),
        }
    }

    /// Runs a future whose outcome the flow waits for; a panic is an error like others,
    /// because members that wait for an answer that never comes would wait for ever.
    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, ClientError>> + Send + 'static,
        outcome: impl FnOnce(Result<T, ClientError>) -> Input + Send + 'static,
    ) {
        let Some(sender) = self.own.upgrade() else { return };
        tokio::spawn(async move {
            let answer = tokio::spawn(future).await.unwrap_or_else(|_| Err(panicked()));
            let _ = sender.send(Message::Input(outcome(answer)));
        });
    }

    fn journal(&self, members: Vec<MemberId>) {
        let Some(sender) = self.own.upgrade() else { return };
        let payloads: Vec<_> = members.iter().map(|member| self.parts.holdings.payload(*member)).collect();
        self.parts.journal.post(move |journal| {
            let tell = |members: Vec<MemberId>, outcome| {
                let _ = sender.send(Message::Input(Input::Journaled { members, outcome }));
            };
            let all: Vec<_> = payloads.iter().flatten().cloned().collect();
            match written(journal, &all) {
                // One that cannot be read sinks no other: each by itself, then.
                Err(error) if error.code == PANICKED && members.len() > 1 => {
                    for (member, payload) in members.into_iter().zip(payloads) {
                        let outcome = payload.map_or(Ok(()), |payload| written(journal, &[payload]));
                        tell(vec![member], outcome);
                    }
                }
                outcome => tell(members, outcome),
            }
        });
    }

    fn submit(&self, request: RequestId, submission: SubmissionId, members: &[MemberId], complete: bool) {
        let Some(facts) = self.facts(submission) else {
            self.spawn(async { Err(let_go()) }, move |outcome| Input::Submitted { request, outcome });
            return;
        };
        let payloads: Vec<_> = members.iter().map(|member| self.parts.holdings.payload(*member)).collect();
        let server = self.parts.server.clone();
        let submitting = async move {
            let members: Option<Vec<NewMember>> =
                payloads.iter().map(|payload| Some(payload.as_ref()?.member.clone())).collect();
            let members = members.ok_or_else(let_go)?;
            let (batch, tags) = (facts.batch.clone(), facts.tags.clone());
            let body = SubmitRequest { batch, tags, submission: facts.token.clone(), members, complete };
            server.submit(&body).await
        };
        self.spawn(submitting, move |outcome| Input::Submitted { request, outcome });
    }

    fn send_blocks(&self, request: RequestId, blocks: &[Digest]) {
        let places = self.parts.holdings.places(blocks);
        let complete = places.len() == blocks.len();
        let (server, Some(sender)) = (self.parts.server.clone(), self.own.upgrade()) else { return };
        let sending = async move {
            let arrived = move |blocks: &[Digest]| {
                let _ = sender.send(Message::Input(Input::Arrived { blocks: blocks.to_vec() }));
            };
            server.send_blocks(&places, &arrived).await?;
            // A block that was let go of belongs to members that have ended; others name it again.
            if complete { Ok(()) } else { Err(let_go()) }
        };
        self.spawn(sending, move |outcome| Input::Sent { request, outcome });
    }

    fn act(&self, request: RequestId, action: TaskAction, tasks: Vec<TaskId>) {
        let server = self.parts.server.clone();
        let selection = TaskSelection { tasks, priority: 0 };
        let acting = async move { server.act(action, &selection).await };
        self.spawn(acting, move |outcome| Input::Acted { request, outcome });
    }

    fn fetch(&self, request: RequestId, tasks: Vec<TaskId>) {
        let (parts, Some(sender)) = (self.parts.clone(), self.own.upgrade()) else { return };
        let fetching = async move {
            let tell = move |task, news| {
                let _ = sender.send(Message::Input(Input::Result { request, task, news }));
            };
            let inline = parts.settings.inline_bytes;
            fetch_results(&*parts.server, &parts.results, tasks, inline, &tell).await
        };
        self.spawn(fetching, move |outcome| Input::Fetched { request, outcome });
    }

    fn update(&self, member: MemberId, change: impl FnOnce(&mut crate::task::TaskCellState)) {
        if let Some(cell) = self.cells.get(&member) {
            cell.update(member, change);
        }
    }

    fn news(&self, member: MemberId, phase: Phase, summary: &TaskSummary) {
        // Whether it is over, and why, comes with the end.
        let phase = if phase.is_final() { None } else { Some(phase) };
        self.update(member, |state| {
            state.id.get_or_insert_with(|| summary.task.clone());
            state.status.learn(summary);
            if let Some(phase) = phase {
                state.status.phase = phase;
            }
        });
    }

    fn ended(&mut self, member: MemberId, phase: Phase, error: Option<ClientError>) {
        self.parts.holdings.release(member);
        self.parts.referring.take(member);
        if let Some((row, position)) = self.rows.remove(&member)
            && phase != Phase::WaitingForData
            && !error.as_ref().is_some_and(ClientError::is_resumable)
        {
            self.notes.push(Note::Ended { row, position });
        }
        self.update(member, |state| {
            state.status.phase = phase;
            state.status.error = error;
        });
        if let Some(cell) = self.cells.remove(&member) {
            self.parts.fallen.note(&cell);
        }
    }

    fn write_notes(&mut self) {
        if self.notes.is_empty() {
            return;
        }
        let notes = std::mem::take(&mut self.notes);
        self.parts.journal.post(move |journal| {
            // A note that is lost costs one question to the server later.
            let _ = journal.note(&notes, now_milliseconds());
        });
    }
}

/// Writes members into the journal. A panic, as of a program whose arrays are not what it says, is an error like
/// others: a transaction that it cut off has not happened.
fn written(journal: &mut Journal, payloads: &[Arc<Payload>]) -> Result<(), ClientError> {
    let writing = std::panic::AssertUnwindSafe(|| journal.add(payloads));
    std::panic::catch_unwind(writing).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> ClientError {
    ClientError::new(ErrorGroup::Internal, PANICKED, "A step of the engine has panicked.")
        .hint("This is a fault of wavetask: please report it with what was printed.")
}

/// Bytes that were let go of although a request still wanted them: a member that ended in between.
fn let_go() -> ClientError {
    ClientError::new(ErrorGroup::ConnectionLost, "engine.let_go", "What was to be sent is no longer needed.")
}
