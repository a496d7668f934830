//! A message to the sessions of this shard: match, merge, window or queue, encode.

use super::Shard;
use super::subscribe::Subscription;
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::codec::{
    Ack, AckKind, Message, PacketId, ProtocolVersion, PublishHead, QosLevel, ReasonCode,
    SharedMessage, TopicAliasUse, encode_ack, encode_publish_head, publish_bytes,
};
use crate::config::limits::Limits;
use crate::connection::Connection;
use crate::connection::alias::OutboundAlias;
use crate::session::delivery::{Delivery, SubscriptionIdentifiers};
use crate::session::outbound::{QueueLimits, Stage};
use std::hash::Hasher;

/// What the matching subscriptions of one session make of a message.
#[derive(Clone, Debug)]
pub(super) struct Target {
    session: u32,
    /// The highest QoS of the matching subscriptions.
    qos: QosLevel,
    /// Some matching subscription wants the RETAIN flag as published.
    retain_as_published: bool,
    subscription_identifiers: SubscriptionIdentifiers,
}

impl Target {
    /// Another subscription of the same session matches too [MQTT-3.3.4-2], [MQTT-3.3.4-4].
    fn merge(&mut self, subscription: &Subscription) {
        self.qos = self.qos.max(subscription.qos());
        self.retain_as_published |= subscription.retain_as_published();
        self.subscription_identifiers
            .extend(subscription.identifier());
    }
}

/// What happens to a QoS 0 message when the client's send queue is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WhenSlow {
    /// Dropped and counted.
    Drop,
    /// Sent all the same: whoever offers it asks for room himself.
    Keep,
}

/// What a first use of an alias adds to a head, whichever alias it is.
const LARGEST_ALIAS: Option<TopicAliasUse> = Some(TopicAliasUse {
    alias: u16::MAX,
    send_name: true,
});

/// More than any PUBLISH head adds to topic name, properties and payload, identifiers aside.
const HEAD_BYTES_MAX: usize = 32;

impl Shard {
    /// Delivers to the matching sessions of this shard; returns how many there were. `publisher`
    /// is the publishing session, for No Local.
    pub(super) fn route_local(
        &mut self,
        now: Instant,
        topic_name: &str,
        message: &SharedMessage,
        publisher: Option<u32>,
    ) -> usize {
        let mut matched = std::mem::take(&mut self.matched);
        let mut targets = std::mem::take(&mut self.targets);
        self.index.matches(topic_name, &mut matched);
        self.merge_targets(&matched, publisher, &mut targets);
        for target in &targets {
            self.deliver(now, target, message);
        }
        let count = targets.len();
        matched.clear();
        targets.clear();
        self.matched = matched;
        self.targets = targets;
        count
    }

    /// One target per session, in the order of first match. The session itself remembers its
    /// place, so that no table is needed.
    fn merge_targets(
        &mut self,
        matched: &[(u32, Subscription)],
        publisher: Option<u32>,
        targets: &mut Vec<Target>,
    ) {
        self.route_number += 1;
        for (index, subscription) in matched {
            // [MQTT-3.8.3-3]
            if subscription.no_local() && publisher == Some(*index) {
                continue;
            }
            let Some(session) = self.sessions.get_mut(*index) else {
                continue;
            };
            if session.route_number == self.route_number {
                targets[session.route_position as usize].merge(subscription);
                continue;
            }
            session.route_number = self.route_number;
            session.route_position = u32::try_from(targets.len()).unwrap_or(u32::MAX);
            targets.push(Target {
                session: *index,
                qos: subscription.qos(),
                retain_as_published: subscription.retain_as_published(),
                subscription_identifiers: subscription.identifier().into_iter().collect(),
            });
        }
    }

    fn deliver(&mut self, now: Instant, target: &Target, message: &SharedMessage) {
        let Some(session) = self.sessions.get(target.session) else {
            return;
        };
        if session.retained_lookups > 0 {
            self.note_for_lookups(target.session, message);
        }
        self.offer(
            now,
            target.session,
            Delivery {
                message: message.clone(),
                qos: target.qos.min(message.qos()),
                retain: target.retain_as_published && message.retain(),
                subscription_identifiers: target.subscription_identifiers.clone(),
            },
            WhenSlow::Drop,
        );
    }

    /// Sends now, or queues, or drops by policy.
    pub(super) fn offer(
        &mut self,
        now: Instant,
        session_index: u32,
        delivery: Delivery,
        when_slow: WhenSlow,
    ) {
        let Self {
            sessions,
            connections,
            limits,
            wire,
            messages,
            counters,
            ..
        } = self;
        let Some(session) = sessions.get_mut(session_index) else {
            return;
        };
        let connection = session
            .connection
            .and_then(|id| Some((id, connections.get_named_mut(id.index, id.generation)?)));
        let can_take = |connection: &Connection| {
            connection.send_bytes() < limits.send_queue_bytes_max as usize
        };
        if delivery.qos == QosLevel::AtMostOnce {
            match connection {
                None => counters.drops_offline += 1,
                Some((_, connection)) if when_slow == WhenSlow::Drop && !can_take(connection) => {
                    counters.drops_slow_consumer += 1;
                }
                Some((id, connection)) => {
                    let outgoing = Outgoing {
                        delivery: &delivery,
                        packet_id: None,
                        dup: false,
                    };
                    if outgoing.fits(connection) {
                        outgoing.enqueue(now, id, connection, wire);
                        counters.messages_sent += 1;
                    } else {
                        counters.drops_too_large += 1;
                    }
                }
            }
            messages.release(delivery.message);
            return;
        }
        if let Some((id, connection)) = connection
            && session.outbound.can_send(connection.window)
            && can_take(connection)
        {
            if !(Outgoing {
                delivery: &delivery,
                packet_id: None,
                dup: false,
            })
            .fits(connection)
            {
                counters.drops_too_large += 1;
                messages.release(delivery.message);
                return;
            }
            let packet_id = Some(session.outbound.send(delivery.clone()));
            Outgoing {
                delivery: &delivery,
                packet_id,
                dup: false,
            }
            .enqueue(now, id, connection, wire);
            counters.messages_sent += 1;
            messages.release(delivery.message);
            return;
        }
        counters.messages_queued += 1;
        session
            .outbound
            .enqueue(delivery, &queue_limits(limits), |dropped| {
                counters.drops_queue_full += 1;
                messages.release(dropped.message);
            });
    }

    /// Sends what waits for a session as far as its window and its socket allow: first what was
    /// in flight on an earlier connection, then the queue.
    pub(super) fn pump(&mut self, now: Instant, session_index: u32) {
        let Self {
            sessions,
            connections,
            limits,
            wire,
            messages,
            counters,
            ..
        } = self;
        let Some(session) = sessions.get_mut(session_index) else {
            return;
        };
        let Some(id) = session.connection else { return };
        let Some(connection) = connections.get_named_mut(id.index, id.generation) else {
            return;
        };
        let can_take = |connection: &Connection| {
            connection.send_bytes() < limits.send_queue_bytes_max as usize
        };
        while can_take(connection)
            && let Some(inflight) = session.outbound.next_resend(connection.window)
        {
            let packet_id = Some(inflight.packet_id);
            match (&inflight.delivery, inflight.stage) {
                (Some(delivery), _) => {
                    // [MQTT-3.3.1-1]
                    let dup = true;
                    let outgoing = Outgoing {
                        delivery,
                        packet_id,
                        dup,
                    };
                    if outgoing.fits(connection) {
                        outgoing.enqueue(now, id, connection, wire);
                        counters.messages_sent += 1;
                    } else {
                        // The client takes less than on its earlier connection [MQTT-3.1.2-25].
                        let packet_id = inflight.packet_id;
                        counters.drops_too_large += 1;
                        if let Some(delivery) = session.outbound.discard(packet_id) {
                            messages.release(delivery.message);
                        }
                    }
                }
                (None, Stage::AwaitPubComp) => {
                    let ack = Ack::new(inflight.packet_id, ReasonCode::Success);
                    let version = connection.version;
                    wire.enqueue(id, connection, |out| {
                        encode_ack(AckKind::PubRel, &ack, version, out);
                    });
                }
                (None, _) => {}
            }
        }
        while can_take(connection)
            && let Some(delivery) =
                session
                    .outbound
                    .dequeue(now, connection.window, |expired: Delivery| {
                        counters.drops_expired += 1;
                        messages.release(expired.message);
                    })
        {
            if !(Outgoing {
                delivery: &delivery,
                packet_id: None,
                dup: false,
            })
            .fits(connection)
            {
                counters.drops_too_large += 1;
                messages.release(delivery.message);
                continue;
            }
            let packet_id = Some(session.outbound.send(delivery.clone()));
            Outgoing {
                delivery: &delivery,
                packet_id,
                dup: false,
            }
            .enqueue(now, id, connection, wire);
            counters.messages_sent += 1;
            messages.release(delivery.message);
        }
    }
}

/// The session's own limits, as its queue wants them.
fn queue_limits(limits: &Limits) -> QueueLimits {
    QueueLimits {
        messages_max: limits.queued_messages_max,
        bytes_max: limits.queued_bytes_max,
        policy: limits.queue_full,
    }
}

/// One PUBLISH towards one client.
struct Outgoing<'a> {
    delivery: &'a Delivery,
    packet_id: Option<PacketId>,
    dup: bool,
}

impl Outgoing<'_> {
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
        }
    }

    /// Own head, shared tail, dirty once.
    fn enqueue(
        &self,
        now: Instant,
        id: ConnectionId,
        connection: &mut Connection,
        wire: &mut super::wire::Wire,
    ) {
        let message = &self.delivery.message;
        let mut head = self.head(remaining_expiry_s(now, message));
        let version = connection.version;
        // Not at QoS 2: MQTT.js (5.16) does not resolve the alias of such a message.
        if version == ProtocolVersion::V5
            && self.delivery.qos != QosLevel::ExactlyOnce
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
        connection
            .send_queue(&mut wire.pool)
            .append_tail(message, version, &mut wire.pool);
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
