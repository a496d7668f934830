//! PUBLISH from a client: checks, and what its acknowledgement says and waits for.

use super::Shard;
use super::client_key::ClientKey;
use super::input::Flow;
use super::interface::CloseCause;
use super::journal::Waiter as JournalWaiter;
use super::mount::mounted_name;
use super::route::{Publisher, await_acceptance};
use super::sys::is_reserved;
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::codec::{
    AckKind, MessageParts, PacketId, ProtocolError, ProtocolVersion, Publish, QosLevel, ReasonCode,
};
use crate::connection::acknowledge::PendingAck;
use crate::journal::Record;
use crate::topic::names::validate_topic_name;
use std::rc::Rc;
use std::time::Duration;

impl Shard {
    /// Steps 5 to 12 of a PUBLISH's journey: checks, route, acknowledgement.
    pub(super) fn on_publish(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session: u32,
        publish: &Publish<'_>,
    ) -> Flow {
        let alias_name;
        let topic_name = match self.publish_topic(id, publish) {
            Ok(PublishTopic::Given) => publish.topic_name,
            Ok(PublishTopic::Alias(name)) => {
                alias_name = name;
                &*alias_name
            }
            Err(error) => return self.fail(now, id, error),
        };
        let Some(rules) = self.publish_rules(id) else {
            return Flow::Closed;
        };
        let mount_point = rules.mount_point.as_deref();
        let hides_names = mount_point.is_some() && topic_name.starts_with('$');
        let topic_name = &*mounted_name(mount_point, topic_name);
        if let Err(error) = self.publish_allowed(&rules, publish, topic_name) {
            return self.fail(now, id, error);
        }
        if let Some(packet_id) = publish.packet_id {
            match self.publish_admission(id, session, publish.qos, packet_id) {
                Admission::New => {}
                Admission::Duplicate if self.is_publisher_held_back(session) => {
                    self.wait_for_journal(id);
                    return Flow::Pause;
                }
                Admission::Duplicate => {
                    let publisher = self.publisher(id);
                    let open = self.await_first_copy(publisher) + self.await_journal(0, publisher);
                    self.owe_ack(id, AckKind::PubRec, packet_id, ReasonCode::Success, open);
                    return Flow::Done;
                }
                Admission::Later => return Flow::Pause,
                Admission::Refused(error) => return self.fail(now, id, error),
            }
        }
        if is_reserved(topic_name) || hides_names {
            self.counters.publishes_denied += 1;
            return self.publish_refused(id, session, publish, ReasonCode::NotAuthorized);
        }
        if rules.checks_payload_format && !payload_is_as_said(publish) {
            self.counters.payloads_invalid += 1;
            return self.publish_refused(id, session, publish, ReasonCode::PayloadFormatInvalid);
        }
        if self.journal.disk_is_full && publish.packet_id.is_some() {
            return self.publish_without_disk(now, id, session, publish);
        }
        // A repeated QoS 2 message must not arrive twice there either, also after a crash.
        let exactly_once =
            publish.qos == QosLevel::ExactlyOnce && self.journal_number(session) != 0;
        if !exactly_once && self.is_publisher_held_back(session) {
            self.wait_for_journal(id);
            return Flow::Pause;
        }
        let hash = self.index.topic_hash(topic_name.as_bytes());
        let destinations = self.destinations(topic_name.as_bytes(), hash, publish.retain);
        self.choose_shared(topic_name, Some(session));
        let may_need_disk = publish.packet_id.is_some() || publish.retain;
        if !self.have_room(id, &destinations, may_need_disk)
            || !self.disk_keeps_up(id, publish, topic_name)
        {
            return Flow::Pause;
        }
        let before = self.journal.sequence();
        self.counters.messages_received += 1;
        self.counters.payload_bytes_received += publish.payload.len() as u64;
        let waits = publish.packet_id.is_some() && rules.awaits_effects;
        let publisher = waits.then(|| self.publisher(id)).flatten();
        let message = message_parts(now, topic_name, publish);
        let routed = self.route(
            now,
            session,
            &message,
            &destinations,
            exactly_once,
            publisher,
        );
        if let Some(packet_id) = publish.packet_id {
            let reason_code = match (routed.is_heard || publish.retain, routed.is_refused) {
                (false, _) => ReasonCode::NoMatchingSubscribers,
                (true, true) => ReasonCode::QuotaExceeded,
                (true, false) => ReasonCode::Success,
            };
            // PUBREC with an error ends the exchange [MQTT-4.3.3-9].
            if !reason_code.is_error() || !self.speaks_v5(id) {
                self.remember_inbound(session, publish.qos, packet_id);
            }
            let open = routed.open + self.await_journal(before, publisher);
            self.acknowledge_publish(id, publish.qos, packet_id, reason_code, open);
        }
        Flow::Done
    }

    /// Does the disk take what this message would cause? If not, the connection is listed to be
    /// tried again when it does.
    fn disk_keeps_up(&mut self, id: ConnectionId, publish: &Publish<'_>, topic_name: &str) -> bool {
        let needs_disk = self.journal.is_pressed()
            && (publish.retain || publish.packet_id.is_some())
            && (publish.retain || self.has_journalled_receiver(topic_name.as_bytes()));
        if needs_disk {
            self.wait_for_journal(id);
        }
        !needs_disk
    }

    pub(super) fn has_journalled_receiver(&mut self, topic_name: &[u8]) -> bool {
        self.match_local(topic_name, self.index.topic_hash(topic_name));
        let needs_disk = self.matched.iter().any(|(session, subscription)| {
            subscription.qos() > QosLevel::AtMostOnce && self.journal_number(*session) != 0
        });
        let mut choices = self.shared.choices().iter();
        needs_disk || choices.any(|choice| choice.shard == self.id)
    }

    /// The disk is past its watermark: nothing is taken that might have to be kept.
    fn publish_without_disk(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session: u32,
        publish: &Publish<'_>,
    ) -> Flow {
        self.counters.publishes_refused_disk_full += 1;
        if self.speaks_v5(id) {
            return self.publish_refused(id, session, publish, ReasonCode::QuotaExceeded);
        }
        // 3.x has no word for it, and an acknowledgement would be a lie.
        self.close_connection(now, id, CloseCause::LimitReached("the disk is full"));
        Flow::Closed
    }

    /// A QoS 2 message is known by its identifier until it is released.
    fn remember_inbound(&mut self, session_index: u32, qos: QosLevel, packet_id: PacketId) {
        if qos != QosLevel::ExactlyOnce {
            return;
        }
        let Some(session) = self.sessions.get_mut(session_index) else {
            return;
        };
        if session.inbound.insert(packet_id) {
            let session = session.journal_number;
            self.journal
                .about(session, &Record::Inbound { session, packet_id });
        }
    }

    /// Lets the publisher wait until what was journalled since `before` is durable; the number of
    /// its conditions.
    fn await_journal(&mut self, before: u64, publisher: Option<Publisher>) -> u16 {
        let Some(Publisher {
            connection,
            ack_number,
        }) = publisher
        else {
            return 0;
        };
        if self.journal.sequence() == before || self.journal.all_is_durable() {
            return 0;
        }
        self.journal.wait(JournalWaiter::Publish {
            connection,
            ack_number,
        });
        1
    }

    /// The topic name, given or behind an alias (section 3.3.2.3.4).
    fn publish_topic(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
    ) -> Result<PublishTopic, ProtocolError> {
        let Some(alias) = publish.properties.topic_alias else {
            return Ok(PublishTopic::Given);
        };
        let levels_max = self.limits.topic_levels_max;
        let aliases = self
            .connection_mut(id)
            .and_then(|it| it.inbound_aliases.as_mut());
        let Some(aliases) = aliases else {
            return Err(ProtocolError {
                reason_code: ReasonCode::TopicAliasInvalid,
                context: "topic alias although none is allowed",
            });
        };
        if publish.topic_name.is_empty() {
            return aliases.resolve(alias).map(PublishTopic::Alias);
        }
        // A name that is refused below must not stay behind as an alias.
        if validate_topic_name(publish.topic_name, levels_max).is_ok() {
            aliases.set(alias, publish.topic_name)?;
        }
        Ok(PublishTopic::Given)
    }

    fn publish_allowed(
        &self,
        rules: &PublishRules,
        publish: &Publish<'_>,
        topic_name: &str,
    ) -> Result<(), ProtocolError> {
        let refuse = |reason_code, context| {
            Err(ProtocolError {
                reason_code,
                context,
            })
        };
        if publish.qos > rules.qos_max {
            return refuse(
                ReasonCode::QosNotSupported,
                "QoS above the announced maximum",
            );
        }
        if publish.retain && !self.limits.retain_available {
            return refuse(
                ReasonCode::RetainNotSupported,
                "retained messages are not available",
            );
        }
        if validate_topic_name(topic_name, self.limits.topic_levels_max).is_err() {
            return refuse(ReasonCode::TopicNameInvalid, "invalid topic name");
        }
        Ok(())
    }

    /// May this QoS 1 or 2 message be taken now?
    fn publish_admission(
        &self,
        id: ConnectionId,
        session: u32,
        qos: QosLevel,
        packet_id: PacketId,
    ) -> Admission {
        let (Some(connection), Some(session)) = (self.connection(id), self.sessions.get(session))
        else {
            return Admission::Later;
        };
        if qos == QosLevel::ExactlyOnce && session.inbound.contains(packet_id) {
            return Admission::Duplicate;
        }
        let maximum = usize::from(self.limits.receive_maximum);
        if connection.version != ProtocolVersion::V5 {
            // No limit was announced, so nothing is broken: the socket waits.
            let owed = connection.pending_acks.len();
            return if owed < maximum {
                Admission::New
            } else {
                Admission::Later
            };
        }
        let carried = usize::from(connection.carried_inbound);
        let in_flight = connection.pending_acks.pub_ack_count() + session.inbound.len();
        if in_flight < maximum + carried {
            return Admission::New;
        }
        // [MQTT-3.3.4-7]
        Admission::Refused(ProtocolError {
            reason_code: ReasonCode::ReceiveMaximumExceeded,
            context: "more messages in flight than the receive maximum",
        })
    }

    fn publish_rules(&self, id: ConnectionId) -> Option<PublishRules> {
        let connection = self.connection(id)?;
        Some(PublishRules {
            qos_max: connection.qos_max,
            checks_payload_format: connection.check_payload_format,
            awaits_effects: connection.awaits_effects,
            mount_point: connection.mount_point.clone(),
        })
    }

    /// Acknowledged with the reason, where there is an acknowledgement, and not routed.
    fn publish_refused(
        &mut self,
        id: ConnectionId,
        session: u32,
        publish: &Publish<'_>,
        reason_code: ReasonCode,
    ) -> Flow {
        let Some(packet_id) = publish.packet_id else {
            return Flow::Done;
        };
        if self.speaks_v5(id) {
            let kind = match publish.qos {
                QosLevel::ExactlyOnce => AckKind::PubRec,
                _ => AckKind::PubAck,
            };
            self.owe_ack(id, kind, packet_id, reason_code, 0);
        } else {
            // 3.x has no word for it: acknowledged as if it had been delivered (3.1.1
            // section 3.3.5).
            let before = self.journal.sequence();
            let publisher = self.publisher(id);
            self.remember_inbound(session, publish.qos, packet_id);
            let open = self.await_journal(before, publisher);
            self.acknowledge_publish(id, publish.qos, packet_id, ReasonCode::Success, open);
        }
        Flow::Done
    }

    /// The first copy of a repeated message may still be on its way to other shards, sent on an
    /// earlier connection: its PUBREC waits for what is waited for on each link.
    fn await_first_copy(&mut self, publisher: Option<Publisher>) -> u16 {
        let mut open = 0;
        for index in self.peers() {
            let link = &mut self.links[index];
            if let Some(number) = link.unaccepted() {
                open += await_acceptance(link, number, publisher);
            }
        }
        open
    }

    /// What this session's client sends must not overtake what it sent before.
    fn is_publisher_held_back(&self, session: u32) -> bool {
        !self.forwards.is_nobody_held_back()
            && self.forwards.holds_back(self.publisher_key(session))
    }

    pub(super) fn publisher_key(&self, session: u32) -> ClientKey {
        let session = self.sessions.get(session);
        ClientKey::new(&self.home_key, session.map_or("", |it| &it.client_id))
    }

    fn publisher(&self, id: ConnectionId) -> Option<Publisher> {
        let ack_number = self.connection(id)?.pending_acks.next_number();
        Some(Publisher {
            connection: id,
            ack_number,
        })
    }

    /// PUBACK or PUBREC, now or when the `open` conditions are met.
    fn acknowledge_publish(
        &mut self,
        id: ConnectionId,
        qos: QosLevel,
        packet_id: PacketId,
        reason_code: ReasonCode,
        open: u16,
    ) {
        let kind = match qos {
            QosLevel::ExactlyOnce => AckKind::PubRec,
            _ => AckKind::PubAck,
        };
        self.owe_ack(id, kind, packet_id, reason_code, open);
    }

    /// Owes an acknowledgement that leaves when `open` conditions are met and all before it left.
    fn owe_ack(
        &mut self,
        id: ConnectionId,
        kind: AckKind,
        packet_id: PacketId,
        reason_code: ReasonCode,
        open: u16,
    ) {
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        if open == 0 && connection.pending_acks.is_empty() && !reason_code.is_error() {
            self.enqueue_ack(id, kind, packet_id, reason_code);
            return;
        }
        connection.pending_acks.push(PendingAck {
            kind,
            packet_id,
            reason_code,
            open,
        });
        self.send_ready_acks(id);
    }
}

/// What a connection's listener makes of its PUBLISH packets.
struct PublishRules {
    qos_max: QosLevel,
    checks_payload_format: bool,
    awaits_effects: bool,
    mount_point: Option<Rc<str>>,
}

fn message_parts<'a>(
    now: Instant,
    topic_name: &'a str,
    publish: &'a Publish<'_>,
) -> MessageParts<'a> {
    let expiry_s = publish.properties.message_expiry_interval_s;
    MessageParts {
        topic_name: topic_name.as_bytes(),
        properties: publish.properties.forwardable(),
        payload: publish.payload,
        qos: publish.qos,
        retain: publish.retain,
        expires_at: expiry_s.map(|s| now + Duration::from_secs(u64::from(s))),
    }
}

/// The Payload Format Indicator holds (section 3.3.2.3.2).
fn payload_is_as_said(publish: &Publish<'_>) -> bool {
    publish.properties.payload_format_indicator != Some(1)
        || std::str::from_utf8(publish.payload).is_ok()
}

enum PublishTopic {
    Given,
    Alias(Rc<str>),
}

enum Admission {
    New,
    /// QoS 2, accepted before and not released: only acknowledged again [MQTT-4.3.3-10].
    Duplicate,
    Later,
    Refused(ProtocolError),
}
