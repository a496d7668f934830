//! Bytes -> records; the format is in `record`. Nothing here trusts its input.

use super::place::Place;
use super::record::{
    BodyView, ForwardTarget, Queued, RECORD_HEADER_BYTES, Record, RecordKind, SubscriptionFields,
    WillFields, body_crc,
};
use crate::base::ids::ShardId;
use crate::codec::{PacketId, QosLevel};
use smallvec::SmallVec;

/// Kind and content of the first record, if it is complete.
pub(super) fn split_record(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut input = Input(bytes);
    let kind = input.u8()?;
    let length = input.u32()? as usize;
    Some((kind, input.take(length)?))
}

impl<'a> Record<'a> {
    /// The record with this content, which stands at `place`.
    pub(super) fn decode(place: Place, kind: u8, content: &'a [u8]) -> Option<Self> {
        let mut input = Input(content);
        let record = Self::decode_content(place, RecordKind::from_u8(kind)?, &mut input)?;
        input.0.is_empty().then_some(record)
    }

    fn decode_content(place: Place, kind: RecordKind, input: &mut Input<'a>) -> Option<Self> {
        Some(match kind {
            RecordKind::SessionBegin => Self::SessionBegin {
                session: input.u64()?,
                expiry_interval_s: input.u32()?,
                disconnected_at_ms: input.u64()?,
                client_id: input.text()?,
            },
            RecordKind::SessionConnected => Self::SessionConnected {
                session: input.u64()?,
                expiry_interval_s: input.u32()?,
            },
            RecordKind::SessionDisconnected => Self::SessionDisconnected {
                session: input.u64()?,
                expiry_interval_s: input.u32()?,
                at_ms: input.u64()?,
            },
            RecordKind::SessionEnd => Self::SessionEnd {
                session: input.u64()?,
            },
            RecordKind::Will => Self::Will {
                session: input.u64()?,
                will: WillFields::decode(input)?,
            },
            RecordKind::WillCleared => Self::WillCleared {
                session: input.u64()?,
            },
            RecordKind::Subscribe => Self::Subscribe {
                session: input.u64()?,
                subscription: SubscriptionFields {
                    options: input.u8()?,
                    identifier: Some(input.u32()?).filter(|identifier| *identifier != 0),
                },
                filter: input.text()?,
            },
            RecordKind::Unsubscribe => Self::Unsubscribe {
                session: input.u64()?,
                filter: input.text()?,
            },
            RecordKind::Body => Self::Body(BodyView::decode(place, input.rest())?),
            RecordKind::Queued => Self::Queued {
                session: input.u64()?,
                queued: Queued::decode(input)?,
            },
            RecordKind::Sent
            | RecordKind::Acknowledged
            | RecordKind::Received
            | RecordKind::Inbound
            | RecordKind::Released => Self::exchange(kind, input.u64()?, input.packet_id()?),
            RecordKind::Dropped => Self::Dropped {
                session: input.u64()?,
            },
            RecordKind::Retained => Self::Retained {
                place: input.place()?,
                bytes: input.u32()?,
                ends_at_ms: input.u64()?,
                topic_name: input.text()?,
            },
            RecordKind::RetainedCleared => Self::RetainedCleared {
                topic_name: input.text()?,
            },
            RecordKind::Forward => Self::Forward {
                number: input.u64()?,
                place: input.place()?,
                bytes: input.u32()?,
                shards: input.u128()?,
                target: match input.u8()? {
                    0 => ForwardTarget::Subscribers,
                    1 => ForwardTarget::RetainedStore,
                    2 => ForwardTarget::Group(input.u64()?),
                    _ => return None,
                },
            },
            RecordKind::Forwarded => Self::Forwarded {
                number: input.u64()?,
            },
            RecordKind::Arrived => Self::Arrived {
                source: ShardId(input.u16()?),
                number: input.u64()?,
            },
            RecordKind::SnapshotBegin => Self::SnapshotBegin {
                next_session: input.u64()?,
                next_forward: input.u64()?,
            },
            RecordKind::SnapshotEnd => Self::SnapshotEnd,
        })
    }

    /// The records that consist of a session and a packet identifier.
    const fn exchange(kind: RecordKind, session: u64, packet_id: PacketId) -> Self {
        match kind {
            RecordKind::Sent => Self::Sent { session, packet_id },
            RecordKind::Acknowledged => Self::Acknowledged { session, packet_id },
            RecordKind::Received => Self::Received { session, packet_id },
            RecordKind::Inbound => Self::Inbound { session, packet_id },
            _ => Self::Released { session, packet_id },
        }
    }
}

impl<'a> WillFields<'a> {
    fn decode(input: &mut Input<'a>) -> Option<Self> {
        let qos = input.qos()?;
        let retain = input.bool()?;
        let delay_interval_s = input.u32()?;
        let expiry_s = input.u32()?;
        let message_expiry_interval_s = input.bool()?.then_some(expiry_s);
        let topic_bytes = usize::from(input.u16()?);
        let properties_bytes = input.u32()? as usize;
        Some(Self {
            topic_name: std::str::from_utf8(input.take(topic_bytes)?).ok()?,
            properties: input.take(properties_bytes)?,
            payload: input.rest(),
            qos,
            retain,
            delay_interval_s,
            message_expiry_interval_s,
        })
    }
}

impl Queued {
    fn decode(input: &mut Input<'_>) -> Option<Self> {
        let place = input.place()?;
        let bytes = input.u32()?;
        let qos = input.qos()?;
        let flags = input.u8()?;
        let packet_id = PacketId::new(input.u16()?);
        let expires_at_ms = match flags {
            0 | 1 => 0,
            2 | 3 => Some(input.u64()?).filter(|at| *at != 0)?,
            _ => return None,
        };
        let mut subscription_identifiers = SmallVec::new();
        while !input.0.is_empty() {
            subscription_identifiers.push(input.u32()?);
        }
        Some(Self {
            place,
            bytes,
            qos,
            retain: flags & 1 != 0,
            packet_id,
            expires_at_ms,
            subscription_identifiers,
        })
    }
}

impl<'a> BodyView<'a> {
    /// A body that was read back from its place alone: `bytes` is the whole record.
    #[must_use]
    pub fn decode_at(place: Place, bytes: &'a [u8]) -> Option<Self> {
        let (kind, content) = split_record(bytes)?;
        if kind != RecordKind::Body as u8 || content.len() + RECORD_HEADER_BYTES != bytes.len() {
            return None;
        }
        Self::decode(place, content)
    }

    /// The same when more follows behind the record.
    #[must_use]
    pub fn decode_first(place: Place, bytes: &'a [u8]) -> Option<Self> {
        let (_, content) = split_record(bytes)?;
        Self::decode_at(place, &bytes[..RECORD_HEADER_BYTES + content.len()])
    }

    fn decode(place: Place, content: &'a [u8]) -> Option<Self> {
        let mut input = Input(content);
        if input.u32()? != body_crc(place, input.0) {
            return None;
        }
        let expires_at_ms = input.u64()?;
        let qos = input.qos()?;
        let retain = input.bool()?;
        let topic_bytes = usize::from(input.u16()?);
        let properties_bytes = input.u32()? as usize;
        Some(Self {
            expires_at_ms,
            qos,
            retain,
            topic_name: input.take(topic_bytes)?,
            properties: input.take(properties_bytes)?,
            payload: input.0,
        })
    }
}

/// What is left to be read of a record.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn qos(&mut self) -> Option<QosLevel> {
        QosLevel::from_u8(self.u8()?)
    }

    fn packet_id(&mut self) -> Option<PacketId> {
        PacketId::new(self.u16()?)
    }

    fn place(&mut self) -> Option<Place> {
        Place::from_u64(self.u64()?)
    }

    /// All that is left, as text.
    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.rest()).ok()
    }
}
