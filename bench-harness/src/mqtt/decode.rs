//! Bytes to packets; everything is borrowed from the receive buffer.

use super::{AckKind, Version};

/// The bytes are not MQTT as this client expects it; the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    Connect(ConnectView<'a>),
    Connack {
        session_present: bool,
        code: u8,
        /// 5.0 only; 65,535 where the broker does not name one.
        receive_maximum: u16,
    },
    Publish(PublishView<'a>),
    Ack {
        kind: AckKind,
        packet_id: u16,
        reason: u8,
    },
    Subscribe {
        packet_id: u16,
        filters: Filters<'a>,
    },
    Suback {
        packet_id: u16,
        codes: &'a [u8],
    },
    Unsubscribe {
        packet_id: u16,
        /// Filters without options.
        filters: Filters<'a>,
    },
    Unsuback {
        packet_id: u16,
    },
    Pingreq,
    Pingresp,
    Disconnect {
        reason: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectView<'a> {
    pub version: Version,
    pub clean: bool,
    pub keep_alive_s: u16,
    pub client_id: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishView<'a> {
    pub is_dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: &'a [u8],
    /// 0 at QoS 0.
    pub packet_id: u16,
    pub payload: &'a [u8],
}

/// The topic filters of a SUBSCRIBE (with options) or an UNSUBSCRIBE (without).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filters<'a> {
    rest: Reader<'a>,
    has_options: bool,
}

impl<'a> Iterator for Filters<'a> {
    /// The filter and the requested QoS.
    type Item = Result<(&'a [u8], u8), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.bytes.is_empty()).then(|| {
            let filter = self.rest.prefixed()?;
            let options = if self.has_options { self.rest.u8()? } else { 0 };
            Ok((filter, options & 3))
        })
    }
}

/// The first packet of `bytes` and its length, or `None` while it is not complete.
///
/// `version` is ignored for CONNECT, which names its own.
pub fn decode(bytes: &[u8], version: Version) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    let Some((remaining_bytes, head_bytes)) = remaining_length(bytes)? else {
        return Ok(None);
    };
    let length = head_bytes + remaining_bytes;
    let Some(body) = bytes.get(head_bytes..length) else {
        return Ok(None);
    };
    let packet = decode_body(bytes[0], Reader { bytes: body }, version)?;
    Ok(Some((packet, length)))
}

/// The Remaining Length and the number of bytes in front of the body.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut value = 0;
    for index in 0..4 {
        let Some(byte) = bytes.get(1 + index) else {
            return Ok(None);
        };
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, 2 + index)));
        }
    }
    Err(Malformed("Remaining Length of more than four bytes"))
}

fn decode_body(first: u8, mut body: Reader<'_>, version: Version) -> Result<Packet<'_>, Malformed> {
    match first >> 4 {
        1 => decode_connect(body),
        2 => decode_connack(body, version),
        3 => decode_publish(first, body, version),
        4 => decode_ack(AckKind::Puback, body),
        5 => decode_ack(AckKind::Pubrec, body),
        6 => decode_ack(AckKind::Pubrel, body),
        7 => decode_ack(AckKind::Pubcomp, body),
        8 => decode_filters(body, version, true),
        9 => {
            let packet_id = body.u16()?;
            body.skip_properties(version)?;
            let codes = body.bytes;
            Ok(Packet::Suback { packet_id, codes })
        }
        10 => decode_filters(body, version, false),
        11 => Ok(Packet::Unsuback {
            packet_id: body.u16()?,
        }),
        12 => Ok(Packet::Pingreq),
        13 => Ok(Packet::Pingresp),
        14 => Ok(Packet::Disconnect {
            reason: body.u8().unwrap_or(0),
        }),
        _ => Err(Malformed("packet type that nobody sends")),
    }
}

fn decode_connect(mut body: Reader<'_>) -> Result<Packet<'_>, Malformed> {
    if body.prefixed()? != b"MQTT" {
        return Err(Malformed("protocol name"));
    }
    let version = match body.u8()? {
        4 => Version::V311,
        5 => Version::V50,
        _ => return Err(Malformed("protocol version")),
    };
    let flags = body.u8()?;
    let keep_alive_s = body.u16()?;
    body.skip_properties(version)?;
    Ok(Packet::Connect(ConnectView {
        version,
        clean: flags & 2 != 0,
        keep_alive_s,
        client_id: body.prefixed()?,
    }))
}

fn decode_connack(mut body: Reader<'_>, version: Version) -> Result<Packet<'_>, Malformed> {
    let session_present = body.u8()? & 1 != 0;
    let code = body.u8()?;
    let mut receive_maximum = u16::MAX;
    if version == Version::V50 {
        let length = body.variable()?;
        let properties = body.take(length)?;
        receive_maximum = find_receive_maximum(properties)?;
    }
    Ok(Packet::Connack {
        session_present,
        code,
        receive_maximum,
    })
}

fn decode_publish(
    first: u8,
    mut body: Reader<'_>,
    version: Version,
) -> Result<Packet<'_>, Malformed> {
    let qos = (first >> 1) & 3;
    if qos == 3 {
        return Err(Malformed("QoS 3"));
    }
    let topic = body.prefixed()?;
    let packet_id = if qos > 0 { body.u16()? } else { 0 };
    body.skip_properties(version)?;
    Ok(Packet::Publish(PublishView {
        is_dup: first & 8 != 0,
        qos,
        retain: first & 1 != 0,
        topic,
        packet_id,
        payload: body.bytes,
    }))
}

fn decode_ack(kind: AckKind, mut body: Reader<'_>) -> Result<Packet<'_>, Malformed> {
    Ok(Packet::Ack {
        kind,
        packet_id: body.u16()?,
        reason: body.u8().unwrap_or(0),
    })
}

fn decode_filters(
    mut body: Reader<'_>,
    version: Version,
    has_options: bool,
) -> Result<Packet<'_>, Malformed> {
    let packet_id = body.u16()?;
    body.skip_properties(version)?;
    let filters = Filters {
        rest: body,
        has_options,
    };
    Ok(if has_options {
        Packet::Subscribe { packet_id, filters }
    } else {
        Packet::Unsubscribe { packet_id, filters }
    })
}

/// Looks for the Receive Maximum among the properties of a CONNACK.
fn find_receive_maximum(mut properties: Reader<'_>) -> Result<u16, Malformed> {
    const RECEIVE_MAXIMUM: u8 = 0x21;
    while !properties.bytes.is_empty() {
        let id = properties.u8()?;
        match id {
            RECEIVE_MAXIMUM => return properties.u16(),
            // Maximum QoS, Retain Available, Wildcard/Identifier/Shared Available.
            0x24 | 0x25 | 0x28 | 0x29 | 0x2A => drop(properties.take(1)?),
            // Topic Alias Maximum, Server Keep Alive.
            0x22 | 0x13 => drop(properties.take(2)?),
            // Session Expiry Interval, Maximum Packet Size.
            0x11 | 0x27 => drop(properties.take(4)?),
            // Assigned Client Identifier, Reason String, and the other strings.
            0x12 | 0x1F | 0x1A | 0x1C | 0x15 | 0x16 => drop(properties.prefixed()?),
            // User Property: a pair.
            0x26 => {
                properties.prefixed()?;
                properties.prefixed()?;
            }
            _ => return Err(Malformed("property of CONNACK")),
        }
    }
    Ok(u16::MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<Self, Malformed> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or(Malformed("packet too short"))?;
        self.bytes = rest;
        Ok(Self { bytes: taken })
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?.bytes[0])
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        let bytes = self.take(2)?.bytes;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn prefixed(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        Ok(self.take(usize::from(length))?.bytes)
    }

    fn variable(&mut self) -> Result<usize, Malformed> {
        let mut value = 0;
        for index in 0..4 {
            let byte = self.u8()?;
            value |= usize::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("variable byte integer of more than four bytes"))
    }

    fn skip_properties(&mut self, version: Version) -> Result<(), Malformed> {
        if version == Version::V50 {
            let length = self.variable()?;
            self.take(length)?;
        }
        Ok(())
    }
}
