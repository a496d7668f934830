//! Packets that answer a client and explain themselves: within its Maximum Packet Size, and with a
//! Reason String only where the client takes one.

use super::Shard;
use super::input::Flow;
use super::interface::CloseCause;
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::codec::{
    Ack, AckKind, Disconnect, PacketId, ProtocolVersion, ReasonCode, SubAck, encode_ack,
    encode_disconnect, encode_sub_ack, encode_unsub_ack,
};
use crate::connection::Connection;

/// What a Reason String adds to an acknowledgement or DISCONNECT beside its text: property
/// lengths, the identifier, the text's length, a longer Remaining Length.
const REASON_BYTES: usize = 8;
/// The largest DISCONNECT, PUBACK or PUBREC without properties.
const PLAIN_BYTES: usize = 6;

/// The Reason String, if the client takes any and the packet stays small enough
/// [MQTT-3.1.2-29], [MQTT-3.14.2-3].
fn reason_for(connection: &Connection, reason: &'static str) -> Option<&'static str> {
    let bytes = PLAIN_BYTES + REASON_BYTES + reason.len();
    let fits = bytes <= connection.client_packet_bytes_max as usize;
    (connection.wants_reasons && fits && !reason.is_empty()).then_some(reason)
}

/// What an acknowledgement says beside its code.
const fn words_for(reason_code: ReasonCode) -> &'static str {
    match reason_code {
        ReasonCode::NotAuthorized => "not authorized to publish to this topic",
        ReasonCode::QuotaExceeded => "the queue of a subscriber is full",
        ReasonCode::PayloadFormatInvalid => "payload is not UTF-8",
        _ => "",
    }
}

/// Appends PUBACK or PUBREC to `out` [MQTT-3.4.2-2], [MQTT-3.5.2-2].
pub(super) fn encode_publish_ack(
    connection: &Connection,
    kind: AckKind,
    packet_id: PacketId,
    reason_code: ReasonCode,
    out: &mut Vec<u8>,
) {
    let mut ack = Ack::new(packet_id, reason_code);
    if reason_code.is_error() {
        ack.reason_string = reason_for(connection, words_for(reason_code));
    }
    encode_ack(kind, &ack, connection.version, out);
}

impl Shard {
    /// Tells a connected 5.0 client why it is disconnected. `reason` is what the code does not say
    /// already; empty: nothing.
    pub(super) fn say_goodbye(
        &mut self,
        id: ConnectionId,
        reason_code: ReasonCode,
        reason: &'static str,
    ) {
        let Self {
            connections, wire, ..
        } = self;
        let Some(connection) = connections.get_named_mut(id.index, id.generation) else {
            return;
        };
        let is_connected = connection.session().is_some() && !connection.awaits_conn_ack;
        if !is_connected || connection.version != ProtocolVersion::V5 {
            return;
        }
        let disconnect = Disconnect {
            reason_string: reason_for(connection, reason),
            ..Disconnect::new(reason_code)
        };
        wire.enqueue(id, connection, |out| {
            encode_disconnect(&disconnect, ProtocolVersion::V5, out);
        });
    }

    /// SUBACK. One that the client could not take, with a code for each of very many filters, ends
    /// the connection [MQTT-3.1.2-24].
    pub(super) fn answer_subscribe(
        &mut self,
        now: Instant,
        id: ConnectionId,
        packet_id: PacketId,
        codes: &[u8],
    ) -> Flow {
        self.answer_filters(now, id, &SubAck::new(packet_id, codes), encode_sub_ack)
    }

    /// UNSUBACK; else as [`Self::answer_subscribe`].
    pub(super) fn answer_unsubscribe(
        &mut self,
        now: Instant,
        id: ConnectionId,
        packet_id: PacketId,
        codes: &[u8],
    ) -> Flow {
        self.answer_filters(now, id, &SubAck::new(packet_id, codes), encode_unsub_ack)
    }

    fn answer_filters(
        &mut self,
        now: Instant,
        id: ConnectionId,
        answer: &SubAck<'_>,
        encode: fn(&SubAck<'_>, ProtocolVersion, &mut Vec<u8>),
    ) -> Flow {
        let Some(connection) = self.connection(id) else {
            return Flow::Closed;
        };
        let version = connection.version;
        let bytes = SUB_ACK_BYTES + answer.reason_codes.len();
        if bytes > connection.client_packet_bytes_max as usize {
            let context = "answer exceeds the client's maximum packet size";
            self.counters.limits_reached += 1;
            self.say_goodbye(id, ReasonCode::PacketTooLarge, context);
            self.close_connection(now, id, CloseCause::LimitReached(context));
            return Flow::Closed;
        }
        self.enqueue(id, |out| encode(answer, version, out));
        Flow::Done
    }
}

/// A SUBACK without its codes, with the longest Remaining Length.
const SUB_ACK_BYTES: usize = 8;
