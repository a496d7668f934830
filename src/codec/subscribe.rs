//! SUBSCRIBE.

use super::frame::{RawPacket, check_fixed_header};
use super::property::{PropertyId, section};
use super::property_section::{PropertySink, decode_section};
use super::property_view::{ReceivedProperties, UserProperties};
use super::protocol::{PacketId, PacketType, ProtocolError, ProtocolVersion};
use super::reader::Reader;
use super::subscribe_filter::{SubscribeFilter, SubscribeFilters};
use super::writer::{Part, Sink};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribe<'a> {
    pub packet_id: PacketId,
    /// 1 to [`super::VARIABLE_INTEGER_MAX`]; `None` in 3.x.
    pub subscription_identifier: Option<u32>,
    pub user_properties: UserProperties<'a>,
    pub filters: SubscribeFilters<'a>,
}

impl<'a> Subscribe<'a> {
    /// The entries in their order; at least one.
    pub fn filters(&self) -> impl Iterator<Item = SubscribeFilter<'a>> + use<'a> {
        self.filters.iter()
    }
}

/// Decodes a SUBSCRIBE up to its filters: there may be very many, and [`SubscribeFilters::at`]
/// decodes and checks them one by one.
///
/// # Errors
/// As [`super::decode`], for everything before the filters; Protocol Error when there are none, or
/// when `raw` is another packet.
pub fn decode_subscribe_head<'a>(
    version: ProtocolVersion,
    raw: RawPacket<'a>,
) -> Result<Subscribe<'a>, ProtocolError> {
    if check_fixed_header(version, raw)? != PacketType::Subscribe {
        return Err(ProtocolError::protocol("not a SUBSCRIBE"));
    }
    decode_head(version, raw)
}

/// The fixed header has been checked.
pub(super) fn decode_body<'a>(
    version: ProtocolVersion,
    raw: RawPacket<'a>,
) -> Result<Subscribe<'a>, ProtocolError> {
    let subscribe = decode_head(version, raw)?;
    subscribe.filters.check()?;
    Ok(subscribe)
}

fn decode_head<'a>(
    version: ProtocolVersion,
    raw: RawPacket<'a>,
) -> Result<Subscribe<'a>, ProtocolError> {
    let mut reader = Reader::new(raw.body);
    let packet_id = reader.packet_id()?;
    let mut subscription_identifier = None;
    let mut user_properties = UserProperties::default();
    if version.is_v5() {
        let section = decode_section(&mut reader, section::SUBSCRIBE, |id, value| {
            if id == PropertyId::SubscriptionIdentifier {
                subscription_identifier = value.u32();
            }
        })?;
        user_properties = UserProperties::Received(ReceivedProperties::new(section));
    }
    Ok(Subscribe {
        packet_id,
        subscription_identifier,
        user_properties,
        filters: SubscribeFilters::of_payload(version, reader.rest())?,
    })
}

struct SubscribeBody<'a>(&'a Subscribe<'a>, ProtocolVersion);
struct SubscribeProperties<'a>(&'a Subscribe<'a>);

impl Part for SubscribeBody<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        let Self(subscribe, version) = self;
        sink.put_packet_id(subscribe.packet_id);
        if version.is_v5() {
            sink.put_section(&SubscribeProperties(subscribe));
        }
        for filter in subscribe.filters() {
            filter.write(*version, sink);
        }
    }
}

impl Part for SubscribeProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        let id = PropertyId::SubscriptionIdentifier;
        sink.property_variable_integer(id, self.0.subscription_identifier);
        sink.property_pairs(self.0.user_properties.iter());
    }
}

/// Appends the packet to `out`; in 3.x only the QoS of the options is said. Panics when a field is
/// longer than [`super::FIELD_BYTES_MAX`] or the packet larger than [`super::PACKET_BYTES_MAX`].
pub fn encode_subscribe(subscribe: &Subscribe<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    write_subscribe(subscribe, version, out);
}

pub(super) fn write_subscribe<S: Sink>(
    subscribe: &Subscribe<'_>,
    version: ProtocolVersion,
    sink: &mut S,
) {
    sink.put_u8(PacketType::Subscribe.first_byte());
    sink.put_section(&SubscribeBody(subscribe, version));
}
