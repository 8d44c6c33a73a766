//! Everything around the flow: the user's script, the journal, the network and the clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use wavetask_document::Digest;
use wavetask_protocol::native::{SubmitAnswer, TaskAnswers};
use wavetask_protocol::{LeaseId, TaskId};

use super::server::{Honesty, Named, Nature, Server};
use crate::error::{ClientError, ErrorGroup};
use crate::flow::gate::Random;
use crate::flow::{Effect, Flow, Input, MemberId, Push, RequestId, ResultNews, Rules, SubmissionId};
use crate::server::TaskAction;
use crate::status::Phase;

/// What may go wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// Requests and answers are lost, late, and come twice.
    pub(super) network: bool,
    /// The server is restarted, away for a while, forgets old events, loses workers.
    pub(super) restarts: bool,
    /// The server takes members later.
    pub(super) busy: bool,
    /// The client is killed.
    pub(super) crashes: bool,
    /// The journal's disk is full for a while.
    pub(super) disk: bool,
    /// The user stops tasks.
    pub(super) cancels: bool,
}

impl Faults {
    pub(super) const NONE: Self =
        Self { network: false, restarts: false, busy: false, crashes: false, disk: false, cancels: false };
    pub(super) const ALL: Self =
        Self { network: true, restarts: true, busy: true, crashes: true, disk: true, cancels: true };
}

/// Steps after which a run that has not ended never will.
const STEPS: usize = 60_000;
/// When faults stop, in milliseconds, so that everything can come to its end.
const CALM: u64 = 5_000;

const BLOCK: u64 = 100 << 10;

struct ScriptMember {
    named: Named,
    /// What became of it in the present client.
    outcome: Option<(Phase, Option<ClientError>)>,
    cancelled: bool,
}

/// A process of the client.
struct Client {
    flow: Flow,
    epoch: u64,
    /// Script members by id, and whether the process has their arrays.
    members: BTreeMap<MemberId, usize>,
    next: u64,
    sealed: bool,
    finished: bool,
    tick: Option<u64>,
    /// It was opened by name and does not run the script.
    reader: bool,
}

enum Call {
    Submit { request: RequestId, named: Vec<Named> },
    Act { request: RequestId, action: TaskAction, tasks: Vec<TaskId> },
    Fetch { request: RequestId, tasks: Vec<TaskId> },
    FetchArrays { member: MemberId },
}

enum Happening {
    Deliver(u64, Input),
    AtServer { epoch: u64, call: Call, lose_answer: bool, again: bool },
    JournalWrite { epoch: u64, members: Vec<MemberId> },
    Transmit { epoch: u64, request: RequestId, blocks: Vec<Digest>, index: usize, breaks_at: Option<usize> },
    Poll { epoch: u64, after: u64, until: u64 },
    Push { epoch: u64, index: usize },
    Tick { epoch: u64 },
    Worker,
    Solved { task: TaskId, lease: LeaseId },
    Restart,
    Crash,
    Cancel,
}

pub(super) struct World {
    seed: u64,
    random: Chance,
    faults: Faults,
    now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    happenings: Vec<Option<Happening>>,
    server: Server,
    down_until: u64,
    script: Vec<ScriptMember>,
    /// Keys of members that are in the journal.
    journal: HashSet<String>,
    disk_full: (u64, u64),
    client: Client,
    /// Blocks whose transfer was cut off: they may be sent again.
    in_doubt: HashSet<Digest>,
    /// Blocks that are being sent, by process.
    on_the_way: HashMap<Digest, u64>,
    /// Whether known results will do.
    cache: bool,
    requests: usize,
    /// Faults that come at their own time and have not come yet.
    faults_left: usize,
    violation: Option<String>,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults, honesty: Honesty) -> Self {
        let mut random = Chance(Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5851_f42d));
        let members = match random.below(4) {
            0 => 1 + random.below(3),
            1 | 2 => 3 + random.below(20),
            _ => 20 + random.below(60),
        };
        let contents = 1 + random.below(members);
        let shared: Vec<_> =
            (0..1 + random.below(4)).map(|index| digest(&format!("shared {index}"))).collect();
        let cache = random.one_in(2) || honesty_needs_cache(&honesty);
        let script = (0..members)
            .map(|index| {
                let content = random.below(contents);
                let mut blocks: Vec<_> = shared.iter().filter(|_| random.one_in(2)).copied().collect();
                let own = match random.below(6) {
                    0..=2 => random.below(3),
                    3 | 4 => random.below(8),
                    _ => random.below(40),
                };
                blocks.extend((0..own).map(|block| digest(&format!("block {content} {block}"))));
                let nature = match random.below(24) {
                    0 => Nature::Invalid,
                    1 => Nature::Unsolvable,
                    2 => Nature::Malformed,
                    3 => Nature::Poison,
                    4 => Nature::Unfetchable,
                    5 => Nature::Unpackable,
                    _ => Nature::Good,
                };
                // The same content has one nature.
                let content = digest(&format!("content {content} {nature:?} {}", blocks.len()));
                let named = Named { key: format!("{index}"), content, nature, blocks, cache };
                ScriptMember { named, outcome: None, cancelled: false }
            })
            .collect();
        let client = Client::new(0, seed, false);
        let mut world = Self {
            seed,
            random,
            faults,
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            happenings: Vec::new(),
            server: Server::new(honesty),
            down_until: 0,
            script,
            journal: HashSet::new(),
            disk_full: (0, 0),
            client,
            in_doubt: HashSet::new(),
            on_the_way: HashMap::new(),
            cache,
            requests: 0,
            faults_left: 0,
            violation: None,
        };
        world.plan();
        world
    }

    /// Faults that come at their own time.
    fn plan(&mut self) {
        self.start_script();
        for _ in 0..1 + self.random.below(2) {
            self.after(5, Happening::Worker);
        }
        let times = |world: &mut Self, most: u64| -> Vec<u64> {
            let count = world.random.below(most + 1);
            let early = world.random.one_in(2);
            (0..count).map(|_| world.random.below(if early { 300 } else { CALM })).collect()
        };
        if self.faults.restarts {
            for time in times(self, 4) {
                self.after(time, Happening::Restart);
            }
        }
        if self.faults.crashes {
            for time in times(self, 5) {
                self.after(time, Happening::Crash);
            }
        }
        if self.faults.cancels && self.random.one_in(3) {
            for time in times(self, 3) {
                self.after(time, Happening::Cancel);
            }
        }
        if self.faults.disk && self.random.one_in(4) {
            let start = self.random.below(500);
            self.disk_full = (start, start + self.random.below(300));
        }
    }

    fn after(&mut self, delay: u64, happening: Happening) {
        if matches!(happening, Happening::Restart | Happening::Crash | Happening::Cancel) {
            self.faults_left += 1;
        }
        self.order += 1;
        self.queue.push(Reverse((self.now + delay, self.order, self.happenings.len())));
        self.happenings.push(Some(happening));
    }

    /// The script's process pushes its members one after the other.
    fn start_script(&mut self) {
        let epoch = self.client.epoch;
        let pace = self.random.below(10);
        for index in 0..self.script.len() {
            self.script[index].outcome = None;
            let delay = 1 + pace * index as u64;
            self.after(delay, Happening::Push { epoch, index });
        }
        let submission = SubmissionId(1);
        self.input(Input::Opened { submission });
        for _ in 0..self.script.len() {
            self.input(Input::Announced { submission });
        }
        if self.random.one_in(2) {
            self.client.sealed = true;
            self.input(Input::Sealed { submission });
        }
    }

    /// Another process opens the batch by its name: it knows what the journal has.
    fn start_reader(&mut self) {
        self.client.reader = true;
        let submission = SubmissionId(1);
        self.input(Input::Opened { submission });
        for index in 0..self.script.len() {
            self.script[index].outcome = None;
            if self.journal.contains(&self.script[index].named.key) {
                self.input(Input::Announced { submission });
                let complete = self.random.one_in(2);
                self.push(index, true, complete);
            }
        }
        self.client.sealed = true;
        self.input(Input::Sealed { submission });
    }

    fn push(&mut self, index: usize, journaled: bool, complete: bool) {
        let member = MemberId(self.client.next);
        self.client.next += 1;
        self.client.members.insert(member, index);
        let submission = SubmissionId(1);
        let named = &self.script[index].named;
        if named.nature == Nature::Unpackable {
            let error = ClientError::new(ErrorGroup::InvalidSimulation, "test.unpackable", "No.");
            self.input(Input::PackFailed { member, submission, error });
            return;
        }
        let mut blocks: Vec<_> = named.blocks.iter().map(|block| (*block, BLOCK)).collect();
        blocks.sort_unstable();
        let blocks = blocks.into();
        let push =
            Push { member, submission, blocks, document_bytes: 2_000, lazy: false, journaled, complete };
        self.input(Input::Pushed(push));
    }

    /// One input to the flow, and its effects.
    fn input(&mut self, input: Input) {
        let effects = self.client.flow.step(input, self.now);
        for effect in effects {
            self.perform(effect);
        }
        if let Some(wake) = self.client.flow.next_wake()
            && self.client.tick.is_none_or(|tick| wake < tick)
        {
            self.client.tick = Some(wake);
            let epoch = self.client.epoch;
            self.after(wake.saturating_sub(self.now), Happening::Tick { epoch });
        }
    }

    fn perform(&mut self, effect: Effect) {
        let epoch = self.client.epoch;
        match effect {
            Effect::Journal { members } => {
                let delay = self.random.below(5);
                self.after(delay, Happening::JournalWrite { epoch, members });
            }
            Effect::Submit { request, members, complete, .. } => {
                let named: Vec<_> = members
                    .iter()
                    .map(|member| self.script[self.client.members[member]].named.clone())
                    .collect();
                for named in &named {
                    if !self.journal.contains(&named.key) {
                        self.violated(format!("{} left before the journal had it", named.key));
                    }
                }
                if complete && !self.client.sealed {
                    self.violated("an open submission was completed".into());
                }
                self.call(Call::Submit { request, named });
            }
            Effect::Send { request, blocks } => {
                self.requests += 1;
                let breaks_at = (self.trouble() && self.random.one_in(2))
                    .then(|| usize::try_from(self.random.below(blocks.len() as u64 + 1)).unwrap());
                self.after(1, Happening::Transmit { epoch, request, blocks, index: 0, breaks_at });
            }
            Effect::Follow { after } => {
                let until = self.now + 5_000;
                let delay = self.random.below(20);
                self.after(delay, Happening::Poll { epoch, after, until });
            }
            Effect::Act { request, action, tasks } => self.call(Call::Act { request, action, tasks }),
            Effect::Fetch { request, tasks } => self.call(Call::Fetch { request, tasks }),
            Effect::FetchArrays { member, .. } => self.call(Call::FetchArrays { member }),
            Effect::Ended { member, phase, error } => {
                let index = self.client.members[&member];
                if self.script[index].outcome.replace((phase, error)).is_some() {
                    self.violated(format!("member {index} ended twice"));
                }
            }
            Effect::Finished { .. } => {
                self.client.finished = true;
                if self.client.members.len() < self.script.len() && !self.client.reader {
                    self.violated("finished before all members had come".into());
                }
            }
            Effect::Placed { .. }
            | Effect::Moved { .. }
            | Effect::News { .. }
            | Effect::Refused { .. }
            | Effect::Connection { .. } => {}
        }
    }

    fn trouble(&mut self) -> bool {
        self.faults.network && self.now < CALM && self.random.one_in(8)
    }

    fn down(&self) -> bool {
        self.now < self.down_until
    }

    fn call(&mut self, call: Call) {
        self.requests += 1;
        let epoch = self.client.epoch;
        let delay = 1 + self.random.below(30);
        if self.trouble() && self.random.one_in(2) {
            // The request is lost.
            let input = failed(&call, lost());
            let delay = self.random.below(300);
            self.after(delay, Happening::Deliver(epoch, input));
            return;
        }
        let lose_answer = self.trouble();
        let again = self.trouble();
        self.after(delay, Happening::AtServer { epoch, call, lose_answer, again });
    }

    fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(super) fn run(mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
            let Some(Reverse((time, _, place))) = self.queue.pop() else { break };
            self.now = self.now.max(time);
            if let Some(happening) = self.happenings[place].take() {
                self.happen(happening);
            }
            if !self.client.sealed || !self.client.finished || self.faults_left > 0 {
                continue;
            }
            if self.client.reader {
                // What only the script has comes from the script.
                self.start_client(false);
                continue;
            }
            if self.script.iter().any(|member| member.outcome.is_none()) {
                return Err("the submission is finished, and a member has no outcome".into());
            }
            if self.violation.is_none() && self.server.is_idle() {
                self.check()?;
                // The same script once more, and, if known results will do, under another name: all is known.
                for again in 0..if self.cache { 2 } else { 1 } {
                    let (solves, new) =
                        (self.server.solves.clone(), self.any_cancelled() || self.any_unwritten());
                    if again == 1 {
                        for member in &mut self.script {
                            member.named.key.push_str(" under another name");
                        }
                    }
                    self.start_client(false);
                    self.finish_quietly()?;
                    if solves != self.server.solves && !new {
                        return Err("something was solved again".into());
                    }
                }
                return self.check();
            }
        }
        if let Some(violation) = self.violation.take() {
            return Err(violation);
        }
        let waiting: Vec<_> = self.script.iter().filter(|member| member.outcome.is_none()).collect();
        Err(format!("no end after {} ms: {} members wait (seed {})", self.now, waiting.len(), self.seed))
    }

    fn finish_quietly(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
            if self.client.finished {
                return Ok(());
            }
            let Some(Reverse((time, _, place))) = self.queue.pop() else { break };
            self.now = self.now.max(time);
            if let Some(happening) = self.happenings[place].take() {
                self.happen(happening);
            }
        }
        Err("the repetition does not end".into())
    }

    fn any_unwritten(&self) -> bool {
        let unwritten = |error: &ClientError| error.code == "journal.disk_full";
        let errors = self.script.iter().filter_map(|member| member.outcome.as_ref()?.1.as_ref());
        errors.into_iter().any(unwritten)
    }

    fn any_cancelled(&self) -> bool {
        self.script.iter().any(|member| member.cancelled)
    }

    fn start_client(&mut self, reader: bool) {
        let epoch = self.client.epoch + 1;
        for (digest, owner) in &self.on_the_way {
            if *owner < epoch {
                self.in_doubt.insert(*digest);
            }
        }
        self.client = Client::new(epoch, self.seed ^ epoch, reader);
        if reader { self.start_reader() } else { self.start_script() }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver(epoch, input) if epoch == self.client.epoch => self.input(input),
            Happening::AtServer { epoch, call, lose_answer, again } => {
                self.at_server(epoch, call, lose_answer, again);
            }
            Happening::JournalWrite { epoch, members } if epoch == self.client.epoch => self.write(members),
            Happening::Transmit { epoch, request, blocks, index, breaks_at } => {
                self.transmit(epoch, request, blocks, index, breaks_at);
            }
            Happening::Poll { epoch, after, until } if epoch == self.client.epoch => self.poll(after, until),
            Happening::Push { epoch, index } if epoch == self.client.epoch => {
                self.push(index, false, true);
                let all = self.client.members.len() == self.script.len();
                if all && !self.client.sealed {
                    self.client.sealed = true;
                    self.input(Input::Sealed { submission: SubmissionId(1) });
                }
            }
            Happening::Tick { epoch } if epoch == self.client.epoch => {
                self.client.tick = None;
                self.input(Input::Tick);
            }
            Happening::Worker => {
                let choose = usize::try_from(self.random.0.next() >> 1).unwrap();
                self.server.expire(self.now);
                if !self.down()
                    && let Some((task, lease)) = self.server.lease(choose, self.now)
                {
                    let lost = self.faults.restarts && self.now < CALM && self.random.one_in(10);
                    if !lost {
                        let delay = 1 + self.random.below(60);
                        self.after(delay, Happening::Solved { task, lease });
                    }
                }
                let delay = 1 + self.random.below(40);
                self.after(delay, Happening::Worker);
            }
            Happening::Solved { task, lease } => self.server.solve(&task, lease, self.now),
            Happening::Restart => {
                self.faults_left -= 1;
                self.down_until = self.now + self.random.below(3_000);
                self.server.restart(self.now);
                if self.random.one_in(2) {
                    self.server.forget_events();
                }
            }
            Happening::Crash => {
                self.faults_left -= 1;
                let reader = self.random.one_in(4);
                self.start_client(reader);
            }
            Happening::Cancel => {
                self.faults_left -= 1;
                let active: Vec<_> =
                    self.client.members.iter().map(|(member, index)| (*member, *index)).collect();
                if !active.is_empty() {
                    let choice = usize::try_from(self.random.below(active.len() as u64)).unwrap();
                    let (member, index) = active[choice];
                    self.script[index].cancelled = true;
                    self.input(Input::Wanted { member, action: TaskAction::Cancel });
                }
            }
            // Of a process that is gone.
            _ => {}
        }
    }

    fn write(&mut self, members: Vec<MemberId>) {
        let full = self.disk_full.0 <= self.now && self.now < self.disk_full.1;
        let outcome = if full {
            Err(ClientError::new(ErrorGroup::Infrastructure, "journal.disk_full", "Full."))
        } else {
            for member in &members {
                self.journal.insert(self.script[self.client.members[member]].named.key.clone());
            }
            Ok(())
        };
        self.input(Input::Journaled { members, outcome });
    }

    fn transmit(
        &mut self,
        epoch: u64,
        request: RequestId,
        blocks: Vec<Digest>,
        index: usize,
        breaks_at: Option<usize>,
    ) {
        let present = epoch == self.client.epoch;
        let broken = breaks_at.is_some_and(|at| index >= at) || self.down() || !present;
        if broken {
            // The one that was in flight may or may not have come through.
            if let Some(digest) = blocks.get(index) {
                self.in_doubt.insert(*digest);
                if !self.down() && self.random.one_in(2) {
                    self.server.arrive(*digest);
                }
            }
            for digest in &blocks {
                self.on_the_way.remove(digest);
            }
            let delay = self.random.below(200);
            self.after(delay, Happening::Deliver(epoch, Input::Sent { request, outcome: Err(lost()) }));
            return;
        }
        if index > 0 {
            let digest = blocks[index - 1];
            self.server.arrive(digest);
            self.on_the_way.remove(&digest);
            if self.random.one_in(2) {
                let delay = self.random.below(20);
                self.after(delay, Happening::Deliver(epoch, Input::Arrived { blocks: vec![digest] }));
            }
        }
        let Some(digest) = blocks.get(index).copied() else {
            let delay = 1 + self.random.below(20);
            self.after(delay, Happening::Deliver(epoch, Input::Sent { request, outcome: Ok(()) }));
            return;
        };
        if self.server.possessed.contains(&digest) && !self.in_doubt.contains(&digest) {
            self.violated(format!("{digest} is sent although it has arrived"));
        }
        if self.on_the_way.insert(digest, epoch).is_some_and(|owner| owner == epoch) {
            self.violated(format!("{digest} is sent twice at once"));
        }
        let delay = 1 + self.random.below(8);
        self.after(delay, Happening::Transmit { epoch, request, blocks, index: index + 1, breaks_at });
    }

    fn poll(&mut self, after: u64, until: u64) {
        let epoch = self.client.epoch;
        let outcome = if self.down() || self.trouble() && self.random.one_in(4) {
            Some(Err(lost()))
        } else if self.now >= until {
            let events = Vec::new();
            Some(Ok(wavetask_protocol::native::EventPage { events, last: after }))
        } else {
            self.server.events_after(after)
        };
        let delay = 1 + self.random.below(20);
        match outcome {
            Some(outcome) => self.after(delay, Happening::Deliver(epoch, Input::Events { outcome })),
            None => self.after(delay, Happening::Poll { epoch, after, until }),
        }
    }

    fn at_server(&mut self, epoch: u64, call: Call, lose_answer: bool, again: bool) {
        let delay = 1 + self.random.below(30);
        if self.down() {
            let input = failed(&call, lost());
            self.after(delay, Happening::Deliver(epoch, input));
            return;
        }
        let inputs = self.serve(&call);
        if again {
            // The transport gave up on this one too early and sent it twice; this is the second one.
            let late = self.random.below(400);
            let copy = match &call {
                Call::Submit { named, .. } => {
                    Some(Call::Submit { request: RequestId(u64::MAX), named: named.clone() })
                }
                _ => None,
            };
            if let Some(call) = copy {
                self.after(
                    late,
                    Happening::AtServer { epoch: u64::MAX, call, lose_answer: true, again: false },
                );
            }
        }
        if lose_answer {
            let input = failed(&call, lost());
            self.after(delay + 100, Happening::Deliver(epoch, input));
            return;
        }
        for input in inputs {
            self.after(delay, Happening::Deliver(epoch, input));
        }
    }

    fn serve(&mut self, call: &Call) -> Vec<Input> {
        let now = self.now;
        match call {
            Call::Submit { request, named, .. } => {
                let busy = self.faults.busy && now < CALM && self.random.one_in(20);
                let outcome: Result<SubmitAnswer, _> = self.server.submit(named, busy, now);
                vec![Input::Submitted { request: *request, outcome }]
            }
            Call::Act { request, action, tasks } => {
                let answers: TaskAnswers = self.server.act(*action, tasks, now);
                vec![Input::Acted { request: *request, outcome: Ok(answers) }]
            }
            Call::Fetch { request, tasks } => {
                let mut inputs: Vec<_> = tasks
                    .iter()
                    .map(|task| {
                        let news: ResultNews = self.server.result(task, task.as_str().len() % 2 == 0);
                        Input::Result { request: *request, task: task.clone(), news }
                    })
                    .collect();
                inputs.push(Input::Fetched { request: *request, outcome: Ok(()) });
                inputs
            }
            Call::FetchArrays { member } => vec![Input::ArraysFetched { member: *member, outcome: Ok(()) }],
        }
    }

    /// What must hold when all has come to its end.
    fn check(&self) -> Result<(), String> {
        let mut wanted: HashMap<Digest, usize> = HashMap::new();
        for (index, ScriptMember { named, outcome, cancelled }) in self.script.iter().enumerate() {
            let Some((phase, error)) = outcome else { return Err(format!("member {index} has no outcome")) };
            let code = error.as_ref().map(|error| error.code.as_str());
            let expected: (Phase, Option<&str>) = match named.nature {
                Nature::Good => (Phase::Done, None),
                Nature::Invalid => (Phase::Failed, Some("test.invalid")),
                Nature::Unsolvable => (Phase::Failed, Some("test.unsolvable")),
                Nature::Malformed => (Phase::Failed, Some("document_malformed")),
                Nature::Poison => (Phase::Failed, Some("test.poison")),
                Nature::Unfetchable => (Phase::Failed, Some("test.unfetchable")),
                Nature::Unpackable => (Phase::Failed, Some("test.unpackable")),
            };
            let found = (*phase, code);
            let stopped = *cancelled && *phase == Phase::Cancelled;
            let full = self.disk_full.1 > 0 && code == Some("journal.disk_full");
            if found != expected && !stopped && !full {
                return Err(format!("member {index} ({:?}) ended as {found:?}", named.nature));
            }
            let created = self.server.tasks_of(&named.key);
            if created > 1 {
                return Err(format!("member {index} was created {created} times"));
            }
            *wanted.entry(named.content).or_insert(0) += 1;
        }
        for (content, solves) in &self.server.solves {
            // Equal contents that are under way at the same time are solved side by side.
            if *solves > wanted[content] && !self.any_cancelled() {
                return Err(format!("{content} was solved {solves} times"));
            }
        }
        let quiet =
            !self.faults.network && !self.faults.restarts && !self.faults.crashes && !self.faults.busy;
        let bound = 25 + 6 * self.script.len();
        if quiet && self.requests > bound {
            return Err(format!("{} requests for {} members", self.requests, self.script.len()));
        }
        Ok(())
    }
}

impl Client {
    fn new(epoch: u64, seed: u64, reader: bool) -> Self {
        let mut rules = Rules::new(std::time::Duration::from_secs(3_600));
        // Small, so that few members reach all limits.
        rules.members = 7;
        rules.document_bytes = 16_000;
        rules.lane_bytes = 500 << 10;
        rules.lane_blocks = 6;
        rules.tasks = 5;
        rules.silence = 3_000;
        let flow = Flow::new(rules, seed);
        let members = BTreeMap::new();
        Self { flow, epoch, members, next: 0, sealed: false, finished: false, tick: None, reader }
    }
}

fn failed(call: &Call, error: ClientError) -> Input {
    match call {
        Call::Submit { request, .. } => Input::Submitted { request: *request, outcome: Err(error) },
        Call::Act { request, .. } => Input::Acted { request: *request, outcome: Err(error) },
        Call::Fetch { request, .. } => Input::Fetched { request: *request, outcome: Err(error) },
        Call::FetchArrays { member } => Input::ArraysFetched { member: *member, outcome: Err(error) },
    }
}

fn lost() -> ClientError {
    ClientError::new(ErrorGroup::ConnectionLost, "connection.lost", "Nobody answers.")
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

const fn honesty_needs_cache(honesty: &Honesty) -> bool {
    !honesty.memo
}

/// Chance, as the flow has it.
struct Chance(Random);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.next() % bound }
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}
