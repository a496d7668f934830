//! One entry of a SUBSCRIBE: a topic filter and its options.

use super::protocol::{ProtocolError, ProtocolVersion, QosLevel};
use super::reader::Reader;
use super::writer::Sink;

#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum RetainHandling {
    /// Retained messages are sent at every SUBSCRIBE.
    #[default]
    Send = 0,
    /// They are sent when the subscription did not exist yet.
    SendIfNew = 1,
    DoNotSend = 2,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SubscriptionOptions {
    pub qos: QosLevel,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscribeFilter<'a> {
    /// UTF-8, but its syntax is not checked.
    pub topic_filter: &'a str,
    pub options: SubscriptionOptions,
}

const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;
const RETAIN_HANDLING_SHIFT: u8 = 4;
const RESERVED: u8 = 0b1100_0000;
const RESERVED_IN_V3: u8 = 0b1111_1100;

impl SubscriptionOptions {
    /// The options byte of 5.0, also used where options are stored.
    #[must_use]
    pub const fn to_u8(self) -> u8 {
        self.qos as u8
            | if self.no_local { NO_LOCAL } else { 0 }
            | if self.retain_as_published {
                RETAIN_AS_PUBLISHED
            } else {
                0
            }
            | (self.retain_handling as u8) << RETAIN_HANDLING_SHIFT
    }

    /// # Errors
    /// Malformed Packet for reserved bits, Protocol Error for QoS 3 and Retain Handling 3.
    pub fn from_u8(value: u8, version: ProtocolVersion) -> Result<Self, ProtocolError> {
        let reserved = if version.is_v5() {
            RESERVED
        } else {
            RESERVED_IN_V3
        };
        if value & reserved != 0 {
            // [MQTT-3.8.3-5]
            return Err(ProtocolError::malformed("reserved subscription options"));
        }
        let retain_handling = match value >> RETAIN_HANDLING_SHIFT & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(ProtocolError::protocol("retain handling 3")),
        };
        let qos = QosLevel::from_u8(value & 0b11);
        Ok(Self {
            qos: qos.ok_or(ProtocolError::protocol("subscription with QoS 3"))?,
            no_local: value & NO_LOCAL != 0,
            retain_as_published: value & RETAIN_AS_PUBLISHED != 0,
            retain_handling,
        })
    }
}

impl<'a> SubscribeFilter<'a> {
    pub(super) fn decode(
        version: ProtocolVersion,
        reader: &mut Reader<'a>,
    ) -> Result<Self, ProtocolError> {
        let topic_filter = reader.text()?;
        let options = SubscriptionOptions::from_u8(reader.u8()?, version)?;
        if options.no_local && topic_filter.starts_with("$share/") {
            // [MQTT-3.8.3-4]
            return Err(ProtocolError::protocol("no local on a shared subscription"));
        }
        Ok(Self {
            topic_filter,
            options,
        })
    }

    pub(super) fn write<S: Sink>(&self, version: ProtocolVersion, sink: &mut S) {
        sink.put_text(self.topic_filter);
        let options = self.options.to_u8();
        sink.put_u8(if version.is_v5() {
            options
        } else {
            options & 0b11
        });
    }
}

/// The entries of one SUBSCRIBE in their order; at least one.
#[derive(Clone, Copy)]
pub enum SubscribeFilters<'a> {
    /// Those of a decoded packet.
    Received(ReceivedFilters<'a>),
    /// Those of a packet to be encoded.
    List(&'a [SubscribeFilter<'a>]),
}

/// The payload of a SUBSCRIBE.
#[derive(Clone, Copy)]
pub struct ReceivedFilters<'a> {
    bytes: &'a [u8],
    version: ProtocolVersion,
}

impl<'a> SubscribeFilters<'a> {
    /// The entries themselves are not checked.
    pub(super) fn of_payload(
        version: ProtocolVersion,
        bytes: &'a [u8],
    ) -> Result<Self, ProtocolError> {
        if bytes.is_empty() {
            // [MQTT-3.8.3-2]
            return Err(ProtocolError::protocol("SUBSCRIBE without a topic filter"));
        }
        Ok(Self::Received(ReceivedFilters { bytes, version }))
    }

    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        let mut offset = 0;
        while let Some((_, next)) = self.at(offset)? {
            offset = next;
        }
        Ok(())
    }

    /// The entry at an offset, which is 0 or what came with the entry before, and the offset behind
    /// it; `None` at the end.
    ///
    /// # Errors
    /// As [`super::decode`].
    pub fn at(&self, offset: usize) -> Result<Option<(SubscribeFilter<'a>, usize)>, ProtocolError> {
        match self {
            Self::Received(ReceivedFilters { bytes, version }) => {
                let rest = bytes.get(offset..).unwrap_or_default();
                let mut reader = Reader::new(rest);
                if reader.is_empty() {
                    return Ok(None);
                }
                let filter = SubscribeFilter::decode(*version, &mut reader)?;
                Ok(Some((filter, bytes.len() - reader.rest().len())))
            }
            Self::List(list) => Ok(list.get(offset).map(|filter| (*filter, offset + 1))),
        }
    }

    /// All entries of a packet that was decoded as a whole; else those up to the first that is
    /// wrong.
    pub fn iter(&self) -> impl Iterator<Item = SubscribeFilter<'a>> + use<'a> {
        let (filters, mut offset) = (*self, 0);
        std::iter::from_fn(move || {
            let (filter, next) = filters.at(offset).ok().flatten()?;
            offset = next;
            Some(filter)
        })
    }
}

impl PartialEq for SubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscribeFilters<'_> {}

impl std::fmt::Debug for SubscribeFilters<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}
