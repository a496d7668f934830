//! The retained lookups of one connection, and which topics live messages have meanwhile renewed.
//!
//! Exists only while the connection has lookups. The shard decides what is noted and asked.

use crate::base::map::{Map, map};
use std::collections::VecDeque;

/// Topics noted as renewed per connection. Past it an older retained message may follow a newer
/// live one; the shard counts that as `retained_untracked`.
const RENEWED_MAX: usize = 65_536;

/// A moment in a connection's row of notes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct NoteNumber(u64);

/// Filters whose retained messages are due.
#[derive(Debug)]
pub struct OpenLookups {
    /// Numbers of the lookups that have begun, one for each SUBSCRIBE, in its order; the first is
    /// under way.
    pub begun: VecDeque<u64>,
    /// Filters of these, and of those that wait at a barrier.
    pub filter_count: usize,
    /// It goes on by itself in a later turn.
    pub is_listed: bool,
    latest: NoteNumber,
    /// Hash of a topic name -> the latest note about it.
    renewed: Map<u64, NoteNumber>,
}

impl OpenLookups {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            begun: VecDeque::new(),
            filter_count: 0,
            is_listed: false,
            latest: NoteNumber(0),
            renewed: map(seed),
        }
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.filter_count
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub const fn latest_note(&self) -> NoteNumber {
        self.latest
    }

    /// A live message took the place of the retained one of this topic. False: too many topics,
    /// this one is not remembered.
    pub fn note(&mut self, topic_hash: u64) -> bool {
        self.latest.0 += 1;
        let has_room = self.renewed.len() < RENEWED_MAX;
        if has_room || self.renewed.contains_key(&topic_hash) {
            self.renewed.insert(topic_hash, self.latest);
            return true;
        }
        false
    }

    /// Was the topic renewed after that moment?
    #[must_use]
    pub fn is_renewed_since(&self, topic_hash: u64, since: NoteNumber) -> bool {
        self.renewed
            .get(&topic_hash)
            .is_some_and(|note| *note > since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_renewed_for_those_who_asked_before() {
        let mut lookups = OpenLookups::new(1);
        let before = lookups.latest_note();
        assert!(lookups.note(7));
        let after = lookups.latest_note();
        assert!(lookups.is_renewed_since(7, before));
        assert!(!lookups.is_renewed_since(7, after));
        assert!(!lookups.is_renewed_since(8, before));
    }

    #[test]
    fn notes_are_bounded_and_known_topics_go_on() {
        let mut lookups = OpenLookups::new(1);
        for hash in 0..RENEWED_MAX as u64 {
            assert!(lookups.note(hash));
        }
        let now = lookups.latest_note();
        assert!(!lookups.note(u64::MAX));
        assert!(lookups.latest_note() > now);
        assert!(lookups.note(3));
        assert!(lookups.is_renewed_since(3, now));
    }
}
