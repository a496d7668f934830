//! What the shard allocates. The warm PUBLISH path allocates nothing: decode, match, delivery on
//! the same shard and on another one, acknowledgements both ways, at every QoS. And an idle
//! connection keeps within its memory budget.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ringway::base::hash::HomeKey;
use ringway::base::ids::{ConnectionId, ShardId};
use ringway::base::time::Instant;
use ringway::config::limits::Limits;
use ringway::config::memory::TLS_BYTES;
use ringway::config::settings::TlsSettings;
use ringway::journal::SegmentEvent;
use ringway::runtime::tls::{Buffers, Gate, TlsStream};
use ringway::shard::Shard;
use ringway::shard::interface::{ConnectionOrigin, JournalStart, ReadVerdict, ShardSettings};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<usize> = const { Cell::new(0) };
}

fn count(grown_bytes: usize, shrunk_bytes: usize) {
    ALLOCATIONS.with(|count| count.set(count.get() + u64::from(grown_bytes > 0)));
    LIVE_BYTES.with(|live| {
        live.set(
            live.get()
                .wrapping_add(grown_bytes)
                .wrapping_sub(shrunk_bytes),
        )
    });
}

// SAFETY: every call is passed on unchanged to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: same contract as ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: same contract as ours.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
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
    /// Sessions are persistent, and journalled.
    is_durable: bool,
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
        Self::with_limits(&Limits::default())
    }

    fn with_limits(limits: &Limits) -> Self {
        let shard = |id| {
            let limits = limits.clone();
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
            is_durable: false,
            subscribers: Vec::new(),
        }
    }

    fn durable() -> Self {
        let mut pair = Self::new();
        pair.is_durable = true;
        for shard in &mut pair.shards {
            let start = JournalStart {
                unix_ms: 1,
                recovered: None,
            };
            shard.start_journal(pair.now, start).unwrap();
        }
        pair.settle();
        pair
    }

    /// A disk that is done at once.
    fn write(&mut self, index: usize) -> bool {
        let shard = &mut self.shards[index];
        while let Some(event) = shard.poll_segment() {
            if let SegmentEvent::Wanted(number) = event {
                shard.on_segment_ready(self.now, number);
            }
        }
        let batch = shard.poll_journal();
        batch.is_some_and(|batch| {
            assert!(batch.needs_sync());
            shard.on_durable(self.now, batch);
            true
        })
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
                moved |= self.write(index);
                let now = self.now;
                while self.shards[index]
                    .poll_timeout()
                    .is_some_and(|at| at <= now)
                {
                    self.shards[index].on_timeout(now);
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
        let clean = if self.is_durable { 0 } else { 2 };
        let mut connect = vec![0, 4, b'M', b'Q', b'T', b'T', 4, clean, 0, 0];
        connect.extend([0, u8::try_from(name.len()).unwrap()]);
        connect.extend(name.as_bytes());
        self.feed(shard, id, &packet(0x10, &connect));
        self.settle();
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
    check_publish_path(Pair::new, 30_000);
}

/// Also when everybody's session is journalled; as many rounds as fit one segment.
#[test]
fn warm_durable_publish_path_allocates_nothing() {
    check_publish_path(Pair::durable, 1_000);
}

fn check_publish_path(new_pair: fn() -> Pair, rounds: u16) {
    for (qos, retain) in [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)] {
        let mut pair = new_pair();
        let publisher = pair.client(0, None);
        // Two at the publisher's shard, one of them with a wildcard, and two at the other; two in
        // a group, of which one gets each message.
        let shared = "$share/g/a/b";
        let plain = [(0, "a/b"), (0, "a/+"), (1, "a/b"), (1, "#")];
        for (shard, filter) in plain.into_iter().chain([(0, shared), (1, shared)]) {
            let id = pair.client(shard, Some((filter, qos)));
            pair.subscribers.push(Subscriber {
                shard,
                id,
                received: Vec::with_capacity(4096),
            });
        }
        let packet_id: &[u8] = if qos > 0 { &[0, 1] } else { &[] };
        let body = [&[0, 3, b'a', b'/', b'b'][..], packet_id, &[1; 64]].concat();
        let mut message = packet(0x30 | (qos << 1) | retain, &body);
        let mut run = |rounds: u16| {
            for round in 0..rounds {
                if qos > 0 {
                    message[7..9].copy_from_slice(&(round + 1).to_be_bytes());
                }
                assert_eq!(pair.round(publisher, &message, qos), 5);
            }
        };
        run(100);
        let before = ALLOCATIONS.with(Cell::get);
        run(rounds);
        let count = ALLOCATIONS.with(Cell::get) - before;
        assert_eq!(count, 0, "QoS {qos}, retain {retain}");
    }
}

/// What the runtime keeps per socket beside the shard; asserted there at compile time.
const SOCKET_BYTES: usize = 96 + 12;
/// The budget of the design for an idle connection with one subscription.
const IDLE_BYTES_MAX: usize = 1024;

#[test]
fn idle_connection_with_one_subscription_stays_within_its_budget() {
    const COUNT: usize = 20_000;
    let mut pair = Pair::new();
    let before = LIVE_BYTES.with(Cell::get);
    for number in 0..COUNT {
        let client_id = format!("sensor-{number:06}");
        let shard = KEY.home(client_id.as_bytes(), 2).index();
        let id = pair.shards[shard]
            .on_connection_opened(pair.now, ORIGIN)
            .unwrap();
        let mut connect = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 60];
        connect.extend([0, u8::try_from(client_id.len()).unwrap()]);
        connect.extend(client_id.as_bytes());
        pair.feed(shard, id, &packet(0x10, &connect));
        let filter = format!("fleet/{number:06}/command");
        let mut subscribe = vec![0, 1, 0, u8::try_from(filter.len()).unwrap()];
        subscribe.extend(filter.as_bytes());
        subscribe.push(1);
        pair.feed(shard, id, &packet(0x82, &subscribe));
        pair.settle();
    }
    let live = LIVE_BYTES.with(Cell::get) - before;
    let bytes = live / COUNT + SOCKET_BYTES;
    assert!(bytes <= IDLE_BYTES_MAX, "{bytes} bytes per idle connection");
}

/// What counts against `retained.max_bytes` is what the allocator gives, whatever the topic names
/// look like: one new level each, none, or nothing but new ones.
/// A stream and its client, the handshake between them done, the client gone again.
fn established_tls(config: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> Box<TlsStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut stream = Box::new(TlsStream::new(Arc::clone(config)).unwrap());
    let (mut buffers, mut plain) = (Buffers::default(), Vec::new());
    while client.is_handshaking() || stream.is_handshaking() {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        stream.hold(&flight, &mut buffers).unwrap();
        stream.step(&mut plain, &mut buffers).unwrap();
        let mut left = stream.unsent();
        let count = left.len();
        while !left.is_empty() {
            client.read_tls(&mut left).unwrap();
            client.process_new_packets().unwrap();
        }
        stream.advance(count, &mut buffers);
    }
    stream
}

#[test]
fn idle_tls_stream_stays_within_its_budget() {
    const COUNT: usize = 100;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let dir = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (cert, key) = (dir.join("budget.pem"), dir.join("budget.key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let gate = Gate::open(&TlsSettings::new(cert, key)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    for version in [&TLS12, &TLS13] {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let (config, client) = (gate.config(), Arc::new(client));
        // What is made once for all of them.
        drop(established_tls(&config, &client));
        let mut streams = Vec::with_capacity(COUNT);
        let before = LIVE_BYTES.with(Cell::get);
        for _ in 0..COUNT {
            streams.push(established_tls(&config, &client));
        }
        let each = LIVE_BYTES.with(Cell::get).wrapping_sub(before) / COUNT;
        assert!(each as u64 <= TLS_BYTES, "{version:?}: {each} bytes");
    }
}

#[test]
fn retained_messages_take_no_more_memory_than_they_are_counted_for() {
    const BYTES_MAX: u64 = 4 << 20;
    let shapes: [fn(usize) -> String; 3] = [
        |number| format!("fleet/{number:06}/state"),
        |number| format!("site/{}/{}", number / 300, number % 300),
        |number| {
            format!(
                "{0:x}/{1:x}/{2:x}/{3:x}",
                number,
                !number,
                number * 7,
                number * 13
            )
        },
    ];
    for topic_name in shapes {
        let limits = Limits {
            retained_bytes_max: BYTES_MAX,
            ..Limits::default()
        };
        let mut pair = Pair::with_limits(&limits);
        let publisher = pair.client(0, None);
        let before = LIVE_BYTES.with(Cell::get);
        for number in 0..100_000 {
            let topic_name = topic_name(number);
            let length = [0, u8::try_from(topic_name.len()).unwrap()];
            let body = [&length, topic_name.as_bytes(), &[1; 32]].concat();
            pair.feed(0, publisher, &packet(0x31, &body));
            pair.settle();
        }
        let refused = |shard: &Shard| shard.counters().retained_refused;
        assert!(pair.shards.iter().all(|shard| refused(shard) > 0));
        let live = LIVE_BYTES.with(Cell::get) - before;
        let counted = 2 * usize::try_from(BYTES_MAX).unwrap();
        assert!((counted * 3 / 4..=counted).contains(&live), "{live} bytes");
    }
}
