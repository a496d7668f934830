//! A group of a shared subscription whose members come and go, on one to four shards whose batches
//! arrive late.
//!
//! One member, the anchor, has a session that never ends: whatever was acknowledged to a publisher
//! has somebody to go to, and so must have been received by somebody in the end.

use super::cluster::{Client, Cluster, Held, publish_as, subscribe, unsubscribe};
use crate::base::random::Random;
use crate::config::limits::SharedStrategy;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const FILTER: &str = "$share/g/+/t";
const TOPICS: [&str; 3] = ["a/t", "b/t", "c/t"];
const MEMBERS: usize = 6;
const ANCHOR: usize = 0;
const STEPS: usize = 400;

struct Member {
    shard: usize,
    name: String,
    connection: Option<Client>,
    /// It has subscribed at some time.
    was_member: bool,
    buffer: Vec<u8>,
    /// Acknowledgements that it has not sent yet.
    owed: VecDeque<[u8; 4]>,
}

struct Publisher {
    client: Client,
    buffer: Vec<u8>,
    /// Payloads by packet identifier, until acknowledged.
    sent: BTreeMap<u16, String>,
}

struct World {
    cluster: Cluster,
    random: Random,
    members: Vec<Member>,
    publishers: Vec<Publisher>,
    /// By the shard that sent them.
    held: Vec<Vec<Held>>,
    last_number: u16,
    acknowledged: BTreeSet<String>,
    received: BTreeSet<String>,
    /// First transmissions at QoS 2, by payload.
    first_at_qos_2: BTreeMap<String, usize>,
}

impl World {
    fn new(seed: u64, shard_count: u16, strategy: SharedStrategy) -> Self {
        let mut random = Random::new(seed);
        let inflight_max = u16::try_from(1 + random.below(4)).unwrap();
        let cluster = Cluster::with_limits(shard_count, &|limits| {
            limits.shared_strategy = strategy;
            limits.inflight_max = inflight_max;
        });
        let shards = usize::from(shard_count);
        let members = (0..MEMBERS).map(|index| Member {
            shard: (index + usize::try_from(seed).unwrap()) % shards,
            name: format!("member{index}-"),
            connection: None,
            was_member: false,
            buffer: Vec::new(),
            owed: VecDeque::new(),
        });
        let mut world = Self {
            members: members.collect(),
            publishers: Vec::new(),
            held: (0..shards).map(|_| Vec::new()).collect(),
            cluster,
            random,
            last_number: 0,
            acknowledged: BTreeSet::new(),
            received: BTreeSet::new(),
            first_at_qos_2: BTreeMap::new(),
        };
        for shard in 0..shards {
            let client = world.cluster.connect(shard, &format!("publisher{shard}-"));
            world.publishers.push(Publisher {
                client,
                buffer: Vec::new(),
                sent: BTreeMap::new(),
            });
        }
        world.connect(ANCHOR, false);
        world.subscribe(ANCHOR, 1);
        world.settle();
        world
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap()
    }

    fn step(&mut self) {
        let member = self.below(MEMBERS);
        match self.below(20) {
            0..6 => self.publish(),
            6 => self.cut(member),
            7 | 8 => {
                let is_clean = member != ANCHOR && self.random.chance(1, 2);
                self.connect(member, is_clean);
            }
            9 | 10 => {
                let qos = 1 + u8::from(self.random.chance(1, 2));
                self.subscribe(member, qos);
            }
            11 if member != ANCHOR => self.send(member, &unsubscribe(FILTER)),
            12..16 => {
                let _answered = self.answer(member);
            }
            _ => {
                let (from, to) = (self.below(self.held.len()), self.below(self.held.len()));
                self.cluster.deliver(&mut self.held[from], to);
            }
        }
        self.collect();
    }

    /// Takes what the shards want to send: to clients at once, to each other for later.
    fn collect(&mut self) {
        for shard in 0..self.held.len() {
            let held = self.cluster.hold(shard);
            self.held[shard].extend(held);
            for (client, bytes) in self.cluster.sent(shard) {
                self.take(client, &bytes);
            }
            self.cluster.shards[shard].assert_invariants();
        }
    }

    fn take(&mut self, client: Client, bytes: &[u8]) {
        let is_it = |member: &Member| member.connection == Some(client);
        if let Some(index) = self.members.iter().position(is_it) {
            self.members[index].buffer.extend(bytes);
            while let Some(packet) = take_packet(&mut self.members[index].buffer) {
                self.on_member_packet(index, &packet);
            }
        }
        let is_it = |publisher: &Publisher| publisher.client == client;
        if let Some(index) = self.publishers.iter().position(is_it) {
            self.publishers[index].buffer.extend(bytes);
            while let Some(packet) = take_packet(&mut self.publishers[index].buffer) {
                self.on_publisher_packet(index, &packet);
            }
        }
    }

    fn on_member_packet(&mut self, index: usize, packet: &[u8]) {
        let first = packet[0];
        match first >> 4 {
            3 => {
                let (qos, is_dup) = (first >> 1 & 3, first & 8 != 0);
                assert!(self.members[index].was_member);
                let payload = String::from_utf8(packet[9..].to_vec()).unwrap();
                let answer = if qos == 1 { 0x40 } else { 0x50 };
                self.members[index]
                    .owed
                    .push_back([answer, 2, packet[7], packet[8]]);
                if qos == 2 && !is_dup {
                    *self.first_at_qos_2.entry(payload.clone()).or_default() += 1;
                }
                self.received.insert(payload);
            }
            6 => self.members[index]
                .owed
                .push_back([0x70, 2, packet[2], packet[3]]),
            _ => {}
        }
    }

    fn on_publisher_packet(&mut self, index: usize, packet: &[u8]) {
        let number = u16::from_be_bytes([packet[2], packet[3]]);
        let publisher = &mut self.publishers[index];
        match packet[0] >> 4 {
            4 | 5 => self.acknowledged.extend(publisher.sent.remove(&number)),
            _ => return,
        }
        if packet[0] >> 4 == 5 {
            let pub_rel = [0x62, 2, packet[2], packet[3]];
            self.cluster.feed(publisher.client, &pub_rel);
        }
    }

    fn publish(&mut self) {
        self.last_number += 1;
        let number = self.last_number;
        let payload = format!("message {number}");
        let index = self.below(self.publishers.len());
        let flags = if self.random.chance(1, 2) { 2 } else { 4 };
        let topic_name = TOPICS[self.below(TOPICS.len())];
        let publisher = &mut self.publishers[index];
        let bytes = publish_as(number, flags, topic_name, &payload);
        publisher.sent.insert(number, payload);
        self.cluster.feed(publisher.client, &bytes);
    }

    fn send(&mut self, member: usize, bytes: &[u8]) {
        if let Some(client) = self.members[member].connection {
            self.cluster.feed(client, bytes);
        }
    }

    fn subscribe(&mut self, member: usize, qos: u8) {
        if self.members[member].connection.is_some() {
            self.members[member].was_member = true;
            self.send(member, &subscribe(FILTER, qos));
        }
    }

    /// Sends the oldest acknowledgement that is owed.
    fn answer(&mut self, member: usize) -> bool {
        let answer = self.members[member].owed.pop_front();
        if let Some(answer) = answer {
            self.send(member, &answer);
        }
        answer.is_some()
    }

    /// What was sent before has reached it: [`Self::collect`] ends each step.
    fn cut(&mut self, member: usize) {
        if let Some(client) = self.members[member].connection.take() {
            self.cluster.cut(client);
            self.members[member].owed.clear();
            self.members[member].buffer.clear();
        }
    }

    /// Also while it is connected: then the session is taken over.
    fn connect(&mut self, member: usize, is_clean: bool) {
        let Member { shard, name, .. } = &self.members[member];
        let client = self.cluster.open(*shard, name, 4, is_clean);
        let member = &mut self.members[member];
        member.connection = Some(client);
        member.owed.clear();
        member.buffer.clear();
    }

    /// Everybody takes and acknowledges everything.
    fn settle(&mut self) {
        loop {
            self.collect();
            let mut moved = false;
            for from in 0..self.held.len() {
                moved |= !self.held[from].is_empty();
                (0..self.held.len()).for_each(|to| self.cluster.deliver(&mut self.held[from], to));
                moved |= self.cluster.run_slices(from);
            }
            for member in 0..MEMBERS {
                while self.answer(member) {
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        assert!(self.cluster.shards.iter().all(|shard| shard.is_settled()));
    }

    fn audit(&self) {
        let lost: Vec<_> = self.acknowledged.difference(&self.received).collect();
        assert!(lost.is_empty(), "nobody got {lost:?}");
        assert!(self.publishers.iter().all(|it| it.sent.is_empty()));
        let mut first = self.first_at_qos_2.iter();
        let doubled = first.find(|(_, count)| **count > 1);
        assert_eq!(doubled, None, "sent to several at QoS 2");
    }
}

/// The first complete packet of the buffer; none is longer than 127 bytes.
fn take_packet(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = 2 + usize::from(*buffer.get(1)?);
    (buffer.len() >= length).then(|| buffer.drain(..length).collect())
}

fn run(seed: u64, shard_count: u16, strategy: SharedStrategy) -> World {
    let mut world = World::new(seed, shard_count, strategy);
    for _ in 0..STEPS {
        world.step();
    }
    for member in 0..MEMBERS {
        world.cut(member);
        world.connect(member, false);
        world.collect();
    }
    world.settle();
    world.audit();
    world
}

const STRATEGIES: [SharedStrategy; 6] = [
    SharedStrategy::RoundRobin,
    SharedStrategy::LeastInflight,
    SharedStrategy::Sticky,
    SharedStrategy::HashClient,
    SharedStrategy::HashTopic,
    SharedStrategy::Random,
];

// [MQTT-4.8.2-4] [MQTT-4.8.2-5]
#[test]
fn nothing_is_lost_or_doubled_while_members_come_and_go() {
    for seed in 0..60 {
        for shard_count in 1..=4 {
            let strategy = STRATEGIES[usize::try_from(seed).unwrap() % STRATEGIES.len()];
            let seed = seed * 4 + u64::from(shard_count);
            let world = std::panic::catch_unwind(|| run(seed, shard_count, strategy));
            let Ok(world) = world else {
                panic!("seed {seed}, {shard_count} shards, {strategy:?}");
            };
            assert!(
                world.acknowledged.len() > 50,
                "{}",
                world.acknowledged.len()
            );
        }
    }
}

/// Members at shards 1 and 2, subscribed at QoS 1, and a publisher at shard 0.
fn two_members(strategy: SharedStrategy) -> (Cluster, [Client; 3]) {
    let mut cluster = Cluster::with_limits(3, &|limits| {
        limits.inflight_max = 1;
        limits.shared_strategy = strategy;
    });
    let clients = ["publisher", "first", "second"];
    let mut shards = 0..;
    let clients = clients.map(|name| cluster.connect(shards.next().unwrap(), name));
    for member in &clients[1..] {
        cluster.feed(*member, &subscribe("$share/g/t", 1));
        cluster.settle();
        cluster.received(*member);
    }
    (cluster, clients)
}

/// The member that was chosen goes away while its message is on the way.
#[test]
fn message_does_not_wait_for_an_absent_member_when_another_one_is_there() {
    for leaving in [1, 2] {
        let (mut cluster, clients) = two_members(SharedStrategy::RoundRobin);
        cluster.feed(clients[0], &publish_as(1, 2, "t", "x"));
        cluster.feed(clients[0], &publish_as(2, 2, "t", "y"));
        let mut held = cluster.hold(0);
        cluster.cut(clients[leaving]);
        cluster.settle();
        (1..3).for_each(|shard| cluster.deliver(&mut held, shard));
        cluster.settle();
        let staying = clients[3 - leaving];
        let first = cluster.received(staying);
        cluster.feed(staying, &[0x40, 2, 0, 1]);
        let second = cluster.received(staying);
        let mut payloads = [first.last().copied(), second.last().copied()];
        payloads.sort_unstable();
        assert_eq!(payloads, [Some(b'x'), Some(b'y')]);
    }
}

/// Of three messages the turn gives one member two; its window takes one.
#[test]
fn message_goes_to_another_shard_when_nobody_has_room_here() {
    let (mut cluster, mut clients) = two_members(SharedStrategy::RoundRobin);
    clients[0] = cluster.connect(1, "beside the first member");
    cluster.feed(clients[0], &publish_as(1, 2, "t", "x"));
    cluster.feed(clients[0], &publish_as(2, 2, "t", "y"));
    cluster.settle();
    // The first member is slow, the second one is not.
    let mut payloads = payloads_at(&mut cluster, 1, clients[1]);
    for number in 1..6u8 {
        payloads.extend(payloads_at(&mut cluster, 2, clients[2]));
        cluster.feed(clients[2], &[0x40, 2, 0, number]);
        cluster.feed(clients[0], &publish_as(3, 2, "t", &number.to_string()));
        cluster.settle();
    }
    assert_eq!(payloads_at(&mut cluster, 1, clients[1]), b"");
    payloads.extend(payloads_at(&mut cluster, 2, clients[2]));
    payloads.sort_unstable();
    assert_eq!(payloads, b"12345xy");
}

/// The last bytes of what a shard sends to this client.
fn payloads_at(cluster: &mut Cluster, shard: usize, client: Client) -> Vec<u8> {
    let sent = cluster.sent(shard).into_iter();
    let to_client = sent.filter(|(receiver, _)| *receiver == client);
    to_client
        .filter_map(|(_, bytes)| bytes.last().copied())
        .collect()
}

/// With these strategies nobody stands in for a member that is connected: its messages stay in
/// order.
#[test]
fn member_of_a_topic_or_publisher_gets_all_of_them_even_when_it_is_slow() {
    for strategy in STRATEGIES.into_iter().filter(|it| it.keeps_member()) {
        let (mut cluster, clients) = two_members(strategy);
        for number in 1..6u8 {
            let payload = number.to_string();
            cluster.feed(clients[0], &publish_as(number.into(), 2, "t", &payload));
        }
        cluster.settle();
        let is_first = !cluster.received(clients[1]).is_empty();
        let member = clients[if is_first { 1 } else { 2 }];
        for number in 2..6u8 {
            cluster.feed(member, &[0x40, 2, 0, number - 1]);
            let received = cluster.received(member);
            assert!(received.ends_with(&[b'0' + number]), "{strategy:?}");
        }
        for other in clients.into_iter().filter(|it| *it != member).skip(1) {
            assert!(cluster.received(other).is_empty(), "{strategy:?}");
        }
    }
}

/// What each core has to do for a group's messages: take them, hand them over, deliver them. The
/// busiest core's part falls with the number of cores, so the group's throughput grows with them.
#[test]
fn work_for_a_group_is_spread_over_all_shards() {
    const MESSAGES: u64 = 400;
    let mut percents = Vec::new();
    for shard_count in [1u16, 2, 4, 8] {
        let mut cluster = Cluster::new(shard_count);
        let shards = usize::from(shard_count);
        for member in 0..16 {
            let client = cluster.connect(member % shards, &format!("member{member}-"));
            cluster.feed(client, &subscribe("$share/g/t", 0));
            cluster.settle();
            drop(cluster.sent(member % shards));
        }
        let connect = |shard| cluster.connect(shard, "publisher");
        let publishers: Vec<Client> = (0..shards).map(connect).collect();
        for number in 0..MESSAGES {
            let publisher = publishers[usize::try_from(number).unwrap() % shards];
            cluster.feed(publisher, &publish_as(1, 0, "t", "x"));
            cluster.settle();
            (0..shards).for_each(|shard| drop(cluster.sent(shard)));
        }
        let work: Vec<u64> = cluster
            .shards
            .iter()
            .map(|shard| {
                let counters = shard.counters();
                counters.messages_received + counters.messages_from_peers + counters.messages_sent
            })
            .collect();
        let (all, busiest) = (work.iter().sum::<u64>(), *work.iter().max().unwrap());
        // Taken, perhaps handed over, delivered once.
        assert!(all <= 3 * MESSAGES, "{work:?}");
        percents.push(busiest * 100 / MESSAGES);
    }
    let [one, two, four, eight] = percents[..] else {
        panic!("{percents:?}");
    };
    // Half of the messages are handed over between two, three quarters between four.
    assert_eq!(one, 200);
    assert!(two < 140 && four < 80 && eight < 42, "{percents:?}");
}
