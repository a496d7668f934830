//! CONNACK: the answer to CONNECT.

use super::frame::RawPacket;
use super::property::{PropertyId, section};
use super::property_section::{PropertySink, Value, decode_section};
use super::property_view::{ReceivedProperties, UserProperties};
use super::protocol::{PacketType, ProtocolError, ProtocolVersion, QosLevel};
use super::reader::Reader;
use super::reason_code::{ReasonCode, carrier};
use super::writer::{Part, Sink};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnAck<'a> {
    /// False unless the reason code is Success; always false in 3.1, which does not have it.
    pub session_present: bool,
    /// In 3.x what the return code says, see [`conn_ack_return_code`].
    pub reason_code: ReasonCode,
    /// Empty in 3.x.
    pub properties: ConnAckProperties<'a>,
}

/// `None` is the absence of the property; the specification's default then applies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnAckProperties<'a> {
    pub session_expiry_interval_s: Option<u32>,
    /// Never 0 after decoding.
    pub receive_maximum: Option<u16>,
    /// Only `AtMostOnce` and `AtLeastOnce` may be said; absent is `ExactlyOnce`.
    pub maximum_qos: Option<QosLevel>,
    pub retain_available: Option<bool>,
    /// Never 0 after decoding.
    pub maximum_packet_size: Option<u32>,
    pub assigned_client_identifier: Option<&'a str>,
    pub topic_alias_maximum: Option<u16>,
    pub reason_string: Option<&'a str>,
    pub wildcard_subscription_available: Option<bool>,
    pub subscription_identifiers_available: Option<bool>,
    pub shared_subscription_available: Option<bool>,
    pub server_keep_alive_s: Option<u16>,
    pub response_information: Option<&'a str>,
    pub server_reference: Option<&'a str>,
    pub authentication_method: Option<&'a str>,
    pub authentication_data: Option<&'a [u8]>,
    pub user_properties: UserProperties<'a>,
}

/// The 3.x return code nearest to `reason_code`. `None`: 3.x has no word for it, and the connection
/// is closed without CONNACK.
#[must_use]
pub const fn conn_ack_return_code(reason_code: ReasonCode) -> Option<u8> {
    Some(match reason_code {
        ReasonCode::Success => 0,
        ReasonCode::UnsupportedProtocolVersion => 1,
        ReasonCode::ClientIdentifierNotValid => 2,
        ReasonCode::ServerUnavailable
        | ReasonCode::ServerBusy
        | ReasonCode::QuotaExceeded
        | ReasonCode::UseAnotherServer
        | ReasonCode::ServerMoved
        | ReasonCode::ConnectionRateExceeded => 3,
        ReasonCode::BadUserNameOrPassword => 4,
        ReasonCode::NotAuthorized | ReasonCode::Banned => 5,
        _ => return None,
    })
}

const fn reason_code_of_return_code(return_code: u8) -> Option<ReasonCode> {
    Some(match return_code {
        0 => ReasonCode::Success,
        1 => ReasonCode::UnsupportedProtocolVersion,
        2 => ReasonCode::ClientIdentifierNotValid,
        3 => ReasonCode::ServerUnavailable,
        4 => ReasonCode::BadUserNameOrPassword,
        5 => ReasonCode::NotAuthorized,
        _ => return None,
    })
}

/// The fixed header has been checked.
pub(super) fn decode_body<'a>(
    version: ProtocolVersion,
    raw: RawPacket<'a>,
) -> Result<ConnAck<'a>, ProtocolError> {
    let mut reader = Reader::new(raw.body);
    let flags = reader.u8()?;
    let is_v31 = version == ProtocolVersion::V31;
    if flags & !1 != 0 && !is_v31 {
        // [MQTT-3.2.2-1]
        return Err(ProtocolError::malformed("reserved flags of CONNACK"));
    }
    let reason_code = decode_reason_code(version, reader.u8()?)?;
    let session_present = flags & 1 != 0 && !is_v31;
    if session_present && reason_code != ReasonCode::Success {
        // [MQTT-3.2.2-6]
        return Err(ProtocolError::protocol("session present in a refusal"));
    }
    let properties = if version.is_v5() {
        ConnAckProperties::decode(&mut reader)?
    } else {
        ConnAckProperties::default()
    };
    reader.finish()?;
    Ok(ConnAck {
        session_present,
        reason_code,
        properties,
    })
}

fn decode_reason_code(version: ProtocolVersion, value: u8) -> Result<ReasonCode, ProtocolError> {
    let reason_code = if version.is_v5() {
        ReasonCode::for_carrier(value, carrier::CONN_ACK)
    } else {
        reason_code_of_return_code(value)
    };
    reason_code.ok_or(ProtocolError::protocol("reason code is not of CONNACK"))
}

impl<'a> ConnAckProperties<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        let mut properties = Self::default();
        let raw = decode_section(reader, section::CONN_ACK, |id, value| {
            properties.set(id, value);
        })?;
        properties.user_properties = UserProperties::Received(ReceivedProperties::new(raw));
        Ok(properties)
    }

    fn set(&mut self, id: PropertyId, value: Value<'a>) {
        use PropertyId as Id;
        match id {
            Id::SessionExpiryInterval => self.session_expiry_interval_s = value.u32(),
            Id::ReceiveMaximum => self.receive_maximum = value.u16(),
            Id::MaximumQos => self.maximum_qos = value.qos(),
            Id::RetainAvailable => self.retain_available = value.flag(),
            Id::MaximumPacketSize => self.maximum_packet_size = value.u32(),
            Id::AssignedClientIdentifier => self.assigned_client_identifier = value.text(),
            Id::TopicAliasMaximum => self.topic_alias_maximum = value.u16(),
            Id::ReasonString => self.reason_string = value.text(),
            Id::WildcardSubscriptionAvailable => {
                self.wildcard_subscription_available = value.flag();
            }
            Id::SubscriptionIdentifierAvailable => {
                self.subscription_identifiers_available = value.flag();
            }
            Id::SharedSubscriptionAvailable => self.shared_subscription_available = value.flag(),
            Id::ServerKeepAlive => self.server_keep_alive_s = value.u16(),
            Id::ResponseInformation => self.response_information = value.text(),
            Id::ServerReference => self.server_reference = value.text(),
            Id::AuthenticationMethod => self.authentication_method = value.text(),
            Id::AuthenticationData => self.authentication_data = value.binary(),
            _ => {}
        }
    }
}

impl Part for ConnAckProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        use PropertyId as Id;
        sink.property_u32(Id::SessionExpiryInterval, self.session_expiry_interval_s);
        sink.property_u16(Id::ReceiveMaximum, self.receive_maximum);
        sink.property_u8(Id::MaximumQos, self.maximum_qos.map(|qos| qos as u8));
        sink.property_flag(Id::RetainAvailable, self.retain_available);
        sink.property_u32(Id::MaximumPacketSize, self.maximum_packet_size);
        sink.property_text(
            Id::AssignedClientIdentifier,
            self.assigned_client_identifier,
        );
        sink.property_u16(Id::TopicAliasMaximum, self.topic_alias_maximum);
        sink.property_u16(Id::ServerKeepAlive, self.server_keep_alive_s);
        sink.property_text(Id::ResponseInformation, self.response_information);
        sink.property_text(Id::ReasonString, self.reason_string);
        sink.property_flag(
            Id::WildcardSubscriptionAvailable,
            self.wildcard_subscription_available,
        );
        sink.property_flag(
            Id::SubscriptionIdentifierAvailable,
            self.subscription_identifiers_available,
        );
        sink.property_flag(
            Id::SharedSubscriptionAvailable,
            self.shared_subscription_available,
        );
        sink.property_text(Id::ServerReference, self.server_reference);
        sink.property_text(Id::AuthenticationMethod, self.authentication_method);
        sink.property_binary(Id::AuthenticationData, self.authentication_data);
        sink.property_pairs(self.user_properties.iter());
    }
}

struct ConnAckBody<'a>(&'a ConnAck<'a>);

impl Part for ConnAckBody<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        sink.put_u8(u8::from(self.0.session_present));
        sink.put_u8(self.0.reason_code as u8);
        sink.put_section(&self.0.properties);
    }
}

/// Appends the packet to `out`. In 3.x nothing is appended when [`conn_ack_return_code`] has no
/// word for the reason. Panics when a field is longer than [`super::FIELD_BYTES_MAX`].
pub fn encode_conn_ack(conn_ack: &ConnAck<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    write_conn_ack(conn_ack, version, out);
}

pub(super) fn write_conn_ack<S: Sink>(
    conn_ack: &ConnAck<'_>,
    version: ProtocolVersion,
    sink: &mut S,
) {
    let first_byte = PacketType::ConnAck.first_byte();
    if version.is_v5() {
        sink.put_u8(first_byte);
        return sink.put_section(&ConnAckBody(conn_ack));
    }
    if let Some(return_code) = conn_ack_return_code(conn_ack.reason_code) {
        let session_present = conn_ack.session_present && version != ProtocolVersion::V31;
        sink.put(&[first_byte, 2, u8::from(session_present), return_code]);
    }
}
