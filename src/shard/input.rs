//! Bytes from a client -> packets -> what each of them asks for; pausing and trying again.

use super::Shard;
use super::interface::{CloseCause, ReadVerdict};
use crate::base::ids::{ConnectionId, ShardId};
use crate::base::time::Instant;
use crate::codec::{
    AckKind, Frame, Packet, PacketType, ProtocolError, ProtocolVersion, RawPacket, ReasonCode,
    Sender, decode_ack, decode_from_client, decode_publish, decode_subscribe_head,
    decode_unsubscribe_head, encode_ping_resp, frame,
};
use crate::connection::Phase;

/// Buffers kept for incomplete packets, and the capacity that a kept one may have.
const PARTIALS_KEPT: usize = 256;
const PARTIAL_BYTES_KEPT: usize = 16 << 10;

/// What became of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    Done,
    /// The same packet comes again when the connection is resumed. What was done of it, if it is a
    /// large one, is noted in `filter_work`.
    Pause,
    /// The connection is gone.
    Closed,
    /// CONNECT names a session of another shard; nothing was changed.
    HandOver(ShardId),
}

/// What became of a run of bytes.
enum Outcome {
    /// All complete packets are handled; this many bytes are needed from the first one left.
    NeedMore(usize),
    Pause,
    Closed,
    HandOver(ShardId),
}

impl Shard {
    /// Takes bytes straight from the driver's buffer; copies only what cannot be handled now.
    pub(super) fn receive(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) -> ReadVerdict {
        self.counters.bytes_received += bytes.len() as u64;
        let Some(connection) = self.connection(id) else {
            return ReadVerdict::Close;
        };
        if connection.partial.is_empty() && !connection.paused {
            let (consumed, outcome) = self.consume(now, id, bytes);
            if !matches!(outcome, Outcome::Closed)
                && !self.append_partial(now, id, &bytes[consumed..])
            {
                return ReadVerdict::Close;
            }
            return self.verdict(id, &outcome);
        }
        if !self.append_partial(now, id, bytes) {
            return ReadVerdict::Close;
        }
        self.retry(now, id)
    }

    /// Handles what has been kept of a connection, if it can be.
    pub(super) fn retry(&mut self, now: Instant, id: ConnectionId) -> ReadVerdict {
        let Some(connection) = self.connection(id) else {
            return ReadVerdict::Close;
        };
        if connection.paused {
            return ReadVerdict::Pause;
        }
        if connection.partial.len() < connection.partial_needed {
            return ReadVerdict::Continue;
        }
        let mut kept = self.take_partial(id);
        let (consumed, outcome) = self.consume(now, id, &kept);
        if matches!(outcome, Outcome::Closed) {
            self.recycle_partial(kept);
        } else {
            kept.drain(..consumed);
            self.put_partial(id, kept);
        }
        self.verdict(id, &outcome)
    }

    fn verdict(&mut self, id: ConnectionId, outcome: &Outcome) -> ReadVerdict {
        let verdict = match outcome {
            Outcome::NeedMore(_) => ReadVerdict::Continue,
            Outcome::Pause => ReadVerdict::Pause,
            Outcome::Closed => return ReadVerdict::Close,
            Outcome::HandOver(shard) => return ReadVerdict::HandOver(*shard),
        };
        let mut pauses = 0;
        if let Some(connection) = self.connection_mut(id) {
            connection.partial_needed = match outcome {
                Outcome::NeedMore(needed) => *needed,
                _ => 0,
            };
            if matches!(outcome, Outcome::Pause) {
                connection.paused = true;
                pauses = 1;
            }
        }
        self.counters.read_pauses += pauses;
        verdict
    }

    /// Handles complete packets from the front of `bytes`; returns how many bytes they were.
    fn consume(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) -> (usize, Outcome) {
        let mut consumed = 0;
        let mut packets = 0;
        let outcome = loop {
            let rest = &bytes[consumed..];
            if rest.is_empty() {
                break Outcome::NeedMore(0);
            }
            let Some(connection) = self.connection(id) else {
                break Outcome::Closed;
            };
            let (phase, version) = (connection.phase, connection.version);
            if connection.awaits_conn_ack {
                break Outcome::Pause;
            }
            let bytes_max = match phase {
                Phase::AwaitingConnect | Phase::Authenticating => {
                    self.limits.connect_packet_bytes_max
                }
                Phase::Connected { .. } => self.limits.packet_bytes_max,
            };
            if connection.send_bytes() >= self.limits.send_queue_bytes_max as usize {
                break Outcome::Pause;
            }
            let raw = match frame(rest, bytes_max) {
                Ok(Frame::Complete(raw)) => raw,
                Ok(Frame::Incomplete { bytes_needed }) => break Outcome::NeedMore(bytes_needed),
                Err(error) => {
                    self.fail(now, id, error);
                    break Outcome::Closed;
                }
            };
            self.journal.begin_group(now);
            let flow = match phase {
                Phase::AwaitingConnect => self.on_connect(now, id, raw),
                Phase::Authenticating => self.on_packet_of_authentication(now, id, raw),
                Phase::Connected { session } => self.on_packet(now, id, session, version, raw),
            };
            match flow {
                Flow::Done => consumed += raw.length,
                Flow::Pause => break Outcome::Pause,
                Flow::Closed => break Outcome::Closed,
                Flow::HandOver(shard) => break Outcome::HandOver(shard),
            }
            packets += u64::from(matches!(phase, Phase::Connected { .. }));
        };
        if packets > 0 {
            self.counters.packets_received += packets;
            if let Some(connection) = self.connection_mut(id) {
                connection.last_packet = now;
            }
        }
        (consumed, outcome)
    }

    /// One complete packet of a connected client, framed but not decoded.
    fn on_packet(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session: u32,
        version: ProtocolVersion,
        raw: RawPacket<'_>,
    ) -> Flow {
        // The packets that come with every message take the short way.
        let decoded = match raw.packet_type() {
            Some(PacketType::Publish) => decode_publish(version, Sender::Client, raw)
                .map(|publish| self.on_publish(now, id, session, &publish)),
            Some(
                PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp,
            ) => decode_ack(version, raw).map(|(kind, ack)| match kind {
                AckKind::PubAck => self.on_pub_ack(now, id, session, &ack),
                AckKind::PubRec => self.on_pub_rec(now, id, session, &ack),
                AckKind::PubRel => self.on_pub_rel(id, session, &ack),
                AckKind::PubComp => self.on_pub_comp(now, id, session, &ack),
            }),
            _ => self.on_rare_packet(now, id, session, version, raw),
        };
        decoded.unwrap_or_else(|error| self.fail(now, id, error))
    }

    /// Apart, so that the packets that come with every message have the registers for themselves.
    #[cold]
    fn on_rare_packet(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session: u32,
        version: ProtocolVersion,
        raw: RawPacket<'_>,
    ) -> Result<Flow, ProtocolError> {
        match raw.packet_type() {
            // These may have very many filters, which are decoded in slices.
            Some(PacketType::Subscribe) => decode_subscribe_head(version, raw)
                .map(|subscribe| self.on_subscribe(now, id, session, &subscribe)),
            Some(PacketType::Unsubscribe) => decode_unsubscribe_head(version, raw)
                .map(|unsubscribe| self.on_unsubscribe(now, id, session, &unsubscribe)),
            _ => decode_from_client(version, raw)
                .map(|packet| self.on_small_packet(now, id, session, &packet)),
        }
    }

    fn on_small_packet(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session: u32,
        packet: &Packet<'_>,
    ) -> Flow {
        match packet {
            Packet::PingReq => {
                self.enqueue(id, encode_ping_resp);
                Flow::Done
            }
            Packet::Disconnect(disconnect) => self.on_disconnect(now, id, session, disconnect),
            Packet::Auth(auth) => self.on_auth(now, id, auth),
            // A second CONNECT [MQTT-3.1.0-2], and what only servers send.
            _ => self.fail(
                now,
                id,
                Self::protocol_error("packet not allowed from a connected client"),
            ),
        }
    }

    /// The client broke the protocol: 5.0 clients are told, all are disconnected.
    pub(super) fn fail(&mut self, now: Instant, id: ConnectionId, error: ProtocolError) -> Flow {
        self.counters.protocol_errors += 1;
        self.say_goodbye(id, error.reason_code, error.context);
        self.close_connection(now, id, CloseCause::ProtocolError(error.context));
        Flow::Closed
    }

    /// Does the client understand reason codes in acknowledgements and DISCONNECT?
    pub(super) fn speaks_v5(&self, id: ConnectionId) -> bool {
        self.connection(id)
            .is_some_and(|connection| connection.version == ProtocolVersion::V5)
    }
}

/// Pausing and resuming.
impl Shard {
    /// The hindrance of a paused connection may be gone.
    pub(super) fn resume_later(&mut self, id: ConnectionId) {
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        if connection.paused && !connection.resuming {
            connection.resuming = true;
            self.to_resume.push_back(id);
        }
    }

    /// Tries the connections again that were listed before this call.
    pub(super) fn run_resumes(&mut self, now: Instant) {
        for _ in 0..self.to_resume.len() {
            let Some(id) = self.to_resume.pop_front() else {
                return;
            };
            let Some(connection) = self.connection_mut(id) else {
                continue;
            };
            connection.resuming = false;
            connection.paused = false;
            // CONNECT never pauses, so a hand-over cannot come out of here.
            if self.retry(now, id) == ReadVerdict::Continue {
                self.resumed.push_back(id);
            }
        }
    }
}

/// Buffers of incomplete packets.
impl Shard {
    /// Keeps bytes that cannot be handled yet. False: the connection had to be closed.
    fn append_partial(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        if self.partial_bytes + bytes.len() as u64 > self.limits.reassembly_bytes_max {
            self.counters.limits_reached += 1;
            let context = "too many incomplete packets";
            self.say_goodbye(id, ReasonCode::QuotaExceeded, context);
            let cause = CloseCause::LimitReached("limit.reassembly_bytes");
            self.close_connection(now, id, cause);
            return false;
        }
        let Self {
            connections,
            partials,
            partial_bytes,
            ..
        } = self;
        let Some(connection) = connections.get_named_mut(id.index, id.generation) else {
            return false;
        };
        if connection.partial.capacity() == 0 {
            connection.partial = partials.pop().unwrap_or_default();
        }
        connection.partial.extend_from_slice(bytes);
        *partial_bytes += bytes.len() as u64;
        true
    }

    pub(super) fn take_partial(&mut self, id: ConnectionId) -> Vec<u8> {
        let Some(connection) = self.connection_mut(id) else {
            return Vec::new();
        };
        let kept = std::mem::take(&mut connection.partial);
        self.partial_bytes -= kept.len() as u64;
        kept
    }

    fn put_partial(&mut self, id: ConnectionId, kept: Vec<u8>) {
        if kept.is_empty() {
            self.recycle_partial(kept);
        } else if let Some(connection) = self.connection_mut(id) {
            let bytes = kept.len() as u64;
            connection.partial = kept;
            self.partial_bytes += bytes;
        }
    }

    pub(super) fn recycle_partial(&mut self, mut buffer: Vec<u8>) {
        let worth_keeping = (1..=PARTIAL_BYTES_KEPT).contains(&buffer.capacity());
        if worth_keeping && self.partials.len() < PARTIALS_KEPT {
            buffer.clear();
            self.partials.push(buffer);
        }
    }
}
