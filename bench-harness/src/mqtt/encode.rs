//! Packets to bytes, appended to a buffer of the caller.

use super::{AckKind, Version};

/// What a client says when it connects.
#[derive(Clone, Copy, Debug)]
pub struct Connect<'a> {
    pub version: Version,
    pub client_id: &'a str,
    pub keep_alive_s: u16,
    pub clean: bool,
    /// 5.0: kept so long after the connection; 3.1.1 has only `clean`.
    pub session_expiry_s: u32,
    /// 5.0: QoS 1 and 2 messages that the broker may have under way to us.
    pub receive_maximum: u16,
    pub username: Option<&'a str>,
    pub password: Option<&'a str>,
}

#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    pub qos: u8,
    pub retain: bool,
    pub is_dup: bool,
    pub topic: &'a [u8],
    pub packet_id: u16,
    pub payload: &'a [u8],
}

pub fn encode_connect(connect: &Connect<'_>, out: &mut Vec<u8>) {
    let is_v5 = connect.version == Version::V50;
    let mut properties = Vec::new();
    if is_v5 && connect.session_expiry_s > 0 {
        properties.push(0x11);
        properties.extend_from_slice(&connect.session_expiry_s.to_be_bytes());
    }
    if is_v5 && connect.receive_maximum < u16::MAX {
        properties.push(0x21);
        properties.extend_from_slice(&connect.receive_maximum.to_be_bytes());
    }
    let mut flags = u8::from(connect.clean) << 1;
    flags |= u8::from(connect.username.is_some()) << 7;
    flags |= u8::from(connect.password.is_some()) << 6;

    let mut body = Vec::with_capacity(64);
    put_prefixed(b"MQTT", &mut body);
    body.push(connect.version.level());
    body.push(flags);
    body.extend_from_slice(&connect.keep_alive_s.to_be_bytes());
    if is_v5 {
        put_variable(properties.len(), &mut body);
        body.extend_from_slice(&properties);
    }
    put_prefixed(connect.client_id.as_bytes(), &mut body);
    for text in [connect.username, connect.password].into_iter().flatten() {
        put_prefixed(text.as_bytes(), &mut body);
    }
    put_packet(0x10, &body, out);
}

pub fn encode_connack(version: Version, session_present: bool, code: u8, out: &mut Vec<u8>) {
    let body = [u8::from(session_present), code, 0];
    let length = if version == Version::V50 { 3 } else { 2 };
    put_packet(0x20, &body[..length], out);
}

pub fn encode_publish(version: Version, publish: &Publish<'_>, out: &mut Vec<u8>) {
    let id_bytes = if publish.qos > 0 { 2 } else { 0 };
    let property_bytes = usize::from(version == Version::V50);
    let remaining = 2 + publish.topic.len() + id_bytes + property_bytes + publish.payload.len();
    let flags = u8::from(publish.is_dup) << 3 | publish.qos << 1 | u8::from(publish.retain);
    out.push(0x30 | flags);
    put_variable(remaining, out);
    put_prefixed(publish.topic, out);
    if publish.qos > 0 {
        out.extend_from_slice(&publish.packet_id.to_be_bytes());
    }
    if version == Version::V50 {
        out.push(0);
    }
    out.extend_from_slice(publish.payload);
}

/// A reason code is written only where it says something: the short form means success.
pub fn encode_ack(kind: AckKind, packet_id: u16, reason: u8, out: &mut Vec<u8>) {
    let [high, low] = packet_id.to_be_bytes();
    if reason == 0 {
        out.extend_from_slice(&[kind.first_byte(), 2, high, low]);
    } else {
        out.extend_from_slice(&[kind.first_byte(), 3, high, low, reason]);
    }
}

pub fn encode_subscribe(
    version: Version,
    packet_id: u16,
    filters: &[(&str, u8)],
    out: &mut Vec<u8>,
) {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V50 {
        body.push(0);
    }
    for (filter, qos) in filters {
        put_prefixed(filter.as_bytes(), &mut body);
        body.push(*qos);
    }
    put_packet(0x82, &body, out);
}

pub fn encode_suback(version: Version, packet_id: u16, codes: &[u8], out: &mut Vec<u8>) {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V50 {
        body.push(0);
    }
    body.extend_from_slice(codes);
    put_packet(0x90, &body, out);
}

/// `count` filters were given up, each with success.
pub fn encode_unsuback(version: Version, packet_id: u16, count: usize, out: &mut Vec<u8>) {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V50 {
        body.resize(3 + count, 0);
    }
    put_packet(0xB0, &body, out);
}

pub fn encode_pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xC0, 0]);
}

pub fn encode_pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xD0, 0]);
}

pub fn encode_disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xE0, 0]);
}

/// A PUBLISH whose header is encoded once; packet identifier and the start of the payload change
/// from message to message, the rest of the payload is filled.
///
/// It does not hold the payload: tens of thousands of streams with large ones must fit into memory.
#[derive(Debug)]
pub struct PacketTemplate {
    header: Vec<u8>,
    /// 0 at QoS 0: no packet identifier.
    id_offset: usize,
    payload_bytes: usize,
}

/// What payloads are filled with.
pub const FILLING: u8 = b'x';

impl PacketTemplate {
    /// Only the length of the payload is taken.
    pub fn new(version: Version, publish: &Publish<'_>) -> Self {
        let mut header = Vec::new();
        encode_publish(version, publish, &mut header);
        let payload_bytes = publish.payload.len();
        header.truncate(header.len() - payload_bytes);
        header.shrink_to_fit();
        let property_bytes = usize::from(version == Version::V50);
        let id_offset = match publish.qos {
            0 => 0,
            _ => header.len() - property_bytes - 2,
        };
        Self {
            header,
            id_offset,
            payload_bytes,
        }
    }

    pub fn byte_count(&self) -> usize {
        self.header.len() + self.payload_bytes
    }

    /// Appends one message; `head` is the start of its payload and no longer than it.
    pub fn append(&self, packet_id: u16, head: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.header);
        if self.id_offset > 0 {
            let at = start + self.id_offset;
            out[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        out.extend_from_slice(head);
        out.resize(start + self.byte_count(), FILLING);
    }
}

fn put_packet(first: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    put_variable(body.len(), out);
    out.extend_from_slice(body);
}

fn put_variable(mut value: usize, out: &mut Vec<u8>) {
    assert!(value < 1 << 28, "longer than MQTT can say");
    loop {
        let byte = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

fn put_prefixed(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(length)]);
}
