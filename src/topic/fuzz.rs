//! Bodies of the fuzz targets of this module; ordinary tests call them with fixed seeds.

use super::index::{FilterId, Index};
use super::names::{self, FilterKind};
use super::retained::{Cursor, RetainedTree};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Few texts, so that filters share levels and topics match; all the special ones among them.
const LEVELS: [&str; 8] = ["a", "b", "", "$s", "+", "+", "#", "c"];
const LEVELS_MAX: u16 = 6;
/// Enough for one filter to have a crowd.
const KEY_COUNT: u8 = 40;

/// What the index must agree with: each subscription by itself.
type Model = BTreeMap<(String, u8), (FilterId, u64)>;

/// Turns `bytes` into operations on an [`Index`] and compares it after each with the plain
/// definition of matching; at the end removes everything and expects nothing to be left.
pub fn exercise_index(bytes: &[u8]) {
    let mut input = bytes.iter().copied();
    let mut index = Index::new(u64::from(input.next().unwrap_or(0)));
    let mut model = Model::new();
    while let Some(operation) = input.next() {
        let topic = take_topic(&mut input);
        let key = input.next().unwrap_or(0) % KEY_COUNT;
        let generation = index.generation();
        match operation % 4 {
            0 | 1 => insert(&mut index, &mut model, &topic, key),
            2 => remove(&mut index, &mut model, &topic, key, operation & 4 != 0),
            _ => compare_matches(&mut index, &model, &topic),
        }
        assert_eq!(
            index.get(&topic, key).map(|(id, _)| id),
            id_of(&model, &topic, key)
        );
        assert!(index.generation() - generation <= 1);
        index.assert_invariants();
    }
    compare_counts(&index, &model);
    compare_texts(&index, &model);
    for ((topic_filter, key), _) in std::mem::take(&mut model) {
        assert!(index.remove(&topic_filter, key).is_some());
    }
    compare_counts(&index, &model);
    index.assert_invariants();
}

fn take_topic(input: &mut impl Iterator<Item = u8>) -> String {
    let count = input.next().unwrap_or(0) % 5 + 1;
    let levels = input
        .take(usize::from(count))
        .map(|byte| LEVELS[usize::from(byte % 8)]);
    levels.collect::<Vec<_>>().join("/")
}

fn id_of(model: &Model, topic_filter: &str, key: u8) -> Option<FilterId> {
    model
        .get(&(topic_filter.to_owned(), key))
        .map(|&(id, _)| id)
}

fn subscriber_count(model: &Model, topic_filter: &str) -> usize {
    model
        .keys()
        .filter(|(other, _)| other == topic_filter)
        .count()
}

fn insert(index: &mut Index<u8, u64>, model: &mut Model, topic_filter: &str, key: u8) {
    let Ok(kind) = names::validate_topic_filter(topic_filter, LEVELS_MAX) else {
        return;
    };
    let value = index.generation();
    let inserted = index.insert(topic_filter, kind, key, value);
    assert_eq!(inserted.filter.kind(), kind);
    assert_eq!(inserted.first, subscriber_count(model, topic_filter) == 0);
    let previous = model.insert((topic_filter.to_owned(), key), (inserted.filter, value));
    assert_eq!(inserted.previous, previous.map(|(_, value)| value));
    assert!(previous.is_none_or(|(id, _)| id == inserted.filter));
}

fn remove(index: &mut Index<u8, u64>, model: &mut Model, topic_filter: &str, key: u8, by_id: bool) {
    let expected = model.remove(&(topic_filter.to_owned(), key));
    let removed = match expected {
        Some((id, _)) if by_id => index.remove_by_id(id, key),
        _ => index.remove(topic_filter, key),
    };
    assert_eq!(
        removed.map(|removed| (removed.filter, removed.value)),
        expected
    );
    let left = subscriber_count(model, topic_filter);
    assert!(removed.is_none_or(|removed| removed.last == (left == 0)));
}

fn compare_matches(index: &mut Index<u8, u64>, model: &Model, topic_name: &str) {
    if names::validate_topic_name(topic_name, LEVELS_MAX).is_err() {
        return;
    }
    let mut found = Vec::new();
    index.matches(topic_name, &mut found);
    let matching = model
        .iter()
        .filter(|((filter, _), _)| names::matches(filter, topic_name));
    let mut expected: Vec<_> = matching
        .map(|((_, key), (_, value))| (*key, *value))
        .collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "{topic_name:?}");
}

fn compare_counts(index: &Index<u8, u64>, model: &Model) {
    let mut filters: Vec<_> = model.keys().map(|(filter, _)| filter).collect();
    filters.dedup();
    assert_eq!(index.filter_count(), filters.len());
    assert_eq!(index.subscription_count(), model.len());
}

fn compare_texts(index: &Index<u8, u64>, model: &Model) {
    for ((topic_filter, _), (id, _)) in model {
        let mut text = String::new();
        index.filter_text(*id, &mut text);
        assert_eq!(&text, topic_filter);
        let is_exact = !topic_filter.contains(['+', '#']);
        assert_eq!(id.kind() == FilterKind::Exact, is_exact);
    }
}

/// A lookup in progress, and what has to come out of it.
struct Lookup {
    topic_filter: String,
    cursor: Cursor,
    /// Matching names that have been stored since the lookup began.
    stayed: BTreeSet<String>,
    /// Matching names that have been stored at some time since then.
    seen: BTreeSet<String>,
    found: Vec<String>,
}

/// Turns `bytes` into operations on a [`RetainedTree`] and compares it with a plain map; lookups
/// run in slices with changes between them.
pub fn exercise_retained(bytes: &[u8]) {
    let mut input = bytes.iter().copied();
    let mut tree = RetainedTree::new(u64::from(input.next().unwrap_or(0)));
    let mut stored = BTreeSet::new();
    let mut lookup = None;
    while let Some(operation) = input.next() {
        let topic = take_topic(&mut input);
        match operation % 4 {
            0 | 1 => store(&mut tree, &mut stored, &mut lookup, &topic),
            2 => {
                assert_eq!(tree.remove(&topic).is_some(), stored.remove(&topic));
                lookup.iter_mut().for_each(|lookup: &mut Lookup| {
                    lookup.stayed.remove(&topic);
                });
            }
            _ => {
                let lookup_now = lookup.take().or_else(|| begin(&stored, &topic));
                lookup = lookup_now.and_then(|l| go_on(&tree, l, usize::from(operation >> 2)));
            }
        }
        assert_eq!(tree.get(&topic).is_some(), stored.contains(&topic));
        assert_eq!(tree.len(), stored.len());
        tree.assert_invariants();
    }
    while let Some(rest) = lookup {
        lookup = go_on(&tree, rest, 9);
    }
    for topic_name in &stored {
        assert_eq!(tree.remove(topic_name).as_ref(), Some(topic_name));
    }
    tree.assert_invariants();
}

fn store(
    tree: &mut RetainedTree<String>,
    stored: &mut BTreeSet<String>,
    lookup: &mut Option<Lookup>,
    topic_name: &str,
) {
    if names::validate_topic_name(topic_name, LEVELS_MAX).is_err() {
        return;
    }
    let previous = tree.insert(topic_name, topic_name.to_owned());
    assert_eq!(previous.is_none(), stored.insert(topic_name.to_owned()));
    if let Some(lookup) = lookup
        && names::matches(&lookup.topic_filter, topic_name)
    {
        lookup.seen.insert(topic_name.to_owned());
    }
}

fn begin(stored: &BTreeSet<String>, topic_filter: &str) -> Option<Lookup> {
    names::validate_topic_filter(topic_filter, LEVELS_MAX).ok()?;
    let matching = stored
        .iter()
        .filter(|name| names::matches(topic_filter, name));
    let matching: BTreeSet<_> = matching.cloned().collect();
    Some(Lookup {
        topic_filter: topic_filter.to_owned(),
        cursor: Cursor::default(),
        stayed: matching.clone(),
        seen: matching,
        found: Vec::new(),
    })
}

/// One slice of a small number of visits and matches; `None` when the lookup came to its end.
fn go_on(tree: &RetainedTree<String>, mut lookup: Lookup, bound: usize) -> Option<Lookup> {
    let (visits_max, mut room) = (1 + bound % 7, 1 + bound % 4);
    let found = &mut lookup.found;
    let cursor = tree.lookup(
        &lookup.topic_filter,
        &lookup.cursor,
        visits_max,
        |topic_name| {
            if room == 0 {
                return ControlFlow::Break(());
            }
            room -= 1;
            found.push(topic_name.clone());
            ControlFlow::Continue(())
        },
    );
    let found: BTreeSet<_> = lookup.found.iter().cloned().collect();
    assert!(found.is_subset(&lookup.seen), "{}", lookup.topic_filter);
    for topic_name in &lookup.stayed {
        let count = lookup
            .found
            .iter()
            .filter(|&name| name == topic_name)
            .count();
        assert!(
            count <= 1 && (cursor.is_some() || count == 1),
            "{topic_name:?}"
        );
    }
    lookup.cursor = cursor?;
    Some(lookup)
}
