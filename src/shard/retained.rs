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
use crate::journal::Record;
use crate::topic::retained::RetainedTree;

/// A stored message counts for its bytes and this much for its places in the tables.
const ENTRY_BYTES: u64 = 160;

#[derive(Debug)]
pub(super) struct Retained {
    /// Topic name -> slot.
    pub(super) tree: RetainedTree<u32>,
    pub(super) entries: Slab<Entry>,
    bytes: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) message: SharedMessage,
    /// Its expiry, or the broker's own limit.
    pub(super) ends_at: Option<Instant>,
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
        let had_one = self.clear_retained(topic_name);
        if !self.may_retain(now, message) {
            if had_one {
                self.journal.append(&Record::RetainedCleared { topic_name });
            }
            return;
        }
        let ends_at = match (
            message.expires_at(),
            self.limits.retained_ttl.map(|ttl| now + ttl),
        ) {
            (Some(expiry), Some(ttl)) => Some(expiry.min(ttl)),
            (expiry, ttl) => expiry.or(ttl),
        };
        if let Some((place, bytes)) = self.journal.hold(message) {
            let ends_at_ms = ends_at.map_or(0, |at| self.journal.unix_ms(at));
            self.journal.append(&Record::Retained {
                place,
                bytes,
                ends_at_ms,
                topic_name,
            });
        }
        self.put_retained(topic_name, message.clone(), ends_at);
    }

    fn may_retain(&mut self, now: Instant, message: &SharedMessage) -> bool {
        if message.payload().is_empty() || message.expires_at().is_some_and(|at| at <= now) {
            return false;
        }
        let limits = &self.limits;
        let fits = (self.retained.len() as u64) < limits.retained_messages_max
            && self.retained.bytes + cost(message) <= limits.retained_bytes_max
            && message.payload().len() <= limits.retained_payload_bytes_max as usize;
        self.counters.retained_refused += u64::from(!fits);
        fits
    }

    /// Stores a message of a topic that has none.
    pub(super) fn put_retained(
        &mut self,
        topic_name: &str,
        message: SharedMessage,
        ends_at: Option<Instant>,
    ) {
        let bytes = cost(&message);
        let entry = Entry {
            message,
            ends_at,
            timer: None,
        };
        let Ok((slot, _)) = self.retained.entries.insert(entry) else {
            return;
        };
        self.retained.bytes += bytes;
        self.retained.tree.insert(topic_name, slot);
        if let Some(deadline) = ends_at
            && let Some(entry) = self.retained.entries.get_mut(slot)
        {
            entry.timer = Some(self.wheel.arm(deadline, TimerKey::Retained(slot)));
        }
    }

    /// True: there was one.
    fn clear_retained(&mut self, topic_name: &str) -> bool {
        let Some(slot) = self.retained.tree.remove(topic_name) else {
            return false;
        };
        let Some(entry) = self.retained.entries.remove(slot) else {
            return false;
        };
        self.retained.bytes -= cost(&entry.message);
        if let Some(timer) = entry.timer {
            self.wheel.cancel(timer);
        }
        self.journal.let_go(&entry.message);
        self.messages.release(entry.message);
        true
    }

    /// A retained message has expired.
    pub(super) fn retained_due(&mut self, slot: u32) {
        let Some(entry) = self.retained.entries.get_mut(slot) else {
            return;
        };
        entry.timer = None;
        let message = entry.message.clone();
        if let Ok(topic_name) = std::str::from_utf8(message.topic_name_bytes()) {
            self.journal.append(&Record::RetainedCleared { topic_name });
            self.clear_retained(topic_name);
        }
        self.messages.release(message);
    }
}
