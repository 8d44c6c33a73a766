//! Sending what the server lacks: each block once, whoever needs it.

use std::collections::{BTreeSet, HashMap, VecDeque};

use wavetask_document::Digest;

use super::{Effect, Flow, Member, MemberId, RequestId, Stage};
use crate::error::{ClientError, ErrorGroup};
use crate::status::Phase;

/// With two transfers under way, less than this waits for company.
const CROWD: u64 = 256 << 10;

#[derive(Debug, Default)]
pub(super) struct Sending {
    wanted: HashMap<Digest, Wanted>,
    /// Members with blocks that no transfer has taken: those with few bytes first …
    small_first: BTreeSet<(u64, MemberId)>,
    /// … and in order, for the one lane that sees to it that big ones get on, too.
    oldest_first: VecDeque<MemberId>,
    requests: HashMap<RequestId, Vec<Digest>>,
    /// The transfer that serves the oldest.
    oldest_lane: Option<RequestId>,
    /// Halves of a transfer that was refused as a whole.
    halves: VecDeque<Vec<Digest>>,
    /// Bytes that no transfer has taken.
    queued: u64,
    /// Blocks that arrived while requests were under way whose answers may still miss them, and as the how-manieth.
    arrived: HashMap<Digest, u64>,
    order: VecDeque<(u64, Digest)>,
    arrivals: u64,
}

#[derive(Debug)]
struct Wanted {
    length: u64,
    members: Vec<MemberId>,
    /// Whether a transfer has it, or a half that waits for one.
    taken: bool,
}

impl Sending {
    pub(super) const fn arrivals(&self) -> u64 {
        self.arrivals
    }
}

impl Flow {
    /// The server lacks these blocks, or lacked them when the request left after so many arrivals.
    pub(super) fn want_blocks(&mut self, id: MemberId, blocks: &[Digest], arrivals: u64) {
        let rounds = self.rules.rounds;
        let Some(member) = self.members.get_mut(&id) else { return };
        member.to_send.clear();
        member.missing = 0;
        let mut lost = false;
        let mut bytes = 0;
        for digest in blocks {
            let Ok(place) = member.blocks.binary_search_by(|(other, _)| other.cmp(digest)) else {
                self.end(id, Phase::Failed, Some(foreign(digest)));
                return;
            };
            match self.sending.arrived.get(digest) {
                Some(arrival) if *arrival > arrivals => continue,
                Some(_) => {
                    // It was there, and is not any more.
                    self.sending.arrived.remove(digest);
                    lost = true;
                }
                None => {}
            }
            let length = member.blocks[place].1;
            let wanted = self.sending.wanted.entry(*digest).or_insert_with(|| {
                member.to_send.push(*digest);
                bytes += length;
                self.sending.queued += length;
                Wanted { length, members: Vec::new(), taken: false }
            });
            wanted.members.push(id);
            member.missing += 1;
        }
        if !member.complete && member.missing > 0 {
            self.end(id, Phase::WaitingForData, Some(incomplete()));
            return;
        }
        if lost {
            member.rounds += 1;
            if member.rounds > rounds {
                self.end(id, Phase::Failed, Some(forgetful()));
                return;
            }
        }
        member.stage = Stage::Sending;
        if member.missing == 0 {
            self.name_again(id, Stage::Sending);
            return;
        }
        member.rank = bytes;
        self.effects.push(Effect::Moved { member: id, phase: Phase::Uploading });
        if bytes > 0 {
            self.line_up(id, bytes);
        }
    }

    fn line_up(&mut self, id: MemberId, rank: u64) {
        if self.sending.small_first.insert((rank, id)) {
            self.sending.oldest_first.push_back(id);
        }
    }

    pub(super) fn block_arrived(&mut self, digest: &Digest) {
        self.sending.arrivals += 1;
        let arrivals = self.sending.arrivals;
        self.sending.arrived.insert(*digest, arrivals);
        self.sending.order.push_back((arrivals, *digest));
        let oldest = self.naming.oldest().unwrap_or(arrivals);
        while let Some(&(arrival, digest)) = self.sending.order.front() {
            // One that left before this arrived may still say that it is missing.
            if arrival > oldest || self.sending.order.len() < 1_000 {
                break;
            }
            self.sending.order.pop_front();
            if self.sending.arrived.get(&digest) == Some(&arrival) {
                self.sending.arrived.remove(&digest);
            }
        }
        let Some(wanted) = self.sending.wanted.remove(digest) else { return };
        if !wanted.taken {
            self.sending.queued -= wanted.length;
        }
        for id in wanted.members {
            if let Some(member) = self.members.get_mut(&id) {
                member.missing -= 1;
                if member.missing == 0 {
                    self.name_again(id, Stage::Sending);
                }
            }
        }
    }

    pub(super) fn pump_sending(&mut self) {
        while self.sending.requests.len() < self.rules.lanes {
            if let Some(half) = self.sending.halves.pop_front() {
                let blocks: Vec<_> =
                    half.into_iter().filter(|digest| self.sending.wanted.contains_key(digest)).collect();
                if !blocks.is_empty() {
                    self.send(blocks);
                }
                continue;
            }
            if self.sending.requests.len() >= 2 && self.sending.queued < CROWD {
                return;
            }
            let serve_oldest = self.sending.oldest_lane.is_none() && !self.sending.requests.is_empty();
            let blocks = self.collect(serve_oldest);
            if blocks.is_empty() {
                return;
            }
            let request = self.send(blocks);
            if serve_oldest {
                self.sending.oldest_lane = Some(request);
            }
        }
    }

    fn send(&mut self, blocks: Vec<Digest>) -> RequestId {
        let request = self.request();
        self.sending.requests.insert(request, blocks.clone());
        self.effects.push(Effect::Send { request, blocks });
        request
    }

    /// The blocks of the next transfer.
    fn collect(&mut self, serve_oldest: bool) -> Vec<Digest> {
        let mut blocks = Vec::new();
        let mut bytes = 0;
        while blocks.len() < self.rules.lane_blocks && bytes < self.rules.lane_bytes {
            let next = if serve_oldest {
                self.sending.oldest_first.front().copied()
            } else {
                self.sending.small_first.first().map(|(_, id)| *id)
            };
            let Some(id) = next else { break };
            let member = self.members.get_mut(&id).filter(|member| member.stage == Stage::Sending);
            let rank = member.as_ref().map(|member| member.rank);
            let digest = member.and_then(|member| member.to_send.pop());
            let Some(digest) = digest else {
                if serve_oldest {
                    self.sending.oldest_first.pop_front();
                    if let Some(rank) = rank {
                        self.sending.small_first.remove(&(rank, id));
                    }
                } else {
                    self.sending.small_first.pop_first();
                }
                continue;
            };
            if let Some(wanted) = self.sending.wanted.get_mut(&digest)
                && !wanted.taken
            {
                wanted.taken = true;
                bytes += wanted.length;
                self.sending.queued -= wanted.length;
                blocks.push(digest);
            }
        }
        blocks
    }

    pub(super) fn sent(&mut self, request: RequestId, outcome: Result<(), ClientError>) {
        let Some(blocks) = self.sending.requests.remove(&request) else { return };
        if self.sending.oldest_lane == Some(request) {
            self.sending.oldest_lane = None;
        }
        let left: Vec<_> =
            blocks.into_iter().filter(|digest| self.sending.wanted.contains_key(digest)).collect();
        match outcome {
            Ok(()) => {
                self.went_well();
                for digest in left {
                    self.block_arrived(&digest);
                }
            }
            // A quota is not waited for, as it is not when a member is named: somebody has to make room.
            Err(error) if error.group.may_pass() && !error.code.starts_with("quota.") => {
                self.trouble(&error);
                self.doubt(left);
            }
            Err(error) if left.len() > 1 && error.group != ErrorGroup::Unauthorized => {
                let (first, second) = left.split_at(left.len() / 2);
                self.sending.halves.push_back(first.to_vec());
                self.sending.halves.push_back(second.to_vec());
            }
            Err(error) => {
                for digest in left {
                    let members = self.sending.wanted.remove(&digest).map(|wanted| wanted.members);
                    for id in members.unwrap_or_default() {
                        self.end(id, Phase::Failed, Some(error.clone()));
                    }
                }
            }
        }
    }

    /// Nobody knows which of these have arrived: the server does, and its answers to the members that wait say so.
    fn doubt(&mut self, blocks: Vec<Digest>) {
        for digest in blocks {
            let Some(wanted) = self.sending.wanted.remove(&digest) else { continue };
            for id in wanted.members {
                self.stop_sending(id);
                self.name_again(id, Stage::Sending);
            }
        }
    }

    /// Takes a member that waits for blocks out of all queues.
    pub(super) fn stop_sending(&mut self, id: MemberId) {
        let Some(mut member) = self.members.remove(&id) else { return };
        self.forget_blocks(id, &member);
        member.to_send.clear();
        member.missing = 0;
        self.members.insert(id, member);
    }

    /// The member needs its blocks no more; what others need of them they send themselves.
    pub(super) fn forget_blocks(&mut self, id: MemberId, member: &Member) {
        if member.missing == 0 && member.to_send.is_empty() {
            return;
        }
        self.sending.small_first.remove(&(member.rank, id));
        for (digest, _) in &member.blocks {
            let Some(wanted) = self.sending.wanted.get_mut(digest) else { continue };
            wanted.members.retain(|other| *other != id);
            if wanted.taken {
                continue;
            }
            let heir = wanted.members.first().copied();
            let length = wanted.length;
            match heir.and_then(|heir| Some((heir, self.members.get_mut(&heir)?))) {
                Some((heir, other)) => {
                    other.to_send.push(*digest);
                    let rank = other.rank;
                    self.line_up(heir, rank);
                }
                None => {
                    self.sending.wanted.remove(digest);
                    self.sending.queued -= length;
                }
            }
        }
    }
}

fn foreign(digest: &Digest) -> ClientError {
    ClientError::new(
        ErrorGroup::Internal,
        "server.foreign_block",
        format!("The server asks for the block {digest}, which is none of this simulation's."),
    )
    .hint("Server and client may be of different versions; update both.")
}

fn forgetful() -> ClientError {
    ClientError::new(
        ErrorGroup::DataCorrupted,
        "server.blocks_lost",
        "The server has lost what it was sent, several times.",
    )
    .hint("Look at the server's log and at its disk; then submit again.")
}

fn incomplete() -> ClientError {
    ClientError::new(
        ErrorGroup::Usage,
        "task.waiting_for_data",
        "The program that made this simulation ended before all of its arrays were sent.",
    )
    .hint("Run the script again: it goes on where it stopped.")
}
