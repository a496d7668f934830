//! One PUBLISH towards one client: does it fit, its own head, the shared tail, the drop counters.

use super::journal::{Journal, Waiter};
use super::wire::Wire;
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::codec::{
    Ack, AckKind, Message, MessagePool, PacketId, ProtocolVersion, PublishHead, QosLevel,
    ReasonCode, TopicAliasUse, encode_ack, encode_publish_head, publish_bytes,
};
use crate::connection::Connection;
use crate::connection::alias::OutboundAlias;
use crate::journal::Record;
use crate::metrics::Counters;
use crate::session::delivery::Delivery;
use crate::session::outbound::{Outbound, QueueLimits};
use std::hash::Hasher;

/// What a first use of an alias adds to a head, whichever alias it is.
const LARGEST_ALIAS: Option<TopicAliasUse> = Some(TopicAliasUse {
    alias: u16::MAX,
    send_name: true,
});

/// More than any PUBLISH head adds to topic name, properties and payload, identifiers aside.
const HEAD_BYTES_MAX: usize = 32;

/// What the shard lends to whoever sends to a client.
pub(super) struct Desk<'a> {
    pub(super) now: Instant,
    /// The receiving session, and its number in the journal.
    pub(super) session: u32,
    pub(super) journal_number: u64,
    pub(super) journal: &'a mut Journal,
    pub(super) send_queue_bytes_max: usize,
    pub(super) wire: &'a mut Wire,
    pub(super) messages: &'a mut MessagePool,
    pub(super) counters: &'a mut Counters,
}

/// A client's connection.
pub(super) struct Line<'a> {
    pub(super) id: ConnectionId,
    pub(super) connection: &'a mut Connection,
}

impl Desk<'_> {
    /// Is there room in the connection's send queue?
    pub(super) fn can_send_to(&self, line: &Line<'_>) -> bool {
        line.connection.send_bytes() < self.send_queue_bytes_max
    }

    pub(super) fn drop_offline(&mut self, delivery: Delivery) {
        self.counters.drops_offline += 1;
        self.messages.release(delivery.message);
    }

    pub(super) fn drop_slow(&mut self, delivery: Delivery) {
        self.counters.drops_slow_consumer += 1;
        self.messages.release(delivery.message);
    }

    fn drop_too_large(&mut self, delivery: Delivery) {
        self.counters.drops_too_large += 1;
        self.messages.release(delivery.message);
    }

    /// QoS 0.
    pub(super) fn send_once(&mut self, line: &mut Line<'_>, delivery: Delivery) {
        if !Outgoing::new(&delivery).fits(line.connection) {
            self.drop_too_large(delivery);
            return;
        }
        self.send(line, &Outgoing::new(&delivery));
        self.messages.release(delivery.message);
    }

    /// QoS 1 and 2, past the empty queue; the caller has checked the window.
    pub(super) fn send_new(
        &mut self,
        line: &mut Line<'_>,
        outbound: &mut Outbound,
        delivery: Delivery,
    ) {
        if !Outgoing::new(&delivery).fits(line.connection) {
            self.drop_too_large(delivery);
            return;
        }
        let packet_id = outbound.send(delivery.clone());
        self.journal
            .queued(self.journal_number, &delivery, Some(packet_id));
        self.send_in_flight(line, &delivery, packet_id);
        self.messages.release(delivery.message);
    }

    /// The same for the message that was the oldest in the queue.
    pub(super) fn send_queued(
        &mut self,
        line: &mut Line<'_>,
        outbound: &mut Outbound,
        delivery: Delivery,
    ) {
        let session = self.journal_number;
        if !Outgoing::new(&delivery).fits(line.connection) {
            self.journal.dropped(session, &delivery);
            self.drop_too_large(delivery);
            return;
        }
        let packet_id = outbound.send(delivery.clone());
        self.journal
            .about(session, &Record::Sent { session, packet_id });
        self.send_in_flight(line, &delivery, packet_id);
        self.messages.release(delivery.message);
    }

    /// A QoS 2 message of a journalled session leaves when its identifier is durable: the client
    /// will know the message by it after a crash, too [MQTT-4.3.3-3].
    fn send_in_flight(&mut self, line: &mut Line<'_>, delivery: &Delivery, packet_id: PacketId) {
        let must_wait = self.journal_number != 0
            && delivery.qos == QosLevel::ExactlyOnce
            && !self.journal.all_is_durable();
        if must_wait {
            self.journal.wait(Waiter::Send {
                session: self.session,
                connection: line.id,
                packet_id,
            });
            return;
        }
        self.send_first(line, delivery, packet_id);
    }

    pub(super) fn send_first(
        &mut self,
        line: &mut Line<'_>,
        delivery: &Delivery,
        packet_id: PacketId,
    ) {
        let outgoing = Outgoing {
            packet_id: Some(packet_id),
            ..Outgoing::new(delivery)
        };
        self.send(line, &outgoing);
    }

    /// PUBREL again for the exchanges that an earlier connection left at that [MQTT-4.4.0-1]. Four
    /// bytes each, at most as many as the largest window.
    pub(super) fn release_again(&mut self, line: &mut Line<'_>, outbound: &Outbound) {
        for packet_id in outbound.releases() {
            let ack = Ack::new(packet_id, ReasonCode::Success);
            let version = line.connection.version;
            self.wire.enqueue(line.id, line.connection, |out| {
                encode_ack(AckKind::PubRel, &ack, version, out);
            });
        }
    }

    /// The next message that an earlier connection left open; false: there is none, or no window.
    pub(super) fn send_again(&mut self, line: &mut Line<'_>, outbound: &mut Outbound) -> bool {
        let Some(inflight) = outbound.next_resend(line.connection.window) else {
            return false;
        };
        let packet_id = inflight.packet_id;
        let Some(delivery) = &inflight.delivery else {
            return true;
        };
        let outgoing = Outgoing {
            delivery,
            packet_id: Some(packet_id),
            // [MQTT-3.3.1-1]
            dup: true,
        };
        if outgoing.fits(line.connection) {
            self.send(line, &outgoing);
        } else if let Some(delivery) = outbound.discard(packet_id) {
            let session = self.journal_number;
            self.journal
                .about(session, &Record::Acknowledged { session, packet_id });
            self.journal.unqueued(session, &delivery);
            // The client takes less than on its earlier connection [MQTT-3.1.2-25].
            self.drop_too_large(delivery);
        }
        true
    }

    /// The next message of the queue that has not expired, if the window allows one.
    pub(super) fn dequeue(&mut self, line: &Line<'_>, outbound: &mut Outbound) -> Option<Delivery> {
        outbound.dequeue(self.now, line.connection.window, |expired| {
            self.counters.drops_expired += 1;
            self.journal.dropped(self.journal_number, &expired);
            self.messages.release(expired.message);
        })
    }

    /// Behind those that wait already, within the limits.
    pub(super) fn queue(
        &mut self,
        outbound: &mut Outbound,
        delivery: Delivery,
        limits: &QueueLimits,
    ) {
        self.counters.messages_queued += 1;
        let session = self.journal_number;
        let queued = delivery.clone();
        let refused = outbound.enqueue(delivery, limits, |dropped| {
            self.counters.drops_queue_full += 1;
            self.journal.dropped(session, &dropped);
            self.messages.release(dropped.message);
        });
        match refused {
            Ok(()) => self.journal.queued(session, &queued, None),
            Err(refused) => {
                self.counters.drops_queue_full += 1;
                self.messages.release(refused.message);
            }
        }
        self.messages.release(queued.message);
    }

    fn send(&mut self, line: &mut Line<'_>, outgoing: &Outgoing<'_>) {
        outgoing.enqueue(self.now, line.id, line.connection, self.wire);
        self.counters.messages_sent += 1;
        self.counters.payload_bytes_sent += outgoing.delivery.message.payload().len() as u64;
    }
}

/// One PUBLISH towards one client.
struct Outgoing<'a> {
    delivery: &'a Delivery,
    packet_id: Option<PacketId>,
    dup: bool,
}

impl<'a> Outgoing<'a> {
    /// A first transmission without packet identifier.
    const fn new(delivery: &'a Delivery) -> Self {
        Self {
            delivery,
            packet_id: None,
            dup: false,
        }
    }

    /// Does the packet respect the client's Maximum Packet Size [MQTT-3.1.2-24]? Measured without
    /// an alias: one is set only if it fits, and is shorter than the name when used instead.
    fn fits(&self, connection: &Connection) -> bool {
        let maximum = connection.client_packet_bytes_max as usize;
        let message = &*self.delivery.message;
        let identifiers = &self.delivery.subscription_identifiers;
        if message.bytes() + HEAD_BYTES_MAX + identifiers.len() * 5 <= maximum {
            return true;
        }
        let packet_id = (self.delivery.qos != QosLevel::AtMostOnce)
            .then(|| PacketId::new(u16::MAX))
            .flatten();
        let head = PublishHead {
            packet_id,
            mount_bytes: connection.mount_bytes(message.topic_name_bytes()),
            ..self.head(message.expires_at().map(|_| 0))
        };
        publish_bytes(message, &head, connection.version) <= maximum
    }

    fn head(&self, message_expiry_interval_s: Option<u32>) -> PublishHead<'_> {
        PublishHead {
            dup: self.dup,
            qos: self.delivery.qos,
            retain: self.delivery.retain,
            packet_id: self.packet_id,
            topic_alias: None,
            subscription_identifiers: &self.delivery.subscription_identifiers,
            message_expiry_interval_s,
            mount_bytes: 0,
        }
    }

    /// Own head, shared tail, dirty once.
    fn enqueue(
        &self,
        now: Instant,
        id: ConnectionId,
        connection: &mut Connection,
        wire: &mut Wire,
    ) {
        let message = &self.delivery.message;
        let mut head = self.head(remaining_expiry_s(now, message));
        head.mount_bytes = connection.mount_bytes(message.topic_name_bytes());
        let version = connection.version;
        if version == ProtocolVersion::V5
            && let Some(aliases) = &mut connection.outbound_aliases
        {
            let topic_name = message.topic_name_bytes();
            // [MQTT-3.1.2-24] holds for the packet with its new alias, too.
            let largest = PublishHead {
                topic_alias: LARGEST_ALIAS,
                ..head
            };
            let maximum = connection.client_packet_bytes_max as usize;
            let may_set = publish_bytes(message, &largest, version) <= maximum;
            let (alias, send_name) =
                match aliases.choose(alias_hash(topic_name), topic_name, may_set) {
                    OutboundAlias::None => (None, true),
                    OutboundAlias::Set(alias) => (Some(alias), true),
                    OutboundAlias::Use(alias) => (Some(alias), false),
                };
            head.topic_alias = alias.map(|alias| TopicAliasUse { alias, send_name });
        }
        wire.enqueue(id, connection, |out| {
            encode_publish_head(message, &head, version, out)
        });
        let tail_bytes =
            connection
                .send_queue(&mut wire.pool)
                .append_tail(message, version, &mut wire.pool);
        wire.bytes += tail_bytes as u64;
    }
}

/// The Message Expiry Interval less the time the message has waited here [MQTT-3.3.2-6], rounded
/// up: a message that is still delivered has not expired.
fn remaining_expiry_s(now: Instant, message: &Message) -> Option<u32> {
    let left = message.expires_at()?.saturating_since(now);
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    Some(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// Any quick hash will do: names are compared behind it, and the table is small.
fn alias_hash(topic_name: &[u8]) -> u64 {
    let mut hasher = ahash::AHasher::default();
    hasher.write(topic_name);
    hasher.finish()
}
