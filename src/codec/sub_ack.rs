//! SUBACK and UNSUBACK: one reason code per topic filter, one shape.

use super::frame::RawPacket;
use super::property::{PropertyId, section};
use super::property_section::{PropertySink, decode_section};
use super::property_view::{ReceivedProperties, UserProperties};
use super::protocol::{PacketId, PacketType, ProtocolError, ProtocolVersion};
use super::reader::Reader;
use super::reason_code::{ReasonCode, carrier, is_carried};
use super::writer::{Part, Sink};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubAck<'a> {
    pub packet_id: PacketId,
    /// One [`super::ReasonCode`] as number per topic filter, in their order. Empty in an UNSUBACK
    /// of 3.x.
    pub reason_codes: &'a [u8],
    pub reason_string: Option<&'a str>,
    pub user_properties: UserProperties<'a>,
}

impl<'a> SubAck<'a> {
    #[must_use]
    pub fn new(packet_id: PacketId, reason_codes: &'a [u8]) -> Self {
        Self {
            packet_id,
            reason_codes,
            reason_string: None,
            user_properties: UserProperties::default(),
        }
    }
}

/// Which of the two packets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SubAckKind {
    SubAck,
    UnsubAck,
}

impl SubAckKind {
    const fn first_byte(self) -> u8 {
        match self {
            Self::SubAck => PacketType::SubAck.first_byte(),
            Self::UnsubAck => PacketType::UnsubAck.first_byte(),
        }
    }

    const fn is_legal(self, reason_code: u8, version: ProtocolVersion) -> bool {
        match (self, version) {
            (Self::SubAck, ProtocolVersion::V5) => is_carried(reason_code, carrier::SUB_ACK),
            (Self::UnsubAck, ProtocolVersion::V5) => is_carried(reason_code, carrier::UNSUB_ACK),
            (_, ProtocolVersion::V31 | ProtocolVersion::V311) => {
                matches!(reason_code, 0..=2 | 0x80)
            }
        }
    }
}

/// The fixed header has been checked.
pub(super) fn decode_body<'a>(
    kind: SubAckKind,
    version: ProtocolVersion,
    raw: RawPacket<'a>,
) -> Result<SubAck<'a>, ProtocolError> {
    let mut reader = Reader::new(raw.body);
    let mut sub_ack = SubAck::new(reader.packet_id()?, &[]);
    if version.is_v5() {
        let section = decode_section(&mut reader, section::SUB_ACK, |id, value| {
            if id == PropertyId::ReasonString {
                sub_ack.reason_string = value.text();
            }
        })?;
        sub_ack.user_properties = UserProperties::Received(ReceivedProperties::new(section));
    }
    if kind == SubAckKind::UnsubAck && !version.is_v5() {
        reader.finish()?;
        return Ok(sub_ack);
    }
    sub_ack.reason_codes = reader.rest();
    check_reason_codes(kind, version, sub_ack.reason_codes)?;
    Ok(sub_ack)
}

fn check_reason_codes(
    kind: SubAckKind,
    version: ProtocolVersion,
    reason_codes: &[u8],
) -> Result<(), ProtocolError> {
    if reason_codes.is_empty() {
        return Err(ProtocolError::protocol("no reason code"));
    }
    if reason_codes
        .iter()
        .all(|&code| kind.is_legal(code, version))
    {
        Ok(())
    } else {
        Err(ProtocolError::protocol("reason code is not of this packet"))
    }
}

struct SubAckBody<'a>(&'a SubAck<'a>, SubAckKind, ProtocolVersion);
struct SubAckProperties<'a>(&'a SubAck<'a>);

impl Part for SubAckBody<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        let Self(sub_ack, kind, version) = self;
        sink.put_packet_id(sub_ack.packet_id);
        if version.is_v5() {
            sink.put_section(&SubAckProperties(sub_ack));
            return sink.put(sub_ack.reason_codes);
        }
        if *kind == SubAckKind::SubAck {
            // 3.x knows one failure.
            for code in sub_ack.reason_codes {
                sink.put_u8((*code).min(ReasonCode::UnspecifiedError as u8));
            }
        }
    }
}

impl Part for SubAckProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        sink.property_text(PropertyId::ReasonString, self.0.reason_string);
        sink.property_pairs(self.0.user_properties.iter());
    }
}

/// Appends a SUBACK to `out`; in 3.x every failure becomes 0x80. The codes must be those of the
/// packet. Panics when a field is longer than [`super::FIELD_BYTES_MAX`].
pub fn encode_sub_ack(sub_ack: &SubAck<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    write_sub_ack(SubAckKind::SubAck, sub_ack, version, out);
}

/// Appends an UNSUBACK to `out`; 3.x leaves the codes out. Else as [`encode_sub_ack`].
pub fn encode_unsub_ack(unsub_ack: &SubAck<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    write_sub_ack(SubAckKind::UnsubAck, unsub_ack, version, out);
}

pub(super) fn write_sub_ack<S: Sink>(
    kind: SubAckKind,
    sub_ack: &SubAck<'_>,
    version: ProtocolVersion,
    sink: &mut S,
) {
    sink.put_u8(kind.first_byte());
    sink.put_section(&SubAckBody(sub_ack, kind, version));
}
