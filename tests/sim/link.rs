//! The links between shards: batches on their way there and, emptied, back. FIFO per direction.

use ringway::base::time::Instant;
use ringway::shard::peer_batch::PeerBatch;
use std::collections::VecDeque;

#[derive(Debug, Default)]
struct Link {
    outward: VecDeque<Box<PeerBatch>>,
    homeward: VecDeque<Box<PeerBatch>>,
    last_outward: Instant,
    last_homeward: Instant,
}

/// One link per ordered pair of shards.
#[derive(Debug)]
pub(crate) struct Links {
    shard_count: usize,
    links: Vec<Link>,
}

impl Links {
    pub(crate) fn new(shard_count: usize) -> Self {
        let links = (0..shard_count * shard_count)
            .map(|_| Link::default())
            .collect();
        Self { shard_count, links }
    }

    fn link(&mut self, source: usize, target: usize) -> &mut Link {
        assert_ne!(source, target);
        &mut self.links[source * self.shard_count + target]
    }

    /// A batch leaves; returns when it arrives, never before an earlier one.
    pub(crate) fn send(
        &mut self,
        source: usize,
        target: usize,
        batch: Box<PeerBatch>,
        arrival: Instant,
    ) -> Instant {
        let link = self.link(source, target);
        link.outward.push_back(batch);
        link.last_outward = link.last_outward.max(arrival);
        link.last_outward
    }

    pub(crate) fn arrive(&mut self, source: usize, target: usize) -> Option<Box<PeerBatch>> {
        self.link(source, target).outward.pop_front()
    }

    /// An emptied batch goes home.
    pub(crate) fn send_home(
        &mut self,
        source: usize,
        target: usize,
        batch: Box<PeerBatch>,
        arrival: Instant,
    ) -> Instant {
        let link = self.link(source, target);
        link.homeward.push_back(batch);
        link.last_homeward = link.last_homeward.max(arrival);
        link.last_homeward
    }

    pub(crate) fn arrive_home(&mut self, source: usize, target: usize) -> Option<Box<PeerBatch>> {
        self.link(source, target).homeward.pop_front()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.links
            .iter()
            .all(|link| link.outward.is_empty() && link.homeward.is_empty())
    }
}
