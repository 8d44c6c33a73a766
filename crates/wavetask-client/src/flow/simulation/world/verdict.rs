//! What must hold when all has come to its end.

use super::*;

impl World {
    pub(super) fn any_unwritten(&self) -> bool {
        let unwritten = |error: &ClientError| error.code == "journal.disk_full";
        let errors = self.script.iter().filter_map(|member| member.outcome.as_ref()?.1.as_ref());
        errors.into_iter().any(unwritten)
    }

    pub(super) fn any_cancelled(&self) -> bool {
        self.script.iter().any(|member| member.cancelled)
    }

    /// What must hold when all has come to its end.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut wanted: HashMap<Digest, usize> = HashMap::new();
        for (index, ScriptMember { named, outcome, cancelled, after, .. }) in self.script.iter().enumerate() {
            let Some((phase, error)) = outcome else { return Err(format!("member {index} has no outcome")) };
            let code = error.as_ref().map(|error| error.code.as_str());
            let expected: (Phase, Option<&str>) = match named.nature {
                Nature::Good => (Phase::Done, None),
                Nature::Invalid => (Phase::Failed, Some("test.invalid")),
                Nature::Unsolvable => (Phase::Failed, Some("test.unsolvable")),
                Nature::Malformed => (Phase::Failed, Some("document_malformed")),
                Nature::Poison => (Phase::Failed, Some("test.poison")),
                // Nobody has tried.
                Nature::Unfetchable if self.lazy => (Phase::Done, None),
                Nature::Unfetchable => (Phase::Failed, Some("test.unfetchable")),
                Nature::Unpackable => (Phase::Failed, Some("test.unpackable")),
            };
            let found = (*phase, code);
            let stopped = *cancelled && *phase == Phase::Cancelled;
            let full = self.disk_full.1 > 0 && code == Some("journal.disk_full");
            // Unless its result is known, what fails those that it runs after fails it, too.
            let done = |earlier: &usize| matches!(self.script[*earlier].outcome, Some((Phase::Done, _)));
            let for_input =
                matches!(code, Some("test.input" | "task.input_failed")) && !after.iter().all(done);
            if found != expected && !stopped && !full && !for_input {
                return Err(format!("member {index} ({:?}) ended as {found:?}", named.nature));
            }
            *wanted.entry(named.content).or_insert(0) += 1;
        }
        if let Some((key, times)) = self.server.created_again() {
            return Err(format!("member {key} was created {times} times"));
        }
        let runs = usize::try_from(self.runs).unwrap().max(1);
        for (content, solves) in &self.server.solves {
            // Equal contents that are under way at the same time are solved side by side.
            if *solves > wanted[content] * runs && !self.any_cancelled() {
                return Err(format!("{content} was solved {solves} times"));
            }
        }
        let quiet =
            !self.faults.network && !self.faults.restarts && !self.faults.crashes && !self.faults.busy;
        let bound = 25 + (6 + 2 * usize::from(self.hold)) * self.script.len();
        if quiet && self.requests > bound {
            return Err(format!("{} requests for {} members", self.requests, self.script.len()));
        }
        Ok(())
    }
}
