//! Everything around the flow: the user's script, the journal, the network and the clock.

mod process;
mod verdict;
mod wire;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use wavetask_document::Digest;
use wavetask_protocol::native::{SubmitAnswer, TaskAnswers};
use wavetask_protocol::{LeaseId, TaskId};

use super::server::{Honesty, Named, Nature, Server};
use crate::error::{ClientError, ErrorGroup};
use crate::flow::gate::Random;
use crate::flow::{
    Attached, Effect, Flow, Input, MemberId, Push, RequestId, ResultNews, Rules, SubmissionId,
};
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
    /// Earlier members that must succeed before it starts.
    after: Vec<usize>,
    /// One of those did not become a task in the present client.
    unmade: bool,
    /// What became of it in the present client.
    outcome: Option<(Phase, Option<ClientError>)>,
    cancelled: bool,
    /// The journal's disk was full when it was to be written.
    unwritten: bool,
}

/// A process of the client.
struct Client {
    flow: Flow,
    epoch: u64,
    /// Script members by id, and whether the process has their arrays.
    members: BTreeMap<MemberId, usize>,
    next: u64,
    pushed: usize,
    sealed: bool,
    over: Option<Over>,
    tick: Option<u64>,
    /// It was opened by name and does not run the script.
    reader: bool,
    /// Script members that its user has started.
    started: HashSet<usize>,
    /// The tasks that script members have become.
    tasks: HashMap<usize, TaskId>,
}

/// How the flow ended a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Finished,
    CutOff,
}

/// What the journal has of the submission, until it is finished.
#[derive(Default)]
struct Journal {
    /// Keys of members.
    members: HashSet<String>,
    /// The tasks of those that are known to be placed.
    placed: HashMap<String, TaskId>,
    /// Whether these are all.
    sealed: bool,
    /// Names the run, where known results will not do.
    nonce: Option<u64>,
}

enum Call {
    Submit { request: RequestId, named: Vec<Named> },
    Act { request: RequestId, action: TaskAction, tasks: Vec<TaskId> },
    Fetch { request: RequestId, tasks: Vec<TaskId> },
    FetchArrays { member: MemberId },
}

enum Happening {
    Deliver(u64, Input),
    AtServer {
        epoch: u64,
        call: Call,
        lose_answer: bool,
        again: bool,
    },
    JournalWrite {
        epoch: u64,
        members: Vec<MemberId>,
    },
    Transmit {
        epoch: u64,
        request: RequestId,
        blocks: Vec<Digest>,
        index: usize,
        breaks_at: Option<usize>,
    },
    Poll {
        epoch: u64,
        after: u64,
        until: u64,
    },
    Push {
        epoch: u64,
        index: usize,
    },
    /// A member is made: those that it runs after are tasks, or have ended.
    Make {
        epoch: u64,
        member: MemberId,
    },
    Tick {
        epoch: u64,
    },
    Worker,
    Solved {
        task: TaskId,
        lease: LeaseId,
    },
    Restart,
    Crash,
    Cancel,
    /// The user starts a member, wherever it is.
    Start {
        epoch: u64,
        member: MemberId,
    },
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
    journal: Journal,
    /// Runs that were begun anew.
    runs: u64,
    disk_full: (u64, u64),
    client: Client,
    /// Blocks whose transfer was cut off: they may be sent again.
    in_doubt: HashSet<Digest>,
    /// Blocks that are being sent, by process.
    on_the_way: HashMap<Digest, u64>,
    /// Whether known results will do.
    cache: bool,
    /// Whether results stay on the server until somebody asks.
    lazy: bool,
    /// Whether tasks wait to be started.
    hold: bool,
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
        let (lazy, hold) = (random.one_in(3), random.one_in(3));
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
                let after = Vec::new();
                let named = Named { key: format!("{index}"), content, nature, blocks, cache, hold, after };
                let (after, outcome) = (Vec::new(), None);
                ScriptMember { named, after, unmade: false, outcome, cancelled: false, unwritten: false }
            })
            .collect();
        let script = in_order(script, &mut random);
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
            journal: Journal::default(),
            runs: 0,
            disk_full: (0, 0),
            client,
            in_doubt: HashSet::new(),
            on_the_way: HashMap::new(),
            cache,
            lazy,
            hold,
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
            if !self.client_is_over() || self.faults_left > 0 {
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
                    // Without the memory of known results, a new run solves anew. With it, one whose input failed may
                    // find that input's result now, and be solved for the first time.
                    let for_the_first_time = |content: &Digest| {
                        let asks = |member: &ScriptMember| {
                            member.named.content == *content && !member.after.is_empty()
                        };
                        !solves.contains_key(content) && self.script.iter().any(asks)
                    };
                    let again = self.server.solves.iter().any(|(content, times)| {
                        solves.get(content) != Some(times) && !for_the_first_time(content)
                    });
                    if self.cache && again && !new {
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
            if self.client.over.is_some() {
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
                // In their order: the first is the script's first.
                self.hand_over(index);
                self.client.pushed += 1;
                let all = self.client.pushed == self.script.len();
                if all && !self.client.sealed {
                    self.client.sealed = true;
                    self.input(Input::Sealed { submission: SubmissionId(1) });
                }
            }
            Happening::Make { epoch, member } if epoch == self.client.epoch => self.make(member),
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
            Happening::Start { epoch, member } => self.start(epoch, member),
            // Of a process that is gone.
            _ => {}
        }
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
        let (started, tasks) = (HashSet::new(), HashMap::new());
        Self {
            flow,
            epoch,
            members,
            next: 0,
            pushed: 0,
            sealed: false,
            over: None,
            tick: None,
            reader,
            started,
            tasks,
        }
    }
}

/// In every third world, some members run after earlier ones.
fn in_order(mut script: Vec<ScriptMember>, random: &mut Chance) -> Vec<ScriptMember> {
    if !random.one_in(3) {
        return script;
    }
    for (index, member) in script.iter_mut().enumerate().skip(1) {
        if random.one_in(2) {
            let mut earlier = || usize::try_from(random.below(index as u64)).unwrap();
            let mut after = vec![earlier(), earlier(), earlier()];
            after.sort_unstable();
            after.dedup();
            member.after = after;
        }
    }
    script
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
