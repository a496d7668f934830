//! Encode once, send to many: a PUBLISH is a small head per receiver and a tail that all receivers
//! of one protocol class share.
//!
//! The tail of 3.x is the payload; that of 5.0 is the forwardable properties and the payload. In
//! 5.0 the properties that differ per receiver therefore stand first in the property section.

use super::message::Message;
use super::property::PropertyId;
use super::property_section::PropertySink;
use super::protocol::{PacketId, ProtocolVersion, QosLevel};
use super::publish::first_byte;
use super::writer::{Part, Sink, variable_integer_bytes};

/// What differs per receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PublishHead<'a> {
    pub dup: bool,
    pub qos: QosLevel,
    pub retain: bool,
    /// There exactly when `qos` is above 0.
    pub packet_id: Option<PacketId>,
    /// 5.0 only.
    pub topic_alias: Option<TopicAliasUse>,
    /// Each 1 to [`super::VARIABLE_INTEGER_MAX`]; 5.0 only.
    pub subscription_identifiers: &'a [u32],
    /// What is left of it; 5.0 only.
    pub message_expiry_interval_s: Option<u32>,
    /// How many bytes of the topic name are kept from the receiver: its listener's mount point.
    pub mount_bytes: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicAliasUse {
    /// Not 0.
    pub alias: u16,
    /// True the first time: the name goes along and the receiver learns the alias.
    pub send_name: bool,
}

/// The properties of one receiver.
struct HeadProperties<'a>(&'a PublishHead<'a>);

impl Part for HeadProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        use PropertyId as Id;
        let head = self.0;
        sink.property_u32(Id::MessageExpiryInterval, head.message_expiry_interval_s);
        sink.property_u16(Id::TopicAlias, head.topic_alias.map(|alias| alias.alias));
        for &identifier in head.subscription_identifiers {
            sink.property_variable_integer(Id::SubscriptionIdentifier, Some(identifier));
        }
    }
}

impl PublishHead<'_> {
    /// Does it say something that other receivers of the message are not told, the packet
    /// identifier aside?
    #[must_use]
    pub const fn is_own(&self) -> bool {
        self.dup
            || self.topic_alias.is_some()
            || !self.subscription_identifiers.is_empty()
            || self.message_expiry_interval_s.is_some()
            || self.mount_bytes > 0
    }

    /// The topic name as this receiver gets it.
    fn topic_name<'m>(&self, message: &'m Message, version: ProtocolVersion) -> &'m [u8] {
        match self.topic_alias {
            Some(alias) if version.is_v5() && !alias.send_name => &[],
            _ => {
                let name = message.topic_name_bytes();
                name.get(usize::from(self.mount_bytes)..).unwrap_or(name)
            }
        }
    }
}

/// The lengths that stand inside a head, computed once.
struct Layout {
    /// Value of the Remaining Length.
    remaining_length: usize,
    /// Value of the Property Length; `None` in 3.x.
    properties_length: Option<usize>,
}

fn layout(message: &Message, head: &PublishHead<'_>, version: ProtocolVersion) -> Layout {
    let name = 2 + head.topic_name(message, version).len();
    let packet_id = if head.packet_id.is_some() { 2 } else { 0 };
    let properties_length = version
        .is_v5()
        .then(|| HeadProperties(head).bytes() + message.properties().len());
    let properties = properties_length.map_or(0, |length| variable_integer_bytes(length) + length);
    Layout {
        remaining_length: name + packet_id + properties + message.payload().len(),
        properties_length,
    }
}

/// Appends everything that stands before [`publish_tail`]. The caller has checked that
/// [`publish_bytes`] is at most what the receiver takes and [`super::PACKET_BYTES_MAX`]; panics
/// above the latter.
pub fn encode_publish_head(
    message: &Message,
    head: &PublishHead<'_>,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    debug_assert_eq!(head.packet_id.is_some(), head.qos > QosLevel::AtMostOnce);
    let layout = layout(message, head, version);
    out.put_u8(first_byte(head.dup, head.qos, head.retain));
    out.put_length(layout.remaining_length);
    out.put_binary(head.topic_name(message, version));
    if let Some(packet_id) = head.packet_id {
        out.put_packet_id(packet_id);
    }
    if let Some(properties_length) = layout.properties_length {
        out.put_length(properties_length);
        HeadProperties(head).write(out);
    }
}

/// A whole PUBLISH for receivers that differ in nothing but the packet identifier.
#[derive(Debug, Default)]
pub struct PublishCopy {
    bytes: Vec<u8>,
    packet_id_start: usize,
}

impl PublishCopy {
    /// Encodes the packet; `head` must not be [`PublishHead::is_own`]. For the size see
    /// [`encode_publish_head`].
    pub fn encode(&mut self, message: &Message, head: &PublishHead<'_>, version: ProtocolVersion) {
        self.bytes.clear();
        encode_publish_head(message, head, version, &mut self.bytes);
        let behind_packet_id = if version.is_v5() {
            variable_integer_bytes(message.properties().len())
        } else {
            0
        };
        self.packet_id_start = self.bytes.len() - behind_packet_id - 2;
        self.bytes.extend_from_slice(publish_tail(message, version));
    }

    /// Appends the packet with this identifier, which is there exactly when it was at
    /// [`Self::encode`].
    pub fn append(&self, packet_id: Option<PacketId>, out: &mut Vec<u8>) {
        let start = out.len() + self.packet_id_start;
        out.extend_from_slice(&self.bytes);
        if let Some(packet_id) = packet_id
            && let Some(place) = out.get_mut(start..start + 2)
        {
            place.copy_from_slice(&packet_id.get().to_be_bytes());
        }
    }
}

/// What all receivers of one protocol class share.
#[must_use]
pub fn publish_tail(message: &Message, version: ProtocolVersion) -> &[u8] {
    if version.is_v5() {
        message.properties_and_payload()
    } else {
        message.payload()
    }
}

/// Size of the whole packet, to compare with the receiver's Maximum Packet Size.
#[must_use]
pub fn publish_bytes(message: &Message, head: &PublishHead<'_>, version: ProtocolVersion) -> usize {
    let remaining_length = layout(message, head, version).remaining_length;
    1 + variable_integer_bytes(remaining_length) + remaining_length
}
