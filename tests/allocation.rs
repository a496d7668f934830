//! The warm PUBLISH path allocates nothing: decode, match, delivery on the same shard and on
//! another one, acknowledgements both ways, at every QoS.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ringway::base::hash::HomeKey;
use ringway::base::ids::{ConnectionId, ShardId};
use ringway::base::time::Instant;
use ringway::config::limits::Limits;
use ringway::shard::Shard;
use ringway::shard::interface::{ConnectionOrigin, ReadVerdict, ShardSettings};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: same contract as ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: same contract as ours.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: same contract as ours.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ORIGIN: ConnectionOrigin = ConnectionOrigin {
    peer: None,
    listener: 0,
};
const KEY: HomeKey = HomeKey::new([7; 16]);

/// Two shards and the wires between them; moving things allocates nothing.
struct Pair {
    shards: [Shard; 2],
    now: Instant,
    /// What the last turn sent to each subscriber.
    subscribers: Vec<Subscriber>,
}

struct Subscriber {
    shard: usize,
    id: ConnectionId,
    received: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let shard = |id| {
            let limits = Limits::default();
            Shard::new(ShardSettings {
                id: ShardId(id),
                shard_count: 2,
                limits,
                home_key: KEY,
                seed: 1,
            })
        };
        let shards = [shard(0), shard(1)];
        Self {
            shards,
            now: Instant::from_micros(1),
            subscribers: Vec::new(),
        }
    }

    /// Moves everything between shards and to the sockets until nothing is left.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for index in 0..2 {
                while let Some((peer, mut batch)) = self.shards[index].poll_peer_batch() {
                    let source = ShardId(u16::try_from(index).unwrap());
                    self.shards[peer.index()].on_peer_batch(self.now, source, &mut batch);
                    self.shards[index].on_peer_batch_returned(self.now, peer, batch);
                    moved = true;
                }
                while let Some((id, transmit)) = self.shards[index].poll_transmit() {
                    let it = self.subscribers.iter_mut();
                    for subscriber in it.filter(|it| it.shard == index && it.id == id) {
                        transmit
                            .slices()
                            .for_each(|it| subscriber.received.extend(it));
                    }
                    self.shards[index].on_transmitted(self.now, id, transmit);
                    moved = true;
                }
                assert!(self.shards[index].poll_close().is_none());
            }
            if !moved {
                return;
            }
        }
    }

    /// A 3.1.1 client at the given shard, with a subscription if wanted.
    fn client(&mut self, shard: usize, filter: Option<(&str, u8)>) -> ConnectionId {
        let name = (0..)
            .map(|number| format!("client-{number}"))
            .find(|name| KEY.home(name.as_bytes(), 2).index() == shard && !self.knows(shard, name))
            .unwrap();
        let id = self.shards[shard]
            .on_connection_opened(self.now, ORIGIN)
            .unwrap();
        let mut connect = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0];
        connect.extend([0, u8::try_from(name.len()).unwrap()]);
        connect.extend(name.as_bytes());
        self.feed(shard, id, &packet(0x10, &connect));
        if let Some((filter, qos)) = filter {
            let mut subscribe = vec![0, 1, 0, u8::try_from(filter.len()).unwrap()];
            subscribe.extend(filter.as_bytes());
            subscribe.push(qos);
            self.feed(shard, id, &packet(0x82, &subscribe));
        }
        self.settle();
        id
    }

    fn knows(&self, shard: usize, name: &str) -> bool {
        (0..64).any(|index| {
            let id = ConnectionId {
                index,
                generation: 0,
            };
            self.shards[shard].client_id(id) == Some(name)
        })
    }

    fn feed(&mut self, shard: usize, id: ConnectionId, bytes: &[u8]) {
        let verdict = self.shards[shard].on_bytes(self.now, id, bytes);
        assert_eq!(verdict, ReadVerdict::Continue);
    }
}

fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    [&[first_byte, u8::try_from(body.len()).unwrap()][..], body].concat()
}

impl Pair {
    /// One message from the publisher at shard 0 to everybody, with all acknowledgements.
    /// Returns how many subscribers received it.
    fn round(&mut self, publisher: ConnectionId, message: &[u8], qos: u8) -> usize {
        self.now = self.now + Duration::from_micros(10);
        self.feed(0, publisher, message);
        self.settle();
        if qos == 2 {
            self.feed(0, publisher, &[0x62, 2, message[7], message[8]]);
            self.settle();
        }
        let mut received = 0;
        for index in 0..self.subscribers.len() {
            let Subscriber { shard, id, .. } = self.subscribers[index];
            let bytes = &self.subscribers[index].received;
            if bytes.is_empty() {
                continue;
            }
            received += 1;
            assert_eq!(bytes[0], 0x30 | (qos << 1));
            let (high, low) = (bytes[7], bytes[8]);
            match qos {
                1 => self.feed(shard, id, &[0x40, 2, high, low]),
                2 => {
                    self.feed(shard, id, &[0x50, 2, high, low]);
                    self.feed(shard, id, &[0x70, 2, high, low]);
                }
                _ => {}
            }
            self.settle();
            self.subscribers[index].received.clear();
        }
        received
    }
}

#[test]
fn warm_publish_path_allocates_nothing() {
    for qos in 0..3u8 {
        let mut pair = Pair::new();
        let publisher = pair.client(0, None);
        // Two at the publisher's shard, one of them with a wildcard, and two at the other.
        for (shard, filter) in [(0, "a/b"), (0, "a/+"), (1, "a/b"), (1, "#")] {
            let id = pair.client(shard, Some((filter, qos)));
            pair.subscribers.push(Subscriber {
                shard,
                id,
                received: Vec::with_capacity(4096),
            });
        }
        let packet_id: &[u8] = if qos > 0 { &[0, 1] } else { &[] };
        let body = [&[0, 3, b'a', b'/', b'b'][..], packet_id, &[1; 64]].concat();
        let mut message = packet(0x30 | (qos << 1), &body);
        let mut run = |rounds: u16| {
            for round in 0..rounds {
                if qos > 0 {
                    message[7..9].copy_from_slice(&(round + 1).to_be_bytes());
                }
                assert_eq!(pair.round(publisher, &message, qos), 4);
            }
        };
        run(100);
        let before = ALLOCATIONS.with(Cell::get);
        run(40_000);
        assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "QoS {qos}");
    }
}
