//! Some shards in one thread, and the wires between them and their clients.

use crate::disk::Disk;
use crate::packets;
use ringway::base::hash::HomeKey;
use ringway::base::ids::{ConnectionId, ShardId};
use ringway::base::time::Instant;
use ringway::codec::{ProtocolVersion, QosLevel};
use ringway::config::limits::Limits;
use ringway::journal::Recovered;
use ringway::metrics::Counters;
use ringway::shard::Shard;
use ringway::shard::interface::{
    ConnectionOrigin, JournalStart, ReadVerdict, ShardSettings, StartError,
};
use std::time::Duration;

const KEY: HomeKey = HomeKey::new([7; 16]);
const SEED: u64 = 1;

/// The shards of one process. What they hand out is taken as a runtime would take it, and counted.
#[derive(Debug)]
pub struct Broker {
    shards: Vec<Shard>,
    /// One for each shard, if sessions are journalled.
    disks: Vec<Disk>,
    now: Instant,
    /// Bytes towards all clients.
    pub transmitted_bytes: u64,
    /// Parts of messages from one shard to another.
    pub batches: u64,
}

/// A connected client.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    shard: usize,
    connection: ConnectionId,
}

impl Broker {
    /// Windows are `window` messages both ways.
    #[must_use]
    pub fn new(shard_count: u16, window: u16) -> Self {
        let shard = |id| shard(ShardId(id), shard_count, window);
        Self {
            shards: (0..shard_count).map(shard).collect(),
            disks: Vec::new(),
            now: Instant::from_micros(1),
            transmitted_bytes: 0,
            batches: 0,
        }
    }

    /// With persistent sessions in journals. The disk is done at once with whatever it gets.
    #[must_use]
    pub fn with_journal(shard_count: u16, window: u16) -> Self {
        let mut broker = Self::new(shard_count, window);
        broker.start_journals(Disk::default);
        broker
    }

    /// With one shard whose disk keeps what it is given.
    pub(crate) fn with_kept_journal() -> Self {
        let mut broker = Self::new(1, 64);
        broker.start_journals(Disk::kept);
        broker
    }

    fn start_journals(&mut self, disk: fn() -> Disk) {
        for shard in &mut self.shards {
            assert_eq!(start(shard, self.now, None), Ok(()));
            self.disks.push(disk());
        }
        self.settle();
    }

    /// What the first shard's disk has kept.
    pub(crate) fn take_disk(&mut self) -> Disk {
        self.disks.swap_remove(0)
    }

    /// A client identifier that begins with `stem` and whose session lives at this shard.
    #[must_use]
    pub fn client_id(&self, shard: u16, stem: &str) -> String {
        let shard_count = u16::try_from(self.shards.len()).unwrap_or(u16::MAX);
        let mut client_id = stem.to_owned();
        while KEY.home(client_id.as_bytes(), shard_count) != ShardId(shard) {
            client_id.push('x');
        }
        client_id
    }

    /// Opens a connection and sends CONNECT, but does not settle.
    pub fn connect(&mut self, shard: u16, connect: &[u8]) -> Client {
        let origin = ConnectionOrigin {
            peer: None,
            listener: 0,
        };
        let shard = usize::from(shard);
        let Some(connection) = self.shards[shard].on_connection_opened(self.now, origin) else {
            panic!("the shard has room for every client");
        };
        let client = Client { shard, connection };
        self.feed(client, connect);
        client
    }

    /// A client with a new session.
    pub fn client(&mut self, shard: u16, stem: &str, version: ProtocolVersion) -> Client {
        let is_clean = self.disks.is_empty();
        let connect = packets::connect(version, &self.client_id(shard, stem), is_clean);
        let client = self.connect(shard, &connect);
        self.settle();
        client
    }

    pub fn subscribe(
        &mut self,
        client: Client,
        version: ProtocolVersion,
        filter: &str,
        qos: QosLevel,
    ) {
        self.feed(client, &packets::subscribe(version, filter, qos));
        self.settle();
    }

    /// Bytes from a client, in one receive.
    pub fn feed(&mut self, client: Client, bytes: &[u8]) {
        let verdict = self.shards[client.shard].on_bytes(self.now, client.connection, bytes);
        assert_eq!(verdict, ReadVerdict::Continue);
    }

    /// The last bytes from a client.
    pub fn feed_last(&mut self, client: Client, bytes: &[u8]) {
        let verdict = self.shards[client.shard].on_bytes(self.now, client.connection, bytes);
        assert_eq!(verdict, ReadVerdict::Close);
    }

    /// Time goes on by one turn.
    pub fn tick(&mut self) {
        self.now = self.now + Duration::from_micros(10);
    }

    /// Turns until nothing moves any more.
    pub fn settle(&mut self) {
        while self.turn() {}
    }

    /// One turn of every shard: batches to the others, bytes to the sockets.
    fn turn(&mut self) -> bool {
        let mut moved = false;
        for index in 0..self.shards.len() {
            moved |= self.turn_of(index);
        }
        moved
    }

    fn turn_of(&mut self, index: usize) -> bool {
        let mut moved = false;
        while let Some((peer, mut batch)) = self.shards[index].poll_peer_batch() {
            #[allow(clippy::cast_possible_truncation, reason = "shards are few")]
            let source = ShardId(index as u16);
            self.shards[peer.index()].on_peer_batch(self.now, source, &mut batch);
            self.shards[index].on_peer_batch_returned(self.now, peer, batch);
            self.batches += 1;
            moved = true;
        }
        let shard = &mut self.shards[index];
        while let Some((connection, transmit)) = shard.poll_transmit() {
            for slice in transmit.slices() {
                self.transmitted_bytes += slice.len() as u64;
            }
            shard.on_transmitted(self.now, connection, transmit);
            moved = true;
        }
        while let Some(closing) = shard.poll_close() {
            if let Some(last) = closing.last {
                shard.recycle(last);
            }
            moved = true;
        }
        while shard.poll_timeout().is_some_and(|at| at <= self.now) {
            shard.on_timeout(self.now);
            moved = true;
        }
        moved |= shard.poll_resume().is_some();
        if let Some(disk) = self.disks.get_mut(index) {
            moved |= disk.serve(shard, self.now);
        }
        moved
    }

    /// What all shards have counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for shard in &self.shards {
            sum.add(shard.counters());
        }
        sum
    }

    /// Connections and sessions that exist now.
    #[must_use]
    pub fn population(&self) -> (usize, usize) {
        let shards = self.shards.iter().map(Shard::population);
        shards.fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1))
    }
}

/// Starts a shard's journal, with what was recovered.
pub(crate) fn start(
    shard: &mut Shard,
    now: Instant,
    recovered: Option<Recovered>,
) -> Result<(), StartError> {
    let start = JournalStart {
        unix_ms: 1,
        recovered,
    };
    shard.start_journal(now, start)
}

/// Windows are `window` messages both ways.
pub(crate) fn shard(id: ShardId, shard_count: u16, window: u16) -> Shard {
    Shard::new(ShardSettings {
        id,
        shard_count,
        limits: Limits {
            inflight_max: window,
            receive_maximum: window,
            ..Limits::default()
        },
        home_key: KEY,
        seed: SEED,
    })
}
