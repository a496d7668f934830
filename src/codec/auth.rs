//! AUTH: the steps of extended authentication; 5.0 only.

use super::frame::RawPacket;
use super::property::{PropertyId, section};
use super::property_section::{PropertySink, decode_section};
use super::property_view::{ReceivedProperties, UserProperties};
use super::protocol::{PacketType, ProtocolError, Sender};
use super::reader::Reader;
use super::reason_code::{ReasonCode, carrier};
use super::writer::{Part, Sink};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Auth<'a> {
    pub reason_code: ReasonCode,
    /// Absent only in the short form, which says Success and nothing else.
    pub authentication_method: Option<&'a str>,
    pub authentication_data: Option<&'a [u8]>,
    pub reason_string: Option<&'a str>,
    pub user_properties: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    #[must_use]
    pub fn new(reason_code: ReasonCode) -> Self {
        Self {
            reason_code,
            authentication_method: None,
            authentication_data: None,
            reason_string: None,
            user_properties: UserProperties::default(),
        }
    }

    fn is_plain(&self) -> bool {
        self.reason_code == ReasonCode::Success
            && self.authentication_method.is_none()
            && self.authentication_data.is_none()
            && self.reason_string.is_none()
            && self.user_properties.is_empty()
    }

    fn decode_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), ProtocolError> {
        let raw = decode_section(reader, section::AUTH, |id, value| match id {
            PropertyId::AuthenticationMethod => self.authentication_method = value.text(),
            PropertyId::AuthenticationData => self.authentication_data = value.binary(),
            PropertyId::ReasonString => self.reason_string = value.text(),
            _ => {}
        })?;
        self.user_properties = UserProperties::Received(ReceivedProperties::new(raw));
        if self.authentication_method.is_none() {
            return Err(ProtocolError::protocol("AUTH without a method"));
        }
        Ok(())
    }
}

/// The fixed header has been checked, and that the version is 5.0.
pub(super) fn decode_body<'a>(
    sender: Sender,
    raw: RawPacket<'a>,
) -> Result<Auth<'a>, ProtocolError> {
    let mut reader = Reader::new(raw.body);
    let is_short = reader.is_empty();
    let reason_code = if is_short { 0 } else { reader.u8()? };
    let carrier = match sender {
        Sender::Client => carrier::AUTH_BY_CLIENT,
        Sender::Server => carrier::AUTH_BY_SERVER,
    };
    // [MQTT-3.15.2-1]
    let mut auth = ReasonCode::for_carrier(reason_code, carrier)
        .map(Auth::new)
        .ok_or(ProtocolError::protocol("reason code is not of AUTH"))?;
    if !is_short {
        auth.decode_properties(&mut reader)?;
    }
    reader.finish()?;
    Ok(auth)
}

struct AuthBody<'a>(&'a Auth<'a>);
struct AuthProperties<'a>(&'a Auth<'a>);

impl Part for AuthBody<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        if !self.0.is_plain() {
            sink.put_u8(self.0.reason_code as u8);
            sink.put_section(&AuthProperties(self.0));
        }
    }
}

impl Part for AuthProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        use PropertyId as Id;
        sink.property_text(Id::AuthenticationMethod, self.0.authentication_method);
        sink.property_binary(Id::AuthenticationData, self.0.authentication_data);
        sink.property_text(Id::ReasonString, self.0.reason_string);
        sink.property_pairs(self.0.user_properties.iter());
    }
}

/// Appends the packet to `out`. Panics when a field is longer than [`super::FIELD_BYTES_MAX`].
pub fn encode_auth(auth: &Auth<'_>, out: &mut Vec<u8>) {
    write_auth(auth, out);
}

pub(super) fn write_auth<S: Sink>(auth: &Auth<'_>, sink: &mut S) {
    sink.put_u8(PacketType::Auth.first_byte());
    sink.put_section(&AuthBody(auth));
}
