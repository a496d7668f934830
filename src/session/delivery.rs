//! One message on its way to one session.

use super::stored::StoredMessage;
use crate::base::time::Instant;
use crate::codec::{QosLevel, SharedMessage};
use smallvec::SmallVec;

/// Subscription Identifiers of the matching subscriptions; most deliveries have none or one.
pub type SubscriptionIdentifiers = SmallVec<[u32; 2]>;

/// A message with what the matching subscriptions of one session make of it.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub message: SharedMessage,
    /// The smaller of the publisher's QoS and the highest of the matching subscriptions.
    pub qos: QosLevel,
    /// The RETAIN flag towards this subscriber.
    pub retain: bool,
    pub subscription_identifiers: SubscriptionIdentifiers,
    /// The group of a shared subscription that it was sent to; the shard's own number.
    pub group: Option<u32>,
}

impl Delivery {
    #[must_use]
    pub fn is_expired(&self, now: Instant) -> bool {
        self.message.expires_at().is_some_and(|at| at <= now)
    }

    /// What this delivery counts for in the queue's byte limit.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.message.bytes() as u64
    }
}

/// A message of a queue, wherever it waits.
#[derive(Debug)]
pub enum QueuedMessage {
    Held(Delivery),
    Stored(StoredMessage),
}
