//! Some shards whose batches move only when the test says so.

use crate::base::hash::HomeKey;
use crate::base::ids::{ConnectionId, ShardId};
use crate::base::time::Instant;
use crate::config::limits::Limits;
use crate::journal::SegmentEvent;
use crate::shard::Shard;
use crate::shard::interface::{
    CloseCause, ConnectionOrigin, JournalStart, ReadVerdict, ShardSettings,
};

const KEY: HomeKey = HomeKey::new([9; 16]);

pub(super) struct Cluster {
    pub(super) shards: Vec<Shard>,
    pub(super) now: Instant,
}

/// A client's connection, and where it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    shard: usize,
    id: ConnectionId,
}

impl Cluster {
    pub(super) fn new(shard_count: u16) -> Self {
        Self::with_limits(shard_count, &|_| ())
    }

    /// With the default limits, changed by `set`.
    pub(super) fn with_limits(shard_count: u16, set: &dyn Fn(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        set(&mut limits);
        let shard = |id| {
            Shard::new(ShardSettings {
                id: ShardId(id),
                shard_count,
                limits: limits.clone(),
                home_key: KEY,
                seed: 1,
            })
        };
        Self {
            shards: (0..shard_count).map(shard).collect(),
            now: Instant::from_micros(1),
        }
    }

    /// A text that hashes to the shard.
    pub(super) fn text_at(&self, shard: usize, prefix: &str) -> String {
        let count = u16::try_from(self.shards.len()).unwrap();
        (0..)
            .map(|number| format!("{prefix}{number}"))
            .find(|text| KEY.home(text.as_bytes(), count).index() == shard)
            .unwrap()
    }

    /// A 3.1.1 client with a persistent session at the given shard.
    pub(super) fn connect(&mut self, shard: usize, name: &str) -> Client {
        self.connect_with_level(shard, name, 4)
    }

    /// The same with another protocol level of 3.1.1: 0x84 is a bridge's.
    pub(super) fn connect_with_level(&mut self, shard: usize, name: &str, level: u8) -> Client {
        let client = self.open(shard, name, level, false);
        assert_eq!(self.received(client)[..2], [0x20, 2]);
        client
    }

    /// A session that ends with its connection, and that replaces an earlier one.
    pub(super) fn connect_clean(&mut self, shard: usize, name: &str) -> Client {
        let client = self.open(shard, name, 4, true);
        assert_eq!(self.received(client)[..2], [0x20, 2]);
        client
    }

    /// With or without Clean Session; its CONNACK is among what the shard sends.
    pub(super) fn open(&mut self, shard: usize, name: &str, level: u8, is_clean: bool) -> Client {
        self.open_at(0, shard, name, level, is_clean)
    }

    /// The same at the listener with this number.
    pub(super) fn open_at(
        &mut self,
        listener: u16,
        shard: usize,
        name: &str,
        level: u8,
        is_clean: bool,
    ) -> Client {
        let origin = ConnectionOrigin {
            peer: None,
            listener,
        };
        let id = self.shards[shard]
            .on_connection_opened(self.now, origin)
            .unwrap();
        let client = Client { shard, id };
        let client_id = self.text_at(shard, name);
        let flags = if is_clean { 2 } else { 0 };
        let head = [&b"\0\x04MQTT"[..], &[level, flags, 0, 0]].concat();
        let connect = [head, string(&client_id)].concat();
        self.feed(client, &packet(0x10, &connect));
        client
    }

    /// What the shard sends to any of its clients; connections that it ended are forgotten.
    pub(super) fn sent(&mut self, shard: usize) -> Vec<(Client, Vec<u8>)> {
        let mut sent = Vec::new();
        while let Some((id, transmit)) = self.shards[shard].poll_transmit() {
            let bytes = transmit.slices().flatten().copied().collect();
            sent.push((Client { shard, id }, bytes));
            self.shards[shard].on_transmitted(self.now, id, transmit);
        }
        while let Some(closing) = self.shards[shard].poll_close() {
            if let Some(last) = closing.last {
                self.shards[shard].recycle(last);
            }
        }
        sent
    }

    /// All shards have journals, which hold nothing yet.
    pub(super) fn start_journals(&mut self) {
        for shard in &mut self.shards {
            let start = JournalStart {
                unix_ms: 1,
                recovered: None,
            };
            shard.start_journal(self.now, start).unwrap();
        }
        self.settle();
    }

    /// The disk of a shard does all that it is asked for; how many of the writes were synced.
    pub(super) fn write_journal(&mut self, shard: usize) -> usize {
        let shard = &mut self.shards[shard];
        let mut synced = 0;
        loop {
            while let Some(event) = shard.poll_segment() {
                if let SegmentEvent::Wanted(number) = event {
                    shard.on_segment_ready(self.now, number);
                }
            }
            let Some(batch) = shard.poll_journal() else {
                return synced;
            };
            synced += usize::from(batch.needs_sync());
            shard.on_durable(self.now, batch);
        }
    }

    pub(super) fn cut(&mut self, client: Client) {
        let cause = CloseCause::NetworkClosed;
        self.shards[client.shard].on_connection_closed(self.now, client.id, cause);
    }

    pub(super) fn feed(&mut self, client: Client, bytes: &[u8]) {
        assert_eq!(self.feed_any(client, bytes), ReadVerdict::Continue);
    }

    /// The same for bytes that the shard may not be able to handle at once.
    pub(super) fn feed_any(&mut self, client: Client, bytes: &[u8]) -> ReadVerdict {
        self.shards[client.shard].on_bytes(self.now, client.id, bytes)
    }

    /// Moves the batches from one shard to another, and takes them home.
    pub(super) fn carry(&mut self, from: usize, to: usize) {
        let mut held = Vec::new();
        while let Some((peer, batch)) = self.shards[from].poll_peer_batch() {
            held.push((peer, batch));
        }
        let source = ShardId(u16::try_from(from).unwrap());
        for (peer, mut batch) in held {
            assert_eq!(peer.index(), to, "nothing for another shard");
            self.shards[to].on_peer_batch(self.now, source, &mut batch);
            self.shards[from].on_peer_batch_returned(self.now, peer, batch);
        }
    }

    /// Takes what a shard wants to send to others; [`Self::deliver`] lets it arrive.
    pub(super) fn hold(&mut self, from: usize) -> Vec<Held> {
        let mut held = Vec::new();
        while let Some((to, batch)) = self.shards[from].poll_peer_batch() {
            held.push(Held { from, to, batch });
        }
        held
    }

    /// Lets the batches for `to` arrive; the others stay held.
    pub(super) fn deliver(&mut self, held: &mut Vec<Held>, to: usize) {
        for mut held in held.extract_if(.., |held| held.to.index() == to) {
            let source = ShardId(u16::try_from(held.from).unwrap());
            self.shards[to].on_peer_batch(self.now, source, &mut held.batch);
            self.shards[held.from].on_peer_batch_returned(self.now, held.to, held.batch);
        }
    }

    /// Everything that can move does.
    pub(super) fn settle(&mut self) {
        loop {
            let mut moved = false;
            for from in 0..self.shards.len() {
                let mut held = self.hold(from);
                moved |= !held.is_empty();
                (0..self.shards.len()).for_each(|to| self.deliver(&mut held, to));
                moved |= self.run_slices(from);
            }
            if !moved {
                break;
            }
        }
        self.shards.iter().for_each(Shard::assert_invariants);
    }

    /// Everything that can move does, also through the journals; what was sent is dropped.
    pub(super) fn settle_with_disks(&mut self) {
        for _ in 0..4 {
            self.settle();
            (0..self.shards.len()).for_each(|shard| {
                self.write_journal(shard);
            });
        }
        (0..self.shards.len()).for_each(|shard| drop(self.sent(shard)));
    }

    /// Work that was cut into slices.
    pub(super) fn run_slices(&mut self, shard: usize) -> bool {
        let due = self.shards[shard].poll_timeout();
        let is_due = due.is_some_and(|at| at <= self.now);
        if is_due {
            self.shards[shard].on_timeout(self.now);
        }
        is_due
    }

    /// The bytes that the client was sent since the last call.
    pub(super) fn received(&mut self, client: Client) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some((id, transmit)) = self.shards[client.shard].poll_transmit() {
            assert_eq!(id, client.id);
            transmit.slices().for_each(|slice| bytes.extend(slice));
            self.shards[client.shard].on_transmitted(self.now, id, transmit);
        }
        bytes
    }
}

/// A batch on its way.
pub(super) struct Held {
    from: usize,
    to: ShardId,
    batch: Box<crate::shard::peer_batch::PeerBatch>,
}

fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first_byte];
    let mut rest = body.len();
    while rest >= 128 {
        packet.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    packet.push(u8::try_from(rest).unwrap());
    packet.extend_from_slice(body);
    packet
}

pub(super) fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 1][..], &string(filter), &[qos]].concat())
}

pub(super) fn unsubscribe(filter: &str) -> Vec<u8> {
    packet(0xa2, &[&[0, 2][..], &string(filter)].concat())
}

/// SUBSCRIBE with all of them at QoS 1, its packet identifier is 3.
pub(super) fn subscribe_all(filters: &[String]) -> Vec<u8> {
    let entries = filters
        .iter()
        .flat_map(|filter| [string(filter), vec![1]].concat());
    packet(0x82, &[0, 3].into_iter().chain(entries).collect::<Vec<_>>())
}

/// UNSUBSCRIBE with all of them, its packet identifier is 4.
pub(super) fn unsubscribe_all(filters: &[String]) -> Vec<u8> {
    let entries = filters.iter().flat_map(|filter| string(filter));
    packet(0xa2, &[0, 4].into_iter().chain(entries).collect::<Vec<_>>())
}

/// `flags`: DUP 8, QoS 2 or 4, RETAIN 1; the packet identifier is 7.
pub(super) fn publish(flags: u8, topic_name: &str, payload: &str) -> Vec<u8> {
    publish_as(7, flags, topic_name, payload)
}

pub(super) fn publish_as(packet_id: u16, flags: u8, topic_name: &str, payload: &str) -> Vec<u8> {
    let packet_id = packet_id.to_be_bytes();
    let packet_id: &[u8] = if flags & 6 == 0 { &[] } else { &packet_id };
    let body = [&string(topic_name), packet_id, payload.as_bytes()].concat();
    packet(0x30 | flags, &body)
}
