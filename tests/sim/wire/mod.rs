//! The simulated clients' own MQTT encoding, independent of `ringway::codec`, so that an error in
//! the broker's codec cannot hide behind the same error at the client.
//!
//! Holds the packet types; `encode` makes what clients send, `decode` reads what servers send and
//! is strict: anything that the specification does not allow a server to send is an error.

pub(crate) mod decode;
pub(crate) mod encode;
#[cfg(test)]
mod tests;

use crate::model::payload_id;
use std::fmt;

/// Protocol level of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Version {
    V31 = 3,
    V311 = 4,
    V5 = 5,
}

/// CONNECT as a client sends it.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) client_id: String,
    pub(crate) session_expiry_s: u32,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) maximum_packet_size: Option<u32>,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) will: Option<Will>,
}

#[derive(Clone, Debug)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) delay_s: u32,
}

/// PUBLISH in either direction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Publish {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Empty when an alias stands for it.
    pub(crate) topic: String,
    pub(crate) packet_id: Option<u16>,
    pub(crate) alias: Option<u16>,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) identifiers: Vec<u32>,
    pub(crate) user_properties: Vec<(String, String)>,
    pub(crate) payload: Vec<u8>,
}

/// The payload is told by the message that it names.
impl fmt::Display for Publish {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            dup,
            qos,
            retain,
            topic,
            packet_id,
            alias,
            expiry_s,
            identifiers,
            ..
        } = self;
        write!(
            formatter,
            "PUBLISH {topic:?} q{qos}{}{} id {packet_id:?} alias {alias:?} expiry {expiry_s:?} \
             subscriptions {identifiers:?} {} bytes = message {:?}",
            if *dup { " dup" } else { "" },
            if *retain { " retain" } else { "" },
            self.payload.len(),
            payload_id(&self.payload),
        )
    }
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Filter {
    pub(crate) filter: String,
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: u8,
}

/// The four acknowledgements of a PUBLISH.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum AckKind {
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
}

/// What CONNACK says about the connection; the defaults of the specification where it is silent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ConnAck {
    pub(crate) session_present: bool,
    pub(crate) code: u8,
    pub(crate) session_expiry_s: Option<u32>,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet_size: Option<u32>,
    pub(crate) assigned_client_id: Option<String>,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) server_keep_alive_s: Option<u16>,
}

/// What a server may send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Packet {
    ConnAck(ConnAck),
    Publish(Publish),
    Ack {
        kind: AckKind,
        packet_id: u16,
        code: u8,
    },
    SubAck {
        packet_id: u16,
        codes: Vec<u8>,
    },
    UnsubAck {
        packet_id: u16,
        codes: Vec<u8>,
    },
    PingResp,
    Disconnect {
        code: u8,
    },
}

impl fmt::Display for Packet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(publish) => publish.fmt(formatter),
            other => write!(formatter, "{other:?}"),
        }
    }
}
