//! One PUBLISH towards one client: does it fit, its own head, the shared tail, the drop counters.

use super::journal::{Journal, Waiter};
use super::shared_groups::GroupId;
use super::wire::Wire;
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::codec::{
    Ack, AckKind, Message, MessagePool, PacketId, ProtocolVersion, PublishHead, QosLevel,
    ReasonCode, SharedMessage, TopicAliasUse, encode_ack, encode_publish_head, publish_bytes,
    publish_tail,
};
use crate::config::limits::Limits;
use crate::connection::Connection;
use crate::connection::alias::{OutboundAlias, OutboundAliases};
use crate::connection::transmit::CONTIGUOUS_BYTES_MAX;
use crate::journal::Record;
use crate::metrics::Counters;
use crate::session::delivery::{Delivery, QueuedMessage, SubscriptionIdentifiers};
use crate::session::outbound::{Outbound, QueueLimits};
use crate::session::stored::StoredMessage;
use std::hash::Hasher;

/// What a first use of an alias adds to a head, whichever alias it is.
const LARGEST_ALIAS: Option<TopicAliasUse> = Some(TopicAliasUse {
    alias: u16::MAX,
    send_name: true,
});

/// More than any PUBLISH head adds to topic name, properties and payload, identifiers aside.
const HEAD_BYTES_MAX: usize = 32;
const IDENTIFIER_BYTES_MAX: usize = 5;
/// An acknowledgement without properties.
pub(super) const ACK_BYTES_MAX: usize = 5;

/// What the shard lends to whoever sends to a client.
pub(super) struct Desk<'a> {
    pub(super) now: Instant,
    /// The receiving session, and its number in the journal.
    pub(super) session: u32,
    pub(super) journal_number: u64,
    pub(super) journal: &'a mut Journal,
    pub(super) limits: &'a Limits,
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
        line.connection.send_bytes() < self.limits.send_queue_bytes_max as usize
    }

    pub(super) fn drop_offline(&mut self) {
        self.counters.drops_offline += 1;
    }

    pub(super) fn drop_slow(&mut self) {
        self.counters.drops_slow_consumer += 1;
    }

    fn drop_too_large(&mut self, delivery: Delivery) {
        self.counters.drops_too_large += 1;
        self.messages.release(delivery.message);
    }

    /// QoS 0.
    pub(super) fn send_once(&mut self, line: &mut Line<'_>, offer: &Offer<'_>) {
        let outgoing = Outgoing::new(offer);
        if outgoing.fits(line.connection) {
            self.send(line, &outgoing);
        } else {
            self.counters.drops_too_large += 1;
        }
    }

    /// QoS 1 and 2, past the empty queue; the caller has checked the window.
    pub(super) fn send_new(
        &mut self,
        line: &mut Line<'_>,
        outbound: &mut Outbound,
        delivery: Delivery,
    ) {
        if !Outgoing::new(&Offer::of(&delivery)).fits(line.connection) {
            self.drop_too_large(delivery);
            return;
        }
        let packet_id = outbound.send(delivery);
        if let Some(delivery) = outbound.newest().and_then(|it| it.delivery.as_ref()) {
            self.journal
                .queued(self.journal_number, delivery, Some(packet_id));
            self.send_in_flight(line, delivery, packet_id);
        }
    }

    /// The same for the message that was the oldest in the queue.
    pub(super) fn send_queued(
        &mut self,
        line: &mut Line<'_>,
        outbound: &mut Outbound,
        delivery: Delivery,
    ) {
        let session = self.journal_number;
        if !Outgoing::new(&Offer::of(&delivery)).fits(line.connection) {
            let waiting = QueuedMessage::Held(delivery);
            self.journal.dropped(session, &waiting);
            self.counters.drops_too_large += 1;
            self.release(waiting);
            return;
        }
        let packet_id = outbound.send(delivery);
        self.journal
            .about(session, &Record::Sent { session, packet_id });
        if let Some(delivery) = outbound.newest().and_then(|it| it.delivery.as_ref()) {
            self.send_in_flight(line, delivery, packet_id);
        }
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
        let offer = Offer::of(delivery);
        let outgoing = Outgoing {
            packet_id: Some(packet_id),
            ..Outgoing::new(&offer)
        };
        self.send(line, &outgoing);
    }

    /// PUBREL again for the exchanges that an earlier connection left at that [MQTT-4.4.0-1]. Four
    /// bytes each, at most as many as the largest window.
    pub(super) fn release_again(&mut self, line: &mut Line<'_>, outbound: &Outbound) {
        for packet_id in outbound.releases() {
            let ack = Ack::new(packet_id, ReasonCode::Success);
            let version = line.connection.version;
            self.wire
                .enqueue_within(ACK_BYTES_MAX, line.id, line.connection, |out| {
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
        let offer = Offer::of(delivery);
        let outgoing = Outgoing {
            packet_id: Some(packet_id),
            // [MQTT-3.3.1-1]
            dup: true,
            ..Outgoing::new(&offer)
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

    fn release(&mut self, waiting: QueuedMessage) {
        if let QueuedMessage::Held(delivery) = waiting {
            self.messages.release(delivery.message);
        }
    }

    /// The next message of the queue that has not expired, if the window allows one and it is in
    /// memory.
    pub(super) fn dequeue(&mut self, line: &Line<'_>, outbound: &mut Outbound) -> Option<Delivery> {
        let before = self.memory_bytes(outbound);
        let delivery = outbound.dequeue(self.now, line.connection.window, |dead| {
            match &dead {
                QueuedMessage::Stored(message) if message.is_lost => {
                    self.counters.drops_damaged += 1
                }
                _ => self.counters.drops_expired += 1,
            }
            self.journal.dropped(self.journal_number, &dead);
            self.release(dead);
        });
        self.account(outbound, before);
        delivery
    }

    /// Behind those that wait already, within the limits; on the disk only if there is too much in
    /// memory.
    pub(super) fn queue(&mut self, outbound: &mut Outbound, delivery: Delivery) {
        self.counters.messages_queued += 1;
        let session = self.journal_number;
        let before = self.memory_bytes(outbound);
        let mut messages_max = self.limits.queued_messages_max;
        if session != 0 && self.journal.overflow.is_exhausted(self.limits) {
            // One may come if another one goes.
            let queued = u32::try_from(outbound.queued_count()).unwrap_or(u32::MAX);
            messages_max = messages_max.min(queued);
        }
        let limits = QueueLimits {
            messages_max,
            bytes_max: self.limits.queued_bytes_max,
            policy: self.limits.queue_full,
        };
        let refused = outbound.enqueue(delivery, &limits, |dropped| {
            self.counters.drops_queue_full += 1;
            self.journal.dropped(session, &dropped);
            self.release(dropped);
        });
        if let Err(refused) = refused {
            self.counters.drops_queue_full += 1;
            self.messages.release(refused.message);
        } else if let Some(queued) = outbound.newest_queued() {
            self.journal.queued(session, queued, None);
            if session != 0 && self.is_too_much(outbound, before) {
                self.store_newest(outbound);
            }
        }
        self.account(outbound, before);
    }

    /// The message just queued has no room in memory.
    fn is_too_much(&self, outbound: &Outbound, before: u64) -> bool {
        let limits = self.limits;
        let all = self.journal.overflow.memory_bytes + outbound.memory_bytes() - before;
        self.journal.is_on()
            && (outbound.has_stored()
                || outbound.held_bytes() > limits.queue_memory_bytes_max
                || all > limits.queues_memory_bytes_max / 2)
    }

    fn store_newest(&mut self, outbound: &mut Outbound) {
        let Some(newest) = outbound.newest_queued() else {
            return;
        };
        let message = &newest.message;
        let Some(place) = self.journal.leave_on_disk(message) else {
            return;
        };
        self.counters.messages_stored += 1;
        let stored = StoredMessage::new(
            place.into(),
            u32::try_from(message.bytes()).unwrap_or(u32::MAX),
            newest.qos,
            newest.retain,
            message.expires_at(),
            &newest.subscription_identifiers,
        );
        if let Some(delivery) = outbound.store_newest(stored) {
            self.messages.release(delivery.message);
        }
    }

    /// What the session's waiting messages take in memory, if it is journalled.
    fn memory_bytes(&self, outbound: &Outbound) -> u64 {
        if self.journal_number == 0 {
            return 0;
        }
        outbound.memory_bytes()
    }

    fn account(&mut self, outbound: &Outbound, before: u64) {
        let after = self.memory_bytes(outbound);
        let overflow = &mut self.journal.overflow;
        overflow.memory_bytes = overflow.memory_bytes + after - before;
    }

    fn send(&mut self, line: &mut Line<'_>, outgoing: &Outgoing<'_>) {
        outgoing.enqueue(self.now, line.id, line.connection, self.wire);
        self.counters.messages_sent += 1;
        self.counters.payload_bytes_sent += outgoing.offer.message.payload().len() as u64;
    }
}

/// A message as one session is to get it; becomes a [`Delivery`] only if it has to be kept.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    pub(super) message: &'a SharedMessage,
    /// The smaller of the publisher's QoS and the highest of the matching subscriptions.
    pub(super) qos: QosLevel,
    /// The RETAIN flag towards this subscriber.
    pub(super) retain: bool,
    pub(super) subscription_identifiers: &'a [u32],
    /// The group of a shared subscription that it comes from.
    pub(super) group: Option<GroupId>,
}

impl<'a> Offer<'a> {
    fn of(delivery: &'a Delivery) -> Self {
        Self {
            message: &delivery.message,
            qos: delivery.qos,
            retain: delivery.retain,
            subscription_identifiers: &delivery.subscription_identifiers,
            group: delivery.group,
        }
    }

    pub(super) fn to_delivery(&self) -> Delivery {
        Delivery {
            message: self.message.clone(),
            qos: self.qos,
            retain: self.retain,
            subscription_identifiers: SubscriptionIdentifiers::from_slice(
                self.subscription_identifiers,
            ),
            group: self.group,
        }
    }
}

/// One PUBLISH towards one client.
struct Outgoing<'a> {
    offer: &'a Offer<'a>,
    /// The packet is at most this large.
    bytes_max: usize,
    packet_id: Option<PacketId>,
    dup: bool,
}

impl<'a> Outgoing<'a> {
    /// A first transmission without packet identifier.
    fn new(offer: &'a Offer<'a>) -> Self {
        let identifiers = offer.subscription_identifiers.len();
        Self {
            offer,
            bytes_max: offer.message.bytes() + HEAD_BYTES_MAX + identifiers * IDENTIFIER_BYTES_MAX,
            packet_id: None,
            dup: false,
        }
    }

    /// Does the packet respect the client's Maximum Packet Size [MQTT-3.1.2-24]? Measured without
    /// an alias: one is set only if it fits, and is shorter than the name when used instead.
    fn fits(&self, connection: &Connection) -> bool {
        let maximum = connection.client_packet_bytes_max as usize;
        self.bytes_max <= maximum || self.fits_exactly(connection, maximum)
    }

    #[cold]
    fn fits_exactly(&self, connection: &Connection, maximum: usize) -> bool {
        let message = &**self.offer.message;
        let packet_id = (self.offer.qos != QosLevel::AtMostOnce)
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
            qos: self.offer.qos,
            retain: self.offer.retain,
            packet_id: self.packet_id,
            topic_alias: None,
            subscription_identifiers: self.offer.subscription_identifiers,
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
        let message = self.offer.message;
        let mut head = self.head(remaining_expiry_s(now, message));
        head.mount_bytes = connection.mount_bytes(message.topic_name_bytes());
        let version = connection.version;
        if version == ProtocolVersion::V5
            && let Some(aliases) = &mut connection.outbound_aliases
        {
            let maximum = connection.client_packet_bytes_max as usize;
            head.topic_alias = choose_alias(aliases, message, &head, maximum);
        }
        let bytes_max = self.bytes_max;
        if bytes_max > CONTIGUOUS_BYTES_MAX {
            wire.enqueue(id, connection, |out| {
                encode_publish_head(message, &head, version, out);
            });
            let queue = connection.send_queue(&mut wire.pool);
            let tail_bytes = queue.append_tail(message, version, &mut wire.pool);
            wire.bytes += tail_bytes as u64;
        } else if wire.copies.is_open() && !head.is_own() {
            wire.enqueue_copy(bytes_max, id, connection, |copies, out| {
                copies.append(message, &head, version, out);
            });
        } else {
            wire.enqueue_within(bytes_max, id, connection, |out| {
                encode_publish_head(message, &head, version, out);
                out.extend_from_slice(publish_tail(message, version));
            });
        }
    }
}

fn choose_alias(
    aliases: &mut OutboundAliases,
    message: &Message,
    head: &PublishHead<'_>,
    packet_bytes_max: usize,
) -> Option<TopicAliasUse> {
    let topic_name = message.topic_name_bytes();
    // [MQTT-3.1.2-24] holds for the packet with its new alias, too.
    let largest = PublishHead {
        topic_alias: LARGEST_ALIAS,
        ..*head
    };
    let may_set = publish_bytes(message, &largest, ProtocolVersion::V5) <= packet_bytes_max;
    let (alias, send_name) = match aliases.choose(alias_hash(topic_name), topic_name, may_set) {
        OutboundAlias::None => (None, true),
        OutboundAlias::Set(alias) => (Some(alias), true),
        OutboundAlias::Use(alias) => (Some(alias), false),
    };
    alias.map(|alias| TopicAliasUse { alias, send_name })
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
