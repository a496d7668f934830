//! A subscriber with a persistent session: keeps account of everything it got.

use crate::client::{Client, Step};
use crate::model::payload_id;
use crate::wire::{AckKind, Filter, Packet, Publish, Version, encode};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

pub(crate) struct Subscriber {
    client: Client,
    filter: String,
    qos: u8,
    /// SUBACK has come once: everything acknowledged to publishers from then on is owed.
    pub(crate) subscribed: bool,
    /// QoS 2 packet identifiers received and not released; survives the broker.
    unreleased: BTreeSet<u16>,
    /// Publisher -> number -> how often.
    received: BTreeMap<u32, BTreeMap<u32, u32>>,
    /// First copies must come in the order of their numbers.
    ordered: bool,
    /// Publisher -> newest number that came for the first time.
    newest: BTreeMap<u32, u32>,
}

impl Subscriber {
    pub(crate) fn new(id: &str, version: Version, filter: &str, qos: u8) -> Self {
        Self {
            client: Client::new(id, version, true),
            filter: filter.to_owned(),
            qos,
            subscribed: false,
            unreleased: BTreeSet::new(),
            received: BTreeMap::new(),
            ordered: true,
            newest: BTreeMap::new(),
        }
    }

    /// Publishers that were refused send again later than what came after.
    pub(crate) fn unordered(mut self) -> Self {
        self.ordered = false;
        self
    }

    pub(crate) fn cut(&mut self) {
        self.client.cut();
    }

    pub(crate) fn tick(&mut self, address: SocketAddr) {
        loop {
            match self.client.step(address) {
                Step::Up if !self.subscribed => self.subscribe(),
                Step::Up => {}
                Step::Packet(packet) => self.on_packet(packet),
                Step::Idle => return,
            }
        }
    }

    fn subscribe(&mut self) {
        let filter = Filter {
            filter: self.filter.clone(),
            qos: self.qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        };
        let version = self.client.version;
        self.client
            .send(|out| encode::subscribe(1, None, &[filter], version, out));
    }

    fn on_packet(&mut self, packet: Packet) {
        match packet {
            Packet::SubAck { codes, .. } => {
                assert_eq!(codes, [self.qos], "{}", self.client.id);
                self.subscribed = true;
            }
            Packet::Publish(publish) => self.on_publish(&publish),
            Packet::Ack {
                kind: AckKind::PubRel,
                packet_id,
                ..
            } => {
                self.unreleased.remove(&packet_id);
                self.ack(AckKind::PubComp, packet_id);
            }
            Packet::Disconnect { .. } => {}
            other => panic!("{}: {other}", self.client.id),
        }
    }

    fn on_publish(&mut self, publish: &Publish) {
        let packet_id = publish.packet_id.expect("QoS 1 or 2");
        if publish.qos == 2 {
            if self.unreleased.insert(packet_id) {
                self.note(publish);
            }
            self.ack(AckKind::PubRec, packet_id);
        } else {
            self.note(publish);
            self.ack(AckKind::PubAck, packet_id);
        }
    }

    fn ack(&mut self, kind: AckKind, packet_id: u16) {
        self.client.send(|out| encode::ack(kind, packet_id, out));
    }

    fn note(&mut self, publish: &Publish) {
        let (publisher, number) = payload_id(&publish.payload).expect("a payload of this test");
        let id = &self.client.id;
        let count = self
            .received
            .entry(publisher)
            .or_default()
            .entry(number)
            .or_default();
        *count += 1;
        // [MQTT-4.3.3-13] across crashes: not once more.
        assert!(
            publish.qos < 2 || *count == 1,
            "{id}: message {number} of publisher {publisher} twice at QoS 2"
        );
        if *count == 1 && self.ordered {
            // [MQTT-4.6.0-6]: first copies keep their order.
            let newest = self.newest.insert(publisher, number);
            assert!(
                newest.is_none_or(|newest| newest < number),
                "{id}: message {number} of publisher {publisher} after {newest:?}"
            );
        }
    }

    /// Messages of `publisher` among those that `owed` names and that have not come.
    pub(crate) fn missing(&self, publisher: u32, owed: &[bool]) -> Vec<usize> {
        let received = self.received.get(&publisher);
        let has =
            |number: usize| received.is_some_and(|numbers| numbers.contains_key(&(number as u32)));
        (0..owed.len())
            .filter(|number| owed[*number] && !has(*number))
            .collect()
    }
}
