//! Records -> bytes; the format is in `record`.

use super::place::Place;
use super::record::{
    BodyView, ForwardTarget, Queued, RECORD_HEADER_BYTES, Record, WillFields, body_crc,
};
use crate::codec::PacketId;

impl Record<'_> {
    /// Appends the record, which will stand at `place`.
    pub(super) fn encode(&self, place: Place, out: &mut Vec<u8>) {
        let start = out.len();
        let content = u32::try_from(self.bytes() - RECORD_HEADER_BYTES).unwrap_or(u32::MAX);
        out.push(self.kind() as u8);
        out.extend(content.to_le_bytes());
        self.encode_content(place, out);
        debug_assert_eq!(out.len() - start, self.bytes());
    }

    fn encode_content(&self, place: Place, out: &mut Vec<u8>) {
        match self {
            Self::SessionBegin {
                session,
                expiry_interval_s,
                disconnected_at_ms,
                client_id,
            } => {
                put_u64(out, *session);
                put_u32(out, *expiry_interval_s);
                put_u64(out, *disconnected_at_ms);
                out.extend(client_id.as_bytes());
            }
            Self::SessionConnected {
                session,
                expiry_interval_s,
            } => {
                put_u64(out, *session);
                put_u32(out, *expiry_interval_s);
            }
            Self::SessionDisconnected {
                session,
                expiry_interval_s,
                at_ms,
            } => {
                put_u64(out, *session);
                put_u32(out, *expiry_interval_s);
                put_u64(out, *at_ms);
            }
            Self::SessionEnd { session }
            | Self::WillCleared { session }
            | Self::Dropped { session } => put_u64(out, *session),
            Self::Will { session, will } => {
                put_u64(out, *session);
                will.encode(out);
            }
            Self::Subscribe {
                session,
                subscription,
                filter,
            } => {
                put_u64(out, *session);
                out.push(subscription.options);
                put_u32(out, subscription.identifier.unwrap_or(0));
                out.extend(filter.as_bytes());
            }
            Self::Unsubscribe { session, filter } => {
                put_u64(out, *session);
                out.extend(filter.as_bytes());
            }
            Self::Body(body) => body.encode(place, out),
            Self::Queued { session, queued } => {
                put_u64(out, *session);
                queued.encode(out);
            }
            Self::Sent { session, packet_id }
            | Self::Acknowledged { session, packet_id }
            | Self::Received { session, packet_id }
            | Self::Inbound { session, packet_id }
            | Self::Released { session, packet_id } => {
                put_u64(out, *session);
                put_u16(out, packet_id.get());
            }
            Self::Retained {
                place,
                bytes,
                ends_at_ms,
                topic_name,
            } => {
                put_u64(out, place.as_u64());
                put_u32(out, *bytes);
                put_u64(out, *ends_at_ms);
                out.extend(topic_name.as_bytes());
            }
            Self::RetainedCleared { topic_name } => out.extend(topic_name.as_bytes()),
            Self::Forward {
                number,
                place,
                bytes,
                shards,
                target,
            } => {
                put_u64(out, *number);
                put_u64(out, place.as_u64());
                put_u32(out, *bytes);
                out.extend(shards.to_le_bytes());
                match target {
                    ForwardTarget::Subscribers => out.push(0),
                    ForwardTarget::RetainedStore => out.push(1),
                    ForwardTarget::Group(hash) => {
                        out.push(2);
                        put_u64(out, *hash);
                    }
                }
            }
            Self::Forwarded { number } => put_u64(out, *number),
            Self::Arrived { source, number } => {
                put_u16(out, source.0);
                put_u64(out, *number);
            }
            Self::SnapshotBegin {
                next_session,
                next_forward,
            } => {
                put_u64(out, *next_session);
                put_u64(out, *next_forward);
            }
            Self::SnapshotEnd => {}
        }
    }
}

impl WillFields<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.qos as u8);
        out.push(u8::from(self.retain));
        put_u32(out, self.delay_interval_s);
        put_u32(out, self.message_expiry_interval_s.unwrap_or(0));
        out.push(u8::from(self.message_expiry_interval_s.is_some()));
        put_length_u16(out, self.topic_name.len());
        put_length_u32(out, self.properties.len());
        out.extend(self.topic_name.as_bytes());
        out.extend(self.properties);
        out.extend(self.payload);
    }
}

impl Queued {
    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.place.as_u64());
        put_u32(out, self.bytes);
        out.push(self.qos as u8);
        let expires = self.expires_at_ms != 0;
        out.push(u8::from(self.retain) | u8::from(expires) << 1);
        put_u16(out, self.packet_id.map_or(0, PacketId::get));
        if expires {
            put_u64(out, self.expires_at_ms);
        }
        for identifier in &self.subscription_identifiers {
            put_u32(out, *identifier);
        }
    }
}

impl BodyView<'_> {
    fn encode(&self, place: Place, out: &mut Vec<u8>) {
        let start = out.len();
        put_u32(out, 0);
        put_u64(out, self.expires_at_ms);
        out.push(self.qos as u8);
        out.push(u8::from(self.retain));
        put_length_u16(out, self.topic_name.len());
        put_length_u32(out, self.properties.len());
        out.extend(self.topic_name);
        out.extend(self.properties);
        out.extend(self.payload);
        let crc = body_crc(place, &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend(value.to_le_bytes());
}

/// Of a text from a packet, where it had a length of two bytes.
fn put_length_u16(out: &mut Vec<u8>, length: usize) {
    put_u16(out, u16::try_from(length).unwrap_or(u16::MAX));
}

/// Of a part of a packet, which has at most 256 MiB.
fn put_length_u32(out: &mut Vec<u8>, length: usize) {
    put_u32(out, u32::try_from(length).unwrap_or(u32::MAX));
}
