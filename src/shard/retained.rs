//! The retained messages that this shard owns: those whose topic name hashes here.
//!
//! Bounded by count and bytes; a message beyond the bounds is delivered but not stored, and
//! counted; the one that it would have replaced ends. A replacement changes nothing but the entry:
//! it allocates nothing, and it is refused only for its own size.

use super::Shard;
use super::timeout::TimerKey;
use crate::base::slab::Slab;
use crate::base::time::Instant;
use crate::base::wheel::TimerId;
use crate::codec::SharedMessage;
use crate::config::limits::Limits;
use crate::journal::Record;
use crate::topic::retained::RetainedTree;

/// A stored message counts for its bytes and this much for itself, its entry and its timer; what
/// its topic name takes in the tree is counted there. Held against the allocator by
/// `tests/allocation.rs`.
const ENTRY_BYTES: u64 = 144;

#[derive(Debug)]
pub(super) struct Retained {
    /// Topic name -> slot.
    pub(super) tree: RetainedTree<u32>,
    pub(super) entries: Slab<Entry>,
    /// Of the messages and their entries, without the tree.
    entry_bytes: u64,
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
            entry_bytes: 0,
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

    /// What counts against `retained.max_bytes`.
    pub(super) fn bytes(&self) -> u64 {
        self.entry_bytes + self.tree.bytes()
    }

    /// Is there room for the message, in the place of the one at `slot` if there is one?
    fn has_room(&self, limits: &Limits, message: &SharedMessage, slot: Option<u32>) -> bool {
        let freed_bytes = slot.and_then(|slot| self.message(slot)).map_or(0, cost);
        let tree_bytes = match slot {
            Some(_) => 0,
            None => self.tree.bytes_of(message.topic_name()),
        };
        let bytes = self.bytes() - freed_bytes + cost(message) + tree_bytes;
        let count = self.entries.len() + usize::from(slot.is_none());
        count as u64 <= limits.retained_messages_max && bytes <= limits.retained_bytes_max
    }

    pub(super) fn assert_invariants(&self) {
        assert_eq!(self.tree.len(), self.entries.len());
        let bytes: u64 = self
            .entries
            .iter()
            .map(|(_, entry)| cost(&entry.message))
            .sum();
        assert_eq!(bytes, self.entry_bytes);
        self.tree.assert_invariants();
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
        let slot = self.retained.tree.get(topic_name).copied();
        if !self.may_retain(now, message, slot) {
            if slot.is_some() {
                self.journal.append(&Record::RetainedCleared { topic_name });
                self.clear_retained(topic_name);
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
        match slot {
            Some(slot) => self.replace_retained(slot, message.clone(), ends_at),
            None => self.put_retained(topic_name, message.clone(), ends_at),
        }
    }

    fn may_retain(&mut self, now: Instant, message: &SharedMessage, slot: Option<u32>) -> bool {
        if message.payload().is_empty() || message.expires_at().is_some_and(|at| at <= now) {
            return false;
        }
        let limits = &self.limits;
        let fits = message.payload().len() <= limits.retained_payload_bytes_max as usize
            && self.retained.has_room(limits, message, slot);
        self.counters.retained_refused += u64::from(!fits);
        fits
    }

    fn replace_retained(&mut self, slot: u32, message: SharedMessage, ends_at: Option<Instant>) {
        let Self {
            retained,
            wheel,
            journal,
            messages,
            ..
        } = self;
        let Some(entry) = retained.entries.get_mut(slot) else {
            return;
        };
        retained.entry_bytes += cost(&message);
        retained.entry_bytes -= cost(&entry.message);
        if let Some(timer) = entry.timer.take() {
            wheel.cancel(timer);
        }
        entry.timer = ends_at.map(|at| wheel.arm(at, TimerKey::Retained(slot)));
        entry.ends_at = ends_at;
        let previous = std::mem::replace(&mut entry.message, message);
        journal.let_go(&previous);
        messages.release(previous);
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
        self.retained.entry_bytes += bytes;
        self.retained.tree.insert(topic_name, slot);
        if let Some(deadline) = ends_at
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
        self.retained.entry_bytes -= cost(&entry.message);
        if let Some(timer) = entry.timer {
            self.wheel.cancel(timer);
        }
        self.journal.let_go(&entry.message);
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
            self.journal.append(&Record::RetainedCleared { topic_name });
            self.clear_retained(topic_name);
        }
        self.messages.release(message);
    }
}
