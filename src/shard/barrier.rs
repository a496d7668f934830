//! Barriers between shards: a SUBACK leaves when every other shard knows of the subscription.

use super::Shard;
use super::peer_batch::ShardMessage;
use super::subscribe::PendingSubscribe;
use crate::base::ids::ShardId;
use crate::base::time::Instant;
use smallvec::SmallVec;
use std::collections::VecDeque;

/// The SUBSCRIBE packets of this turn, and of earlier turns that wait for an answer. One barrier
/// per turn and link, however many packets; bounded by the connections, each of which has at most
/// as many SUBSCRIBE packets waiting as links have room.
#[derive(Debug, Default)]
pub(super) struct Barriers {
    collecting: Vec<PendingSubscribe>,
    waiting: VecDeque<Barrier>,
    /// Number of the last one that all have answered; from 1. `waiting` follows it.
    passed: u64,
    /// The shard whose batch is being read.
    reading: Option<ShardId>,
    /// Barriers of other shards that wait until our retained updates are with their owners.
    held: VecDeque<HeldBarrier>,
}

#[derive(Debug)]
struct Barrier {
    /// Shards that have not answered.
    open: usize,
    subscribes: Vec<PendingSubscribe>,
}

#[derive(Debug)]
struct HeldBarrier {
    source: ShardId,
    number: u64,
    /// The retained update that must have arrived at its owner, of those that arrive exactly once.
    forward: u64,
    /// Link and number of the retained update that must be accepted there.
    waits: SmallVec<[(ShardId, u64); 4]>,
}

impl Barriers {
    /// Number of the last one that is over.
    pub(super) const fn passed(&self) -> u64 {
        self.passed
    }

    /// Number of the last one that was sent.
    fn begun(&self) -> u64 {
        self.passed + self.waiting.len() as u64
    }

    /// A shard on its own waits for nobody.
    pub(super) const fn pass_alone(&mut self) {
        self.passed += 1;
    }

    /// What happens now is said by this shard, until the batch is over.
    pub(super) const fn read(&mut self, source: Option<ShardId>) {
        self.reading = source;
    }

    /// It waits for the barrier of this turn.
    pub(super) fn push(&mut self, pending: PendingSubscribe) {
        self.collecting.push(pending);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.collecting.is_empty() && self.waiting.is_empty() && self.held.is_empty()
    }
}

impl Shard {
    /// At the end of a turn: one barrier for all SUBSCRIBE packets of the turn.
    pub(super) fn send_barrier(&mut self) {
        if self.barriers.collecting.is_empty() {
            return;
        }
        let subscribes = std::mem::take(&mut self.barriers.collecting);
        let number = self.barriers.begun() + 1;
        let open = usize::from(self.shard_count) - 1;
        self.barriers
            .waiting
            .push_back(Barrier { open, subscribes });
        for link in self.peers() {
            self.links[link].push(ShardMessage::Barrier { number });
        }
    }

    /// Another shard's barrier: all interest before it is in the table already. The answer must
    /// also wait for retained updates that this shard sent before: a lookup at the owner that
    /// follows the answer must find them, as they were not forwarded to the new subscriber.
    pub(super) fn on_barrier(&mut self, source: ShardId, number: u64) {
        let mut waits = SmallVec::new();
        for link in self.peers() {
            let update = self.links[link].last_retained_update;
            if !self.links[link].has_accepted(update) {
                #[allow(clippy::cast_possible_truncation, reason = "below shard_count, a u16")]
                waits.push((ShardId(link as u16), update));
            }
        }
        self.barriers.held.push_back(HeldBarrier {
            source,
            number,
            forward: self.forwards.last_retained_update(),
            waits,
        });
        self.answer_barriers();
        if !self.barriers.held.is_empty() {
            self.links[source.index()].push(ShardMessage::BarrierSeen { number });
        }
    }

    /// A shard has our barrier: what it says from now on was published behind it.
    pub(super) fn on_barrier_seen(&mut self, source: ShardId, number: u64) {
        let link = &mut self.links[source.index()];
        link.barrier_seen = link.barrier_seen.max(number);
    }

    /// The last of our barriers that the live message being delivered was surely published behind.
    pub(super) fn barrier_before_message(&self) -> u64 {
        match self.barriers.reading {
            Some(source) => self.links[source.index()].barrier_seen,
            None => self.barriers.begun(),
        }
    }

    /// Answers the barriers that wait for nothing any more, in the order of their coming.
    pub(super) fn answer_barriers(&mut self) {
        let Self {
            barriers,
            links,
            forwards,
            ..
        } = self;
        while let Some(held) = barriers.held.front() {
            let accepted =
                |(shard, number): &(ShardId, u64)| links[shard.index()].has_accepted(*number);
            if !held.waits.iter().all(accepted) || !forwards.is_done(held.forward) {
                return;
            }
            let number = held.number;
            links[held.source.index()].push(ShardMessage::BarrierReached { number });
            barriers.held.pop_front();
        }
    }

    /// A shard has answered: SUBACKs leave when all have.
    pub(super) fn on_barrier_reached(&mut self, now: Instant, source: ShardId, number: u64) {
        self.on_barrier_seen(source, number);
        let Some(position) = number.checked_sub(self.barriers.passed + 1) else {
            return;
        };
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        let Some(barrier) = self.barriers.waiting.get_mut(position) else {
            return;
        };
        barrier.open -= 1;
        while self
            .barriers
            .waiting
            .front()
            .is_some_and(|first| first.open == 0)
        {
            let Some(done) = self.barriers.waiting.pop_front() else {
                return;
            };
            self.barriers.passed += 1;
            for pending in done.subscribes {
                self.finish_subscribe(now, pending);
            }
        }
        // What is published here from now on is behind the second barrier of those that need one.
        self.send_barrier();
    }
}
