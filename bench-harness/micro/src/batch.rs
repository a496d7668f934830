//! Messages from publishers to subscribers, from bytes in to bytes out.

use crate::broker::{Broker, Client};
use crate::case::Workload;
use crate::packets;
use ringway::codec::{AckKind, PacketId, ProtocolVersion, Publish, PublishProperties, QosLevel};

const PAYLOAD: &[u8] = &[b'x'; 64];

/// Who sends how much to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    /// Publishers, each with its own topic and its own subscribers.
    pub(crate) groups: u16,
    /// Subscribers of one publisher.
    pub(crate) subscribers: u16,
    /// Messages in one receive.
    pub(crate) batch: u16,
    /// Receives per publisher and run.
    pub(crate) receives: u16,
    pub(crate) qos: u8,
    pub(crate) v5: bool,
    /// The subscribers live at another shard than the publishers.
    pub(crate) hop: bool,
    /// Subscribers ask with a wildcard.
    pub(crate) wildcard: bool,
    /// Filters of a client that no message matches.
    pub(crate) other_filters: u32,
    /// Sessions are journalled.
    pub(crate) journal: bool,
    /// Only the subscribers' acknowledgements are in the run; their messages come before.
    pub(crate) acknowledge_only: bool,
}

impl Mix {
    /// Each publisher has one subscriber and sends 64 messages at once.
    pub(crate) const PAIR: Self = Self {
        groups: 4,
        subscribers: 1,
        batch: 64,
        receives: 1,
        qos: 0,
        v5: false,
        hop: false,
        wildcard: false,
        other_filters: 0,
        journal: false,
        acknowledge_only: false,
    };
    /// One message at a time.
    pub(crate) const SINGLE: Self = Self {
        batch: 1,
        receives: 16,
        ..Self::PAIR
    };
    pub(crate) const WILDCARD: Self = Self {
        wildcard: true,
        ..Self::PAIR
    };
    pub(crate) const ACKNOWLEDGE: Self = Self {
        acknowledge_only: true,
        ..Self::PAIR
    };

    /// One publisher, many subscribers, four messages at once.
    pub(crate) const fn fan_out(subscribers: u16, qos: u8) -> Self {
        Self {
            groups: 1,
            subscribers,
            batch: 4,
            receives: 4,
            qos,
            ..Self::PAIR
        }
    }

    const fn version(&self) -> ProtocolVersion {
        if self.v5 {
            ProtocolVersion::V5
        } else {
            ProtocolVersion::V311
        }
    }

    const fn qos_level(&self) -> QosLevel {
        match self.qos {
            0 => QosLevel::AtMostOnce,
            1 => QosLevel::AtLeastOnce,
            _ => QosLevel::ExactlyOnce,
        }
    }
}

/// One publisher and its subscribers.
#[derive(Debug)]
struct Group {
    publisher: Client,
    /// What the publisher sends in one receive, and the PUBREL packets that follow at QoS 2.
    messages: Vec<u8>,
    releases: Vec<u8>,
    subscribers: Vec<Client>,
}

/// The workload of a [`Mix`].
#[derive(Debug)]
pub(crate) struct Batch {
    mix: Mix,
    broker: Broker,
    groups: Vec<Group>,
    /// What every subscriber answers at first and, at QoS 2, then.
    answers: [Vec<u8>; 2],
    /// The packet identifier of the last message towards every subscriber.
    last_packet_id: u16,
    runs: u64,
    sent_before: u64,
}

impl Batch {
    pub(crate) fn boxed(mix: &Mix) -> Box<dyn Workload> {
        Box::new(Self::new(mix))
    }

    fn new(mix: &Mix) -> Self {
        // A message that were not acknowledged would leave no room for the next run.
        let shard_count = 1 + u16::from(mix.hop);
        let mut broker = if mix.journal {
            Broker::with_journal(shard_count, mix.batch)
        } else {
            Broker::new(shard_count, mix.batch)
        };
        let groups = (0..mix.groups)
            .map(|number| Group::new(&mut broker, mix, number))
            .collect();
        subscribe_others(&mut broker, mix);
        Self {
            mix: *mix,
            sent_before: broker.counters().messages_sent,
            broker,
            groups,
            answers: [Vec::new(), Vec::new()],
            last_packet_id: 0,
            runs: 0,
        }
    }

    fn publish(&mut self) {
        for group in &self.groups {
            self.broker.feed(group.publisher, &group.messages);
        }
        self.broker.settle();
        if self.mix.qos == 2 {
            for group in &self.groups {
                self.broker.feed(group.publisher, &group.releases);
            }
            self.broker.settle();
        }
    }

    /// The subscribers acknowledge the last receive.
    fn acknowledge(&mut self) {
        if self.mix.qos == 0 {
            return;
        }
        self.write_answers();
        for answer in &self.answers {
            if answer.is_empty() {
                continue;
            }
            for group in &self.groups {
                for subscriber in &group.subscribers {
                    self.broker.feed(*subscriber, answer);
                }
            }
            self.broker.settle();
        }
    }

    fn write_answers(&mut self) {
        let version = self.mix.version();
        let kinds: &[AckKind] = match self.mix.qos {
            1 => &[AckKind::PubAck],
            _ => &[AckKind::PubRec, AckKind::PubComp],
        };
        for answer in &mut self.answers {
            answer.clear();
        }
        let mut left = self.mix.batch;
        while left > 0 {
            self.last_packet_id = self.last_packet_id.wrapping_add(1);
            let Some(packet_id) = PacketId::new(self.last_packet_id) else {
                continue;
            };
            for (kind, answer) in kinds.iter().zip(&mut self.answers) {
                packets::ack(*kind, version, packet_id, answer);
            }
            left -= 1;
        }
    }
}

impl Workload for Batch {
    fn arrange(&mut self) {
        if self.mix.acknowledge_only {
            self.publish();
        }
    }

    fn run(&mut self) {
        self.broker.tick();
        self.runs += 1;
        if self.mix.acknowledge_only {
            self.acknowledge();
            return;
        }
        for _ in 0..self.mix.receives {
            self.publish();
            self.acknowledge();
        }
    }

    fn units(&self) -> u32 {
        let Mix {
            groups,
            subscribers,
            batch,
            receives,
            ..
        } = self.mix;
        u32::from(groups) * u32::from(subscribers) * u32::from(batch) * u32::from(receives)
    }

    fn verify(&mut self) {
        let counters = self.broker.counters();
        let expected = self.runs * u64::from(self.units());
        assert_eq!(counters.messages_sent - self.sent_before, expected);
        // Nothing waited: every earlier message was acknowledged.
        assert_eq!((counters.messages_queued, counters.read_pauses), (0, 0));
        assert_eq!(
            (counters.drops_slow_consumer, counters.protocol_errors),
            (0, 0)
        );
        let per_hop = u64::from(self.mix.hop) * expected;
        assert_eq!(counters.messages_from_peers, per_hop);
        let body_bytes = expected * PAYLOAD.len() as u64;
        assert!(self.broker.transmitted_bytes > body_bytes);
    }
}

impl Group {
    fn new(broker: &mut Broker, mix: &Mix, number: u16) -> Self {
        let version = mix.version();
        let publisher = broker.client(0, &format!("publisher-{number}"), version);
        let topic_name = format!("site/{number}/line/4/temperature");
        let filter = if mix.wildcard {
            format!("site/{number}/+/4/temperature")
        } else {
            topic_name.clone()
        };
        let shard = u16::from(mix.hop);
        let subscribers = (0..mix.subscribers)
            .map(|other| {
                let stem = format!("subscriber-{number}-{other}");
                let client = broker.client(shard, &stem, version);
                broker.subscribe(client, version, &filter, mix.qos_level());
                client
            })
            .collect();
        let mut messages = Vec::new();
        let mut releases = Vec::new();
        for packet_id in (1..=mix.batch).filter_map(PacketId::new) {
            let publish = Publish {
                qos: mix.qos_level(),
                topic_name: &topic_name,
                packet_id: (mix.qos > 0).then_some(packet_id),
                properties: PublishProperties::default(),
                payload: PAYLOAD,
                ..Publish::default()
            };
            packets::publish(version, &publish, &mut messages);
            packets::ack(AckKind::PubRel, version, packet_id, &mut releases);
        }
        Self {
            publisher,
            messages,
            releases,
            subscribers,
        }
    }
}

/// A client whose filters look like those of the subscribers and match nothing.
fn subscribe_others(broker: &mut Broker, mix: &Mix) {
    if mix.other_filters == 0 {
        return;
    }
    let version = mix.version();
    let client = broker.client(0, "other", version);
    for number in 0..mix.other_filters {
        let filter = format!("site/{}/+/{number}/temperature", number % 1000);
        broker.subscribe(client, version, &filter, QosLevel::AtMostOnce);
    }
}
