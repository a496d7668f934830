//! PUBLISH: an application message on its way in either direction.

use super::property::{PropertyId, section};
use super::property_section::{PropertySink, decode_section};
use super::property_view::{
    ForwardableRuns, ReceivedProperties, SubscriptionIdentifiers, UserProperties,
};
use super::protocol::{PacketId, PacketType, ProtocolError, ProtocolVersion, QosLevel, Sender};
use super::reader::Reader;
use super::writer::{Part, Sink};
use super::{frame, frame::RawPacket};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Publish<'a> {
    pub dup: bool,
    pub qos: QosLevel,
    pub retain: bool,
    /// Empty only together with a topic alias. UTF-8, but not checked for wildcards.
    pub topic_name: &'a str,
    /// There exactly when `qos` is above 0.
    pub packet_id: Option<PacketId>,
    /// Empty in 3.x.
    pub properties: PublishProperties<'a>,
    pub payload: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PublishProperties<'a> {
    /// 1: the payload is UTF-8.
    pub payload_format_indicator: Option<u8>,
    pub message_expiry_interval_s: Option<u32>,
    /// Never 0 after decoding.
    pub topic_alias: Option<u16>,
    pub content_type: Option<&'a str>,
    pub response_topic: Option<&'a str>,
    pub correlation_data: Option<&'a [u8]>,
    pub subscription_identifiers: SubscriptionIdentifiers<'a>,
    pub user_properties: UserProperties<'a>,
    pub raw: ReceivedProperties<'a>,
}

/// Decoded once per message on the hot path, on the stack.
const _: () = assert!(size_of::<Publish<'_>>() <= 224);

impl<'a> PublishProperties<'a> {
    fn decode(reader: &mut Reader<'a>, sender: Sender) -> Result<Self, ProtocolError> {
        let mut properties = Self::default();
        let mut is_identified = false;
        let raw = decode_section(reader, section::PUBLISH, |id, value| match id {
            PropertyId::PayloadFormatIndicator => properties.payload_format_indicator = value.u8(),
            PropertyId::MessageExpiryInterval => properties.message_expiry_interval_s = value.u32(),
            PropertyId::TopicAlias => properties.topic_alias = value.u16(),
            PropertyId::ContentType => properties.content_type = value.text(),
            PropertyId::ResponseTopic => properties.response_topic = value.text(),
            PropertyId::CorrelationData => properties.correlation_data = value.binary(),
            PropertyId::SubscriptionIdentifier => is_identified = true,
            _ => {}
        })?;
        if is_identified && sender == Sender::Client {
            // [MQTT-3.3.4-6]
            return Err(ProtocolError::protocol(
                "subscription identifier in PUBLISH from a client",
            ));
        }
        properties.raw = ReceivedProperties::new(raw);
        properties.subscription_identifiers = SubscriptionIdentifiers::Received(properties.raw);
        properties.user_properties = UserProperties::Received(properties.raw);
        Ok(properties)
    }

    /// What a server passes on unaltered, as raw bytes in the received order. Only of a decoded
    /// packet.
    #[must_use]
    pub const fn forwardable(&self) -> ForwardableRuns<'a> {
        self.raw.forwardable()
    }

    /// Sum of the lengths of [`Self::forwardable`].
    #[must_use]
    pub fn forwardable_bytes(&self) -> usize {
        self.forwardable().bytes()
    }
}

impl Part for PublishProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        use PropertyId as Id;
        sink.property_u32(Id::MessageExpiryInterval, self.message_expiry_interval_s);
        sink.property_u16(Id::TopicAlias, self.topic_alias);
        for identifier in self.subscription_identifiers.iter() {
            sink.property_variable_integer(Id::SubscriptionIdentifier, Some(identifier));
        }
        sink.property_u8(Id::PayloadFormatIndicator, self.payload_format_indicator);
        sink.property_text(Id::ContentType, self.content_type);
        sink.property_text(Id::ResponseTopic, self.response_topic);
        sink.property_binary(Id::CorrelationData, self.correlation_data);
        sink.property_pairs(self.user_properties.iter());
    }
}

/// Decodes a PUBLISH without the detour over [`super::Packet`].
///
/// # Errors
/// As [`super::decode`]; Protocol Error when `raw` is another packet.
pub fn decode_publish<'a>(
    version: ProtocolVersion,
    sender: Sender,
    raw: RawPacket<'a>,
) -> Result<Publish<'a>, ProtocolError> {
    if frame::check_fixed_header(version, raw)? != PacketType::Publish {
        return Err(ProtocolError::protocol("not a PUBLISH"));
    }
    decode_body(version, sender, raw)
}

/// The fixed header has been checked.
pub(super) fn decode_body<'a>(
    version: ProtocolVersion,
    sender: Sender,
    raw: RawPacket<'a>,
) -> Result<Publish<'a>, ProtocolError> {
    let mut reader = Reader::new(raw.body);
    let qos = QosLevel::try_from(raw.first_byte >> 1 & 0b11)?;
    let topic_name = reader.text()?;
    let packet_id = match qos {
        QosLevel::AtMostOnce => None,
        _ => Some(reader.packet_id()?),
    };
    let properties = if version.is_v5() {
        decode_properties(&mut reader, sender)?
    } else {
        PublishProperties::default()
    };
    if topic_name.is_empty() && properties.topic_alias.is_none() {
        return Err(ProtocolError::protocol("neither topic name nor alias"));
    }
    Ok(Publish {
        dup: raw.first_byte & 0b1000 != 0,
        qos,
        retain: raw.first_byte & 0b0001 != 0,
        topic_name,
        packet_id,
        properties,
        payload: reader.rest(),
    })
}

fn decode_properties<'a>(
    reader: &mut Reader<'a>,
    sender: Sender,
) -> Result<PublishProperties<'a>, ProtocolError> {
    // Most messages have none.
    if reader.rest().first() == Some(&0) {
        reader.u8()?;
        return Ok(PublishProperties::default());
    }
    PublishProperties::decode(reader, sender)
}

pub(super) const fn first_byte(dup: bool, qos: QosLevel, retain: bool) -> u8 {
    (PacketType::Publish as u8) << 4 | (dup as u8) << 3 | (qos as u8) << 1 | retain as u8
}

pub(super) struct PublishBody<'a>(pub(super) &'a Publish<'a>, pub(super) ProtocolVersion);

impl Part for PublishBody<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        let Self(publish, version) = self;
        sink.put_text(publish.topic_name);
        if let Some(packet_id) = publish.packet_id {
            sink.put_packet_id(packet_id);
        }
        if version.is_v5() {
            sink.put_section(&publish.properties);
        }
        sink.put(publish.payload);
    }
}

/// Appends the packet to `out`; properties are left out in 3.x. `packet_id` must be there exactly
/// when `qos` is above 0. Panics when a field is longer than [`super::FIELD_BYTES_MAX`] or the
/// packet larger than [`super::PACKET_BYTES_MAX`].
pub fn encode_publish(publish: &Publish<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    write_publish(publish, version, out);
}

pub(super) fn write_publish<S: Sink>(
    publish: &Publish<'_>,
    version: ProtocolVersion,
    sink: &mut S,
) {
    debug_assert_eq!(
        publish.packet_id.is_some(),
        publish.qos > QosLevel::AtMostOnce
    );
    sink.put_u8(first_byte(publish.dup, publish.qos, publish.retain));
    sink.put_section(&PublishBody(publish, version));
}
