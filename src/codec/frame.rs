//! Where a packet begins and ends in a stream of bytes, before anything of it is understood.
//!
//! Whoever reads a socket asks [`frame`] again with more bytes until the packet is whole; what is
//! too large or wrong in the fixed header is refused before anything is kept for its body.

use super::VARIABLE_INTEGER_MAX;
use super::protocol::{PacketType, ProtocolError, ProtocolVersion};
use super::reason_code::ReasonCode;
use super::writer::{Sink, variable_integer_bytes};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    Incomplete {
        /// Length of the whole packet once its fixed header is there; before that a lower bound.
        /// Always more than the bytes that were given.
        bytes_needed: usize,
    },
    Complete(RawPacket<'a>),
}

/// One whole packet, not yet decoded; made by [`frame`] alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawPacket<'a> {
    pub first_byte: u8,
    /// Everything after the fixed header.
    pub body: &'a [u8],
    /// Bytes of the whole packet, fixed header included.
    pub length: usize,
}

impl RawPacket<'_> {
    /// `None` for the reserved type 0, which [`frame`] refuses.
    #[must_use]
    pub const fn packet_type(&self) -> Option<PacketType> {
        PacketType::of(self.first_byte)
    }

    /// The packet again, as one piece to be kept.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length);
        bytes.push(self.first_byte);
        let length = u32::try_from(self.body.len()).unwrap_or(VARIABLE_INTEGER_MAX);
        bytes.put_variable_integer(length);
        bytes.extend_from_slice(self.body);
        bytes
    }
}

/// The first packet in `bytes`, which may be empty, part of a packet or many packets.
///
/// # Errors
/// Packet too large when its length, fixed header included, is above `packet_bytes_max`; Malformed
/// Packet for the reserved type, flags that are wrong in every version, or a Remaining Length of
/// more than four bytes. Each as soon as the bytes that show it are there.
pub fn frame(bytes: &[u8], packet_bytes_max: u32) -> Result<Frame<'_>, ProtocolError> {
    let Some((&first_byte, rest)) = bytes.split_first() else {
        return Ok(Frame::Incomplete { bytes_needed: 2 });
    };
    check_first_byte(first_byte)?;
    let Some((remaining, header_bytes)) = remaining_length(rest)? else {
        return Ok(Frame::Incomplete {
            bytes_needed: bytes.len() + 1,
        });
    };
    let length = header_bytes + remaining;
    if length > packet_bytes_max as usize {
        return Err(ProtocolError::new(
            ReasonCode::PacketTooLarge,
            "packet is larger than allowed",
        ));
    }
    Ok(match bytes.get(header_bytes..length) {
        Some(body) => Frame::Complete(RawPacket {
            first_byte,
            body,
            length,
        }),
        None => Frame::Incomplete {
            bytes_needed: length,
        },
    })
}

/// The Remaining Length and the bytes of the fixed header; `None` when `bytes` ends inside it.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, ProtocolError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 2)));
        }
    }
    if bytes.len() >= 4 {
        return Err(ProtocolError::malformed("remaining length is too long"));
    }
    Ok(None)
}

/// Refuses what no version allows. The DUP bit of PUBREL, SUBSCRIBE and UNSUBSCRIBE is left to
/// [`check_fixed_header`], because 3.1 has it.
const fn check_first_byte(first_byte: u8) -> Result<(), ProtocolError> {
    let flags = first_byte & 0x0F;
    match PacketType::of(first_byte) {
        None => Err(ProtocolError::malformed("packet type 0")),
        Some(PacketType::Publish) => check_publish_flags(flags),
        Some(PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe) => {
            check_reserved_flags(flags & 0b0111 == 0b0010)
        }
        Some(_) => check_reserved_flags(flags == 0),
    }
}

/// [MQTT-2.1.3-1]
const fn check_reserved_flags(legal: bool) -> Result<(), ProtocolError> {
    if legal {
        Ok(())
    } else {
        Err(ProtocolError::malformed(
            "reserved flags of the fixed header",
        ))
    }
}

const fn check_publish_flags(flags: u8) -> Result<(), ProtocolError> {
    if flags & 0b0110 == 0b0110 {
        // [MQTT-3.3.1-4]
        return Err(ProtocolError::malformed("QoS 3"));
    }
    if flags & 0b1110 == 0b1000 {
        // [MQTT-3.3.1-2]
        return Err(ProtocolError::malformed("DUP with QoS 0"));
    }
    Ok(())
}

/// The checks of the fixed header that need the version; [`frame`] has done the others.
pub(super) fn check_fixed_header(
    version: ProtocolVersion,
    raw: RawPacket<'_>,
) -> Result<PacketType, ProtocolError> {
    let packet_type = raw
        .packet_type()
        .ok_or(ProtocolError::malformed("packet type 0"))?;
    if version != ProtocolVersion::V31 && packet_type != PacketType::Publish {
        check_reserved_flags(raw.first_byte == packet_type.first_byte())?;
    }
    let shortest = 1 + variable_integer_bytes(raw.body.len()) + raw.body.len();
    if version.is_v5() && raw.length != shortest {
        // [MQTT-1.5.5-1]
        return Err(ProtocolError::malformed("remaining length is padded"));
    }
    Ok(packet_type)
}
