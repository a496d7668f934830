//! Stored topic names, found by a new subscriber's filter.
//!
//! The tree keeps what the owner shard retains and knows neither its limits nor its contents. A
//! filter that matches a million names is answered in slices, between which the tree may change.

use super::arena::{Arena, Slot};
use super::levels::{LevelId, Levels};
use crate::base::map;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What a node takes with its places in both maps, and a text beside its bytes: measured, with what
/// the tables hold in reserve.
const NODE_BYTES: u64 = 84;
const LEVEL_BYTES: u64 = 56;

/// Topic name -> value.
///
/// Children of a node are in the order of their level ids, which stay as long as their text is in
/// use, so that the names present have a fixed order whatever comes and goes between them. All
/// children of all nodes are in one map: a node's own costs the same with one child and with a
/// million. Another map says which children of a node have a child of a certain level, so that
/// `a/+/b` finds its `b` without a look at the children of `a` that have none. Every node but the
/// root holds a value or leads to one that does.
#[derive(Debug)]
pub struct RetainedTree<V> {
    levels: Levels,
    root: Slot,
    nodes: Arena<Node<V>>,
    children: BTreeMap<(Slot, LevelId), Slot>,
    /// A node, the level of a grandchild, the level of the child between -> that child.
    children_by_grandchild: BTreeMap<(Slot, LevelId, LevelId), Slot>,
    value_count: usize,
}

#[derive(Debug)]
struct Node<V> {
    parent: Slot,
    /// What leads here from the parent; the root has [`LevelId::ANY`].
    level: LevelId,
    child_count: u32,
    value: Option<V>,
}

/// Where a lookup goes on: the node with this path, or the next one after its place. The default
/// is the beginning. Takes part in no other filter's lookup than the one that made it.
#[derive(Clone, Default, Debug)]
pub struct Cursor {
    path: Vec<LevelId>,
}

impl<V> RetainedTree<V> {
    /// `seed` keys the hash table of levels.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut nodes = Arena::new();
        let root = nodes.insert(Node {
            parent: Slot::MAX,
            level: LevelId::ANY,
            child_count: 0,
            value: None,
        });
        Self {
            levels: Levels::new(map::hasher(seed)),
            root,
            nodes,
            children: BTreeMap::new(),
            children_by_grandchild: BTreeMap::new(),
            value_count: 0,
        }
    }

    /// Topic names with a value.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.value_count
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.value_count == 0
    }

    /// Memory of all nodes and texts with their places in the tables; 0 when nothing is stored.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        (self.nodes.len() as u64 - 1) * NODE_BYTES
            + self.levels.len() as u64 * LEVEL_BYTES
            + self.levels.text_bytes() as u64
    }

    /// How much more a name would take that has no value: at most this.
    #[must_use]
    pub fn bytes_of(&self, topic_name: &str) -> u64 {
        let mut known = Some(self.root);
        let mut bytes = 0;
        for text in topic_name.split('/') {
            let level = self.levels.find(text);
            known = known.and_then(|parent| self.child(parent, level?));
            if known.is_none() {
                bytes += NODE_BYTES;
            }
            if level.is_none() {
                bytes += LEVEL_BYTES + text.len() as u64;
            }
        }
        bytes
    }

    /// Stores or replaces; returns the value that was there.
    pub fn insert(&mut self, topic_name: &str, value: V) -> Option<V> {
        let mut slot = self.root;
        for level in topic_name.split('/') {
            slot = self.make_child(slot, level);
        }
        let previous = self.nodes.get_mut(slot)?.value.replace(value);
        self.value_count += usize::from(previous.is_none());
        previous
    }

    pub fn remove(&mut self, topic_name: &str) -> Option<V> {
        let slot = self.find(topic_name)?;
        let value = self.nodes.get_mut(slot)?.value.take()?;
        self.value_count -= 1;
        self.prune(slot);
        Some(value)
    }

    #[must_use]
    pub fn get(&self, topic_name: &str) -> Option<&V> {
        self.nodes.get(self.find(topic_name)?)?.value.as_ref()
    }

    /// Calls `found` with values whose names match a valid filter, from the cursor on, in a fixed
    /// order; returns where to go on, or `None` at the end.
    ///
    /// Visits at most `visits_max` nodes: those on the way to a match, plus the children of a `+`
    /// that have the next level of the filter but not those behind it. A value for which `found`
    /// breaks comes again with the returned cursor. A name that is stored all the time between
    /// first and last slice is found exactly once.
    pub fn lookup(
        &self,
        topic_filter: &str,
        from: &Cursor,
        visits_max: usize,
        mut found: impl FnMut(&V) -> ControlFlow<()>,
    ) -> Option<Cursor> {
        let pattern = Pattern::new(topic_filter, &self.levels)?;
        let mut walk = Walk::resume(self, &pattern, from)?;
        for _ in 0..visits_max {
            if let Some(value) = walk.matched_value()
                && found(value).is_break()
            {
                break;
            }
            if !walk.go_on() {
                return None;
            }
        }
        Some(walk.into_cursor())
    }

    fn find(&self, topic_name: &str) -> Option<Slot> {
        let mut slot = self.root;
        for level in topic_name.split('/') {
            slot = self.child(slot, self.levels.find(level)?)?;
        }
        Some(slot)
    }

    fn child(&self, parent: Slot, level: LevelId) -> Option<Slot> {
        self.children.get(&(parent, level)).copied()
    }

    /// The first child whose level is not before `from`.
    fn child_from(&self, parent: Slot, from: LevelId) -> Option<(LevelId, Slot)> {
        let mut range = self.children.range((parent, from)..=(parent, LevelId::MAX));
        range.next().map(|(&(_, level), &slot)| (level, slot))
    }

    /// The same of the children that have a child of the level `next`.
    fn child_with(&self, parent: Slot, next: LevelId, from: LevelId) -> Option<(LevelId, Slot)> {
        let ends = (parent, next, from)..=(parent, next, LevelId::MAX);
        let mut range = self.children_by_grandchild.range(ends);
        range.next().map(|(&(_, _, level), &slot)| (level, slot))
    }

    /// Where [`Self::children_by_grandchild`] has a node; `None` for children of the root.
    fn grandchild_key(&self, parent: Slot, level: LevelId) -> Option<(Slot, LevelId, LevelId)> {
        let node = self.nodes.get(parent)?;
        (parent != self.root).then_some((node.parent, level, node.level))
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
        let slot = self.nodes.insert(Node {
            parent,
            level,
            child_count: 0,
            value: None,
        });
        self.children.insert((parent, level), slot);
        if let Some(key) = self.grandchild_key(parent, level) {
            self.children_by_grandchild.insert(key, parent);
        }
        if let Some(node) = self.nodes.get_mut(parent) {
            node.child_count += 1;
        }
        slot
    }

    /// Takes nodes away from here upwards as long as they lead nowhere.
    fn prune(&mut self, mut slot: Slot) {
        while slot != self.root
            && let Some(node) = self.nodes.get(slot)
            && node.child_count == 0
            && node.value.is_none()
        {
            let (parent, level) = (node.parent, node.level);
            self.nodes.remove(slot);
            self.children.remove(&(parent, level));
            if let Some(key) = self.grandchild_key(parent, level) {
                self.children_by_grandchild.remove(&key);
            }
            self.levels.release(level);
            if let Some(parent) = self.nodes.get_mut(parent) {
                parent.child_count -= 1;
            }
            slot = parent;
        }
    }

    /// Panics when the parts contradict each other; for tests and the simulation.
    pub fn assert_invariants(&self) {
        assert_eq!(self.nodes.len(), 1 + self.children.len());
        let values = self.nodes.iter().filter(|node| node.value.is_some());
        assert_eq!(values.count(), self.value_count);
        let child_count: usize = self
            .nodes
            .iter()
            .map(|node| node.child_count as usize)
            .sum();
        assert_eq!(child_count, self.children.len());
        let of_root = self.nodes.get(self.root).map_or(0, |root| root.child_count);
        assert_eq!(
            self.children_by_grandchild.len() + of_root as usize,
            child_count
        );
        for (&(grandparent, _, level), &child) in &self.children_by_grandchild {
            assert_eq!(self.child(grandparent, level), Some(child));
        }
        let is_bare = |node: &&Node<V>| node.child_count == 0 && node.value.is_none();
        let bare_count = self.nodes.iter().filter(is_bare).count();
        assert_eq!(
            bare_count,
            usize::from(self.is_empty()),
            "only the root may be bare"
        );
        assert!(self.levels.len() <= child_count);
    }
}

/// A filter with its texts looked up.
struct Pattern {
    /// `None` for `+`.
    levels: Vec<Option<LevelId>>,
    /// `#` after the levels.
    has_rest: bool,
}

impl Pattern {
    /// `None` when a level is in no stored name, so that nothing can match.
    fn new(topic_filter: &str, known: &Levels) -> Option<Self> {
        let has_rest = topic_filter == "#" || topic_filter.ends_with("/#");
        let level_count = topic_filter.split('/').count() - usize::from(has_rest);
        let levels = topic_filter
            .split('/')
            .take(level_count)
            .map(|level| match level {
                "+" => Some(None),
                text => known.find(text).map(Some),
            });
        Some(Self {
            levels: levels.collect::<Option<_>>()?,
            has_rest,
        })
    }

    /// What the level at `depth` (the root's children are at 0) has to be.
    fn at(&self, depth: usize) -> Step {
        match self.levels.get(depth) {
            Some(Some(level)) => Step::Only(*level),
            Some(None) => Step::Any,
            None if self.has_rest => Step::Any,
            None => Step::End,
        }
    }
}

#[derive(Clone, Copy)]
enum Step {
    Only(LevelId),
    Any,
    End,
}

/// A walk in depth-first order over the nodes that the pattern admits.
struct Walk<'a, V> {
    tree: &'a RetainedTree<V>,
    pattern: &'a Pattern,
    /// Levels and nodes from the root's child to the present node; empty at the root.
    path: Vec<(LevelId, Slot)>,
}

impl<'a, V> Walk<'a, V> {
    /// Stands at the cursor's node, or at the next one if it is gone. `None`: nothing is left.
    fn resume(tree: &'a RetainedTree<V>, pattern: &'a Pattern, cursor: &Cursor) -> Option<Self> {
        let path = Vec::with_capacity(cursor.path.len());
        let mut walk = Self {
            tree,
            pattern,
            path,
        };
        for &level in &cursor.path {
            match walk.admitted_child_from(level) {
                Some(child) => walk.path.push(child),
                None => return walk.leave().then_some(walk),
            }
            if walk.level() != level {
                break; // The cursor's node is gone; this is the next one.
            }
        }
        Some(walk)
    }

    fn into_cursor(self) -> Cursor {
        Cursor {
            path: self.path.into_iter().map(|(level, _)| level).collect(),
        }
    }

    fn node(&self) -> Slot {
        self.path.last().map_or(self.tree.root, |&(_, slot)| slot)
    }

    fn level(&self) -> LevelId {
        self.path.last().map_or(LevelId::ANY, |&(level, _)| level)
    }

    fn matched_value(&self) -> Option<&'a V> {
        let depth = self.path.len();
        let ends_here = depth == self.pattern.levels.len();
        let is_below = depth > self.pattern.levels.len() && self.pattern.has_rest;
        if !(ends_here || is_below) || self.is_hidden() {
            return None;
        }
        self.tree.nodes.get(self.node())?.value.as_ref()
    }

    /// In a topic that begins with `$` and is not found by a leading wildcard. [MQTT-4.7.2-1]
    fn is_hidden(&self) -> bool {
        matches!(self.pattern.at(0), Step::Any)
            && self
                .path
                .first()
                .is_some_and(|&(level, _)| self.tree.levels.text(level).starts_with('$'))
    }

    /// To the next node: the first child or, without one, the next beside or above.
    fn go_on(&mut self) -> bool {
        let child = if self.is_hidden() {
            None
        } else {
            self.admitted_child_from(LevelId::MIN)
        };
        match child {
            Some(child) => {
                self.path.push(child);
                true
            }
            None => self.leave(),
        }
    }

    /// To the next node that is not below the present one. False at the end.
    fn leave(&mut self) -> bool {
        while let Some((level, _)) = self.path.pop() {
            if let Some(sibling) = self.admitted_child_after(level) {
                self.path.push(sibling);
                return true;
            }
        }
        false
    }

    /// The first child of the present node that the pattern admits and that is not before `from`.
    fn admitted_child_from(&self, from: LevelId) -> Option<(LevelId, Slot)> {
        match self.pattern.at(self.path.len()) {
            Step::Only(level) if level >= from => {
                Some((level, self.tree.child(self.node(), level)?))
            }
            Step::Any => self.any_child_from(from),
            Step::Only(_) | Step::End => None,
        }
    }

    fn admitted_child_after(&self, level: LevelId) -> Option<(LevelId, Slot)> {
        match self.pattern.at(self.path.len()) {
            Step::Any => self.any_child_from(level.successor()?),
            Step::Only(_) | Step::End => None,
        }
    }

    /// The first child that is not before `from` and, if the pattern goes on with a text, has it.
    fn any_child_from(&self, from: LevelId) -> Option<(LevelId, Slot)> {
        match self.pattern.at(self.path.len() + 1) {
            Step::Only(next) => self.tree.child_with(self.node(), next, from),
            Step::Any | Step::End => self.tree.child_from(self.node(), from),
        }
    }
}
