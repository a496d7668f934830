//! Acknowledgements: those that we owe to publishers, and those that subscribers send.

use super::Shard;
use super::answer::encode_publish_ack;
use super::input::Flow;
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::codec::{
    Ack, AckKind, PacketId, ProtocolError, ProtocolVersion, ReasonCode, encode_ack,
};
use crate::session::outbound::Acknowledged;

/// Towards publishers.
impl Shard {
    /// Sends the acknowledgements of a connection whose conditions are met, in order.
    pub(super) fn send_ready_acks(&mut self, id: ConnectionId) {
        let Self {
            connections,
            sessions,
            wire,
            ..
        } = self;
        let Some(connection) = connections.get_named_mut(id.index, id.generation) else {
            return;
        };
        let version = connection.version;
        let session = connection.session();
        while let Some(ack) = connection.pending_acks.pop_ready() {
            if ack.kind == AckKind::PubRec
                && ack.reason_code.is_error()
                && version == ProtocolVersion::V5
                && let Some(session) = session.and_then(|index| sessions.get_mut(index))
            {
                // The exchange ends here, its identifier is free [MQTT-4.3.3-9].
                session.inbound.release(ack.packet_id);
            }
            wire.enqueue_for(id, connection, |connection, out| {
                encode_publish_ack(connection, ack.kind, ack.packet_id, ack.reason_code, out);
            });
        }
        if connection.paused {
            self.resume_later(id);
        }
    }

    /// PUBREL: the message's identifier is free again [MQTT-4.3.3-11].
    pub(super) fn on_pub_rel(&mut self, id: ConnectionId, session: u32, ack: &Ack<'_>) -> Flow {
        let Some(session) = self.sessions.get_mut(session) else {
            return Flow::Closed;
        };
        let known = session.inbound.release(ack.packet_id);
        let reason_code = if known {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        self.enqueue_ack(id, AckKind::PubComp, ack.packet_id, reason_code);
        Flow::Done
    }

    fn enqueue_ack(
        &mut self,
        id: ConnectionId,
        kind: AckKind,
        packet_id: PacketId,
        reason_code: ReasonCode,
    ) {
        let version = self
            .connection(id)
            .map_or(ProtocolVersion::V311, |connection| connection.version);
        let ack = Ack::new(packet_id, reason_code);
        self.enqueue(id, |out| encode_ack(kind, &ack, version, out));
    }
}

/// From subscribers.
impl Shard {
    pub(super) fn on_pub_ack(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session: u32,
        ack: &Ack<'_>,
    ) -> Flow {
        let Some(state) = self.sessions.get_mut(session) else {
            return Flow::Closed;
        };
        let acknowledged = state.outbound.on_pub_ack(ack.packet_id);
        self.finish_outbound(now, id, session, acknowledged)
    }

    pub(super) fn on_pub_rec(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session: u32,
        ack: &Ack<'_>,
    ) -> Flow {
        let Some(state) = self.sessions.get_mut(session) else {
            return Flow::Closed;
        };
        if ack.reason_code.is_error() {
            let acknowledged = state.outbound.on_pub_rec_error(ack.packet_id);
            return self.finish_outbound(now, id, session, acknowledged);
        }
        let reason_code = match state.outbound.on_pub_rec(ack.packet_id) {
            Acknowledged::Expected(delivery) => {
                if let Some(delivery) = delivery {
                    self.messages.release(delivery.message);
                }
                ReasonCode::Success
            }
            // Not known any more: PUBREL ends the exchange for the client.
            Acknowledged::Unexpected => ReasonCode::PacketIdentifierNotFound,
        };
        self.enqueue_ack(id, AckKind::PubRel, ack.packet_id, reason_code);
        Flow::Done
    }

    pub(super) fn on_pub_comp(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session: u32,
        ack: &Ack<'_>,
    ) -> Flow {
        let Some(state) = self.sessions.get_mut(session) else {
            return Flow::Closed;
        };
        let acknowledged = state.outbound.on_pub_comp(ack.packet_id);
        self.finish_outbound(now, id, session, acknowledged)
    }

    /// A place in the window is free: the next message goes out. An unexpected acknowledgement is
    /// ignored: it may belong to a session that ended, and harms nobody.
    fn finish_outbound(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session: u32,
        acknowledged: Acknowledged,
    ) -> Flow {
        if let Acknowledged::Expected(Some(delivery)) = acknowledged {
            self.messages.release(delivery.message);
        }
        self.pump(now, session);
        if self
            .connection(id)
            .is_some_and(|connection| connection.lookups.is_some())
        {
            self.advance_lookup(id);
        }
        Flow::Done
    }

    /// Nothing more to say about a packet that the client may not send.
    pub(super) const fn protocol_error(context: &'static str) -> ProtocolError {
        ProtocolError {
            reason_code: ReasonCode::ProtocolError,
            context,
        }
    }
}
