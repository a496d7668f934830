//! Acknowledgements: those that we owe to publishers, and those that subscribers send.

use super::Shard;
use super::answer::encode_publish_ack;
use super::input::Flow;
use super::journal::Waiter;
use super::outgoing::ACK_BYTES_MAX;
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::codec::{
    Ack, AckKind, PacketId, ProtocolError, ProtocolVersion, ReasonCode, encode_ack,
};
use crate::connection::acknowledge::PendingAck;
use crate::journal::Record;
use crate::session::outbound::Acknowledged;

/// An acknowledgement without a place in `pending_acks`: PUBREL, PUBCOMP, a late PUBREC.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwedAck {
    connection: ConnectionId,
    kind: AckKind,
    packet_id: PacketId,
    reason_code: ReasonCode,
}

/// Towards publishers.
impl Shard {
    /// Sends the acknowledgements of a connection whose conditions are met, in order.
    pub(super) fn send_ready_acks(&mut self, id: ConnectionId) {
        let Self {
            connections,
            sessions,
            wire,
            journal,
            ..
        } = self;
        let Some(connection) = connections.get_named_mut(id.index, id.generation) else {
            return;
        };
        let version = connection.version;
        let session = connection.session();
        while let Some(ack) = connection.pending_acks.pop_ready() {
            let PendingAck {
                kind,
                packet_id,
                reason_code,
                ..
            } = ack;
            if !reason_code.is_error() {
                let ack = Ack::new(packet_id, reason_code);
                wire.enqueue_within(ACK_BYTES_MAX, id, connection, |out| {
                    encode_ack(kind, &ack, version, out);
                });
                continue;
            }
            if kind == AckKind::PubRec
                && version == ProtocolVersion::V5
                && let Some(session) = session.and_then(|index| sessions.get_mut(index))
            {
                // The exchange ends here, its identifier is free [MQTT-4.3.3-9]: as for PUBCOMP.
                let known = session.inbound.release(packet_id);
                let session = session.journal_number;
                if known && session != 0 {
                    journal.append(&Record::Released { session, packet_id });
                    if !journal.all_is_durable() {
                        journal.wait(Waiter::Ack(OwedAck {
                            connection: id,
                            kind,
                            packet_id,
                            reason_code,
                        }));
                        continue;
                    }
                }
            }
            wire.enqueue_for(id, connection, |connection, out| {
                encode_publish_ack(connection, kind, packet_id, reason_code, out);
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
        let packet_id = ack.packet_id;
        let known = session.inbound.release(packet_id);
        let number = session.journal_number;
        if known {
            let session = number;
            self.journal
                .about(number, &Record::Released { session, packet_id });
        }
        let reason_code = if known {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        // Behind PUBCOMP the client uses the identifier again: the release must be durable.
        self.owe(
            number,
            OwedAck {
                connection: id,
                kind: AckKind::PubComp,
                packet_id,
                reason_code,
            },
        );
        Flow::Done
    }

    /// PUBREL or PUBCOMP, now or when what a journalled session has said so far is durable.
    fn owe(&mut self, session: u64, owed: OwedAck) {
        if session == 0 || self.journal.all_is_durable() {
            self.send_owed_ack(&owed);
        } else {
            self.journal.wait(Waiter::Ack(owed));
        }
    }

    pub(super) fn send_owed_ack(&mut self, owed: &OwedAck) {
        self.enqueue_ack(owed.connection, owed.kind, owed.packet_id, owed.reason_code);
    }

    /// An acknowledgement that nothing has to wait for and that explains nothing.
    pub(super) fn enqueue_ack(
        &mut self,
        id: ConnectionId,
        kind: AckKind,
        packet_id: PacketId,
        reason_code: ReasonCode,
    ) {
        let Self {
            connections, wire, ..
        } = self;
        if let Some(connection) = connections.get_named_mut(id.index, id.generation) {
            let ack = Ack::new(packet_id, reason_code);
            let version = connection.version;
            wire.enqueue_within(ACK_BYTES_MAX, id, connection, |out| {
                encode_ack(kind, &ack, version, out);
            });
        }
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
        self.finish_outbound(now, id, session, ack.packet_id, acknowledged)
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
            return self.finish_outbound(now, id, session, ack.packet_id, acknowledged);
        }
        let (packet_id, number) = (ack.packet_id, state.journal_number);
        let reason_code = match state.outbound.on_pub_rec(packet_id) {
            Acknowledged::Expected(delivery) => {
                if let Some(delivery) = delivery {
                    let session = number;
                    self.journal
                        .about(number, &Record::Received { session, packet_id });
                    self.journal.unqueued(number, &delivery);
                    self.messages.release(delivery.message);
                }
                ReasonCode::Success
            }
            // Not known any more: PUBREL ends the exchange for the client.
            Acknowledged::Unexpected => ReasonCode::PacketIdentifierNotFound,
        };
        // Behind PUBREL the client forgets the message: it must not be sent again after a crash.
        self.owe(
            number,
            OwedAck {
                connection: id,
                kind: AckKind::PubRel,
                packet_id,
                reason_code,
            },
        );
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
        self.finish_outbound(now, id, session, ack.packet_id, acknowledged)
    }

    /// A place in the window is free: the next message goes out. An unexpected acknowledgement is
    /// ignored: it may belong to a session that ended, and harms nobody.
    fn finish_outbound(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session: u32,
        packet_id: PacketId,
        acknowledged: Acknowledged,
    ) -> Flow {
        if let Acknowledged::Expected(delivery) = acknowledged {
            let number = self.journal_number(session);
            let record = Record::Acknowledged {
                session: number,
                packet_id,
            };
            self.journal.about(number, &record);
            if let Some(delivery) = delivery {
                self.journal.unqueued(number, &delivery);
                self.messages.release(delivery.message);
            }
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
