//! Packets that clients send.

use super::{AckKind, Connect, Filter, Publish, Version, Will};

/// CONNECT (section 3.1).
pub(crate) fn connect(packet: &Connect, out: &mut Vec<u8>) {
    let v5 = packet.version == Version::V5;
    let name = if packet.version == Version::V31 {
        "MQIsdp"
    } else {
        "MQTT"
    };
    let mut body = Vec::new();
    string(name, &mut body);
    body.push(packet.version as u8);
    body.push(connect_flags(packet));
    body.extend(packet.keep_alive_s.to_be_bytes());
    if v5 {
        properties(&connect_properties(packet), &mut body);
    }
    string(&packet.client_id, &mut body);
    if let Some(will) = &packet.will {
        connect_will(will, v5, &mut body);
    }
    framed(0x10, &body, out);
}

fn connect_flags(packet: &Connect) -> u8 {
    let will = packet.will.as_ref();
    let will = will.map_or(0, |will| 0x04 | will.qos << 3 | u8::from(will.retain) << 5);
    will | u8::from(packet.clean_start) << 1
}

fn connect_properties(packet: &Connect) -> Vec<u8> {
    let mut out = Vec::new();
    if packet.session_expiry_s > 0 {
        out.push(0x11);
        out.extend(packet.session_expiry_s.to_be_bytes());
    }
    if let Some(maximum) = packet.receive_maximum {
        out.push(0x21);
        out.extend(maximum.to_be_bytes());
    }
    if let Some(maximum) = packet.maximum_packet_size {
        out.push(0x27);
        out.extend(maximum.to_be_bytes());
    }
    if packet.topic_alias_maximum > 0 {
        out.push(0x22);
        out.extend(packet.topic_alias_maximum.to_be_bytes());
    }
    out
}

fn connect_will(will: &Will, v5: bool, body: &mut Vec<u8>) {
    if v5 {
        let mut section = Vec::new();
        if will.delay_s > 0 {
            section.push(0x18);
            section.extend(will.delay_s.to_be_bytes());
        }
        properties(&section, body);
    }
    string(&will.topic, body);
    binary(&will.payload, body);
}

/// PUBLISH (section 3.3).
pub(crate) fn publish(packet: &Publish, version: Version, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    string(&packet.topic, &mut body);
    if let Some(packet_id) = packet.packet_id {
        body.extend(packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        properties(&publish_properties(packet), &mut body);
    }
    body.extend(&packet.payload);
    let flags = u8::from(packet.dup) << 3 | packet.qos << 1 | u8::from(packet.retain);
    framed(0x30 | flags, &body, out);
}

fn publish_properties(packet: &Publish) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(expiry_s) = packet.expiry_s {
        out.push(0x02);
        out.extend(expiry_s.to_be_bytes());
    }
    if let Some(alias) = packet.alias {
        out.push(0x23);
        out.extend(alias.to_be_bytes());
    }
    for identifier in &packet.identifiers {
        out.push(0x0B);
        variable(*identifier as usize, &mut out);
    }
    for (name, value) in &packet.user_properties {
        out.push(0x26);
        string(name, &mut out);
        string(value, &mut out);
    }
    out
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP with success (sections 3.4 to 3.7).
pub(crate) fn ack(kind: AckKind, packet_id: u16, out: &mut Vec<u8>) {
    let flags = if kind == AckKind::PubRel { 2 } else { 0 };
    framed((kind as u8) << 4 | flags, &packet_id.to_be_bytes(), out);
}

/// SUBSCRIBE (section 3.8).
pub(crate) fn subscribe(
    packet_id: u16,
    identifier: Option<u32>,
    filters: &[Filter],
    version: Version,
    out: &mut Vec<u8>,
) {
    let v5 = version == Version::V5;
    let mut body = packet_id.to_be_bytes().to_vec();
    if v5 {
        let mut section = Vec::new();
        if let Some(identifier) = identifier {
            section.push(0x0B);
            variable(identifier as usize, &mut section);
        }
        properties(&section, &mut body);
    }
    for filter in filters {
        string(&filter.filter, &mut body);
        let options = u8::from(filter.no_local) << 2
            | u8::from(filter.retain_as_published) << 3
            | filter.retain_handling << 4;
        body.push(if v5 { options | filter.qos } else { filter.qos });
    }
    framed(0x82, &body, out);
}

/// UNSUBSCRIBE (section 3.10).
pub(crate) fn unsubscribe(packet_id: u16, filters: &[String], version: Version, out: &mut Vec<u8>) {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        properties(&[], &mut body);
    }
    for filter in filters {
        string(filter, &mut body);
    }
    framed(0xA2, &body, out);
}

pub(crate) fn ping_request(out: &mut Vec<u8>) {
    out.extend([0xC0, 0]);
}

/// DISCONNECT (section 3.14); before 5.0 it has neither code nor expiry.
pub(crate) fn disconnect(
    code: u8,
    session_expiry_s: Option<u32>,
    version: Version,
    out: &mut Vec<u8>,
) {
    let mut body = Vec::new();
    if version == Version::V5 && (code != 0 || session_expiry_s.is_some()) {
        body.push(code);
        let mut section = Vec::new();
        if let Some(expiry_s) = session_expiry_s {
            section.push(0x11);
            section.extend(expiry_s.to_be_bytes());
        }
        properties(&section, &mut body);
    }
    framed(0xE0, &body, out);
}

fn framed(first_byte: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(first_byte);
    variable(body.len(), out);
    out.extend(body);
}

fn properties(section: &[u8], out: &mut Vec<u8>) {
    variable(section.len(), out);
    out.extend(section);
}

fn string(text: &str, out: &mut Vec<u8>) {
    binary(text.as_bytes(), out);
}

fn binary(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend(bytes);
}

/// Variable Byte Integer (section 1.5.5).
pub(super) fn variable(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
