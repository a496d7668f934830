//! The properties of 5.0 as data: number, type, which packet may carry it, whether it may repeat,
//! which values are legal. Decoding a property section is one loop over this table.

use super::protocol::{ProtocolError, QosLevel};
use super::reader::Reader;
use super::reason_code::ReasonCode;
use super::writer::Sink;

#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PropertyId {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0B,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1A,
    ServerReference = 0x1C,
    ReasonString = 0x1F,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQos = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifierAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2A,
}

/// Property sections; one bit each.
pub(super) mod section {
    pub(in super::super) const CONNECT: u16 = 1 << 0;
    pub(in super::super) const WILL: u16 = 1 << 1;
    pub(in super::super) const CONN_ACK: u16 = 1 << 2;
    pub(in super::super) const PUBLISH: u16 = 1 << 3;
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    pub(in super::super) const ACK: u16 = 1 << 4;
    pub(in super::super) const SUBSCRIBE: u16 = 1 << 5;
    /// SUBACK and UNSUBACK.
    pub(in super::super) const SUB_ACK: u16 = 1 << 6;
    pub(in super::super) const UNSUBSCRIBE: u16 = 1 << 7;
    pub(in super::super) const DISCONNECT: u16 = 1 << 8;
    pub(in super::super) const AUTH: u16 = 1 << 9;
    pub(in super::super) const ALL: u16 = (1 << 10) - 1;
}

use section::{ACK, ALL, AUTH, CONN_ACK, CONNECT, DISCONNECT, PUBLISH, SUB_ACK, SUBSCRIBE, WILL};

#[derive(Clone, Copy, PartialEq, Eq)]
enum ValueKind {
    Byte,
    TwoByteInteger,
    FourByteInteger,
    VariableInteger,
    Text,
    Binary,
    TextPair,
}

/// Which values of the right type are still refused, and how.
#[derive(Clone, Copy)]
enum Range {
    All,
    ZeroOrOne,
    NotZero(ReasonCode),
    /// A topic name: no wildcard characters.
    NoWildcard,
}

#[derive(Clone, Copy)]
pub(super) struct PropertyRule {
    pub(super) id: PropertyId,
    kind: ValueKind,
    /// Sections that may carry it.
    sections: u16,
    /// Sections that may carry it more than once.
    repeats_in: u16,
    range: Range,
    /// A server passes it on unaltered with the application message.
    forwardable: bool,
}

const fn rule(id: PropertyId, kind: ValueKind, sections: u16, range: Range) -> PropertyRule {
    PropertyRule {
        id,
        kind,
        sections,
        repeats_in: 0,
        range,
        forwardable: false,
    }
}

const fn forwardable(rule: PropertyRule) -> PropertyRule {
    PropertyRule {
        forwardable: true,
        ..rule
    }
}

const fn repeated(rule: PropertyRule, repeats_in: u16) -> PropertyRule {
    PropertyRule { repeats_in, ..rule }
}

use PropertyId as Id;
use ValueKind::{Binary, Byte, FourByteInteger, Text, TextPair, TwoByteInteger, VariableInteger};

const NOT_ZERO: Range = Range::NotZero(ReasonCode::ProtocolError);
const NO_ALIAS_ZERO: Range = Range::NotZero(ReasonCode::TopicAliasInvalid);
const MESSAGE: u16 = PUBLISH | WILL;
const EXPLAINED: u16 = CONN_ACK | ACK | SUB_ACK | DISCONNECT | AUTH;

/// Table 2-4 of the specification, with the ranges from the sections of each property.
const RULES: [PropertyRule; 27] = [
    forwardable(rule(
        Id::PayloadFormatIndicator,
        Byte,
        MESSAGE,
        Range::ZeroOrOne,
    )),
    rule(
        Id::MessageExpiryInterval,
        FourByteInteger,
        MESSAGE,
        Range::All,
    ),
    forwardable(rule(Id::ContentType, Text, MESSAGE, Range::All)),
    forwardable(rule(Id::ResponseTopic, Text, MESSAGE, Range::NoWildcard)),
    forwardable(rule(Id::CorrelationData, Binary, MESSAGE, Range::All)),
    repeated(
        rule(
            Id::SubscriptionIdentifier,
            VariableInteger,
            PUBLISH | SUBSCRIBE,
            NOT_ZERO,
        ),
        PUBLISH,
    ),
    rule(
        Id::SessionExpiryInterval,
        FourByteInteger,
        CONNECT | CONN_ACK | DISCONNECT,
        Range::All,
    ),
    rule(Id::AssignedClientIdentifier, Text, CONN_ACK, Range::All),
    rule(Id::ServerKeepAlive, TwoByteInteger, CONN_ACK, Range::All),
    rule(
        Id::AuthenticationMethod,
        Text,
        CONNECT | CONN_ACK | AUTH,
        Range::All,
    ),
    rule(
        Id::AuthenticationData,
        Binary,
        CONNECT | CONN_ACK | AUTH,
        Range::All,
    ),
    rule(
        Id::RequestProblemInformation,
        Byte,
        CONNECT,
        Range::ZeroOrOne,
    ),
    rule(Id::WillDelayInterval, FourByteInteger, WILL, Range::All),
    rule(
        Id::RequestResponseInformation,
        Byte,
        CONNECT,
        Range::ZeroOrOne,
    ),
    rule(Id::ResponseInformation, Text, CONN_ACK, Range::All),
    rule(Id::ServerReference, Text, CONN_ACK | DISCONNECT, Range::All),
    rule(Id::ReasonString, Text, EXPLAINED, Range::All),
    rule(
        Id::ReceiveMaximum,
        TwoByteInteger,
        CONNECT | CONN_ACK,
        NOT_ZERO,
    ),
    rule(
        Id::TopicAliasMaximum,
        TwoByteInteger,
        CONNECT | CONN_ACK,
        Range::All,
    ),
    rule(Id::TopicAlias, TwoByteInteger, PUBLISH, NO_ALIAS_ZERO),
    rule(Id::MaximumQos, Byte, CONN_ACK, Range::ZeroOrOne),
    rule(Id::RetainAvailable, Byte, CONN_ACK, Range::ZeroOrOne),
    forwardable(repeated(
        rule(Id::UserProperty, TextPair, ALL, Range::All),
        ALL,
    )),
    rule(
        Id::MaximumPacketSize,
        FourByteInteger,
        CONNECT | CONN_ACK,
        NOT_ZERO,
    ),
    rule(
        Id::WildcardSubscriptionAvailable,
        Byte,
        CONN_ACK,
        Range::ZeroOrOne,
    ),
    rule(
        Id::SubscriptionIdentifierAvailable,
        Byte,
        CONN_ACK,
        Range::ZeroOrOne,
    ),
    rule(
        Id::SharedSubscriptionAvailable,
        Byte,
        CONN_ACK,
        Range::ZeroOrOne,
    ),
];

const NUMBER_MAX: usize = Id::SharedSubscriptionAvailable as usize;

/// `RULES` by number. All numbers fit a byte below 0x80, so the first byte of the identifier's
/// Variable Byte Integer decides.
const RULES_BY_NUMBER: [Option<PropertyRule>; NUMBER_MAX + 1] = {
    let mut table = [None; NUMBER_MAX + 1];
    let mut index = 0;
    while index < RULES.len() {
        table[RULES[index].id as usize] = Some(RULES[index]);
        index += 1;
    }
    table
};

/// A set of properties, one bit per number, fits a u64.
const _: () = assert!(NUMBER_MAX < 64);

pub(super) fn rule_of(number: u8) -> Option<&'static PropertyRule> {
    RULES_BY_NUMBER.get(usize::from(number))?.as_ref()
}

#[cfg(test)]
pub(super) fn rules() -> &'static [PropertyRule] {
    &RULES
}

impl PropertyRule {
    pub(super) const fn is_allowed_in(&self, section: u16) -> bool {
        self.sections & section != 0
    }

    pub(super) const fn may_repeat_in(&self, section: u16) -> bool {
        self.repeats_in & section != 0
    }

    pub(super) const fn is_forwardable(&self) -> bool {
        self.forwardable
    }

    fn decode<'a>(&self, reader: &mut Reader<'a>) -> Result<Value<'a>, ProtocolError> {
        let value = self.kind.decode(reader)?;
        self.range.check(value)?;
        Ok(value)
    }
}

/// One property's value; the accessor of the wrong type gives `None`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Value<'a> {
    Byte(u8),
    Integer(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    TextPair(&'a str, &'a str),
}

impl<'a> Value<'a> {
    pub(super) const fn u8(self) -> Option<u8> {
        match self {
            Value::Byte(byte) => Some(byte),
            _ => None,
        }
    }

    pub(super) const fn flag(self) -> Option<bool> {
        match self {
            Value::Byte(byte) => Some(byte != 0),
            _ => None,
        }
    }

    pub(super) const fn qos(self) -> Option<QosLevel> {
        match self {
            Value::Byte(byte) => QosLevel::from_u8(byte),
            _ => None,
        }
    }

    pub(super) fn u16(self) -> Option<u16> {
        u16::try_from(self.u32()?).ok()
    }

    pub(super) const fn u32(self) -> Option<u32> {
        match self {
            Value::Integer(integer) => Some(integer),
            _ => None,
        }
    }

    pub(super) const fn text(self) -> Option<&'a str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) const fn binary(self) -> Option<&'a [u8]> {
        match self {
            Value::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(super) const fn text_pair(self) -> Option<(&'a str, &'a str)> {
        match self {
            Value::TextPair(name, value) => Some((name, value)),
            _ => None,
        }
    }
}

impl ValueKind {
    fn decode<'a>(self, reader: &mut Reader<'a>) -> Result<Value<'a>, ProtocolError> {
        Ok(match self {
            Byte => Value::Byte(reader.u8()?),
            TwoByteInteger => Value::Integer(u32::from(reader.u16()?)),
            FourByteInteger => Value::Integer(reader.u32()?),
            VariableInteger => Value::Integer(reader.variable_integer()?),
            Text => Value::Text(reader.text()?),
            Binary => Value::Binary(reader.binary()?),
            // [MQTT-1.5.7-1]
            TextPair => Value::TextPair(reader.text()?, reader.text()?),
        })
    }

    /// Passes over a value without looking into it.
    fn skip(self, reader: &mut Reader<'_>) -> Result<(), ProtocolError> {
        match self {
            Byte => reader.take(1)?,
            TwoByteInteger => reader.take(2)?,
            FourByteInteger => reader.take(4)?,
            VariableInteger => {
                reader.variable_integer()?;
                return Ok(());
            }
            Text | Binary => reader.binary()?,
            TextPair => {
                reader.binary()?;
                reader.binary()?
            }
        };
        Ok(())
    }
}

impl Range {
    fn check(self, value: Value<'_>) -> Result<(), ProtocolError> {
        match (self, value) {
            (Self::ZeroOrOne, Value::Byte(2..)) => {
                Err(ProtocolError::protocol("property must be 0 or 1"))
            }
            (Self::NotZero(code), Value::Integer(0)) => {
                Err(ProtocolError::new(code, "property must not be 0"))
            }
            // [MQTT-3.3.2-14]
            (Self::NoWildcard, Value::Text(text)) if text.contains(['+', '#']) => {
                Err(ProtocolError::protocol("response topic with a wildcard"))
            }
            _ => Ok(()),
        }
    }
}

/// Reads one property section with its length and hands every property to `set`, in order. The
/// result is the section's bytes without the length.
///
/// # Errors
/// Malformed Packet for an identifier that is unknown or not of this section, or for a value not of
/// its type; Protocol Error for a repetition or an illegal value (section 2.2.2.2).
pub(super) fn decode_section<'a>(
    reader: &mut Reader<'a>,
    section: u16,
    mut set: impl FnMut(PropertyId, Value<'a>),
) -> Result<&'a [u8], ProtocolError> {
    let length = reader.variable_integer()?;
    let bytes = reader.take(length as usize)?;
    let mut properties = Reader::new(bytes);
    let mut seen = 0_u64;
    while !properties.is_empty() {
        let rule = rule_of(properties.u8()?)
            .filter(|rule| rule.is_allowed_in(section))
            .ok_or(ProtocolError::malformed("property is not of this packet"))?;
        let bit = 1 << rule.id as u8;
        if seen & bit != 0 && !rule.may_repeat_in(section) {
            return Err(ProtocolError::protocol("property is repeated"));
        }
        seen |= bit;
        set(rule.id, rule.decode(&mut properties)?);
    }
    Ok(bytes)
}

/// The first property of a section that was validated before; `None` at its end.
pub(super) fn next_property<'a>(
    properties: &mut Reader<'a>,
) -> Option<(PropertyId, Option<Value<'a>>)> {
    let rule = rule_of(properties.u8().ok()?)?;
    // Only what somebody iterates over is decoded again.
    if matches!(rule.id, Id::UserProperty | Id::SubscriptionIdentifier) {
        return Some((rule.id, rule.kind.decode(properties).ok()));
    }
    rule.kind.skip(properties).ok()?;
    Some((rule.id, None))
}

/// Passes over the first property of a validated section and says whether it is forwardable.
pub(super) fn skip_property(properties: &mut Reader<'_>) -> Option<bool> {
    let rule = rule_of(properties.u8().ok()?)?;
    rule.kind.skip(properties).ok()?;
    Some(rule.is_forwardable())
}

/// Writes properties; one that is `None` writes nothing.
pub(super) trait PropertySink: Sink {
    fn property_u8(&mut self, id: PropertyId, value: Option<u8>) {
        if let Some(value) = value {
            self.put(&[id as u8, value]);
        }
    }

    fn property_flag(&mut self, id: PropertyId, value: Option<bool>) {
        self.property_u8(id, value.map(u8::from));
    }

    fn property_u16(&mut self, id: PropertyId, value: Option<u16>) {
        if let Some(value) = value {
            self.put_u8(id as u8);
            self.put_u16(value);
        }
    }

    fn property_u32(&mut self, id: PropertyId, value: Option<u32>) {
        if let Some(value) = value {
            self.put_u8(id as u8);
            self.put_u32(value);
        }
    }

    fn property_variable_integer(&mut self, id: PropertyId, value: Option<u32>) {
        if let Some(value) = value {
            self.put_u8(id as u8);
            self.put_variable_integer(value);
        }
    }

    fn property_text(&mut self, id: PropertyId, value: Option<&str>) {
        self.property_binary(id, value.map(str::as_bytes));
    }

    fn property_binary(&mut self, id: PropertyId, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.put_u8(id as u8);
            self.put_binary(value);
        }
    }

    fn property_pairs<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
        for (name, value) in pairs {
            self.put_u8(Id::UserProperty as u8);
            self.put_text(name);
            self.put_text(value);
        }
    }
}

impl<S: Sink> PropertySink for S {}
