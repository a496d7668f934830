//! Filters without wildcards: one hash lookup by the topic's text, however many there are.

use super::arena::{Arena, Slot};
use super::filter::{FilterId, Inserted, Removed};
use super::names::FilterKind;
use super::subscribers::Subscribers;
use crate::base::table::Table;
use ahash::RandomState;
use std::hash::Hash;

/// Text -> subscribers. A filter is there exactly as long as it has a subscriber.
#[derive(Debug)]
pub(super) struct ExactFilters<K, V> {
    hasher: TextHasher,
    by_text: Table<Slot>,
    filters: Arena<Filter<K, V>>,
    subscription_count: usize,
}

#[derive(Debug)]
struct Filter<K, V> {
    text: Box<str>,
    subscribers: Subscribers<K, V>,
}

const _: () = assert!(
    size_of::<Option<Filter<u32, [u32; 2]>>>() == 32,
    "memory of a filter"
);

impl<K: Copy + Eq + Hash, V: Copy> ExactFilters<K, V> {
    pub(super) const fn new(hasher: TextHasher) -> Self {
        Self {
            hasher,
            by_text: Table::new(),
            filters: Arena::new(),
            subscription_count: 0,
        }
    }

    pub(super) const fn filter_count(&self) -> usize {
        self.filters.len()
    }

    pub(super) const fn subscription_count(&self) -> usize {
        self.subscription_count
    }

    pub(super) fn insert(&mut self, text: &str, key: K, value: V) -> Inserted<V> {
        let found = self.find(text);
        let mut previous = None;
        let slot = found.unwrap_or_else(|| self.insert_filter(text, key, value));
        if found.is_some()
            && let Some(filter) = self.filters.get_mut(slot)
        {
            previous = filter.subscribers.insert(key, value, &self.hasher.state);
        }
        self.subscription_count += usize::from(previous.is_none());
        Inserted {
            filter: FilterId::new(FilterKind::Exact, slot),
            previous,
            first: found.is_none(),
        }
    }

    fn insert_filter(&mut self, text: &str, key: K, value: V) -> Slot {
        let slot = self.filters.insert(Filter {
            text: text.into(),
            subscribers: Subscribers::new(key, value),
        });
        let rehash = |&slot: &Slot| hash_at(&self.hasher, &self.filters, slot);
        self.by_text
            .insert_unique(self.hasher.hash(text.as_bytes()), slot, rehash);
        slot
    }

    /// There will be so many more filters at most.
    pub(super) fn reserve(&mut self, additional: usize) {
        let rehash = |&slot: &Slot| hash_at(&self.hasher, &self.filters, slot);
        self.by_text.reserve(additional, rehash);
    }

    /// Gives back what [`Self::reserve`] asked for too much.
    pub(super) fn shrink(&mut self) {
        let rehash = |&slot: &Slot| hash_at(&self.hasher, &self.filters, slot);
        self.by_text.shrink_to_fit(rehash);
    }

    pub(super) fn remove(&mut self, text: &str, key: K) -> Option<Removed<V>> {
        self.remove_at(self.find(text)?, key)
    }

    pub(super) fn remove_at(&mut self, slot: Slot, key: K) -> Option<Removed<V>> {
        let filter = self.filters.get_mut(slot)?;
        let (value, last) = filter.subscribers.remove(key, &self.hasher.state)?;
        self.subscription_count -= 1;
        if last {
            let hash = self.hasher.hash(filter.text.as_bytes());
            self.by_text.remove(hash, |&other| other == slot);
            self.filters.remove(slot);
        }
        Some(Removed {
            filter: FilterId::new(FilterKind::Exact, slot),
            value,
            last,
        })
    }

    pub(super) fn get(&self, text: &str, key: K) -> Option<(FilterId, V)> {
        let slot = self.find(text)?;
        let subscribers = &self.filters.get(slot)?.subscribers;
        let value = subscribers.get(key, &self.hasher.state)?;
        Some((FilterId::new(FilterKind::Exact, slot), value))
    }

    /// Keyed by the seed alone: the same in all tables that have it.
    pub(super) fn hash(&self, text: &[u8]) -> u64 {
        self.hasher.hash(text)
    }

    /// Whether there is a filter with this hash other than that of the slot, which may have ended.
    pub(super) fn another_has_hash(&self, hash: u64, slot: Slot) -> bool {
        let is_other =
            |&other: &Slot| other != slot && hash_at(&self.hasher, &self.filters, other) == hash;
        self.by_text.find(hash, is_other).is_some()
    }

    pub(super) fn subscribers(&self, topic_name: &[u8], hash: u64) -> &[(K, V)] {
        let mut found = None;
        // The one that is compared last is it: nothing is fetched twice.
        let is_same = |&slot: &Slot| {
            found = self.filters.get(slot);
            found.is_some_and(|filter| filter.text.as_bytes() == topic_name)
        };
        let is_there = self.by_text.find(hash, is_same);
        match (is_there, found) {
            (Some(_), Some(filter)) => filter.subscribers.as_slice(),
            _ => &[],
        }
    }

    pub(super) fn text(&self, slot: Slot) -> &str {
        text_at(&self.filters, slot)
    }

    fn find(&self, text: &str) -> Option<Slot> {
        let is_same = |&slot: &Slot| text_at(&self.filters, slot) == text;
        self.by_text
            .find(self.hasher.hash(text.as_bytes()), is_same)
            .copied()
    }

    pub(super) fn assert_invariants(&self) {
        assert_eq!(self.by_text.len(), self.filters.len());
        let counts = self
            .filters
            .iter()
            .map(|filter| filter.subscribers.as_slice().len());
        assert_eq!(counts.sum::<usize>(), self.subscription_count);
    }
}

/// The only way to the hash of a text here: all of them must be alike.
#[derive(Debug)]
pub(super) struct TextHasher {
    state: RandomState,
    /// Only a test can make different texts have the same hash.
    #[cfg(test)]
    is_constant: bool,
}

impl TextHasher {
    pub(super) const fn new(state: RandomState) -> Self {
        Self {
            state,
            #[cfg(test)]
            is_constant: false,
        }
    }

    #[cfg(test)]
    pub(super) const fn constant(state: RandomState) -> Self {
        Self {
            state,
            is_constant: true,
        }
    }

    fn hash(&self, text: &[u8]) -> u64 {
        #[cfg(test)]
        if self.is_constant {
            return 7;
        }
        self.state.hash_one(text)
    }
}

fn hash_at<K, V>(hasher: &TextHasher, filters: &Arena<Filter<K, V>>, slot: Slot) -> u64 {
    hasher.hash(text_at(filters, slot).as_bytes())
}

fn text_at<K, V>(filters: &Arena<Filter<K, V>>, slot: Slot) -> &str {
    filters.get(slot).map_or("", |filter| &filter.text)
}
