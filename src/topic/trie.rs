//! Filters with wildcards as a trie of topic levels.
//!
//! A shard has two: its local subscribers (inside [`super::index::Index`]) and the other shards
//! that want something. Children by text are in one hash table for the whole trie, keyed by parent
//! and level, so that a node costs the same with one child and with a million; `+` and `#` hang
//! directly on the node.

use super::arena::{Arena, Slot};
use super::filter::{FilterId, Inserted, Removed};
use super::levels::{LevelId, Levels};
use super::names::FilterKind;
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
    /// Nodes below a text, by parent and level.
    children: Table<Slot>,
    filters: Arena<Filter<K, V>>,
    subscription_count: usize,
    /// Nodes reached in a match by the levels so far and by the next one; kept for their memory,
    /// which is bounded by the number of nodes.
    reached: Vec<Slot>,
    reached_next: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    parent: Slot,
    /// What leads here from the parent; [`LevelId::ANY`] for `+`.
    level: LevelId,
    /// Children by text.
    child_count: u32,
    /// The child by `+`.
    any: Option<Slot>,
    /// The filter that ends here.
    filter: Option<FilterId>,
    /// The filter that goes on from here with `#` and so matches here and everything below.
    rest: Option<FilterId>,
}

const _: () = assert!(
    size_of::<Option<Node>>() == 24,
    "memory of a filter's level"
);

impl Node {
    const fn new(parent: Slot, level: LevelId) -> Self {
        Self {
            parent,
            level,
            child_count: 0,
            any: None,
            filter: None,
            rest: None,
        }
    }

    const fn is_bare(&self) -> bool {
        self.child_count == 0 && self.any.is_none() && self.filter.is_none() && self.rest.is_none()
    }
}

#[derive(Debug)]
struct Filter<K, V> {
    subscribers: Subscribers<K, V>,
    place: Place,
}

const _: () = assert!(
    size_of::<Option<Filter<u32, [u32; 2]>>>() == 24,
    "memory of a filter"
);

/// Where a filter ends.
#[derive(Clone, Copy, Debug)]
struct Place {
    node: Slot,
    /// With `#` after the node.
    is_rest: bool,
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
            filters: Arena::new(),
            subscription_count: 0,
            reached: Vec::new(),
            reached_next: Vec::new(),
        }
    }

    /// Filters that have a subscriber.
    #[must_use]
    pub const fn filter_count(&self) -> usize {
        self.filters.len()
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
        let id = found.unwrap_or_else(|| self.insert_filter(place, key, value));
        let mut previous = None;
        if found.is_some()
            && let Some(filter) = self.filters.get_mut(id.slot())
        {
            previous = filter.subscribers.insert(key, value, &self.hasher);
        }
        self.subscription_count += usize::from(previous.is_none());
        Inserted {
            filter: id,
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
        let filter = self.filters.get_mut(id.slot())?;
        let (value, last) = filter.subscribers.remove(key, &self.hasher)?;
        self.subscription_count -= 1;
        if last {
            let place = filter.place;
            self.filters.remove(id.slot());
            self.set_filter_at(place, None);
            self.prune(place.node);
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
        let filter = self.filters.get(id.slot())?;
        Some((id, filter.subscribers.get(key, &self.hasher)?))
    }

    /// Appends the text of a filter that has a subscriber.
    pub fn filter_text(&self, id: FilterId, out: &mut String) {
        let Some(&Filter { place, .. }) = self.filters.get(id.slot()) else {
            return;
        };
        let mut levels = Vec::new();
        let mut slot = place.node;
        while slot != self.root
            && let Some(node) = self.nodes.get(slot)
        {
            levels.push(self.level_text(node.level));
            slot = node.parent;
        }
        levels.reverse();
        levels.extend(place.is_rest.then_some("#"));
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
        if self.filters.len() == 0 {
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
        for node in reached.iter().filter_map(|&slot| self.nodes.get(slot)) {
            self.report(node.filter, &mut found);
            self.report(node.rest, &mut found);
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
        let mut level_id = None;
        for &slot in reached {
            let Some(node) = self.nodes.get(slot) else {
                continue;
            };
            if wildcards_apply {
                self.report(node.rest, found);
                reached_next.extend(node.any);
            }
            if node.child_count > 0 {
                let id = *level_id.get_or_insert_with(|| self.levels.find(level));
                reached_next.extend(id.and_then(|id| self.child(slot, id)));
            }
        }
    }

    fn report(&self, filter: Option<FilterId>, found: &mut impl FnMut(&[(K, V)])) {
        if let Some(filter) = filter.and_then(|id| self.filters.get(id.slot())) {
            found(filter.subscribers.as_slice());
        }
    }

    fn find(&self, topic_filter: &str) -> Option<FilterId> {
        let mut slot = self.root;
        let mut levels = topic_filter.split('/').peekable();
        while let Some(level) = levels.next() {
            slot = match level {
                "#" if levels.peek().is_none() => return self.nodes.get(slot)?.rest,
                "+" => self.nodes.get(slot)?.any?,
                text => self.child(slot, self.levels.find(text)?)?,
            };
        }
        self.nodes.get(slot)?.filter
    }

    fn child(&self, parent: Slot, level: LevelId) -> Option<Slot> {
        let is_child = |&slot: &Slot| edge(&self.nodes, slot) == (parent, level);
        self.children
            .find(self.hasher.hash_one((parent, level)), is_child)
            .copied()
    }

    /// The place of a filter; makes the nodes to it that are missing.
    fn make_place(&mut self, topic_filter: &str) -> Place {
        let mut node = self.root;
        for level in topic_filter.split('/') {
            node = match level {
                "#" => {
                    return Place {
                        node,
                        is_rest: true,
                    };
                }
                "+" => self.make_any(node),
                text => self.make_child(node, text),
            };
        }
        Place {
            node,
            is_rest: false,
        }
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
        let found = self
            .levels
            .find(text)
            .and_then(|level| self.child(parent, level));
        if let Some(slot) = found {
            return slot;
        }
        let level = self.levels.acquire(text);
        let slot = self.nodes.insert(Node::new(parent, level));
        if let Some(node) = self.nodes.get_mut(parent) {
            node.child_count += 1;
        }
        let rehash = |&slot: &Slot| self.hasher.hash_one(edge(&self.nodes, slot));
        let hash = self.hasher.hash_one((parent, level));
        self.children.insert_unique(hash, slot, rehash);
        slot
    }

    fn insert_filter(&mut self, place: Place, key: K, value: V) -> FilterId {
        let slot = self.filters.insert(Filter {
            subscribers: Subscribers::new(key, value),
            place,
        });
        let id = FilterId::new(FilterKind::Wildcard, slot);
        self.set_filter_at(place, Some(id));
        id
    }

    fn filter_at(&self, place: Place) -> Option<FilterId> {
        let node = self.nodes.get(place.node)?;
        if place.is_rest {
            node.rest
        } else {
            node.filter
        }
    }

    fn set_filter_at(&mut self, place: Place, id: Option<FilterId>) {
        if let Some(node) = self.nodes.get_mut(place.node) {
            *(if place.is_rest {
                &mut node.rest
            } else {
                &mut node.filter
            }) = id;
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
        let hash = self.hasher.hash_one((node.parent, node.level));
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
        let counts = self
            .filters
            .iter()
            .map(|filter| filter.subscribers.as_slice().len());
        assert_eq!(counts.sum::<usize>(), self.subscription_count);
        let bare_count = self.nodes.iter().filter(|node| node.is_bare()).count();
        assert_eq!(
            bare_count,
            usize::from(self.filters.len() == 0),
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
        let ends = self.nodes.iter().flat_map(|node| [node.filter, node.rest]);
        assert_eq!(ends.flatten().count(), self.filters.len());
        assert!(self.levels.len() <= child_count);
        assert!(child_count == 0 || self.levels.len() > 0);
    }
}

fn edge(nodes: &Arena<Node>, slot: Slot) -> (Slot, LevelId) {
    nodes
        .get(slot)
        .map_or((Slot::MAX, LevelId::ANY), |node| (node.parent, node.level))
}
