//! What a client receives: aliases, identifiers, its own window, and the QoS 1 and 2 handshakes.

use super::{Client, Context, Incoming};
use crate::auditor::DeliveredOn;
use crate::model::payload_id;
use crate::wire::{AckKind, Publish, Version, encode};

impl Client {
    pub(super) fn on_publish(
        &mut self,
        context: &mut Context<'_>,
        publish: Publish,
    ) -> Result<(), String> {
        let topic = self.resolve_alias(&publish)?;
        let Some(packet_id) = publish.packet_id else {
            return self.deliver(context, &topic, &publish);
        };
        self.open_identifier(packet_id, &publish)?;
        let message = payload_id(&publish.payload);
        if publish.qos == 1 {
            self.deliver(context, &topic, &publish)?;
            return self.owe(AckKind::PubAck, packet_id);
        }
        if let Some(known) = self.session.incoming.get(&packet_id) {
            let is_undone = context.auditor.is_undone(known.since);
            if known.message == message && (publish.dup || is_undone) {
                return self.owe(AckKind::PubRec, packet_id);
            }
            // A broker that has gone back may have forgotten the exchange of the older message.
            if !is_undone {
                return Err(format!("packet identifier of {known:?} used for {publish}"));
            }
        }
        self.deliver(context, &topic, &publish)?;
        let since = self.live.as_ref().map_or(context.now, |it| it.connect_sent);
        self.session.incoming.insert(
            packet_id,
            Incoming {
                message,
                received_sent: false,
                since,
            },
        );
        self.owe(AckKind::PubRec, packet_id)
    }

    /// [MQTT-3.3.2-8] to [MQTT-3.3.2-12].
    fn resolve_alias(&mut self, publish: &Publish) -> Result<String, String> {
        let maximum = self.profile.topic_alias_maximum;
        let Some(live) = &mut self.live else {
            return Ok(publish.topic.clone());
        };
        let Some(alias) = publish.alias else {
            return Ok(publish.topic.clone());
        };
        if alias > maximum {
            return Err(format!("topic alias {alias} above {maximum}"));
        }
        if !publish.topic.is_empty() {
            live.aliases_in.insert(alias, publish.topic.clone());
        }
        live.aliases_in
            .get(&alias)
            .cloned()
            .ok_or_else(|| format!("unknown topic alias {alias}"))
    }

    /// A packet identifier is free, and the Receive Maximum is kept [MQTT-2.2.1-4],
    /// [MQTT-3.3.4-9].
    fn open_identifier(&mut self, packet_id: u16, publish: &Publish) -> Result<(), String> {
        let maximum = match self.profile.version {
            Version::V5 => self.profile.receive_maximum.unwrap_or(u16::MAX),
            _ => u16::MAX,
        };
        let Some(live) = &mut self.live else {
            return Ok(());
        };
        if !live.open_in.insert(packet_id) {
            return Err(format!(
                "packet identifier {packet_id} is in use: {publish}"
            ));
        }
        if live.open_in.len() > usize::from(maximum) {
            return Err(format!("more than {maximum} in flight: {:?}", live.open_in));
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        context: &mut Context<'_>,
        topic: &str,
        publish: &Publish,
    ) -> Result<(), String> {
        let Some(live) = &self.live else {
            return Ok(());
        };
        let on = DeliveredOn {
            session_present: live.session_present,
            connect_sent: live.connect_sent,
            connack_at: live.connack_at,
            v5: self.profile.version == Version::V5,
        };
        context
            .auditor
            .on_delivered(self.index, context.now, topic, publish, &on)
    }

    pub(super) fn on_pub_rel(
        &mut self,
        context: &Context<'_>,
        packet_id: u16,
        code: u8,
    ) -> Result<(), String> {
        let Some(live) = &self.live else {
            return Ok(());
        };
        if code != 0 {
            return Err(format!("PUBREL {packet_id} with code {code:#04x}"));
        }
        match self.session.incoming.remove(&packet_id) {
            Some(incoming) if incoming.received_sent => {}
            // It ends an earlier message's exchange, to whose time the broker has gone back.
            Some(incoming) if context.auditor.is_undone(incoming.since) => {}
            Some(incoming) => return Err(format!("PUBREL without PUBREC for {incoming:?}")),
            // Our PUBCOMP may have been lost with an earlier connection.
            None if live.session_present => {}
            None => return Err(format!("PUBREL {packet_id} for nothing")),
        }
        self.owe(AckKind::PubComp, packet_id)
    }

    fn owe(&mut self, kind: AckKind, packet_id: u16) -> Result<(), String> {
        if let Some(live) = &mut self.live {
            live.owed.push_back((kind, packet_id));
        }
        Ok(())
    }

    /// Sends the oldest owed acknowledgements, in order [MQTT-4.6.0-2].
    pub(crate) fn send_owed(&mut self, context: &mut Context<'_>, count: usize) {
        let index = self.index;
        let Some(live) = &mut self.live else { return };
        for _ in 0..count.min(live.owed.len()) {
            let Some((kind, packet_id)) = live.owed.pop_front() else {
                return;
            };
            context.note(format_args!("    client {index} > {kind:?} {packet_id}"));
            encode::ack(kind, packet_id, &mut live.output);
            live.order += 1;
            live.last_sent = context.now;
            if kind == AckKind::PubRec {
                if let Some(incoming) = self.session.incoming.get_mut(&packet_id) {
                    incoming.received_sent = true;
                }
            } else {
                live.open_in.remove(&packet_id);
            }
        }
    }
}
