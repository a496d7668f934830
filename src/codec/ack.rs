//! PUBACK, PUBREC, PUBREL and PUBCOMP: the four packets of the QoS 1 and 2 exchanges, one shape.

use super::property::{PropertyId, section};
use super::property_section::{PropertySink, decode_section};
use super::property_view::{ReceivedProperties, UserProperties};
use super::protocol::{PacketId, PacketType, ProtocolError, ProtocolVersion};
use super::reader::Reader;
use super::reason_code::{ReasonCode, carrier};
use super::writer::{Part, Sink};
use super::{frame, frame::RawPacket};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AckKind {
    PubAck,
    PubRec,
    PubRel,
    PubComp,
}

impl AckKind {
    pub const ALL: [Self; 4] = [Self::PubAck, Self::PubRec, Self::PubRel, Self::PubComp];

    #[must_use]
    pub const fn packet_type(self) -> PacketType {
        match self {
            Self::PubAck => PacketType::PubAck,
            Self::PubRec => PacketType::PubRec,
            Self::PubRel => PacketType::PubRel,
            Self::PubComp => PacketType::PubComp,
        }
    }

    /// `None` for a packet of another shape.
    #[must_use]
    pub const fn of(packet_type: PacketType) -> Option<Self> {
        Some(match packet_type {
            PacketType::PubAck => Self::PubAck,
            PacketType::PubRec => Self::PubRec,
            PacketType::PubRel => Self::PubRel,
            PacketType::PubComp => Self::PubComp,
            _ => return None,
        })
    }

    const fn carrier(self) -> u16 {
        match self {
            Self::PubAck | Self::PubRec => carrier::PUB_ACK,
            Self::PubRel | Self::PubComp => carrier::PUB_REL,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack<'a> {
    pub packet_id: PacketId,
    /// Success in 3.x.
    pub reason_code: ReasonCode,
    pub reason_string: Option<&'a str>,
    pub user_properties: UserProperties<'a>,
}

impl<'a> Ack<'a> {
    #[must_use]
    pub fn new(packet_id: PacketId, reason_code: ReasonCode) -> Self {
        Self {
            packet_id,
            reason_code,
            reason_string: None,
            user_properties: UserProperties::default(),
        }
    }

    fn has_properties(&self) -> bool {
        self.reason_string.is_some() || !self.user_properties.is_empty()
    }

    fn decode_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), ProtocolError> {
        let raw = decode_section(reader, section::ACK, |id, value| {
            if id == PropertyId::ReasonString {
                self.reason_string = value.text();
            }
        })?;
        self.user_properties = UserProperties::Received(ReceivedProperties::new(raw));
        Ok(())
    }
}

/// Decodes one of the four packets without the detour over [`super::Packet`].
///
/// # Errors
/// As [`super::decode`]; Protocol Error when `raw` is another packet.
pub fn decode_ack<'a>(
    version: ProtocolVersion,
    raw: RawPacket<'a>,
) -> Result<(AckKind, Ack<'a>), ProtocolError> {
    let packet_type = frame::check_fixed_header(version, raw)?;
    let kind = AckKind::of(packet_type).ok_or(ProtocolError::protocol("not an acknowledgement"))?;
    Ok((kind, decode_body(kind, version, raw)?))
}

/// The fixed header has been checked.
pub(super) fn decode_body<'a>(
    kind: AckKind,
    version: ProtocolVersion,
    raw: RawPacket<'a>,
) -> Result<Ack<'a>, ProtocolError> {
    let mut reader = Reader::new(raw.body);
    let mut ack = Ack::new(reader.packet_id()?, ReasonCode::Success);
    // 5.0 leaves out a reason code of 0 and an empty property section.
    if version.is_v5() && !reader.is_empty() {
        ack.reason_code = ReasonCode::for_carrier(reader.u8()?, kind.carrier())
            .ok_or(ProtocolError::protocol("reason code is not of this packet"))?;
        if !reader.is_empty() {
            ack.decode_properties(&mut reader)?;
        }
    }
    reader.finish()?;
    Ok(ack)
}

struct AckBody<'a>(&'a Ack<'a>, ProtocolVersion);
struct AckProperties<'a>(&'a Ack<'a>);

impl Part for AckBody<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        let Self(ack, version) = self;
        sink.put_packet_id(ack.packet_id);
        let has_properties = ack.has_properties();
        if !version.is_v5() || (ack.reason_code == ReasonCode::Success && !has_properties) {
            return;
        }
        sink.put_u8(ack.reason_code as u8);
        if has_properties {
            sink.put_section(&AckProperties(ack));
        }
    }
}

impl Part for AckProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        sink.property_text(PropertyId::ReasonString, self.0.reason_string);
        sink.property_pairs(self.0.user_properties.iter());
    }
}

/// Appends the packet to `out`; in 3.x the packet identifier is all it says. The reason code must
/// be one of the packet's. Panics when a field is longer than [`super::FIELD_BYTES_MAX`].
pub fn encode_ack(kind: AckKind, ack: &Ack<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    write_ack(kind, ack, version, out);
}

pub(super) fn write_ack<S: Sink>(
    kind: AckKind,
    ack: &Ack<'_>,
    version: ProtocolVersion,
    sink: &mut S,
) {
    let first_byte = kind.packet_type().first_byte();
    if ack.reason_code == ReasonCode::Success && !ack.has_properties() {
        let [high, low] = ack.packet_id.get().to_be_bytes();
        return sink.put(&[first_byte, 2, high, low]);
    }
    sink.put_u8(first_byte);
    sink.put_section(&AckBody(ack, version));
}
