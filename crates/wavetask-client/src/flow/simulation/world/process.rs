//! The processes of the client: the script, whoever opens the batch by its name, and their journal.

use super::*;

impl World {
    /// The script's process pushes its members one after the other.
    pub(super) fn start_script(&mut self) {
        let epoch = self.client.epoch;
        self.begin();
        let pace = self.random.below(10);
        for index in 0..self.script.len() {
            self.script[index].outcome = None;
            let delay = 1 + pace * index as u64;
            self.after(delay, Happening::Push { epoch, index });
        }
        let submission = SubmissionId(1);
        self.input(Input::Opened { submission, whole: true });
        for index in 0..self.script.len() {
            let member = self.new_member(index);
            self.input(Input::Announced { member, submission });
            if self.hold && self.random.one_in(3) {
                // The user does not wait until it is held.
                let delay = self.random.below(150);
                self.after(delay, Happening::Start { epoch, member });
            }
        }
        if self.random.one_in(2) {
            self.client.sealed = true;
            self.input(Input::Sealed { submission });
        }
    }

    /// The journal begins a submission: a run that was cut off is gone on with.
    fn begin(&mut self) {
        self.journal.sealed = false;
        if self.cache {
            return;
        }
        let nonce = *self.journal.nonce.get_or_insert_with(|| {
            self.runs += 1;
            self.runs
        });
        for (index, member) in self.script.iter_mut().enumerate() {
            member.named.key = format!("{index} of run {nonce}");
        }
    }

    /// Another process opens the batch by its name: it knows what the journal has, and what the server lists.
    pub(super) fn start_reader(&mut self) {
        let submission = SubmissionId(1);
        let whole = self.journal.sealed;
        self.input(Input::Opened { submission, whole });
        for index in 0..self.script.len() {
            self.script[index].outcome = None;
            let key = self.script[index].named.key.clone();
            match self.journal.placed.get(&key).cloned() {
                Some(task) => self.attach(index, task),
                None if self.journal.members.contains(&key) => {
                    let member = self.new_member(index);
                    self.input(Input::Announced { member, submission });
                    let complete = self.random.one_in(2);
                    self.push(member, true, complete);
                }
                None => {}
            }
        }
        self.client.sealed = true;
        self.input(Input::Sealed { submission });
    }

    /// Follows a member that is on the server.
    fn attach(&mut self, index: usize, task: TaskId) {
        let member = self.new_member(index);
        let listed = if self.down() { None } else { Some(self.server.look(&task)) };
        let (summary, version) = match listed {
            Some((summary, version)) => (Some(Box::new(summary)), version),
            None => (None, 0),
        };
        let submission = Some(SubmissionId(1));
        let (lazy, first) = (self.lazy, TaskAction::Status);
        let attached = Attached { member, submission, task, summary, version, lazy, first };
        self.input(Input::Attached(attached));
    }

    fn new_member(&mut self, index: usize) -> MemberId {
        let member = MemberId(self.client.next);
        self.client.next += 1;
        self.client.members.insert(member, index);
        member
    }

    /// The script has packed a member.
    pub(super) fn hand_over(&mut self, index: usize) {
        let member = MemberId(index as u64);
        let needs: Vec<_> =
            self.script[index].after.iter().map(|earlier| MemberId(*earlier as u64)).collect();
        if needs.is_empty() {
            self.push(member, false, true);
        } else {
            self.input(Input::Refers { member, needs });
        }
    }

    /// A member that runs after others is made, if all of them are tasks.
    pub(super) fn make(&mut self, member: MemberId) {
        let index = self.client.members[&member];
        let mut after = Vec::new();
        for earlier in self.script[index].after.clone() {
            if let Some(task) = self.client.tasks.get(&earlier) {
                after.push(task.clone());
                continue;
            }
            let cause = self.script[earlier].outcome.as_ref().and_then(|(_, error)| error.as_ref());
            let group = match cause {
                Some(cause) if cause.is_resumable() => cause.group,
                Some(_) => ErrorGroup::InputFailed,
                None => {
                    self.violated(format!("member {index} is made before member {earlier} is a task"));
                    return;
                }
            };
            self.script[index].unmade = group == ErrorGroup::InputFailed;
            let error = ClientError::new(group, "test.input", "No.");
            self.input(Input::PackFailed { member, error });
            return;
        }
        self.script[index].unmade = false;
        self.script[index].named.after = after;
        self.push(member, false, true);
    }

    pub(super) fn push(&mut self, member: MemberId, journaled: bool, complete: bool) {
        let named = &self.script[self.client.members[&member]].named;
        if named.nature == Nature::Unpackable {
            let error = ClientError::new(ErrorGroup::InvalidSimulation, "test.unpackable", "No.");
            self.input(Input::PackFailed { member, error });
            return;
        }
        let mut blocks: Vec<_> = named.blocks.iter().map(|block| (*block, BLOCK)).collect();
        blocks.sort_unstable();
        let blocks = blocks.into();
        let lazy = self.lazy;
        let push = Push { member, blocks, document_bytes: 2_000, lazy, journaled, complete };
        self.input(Input::Pushed(push));
    }

    /// One input to the flow, and its effects.
    pub(super) fn input(&mut self, input: Input) {
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
        // What a member is at the server, its handle knows from either.
        let known = match &effect {
            Effect::Placed { member, task } => Some((member, task)),
            Effect::News { member, summary, .. } => Some((member, &summary.task)),
            _ => None,
        };
        if let Some((member, task)) = known {
            self.client.tasks.insert(self.client.members[member], task.clone());
        }
        match effect {
            Effect::Refer { member } => {
                let delay = self.random.below(5);
                self.after(delay, Happening::Make { epoch, member });
            }
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
                    if !self.journal.members.contains(&named.key) {
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
            Effect::Act { request, action, tasks } => {
                if action == TaskAction::Start {
                    self.check_started(&tasks);
                }
                self.call(Call::Act { request, action, tasks });
            }
            Effect::Fetch { .. } | Effect::FetchArrays { .. } if self.lazy => {
                self.violated("a result is fetched that nobody has asked for".into());
            }
            Effect::Fetch { request, tasks } => self.call(Call::Fetch { request, tasks }),
            Effect::FetchArrays { member, .. } => self.call(Call::FetchArrays { member }),
            Effect::Ended { member, phase, error } => {
                let index = self.client.members[&member];
                if self.script[index].outcome.replace((phase, error)).is_some() {
                    self.violated(format!("member {index} ended twice"));
                }
            }
            Effect::Written { .. } => self.journal.sealed = true,
            Effect::Finished { .. } => {
                self.client.over = Some(Over::Finished);
                self.finished();
            }
            Effect::CutOff { .. } => {
                self.client.over = Some(Over::CutOff);
                if !self.client.reader {
                    self.violated("what the script has is all here, and yet it was cut off".into());
                }
            }
            // The note may be lost with the process.
            Effect::Placed { member, task } if !self.faults.crashes || !self.random.one_in(4) => {
                let key = self.script[self.client.members[&member]].named.key.clone();
                self.journal.placed.insert(key, task);
            }
            // The user starts what is held, unless that was done before.
            Effect::News { member, phase: Phase::Held, .. } if self.hold => {
                let delay = self.random.below(200);
                self.after(delay, Happening::Start { epoch, member });
            }
            Effect::Placed { .. }
            | Effect::Moved { .. }
            | Effect::News { .. }
            | Effect::Unwanted { .. }
            | Effect::Refused { .. }
            | Effect::Connection { .. } => {}
        }
    }

    /// The user of a process starts a member. Once is enough: what is kept of the wish must do.
    pub(super) fn start(&mut self, epoch: u64, member: MemberId) {
        if epoch == self.client.epoch && self.client.started.insert(self.client.members[&member]) {
            self.input(Input::Wanted { member, action: TaskAction::Start });
        }
    }

    /// What is held is started by the user alone.
    fn check_started(&mut self, tasks: &[TaskId]) {
        let started = &self.client.started;
        let keys: HashSet<&str> =
            started.iter().map(|index| self.script[*index].named.key.as_str()).collect();
        let unasked = tasks.iter().find(|task| !keys.contains(self.server.key(task))).cloned();
        if let Some(task) = unasked {
            self.violated(format!("{task} is started, and nobody has asked for that"));
        }
    }

    pub(super) fn write(&mut self, members: Vec<MemberId>) {
        let full = self.disk_full.0 <= self.now && self.now < self.disk_full.1;
        let outcome = if full {
            for member in &members {
                self.script[self.client.members[member]].unwritten = true;
            }
            Err(ClientError::new(ErrorGroup::Infrastructure, "journal.disk_full", "Full."))
        } else {
            for member in &members {
                let member = &mut self.script[self.client.members[member]];
                member.unwritten = false;
                self.journal.members.insert(member.named.key.clone());
            }
            Ok(())
        };
        self.input(Input::Journaled { members, outcome });
    }

    /// The journal has been told that the submission is over: the same script is a new run from here on.
    fn finished(&mut self) {
        for index in 0..self.script.len() {
            let ScriptMember { named, outcome, unwritten, cancelled, unmade, .. } = &self.script[index];
            // What could not be packed, made or written, or was stopped before that, has never been anywhere.
            let nowhere = named.nature == Nature::Unpackable || *unmade || *unwritten || *cancelled;
            let waits = match outcome {
                None => !(self.client.reader && nowhere),
                Some((Phase::WaitingForData, _)) => true,
                Some((_, error)) => error.as_ref().is_some_and(ClientError::is_resumable),
            };
            if waits {
                self.violated(format!("finished although member {index} waits for its data"));
            }
        }
        self.journal = Journal::default();
    }

    /// Whether nothing more comes of the present client.
    pub(super) fn client_is_over(&self) -> bool {
        self.client.sealed && self.client.over.is_some()
    }
}
