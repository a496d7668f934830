//! The part of MQTT 3.1.1 and 5.0 that a load client and the bare relay need: bytes to packets
//! and back.
//!
//! Deliberately less than a broker's codec: properties are skipped by their length, except the few
//! that steer a client; strings are bytes. It checks what it needs to stay in step with the stream.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::{ConnectView, Filters, Malformed, Packet, PublishView, decode};
pub use encode::{
    Connect, FILLING, PacketTemplate, Publish, encode_ack, encode_connack, encode_connect,
    encode_disconnect, encode_pingreq, encode_pingresp, encode_publish, encode_suback,
    encode_subscribe, encode_unsuback,
};

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    V311,
    V50,
}

impl Version {
    pub fn name(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V50 => "5.0",
        }
    }

    fn level(self) -> u8 {
        match self {
            Self::V311 => 4,
            Self::V50 => 5,
        }
    }
}

/// The acknowledgements that carry a packet identifier and, in 5.0, a reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckKind {
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
}

impl AckKind {
    fn first_byte(self) -> u8 {
        match self {
            Self::Puback => 0x40,
            Self::Pubrec => 0x50,
            // The reserved bits of PUBREL are 0010.
            Self::Pubrel => 0x62,
            Self::Pubcomp => 0x70,
        }
    }
}
