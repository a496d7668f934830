//! Bytes <-> MQTT control packets: 3.1, 3.1.1 and 5.0 in one tree, the version as an argument.
//!
//! Responsible for the wire format, for everything that makes a packet malformed or one of its
//! fields a protocol error, and for sizes. Views borrow from the receive buffer; decoding allocates
//! nothing. It does not know sessions, the order of packets on a connection, or the syntax of topic
//! names and filters (only that they are UTF-8 Encoded Strings). Pure functions; used on every core
//! by `connection`, by the client side and by the simulator.
#![forbid(unsafe_code)]

mod ack;
mod auth;
mod conn_ack;
mod connect;
mod disconnect;
mod frame;
pub mod fuzz;
mod message;
mod message_pool;
mod packet;
mod property;
mod property_section;
mod property_view;
mod protocol;
mod publish;
mod publish_layout;
mod reader;
mod reason_code;
pub mod sample;
mod sub_ack;
mod subscribe;
mod subscribe_filter;
mod unsubscribe;
mod writer;

#[cfg(test)]
mod tests;

pub use ack::{Ack, AckKind, decode_ack, encode_ack};
pub use auth::{Auth, encode_auth};
pub use conn_ack::{ConnAck, ConnAckProperties, conn_ack_return_code, encode_conn_ack};
pub use connect::{
    Connect, ConnectProperties, Will, WillProperties, answer_version, decode_connect,
    encode_connect, peek_version,
};
pub use disconnect::{Disconnect, encode_disconnect};
pub use frame::{Frame, RawPacket, frame};
pub use message::{Message, MessageParts, SharedMessage, Stored};
pub use message_pool::MessagePool;
pub use packet::{
    Packet, decode, decode_from_client, decode_from_server, encode, encode_ping_req,
    encode_ping_resp, encoded_bytes,
};
pub use property::PropertyId;
pub use property_view::{
    ForwardableRuns, ReceivedProperties, SubscriptionIdentifiers, UserProperties,
};
pub use protocol::{PacketId, PacketType, ProtocolError, ProtocolVersion, QosLevel, Sender};
pub use publish::{Publish, PublishProperties, decode_publish, encode_publish};
pub use publish_layout::{
    PublishCopy, PublishHead, TopicAliasUse, encode_publish_head, publish_bytes, publish_tail,
};
pub use reason_code::ReasonCode;
pub use sub_ack::{SubAck, encode_sub_ack, encode_unsub_ack};
pub use subscribe::{Subscribe, decode_subscribe_head, encode_subscribe};
pub use subscribe_filter::{
    ReceivedFilters, RetainHandling, SubscribeFilter, SubscribeFilters, SubscriptionOptions,
};
pub use unsubscribe::{
    ReceivedTopicFilters, TopicFilters, Unsubscribe, decode_unsubscribe_head, encode_unsubscribe,
};

/// Largest packet that the format can express, fixed header included.
pub const PACKET_BYTES_MAX: u32 = 1 + 4 + VARIABLE_INTEGER_MAX;

/// Largest value of a Variable Byte Integer: four bytes of seven bits.
pub const VARIABLE_INTEGER_MAX: u32 = 268_435_455;

/// Longest UTF-8 Encoded String or Binary Data, its length prefix not counted.
pub const FIELD_BYTES_MAX: usize = 65_535;
