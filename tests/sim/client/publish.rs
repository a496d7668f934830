//! What a client publishes: QoS 1 and 2 handshakes, the broker's window, aliases, and sending
//! again after a reconnect.

use super::{Client, Context, Live};
use crate::model::{Message, PAYLOAD_BYTES_MIN, payload};
use crate::wire::{AckKind, Publish, Version, encode};
use ringway::base::time::Instant;

/// The broker's disk is full, or some session's queue.
const QUOTA_EXCEEDED: u8 = 0x97;

/// A QoS 1 or 2 message that the broker has not completed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    packet_id: u16,
    message: u32,
    qos: u8,
    /// The answer that comes next.
    awaits: AckKind,
    order: u64,
    /// For the first time.
    sent: Instant,
}

/// A message to be published.
pub(crate) struct Wanted {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) bytes: usize,
    pub(crate) expiry_s: Option<u32>,
}

impl Client {
    /// May another QoS 1 or 2 message be sent? [MQTT-3.3.4-7]
    pub(crate) fn has_window(&self) -> bool {
        let Some(live) = &self.live else { return false };
        let mut maximum = usize::from(live.server_receive_maximum);
        if !self.v5() {
            // No limit is announced; this one only bounds the world.
            maximum = 200;
        }
        live.connected && self.session.outgoing.len() < maximum && self.has_free_packet_id()
    }

    /// For one more exchange.
    pub(super) fn has_free_packet_id(&self) -> bool {
        let requests = self.live.as_ref().map_or(0, |live| live.requests.len());
        self.session.outgoing.len() + requests < usize::from(self.profile.packet_id_max)
    }

    pub(super) fn next_packet_id(&mut self) -> u16 {
        loop {
            let id = self.session.last_packet_id % self.profile.packet_id_max + 1;
            self.session.last_packet_id = id;
            let used = self.session.outgoing.iter().any(|it| it.packet_id == id)
                || self
                    .live
                    .as_ref()
                    .is_some_and(|live| live.requests.contains_key(&id));
            if !used {
                return id;
            }
        }
    }

    pub(crate) fn publish(&mut self, context: &mut Context<'_>, wanted: Wanted) {
        let bytes = if wanted.bytes == 0 {
            0
        } else {
            wanted.bytes.max(PAYLOAD_BYTES_MIN)
        };
        let message = context.auditor.add_message(Message {
            retain: wanted.retain,
            expiry_s: wanted.expiry_s.filter(|_| self.v5()),
            hears_refusal: self.v5(),
            ..Message::new(self.index, wanted.topic, wanted.qos, bytes, context.now)
        });
        if wanted.qos == 0 {
            self.send_publish(context, message, None, false);
            return;
        }
        let packet_id = self.next_packet_id();
        let awaits = if wanted.qos == 1 {
            AckKind::PubAck
        } else {
            AckKind::PubRec
        };
        let outgoing = Outgoing {
            packet_id,
            message,
            qos: wanted.qos,
            awaits,
            order: 0,
            sent: context.now,
        };
        self.session.outgoing.push_back(outgoing);
        self.send_publish(context, message, Some(packet_id), false);
    }

    fn send_publish(
        &mut self,
        context: &mut Context<'_>,
        id: u32,
        packet_id: Option<u16>,
        dup: bool,
    ) {
        let version = self.profile.version;
        let (Some(live), Some(message)) = (&mut self.live, context.auditor.message(id)) else {
            return;
        };
        let order = live.next_order();
        let (topic, alias) = match context.swarm.features.aliases_in {
            true => live.choose_alias(&message.topic, context.random.below(4)),
            false => (message.topic.clone(), None),
        };
        let publish = Publish {
            dup,
            qos: message.qos,
            retain: message.retain,
            topic,
            packet_id,
            alias,
            expiry_s: message.expiry_s,
            payload: payload(id, message.bytes),
            ..Publish::default()
        };
        encode::publish(&publish, version, &mut live.output);
        let index = self.index;
        let line = format_args!("    client {index} > {publish} message {id}");
        context.trace.note(context.now, line);
        live.last_sent = context.now;
        let Some(packet_id) = packet_id else {
            live.unconfirmed.push_back((order, id));
            return;
        };
        let kind = if message.qos == 1 {
            AckKind::PubAck
        } else {
            AckKind::PubRec
        };
        live.awaited.entry(kind).or_default().push_back(packet_id);
        let mut outgoing = self.session.outgoing.iter_mut();
        if let Some(outgoing) = outgoing.find(|it| it.packet_id == packet_id) {
            outgoing.order = order;
        }
    }

    /// After CONNACK: everything that is open goes out again, in order [MQTT-4.4.0-1].
    pub(super) fn resend(&mut self, context: &mut Context<'_>) {
        let open: Vec<Outgoing> = self.session.outgoing.iter().copied().collect();
        for outgoing in open {
            if outgoing.awaits == AckKind::PubComp {
                self.send_release(context, outgoing.packet_id);
                continue;
            }
            // A copy that was refused, which the client did not hear, is over: the next one is new.
            // So it is to a broker that has forgotten the first one.
            let is_new = outgoing.qos == 1
                || context.swarm.rejects()
                || context.auditor.is_undone(outgoing.sent);
            if let Some(message) = context.auditor.message_mut(outgoing.message) {
                message.transmissions += u32::from(is_new);
                message.resent = true;
            }
            self.send_publish(context, outgoing.message, Some(outgoing.packet_id), true);
        }
    }

    fn send_release(&mut self, context: &mut Context<'_>, packet_id: u16) {
        let Some(live) = &mut self.live else { return };
        live.next_order();
        encode::ack(AckKind::PubRel, packet_id, &mut live.output);
        let index = self.index;
        context.note(format_args!("    client {index} > PubRel {packet_id}"));
        live.awaited
            .entry(AckKind::PubComp)
            .or_default()
            .push_back(packet_id);
        live.last_sent = context.now;
    }

    /// PUBACK, PUBREC or PUBCOMP: expected, and in the order of what they answer
    /// [MQTT-4.6.0-2], [MQTT-4.6.0-3].
    pub(super) fn on_answer(
        &mut self,
        context: &mut Context<'_>,
        kind: AckKind,
        packet_id: u16,
        code: u8,
    ) -> Result<(), String> {
        let Some(live) = &mut self.live else {
            return Ok(());
        };
        let is_over_quota = code == QUOTA_EXCEEDED && kind != AckKind::PubComp;
        let has_no_room =
            is_over_quota && self.profile.version == Version::V5 && context.swarm.rejects();
        let expected = match kind {
            // Our PUBREL was sent again; the broker may have forgotten the message already.
            AckKind::PubComp if live.session_present => 0x92,
            AckKind::PubComp => 0,
            _ => 0x10,
        };
        let disk_is_full = is_over_quota && context.auditor.was_disk_full_since(live.connect_sent);
        let is_refused = has_no_room || disk_is_full;
        if code != 0 && code != expected && !is_refused {
            return Err(format!("{kind:?} {packet_id} with code {code:#04x}"));
        }
        let expected = live.awaited.entry(kind).or_default().pop_front();
        if expected != Some(packet_id) {
            return Err(format!("{kind:?} {packet_id}, expected {expected:?}"));
        }
        let position = self
            .session
            .outgoing
            .iter()
            .position(|it| it.packet_id == packet_id);
        let position = position.ok_or_else(|| format!("{kind:?} {packet_id} not in flight"))?;
        let outgoing = &mut self.session.outgoing[position];
        if outgoing.awaits != kind {
            return Err(format!("{kind:?} for {outgoing:?}"));
        }
        if kind != AckKind::PubComp {
            // Who has room for it has it.
            if !disk_is_full {
                let since = live.connect_sent;
                context
                    .auditor
                    .on_accepted(outgoing.message, since, context.now);
            }
            live.confirm(outgoing.order, context.auditor);
        }
        if has_no_room {
            context.auditor.on_refused(outgoing.message);
        }
        // PUBREC with an error ends the exchange [MQTT-4.3.3-9].
        if kind == AckKind::PubRec && !is_refused {
            outgoing.awaits = AckKind::PubComp;
            self.send_release(context, packet_id);
        } else {
            self.session.outgoing.remove(position);
        }
        Ok(())
    }
}

impl Live {
    /// Topic name and alias to send: none, a new one, or one known to the broker instead of the
    /// name (section 3.3.2.3.4). `choice` is a number below 4.
    fn choose_alias(&mut self, topic: &str, choice: u64) -> (String, Option<u16>) {
        if let Some(alias) = self.aliases_out.get(topic).copied()
            && choice > 0
        {
            let name = if choice == 1 {
                topic.to_owned()
            } else {
                String::new()
            };
            return (name, Some(alias));
        }
        if self.server_alias_maximum == 0 || choice == 0 {
            return (topic.to_owned(), None);
        }
        let used = self.aliases_out.len() as u16;
        let alias = if used < self.server_alias_maximum {
            used + 1
        } else {
            1 + (self.order % u64::from(self.server_alias_maximum)) as u16
        };
        self.aliases_out.retain(|_, other| *other != alias);
        self.aliases_out.insert(topic.to_owned(), alias);
        (topic.to_owned(), Some(alias))
    }
}
