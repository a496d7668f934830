//! What a block contains: one record after the other. All numbers are little endian.
//!
//! A record is its kind (1 byte), the number of bytes that follow (4), and those. A text or a run
//! of bytes that ends a record has no length of its own. Times are milliseconds since 1970 (UTC);
//! 0 stands for none. `session` is a session's number in this journal (8 bytes), never used again.
//! `place` (8) is segment << 32 | offset of a [`Record::Body`], `bytes` (4) its whole length.
//!
//! - 1 session begin: session, expiry interval in s (4), disconnected at (8; 0: connected), client
//!   identifier. Replaces what is known of the session
//! - 2 session connected: session, expiry interval in s (4)
//! - 3 session disconnected: session, expiry interval in s (4), when (8)
//! - 4 session end: session
//! - 5 will: session, QoS (1), retain (1), delay in s (4), message expiry in s (4), has message
//!   expiry (1), bytes of the topic name (2), of the properties (4), topic name, properties,
//!   payload
//! - 6 will cleared: session
//! - 7 subscribe: session, options as in SUBSCRIBE (1), subscription identifier (4; 0: none),
//!   filter
//! - 8 unsubscribe: session, filter
//! - 9 body: CRC32C of place and the rest (4), expires at (8), QoS (1), retain (1), bytes of the
//!   topic name (2), of the properties (4), topic name, properties, payload
//! - 10 queued: session, place, bytes, QoS (1), flags (1; 1: retain, 2: expires), packet identifier
//!   (2; 0: not in flight), expires at (8; only if it does), subscription identifiers (4 each)
//! - 11 sent: session, packet identifier (2): the oldest queued message is in flight
//! - 12 dropped: session: the oldest queued message
//! - 13 acknowledged: session, packet identifier (2): no longer in flight
//! - 14 received: session, packet identifier (2): PUBREC came; also the upsert of that state
//! - 15 inbound: session, packet identifier (2): a QoS 2 message was taken
//! - 16 released: session, packet identifier (2): and released
//! - 17 retained: place, bytes, ends at (8), topic name
//! - 18 retained cleared: topic name
//! - 19 forward: number (8), place, bytes, shards (16, a bit each), for whom there (1; 0: the
//!   subscribers, 1: the retained store, 2: one member of a shared subscription; then its keyed
//!   hash, 8)
//! - 20 forwarded: number (8): this one and all before it have arrived
//! - 21 arrived: source shard (2), number (8)
//! - 22 snapshot begin: next session number (8), next forward number (8)
//! - 23 snapshot end

use super::place::Place;
use crate::base::ids::ShardId;
use crate::codec::{PacketId, QosLevel};
use smallvec::SmallVec;

/// Kind and length.
pub(super) const RECORD_HEADER_BYTES: usize = 5;
/// The check sum in front of everything else in a body.
pub(super) const BODY_CRC_BYTES: usize = 4;
/// Fields of a body in front of its topic name.
const BODY_FIXED_BYTES: usize = 20;

macro_rules! kinds {
    ($($number:literal $name:ident $text:literal,)*) => {
        /// The kinds of records, by their number in the journal.
        #[repr(u8)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum RecordKind { $($name = $number,)* }

        impl RecordKind {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            #[must_use]
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// For people.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

kinds! {
    1 SessionBegin "session begin",
    2 SessionConnected "session connected",
    3 SessionDisconnected "session disconnected",
    4 SessionEnd "session end",
    5 Will "will",
    6 WillCleared "will cleared",
    7 Subscribe "subscribe",
    8 Unsubscribe "unsubscribe",
    9 Body "body",
    10 Queued "queued",
    11 Sent "sent",
    12 Dropped "dropped",
    13 Acknowledged "acknowledged",
    14 Received "received",
    15 Inbound "inbound",
    16 Released "released",
    17 Retained "retained",
    18 RetainedCleared "retained cleared",
    19 Forward "forward",
    20 Forwarded "forwarded",
    21 Arrived "arrived",
    22 SnapshotBegin "snapshot begin",
    23 SnapshotEnd "snapshot end",
}

/// One record, borrowing from where it stands or from what it is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    SessionBegin {
        session: u64,
        expiry_interval_s: u32,
        disconnected_at_ms: u64,
        client_id: &'a str,
    },
    SessionConnected {
        session: u64,
        expiry_interval_s: u32,
    },
    SessionDisconnected {
        session: u64,
        expiry_interval_s: u32,
        at_ms: u64,
    },
    SessionEnd {
        session: u64,
    },
    Will {
        session: u64,
        will: WillFields<'a>,
    },
    WillCleared {
        session: u64,
    },
    Subscribe {
        session: u64,
        subscription: SubscriptionFields,
        filter: &'a str,
    },
    Unsubscribe {
        session: u64,
        filter: &'a str,
    },
    Body(BodyView<'a>),
    Queued {
        session: u64,
        queued: Queued,
    },
    Sent {
        session: u64,
        packet_id: PacketId,
    },
    Dropped {
        session: u64,
    },
    Acknowledged {
        session: u64,
        packet_id: PacketId,
    },
    Received {
        session: u64,
        packet_id: PacketId,
    },
    Inbound {
        session: u64,
        packet_id: PacketId,
    },
    Released {
        session: u64,
        packet_id: PacketId,
    },
    Retained {
        place: Place,
        bytes: u32,
        ends_at_ms: u64,
        topic_name: &'a str,
    },
    RetainedCleared {
        topic_name: &'a str,
    },
    Forward {
        number: u64,
        place: Place,
        bytes: u32,
        shards: u128,
        target: ForwardTarget,
    },
    Forwarded {
        number: u64,
    },
    Arrived {
        source: ShardId,
        number: u64,
    },
    SnapshotBegin {
        next_session: u64,
        next_forward: u64,
    },
    SnapshotEnd,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WillFields<'a> {
    pub topic_name: &'a str,
    /// Those that travel with the message.
    pub properties: &'a [u8],
    pub payload: &'a [u8],
    pub qos: QosLevel,
    pub retain: bool,
    pub delay_interval_s: u32,
    pub message_expiry_interval_s: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscriptionFields {
    /// As in the SUBSCRIBE packet (section 3.8.3.1).
    pub options: u8,
    pub identifier: Option<u32>,
}

/// An application message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodyView<'a> {
    pub expires_at_ms: u64,
    pub qos: QosLevel,
    /// As published.
    pub retain: bool,
    pub topic_name: &'a [u8],
    pub properties: &'a [u8],
    pub payload: &'a [u8],
}

/// A message in one session's queue or in flight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Queued {
    /// Of the message's body.
    pub place: Place,
    pub bytes: u32,
    pub qos: QosLevel,
    /// Towards this subscriber.
    pub retain: bool,
    /// `None`: it waits behind those in flight.
    pub packet_id: Option<PacketId>,
    /// As in the body: a message that waits on the disk expires unread.
    pub expires_at_ms: u64,
    pub subscription_identifiers: SmallVec<[u32; 2]>,
}

impl Record<'_> {
    #[must_use]
    pub const fn kind(&self) -> RecordKind {
        match self {
            Self::SessionBegin { .. } => RecordKind::SessionBegin,
            Self::SessionConnected { .. } => RecordKind::SessionConnected,
            Self::SessionDisconnected { .. } => RecordKind::SessionDisconnected,
            Self::SessionEnd { .. } => RecordKind::SessionEnd,
            Self::Will { .. } => RecordKind::Will,
            Self::WillCleared { .. } => RecordKind::WillCleared,
            Self::Subscribe { .. } => RecordKind::Subscribe,
            Self::Unsubscribe { .. } => RecordKind::Unsubscribe,
            Self::Body(_) => RecordKind::Body,
            Self::Queued { .. } => RecordKind::Queued,
            Self::Sent { .. } => RecordKind::Sent,
            Self::Dropped { .. } => RecordKind::Dropped,
            Self::Acknowledged { .. } => RecordKind::Acknowledged,
            Self::Received { .. } => RecordKind::Received,
            Self::Inbound { .. } => RecordKind::Inbound,
            Self::Released { .. } => RecordKind::Released,
            Self::Retained { .. } => RecordKind::Retained,
            Self::RetainedCleared { .. } => RecordKind::RetainedCleared,
            Self::Forward { .. } => RecordKind::Forward,
            Self::Forwarded { .. } => RecordKind::Forwarded,
            Self::Arrived { .. } => RecordKind::Arrived,
            Self::SnapshotBegin { .. } => RecordKind::SnapshotBegin,
            Self::SnapshotEnd => RecordKind::SnapshotEnd,
        }
    }

    /// Bytes of the encoded record.
    #[must_use]
    pub fn bytes(&self) -> usize {
        RECORD_HEADER_BYTES
            + match self {
                Self::SessionBegin { client_id, .. } => 20 + client_id.len(),
                Self::SessionConnected { .. } => 12,
                Self::SessionDisconnected { .. } => 20,
                Self::SessionEnd { .. } | Self::WillCleared { .. } | Self::Dropped { .. } => 8,
                Self::Will { will, .. } => {
                    25 + will.topic_name.len() + will.properties.len() + will.payload.len()
                }
                Self::Subscribe { filter, .. } => 13 + filter.len(),
                Self::Unsubscribe { filter, .. } => 8 + filter.len(),
                Self::Body(body) => body.content_bytes(),
                Self::Queued { queued, .. } => 8 + queued.content_bytes(),
                Self::Sent { .. }
                | Self::Acknowledged { .. }
                | Self::Received { .. }
                | Self::Inbound { .. }
                | Self::Released { .. } => 10,
                Self::Retained { topic_name, .. } => 20 + topic_name.len(),
                Self::RetainedCleared { topic_name } => topic_name.len(),
                Self::Forward { target, .. } => match target {
                    ForwardTarget::Group(_) => 45,
                    ForwardTarget::Subscribers | ForwardTarget::RetainedStore => 37,
                },
                Self::Forwarded { .. } => 8,
                Self::Arrived { .. } => 10,
                Self::SnapshotBegin { .. } => 16,
                Self::SnapshotEnd => 0,
            }
    }
}

/// For whom a message is that travels to other shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForwardTarget {
    Subscribers,
    /// It is kept, or clears what is kept.
    RetainedStore,
    /// One member of the shared subscription with this keyed hash.
    Group(u64),
}

impl Queued {
    fn content_bytes(&self) -> usize {
        let expiry = if self.expires_at_ms == 0 { 0 } else { 8 };
        16 + expiry + 4 * self.subscription_identifiers.len()
    }
}

impl BodyView<'_> {
    /// Bytes of the record beside the message's topic name, properties and payload.
    pub const FIXED_BYTES: usize = RECORD_HEADER_BYTES + BODY_FIXED_BYTES;

    pub(super) fn content_bytes(&self) -> usize {
        BODY_FIXED_BYTES + self.topic_name.len() + self.properties.len() + self.payload.len()
    }

    /// Bytes of the whole record.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.content_bytes()
    }
}

/// Bound to its place, so that a read from a wrong offset is noticed.
pub(super) fn body_crc(place: Place, content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&place.as_u64().to_le_bytes()), content)
}
