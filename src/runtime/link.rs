//! The links between cores: what one core sends to another without locks and without waiting.
//!
//! One [`Links`] per core, made before the threads start. Per ordered pair there are three queues
//! of one writer and one reader: batches, emptied batches on their way home, and connections that
//! move to their home shard. Everything travels as a box, so that the queues stay small with many
//! cores: their number grows with the square of it.

use super::bell::Bell;
use super::tls::TlsStream;
use crate::base::ids::ShardId;
use crate::shard::interface::HandOver;
use crate::shard::peer_batch::PeerBatch;
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::VecDeque;
use std::sync::Arc;

/// Room for batches in one direction. A shard has at most 8 batches on their way to one peer, the
/// emptied ones included, so this never fills; twice that, so that a shard which grows its window
/// is not punished by an abort.
pub(crate) const BATCHES_MAX: usize = 16;
/// Room for connections on their way to one peer: what a core accepts in one turn in a storm.
/// More wait at the sender until there is room.
pub(crate) const ARRIVALS_MAX: usize = 64;

/// A connection that arrives: what the shard knows of it, and its slot in the table of direct
/// descriptors of the core it arrives at.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) hand_over: HandOver,
    pub(crate) slot: u32,
    /// With what it holds of records that are not complete or not sent.
    pub(crate) tls: Option<Box<TlsStream>>,
}

/// One core's ends of its links to all other cores.
#[derive(Debug)]
pub(crate) struct Links {
    own: Arc<Bell>,
    /// One per shard; the own entry is `None`.
    peers: Vec<Option<Link>>,
}

/// Both directions between the own core and one peer.
#[derive(Debug)]
struct Link {
    bell: Arc<Bell>,
    batches_out: Producer<Box<PeerBatch>>,
    batches_in: Consumer<Box<PeerBatch>>,
    /// Emptied batches that the peer gave back.
    returned_in: Consumer<Box<PeerBatch>>,
    returned_out: Producer<Box<PeerBatch>>,
    arrivals_out: Producer<Box<Arrival>>,
    arrivals_in: Consumer<Box<Arrival>>,
    /// Arrivals that found no room; bounded by the connections of this core.
    waiting: VecDeque<Box<Arrival>>,
    /// Something was sent since the last look at the peer's bell.
    sent: bool,
}

impl Links {
    pub(crate) fn bell(&self) -> &Bell {
        &self.own
    }

    fn link_mut(&mut self, peer: ShardId) -> Option<&mut Link> {
        self.peers.get_mut(peer.index())?.as_mut()
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        self.peers.iter().flatten()
    }

    /// All peers in ascending order.
    pub(crate) fn peers(&self) -> impl Iterator<Item = ShardId> + use<> {
        let own = self.peers.iter().position(Option::is_none);
        #[allow(
            clippy::cast_possible_truncation,
            reason = "at most ShardId::COUNT_MAX"
        )]
        (0..self.peers.len())
            .filter(move |index| Some(*index) != own)
            .map(|index| ShardId(index as u16))
    }

    pub(crate) fn send_batch(&mut self, peer: ShardId, batch: Box<PeerBatch>) {
        let Some(link) = self.link_mut(peer) else {
            return;
        };
        let pushed = link.batches_out.push(batch);
        assert!(
            pushed.is_ok(),
            "more batches under way than a shard may have"
        );
        link.sent = true;
    }

    /// The next batch from `peer`.
    pub(crate) fn receive_batch(&mut self, peer: ShardId) -> Option<Box<PeerBatch>> {
        self.link_mut(peer)?.batches_in.pop().ok()
    }

    /// Gives an emptied batch back to `peer`.
    pub(crate) fn return_batch(&mut self, peer: ShardId, batch: Box<PeerBatch>) {
        let Some(link) = self.link_mut(peer) else {
            return;
        };
        let wakes = batch.wants_return();
        let pushed = link.returned_out.push(batch);
        assert!(pushed.is_ok(), "more batches returned than were sent");
        link.sent |= wakes;
    }

    /// The next batch of our own that `peer` has emptied.
    pub(crate) fn receive_returned(&mut self, peer: ShardId) -> Option<Box<PeerBatch>> {
        self.link_mut(peer)?.returned_in.pop().ok()
    }

    /// Sends a connection; it waits here when the link has no room.
    pub(crate) fn send_arrival(&mut self, peer: ShardId, arrival: Box<Arrival>) {
        let Some(link) = self.link_mut(peer) else {
            return;
        };
        link.waiting.push_back(arrival);
        link.send_waiting();
    }

    pub(crate) fn receive_arrival(&mut self, peer: ShardId) -> Option<Box<Arrival>> {
        self.link_mut(peer)?.arrivals_in.pop().ok()
    }

    /// Tries again to send what waits.
    pub(crate) fn send_waiting(&mut self) {
        for link in self.peers.iter_mut().flatten() {
            link.send_waiting();
        }
    }

    /// Whether connections wait for room.
    pub(crate) fn has_waiting(&self) -> bool {
        self.links().any(|link| !link.waiting.is_empty())
    }

    /// Whether a peer has sent something that was not received yet.
    pub(crate) fn has_inbound(&self) -> bool {
        self.links().any(|link| {
            !link.batches_in.is_empty()
                || !link.returned_in.is_empty()
                || !link.arrivals_in.is_empty()
        })
    }

    /// Calls `ring` with the ring of each peer that sleeps although something was sent to it.
    pub(crate) fn ring_sleeping(&mut self, mut ring: impl FnMut(i32)) {
        for link in self.peers.iter_mut().flatten() {
            if std::mem::take(&mut link.sent)
                && let Some(descriptor) = link.bell.must_ring()
            {
                ring(descriptor);
            }
        }
    }
}

impl Link {
    fn send_waiting(&mut self) {
        while let Some(arrival) = self.waiting.pop_front() {
            match self.arrivals_out.push(arrival) {
                Ok(()) => self.sent = true,
                Err(rtrb::PushError::Full(arrival)) => {
                    self.waiting.push_front(arrival);
                    return;
                }
            }
        }
    }
}

/// The links of all cores, one entry per bell.
pub(crate) fn mesh(bells: &[Arc<Bell>]) -> Vec<Links> {
    let mut all: Vec<Links> = bells
        .iter()
        .map(|bell| Links {
            own: Arc::clone(bell),
            peers: bells.iter().map(|_| None).collect(),
        })
        .collect();
    for left in 0..bells.len() {
        for right in left + 1..bells.len() {
            let (at_left, at_right) = pair(&bells[left], &bells[right]);
            all[left].peers[right] = Some(at_left);
            all[right].peers[left] = Some(at_right);
        }
    }
    all
}

/// Both ends of the link between two cores.
fn pair(left: &Arc<Bell>, right: &Arc<Bell>) -> (Link, Link) {
    let (batches_right, batches_at_right) = RingBuffer::new(BATCHES_MAX);
    let (batches_left, batches_at_left) = RingBuffer::new(BATCHES_MAX);
    let (returned_right, returned_at_right) = RingBuffer::new(BATCHES_MAX);
    let (returned_left, returned_at_left) = RingBuffer::new(BATCHES_MAX);
    let (arrivals_right, arrivals_at_right) = RingBuffer::new(ARRIVALS_MAX);
    let (arrivals_left, arrivals_at_left) = RingBuffer::new(ARRIVALS_MAX);
    let at_left = Link {
        bell: Arc::clone(right),
        batches_out: batches_right,
        batches_in: batches_at_left,
        returned_in: returned_at_left,
        returned_out: returned_right,
        arrivals_out: arrivals_right,
        arrivals_in: arrivals_at_left,
        waiting: VecDeque::new(),
        sent: false,
    };
    let at_right = Link {
        bell: Arc::clone(left),
        batches_out: batches_left,
        batches_in: batches_at_right,
        returned_in: returned_at_right,
        returned_out: returned_left,
        arrivals_out: arrivals_left,
        arrivals_in: arrivals_at_right,
        waiting: VecDeque::new(),
        sent: false,
    };
    (at_left, at_right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::interface::ConnectionOrigin;

    fn bells(count: usize) -> Vec<Arc<Bell>> {
        (0..count)
            .map(|index| {
                let bell = Bell::new().unwrap();
                bell.set_ring(i32::try_from(index).unwrap() + 100);
                Arc::new(bell)
            })
            .collect()
    }

    fn arrival(slot: u32) -> Box<Arrival> {
        let origin = ConnectionOrigin {
            peer: None,
            listener: 0,
        };
        let hand_over = HandOver {
            origin,
            received: vec![1, 2, 3],
        };
        Box::new(Arrival {
            hand_over,
            slot,
            tls: None,
        })
    }

    #[test]
    fn every_pair_is_linked_in_both_directions() {
        let mut all = mesh(&bells(3));
        for sender in 0..3u16 {
            let peers: Vec<ShardId> = all[usize::from(sender)].peers().collect();
            assert_eq!(peers.len(), 2);
            assert!(!peers.contains(&ShardId(sender)));
            for peer in peers {
                all[usize::from(sender)].send_batch(peer, Box::default());
            }
        }
        for receiver in &mut all {
            assert!(receiver.has_inbound());
            for peer in receiver.peers() {
                let batch = receiver.receive_batch(peer).unwrap();
                assert!(receiver.receive_batch(peer).is_none());
                receiver.return_batch(peer, batch);
            }
        }
        for sender in &mut all {
            for peer in sender.peers() {
                assert!(sender.receive_returned(peer).is_some());
            }
            assert!(!sender.has_inbound());
        }
    }

    #[test]
    fn arrivals_wait_for_room_and_keep_their_order() {
        let mut all = mesh(&bells(2));
        let (first, second) = (ShardId(0), ShardId(1));
        let total = u32::try_from(ARRIVALS_MAX).unwrap() + 10;
        for slot in 0..total {
            all[0].send_arrival(second, arrival(slot));
        }
        assert!(all[0].has_waiting());
        let mut received = Vec::new();
        while received.len() < total as usize {
            while let Some(arrival) = all[1].receive_arrival(first) {
                assert_eq!(arrival.hand_over.received, [1, 2, 3]);
                received.push(arrival.slot);
            }
            all[0].send_waiting();
        }
        assert!(!all[0].has_waiting());
        assert_eq!(received, (0..total).collect::<Vec<_>>());
    }

    #[test]
    fn bell_rings_only_for_a_sleeping_peer_that_was_sent_to() {
        let bells = bells(3);
        let mut all = mesh(&bells);
        let mut rung = Vec::new();
        bells[1].begin_sleep();
        bells[2].begin_sleep();
        all[0].send_batch(ShardId(1), Box::default());
        all[0].ring_sleeping(|ring| rung.push(ring));
        all[0].ring_sleeping(|ring| rung.push(ring));
        assert_eq!(rung, [101]);
        bells[1].end_sleep();
        all[0].send_batch(ShardId(1), Box::default());
        all[0].ring_sleeping(|ring| rung.push(ring));
        assert_eq!(rung, [101]);
    }
}
