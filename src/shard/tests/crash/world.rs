//! A process that ends now and then, its disks, and its clients. One seed, one world.

use super::client::Client;
use super::disk::Disk;
use crate::base::hash::HomeKey;
use crate::base::ids::ShardId;
use crate::base::random::Random;
use crate::base::time::Instant;
use crate::codec::QosLevel;
use crate::config::limits::{DurabilityAck, DurabilityLimits, Limits};
use crate::journal::{QueueMemory, Recovered};
use crate::shard::Shard;
use crate::shard::interface::{
    CloseCause, ConnectionOrigin, JournalStart, ReadVerdict, ShardSettings,
};
use std::collections::BTreeSet;
use std::time::Duration;

const KEY: HomeKey = HomeKey::new([4; 16]);
const TOPICS: u64 = 3;

pub(super) struct World {
    pub(super) random: Random,
    pub(super) shards: Vec<Shard>,
    pub(super) disks: Vec<Disk>,
    pub(super) limits: Limits,
    /// Whether the end of the process is a loss of power.
    pub(super) loses_power: bool,
    pub(super) clients: Vec<Client>,
    pub(super) now: Instant,
    unix_ms: u64,
    payloads: u64,
    pub(super) crashes: u32,
    pub(super) qos_max: u8,
    pub(super) payload_bytes_max: u64,
    /// Clients make no subscriptions by themselves.
    pub(super) is_grouped: bool,
    /// No write comes back.
    pub(super) disk_is_stuck: bool,
    /// A read may find something else than was written.
    pub(super) is_disk_damaged: bool,
}

pub(super) fn limits(ack: DurabilityAck) -> Limits {
    Limits {
        packet_bytes_max: 64 << 10,
        inflight_max: 3,
        queued_messages_max: 1_000_000,
        // So that queues overflow.
        queue_memory_bytes_max: 2 << 10,
        durability: DurabilityLimits {
            ack,
            segment_bytes: 2 << 20,
            snapshot_after_bytes: 256 << 10,
            buffer_bytes_max: 64 << 10,
        },
        ..Limits::default()
    }
}

impl World {
    pub(super) fn new(seed: u64, shard_count: u16, client_count: u32, limits: Limits) -> Self {
        let mut world = Self {
            random: Random::new(seed),
            shards: Vec::new(),
            disks: Vec::new(),
            limits,
            loses_power: true,
            clients: Vec::new(),
            now: Instant::from_micros(1),
            unix_ms: 1_700_000_000_000,
            payloads: 0,
            crashes: 0,
            qos_max: 2,
            payload_bytes_max: 300,
            is_grouped: false,
            disk_is_stuck: false,
            is_disk_damaged: false,
        };
        world.disks.resize_with(shard_count.into(), Disk::default);
        let recovered = world.recover(None);
        world.start(recovered);
        for number in 0..client_count {
            let client_id = format!("client-{number}");
            let shard = KEY.home(client_id.as_bytes(), shard_count).index();
            world.clients.push(Client::new(&client_id, shard));
        }
        world
    }

    /// A new process on what the disks hold.
    fn start(&mut self, recovered: Vec<Recovered>) {
        let shard_count = u16::try_from(self.disks.len()).unwrap();
        self.shards.clear();
        for (id, recovered) in (0..shard_count).zip(recovered) {
            let mut shard = Shard::new(ShardSettings {
                id: ShardId(id),
                shard_count,
                limits: self.limits.clone(),
                home_key: KEY,
                seed: self.random.next_u64(),
            });
            let start = JournalStart {
                unix_ms: self.unix_ms,
                recovered: Some(recovered),
            };
            shard.start_journal(self.now, start).unwrap();
            self.shards.push(shard);
        }
        while !self.shards.iter().all(Shard::is_ready) {
            self.carry_all();
        }
        self.shards.iter().for_each(Shard::assert_invariants);
    }

    pub(super) fn crash(&mut self) {
        self.crashes += 1;
        let with_power = !self.loses_power;
        for disk in &mut self.disks {
            disk.crash(&mut self.random, with_power);
        }
        self.clients.iter_mut().for_each(Client::on_lost);
        self.unix_ms += 10;
        self.now = Instant::from_micros(1);
        let memory = self.shards[0].queue_memory();
        let recovered = self.recover(Some(memory));
        self.start(recovered);
    }

    fn recover(&self, queue_memory: Option<QueueMemory>) -> Vec<Recovered> {
        let recovered = (0u16..).zip(&self.disks);
        recovered
            .map(|(id, disk)| disk.recover(id, queue_memory).unwrap())
            .collect()
    }

    /// The process ends, and the next one has another number of cores: the new journals are
    /// complete before anybody connects.
    pub(super) fn change_shard_count(&mut self, shard_count: u16) {
        let random = &mut self.random;
        self.disks
            .iter_mut()
            .for_each(|disk| disk.crash(random, false));
        self.clients.iter_mut().for_each(Client::on_lost);
        self.now = Instant::from_micros(1);
        let rehomed = Recovered::rehome(&self.recover(None), &KEY, shard_count);
        self.disks.clear();
        self.disks.resize_with(shard_count.into(), Disk::default);
        self.start(rehomed);
        for client in &mut self.clients {
            client.shard = KEY.home(client.client_id.as_bytes(), shard_count).index();
        }
        for shard in 0..self.shards.len() {
            while self.shards[shard].is_snapshot_open() {
                self.write(shard);
            }
        }
    }

    /// Moves batches between shards, everything there is.
    fn carry_all(&mut self) {
        for from in 0..self.shards.len() {
            self.carry(from);
        }
    }

    fn carry(&mut self, from: usize) {
        let source = ShardId(u16::try_from(from).unwrap());
        while let Some((peer, mut batch)) = self.shards[from].poll_peer_batch() {
            self.shards[peer.index()].on_peer_batch(self.now, source, &mut batch);
            self.shards[from].on_peer_batch_returned(self.now, peer, batch);
        }
    }

    /// One thing happens.
    pub(super) fn step(&mut self) {
        self.now = self.now + Duration::from_micros(100);
        let shard = usize::try_from(self.random.below(self.shards.len() as u64)).unwrap();
        match self.random.below(10) {
            0..4 => self.act(),
            4 | 5 => self.carry(shard),
            6 | 7 => self.write(shard),
            8 => self.wake(shard),
            _ => self.transmit(shard),
        }
        if self.random.chance(1, 50) {
            self.shards.iter().for_each(Shard::assert_invariants);
        }
    }

    fn write(&mut self, shard: usize) {
        let segment_bytes = self.limits.durability.segment_bytes;
        if self.random.chance(1, 2) {
            self.disks[shard].begin(&mut self.shards[shard], segment_bytes);
        } else if !self.disk_is_stuck
            && let Some(batch) = self.disks[shard].complete()
        {
            self.shards[shard].on_durable(self.now, batch);
        }
        if self.random.chance(1, 2) {
            self.read(shard);
        }
    }

    /// One read is answered.
    fn read(&mut self, shard: usize) -> bool {
        let Self {
            disks,
            shards,
            random,
            ..
        } = self;
        let answer = disks[shard].read(&mut shards[shard], self.now, random);
        let lost = answer.is_some_and(|lost| lost.is_some());
        assert!(!lost || self.is_disk_damaged);
        answer.is_some()
    }

    fn wake(&mut self, shard: usize) {
        let due = self.shards[shard].poll_timeout();
        if due.is_some_and(|at| at <= self.now) {
            self.shards[shard].on_timeout(self.now);
        }
    }

    /// Bytes to the clients of a shard, and their answers.
    fn transmit(&mut self, shard: usize) {
        if let Some(closing) = self.shards[shard].poll_close() {
            panic!("{:?}", closing.cause);
        }
        while let Some((id, transmit)) = self.shards[shard].poll_transmit() {
            let bytes = transmit.slices().collect::<Vec<_>>().concat();
            self.shards[shard].on_transmitted(self.now, id, transmit);
            let of_shard = self
                .clients
                .iter()
                .position(|client| client.shard == shard && client.connection == Some(id));
            if let Some(client) = of_shard {
                let answers = self.clients[client].on_bytes(&bytes);
                self.feed(client, &answers);
            }
        }
        while self.shards[shard].poll_resume().is_some() {}
    }

    pub(super) fn feed(&mut self, client: usize, bytes: &[u8]) {
        let Client {
            shard,
            connection: Some(id),
            ..
        } = self.clients[client]
        else {
            return;
        };
        if !bytes.is_empty() {
            let verdict = self.shards[shard].on_bytes(self.now, id, bytes);
            assert!(matches!(
                verdict,
                ReadVerdict::Continue | ReadVerdict::Pause
            ));
        }
    }

    /// Some client does something.
    fn act(&mut self) {
        let client = usize::try_from(self.random.below(self.clients.len() as u64)).unwrap();
        if self.clients[client].connection.is_none() {
            self.connect(client);
            return;
        }
        if !self.clients[client].is_connected || self.clients[client].unacknowledged() > 8 {
            return;
        }
        match self.random.below(20) {
            0 => self.cut(client),
            1 | 2 if !self.is_grouped => {
                let filter = match self.random.below(TOPICS + 1) {
                    0 => "t/#".to_owned(),
                    topic => format!("t/{}", topic - 1),
                };
                if !self.clients[client].subscriptions.contains_key(&filter) {
                    let bytes = self.clients[client].subscribe(&filter);
                    self.feed(client, &bytes);
                }
            }
            _ => self.publish(client),
        }
    }

    pub(super) fn connect(&mut self, client: usize) {
        let origin = ConnectionOrigin {
            peer: None,
            listener: 0,
        };
        let shard = self.clients[client].shard;
        let id = self.shards[shard].on_connection_opened(self.now, origin);
        let bytes = self.clients[client].connect(id.unwrap());
        self.feed(client, &bytes);
    }

    pub(super) fn cut(&mut self, client: usize) {
        let shard = self.clients[client].shard;
        if let Some(id) = self.clients[client].connection {
            let cause = CloseCause::NetworkClosed;
            self.shards[shard].on_connection_closed(self.now, id, cause);
        }
        self.clients[client].on_lost();
    }

    pub(super) fn publish(&mut self, client: usize) {
        self.payloads += 1;
        // Retained messages have topics of their own, one publisher each.
        let is_retained = self.random.chance(1, 6);
        let topic = if is_retained {
            format!("r/{client}")
        } else {
            format!("t/{}", self.random.below(TOPICS))
        };
        // A QoS 1 message that is sent again overtakes a newer QoS 2 one that is known: a topic
        // with a retained message has one QoS.
        let is_exact = if is_retained {
            client.is_multiple_of(2)
        } else {
            self.random.chance(1, 2)
        };
        let qos = (1 + u8::from(is_exact)).min(self.qos_max);
        let filler =
            "x".repeat(usize::try_from(self.random.below(self.payload_bytes_max)).unwrap());
        let payload = format!("{client} {topic} {} {filler}", self.payloads);
        let flags = qos << 1 | u8::from(is_retained);
        let bytes = self.clients[client].publish(&topic, &payload, flags);
        self.feed(client, &bytes);
    }

    /// No more crashes and no new messages: everything that is on its way arrives.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            for client in 0..self.clients.len() {
                if self.clients[client].connection.is_none() {
                    self.connect(client);
                }
            }
            let moved = self.turn();
            let settled = self.clients.iter().all(Client::is_settled)
                && self.shards.iter().all(Shard::is_settled)
                && self.shards.iter().all(Shard::is_journal_settled);
            if settled && !moved {
                self.shards.iter().for_each(Shard::assert_invariants);
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Time goes on, and everything moves as far as it can; false: nothing did.
    pub(super) fn turn(&mut self) -> bool {
        self.now = self.now + Duration::from_millis(50);
        let mut moved = false;
        for shard in 0..self.shards.len() {
            self.wake(shard);
            self.carry(shard);
            let segment_bytes = self.limits.durability.segment_bytes;
            while self.read(shard) {
                moved = true;
            }
            moved |= self.disks[shard].begin(&mut self.shards[shard], segment_bytes);
            if let Some(batch) = self.disks[shard].complete() {
                self.shards[shard].on_durable(self.now, batch);
                moved = true;
            }
            self.transmit(shard);
        }
        moved
    }

    /// What every client that was subscribed from the beginning must have got.
    pub(super) fn audit(&self) -> Result<(), String> {
        let mut acknowledged: Vec<&String> = Vec::new();
        for client in &self.clients {
            acknowledged.extend(&client.acknowledged);
        }
        for client in &self.clients {
            check_order(client)?;
            if client.has_lost_session {
                return Err(format!("the session of {} was lost", client.client_id));
            }
            if !client.subscriptions.contains_key("t/#") {
                continue;
            }
            let received: BTreeSet<&String> = client.received.iter().map(|(_, it)| it).collect();
            for payload in &acknowledged {
                let is_owed = payload.split(' ').nth(1).unwrap().starts_with("t/");
                if is_owed && !received.contains(payload) {
                    return Err(format!("{} never got {payload:.40}", client.client_id));
                }
            }
        }
        Ok(())
    }

    /// Makes these clients the members of a group; nobody else is subscribed.
    pub(super) fn join_group(&mut self, members: &[usize]) {
        self.is_grouped = true;
        self.settle();
        for member in members {
            let bytes = self.clients[*member].subscribe("$share/g/t/#");
            self.feed(*member, &bytes);
        }
        self.settle();
    }

    /// What the members of a group must have got together, QoS 2 once.
    pub(super) fn audit_group(&self, members: &[usize]) -> Result<(), String> {
        let all = members.iter().flat_map(|it| &self.clients[*it].received);
        let mut received: BTreeSet<&String> = BTreeSet::new();
        for (qos, payload) in all {
            let is_new = received.insert(payload);
            if !is_new && *qos == QosLevel::ExactlyOnce {
                return Err(format!("the group got {payload:.40} twice"));
            }
        }
        let acknowledged = self.clients.iter().flat_map(|client| &client.acknowledged);
        let mut owed = acknowledged.filter(|it| it.split(' ').nth(1).unwrap().starts_with("t/"));
        if received.is_empty() {
            return Err("the group got nothing".to_owned());
        }
        match owed.find(|payload| !received.contains(payload)) {
            Some(payload) => Err(format!("the group never got {payload:.40}")),
            None => Ok(()),
        }
    }

    /// The retained messages are the latest that each client published.
    pub(super) fn audit_retained(&mut self) -> Result<(), String> {
        let shard_count = u16::try_from(self.shards.len()).unwrap();
        let reader = self.clients.len();
        let shard = KEY.home(b"reader", shard_count).index();
        self.clients.push(Client::new("reader", shard));
        self.connect(reader);
        self.settle();
        let bytes = self.clients[reader].subscribe("r/#");
        self.feed(reader, &bytes);
        self.settle();
        let received = self.clients[reader].received.iter();
        let received: BTreeSet<&String> = received.map(|(_, payload)| payload).collect();
        let clients = self.clients.iter();
        let latest: BTreeSet<&String> = clients.filter_map(|it| it.retained.as_ref()).collect();
        if received == latest {
            return Ok(());
        }
        let wrong = received.symmetric_difference(&latest);
        let wrong: Vec<String> = wrong.map(|payload| format!("{payload:.20}")).collect();
        Err(format!("retained messages differ: {wrong:?}"))
    }

    /// Subscribes everybody to everything, before the first message.
    pub(super) fn subscribe_all(&mut self) {
        for client in 0..self.clients.len() {
            self.connect(client);
        }
        self.settle();
        for client in 0..self.clients.len() {
            let bytes = self.clients[client].subscribe("t/#");
            self.feed(client, &bytes);
        }
        self.settle();
    }
}

/// QoS 2 never twice; each publisher's messages to a topic in their order, repeated QoS 1 aside.
fn check_order(client: &Client) -> Result<(), String> {
    for qos in [QosLevel::AtLeastOnce, QosLevel::ExactlyOnce] {
        let mut seen = BTreeSet::new();
        let mut latest = std::collections::BTreeMap::new();
        for (_, payload) in client.received.iter().filter(|(it, _)| *it == qos) {
            let is_new = seen.insert(payload);
            if !is_new && qos == QosLevel::AtLeastOnce {
                continue;
            }
            if !is_new {
                return Err(format!("{} got {payload:.40} twice", client.client_id));
            }
            let mut words = payload.split(' ');
            let key = (words.next().unwrap(), words.next().unwrap());
            let number: u64 = words.next().unwrap().parse().unwrap();
            let previous = latest.insert(key, number);
            if previous.is_some_and(|previous| previous > number) {
                return Err(format!("{} got {payload:.40} late", client.client_id));
            }
        }
    }
    Ok(())
}
