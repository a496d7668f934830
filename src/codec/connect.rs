//! CONNECT: the first packet, which also says which version the client speaks.

use super::property::{PropertyId, section};
use super::property_section::{PropertySink, Value, decode_section};
use super::property_view::{ForwardableRuns, ReceivedProperties, UserProperties};
use super::protocol::{PacketType, ProtocolError, ProtocolVersion, QosLevel};
use super::reader::Reader;
use super::reason_code::ReasonCode;
use super::writer::{Part, Sink};
use super::{frame, frame::RawPacket};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connect<'a> {
    pub version: ProtocolVersion,
    /// A Mosquitto bridge of 3.x: it wants its own messages back never, and RETAIN as published.
    pub is_bridge: bool,
    /// Clean Session in 3.x.
    pub clean_start: bool,
    /// 0: none.
    pub keep_alive_s: u16,
    /// May be empty; what that means is the connection's matter.
    pub client_id: &'a str,
    pub will: Option<Will<'a>>,
    pub username: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    /// Empty in 3.x.
    pub properties: ConnectProperties<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Will<'a> {
    /// UTF-8, but not checked for being empty or for wildcards.
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: QosLevel,
    pub retain: bool,
    /// Empty in 3.x.
    pub properties: WillProperties<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WillProperties<'a> {
    pub will_delay_interval_s: Option<u32>,
    /// 1: the payload is UTF-8.
    pub payload_format_indicator: Option<u8>,
    pub message_expiry_interval_s: Option<u32>,
    pub content_type: Option<&'a str>,
    pub response_topic: Option<&'a str>,
    pub correlation_data: Option<&'a [u8]>,
    pub user_properties: UserProperties<'a>,
    pub raw: ReceivedProperties<'a>,
}

/// `None` is the absence of the property; the specification's default then applies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnectProperties<'a> {
    /// Absent is 0; `u32::MAX` is no end.
    pub session_expiry_interval_s: Option<u32>,
    /// Never 0 after decoding.
    pub receive_maximum: Option<u16>,
    /// Never 0 after decoding.
    pub maximum_packet_size: Option<u32>,
    pub topic_alias_maximum: Option<u16>,
    pub request_response_information: Option<bool>,
    pub request_problem_information: Option<bool>,
    pub authentication_method: Option<&'a str>,
    /// Only together with a method.
    pub authentication_data: Option<&'a [u8]>,
    pub user_properties: UserProperties<'a>,
}

/// The largest view, and so the size of [`super::Packet`].
const _: () = assert!(size_of::<Connect<'_>>() <= 296);

mod flag {
    pub(super) const CLEAN_START: u8 = 1 << 1;
    pub(super) const WILL: u8 = 1 << 2;
    pub(super) const WILL_QOS_SHIFT: u8 = 3;
    pub(super) const WILL_RETAIN: u8 = 1 << 5;
    pub(super) const PASSWORD: u8 = 1 << 6;
    pub(super) const USERNAME: u8 = 1 << 7;
}

/// The version that a CONNECT speaks, if it is one of ours. Looks at the protocol name and level
/// only, so that a CONNECT that is wrong further on can be answered in its own version.
#[must_use]
pub fn peek_version(raw: RawPacket<'_>) -> Option<ProtocolVersion> {
    let mut reader = Reader::new(raw.body);
    decode_version(&mut reader).ok().map(|(version, _)| version)
}

/// The version in which a CONNECT is answered that cannot be read to its end. What calls itself
/// newer than 5.0 can read 5.0, if anything; everything else that is unknown gets the answer of
/// 3.1.1. `None`: it has no level.
#[must_use]
pub fn answer_version(raw: RawPacket<'_>) -> Option<ProtocolVersion> {
    const NEWEST: u8 = ProtocolVersion::V5 as u8;
    let mut reader = Reader::new(raw.body);
    reader.binary().ok()?;
    Some(match (peek_version(raw), reader.u8().ok()?) {
        (Some(version), _) => version,
        (None, NEWEST..ProtocolVersion::BRIDGE_BIT) => ProtocolVersion::V5,
        (None, _) => ProtocolVersion::V311,
    })
}

/// Decodes a CONNECT in the version that it names itself.
///
/// # Errors
/// Unsupported Protocol Version for another name or level than those of [`ProtocolVersion`];
/// Protocol Error when `raw` is another packet; else as [`super::decode`].
pub fn decode_connect(raw: RawPacket<'_>) -> Result<Connect<'_>, ProtocolError> {
    if raw.packet_type() != Some(PacketType::Connect) {
        // [MQTT-3.1.0-1]
        return Err(ProtocolError::protocol("first packet is not CONNECT"));
    }
    let mut reader = Reader::new(raw.body);
    let (version, is_bridge) = decode_version(&mut reader)?;
    frame::check_fixed_header(version, raw)?;
    let flags = reader.u8()?;
    check_flags(version, flags)?;
    let keep_alive_s = reader.u16()?;
    let properties = decode_properties(version, &mut reader)?;
    let client_id = reader.text()?;
    let will = decode_will(version, flags, &mut reader)?;
    let (username, password) = decode_credentials(version, flags, &mut reader)?;
    reader.finish()?;
    Ok(Connect {
        version,
        is_bridge,
        clean_start: flags & flag::CLEAN_START != 0,
        keep_alive_s,
        client_id,
        will,
        username,
        password,
        properties,
    })
}

/// The version, and whether it is a bridge's. [MQTT-3.1.2-1] [MQTT-3.1.2-2]
fn decode_version(reader: &mut Reader<'_>) -> Result<(ProtocolVersion, bool), ProtocolError> {
    let name = reader.binary()?;
    let level = reader.u8()?;
    let client = ProtocolVersion::from_name_and_level(name, level).map(|version| (version, false));
    let bridge = || ProtocolVersion::of_bridge(name, level).map(|version| (version, true));
    client.or_else(bridge).ok_or(ProtocolError::new(
        ReasonCode::UnsupportedProtocolVersion,
        "unsupported protocol name or level",
    ))
}

fn check_flags(version: ProtocolVersion, flags: u8) -> Result<(), ProtocolError> {
    // 3.1 does not use the bit. [MQTT-3.1.2-3]
    if flags & 1 != 0 && version != ProtocolVersion::V31 {
        return Err(ProtocolError::malformed("reserved flag of CONNECT"));
    }
    let will_qos_bits = flags & 0b11 << flag::WILL_QOS_SHIFT;
    // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
    if flags & flag::WILL == 0 && (will_qos_bits | flags & flag::WILL_RETAIN) != 0 {
        return Err(ProtocolError::malformed("will flags without a will"));
    }
    // [MQTT-3.1.2-12]
    QosLevel::try_from(will_qos_bits >> flag::WILL_QOS_SHIFT)?;
    let has_only_password = flags & flag::PASSWORD != 0 && flags & flag::USERNAME == 0;
    if has_only_password && !version.is_v5() {
        return Err(ProtocolError::malformed("password without a user name"));
    }
    Ok(())
}

fn decode_properties<'a>(
    version: ProtocolVersion,
    reader: &mut Reader<'a>,
) -> Result<ConnectProperties<'a>, ProtocolError> {
    let mut properties = ConnectProperties::default();
    if !version.is_v5() {
        return Ok(properties);
    }
    let raw = decode_section(reader, section::CONNECT, |id, value| {
        properties.set(id, value);
    })?;
    properties.user_properties = UserProperties::Received(ReceivedProperties::new(raw));
    if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
        return Err(ProtocolError::protocol(
            "authentication data without a method",
        ));
    }
    Ok(properties)
}

impl<'a> ConnectProperties<'a> {
    fn set(&mut self, id: PropertyId, value: Value<'a>) {
        use PropertyId as Id;
        match id {
            Id::SessionExpiryInterval => self.session_expiry_interval_s = value.u32(),
            Id::ReceiveMaximum => self.receive_maximum = value.u16(),
            Id::MaximumPacketSize => self.maximum_packet_size = value.u32(),
            Id::TopicAliasMaximum => self.topic_alias_maximum = value.u16(),
            Id::RequestResponseInformation => self.request_response_information = value.flag(),
            Id::RequestProblemInformation => self.request_problem_information = value.flag(),
            Id::AuthenticationMethod => self.authentication_method = value.text(),
            Id::AuthenticationData => self.authentication_data = value.binary(),
            _ => {}
        }
    }
}

fn decode_will<'a>(
    version: ProtocolVersion,
    flags: u8,
    reader: &mut Reader<'a>,
) -> Result<Option<Will<'a>>, ProtocolError> {
    if flags & flag::WILL == 0 {
        return Ok(None);
    }
    let properties = if version.is_v5() {
        WillProperties::decode(reader)?
    } else {
        WillProperties::default()
    };
    Ok(Some(Will {
        properties,
        topic: reader.text()?,
        payload: reader.binary()?,
        qos: QosLevel::try_from(flags >> flag::WILL_QOS_SHIFT & 0b11)?,
        retain: flags & flag::WILL_RETAIN != 0,
    }))
}

impl<'a> WillProperties<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        let mut properties = Self::default();
        let raw = decode_section(reader, section::WILL, |id, value| properties.set(id, value))?;
        properties.raw = ReceivedProperties::new(raw);
        properties.user_properties = UserProperties::Received(properties.raw);
        Ok(properties)
    }

    fn set(&mut self, id: PropertyId, value: Value<'a>) {
        use PropertyId as Id;
        match id {
            Id::WillDelayInterval => self.will_delay_interval_s = value.u32(),
            Id::PayloadFormatIndicator => self.payload_format_indicator = value.u8(),
            Id::MessageExpiryInterval => self.message_expiry_interval_s = value.u32(),
            Id::ContentType => self.content_type = value.text(),
            Id::ResponseTopic => self.response_topic = value.text(),
            Id::CorrelationData => self.correlation_data = value.binary(),
            _ => {}
        }
    }

    /// What a server passes on unaltered when it publishes the will. Only of a decoded packet.
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

type Credentials<'a> = (Option<&'a str>, Option<&'a [u8]>);

fn decode_credentials<'a>(
    version: ProtocolVersion,
    flags: u8,
    reader: &mut Reader<'a>,
) -> Result<Credentials<'a>, ProtocolError> {
    // In 3.1 the Remaining Length takes precedence over these flags.
    let is_there = |bit: u8, reader: &Reader<'_>| {
        flags & bit != 0 && !(version == ProtocolVersion::V31 && reader.is_empty())
    };
    let mut username = None;
    if is_there(flag::USERNAME, reader) {
        username = Some(reader.text()?);
    }
    let mut password = None;
    if is_there(flag::PASSWORD, reader) {
        password = Some(reader.binary()?);
    }
    Ok((username, password))
}

impl Connect<'_> {
    fn flags(&self) -> u8 {
        let mut flags = 0;
        let mut set = |bits: u8, condition: bool| flags |= if condition { bits } else { 0 };
        set(flag::CLEAN_START, self.clean_start);
        set(flag::USERNAME, self.username.is_some());
        set(flag::PASSWORD, self.password.is_some());
        if let Some(will) = &self.will {
            set(flag::WILL | (will.qos as u8) << flag::WILL_QOS_SHIFT, true);
            set(flag::WILL_RETAIN, will.retain);
        }
        flags
    }
}

impl Part for Connect<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        sink.put_text(self.version.name());
        let bridge_bit = if self.is_bridge {
            ProtocolVersion::BRIDGE_BIT
        } else {
            0
        };
        sink.put_u8(self.version as u8 | bridge_bit);
        sink.put_u8(self.flags());
        sink.put_u16(self.keep_alive_s);
        if self.version.is_v5() {
            sink.put_section(&self.properties);
        }
        sink.put_text(self.client_id);
        if let Some(will) = &self.will {
            if self.version.is_v5() {
                sink.put_section(&will.properties);
            }
            sink.put_text(will.topic);
            sink.put_binary(will.payload);
        }
        if let Some(username) = self.username {
            sink.put_text(username);
        }
        if let Some(password) = self.password {
            sink.put_binary(password);
        }
    }
}

impl Part for ConnectProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        use PropertyId as Id;
        sink.property_u32(Id::SessionExpiryInterval, self.session_expiry_interval_s);
        sink.property_u16(Id::ReceiveMaximum, self.receive_maximum);
        sink.property_u32(Id::MaximumPacketSize, self.maximum_packet_size);
        sink.property_u16(Id::TopicAliasMaximum, self.topic_alias_maximum);
        sink.property_flag(
            Id::RequestResponseInformation,
            self.request_response_information,
        );
        sink.property_flag(
            Id::RequestProblemInformation,
            self.request_problem_information,
        );
        sink.property_text(Id::AuthenticationMethod, self.authentication_method);
        sink.property_binary(Id::AuthenticationData, self.authentication_data);
        sink.property_pairs(self.user_properties.iter());
    }
}

impl Part for WillProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        use PropertyId as Id;
        sink.property_u32(Id::WillDelayInterval, self.will_delay_interval_s);
        sink.property_u8(Id::PayloadFormatIndicator, self.payload_format_indicator);
        sink.property_u32(Id::MessageExpiryInterval, self.message_expiry_interval_s);
        sink.property_text(Id::ContentType, self.content_type);
        sink.property_text(Id::ResponseTopic, self.response_topic);
        sink.property_binary(Id::CorrelationData, self.correlation_data);
        sink.property_pairs(self.user_properties.iter());
    }
}

/// Appends the packet to `out` in its own version. In 3.x a password needs a user name. Panics when
/// a field is longer than [`super::FIELD_BYTES_MAX`].
pub fn encode_connect(connect: &Connect<'_>, out: &mut Vec<u8>) {
    write_connect(connect, out);
}

pub(super) fn write_connect<S: Sink>(connect: &Connect<'_>, sink: &mut S) {
    sink.put_u8(PacketType::Connect.first_byte());
    sink.put_section(connect);
}
