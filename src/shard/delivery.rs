//! A message to the sessions of this shard: match, merge, then window or queue.
//!
//! How one PUBLISH is encoded for one client is in `outgoing`.

use super::Shard;
use super::outgoing::{Desk, Line, Offer};
use super::subscription::Subscription;
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::codec::{PacketId, QosLevel, SharedMessage};
use crate::config::limits::QueueFullPolicy;
use crate::session::delivery::SubscriptionIdentifiers;
use crate::session::outbound::Outbound;
use crate::topic::index::TopicHash;
use smallvec::smallvec;

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
    fn offer<'a>(&'a self, message: &'a SharedMessage) -> Offer<'a> {
        Offer {
            message,
            qos: self.qos.min(message.qos()),
            retain: self.retain_as_published && message.retain(),
            subscription_identifiers: &self.subscription_identifiers,
            group: None,
        }
    }

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
    /// Delivers to the matching sessions of this shard. `publisher` is the publishing session, for
    /// No Local.
    pub(super) fn route_local(
        &mut self,
        now: Instant,
        message: &SharedMessage,
        publisher: Option<u32>,
    ) {
        let topic_name = message.topic_name_bytes();
        let filters = self.match_local(topic_name, self.index.topic_hash(topic_name));
        self.deliver_matched(now, filters, message, publisher);
    }

    /// Finds the local subscriptions to a topic name for `deliver_matched`, which is to follow at
    /// once if there are any; returns how many filters match.
    pub(super) fn match_local(&mut self, topic_name: &[u8], hash: TopicHash) -> usize {
        let Self { index, matched, .. } = self;
        matched.clear();
        index.matches_hashed(topic_name, hash, matched)
    }

    /// Delivers to what `match_local` has found; returns to how many sessions.
    fn deliver_matched(
        &mut self,
        now: Instant,
        filters: usize,
        message: &SharedMessage,
        publisher: Option<u32>,
    ) -> usize {
        if message.retain() {
            self.note_for_publisher(publisher, message);
        }
        let matched = std::mem::take(&mut self.matched);
        self.wire.copies.begin(matched.len());
        let count = if filters > 1 {
            self.deliver_merged(now, &matched, publisher, message)
        } else {
            self.deliver_to_all(now, &matched, publisher, message)
        };
        self.wire.copies.end();
        self.matched = matched;
        count
    }

    /// No Local keeps a message from its publisher, and so must the publisher's own lookup.
    fn note_for_publisher(&mut self, publisher: Option<u32>, message: &SharedMessage) {
        if let Some(publisher) = publisher
            && let Some(session) = self.sessions.get(publisher)
            && session.retained_lookups > 0
        {
            self.note_for_lookups(publisher, message);
        }
    }

    /// To the subscribers of several filters: who is among them more than once gets one message.
    fn deliver_merged(
        &mut self,
        now: Instant,
        matched: &[(u32, Subscription)],
        publisher: Option<u32>,
        message: &SharedMessage,
    ) -> usize {
        let mut targets = std::mem::take(&mut self.targets);
        self.merge_targets(matched, publisher, &mut targets);
        for target in &targets {
            self.deliver(now, target.session, &target.offer(message));
        }
        let count = targets.len();
        targets.clear();
        self.targets = targets;
        count
    }

    /// Delivers a message of a former process to the matching sessions that are chosen.
    pub(super) fn route_overdue(
        &mut self,
        now: Instant,
        message: &SharedMessage,
        is_chosen: impl Fn(u32) -> bool,
    ) {
        let mut matched = Vec::new();
        self.index.matches(message.topic_name(), &mut matched);
        matched.retain(|(session, _)| is_chosen(*session));
        self.deliver_merged(now, &matched, None, message);
    }

    /// As `deliver_matched`; true besides when some session's queue refused the message and its
    /// publisher is to be told (`session.queue_full = "reject"`).
    pub(super) fn deliver_matched_or_refuse(
        &mut self,
        now: Instant,
        filters: usize,
        message: &SharedMessage,
        publisher: Option<u32>,
    ) -> (usize, bool) {
        let before = self.counters.drops_queue_full;
        let count = self.deliver_matched(now, filters, message, publisher);
        (count, self.is_refused(before))
    }

    /// Some queue was full since there were so many drops, and the publisher is to know.
    pub(super) fn is_refused(&self, drops_before: u64) -> bool {
        let rejects = self.limits.queue_full == QueueFullPolicy::Reject;
        rejects && self.counters.drops_queue_full > drops_before
    }

    /// To the subscribers of one filter: nobody is among them twice, so nothing is merged.
    fn deliver_to_all(
        &mut self,
        now: Instant,
        matched: &[(u32, Subscription)],
        publisher: Option<u32>,
        message: &SharedMessage,
    ) -> usize {
        let mut count = 0;
        for (session, subscription) in matched {
            // [MQTT-3.8.3-3]
            if subscription.no_local() && publisher == Some(*session) {
                continue;
            }
            count += 1;
            let identifier = subscription.identifier();
            let offer = Offer {
                message,
                qos: subscription.qos().min(message.qos()),
                retain: subscription.retain_as_published() && message.retain(),
                subscription_identifiers: identifier.as_slice(),
                group: None,
            };
            self.deliver(now, *session, &offer);
        }
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
                subscription_identifiers: match subscription.identifier() {
                    None => SubscriptionIdentifiers::new(),
                    Some(identifier) => smallvec![identifier],
                },
            });
        }
    }

    fn deliver(&mut self, now: Instant, session_index: u32, offer: &Offer<'_>) {
        let message = offer.message;
        if message.retain()
            && let Some(session) = self.sessions.get(session_index)
            && session.retained_lookups > 0
        {
            self.note_for_lookups(session_index, message);
        }
        self.offer(now, session_index, offer, WhenSlow::Drop);
    }

    /// Sends now, or queues, or drops by policy.
    pub(super) fn offer(
        &mut self,
        now: Instant,
        session_index: u32,
        offer: &Offer<'_>,
        when_slow: WhenSlow,
    ) {
        let Some((outbound, receiver)) = self.receiver(now, session_index) else {
            return;
        };
        let Receiver { mut desk, line } = receiver;
        if offer.qos == QosLevel::AtMostOnce {
            match line {
                None => desk.drop_offline(),
                Some(line) if when_slow == WhenSlow::Drop && !desk.can_send_to(&line) => {
                    desk.drop_slow();
                }
                Some(mut line) => desk.send_once(&mut line, offer),
            }
            return;
        }
        if let Some(mut line) = line
            && outbound.can_send(line.connection.window)
            && desk.can_send_to(&line)
        {
            desk.send_new(&mut line, outbound, offer.to_delivery());
        } else {
            desk.queue(outbound, offer.to_delivery());
            self.read_ahead(session_index);
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
        let session = self.sessions.get(session_index);
        if !session.is_some_and(|session| session.outbound.has_waiting()) {
            return;
        }
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
        self.read_ahead(session_index);
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
            limits: &self.limits,
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
}

/// Who is to receive something.
struct Receiver<'a> {
    desk: Desk<'a>,
    /// `None`: the session has no connection.
    line: Option<Line<'a>>,
}
