//! The network: what is lost on it, what comes late, what comes twice.

use super::*;

impl World {
    pub(super) fn trouble(&mut self) -> bool {
        self.faults.network && self.now < CALM && self.random.one_in(8)
    }

    pub(super) fn down(&self) -> bool {
        self.now < self.down_until
    }

    pub(super) fn call(&mut self, call: Call) {
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

    pub(super) fn transmit(
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

    pub(super) fn poll(&mut self, after: u64, until: u64) {
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

    pub(super) fn at_server(&mut self, epoch: u64, call: Call, lose_answer: bool, again: bool) {
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
