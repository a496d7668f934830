//! The small words of the protocol that every packet uses.

use super::reason_code::ReasonCode;
use std::fmt;
use std::num::NonZeroU16;

/// Which specification a connection speaks; the number is the protocol level on the wire.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ProtocolVersion {
    V31 = 3,
    V311 = 4,
    V5 = 5,
}

impl ProtocolVersion {
    pub const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];

    /// The version that a CONNECT with this protocol name and level speaks.
    #[must_use]
    pub const fn from_name_and_level(name: &[u8], level: u8) -> Option<Self> {
        match (name, level) {
            (b"MQIsdp", 3) => Some(Self::V31),
            (b"MQTT", 4) => Some(Self::V311),
            (b"MQTT", 5) => Some(Self::V5),
            _ => None,
        }
    }

    /// Set in the level by a Mosquitto bridge, in 3.x.
    pub const BRIDGE_BIT: u8 = 0x80;

    /// The version of a bridge's CONNECT with this protocol name and level.
    #[must_use]
    pub const fn of_bridge(name: &[u8], level: u8) -> Option<Self> {
        match Self::from_name_and_level(name, level ^ Self::BRIDGE_BIT) {
            Some(Self::V5) | None => None,
            version => version,
        }
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }

    #[must_use]
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }
}

#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum QosLevel {
    #[default]
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

impl QosLevel {
    /// `None` for 3 and above, which no packet may carry.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

impl TryFrom<u8> for QosLevel {
    type Error = ProtocolError;

    fn try_from(value: u8) -> Result<Self, ProtocolError> {
        Self::from_u8(value).ok_or(ProtocolError::malformed("QoS 3"))
    }
}

/// Names one unfinished exchange of one direction of a session; never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    pub const MIN: Self = Self(NonZeroU16::MIN);
    pub const MAX: Self = Self(NonZeroU16::MAX);

    #[must_use]
    pub const fn new(value: u16) -> Option<Self> {
        match NonZeroU16::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Debug for PacketId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{}", self.0)
    }
}

/// Which side sent a packet; some packets, properties and reason codes go one way only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sender {
    Client,
    Server,
}

/// The upper four bits of a packet's first byte.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// `None` for the reserved type 0.
    #[must_use]
    pub const fn of(first_byte: u8) -> Option<Self> {
        Some(match first_byte >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// Whether `sender` may send such a packet in `version` at all.
    #[must_use]
    pub const fn may_come_from(self, sender: Sender, version: ProtocolVersion) -> bool {
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::PingReq => {
                matches!(sender, Sender::Client)
            }
            Self::ConnAck | Self::SubAck | Self::UnsubAck | Self::PingResp => {
                matches!(sender, Sender::Server)
            }
            Self::Publish | Self::PubAck | Self::PubRec | Self::PubRel | Self::PubComp => true,
            Self::Disconnect => matches!(sender, Sender::Client) || version.is_v5(),
            Self::Auth => version.is_v5(),
        }
    }

    /// First byte of a packet of this type, for all types but PUBLISH.
    pub(super) const fn first_byte(self) -> u8 {
        let flags = match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }
}

/// What the other side did wrong: the reason code that 5.0 answers with, and words for the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProtocolError {
    pub reason_code: ReasonCode,
    pub context: &'static str,
}

impl ProtocolError {
    #[must_use]
    pub const fn new(reason_code: ReasonCode, context: &'static str) -> Self {
        Self {
            reason_code,
            context,
        }
    }

    /// The bytes cannot be read as the specification says.
    #[must_use]
    pub const fn malformed(context: &'static str) -> Self {
        Self::new(ReasonCode::MalformedPacket, context)
    }

    /// The bytes can be read, but say what is not allowed.
    #[must_use]
    pub const fn protocol(context: &'static str) -> Self {
        Self::new(ReasonCode::ProtocolError, context)
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.reason_code as u8;
        write!(formatter, "{} (0x{code:02x})", self.context)
    }
}

impl std::error::Error for ProtocolError {}

/// Travels through every decode function as the error of a small result.
const _: () = assert!(size_of::<ProtocolError>() <= 24);
