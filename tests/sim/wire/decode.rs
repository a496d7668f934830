//! Packets that servers send, checked strictly.

use super::{AckKind, ConnAck, Packet, Publish, Version};

/// What is wrong with a packet.
pub(crate) type Fault = String;

/// Bytes from one connection, gathered until a packet is whole.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// The next whole packet and its length in bytes.
    pub(crate) fn next(&mut self, version: Version) -> Result<Option<(Packet, usize)>, Fault> {
        let Some((header, length)) = frame_length(&self.bytes)? else {
            return Ok(None);
        };
        if self.bytes.len() < length {
            return Ok(None);
        }
        let whole: Vec<u8> = self.bytes.drain(..length).collect();
        let packet = packet(whole[0], &whole[header..], version)
            .map_err(|fault| format!("{fault} in {whole:02x?}"))?;
        Ok(Some((packet, length)))
    }

    /// Bytes of an incomplete packet.
    pub(crate) fn rest(&self) -> usize {
        self.bytes.len()
    }
}

/// Length of the fixed header and of the packet, once the fixed header is there.
fn frame_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Fault> {
    let mut remaining = 0usize;
    for position in 0..4 {
        let Some(byte) = bytes.get(1 + position) else {
            return Ok(None);
        };
        remaining |= usize::from(byte & 0x7F) << (7 * position);
        if byte & 0x80 == 0 {
            let header = 2 + position;
            return Ok(Some((header, header + remaining)));
        }
    }
    Err("remaining length of more than four bytes".into())
}

fn packet(first_byte: u8, body: &[u8], version: Version) -> Result<Packet, Fault> {
    let mut reader = Reader { bytes: body };
    let flags = first_byte & 0x0F;
    let kind = first_byte >> 4;
    let expected_flags = match kind {
        3 => flags,
        6 => 2,
        _ => 0,
    };
    if flags != expected_flags {
        return Err("wrong flags of the fixed header".into());
    }
    let packet = match kind {
        2 => conn_ack(&mut reader, version)?,
        3 => return publish(flags, &mut reader, version),
        4..=7 => ack(kind, &mut reader, version)?,
        9 => sub_ack(&mut reader, version)?,
        11 => unsub_ack(&mut reader, version)?,
        13 => Packet::PingResp,
        14 if version == Version::V5 => disconnect(&mut reader)?,
        _ => return Err(format!("a server does not send packet type {kind}")),
    };
    if reader.bytes.is_empty() {
        Ok(packet)
    } else {
        Err("bytes behind the packet's end".into())
    }
}

fn conn_ack(reader: &mut Reader<'_>, version: Version) -> Result<Packet, Fault> {
    let flags = reader.byte()?;
    let code = reader.byte()?;
    if flags > 1 || (code != 0 && flags != 0) {
        return Err("acknowledge flags of CONNACK".into());
    }
    let mut conn_ack = ConnAck {
        session_present: flags == 1,
        code,
        session_expiry_s: None,
        receive_maximum: u16::MAX,
        maximum_packet_size: None,
        assigned_client_id: None,
        topic_alias_maximum: 0,
        server_keep_alive_s: None,
    };
    // A refusal may come in the manner of 3.1.1 when the version was not understood.
    if version == Version::V5 && !reader.bytes.is_empty() {
        const ALLOWED: &[u8] = &[
            0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27,
            0x28, 0x29, 0x2A,
        ];
        for (identifier, value) in reader.properties(ALLOWED)? {
            match (identifier, value) {
                (0x11, Value::Number(value)) => conn_ack.session_expiry_s = Some(value),
                (0x12, Value::Text(value)) => conn_ack.assigned_client_id = Some(value),
                (0x13, Value::Number(value)) => {
                    conn_ack.server_keep_alive_s = Some(value as u16);
                }
                (0x21, Value::Number(value)) => conn_ack.receive_maximum = value as u16,
                (0x22, Value::Number(value)) => conn_ack.topic_alias_maximum = value as u16,
                (0x27, Value::Number(value)) => conn_ack.maximum_packet_size = Some(value),
                _ => {}
            }
        }
    }
    Ok(Packet::ConnAck(conn_ack))
}

fn publish(flags: u8, reader: &mut Reader<'_>, version: Version) -> Result<Packet, Fault> {
    let mut publish = Publish {
        dup: flags & 8 != 0,
        qos: flags >> 1 & 3,
        retain: flags & 1 != 0,
        topic: reader.text()?,
        ..Publish::default()
    };
    if publish.qos == 3 || (publish.qos == 0 && publish.dup) {
        return Err("QoS or DUP of PUBLISH".into());
    }
    if publish.qos > 0 {
        publish.packet_id = Some(reader.packet_id()?);
    }
    if version == Version::V5 {
        for (identifier, value) in
            reader.properties(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26])?
        {
            match (identifier, value) {
                (0x02, Value::Number(value)) => publish.expiry_s = Some(value),
                (0x0B, Value::Number(value)) => publish.identifiers.push(value),
                (0x23, Value::Number(value)) => publish.alias = Some(value as u16),
                (0x26, Value::Pair(name, value)) => publish.user_properties.push((name, value)),
                _ => {}
            }
        }
    }
    if publish.topic.contains(['+', '#']) {
        return Err("wildcard in a topic name".into());
    }
    if publish.topic.is_empty() && publish.alias.is_none() {
        return Err("neither topic name nor alias".into());
    }
    publish.payload = reader.bytes.to_vec();
    Ok(Packet::Publish(publish))
}

fn ack(kind: u8, reader: &mut Reader<'_>, version: Version) -> Result<Packet, Fault> {
    let kind = match kind {
        4 => AckKind::PubAck,
        5 => AckKind::PubRec,
        6 => AckKind::PubRel,
        _ => AckKind::PubComp,
    };
    let packet_id = reader.packet_id()?;
    let mut code = 0;
    if version == Version::V5 && !reader.bytes.is_empty() {
        code = reader.byte()?;
        if !reader.bytes.is_empty() {
            reader.properties(&[0x1F, 0x26])?;
        }
    }
    Ok(Packet::Ack {
        kind,
        packet_id,
        code,
    })
}

fn sub_ack(reader: &mut Reader<'_>, version: Version) -> Result<Packet, Fault> {
    let packet_id = reader.packet_id()?;
    if version == Version::V5 {
        reader.properties(&[0x1F, 0x26])?;
    }
    Ok(Packet::SubAck {
        packet_id,
        codes: reader.rest(),
    })
}

fn unsub_ack(reader: &mut Reader<'_>, version: Version) -> Result<Packet, Fault> {
    let packet_id = reader.packet_id()?;
    if version == Version::V5 {
        reader.properties(&[0x1F, 0x26])?;
    }
    Ok(Packet::UnsubAck {
        packet_id,
        codes: reader.rest(),
    })
}

fn disconnect(reader: &mut Reader<'_>) -> Result<Packet, Fault> {
    let code = if reader.bytes.is_empty() {
        0
    } else {
        reader.byte()?
    };
    if !reader.bytes.is_empty() {
        reader.properties(&[0x1C, 0x1F, 0x26])?;
    }
    Ok(Packet::Disconnect { code })
}

/// A property's value; small integers of every width are numbers.
enum Value {
    Number(u32),
    Text(String),
    Pair(String, String),
    Binary,
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (head, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or("packet ends too early")?;
        self.bytes = rest;
        Ok(head)
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes).to_vec()
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.take(1)?[0])
    }

    /// A big-endian integer of up to four bytes.
    fn number(&mut self, width: usize) -> Result<u32, Fault> {
        Ok(self
            .take(width)?
            .iter()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }

    fn packet_id(&mut self) -> Result<u16, Fault> {
        match self.number(2)? {
            0 => Err("packet identifier 0".into()),
            number => Ok(number as u16),
        }
    }

    fn text(&mut self) -> Result<String, Fault> {
        let length = self.number(2)? as usize;
        String::from_utf8(self.take(length)?.to_vec()).map_err(|_| "not UTF-8".into())
    }

    fn variable(&mut self) -> Result<u32, Fault> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("variable byte integer of more than four bytes".into())
    }

    /// The property section; none but Subscription Identifier and User Property may repeat.
    fn properties(&mut self, allowed: &[u8]) -> Result<Vec<(u8, Value)>, Fault> {
        let length = self.variable()? as usize;
        let mut section = Reader {
            bytes: self.take(length)?,
        };
        let mut found: Vec<(u8, Value)> = Vec::new();
        while !section.bytes.is_empty() {
            let identifier = section.byte()?;
            let repeats = found.iter().any(|(other, _)| *other == identifier);
            if !allowed.contains(&identifier) || (repeats && !matches!(identifier, 0x0B | 0x26)) {
                return Err(format!("property {identifier:#04x} not allowed here"));
            }
            found.push((identifier, section.value(identifier)?));
        }
        Ok(found)
    }

    fn value(&mut self, identifier: u8) -> Result<Value, Fault> {
        Ok(match identifier {
            0x01 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => match self.number(1)? {
                value @ 0..=1 => Value::Number(value),
                value => return Err(format!("property {identifier:#04x} is {value}")),
            },
            0x13 => Value::Number(self.number(2)?),
            0x21..=0x23 => match self.number(2)? {
                0 if identifier != 0x22 => return Err(format!("{identifier:#04x} is 0")),
                value => Value::Number(value),
            },
            0x02 | 0x11 | 0x27 => Value::Number(self.number(4)?),
            0x0B => match self.variable()? {
                0 => return Err("subscription identifier 0".into()),
                value => Value::Number(value),
            },
            0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Value::Text(self.text()?),
            0x26 => Value::Pair(self.text()?, self.text()?),
            0x09 | 0x16 => {
                let length = self.number(2)? as usize;
                self.take(length)?;
                Value::Binary
            }
            _ => return Err(format!("unknown property {identifier:#04x}")),
        })
    }
}
