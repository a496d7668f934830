//! One application message as a shard holds it while it is routed, queued and sent.

use super::ForwardableRuns;
use super::protocol::QosLevel;
use crate::base::time::Instant;
use std::cell::Cell;
use std::rc::Rc;

/// One application message, its variable parts in wire order, so that both layouts of
/// `publish_layout` share one tail. Made once per shard and never changed; lives on that core.
///
/// Invariant: `body` is topic name, forwardable properties, payload, and the two lengths say where
/// each ends.
#[derive(Debug)]
pub struct Message {
    body: Vec<u8>,
    properties_start: u32,
    payload_start: u32,
    qos: QosLevel,
    retain: bool,
    expires_at: Option<Instant>,
    stored: Stored,
}

/// What a shard's log knows of a message: kept with the message so that it needs no table. 0 and 0
/// for a message that the log does not hold.
#[derive(Debug, Default)]
pub struct Stored {
    /// Where the log holds the message; 0: nowhere.
    pub place: Cell<u64>,
    /// Queues and stores that the log would bring back and that hold this message.
    pub holders: Cell<u32>,
}

/// A message of this core, counted without atomics.
pub type SharedMessage = Rc<Message>;

/// What a message is made of. Together the parts must fit one packet:
/// [`super::PACKET_BYTES_MAX`].
#[derive(Clone, Debug)]
pub struct MessageParts<'a> {
    /// Valid UTF-8, at most [`super::FIELD_BYTES_MAX`] long.
    pub topic_name: &'a [u8],
    pub properties: ForwardableRuns<'a>,
    pub payload: &'a [u8],
    pub qos: QosLevel,
    /// As published.
    pub retain: bool,
    /// The end of the Message Expiry Interval.
    pub expires_at: Option<Instant>,
}

impl Message {
    pub(super) fn new(parts: &MessageParts<'_>) -> Self {
        let mut message = Self {
            body: Vec::new(),
            properties_start: 0,
            payload_start: 0,
            qos: parts.qos,
            retain: parts.retain,
            expires_at: parts.expires_at,
            stored: Stored::default(),
        };
        message.fill(parts);
        message
    }

    /// Makes this message another one, in the same memory.
    pub(super) fn fill(&mut self, parts: &MessageParts<'_>) {
        assert!(parts.topic_name.len() <= super::FIELD_BYTES_MAX);
        self.body.clear();
        self.body
            .reserve(parts.topic_name.len() + parts.properties.bytes() + parts.payload.len());
        self.body.extend_from_slice(parts.topic_name);
        self.properties_start = self.body_end();
        if !parts.properties.is_empty() {
            for run in parts.properties.clone() {
                self.body.extend_from_slice(run);
            }
        }
        self.payload_start = self.body_end();
        self.body.extend_from_slice(parts.payload);
        assert!(self.body_end() <= super::PACKET_BYTES_MAX);
        self.qos = parts.qos;
        self.retain = parts.retain;
        self.expires_at = parts.expires_at;
        self.stored = Stored::default();
    }

    fn body_end(&self) -> u32 {
        u32::try_from(self.body.len()).unwrap_or(u32::MAX)
    }

    pub(super) const fn body_capacity(&self) -> usize {
        self.body.capacity()
    }

    #[must_use]
    pub fn topic_name_bytes(&self) -> &[u8] {
        &self.body[..self.properties_start as usize]
    }

    /// The topic name as text. Validates it again: not for the data path.
    #[must_use]
    pub fn topic_name(&self) -> &str {
        str::from_utf8(self.topic_name_bytes()).unwrap_or_default()
    }

    /// The forwardable properties as they came, without a length.
    #[must_use]
    pub fn properties(&self) -> &[u8] {
        &self.body[self.properties_start as usize..self.payload_start as usize]
    }

    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.body[self.payload_start as usize..]
    }

    /// Topic name, properties and payload in one piece.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Properties and payload in one piece.
    #[must_use]
    pub fn properties_and_payload(&self) -> &[u8] {
        &self.body[self.properties_start as usize..]
    }

    /// Bytes of topic name, properties and payload: what a queue counts.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.body.len()
    }

    #[must_use]
    pub const fn qos(&self) -> QosLevel {
        self.qos
    }

    /// As published.
    #[must_use]
    pub const fn retain(&self) -> bool {
        self.retain
    }

    #[must_use]
    pub const fn expires_at(&self) -> Option<Instant> {
        self.expires_at
    }

    #[must_use]
    pub const fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The parts again, to make a copy elsewhere.
    #[must_use]
    pub fn parts(&self) -> MessageParts<'_> {
        MessageParts {
            topic_name: self.topic_name_bytes(),
            properties: ForwardableRuns::of_forwardable(self.properties()),
            payload: self.payload(),
            qos: self.qos,
            retain: self.retain,
            expires_at: self.expires_at,
        }
    }
}

/// One per queued or retained message, beside its body and the two counters of `Rc`.
const _: () = assert!(size_of::<Message>() <= 72);
