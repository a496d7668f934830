//! Filters with wildcards as a trie of topic levels.
//!
//! A shard has two: its local subscribers (inside [`super::index::Index`]) and the other shards
//! that want something. Children by text are in one hash table for the whole trie, keyed by parent
//! and text, so that a node costs the same with one child and with a million; `+` and `#` hang
//! directly on the node.

use super::arena::{Arena, Slot};
use super::filter::{FilterId, Inserted, Removed};
use super::levels::{LevelId, Levels};
use super::names::FilterKind;
use super::node::{Ends, Node, Place};
use super::subscribers::Subscribers;
use crate::base::map;
use crate::base::table::Table;
use ahash::RandomState;
use std::hash::Hash;

/// Filter -> subscribers, found by topic name.
///
/// A match walks the topic's levels once and keeps the nodes reached so far; each node has one way
/// to it, so none is visited twice, whatever wildcards there are. Every node but the root ends a
/// filter or leads to one that does.
#[derive(Debug)]
pub struct Trie<K, V> {
    hasher: RandomState,
    levels: Levels,
    root: Slot,
    nodes: Arena<Node>,
    /// Nodes below a text, by parent and text.
    children: Table<Slot>,
    /// By filter.
    subscribers: Arena<Subscribers<K, V>>,
    /// By filter, too: a place and its subscribers come and go together, in the same slot.
    places: Arena<Place>,
    /// Nodes at which two filters end, and the one of them with `#`.
    second_ends: Table<(Slot, Slot)>,
    subscription_count: usize,
    /// Nodes reached in a match by the levels so far and by the next one; kept for their memory,
    /// which is bounded by the number of nodes.
    reached: Vec<Slot>,
    reached_next: Vec<Slot>,
}

impl<K: Copy + Eq + Hash, V: Copy> Trie<K, V> {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let hasher = map::hasher(seed);
        let mut nodes = Arena::new();
        let root = nodes.insert(Node::new(Slot::MAX, LevelId::ANY));
        Self {
            levels: Levels::new(hasher.clone()),
            hasher,
            root,
            nodes,
            children: Table::new(),
            subscribers: Arena::new(),
            places: Arena::new(),
            second_ends: Table::new(),
            subscription_count: 0,
            reached: Vec::new(),
            reached_next: Vec::new(),
        }
    }

    /// Filters that have a subscriber.
    #[must_use]
    pub const fn filter_count(&self) -> usize {
        self.subscribers.len()
    }

    /// Pairs of filter and subscriber.
    #[must_use]
    pub const fn subscription_count(&self) -> usize {
        self.subscription_count
    }

    /// Subscribes `key` to a valid filter, or gives it another value.
    pub fn insert(&mut self, topic_filter: &str, key: K, value: V) -> Inserted<V> {
        let place = self.make_place(topic_filter);
        let found = self.filter_at(place);
        let slot = found.unwrap_or_else(|| self.insert_filter(place, key, value));
        let mut previous = None;
        if found.is_some()
            && let Some(subscribers) = self.subscribers.get_mut(slot)
        {
            previous = subscribers.insert(key, value, &self.hasher);
        }
        self.subscription_count += usize::from(previous.is_none());
        Inserted {
            filter: FilterId::new(FilterKind::Wildcard, slot),
            previous,
            first: found.is_none(),
        }
    }

    /// Ends a subscription; `None` when there was none.
    pub fn remove(&mut self, topic_filter: &str, key: K) -> Option<Removed<V>> {
        self.remove_by_id(self.find(topic_filter)?, key)
    }

    /// The same for a filter that still has a subscriber.
    pub fn remove_by_id(&mut self, id: FilterId, key: K) -> Option<Removed<V>> {
        let subscribers = self.subscribers.get_mut(id.slot())?;
        let (value, last) = subscribers.remove(key, &self.hasher)?;
        self.subscription_count -= 1;
        if last {
            self.subscribers.remove(id.slot());
            let place = self.places.remove(id.slot())?;
            self.set_filter_at(place, None);
            self.prune(place.node());
        }
        Some(Removed {
            filter: id,
            value,
            last,
        })
    }

    #[must_use]
    pub fn get(&self, topic_filter: &str, key: K) -> Option<(FilterId, V)> {
        let id = self.find(topic_filter)?;
        let subscribers = self.subscribers.get(id.slot())?;
        Some((id, subscribers.get(key, &self.hasher)?))
    }

    /// Appends the text of a filter that has a subscriber.
    pub fn filter_text(&self, id: FilterId, out: &mut String) {
        let Some(place) = self.places.get(id.slot()) else {
            return;
        };
        let mut levels = Vec::new();
        let mut slot = place.node();
        while slot != self.root
            && let Some(node) = self.nodes.get(slot)
        {
            levels.push(self.level_text(node.level));
            slot = node.parent;
        }
        levels.reverse();
        levels.extend(place.is_rest().then_some("#"));
        for (position, level) in levels.into_iter().enumerate() {
            if position > 0 {
                out.push('/');
            }
            out.push_str(level);
        }
    }

    /// Appends all subscribers of all filters that match the name; returns the number of these
    /// filters. A key that subscribes to several of them comes several times. Allocates nothing
    /// once warm. The name is the text of a valid one, as bytes: nothing is gained by knowing again
    /// that it is UTF-8.
    pub fn matches(&mut self, topic_name: &[u8], out: &mut Vec<(K, V)>) -> usize {
        let mut filters = 0;
        self.for_each_match(topic_name, |subscribers| {
            filters += 1;
            out.extend_from_slice(subscribers);
        });
        filters
    }

    /// Calls `found` with the subscribers of each filter that matches the name.
    pub fn for_each_match(&mut self, topic_name: &[u8], mut found: impl FnMut(&[(K, V)])) {
        if self.subscribers.len() == 0 {
            return;
        }
        let mut reached = std::mem::take(&mut self.reached);
        let mut reached_next = std::mem::take(&mut self.reached_next);
        reached.clear();
        reached.push(self.root);
        // [MQTT-4.7.2-1]
        let mut wildcards_apply = !topic_name.starts_with(b"$");
        for level in topic_name.split(|byte| *byte == b'/') {
            self.step(
                level,
                wildcards_apply,
                &reached,
                &mut reached_next,
                &mut found,
            );
            std::mem::swap(&mut reached, &mut reached_next);
            reached_next.clear();
            if reached.is_empty() {
                break;
            }
            wildcards_apply = true;
        }
        for &slot in &reached {
            if let Some(node) = self.nodes.get(slot) {
                self.report(node.ends.exact(), &mut found);
                self.report(self.rest_at(slot, node.ends), &mut found);
            }
        }
        self.reached = reached;
        self.reached_next = reached_next;
    }

    /// Goes one level of the topic name further from all nodes reached.
    fn step(
        &self,
        level: &[u8],
        wildcards_apply: bool,
        reached: &[Slot],
        reached_next: &mut Vec<Slot>,
        found: &mut impl FnMut(&[(K, V)]),
    ) {
        let mut hash = None;
        for &slot in reached {
            let Some(node) = self.nodes.get(slot) else {
                continue;
            };
            if wildcards_apply {
                self.report(self.rest_at(slot, node.ends), found);
                reached_next.extend(node.any);
            }
            if node.child_count > 0 {
                let hash = *hash.get_or_insert_with(|| self.levels.hash(level));
                reached_next.extend(self.child(slot, level, hash));
            }
        }
    }

    fn report(&self, filter: Option<Slot>, found: &mut impl FnMut(&[(K, V)])) {
        if let Some(subscribers) = filter.and_then(|slot| self.subscribers.get(slot)) {
            found(subscribers.as_slice());
        }
    }

    /// The filter with `#` behind this node.
    fn rest_at(&self, node: Slot, ends: Ends) -> Option<Slot> {
        if !ends.has_rest() {
            None
        } else if ends.has_both() {
            self.second_end(node)
        } else {
            ends.only_rest()
        }
    }

    #[cold]
    fn second_end(&self, node: Slot) -> Option<Slot> {
        let hash = self.hasher.hash_one(node);
        let found = self.second_ends.find(hash, |&(other, _)| other == node);
        found.map(|&(_, filter)| filter)
    }

    fn find(&self, topic_filter: &str) -> Option<FilterId> {
        let mut slot = self.root;
        let mut levels = topic_filter.split('/').peekable();
        while let Some(level) = levels.next() {
            slot = match level {
                "#" if levels.peek().is_none() => return self.filter_id_at(Place::new(slot, true)),
                "+" => self.nodes.get(slot)?.any?,
                text => self.child(slot, text.as_bytes(), self.levels.hash(text.as_bytes()))?,
            };
        }
        self.filter_id_at(Place::new(slot, false))
    }

    fn filter_id_at(&self, place: Place) -> Option<FilterId> {
        let slot = self.filter_at(place)?;
        Some(FilterId::new(FilterKind::Wildcard, slot))
    }

    /// The child by a text that has this hash.
    fn child(&self, parent: Slot, text: &[u8], hash: u32) -> Option<Slot> {
        let is_child = |&slot: &Slot| {
            let node = self.nodes.get(slot);
            node.is_some_and(|node| {
                node.parent == parent && self.levels.text(node.level).as_bytes() == text
            })
        };
        let hash = edge_hash(&self.hasher, parent, hash);
        self.children.find(hash, is_child).copied()
    }

    /// The place of a filter; makes the nodes to it that are missing.
    fn make_place(&mut self, topic_filter: &str) -> Place {
        let mut node = self.root;
        for level in topic_filter.split('/') {
            node = match level {
                "#" => return Place::new(node, true),
                "+" => self.make_any(node),
                text => self.make_child(node, text),
            };
        }
        Place::new(node, false)
    }

    fn make_any(&mut self, parent: Slot) -> Slot {
        if let Some(slot) = self.nodes.get(parent).and_then(|node| node.any) {
            return slot;
        }
        let slot = self.nodes.insert(Node::new(parent, LevelId::ANY));
        if let Some(node) = self.nodes.get_mut(parent) {
            node.any = Some(slot);
        }
        slot
    }

    fn make_child(&mut self, parent: Slot, text: &str) -> Slot {
        let text_hash = self.levels.hash(text.as_bytes());
        if let Some(slot) = self.child(parent, text.as_bytes(), text_hash) {
            return slot;
        }
        let level = self.levels.acquire(text);
        let slot = self.nodes.insert(Node::new(parent, level));
        if let Some(node) = self.nodes.get_mut(parent) {
            node.child_count += 1;
        }
        let rehash = |&slot: &Slot| match self.nodes.get(slot) {
            Some(node) => edge_hash(&self.hasher, node.parent, self.levels.hash_at(node.level)),
            None => 0,
        };
        let hash = edge_hash(&self.hasher, parent, text_hash);
        self.children.insert_unique(hash, slot, rehash);
        slot
    }

    fn insert_filter(&mut self, place: Place, key: K, value: V) -> Slot {
        let slot = self.subscribers.insert(Subscribers::new(key, value));
        let slot_of_place = self.places.insert(place);
        assert_eq!(slot, slot_of_place, "they come and go together");
        self.set_filter_at(place, Some(slot));
        slot
    }

    fn filter_at(&self, place: Place) -> Option<Slot> {
        let ends = self.nodes.get(place.node())?.ends;
        if place.is_rest() {
            self.rest_at(place.node(), ends)
        } else {
            ends.exact()
        }
    }

    fn set_filter_at(&mut self, place: Place, filter: Option<Slot>) {
        let slot = place.node();
        let Some(node) = self.nodes.get(slot) else {
            return;
        };
        let (mut exact, mut rest) = (node.ends.exact(), self.rest_at(slot, node.ends));
        let hash = self.hasher.hash_one(slot);
        if node.ends.has_both() {
            self.second_ends.remove(hash, |&(other, _)| other == slot);
        }
        *(if place.is_rest() {
            &mut rest
        } else {
            &mut exact
        }) = filter;
        if let (Some(_), Some(rest)) = (exact, rest) {
            let hash_of = |&(node, _): &(Slot, Slot)| self.hasher.hash_one(node);
            self.second_ends.insert_unique(hash, (slot, rest), hash_of);
        }
        if let Some(node) = self.nodes.get_mut(slot) {
            node.ends = Ends::new(exact, rest);
        }
    }

    /// Takes nodes away from here upwards as long as they lead nowhere.
    fn prune(&mut self, mut slot: Slot) {
        while slot != self.root
            && let Some(&node) = self.nodes.get(slot)
            && node.is_bare()
        {
            self.cut(slot, node);
            self.nodes.remove(slot);
            slot = node.parent;
        }
    }

    /// Takes the way from the parent to the node away.
    fn cut(&mut self, slot: Slot, node: Node) {
        let Some(parent) = self.nodes.get_mut(node.parent) else {
            return;
        };
        if node.level == LevelId::ANY {
            parent.any = None;
            return;
        }
        parent.child_count -= 1;
        let hash = edge_hash(&self.hasher, node.parent, self.levels.hash_at(node.level));
        self.children.remove(hash, |&other| other == slot);
        self.levels.release(node.level);
    }

    fn level_text(&self, level: LevelId) -> &str {
        if level == LevelId::ANY {
            return "+";
        }
        self.levels.text(level)
    }

    /// Panics when the parts contradict each other; for tests and the simulation.
    pub fn assert_invariants(&self) {
        let counts = self.subscribers.iter().map(|it| it.as_slice().len());
        assert_eq!(counts.sum::<usize>(), self.subscription_count);
        assert_eq!(self.places.len(), self.subscribers.len());
        let bare_count = self.nodes.iter().filter(|node| node.is_bare()).count();
        assert_eq!(
            bare_count,
            usize::from(self.subscribers.len() == 0),
            "only the root may be bare"
        );
        let child_count: usize = self
            .nodes
            .iter()
            .map(|node| node.child_count as usize)
            .sum();
        let any_count = self.nodes.iter().filter(|node| node.any.is_some()).count();
        assert_eq!(child_count, self.children.len());
        assert_eq!(1 + child_count + any_count, self.nodes.len());
        let is_end = |place: &&Place| self.filter_at(**place).is_some();
        assert_eq!(self.places.iter().filter(is_end).count(), self.places.len());
        let ends: Vec<Ends> = self.nodes.iter().map(|node| node.ends).collect();
        let both = ends.iter().filter(|ends| ends.has_both()).count();
        assert_eq!(both, self.second_ends.len());
        let some = ends.iter().filter(|ends| !ends.is_none()).count();
        assert_eq!(some + both, self.places.len());
        assert!(self.levels.len() <= child_count);
        assert!(child_count == 0 || self.levels.len() > 0);
    }
}

/// Both in one word: the hasher mixes words one by one.
fn edge_hash(hasher: &RandomState, parent: Slot, text_hash: u32) -> u64 {
    hasher.hash_one(u64::from(parent.number().get()) << 32 | u64::from(text_hash))
}
