//! An application message, owned.

use crate::codec::{PacketId, QosLevel};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Empty where an alias stands for it.
    pub topic_name: String,
    pub payload: Vec<u8>,
    pub qos: QosLevel,
    pub retain: bool,
    pub dup: bool,
    pub packet_id: Option<PacketId>,
    pub properties: MessageProperties,
}

/// The properties of a PUBLISH in MQTT 5.0.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MessageProperties {
    pub message_expiry_interval_s: Option<u32>,
    pub topic_alias: Option<u16>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation_data: Option<Vec<u8>>,
    pub user_properties: Vec<(String, String)>,
    /// Only in what a broker sends.
    pub subscription_identifiers: Vec<u32>,
}
