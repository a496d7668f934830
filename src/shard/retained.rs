//! The retained messages that this shard owns: those whose topic name hashes here.
//!
//! Bounded by count and bytes; a message beyond the bounds is delivered but not stored, and
//! counted. An update of a stored topic always succeeds if its size allows.

use super::Shard;
use super::timeout::TimerKey;
use crate::base::slab::Slab;
use crate::base::time::Instant;
use crate::base::wheel::TimerId;
use crate::codec::SharedMessage;
use crate::topic::retained::RetainedTree;

/// A stored message counts for its bytes and this much for its places in the tables.
const ENTRY_BYTES: u64 = 160;

#[derive(Debug)]
pub(super) struct Retained {
    /// Topic name -> slot.
    pub(super) tree: RetainedTree<u32>,
    entries: Slab<Entry>,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    message: SharedMessage,
    /// Ends the message at its expiry, or at the broker's own limit.
    timer: Option<TimerId>,
}

impl Retained {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            tree: RetainedTree::new(seed),
            entries: Slab::new(u32::MAX),
            bytes: 0,
        }
    }

    pub(super) fn message(&self, slot: u32) -> Option<&SharedMessage> {
        self.entries.get(slot).map(|entry| &entry.message)
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = &SharedMessage> {
        self.entries.iter().map(|(_, entry)| &entry.message)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn assert_invariants(&self) {
        assert_eq!(self.tree.len(), self.entries.len());
        let bytes: u64 = self
            .entries
            .iter()
            .map(|(_, entry)| cost(&entry.message))
            .sum();
        assert_eq!(bytes, self.bytes);
    }
}

fn cost(message: &SharedMessage) -> u64 {
    message.bytes() as u64 + ENTRY_BYTES
}

impl Shard {
    /// Replaces, stores or clears the retained message of the topic [MQTT-3.3.1-5],
    /// [MQTT-3.3.1-6], [MQTT-3.3.1-7].
    pub(super) fn keep_retained(&mut self, now: Instant, message: &SharedMessage) {
        let Ok(topic_name) = std::str::from_utf8(message.topic_name_bytes()) else {
            return;
        };
        self.clear_retained(topic_name);
        if message.payload().is_empty() || message.expires_at().is_some_and(|at| at <= now) {
            return;
        }
        let limits = &self.limits;
        let bytes = self.retained.bytes + cost(message);
        let fits = (self.retained.len() as u64) < limits.retained_messages_max
            && bytes <= limits.retained_bytes_max
            && message.payload().len() <= limits.retained_payload_bytes_max as usize;
        if !fits {
            self.counters.retained_refused += 1;
            return;
        }
        let deadline = match (
            message.expires_at(),
            limits.retained_ttl.map(|ttl| now + ttl),
        ) {
            (Some(expiry), Some(ttl)) => Some(expiry.min(ttl)),
            (expiry, ttl) => expiry.or(ttl),
        };
        let entry = Entry {
            message: message.clone(),
            timer: None,
        };
        let Ok((slot, _)) = self.retained.entries.insert(entry) else {
            return;
        };
        self.retained.bytes = bytes;
        self.retained.tree.insert(topic_name, slot);
        if let Some(deadline) = deadline
            && let Some(entry) = self.retained.entries.get_mut(slot)
        {
            entry.timer = Some(self.wheel.arm(deadline, TimerKey::Retained(slot)));
        }
    }

    fn clear_retained(&mut self, topic_name: &str) {
        let Some(slot) = self.retained.tree.remove(topic_name) else {
            return;
        };
        let Some(entry) = self.retained.entries.remove(slot) else {
            return;
        };
        self.retained.bytes -= cost(&entry.message);
        if let Some(timer) = entry.timer {
            self.wheel.cancel(timer);
        }
        self.messages.release(entry.message);
    }

    /// A retained message has expired.
    pub(super) fn retained_due(&mut self, slot: u32) {
        let Some(entry) = self.retained.entries.get_mut(slot) else {
            return;
        };
        entry.timer = None;
        let message = entry.message.clone();
        if let Ok(topic_name) = std::str::from_utf8(message.topic_name_bytes()) {
            self.clear_retained(topic_name);
        }
        self.messages.release(message);
    }
}
