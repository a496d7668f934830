//! UNSUBSCRIBE.

use super::frame::{RawPacket, check_fixed_header};
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
    /// The payload of a decoded packet.
    Received(ReceivedTopicFilters<'a>),
    /// Those of a packet to be encoded.
    List(&'a [&'a str]),
}

/// The payload of an UNSUBSCRIBE.
#[derive(Clone, Copy)]
pub struct ReceivedTopicFilters<'a>(&'a [u8]);

impl<'a> TopicFilters<'a> {
    /// The entries themselves are not checked.
    fn of_payload(bytes: &'a [u8]) -> Result<Self, ProtocolError> {
        if bytes.is_empty() {
            // [MQTT-3.10.3-2]
            return Err(ProtocolError::protocol(
                "UNSUBSCRIBE without a topic filter",
            ));
        }
        Ok(Self::Received(ReceivedTopicFilters(bytes)))
    }

    fn check(&self) -> Result<(), ProtocolError> {
        let mut offset = 0;
        while let Some((_, next)) = self.at(offset)? {
            offset = next;
        }
        Ok(())
    }

    /// The filter at an offset, which is 0 or what came with the filter before, and the offset
    /// behind it; `None` at the end.
    ///
    /// # Errors
    /// As [`super::decode`].
    pub fn at(&self, offset: usize) -> Result<Option<(&'a str, usize)>, ProtocolError> {
        match self {
            Self::Received(ReceivedTopicFilters(bytes)) => {
                let rest = bytes.get(offset..).unwrap_or_default();
                let mut reader = Reader::new(rest);
                if reader.is_empty() {
                    return Ok(None);
                }
                let filter = reader.text()?;
                Ok(Some((filter, bytes.len() - reader.rest().len())))
            }
            Self::List(list) => Ok(list.get(offset).map(|filter| (*filter, offset + 1))),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (filters, mut offset) = (*self, 0);
        std::iter::from_fn(move || {
            let (filter, next) = filters.at(offset).ok().flatten()?;
            offset = next;
            Some(filter)
        })
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

/// Decodes an UNSUBSCRIBE up to its filters: there may be very many, and [`TopicFilters::at`]
/// decodes and checks them one by one.
///
/// # Errors
/// As [`super::decode`], for everything before the filters; Protocol Error when there are none, or
/// when `raw` is another packet.
pub fn decode_unsubscribe_head<'a>(
    version: ProtocolVersion,
    raw: RawPacket<'a>,
) -> Result<Unsubscribe<'a>, ProtocolError> {
    if check_fixed_header(version, raw)? != PacketType::Unsubscribe {
        return Err(ProtocolError::protocol("not an UNSUBSCRIBE"));
    }
    decode_head(version, raw)
}

/// The fixed header has been checked.
pub(super) fn decode_body<'a>(
    version: ProtocolVersion,
    raw: RawPacket<'a>,
) -> Result<Unsubscribe<'a>, ProtocolError> {
    let unsubscribe = decode_head(version, raw)?;
    unsubscribe.filters.check()?;
    Ok(unsubscribe)
}

fn decode_head<'a>(
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
        filters: TopicFilters::of_payload(reader.rest())?,
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
