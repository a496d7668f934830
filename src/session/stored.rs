//! The end of a queue that waits on the disk: of each message only where it stands.
//!
//! What stands in memory comes before it, so the queue keeps its order: what is queued behind a
//! stored message is stored, too, and messages come back from the front.

use super::delivery::{Delivery, SubscriptionIdentifiers};
use crate::base::time::Instant;
use crate::codec::{QosLevel, SharedMessage};
use std::collections::VecDeque;
use std::num::NonZeroU64;

/// Where a message stands, and what its session makes of it. A message of a shared subscription
/// forgets its group: when the session ends it goes to nobody else.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    /// In the log of this shard.
    pub place: NonZeroU64,
    /// If there are several.
    identifiers: Option<Box<SubscriptionIdentifiers>>,
    /// If there is one; 0: none.
    identifier: u32,
    /// Topic name, properties and payload.
    bytes: u32,
    /// In whole seconds, rounded up: the message itself knows it exactly. 0: never.
    expires_s: u32,
    pub qos: QosLevel,
    pub retain: bool,
    /// The log does not have it any more: it leaves the queue when its turn comes.
    pub is_lost: bool,
}

/// One per message that waits on the disk.
const _: () = assert!(size_of::<StoredMessage>() <= 32);

impl StoredMessage {
    #[must_use]
    pub fn new(
        place: NonZeroU64,
        bytes: u32,
        qos: QosLevel,
        retain: bool,
        expires_at: Option<Instant>,
        identifiers: &SubscriptionIdentifiers,
    ) -> Self {
        let expires_s = expires_at.map_or(0, |at| at.as_micros().div_ceil(1_000_000).max(1));
        Self {
            place,
            identifiers: (identifiers.len() > 1).then(|| Box::new(identifiers.clone())),
            identifier: identifiers.first().copied().unwrap_or(0),
            bytes,
            expires_s: u32::try_from(expires_s).unwrap_or(u32::MAX),
            qos,
            retain,
            is_lost: false,
        }
    }

    /// What it counts for in the queue's byte limit.
    #[must_use]
    pub const fn bytes(&self) -> u32 {
        self.bytes
    }

    /// The second that it expires in or before, since the start of the process.
    #[must_use]
    pub fn expires_at(&self) -> Option<Instant> {
        let expires_s = u64::from(self.expires_s);
        (expires_s != 0).then(|| Instant::from_micros(expires_s * 1_000_000))
    }

    #[must_use]
    pub fn subscription_identifiers(&self) -> SubscriptionIdentifiers {
        match &self.identifiers {
            Some(identifiers) => (**identifiers).clone(),
            None if self.identifier == 0 => SubscriptionIdentifiers::new(),
            None => SubscriptionIdentifiers::from_slice(&[self.identifier]),
        }
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }
}

/// Stored messages of one session, oldest first. Each has a number, which it keeps while others
/// leave.
#[derive(Debug, Default)]
pub struct StoredQueue {
    messages: VecDeque<StoredMessage>,
    bytes: u64,
    /// The number of the first.
    first: u64,
    /// The shard is to read the first ones.
    pub is_listed: bool,
    /// They are being read.
    pub is_being_read: bool,
}

impl StoredQueue {
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    #[must_use]
    pub const fn first_number(&self) -> u64 {
        self.first
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &StoredMessage> {
        self.messages.iter()
    }

    /// Those from a number on, oldest first.
    pub fn iter_from(&self, number: u64) -> impl Iterator<Item = (u64, &StoredMessage)> {
        let skipped = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let skipped = skipped.min(self.messages.len());
        let first = self.first + skipped as u64;
        (first..).zip(self.messages.range(skipped..))
    }

    pub fn get_mut(&mut self, number: u64) -> Option<&mut StoredMessage> {
        let position = number.checked_sub(self.first)?;
        self.messages.get_mut(usize::try_from(position).ok()?)
    }

    pub(super) fn push(&mut self, message: StoredMessage) {
        if self.messages.capacity() == 0 {
            self.messages.reserve_exact(1);
        }
        self.bytes += u64::from(message.bytes);
        self.messages.push_back(message);
    }

    pub(super) fn pop(&mut self) -> Option<StoredMessage> {
        let message = self.messages.pop_front()?;
        self.bytes -= u64::from(message.bytes);
        self.first += 1;
        Some(message)
    }

    /// The first, if it will not be delivered.
    pub(super) fn pop_dead(&mut self, now: Instant) -> Option<StoredMessage> {
        let first = self.messages.front()?;
        if !first.is_lost && !first.is_expired(now) {
            return None;
        }
        self.pop()
    }

    /// The first is in memory again.
    pub(super) fn bring_back(&mut self, message: SharedMessage) -> Option<Delivery> {
        let stored = self.pop()?;
        Some(Delivery {
            message,
            qos: stored.qos,
            retain: stored.retain,
            subscription_identifiers: stored.subscription_identifiers(),
            group: None,
        })
    }

    pub(super) fn assert_invariants(&self) {
        let bytes = self.messages.iter().map(|it| u64::from(it.bytes));
        assert_eq!(bytes.sum::<u64>(), self.bytes);
        assert!(!(self.is_listed && self.is_being_read));
    }
}
