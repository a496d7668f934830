//! A message to the sessions of this shard: match, merge, then window or queue.
//!
//! How one PUBLISH is encoded for one client is in `outgoing`.

use super::Shard;
use super::outgoing::{Desk, Line};
use super::subscription::Subscription;
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::codec::{PacketId, QosLevel, SharedMessage};
use crate::config::limits::QueueFullPolicy;
use crate::session::delivery::{Delivery, SubscriptionIdentifiers};
use crate::session::outbound::{Outbound, QueueLimits};

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
        if let Some(publisher) = publisher
            && message.retain()
            && self
                .sessions
                .get(publisher)
                .is_some_and(|session| session.retained_lookups > 0)
        {
            // No Local keeps it from the publisher, and so must its own lookup.
            self.note_for_lookups(publisher, message);
        }
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

    /// The same; true besides when some session's queue refused the message and its publisher is
    /// to be told (`session.queue_full = "reject"`).
    pub(super) fn route_local_or_refuse(
        &mut self,
        now: Instant,
        topic_name: &str,
        message: &SharedMessage,
        publisher: Option<u32>,
    ) -> (usize, bool) {
        let before = self.counters.drops_queue_full;
        let matched = self.route_local(now, topic_name, message, publisher);
        let rejects = self.limits.queue_full == QueueFullPolicy::Reject;
        (matched, rejects && self.counters.drops_queue_full > before)
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
        if session.retained_lookups > 0 && message.retain() {
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
        let queue_limits = self.queue_limits();
        let Some((outbound, receiver)) = self.receiver(now, session_index) else {
            return;
        };
        let Receiver { mut desk, line } = receiver;
        if delivery.qos == QosLevel::AtMostOnce {
            match line {
                None => desk.drop_offline(delivery),
                Some(line) if when_slow == WhenSlow::Drop && !desk.can_send_to(&line) => {
                    desk.drop_slow(delivery);
                }
                Some(mut line) => desk.send_once(&mut line, delivery),
            }
            return;
        }
        if let Some(mut line) = line
            && outbound.can_send(line.connection.window)
            && desk.can_send_to(&line)
        {
            desk.send_new(&mut line, outbound, delivery);
        } else {
            desk.queue(outbound, delivery, &queue_limits);
        }
    }

    /// A client came back: what its earlier connection left open, then what waits.
    pub(super) fn resume_session(&mut self, now: Instant, session_index: u32) {
        if let Some((outbound, receiver)) = self.receiver(now, session_index)
            && let Receiver {
                mut desk,
                line: Some(mut line),
            } = receiver
        {
            desk.release_again(&mut line, outbound);
        }
        self.pump(now, session_index);
    }

    /// Sends what waits for a session as far as its window and its socket allow: first what was
    /// in flight on an earlier connection, then the queue.
    pub(super) fn pump(&mut self, now: Instant, session_index: u32) {
        let Some((outbound, receiver)) = self.receiver(now, session_index) else {
            return;
        };
        let Receiver { mut desk, line } = receiver;
        let Some(mut line) = line else { return };
        while desk.can_send_to(&line) && desk.send_again(&mut line, outbound) {}
        while desk.can_send_to(&line)
            && let Some(delivery) = desk.dequeue(&line, outbound)
        {
            desk.send_queued(&mut line, outbound, delivery);
        }
    }

    /// A QoS 2 message whose place in the session is durable leaves for the first time, if its
    /// connection still has it: another one sends it again anyway.
    pub(super) fn send_held(
        &mut self,
        now: Instant,
        session_index: u32,
        connection: ConnectionId,
        packet_id: PacketId,
    ) {
        let Some((outbound, receiver)) = self.receiver(now, session_index) else {
            return;
        };
        let Receiver { mut desk, line } = receiver;
        if let Some(mut line) = line.filter(|line| line.id == connection)
            && let Some(delivery) = outbound.awaiting_pub_rec(packet_id)
        {
            desk.send_first(&mut line, delivery, packet_id);
        }
    }

    /// A session's outbound state, and what is needed to send to its client.
    fn receiver(
        &mut self,
        now: Instant,
        session_index: u32,
    ) -> Option<(&mut Outbound, Receiver<'_>)> {
        let session = self.sessions.get_mut(session_index)?;
        let desk = Desk {
            now,
            session: session_index,
            journal_number: session.journal_number,
            journal: &mut self.journal,
            send_queue_bytes_max: self.limits.send_queue_bytes_max as usize,
            wire: &mut self.wire,
            messages: &mut self.messages,
            counters: &mut self.counters,
        };
        let connections = &mut self.connections;
        let line = session.connection.and_then(|id| {
            let connection = connections.get_named_mut(id.index, id.generation)?;
            // Nothing is sent before CONNACK.
            (!connection.awaits_conn_ack).then_some(Line { id, connection })
        });
        Some((&mut session.outbound, Receiver { desk, line }))
    }

    const fn queue_limits(&self) -> QueueLimits {
        QueueLimits {
            messages_max: self.limits.queued_messages_max,
            bytes_max: self.limits.queued_bytes_max,
            policy: self.limits.queue_full,
        }
    }
}

/// Who is to receive something.
struct Receiver<'a> {
    desk: Desk<'a>,
    /// `None`: the session has no connection.
    line: Option<Line<'a>>,
}
