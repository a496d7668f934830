//! The local subscriptions of one shard: which of its sessions want a published message.

use super::exact::{ExactFilters, TextHasher};
pub use super::filter::{FilterId, Inserted, Removed};
use super::names::FilterKind;
use super::trie::Trie;
use crate::base::map;
use std::hash::Hash;

/// Keyed hash of a topic name, to look it up in several tables: equal in all indexes with the same
/// seed, and not kept beyond the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct TopicHash(u64);

impl TopicHash {
    /// For tables that are keyed by it: as well mixed as their own hasher would make it.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// What [`Self::as_u64`] said, in this process.
    #[must_use]
    pub const fn from_u64(hash: u64) -> Self {
        Self(hash)
    }
}

/// Filter -> subscribers. `K` names a subscriber, `V` is what it asked for.
///
/// A match costs one hash lookup for the exact filter and the walk of [`Trie`] for the others.
#[derive(Debug)]
pub struct Index<K, V> {
    exact: ExactFilters<K, V>,
    wildcard: Trie<K, V>,
    generation: u64,
}

impl<K: Copy + Eq + Hash, V: Copy> Index<K, V> {
    /// `seed` keys the hash tables.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            exact: ExactFilters::new(TextHasher::new(map::hasher(seed))),
            wildcard: Trie::new(seed),
            generation: 0,
        }
    }

    /// One in which all topic names have the same hash.
    #[cfg(test)]
    pub(crate) fn with_equal_hashes(seed: u64) -> Self {
        let exact = ExactFilters::new(TextHasher::constant(map::hasher(seed)));
        Self {
            exact,
            ..Self::new(seed)
        }
    }

    /// Subscribes `key` to a valid filter of this kind, or gives it another value.
    pub fn insert(
        &mut self,
        topic_filter: &str,
        kind: FilterKind,
        key: K,
        value: V,
    ) -> Inserted<V> {
        self.generation += 1;
        match kind {
            FilterKind::Exact => self.exact.insert(topic_filter, key, value),
            FilterKind::Wildcard => self.wildcard.insert(topic_filter, key, value),
        }
    }

    /// At most so many filters without wildcards will be added, one after the other. Ends with
    /// [`Self::shrink`].
    pub fn reserve(&mut self, exact_filters: usize) {
        self.exact.reserve(exact_filters);
    }

    /// Gives back what [`Self::reserve`] asked for too much.
    pub fn shrink(&mut self) {
        self.exact.shrink();
    }

    /// Ends a subscription; `None` when there was none.
    pub fn remove(&mut self, topic_filter: &str, key: K) -> Option<Removed<V>> {
        let removed = match kind_of(topic_filter) {
            FilterKind::Exact => self.exact.remove(topic_filter, key),
            FilterKind::Wildcard => self.wildcard.remove(topic_filter, key),
        };
        self.generation += u64::from(removed.is_some());
        removed
    }

    /// The same for a filter that still has a subscriber.
    pub fn remove_by_id(&mut self, filter: FilterId, key: K) -> Option<Removed<V>> {
        let removed = match filter.kind() {
            FilterKind::Exact => self.exact.remove_at(filter.slot(), key),
            FilterKind::Wildcard => self.wildcard.remove_by_id(filter, key),
        };
        self.generation += u64::from(removed.is_some());
        removed
    }

    #[must_use]
    pub fn get(&self, topic_filter: &str, key: K) -> Option<(FilterId, V)> {
        match kind_of(topic_filter) {
            FilterKind::Exact => self.exact.get(topic_filter, key),
            FilterKind::Wildcard => self.wildcard.get(topic_filter, key),
        }
    }

    /// Appends the text of a filter that has a subscriber.
    pub fn filter_text(&self, filter: FilterId, out: &mut String) {
        match filter.kind() {
            FilterKind::Exact => out.push_str(self.exact.text(filter.slot())),
            FilterKind::Wildcard => self.wildcard.filter_text(filter, out),
        }
    }

    /// Appends all subscribers of all filters that match the name; returns the number of these
    /// filters. A key that subscribes to several of them comes several times. Allocates nothing
    /// once warm, if `out` has room.
    pub fn matches(&mut self, topic_name: &str, out: &mut Vec<(K, V)>) -> usize {
        let topic_name = topic_name.as_bytes();
        self.matches_hashed(topic_name, self.topic_hash(topic_name), out)
    }

    /// The same for the bytes of a valid name whose hash is known.
    pub fn matches_hashed(
        &mut self,
        topic_name: &[u8],
        hash: TopicHash,
        out: &mut Vec<(K, V)>,
    ) -> usize {
        let exact = self.exact.subscribers(topic_name, hash.0);
        out.extend_from_slice(exact);
        usize::from(!exact.is_empty()) + self.wildcard.matches(topic_name, out)
    }

    /// Of a topic name, or of a filter that only this name matches.
    #[must_use]
    pub fn topic_hash(&self, topic_name: &[u8]) -> TopicHash {
        TopicHash(self.exact.hash(topic_name))
    }

    /// Whether a filter without wildcards has this hash, other than `filter`, which may have ended
    /// just now.
    #[must_use]
    pub fn another_has_hash(&self, hash: TopicHash, filter: FilterId) -> bool {
        self.exact.another_has_hash(hash.0, filter.slot())
    }

    /// Filters that have a subscriber.
    #[must_use]
    pub const fn filter_count(&self) -> usize {
        self.exact.filter_count() + self.wildcard.filter_count()
    }

    /// Pairs of filter and subscriber.
    #[must_use]
    pub const fn subscription_count(&self) -> usize {
        self.exact.subscription_count() + self.wildcard.subscription_count()
    }

    /// Grows with each change: a result of [`Index::matches`] holds as long as this is the same.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Panics when the parts contradict each other; for tests and the simulation.
    pub fn assert_invariants(&self) {
        self.exact.assert_invariants();
        self.wildcard.assert_invariants();
    }
}

/// Of a valid filter.
fn kind_of(topic_filter: &str) -> FilterKind {
    if topic_filter.contains(['+', '#']) {
        FilterKind::Wildcard
    } else {
        FilterKind::Exact
    }
}
