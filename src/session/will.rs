//! The will message as a session keeps it (section 3.1.2.5).

use crate::codec::QosLevel;

/// Published when the connection ends without DISCONNECT 0x00, after its delay.
#[derive(Clone, Debug)]
pub struct Will {
    pub topic_name: Box<str>,
    /// The properties that travel with the message, as received.
    pub properties: Box<[u8]>,
    pub payload: Box<[u8]>,
    pub qos: QosLevel,
    pub retain: bool,
    /// Will Delay Interval in seconds; 0 for 3.1 and 3.1.1.
    pub delay_interval_s: u32,
    /// Counted from the publication of the will.
    pub message_expiry_interval_s: Option<u32>,
}
