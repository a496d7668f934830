//! UNSUBSCRIBE.

use super::frame::RawPacket;
use super::property::section;
use super::property_section::{PropertySink, decode_section};
use super::property_view::{ReceivedProperties, UserProperties};
use super::protocol::{PacketId, PacketType, ProtocolError, ProtocolVersion};
use super::reader::Reader;
use super::writer::{Part, Sink};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribe<'a> {
    pub packet_id: PacketId,
    pub user_properties: UserProperties<'a>,
    pub filters: TopicFilters<'a>,
}

impl<'a> Unsubscribe<'a> {
    /// The topic filters in their order; at least one. UTF-8, but their syntax is not checked.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.filters.iter()
    }
}

/// The topic filters of one UNSUBSCRIBE in their order; at least one.
#[derive(Clone, Copy)]
pub enum TopicFilters<'a> {
    /// The payload of a decoded packet, validated.
    Received(ReceivedTopicFilters<'a>),
    /// Those of a packet to be encoded.
    List(&'a [&'a str]),
}

/// The payload of an UNSUBSCRIBE, validated.
#[derive(Clone, Copy)]
pub struct ReceivedTopicFilters<'a>(&'a [u8]);

impl<'a> TopicFilters<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        let bytes = reader.rest();
        if bytes.is_empty() {
            // [MQTT-3.10.3-2]
            return Err(ProtocolError::protocol(
                "UNSUBSCRIBE without a topic filter",
            ));
        }
        while !reader.is_empty() {
            reader.text()?;
        }
        Ok(Self::Received(ReceivedTopicFilters(bytes)))
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (bytes, list) = match *self {
            Self::Received(received) => (received.0, &[][..]),
            Self::List(list) => (&[][..], list),
        };
        let mut reader = Reader::new(bytes);
        // Decoding fails at the end only: the bytes have been through it once.
        std::iter::from_fn(move || reader.text().ok()).chain(list.iter().copied())
    }
}

impl PartialEq for TopicFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for TopicFilters<'_> {}

impl std::fmt::Debug for TopicFilters<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// The fixed header has been checked.
pub(super) fn decode_body<'a>(
    version: ProtocolVersion,
    raw: RawPacket<'a>,
) -> Result<Unsubscribe<'a>, ProtocolError> {
    let mut reader = Reader::new(raw.body);
    let packet_id = reader.packet_id()?;
    let mut user_properties = UserProperties::default();
    if version.is_v5() {
        let section = decode_section(&mut reader, section::UNSUBSCRIBE, |_, _| {})?;
        user_properties = UserProperties::Received(ReceivedProperties::new(section));
    }
    Ok(Unsubscribe {
        packet_id,
        user_properties,
        filters: TopicFilters::decode(&mut reader)?,
    })
}

struct UnsubscribeBody<'a>(&'a Unsubscribe<'a>, ProtocolVersion);
struct UnsubscribeProperties<'a>(&'a Unsubscribe<'a>);

impl Part for UnsubscribeBody<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        let Self(unsubscribe, version) = self;
        sink.put_packet_id(unsubscribe.packet_id);
        if version.is_v5() {
            sink.put_section(&UnsubscribeProperties(unsubscribe));
        }
        for topic_filter in unsubscribe.filters() {
            sink.put_text(topic_filter);
        }
    }
}

impl Part for UnsubscribeProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        sink.property_pairs(self.0.user_properties.iter());
    }
}

/// Appends the packet to `out`. Panics when a field is longer than [`super::FIELD_BYTES_MAX`] or
/// the packet larger than [`super::PACKET_BYTES_MAX`].
pub fn encode_unsubscribe(
    unsubscribe: &Unsubscribe<'_>,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    write_unsubscribe(unsubscribe, version, out);
}

pub(super) fn write_unsubscribe<S: Sink>(
    unsubscribe: &Unsubscribe<'_>,
    version: ProtocolVersion,
    sink: &mut S,
) {
    sink.put_u8(PacketType::Unsubscribe.first_byte());
    sink.put_section(&UnsubscribeBody(unsubscribe, version));
}
