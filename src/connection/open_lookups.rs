//! The retained lookups of one connection, and which topics live messages have meanwhile renewed.
//!
//! Exists only while the connection has lookups. The shard decides what is noted and asked.

use crate::base::map::{Map, map};
use std::collections::VecDeque;

/// Topics noted as renewed per connection. Past it an older retained message may follow a newer
/// live one; the shard counts that as `retained_untracked`.
const RENEWED_MAX: usize = 65_536;

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
    /// Hash of a topic name -> the last barrier that a live message with it came from behind.
    renewed: Map<u64, u64>,
}

impl OpenLookups {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            begun: VecDeque::new(),
            filter_count: 0,
            is_listed: false,
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

    /// A live message that was published behind this barrier took the place of the retained one
    /// of this topic. False: too many topics, this one is not remembered.
    pub fn note(&mut self, topic_hash: u64, barrier: u64) -> bool {
        if let Some(known) = self.renewed.get_mut(&topic_hash) {
            *known = barrier.max(*known);
            return true;
        }
        let has_room = self.renewed.len() < RENEWED_MAX;
        if has_room {
            self.renewed.insert(topic_hash, barrier);
        }
        has_room
    }

    /// Was the topic renewed by a live message that was published behind the barrier?
    #[must_use]
    pub fn is_renewed_behind(&self, topic_hash: u64, barrier: u64) -> bool {
        self.renewed
            .get(&topic_hash)
            .is_some_and(|noted| *noted >= barrier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_renewed_for_those_who_asked_before() {
        let mut lookups = OpenLookups::new(1);
        assert!(lookups.note(7, 3));
        assert!(lookups.is_renewed_behind(7, 3));
        assert!(!lookups.is_renewed_behind(7, 4));
        assert!(!lookups.is_renewed_behind(8, 3));
        assert!(lookups.note(7, 2), "from a slower shard");
        assert!(lookups.is_renewed_behind(7, 3));
    }

    #[test]
    fn notes_are_bounded_and_known_topics_go_on() {
        let mut lookups = OpenLookups::new(1);
        for hash in 0..RENEWED_MAX as u64 {
            assert!(lookups.note(hash, 1));
        }
        assert!(!lookups.note(u64::MAX, 2));
        assert!(!lookups.is_renewed_behind(u64::MAX, 1));
        assert!(lookups.note(3, 2));
        assert!(lookups.is_renewed_behind(3, 2));
    }
}
