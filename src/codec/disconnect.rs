//! DISCONNECT: the last packet; in 3.x only a client's, and without content.

use super::frame::RawPacket;
use super::property::{PropertyId, section};
use super::property_section::{PropertySink, decode_section};
use super::property_view::{ReceivedProperties, UserProperties};
use super::protocol::{PacketType, ProtocolError, ProtocolVersion, Sender};
use super::reader::Reader;
use super::reason_code::{ReasonCode, carrier};
use super::writer::{Part, Sink};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnect<'a> {
    pub reason_code: ReasonCode,
    /// Only a client says it.
    pub session_expiry_interval_s: Option<u32>,
    pub reason_string: Option<&'a str>,
    pub server_reference: Option<&'a str>,
    pub user_properties: UserProperties<'a>,
}

impl<'a> Disconnect<'a> {
    #[must_use]
    pub fn new(reason_code: ReasonCode) -> Self {
        Self {
            reason_code,
            session_expiry_interval_s: None,
            reason_string: None,
            server_reference: None,
            user_properties: UserProperties::default(),
        }
    }

    fn has_properties(&self) -> bool {
        self.session_expiry_interval_s.is_some()
            || self.reason_string.is_some()
            || self.server_reference.is_some()
            || !self.user_properties.is_empty()
    }

    fn decode_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), ProtocolError> {
        let raw = decode_section(reader, section::DISCONNECT, |id, value| match id {
            PropertyId::SessionExpiryInterval => self.session_expiry_interval_s = value.u32(),
            PropertyId::ReasonString => self.reason_string = value.text(),
            PropertyId::ServerReference => self.server_reference = value.text(),
            _ => {}
        })?;
        self.user_properties = UserProperties::Received(ReceivedProperties::new(raw));
        Ok(())
    }
}

/// The fixed header has been checked.
pub(super) fn decode_body<'a>(
    version: ProtocolVersion,
    sender: Sender,
    raw: RawPacket<'a>,
) -> Result<Disconnect<'a>, ProtocolError> {
    let mut reader = Reader::new(raw.body);
    let mut disconnect = Disconnect::new(ReasonCode::Success);
    // 5.0 leaves out a reason code of 0 and an empty property section.
    if version.is_v5() && !reader.is_empty() {
        disconnect.reason_code = decode_reason_code(sender, &mut reader)?;
        if !reader.is_empty() {
            disconnect.decode_properties(&mut reader)?;
        }
    }
    reader.finish()?;
    if sender == Sender::Server && disconnect.session_expiry_interval_s.is_some() {
        // [MQTT-3.14.2-2]
        return Err(ProtocolError::protocol(
            "session expiry interval from a server",
        ));
    }
    Ok(disconnect)
}

fn decode_reason_code(
    sender: Sender,
    reader: &mut Reader<'_>,
) -> Result<ReasonCode, ProtocolError> {
    let carrier = match sender {
        Sender::Client => carrier::DISCONNECT_BY_CLIENT,
        Sender::Server => carrier::DISCONNECT_BY_SERVER,
    };
    // [MQTT-3.14.2-1]
    ReasonCode::for_carrier(reader.u8()?, carrier)
        .ok_or(ProtocolError::protocol("reason code is not of DISCONNECT"))
}

struct DisconnectBody<'a>(&'a Disconnect<'a>, ProtocolVersion);
struct DisconnectProperties<'a>(&'a Disconnect<'a>);

impl Part for DisconnectBody<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        let Self(disconnect, version) = self;
        let has_properties = disconnect.has_properties();
        let is_plain = disconnect.reason_code == ReasonCode::Success && !has_properties;
        if is_plain || !version.is_v5() {
            return;
        }
        sink.put_u8(disconnect.reason_code as u8);
        if has_properties {
            sink.put_section(&DisconnectProperties(disconnect));
        }
    }
}

impl Part for DisconnectProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        use PropertyId as Id;
        sink.property_u32(Id::SessionExpiryInterval, self.0.session_expiry_interval_s);
        sink.property_text(Id::ReasonString, self.0.reason_string);
        sink.property_text(Id::ServerReference, self.0.server_reference);
        sink.property_pairs(self.0.user_properties.iter());
    }
}

/// Appends the packet to `out`. A server of 3.x has no such packet: it closes the connection
/// instead. The reason code must be one of the sender's. Panics when a field is longer than
/// [`super::FIELD_BYTES_MAX`].
pub fn encode_disconnect(disconnect: &Disconnect<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    write_disconnect(disconnect, version, out);
}

pub(super) fn write_disconnect<S: Sink>(
    disconnect: &Disconnect<'_>,
    version: ProtocolVersion,
    sink: &mut S,
) {
    sink.put_u8(PacketType::Disconnect.first_byte());
    sink.put_section(&DisconnectBody(disconnect, version));
}
