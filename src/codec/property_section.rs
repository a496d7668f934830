//! Property sections on the wire: decoded by the table of `property` in one loop, skipped where
//! they were validated before, and written.

use super::property::{PropertyId, PropertyRule, Range, ValueKind, rule_of};
use super::protocol::{ProtocolError, QosLevel};
use super::reader::Reader;
use super::writer::Sink;

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
            Self::Byte => Value::Byte(reader.u8()?),
            Self::TwoByteInteger => Value::Integer(u32::from(reader.u16()?)),
            Self::FourByteInteger => Value::Integer(reader.u32()?),
            Self::VariableInteger => Value::Integer(reader.variable_integer()?),
            Self::Text => Value::Text(reader.text()?),
            Self::Binary => Value::Binary(reader.binary()?),
            // [MQTT-1.5.7-1]
            Self::TextPair => Value::TextPair(reader.text()?, reader.text()?),
        })
    }

    /// Passes over a value without looking into it.
    fn skip(self, reader: &mut Reader<'_>) -> Result<(), ProtocolError> {
        match self {
            Self::Byte => reader.take(1)?,
            Self::TwoByteInteger => reader.take(2)?,
            Self::FourByteInteger => reader.take(4)?,
            Self::VariableInteger => {
                reader.variable_integer()?;
                return Ok(());
            }
            Self::Text | Self::Binary => reader.binary()?,
            Self::TextPair => {
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
            // [MQTT-3.3.2-14] [MQTT-4.7.3-1]
            (Self::TopicName, Value::Text(text))
                if text.is_empty() || text.contains(['+', '#']) =>
            {
                Err(ProtocolError::protocol("response topic is no topic name"))
            }
            _ => Ok(()),
        }
    }
}

impl PropertyRule {
    fn decode<'a>(&self, reader: &mut Reader<'a>) -> Result<Value<'a>, ProtocolError> {
        let value = self.kind.decode(reader)?;
        self.range.check(value)?;
        Ok(value)
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
    if matches!(
        rule.id,
        PropertyId::UserProperty | PropertyId::SubscriptionIdentifier
    ) {
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
            self.put_u8(PropertyId::UserProperty as u8);
            self.put_text(name);
            self.put_text(value);
        }
    }
}

impl<S: Sink> PropertySink for S {}
