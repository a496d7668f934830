//! What else must survive: retained messages and subscriptions, as they were acknowledged.

use crate::client::{Client, Step};
use crate::model::{Random, payload, payload_id};
use crate::wire::{AckKind, Filter, Packet, Publish, Version, encode};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Retained topics, and filters that come and go.
const KEYS: u32 = 8;
/// Publisher numbers in payloads, apart from those of the load.
const RETAINER: u32 = 1000;
const PROBER: u32 = 1001;

fn plain_filter(filter: String) -> Filter {
    Filter {
        filter,
        qos: 1,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
    }
}

fn wait_up(client: &mut Client, address: SocketAddr) {
    while !client.up {
        let _ = client.step(address);
        std::thread::yield_now();
    }
}

/// Steps until a packet comes that `take` takes.
fn wait_for<T>(
    client: &mut Client,
    address: SocketAddr,
    mut take: impl FnMut(&mut Client, &Packet) -> Option<T>,
) -> T {
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        assert!(
            std::time::Instant::now() < deadline,
            "{}: not in time",
            client.id
        );
        match client.step(address) {
            Step::Packet(packet) => {
                if let Some(taken) = take(client, &packet) {
                    return taken;
                }
            }
            Step::Up => {}
            Step::Idle => std::thread::yield_now(),
        }
    }
}

/// Sets and clears retained messages, one topic at a time.
pub(crate) struct Retainer {
    client: Client,
    /// By key: the number acknowledged last; `None`: cleared, or never set.
    acknowledged: Vec<Option<u32>>,
    /// Key and what it becomes, not acknowledged.
    under_way: Option<(u32, Option<u32>)>,
    next_number: u32,
    pub(crate) done: u64,
}

impl Retainer {
    pub(crate) fn new() -> Self {
        Self {
            client: Client::new("retainer", Version::V311, true),
            acknowledged: vec![None; KEYS as usize],
            under_way: None,
            next_number: 1,
            done: 0,
        }
    }

    pub(crate) fn cut(&mut self) {
        self.client.cut();
    }

    pub(crate) fn tick(&mut self, address: SocketAddr, random: &mut Random) {
        loop {
            match self.client.step(address) {
                Step::Up if self.under_way.is_some() => self.send(true),
                Step::Up => {}
                Step::Packet(Packet::Ack { code, .. }) => {
                    assert_eq!(code, 0);
                    let (key, becomes) = self.under_way.take().expect("one is under way");
                    self.acknowledged[key as usize] = becomes;
                    self.done += 1;
                }
                Step::Packet(packet) => panic!("retainer: {packet}"),
                Step::Idle => break,
            }
        }
        if self.client.up && self.under_way.is_none() {
            let key = random.below(u64::from(KEYS)) as u32;
            let number = (!random.one_in(4)).then_some(self.next_number);
            self.next_number += 1;
            self.under_way = Some((key, number));
            self.send(false);
        }
    }

    fn send(&mut self, dup: bool) {
        let (key, becomes) = self.under_way.expect("one is under way");
        let publish = Publish {
            dup,
            qos: 1,
            retain: true,
            topic: format!("kept/{key}"),
            packet_id: Some(1),
            payload: becomes.map_or_else(Vec::new, |number| payload(RETAINER, number, 40)),
            ..Publish::default()
        };
        let version = self.client.version;
        self.client
            .send(|out| encode::publish(&publish, version, out));
    }

    /// After a start: what is stored is what was acknowledged, or what was under way.
    pub(crate) fn check(&self, address: SocketAddr) {
        let mut client = Client::new("retained-checker", Version::V311, false);
        wait_up(&mut client, address);
        let filter = plain_filter("kept/+".to_owned());
        client.send(|out| encode::subscribe(1, None, &[filter], Version::V311, out));
        let must = |key: &u32| {
            self.acknowledged[*key as usize].is_some()
                && self
                    .under_way
                    .is_none_or(|(under_way, _)| under_way != *key)
        };
        let mut missing: BTreeSet<u32> = (0..KEYS).filter(must).collect();
        let mut ponged = false;
        client.send(encode::ping_request);
        // What may be there but need not comes before the answer to a late ping, if at all.
        while !missing.is_empty() || !ponged {
            wait_for(&mut client, address, |client, packet| match packet {
                Packet::Publish(publish) => {
                    missing.remove(&self.check_one(publish));
                    let id = publish.packet_id.expect("QoS 1");
                    client.send(|out| encode::ack(AckKind::PubAck, id, out));
                    Some(())
                }
                Packet::PingResp => {
                    ponged = true;
                    Some(())
                }
                _ => Some(()),
            });
        }
    }

    fn check_one(&self, publish: &Publish) -> u32 {
        let key: u32 = publish.topic["kept/".len()..].parse().expect("a key");
        let number = payload_id(&publish.payload).map(|(_, number)| number);
        let under_way = self.under_way.filter(|(under_way, _)| *under_way == key);
        let allowed = [
            Some(self.acknowledged[key as usize]),
            under_way.map(|it| it.1),
        ];
        assert!(
            allowed.contains(&Some(number)),
            "{}: {number:?} is retained, allowed is {allowed:?}",
            publish.topic
        );
        key
    }
}

/// Subscribes and unsubscribes, one filter at a time.
pub(crate) struct Toggler {
    client: Client,
    /// By key: subscribed as acknowledged last.
    acknowledged: Vec<bool>,
    /// Key and what it becomes, not acknowledged.
    under_way: Option<(u32, bool)>,
    /// SUBACK of the filter that ends each check.
    begun: bool,
    next_probe: u32,
    pub(crate) done: u64,
}

const END: u32 = KEYS;

impl Toggler {
    pub(crate) fn new() -> Self {
        Self {
            client: Client::new("toggler", Version::V5, true),
            acknowledged: vec![false; KEYS as usize],
            under_way: Some((END, true)),
            begun: false,
            next_probe: 0,
            done: 0,
        }
    }

    pub(crate) fn cut(&mut self) {
        self.client.cut();
    }

    pub(crate) fn tick(&mut self, address: SocketAddr, random: &mut Random) {
        loop {
            match self.client.step(address) {
                Step::Up if self.under_way.is_some() => self.send(),
                Step::Up => {}
                Step::Packet(packet) => self.on_packet(&packet),
                Step::Idle => break,
            }
        }
        if self.client.up && self.under_way.is_none() {
            let key = random.below(u64::from(KEYS)) as u32;
            self.under_way = Some((key, !self.acknowledged[key as usize]));
            self.send();
        }
    }

    fn on_packet(&mut self, packet: &Packet) {
        match packet {
            Packet::SubAck { .. } | Packet::UnsubAck { .. } => {
                let (key, becomes) = self.under_way.take().expect("one is under way");
                if key == END {
                    self.begun = true;
                } else {
                    self.acknowledged[key as usize] = becomes;
                }
                self.done += 1;
            }
            Packet::Publish(publish) => {
                let id = publish.packet_id.expect("QoS 1");
                self.client
                    .send(|out| encode::ack(AckKind::PubAck, id, out));
            }
            Packet::Disconnect { .. } => {}
            packet => panic!("toggler: {packet}"),
        }
    }

    fn send(&mut self) {
        let (key, becomes) = self.under_way.expect("one is under way");
        let filter = format!("probe/{key}");
        self.client.send(|out| {
            if becomes {
                encode::subscribe(1, None, &[plain_filter(filter)], Version::V5, out);
            } else {
                encode::unsubscribe(1, &[filter], Version::V5, out);
            }
        });
    }

    /// After a start: a message to each topic comes exactly where it was acknowledged.
    pub(crate) fn check(&mut self, address: SocketAddr) {
        if !self.begun {
            return;
        }
        // The operation under way stays so: it is sent again after the check.
        wait_up(&mut self.client, address);
        let round = self.next_probe;
        self.next_probe += 1;
        self.probe(address, round);
        let got = self.collect(address, round);
        for key in 0..KEYS {
            if self
                .under_way
                .is_some_and(|(under_way, _)| under_way == key)
            {
                continue;
            }
            let expected = self.acknowledged[key as usize];
            assert_eq!(
                got.contains_key(&key),
                expected,
                "probe/{key} after the start"
            );
        }
        // Sends again what is under way, as with a new connection.
        self.client.cut();
    }

    fn probe(&self, address: SocketAddr, round: u32) {
        let mut prober = Client::new("prober", Version::V311, false);
        wait_up(&mut prober, address);
        for key in 0..=END {
            let publish = Publish {
                qos: 1,
                topic: format!("probe/{key}"),
                packet_id: Some(key as u16 + 1),
                payload: payload(PROBER, round, 0),
                ..Publish::default()
            };
            prober.send(|out| encode::publish(&publish, Version::V311, out));
        }
        for _ in 0..=END {
            wait_for(&mut prober, address, |_, packet| {
                matches!(packet, Packet::Ack { .. }).then_some(())
            });
        }
    }

    /// The keys whose probe came, up to the one that ends the check.
    fn collect(&mut self, address: SocketAddr, round: u32) -> BTreeMap<u32, ()> {
        let mut got = BTreeMap::new();
        loop {
            let key = wait_for(&mut self.client, address, |client, packet| {
                let Packet::Publish(publish) = packet else {
                    return None;
                };
                let id = publish.packet_id.expect("QoS 1");
                client.send(|out| encode::ack(AckKind::PubAck, id, out));
                let key: u32 = publish.topic["probe/".len()..].parse().expect("a key");
                (payload_id(&publish.payload) == Some((PROBER, round))).then_some(key)
            });
            if key == END {
                return got;
            }
            got.insert(key, ());
        }
    }
}
