//! How `ringway sub` shows a message.

use super::message::Message;
use std::io::Write;
use std::time::Duration;

/// A template, read once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Format {
    parts: Vec<Part>,
    /// Nothing is shown of a message without payload, as mosquitto_sub does without `-v`.
    skip_empty: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Literal(Vec<u8>),
    Field(Field),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    TopicAlias,
    ContentType,
    CorrelationData,
    MessageExpiry,
    PayloadBytes,
    PacketId,
    Payload,
    PayloadOrNull,
    UserProperties,
    Qos,
    ResponseTopic,
    Retain,
    SubscriptionIdentifiers,
    TopicName,
    UnixTime,
    LowerHex,
    UpperHex,
}

impl Format {
    /// The payload, or with `verbose` the topic name before it; a newline behind it if asked for.
    #[must_use]
    pub fn plain(verbose: bool, newline: bool) -> Self {
        let mut parts = Vec::new();
        if verbose {
            parts.push(Part::Field(Field::TopicName));
            parts.push(Part::Literal(b" ".to_vec()));
            parts.push(Part::Field(Field::PayloadOrNull));
        } else {
            parts.push(Part::Field(Field::Payload));
        }
        parts.extend(newline.then(|| Part::Literal(b"\n".to_vec())));
        Self {
            parts,
            skip_empty: !verbose,
        }
    }

    /// Reads a template; a newline is put behind it if asked for.
    ///
    /// # Errors
    /// What in it is not known.
    pub fn parse(template: &str, newline: bool) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut characters = template.chars();
        while let Some(character) = characters.next() {
            match character {
                '%' => match characters.next() {
                    Some('%') => literal.push(b'%'),
                    next => {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                        parts.push(Part::Field(field(next)?));
                    }
                },
                '\\' => literal.push(escape(characters.next())?),
                other => literal.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        literal.extend(newline.then_some(b'\n'));
        parts.push(Part::Literal(literal));
        parts.retain(|part| *part != Part::Literal(Vec::new()));
        Ok(Self {
            parts,
            skip_empty: false,
        })
    }

    /// Appends `message` as shown; `unix_time` is when it arrived.
    pub fn show(&self, message: &Message, unix_time: Duration, out: &mut Vec<u8>) {
        if self.skip_empty && message.payload.is_empty() {
            return;
        }
        for part in &self.parts {
            match part {
                Part::Literal(bytes) => out.extend_from_slice(bytes),
                Part::Field(field) => show_field(*field, message, unix_time, out),
            }
        }
    }
}

fn field(name: Option<char>) -> Result<Field, String> {
    Ok(match name {
        Some('A') => Field::TopicAlias,
        Some('C') => Field::ContentType,
        Some('D') => Field::CorrelationData,
        Some('E') => Field::MessageExpiry,
        Some('l') => Field::PayloadBytes,
        Some('m') => Field::PacketId,
        Some('p') => Field::Payload,
        Some('P') => Field::UserProperties,
        Some('q') => Field::Qos,
        Some('R') => Field::ResponseTopic,
        Some('r') => Field::Retain,
        Some('S') => Field::SubscriptionIdentifiers,
        Some('t') => Field::TopicName,
        Some('U') => Field::UnixTime,
        Some('x') => Field::LowerHex,
        Some('X') => Field::UpperHex,
        Some(other) => return Err(format!("%{} is not known", other.escape_default())),
        None => return Err("a % at the end; write %% for a percent sign".to_owned()),
    })
}

fn escape(name: Option<char>) -> Result<u8, String> {
    Ok(match name {
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('r') => b'\r',
        Some('0') => 0,
        Some('a') => 7,
        Some('e') => 27,
        Some('v') => 11,
        Some('\\') => b'\\',
        Some(other) => return Err(format!("\\{} is not known", other.escape_default())),
        None => return Err("a \\ at the end; write \\\\ for a backslash".to_owned()),
    })
}

fn show_field(field: Field, message: &Message, unix_time: Duration, out: &mut Vec<u8>) {
    let properties = &message.properties;
    // Writing to a Vec cannot fail.
    let _ = match field {
        Field::TopicAlias => number(out, properties.topic_alias),
        Field::ContentType => out.write_all(bytes(properties.content_type.as_deref())),
        Field::CorrelationData => {
            out.write_all(properties.correlation_data.as_deref().unwrap_or_default())
        }
        Field::MessageExpiry => number(out, properties.message_expiry_interval_s),
        Field::PayloadBytes => write!(out, "{}", message.payload.len()),
        Field::PacketId => write!(out, "{}", message.packet_id.map_or(0, |id| id.get())),
        Field::PayloadOrNull if message.payload.is_empty() => out.write_all(b"(null)"),
        Field::Payload | Field::PayloadOrNull => out.write_all(&message.payload),
        Field::UserProperties => list(out, &properties.user_properties, |out, (name, value)| {
            write!(out, "{name}:{value}")
        }),
        Field::Qos => write!(out, "{}", message.qos as u8),
        Field::ResponseTopic => out.write_all(bytes(properties.response_topic.as_deref())),
        Field::Retain => write!(out, "{}", u8::from(message.retain)),
        Field::SubscriptionIdentifiers => {
            list(out, &properties.subscription_identifiers, |out, id| {
                write!(out, "{id}")
            })
        }
        Field::TopicName => out.write_all(message.topic_name.as_bytes()),
        Field::UnixTime => {
            write!(
                out,
                "{}.{:09}",
                unix_time.as_secs(),
                unix_time.subsec_nanos()
            )
        }
        Field::LowerHex => message
            .payload
            .iter()
            .try_for_each(|byte| write!(out, "{byte:02x}")),
        Field::UpperHex => message
            .payload
            .iter()
            .try_for_each(|byte| write!(out, "{byte:02X}")),
    };
}

fn bytes(text: Option<&str>) -> &[u8] {
    text.unwrap_or_default().as_bytes()
}

fn number(out: &mut Vec<u8>, number: Option<impl std::fmt::Display>) -> std::io::Result<()> {
    number.map_or(Ok(()), |number| write!(out, "{number}"))
}

/// The entries with a space between them.
fn list<T>(
    out: &mut Vec<u8>,
    entries: &[T],
    show: impl Fn(&mut Vec<u8>, &T) -> std::io::Result<()>,
) -> std::io::Result<()> {
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        show(out, entry)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::message::MessageProperties;
    use crate::codec::{PacketId, QosLevel};

    fn message() -> Message {
        Message {
            topic_name: "a/b".to_owned(),
            payload: b"x\xFFy".to_vec(),
            qos: QosLevel::AtLeastOnce,
            retain: true,
            dup: false,
            packet_id: PacketId::new(7),
            properties: MessageProperties {
                content_type: Some("text".to_owned()),
                response_topic: Some("r".to_owned()),
                correlation_data: Some(b"c".to_vec()),
                message_expiry_interval_s: Some(9),
                user_properties: vec![
                    ("k".to_owned(), "v".to_owned()),
                    ("k".to_owned(), "w".to_owned()),
                ],
                subscription_identifiers: vec![3, 4],
                topic_alias: None,
            },
        }
    }

    fn shown(format: &Format, message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        format.show(message, Duration::new(5, 6), &mut out);
        out
    }

    #[test]
    fn template_shows_every_field() {
        let cases: &[(&str, &[u8])] = &[
            ("%t %p", b"a/b x\xFFy"),
            ("%q%r%l%m", b"1137"),
            ("%P|%C|%R|%D|%E|%S|%A", b"k:v k:w|text|r|c|9|3 4|"),
            ("%x %X", b"78ff79 78FF79"),
            ("%U", b"5.000000006"),
            ("100%%\\t\\n\\\\", b"100%\t\n\\"),
            ("\u{e9}", "\u{e9}".as_bytes()),
            ("", b""),
        ];
        for (template, expected) in cases {
            let format = Format::parse(template, false).unwrap();
            assert_eq!(shown(&format, &message()), *expected, "{template}");
        }
        assert_eq!(
            shown(&Format::parse("%t", true).unwrap(), &message()),
            b"a/b\n"
        );
    }

    #[test]
    fn unknown_parts_are_refused() {
        for template in ["%", "%z", "\\", "\\z"] {
            assert!(Format::parse(template, true).is_err(), "{template}");
        }
    }

    #[test]
    fn plain_format_shows_what_mosquitto_shows() {
        let mut message = message();
        assert_eq!(shown(&Format::plain(false, true), &message), b"x\xFFy\n");
        assert_eq!(shown(&Format::plain(true, false), &message), b"a/b x\xFFy");
        message.payload.clear();
        assert_eq!(shown(&Format::plain(false, true), &message), b"");
        assert_eq!(shown(&Format::plain(true, true), &message), b"a/b (null)\n");
    }
}
