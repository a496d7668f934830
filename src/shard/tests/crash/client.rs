//! A 3.1.1 client with a persistent session that keeps every promise of the protocol.

use crate::base::ids::ConnectionId;
use crate::codec::{Frame, Packet, ProtocolVersion, Publish, QosLevel, decode_from_server, frame};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One message on its way to the broker.
struct Outgoing {
    packet_id: u16,
    qos: u8,
    retain: bool,
    topic: String,
    payload: String,
    /// PUBREC came.
    is_released: bool,
}

pub(super) struct Client {
    pub(super) client_id: String,
    pub(super) shard: usize,
    pub(super) connection: Option<ConnectionId>,
    pub(super) is_connected: bool,
    /// The broker has acknowledged the session.
    has_session: bool,
    pub(super) has_lost_session: bool,
    last_packet_id: u16,
    outgoing: VecDeque<Outgoing>,
    /// Subscriptions asked for, with the highest QoS; true: acknowledged.
    pub(super) subscriptions: BTreeMap<String, bool>,
    subscribe_ids: BTreeMap<u16, String>,
    /// QoS 2 identifiers between PUBLISH and PUBREL.
    held: BTreeSet<u16>,
    /// What came, in order; QoS 2 without repetitions that the protocol takes out.
    pub(super) received: Vec<(QosLevel, String)>,
    /// Messages that the broker has taken.
    pub(super) acknowledged: Vec<String>,
    /// The retained message that it published last.
    pub(super) retained: Option<String>,
    partial: Vec<u8>,
}

impl Client {
    pub(super) fn new(client_id: &str, shard: usize) -> Self {
        Self {
            client_id: client_id.to_owned(),
            shard,
            connection: None,
            is_connected: false,
            has_session: false,
            has_lost_session: false,
            last_packet_id: 0,
            outgoing: VecDeque::new(),
            subscriptions: BTreeMap::new(),
            subscribe_ids: BTreeMap::new(),
            held: BTreeSet::new(),
            received: Vec::new(),
            acknowledged: Vec::new(),
            retained: None,
            partial: Vec::new(),
        }
    }

    pub(super) fn connect(&mut self, connection: ConnectionId) -> Vec<u8> {
        self.connection = Some(connection);
        let body = [&b"\0\x04MQTT\x04\0\0\0"[..], &string(&self.client_id)].concat();
        packet(0x10, &body)
    }

    pub(super) fn on_lost(&mut self) {
        self.connection = None;
        self.is_connected = false;
        self.partial.clear();
    }

    /// Everything sent is acknowledged.
    pub(super) fn is_settled(&self) -> bool {
        self.is_connected
            && self.outgoing.is_empty()
            && self.subscribe_ids.is_empty()
            && self.held.is_empty()
    }

    fn next_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id % 20 + 1;
            let id = self.last_packet_id;
            let used = self.outgoing.iter().any(|it| it.packet_id == id);
            if !used && !self.subscribe_ids.contains_key(&id) {
                return id;
            }
        }
    }

    pub(super) fn publish(&mut self, topic: &str, payload: &str, flags: u8) -> Vec<u8> {
        let packet_id = self.next_packet_id();
        if flags & 1 != 0 {
            self.retained = Some(payload.to_owned());
        }
        self.outgoing.push_back(Outgoing {
            packet_id,
            qos: flags >> 1 & 3,
            retain: flags & 1 != 0,
            topic: topic.to_owned(),
            payload: payload.to_owned(),
            is_released: false,
        });
        self.outgoing.back().unwrap().encode(false)
    }

    pub(super) fn unacknowledged(&self) -> usize {
        self.outgoing.len() + self.subscribe_ids.len()
    }

    pub(super) fn subscribe(&mut self, filter: &str) -> Vec<u8> {
        let packet_id = self.next_packet_id();
        self.subscribe_ids.insert(packet_id, filter.to_owned());
        self.subscriptions.insert(filter.to_owned(), false);
        encode_subscribe(packet_id, filter)
    }

    /// Bytes from the broker; returns the answers.
    pub(super) fn on_bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut input = std::mem::take(&mut self.partial);
        input.extend(bytes);
        let mut answers = Vec::new();
        let mut rest = &input[..];
        while let Frame::Complete(raw) = frame(rest, u32::MAX >> 4).unwrap() {
            let decoded = decode_from_server(ProtocolVersion::V311, raw).unwrap();
            rest = &rest[raw.length..];
            self.on_packet(&decoded, &mut answers);
            if rest.is_empty() {
                break;
            }
        }
        self.partial = rest.to_vec();
        answers
    }

    fn on_packet(&mut self, packet: &Packet<'_>, answers: &mut Vec<u8>) {
        match packet {
            Packet::ConnAck(conn_ack) => {
                assert!(!self.is_connected);
                self.has_lost_session |= self.has_session && !conn_ack.session_present;
                self.is_connected = true;
                self.has_session = true;
                self.resend(answers);
            }
            Packet::Publish(publish) => self.on_publish(publish, answers),
            Packet::PubAck(ack) => self.finish(ack.packet_id.get()),
            Packet::PubRec(ack) => {
                let packet_id = ack.packet_id.get();
                let outgoing = self.outgoing.iter_mut();
                for it in outgoing.filter(|it| it.packet_id == packet_id) {
                    if !std::mem::replace(&mut it.is_released, true) {
                        self.acknowledged.push(it.payload.clone());
                    }
                }
                answers.extend(short(0x62, packet_id));
            }
            Packet::PubRel(ack) => {
                self.held.remove(&ack.packet_id.get());
                answers.extend(short(0x70, ack.packet_id.get()));
            }
            Packet::PubComp(ack) => self.finish(ack.packet_id.get()),
            Packet::SubAck(ack) => {
                if let Some(filter) = self.subscribe_ids.remove(&ack.packet_id.get()) {
                    self.subscriptions.insert(filter, true);
                }
            }
            other => panic!("{other:?} was not expected"),
        }
    }

    /// What an earlier connection left open, again and in the same order [MQTT-4.4.0-1].
    fn resend(&mut self, answers: &mut Vec<u8>) {
        for it in &self.outgoing {
            if it.is_released {
                answers.extend(short(0x62, it.packet_id));
            } else {
                answers.extend(it.encode(true));
            }
        }
        for (packet_id, filter) in &self.subscribe_ids {
            answers.extend(encode_subscribe(*packet_id, filter));
        }
    }

    fn on_publish(&mut self, publish: &Publish<'_>, answers: &mut Vec<u8>) {
        let packet_id = publish.packet_id.map_or(0, |it| it.get());
        let is_new = publish.qos != QosLevel::ExactlyOnce || self.held.insert(packet_id);
        if is_new {
            let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
            self.received.push((publish.qos, payload));
        }
        match publish.qos {
            QosLevel::AtMostOnce => {}
            QosLevel::AtLeastOnce => answers.extend(short(0x40, packet_id)),
            QosLevel::ExactlyOnce => answers.extend(short(0x50, packet_id)),
        }
    }

    fn finish(&mut self, packet_id: u16) {
        if let Some(position) = self
            .outgoing
            .iter()
            .position(|it| it.packet_id == packet_id)
            && let Some(done) = self.outgoing.remove(position)
            && !done.is_released
        {
            self.acknowledged.push(done.payload);
        }
    }
}

impl Outgoing {
    fn encode(&self, dup: bool) -> Vec<u8> {
        let flags = u8::from(dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let packet_id = self.packet_id.to_be_bytes();
        let body = [
            &string(&self.topic)[..],
            &packet_id,
            self.payload.as_bytes(),
        ]
        .concat();
        packet(0x30 | flags, &body)
    }
}

fn encode_subscribe(packet_id: u16, filter: &str) -> Vec<u8> {
    let body = [&packet_id.to_be_bytes()[..], &string(filter), &[2]].concat();
    packet(0x82, &body)
}

fn short(first_byte: u8, packet_id: u16) -> Vec<u8> {
    packet(first_byte, &packet_id.to_be_bytes())
}

fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first_byte];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length & 0x7f).unwrap();
        length >>= 7;
        out.push(low | u8::from(length > 0) << 7);
        if length == 0 {
            break;
        }
    }
    out.extend(body);
    out
}
