//! Index and trie against the plain definition, and their cost.

use super::fuzz::{exercise_index, exercise_retained};
use super::index::Index;
use super::names::FilterKind;
use super::retained::{Cursor, RetainedTree};
use super::trie::Trie;
use crate::base::random::Random;
use proptest::prelude::*;
use std::ops::ControlFlow;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    // [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.2-1] [MQTT-4.7.3-4]
    #[test]
    fn index_equals_plain_matching_after_any_operations(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        exercise_index(&bytes);
    }

    // [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.2-1] [MQTT-4.7.3-4]
    #[test]
    fn retained_lookup_in_slices_equals_plain_matching_while_names_come_and_go(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        exercise_retained(&bytes);
    }
}

#[test]
fn index_equals_plain_matching_when_one_filter_has_a_crowd() {
    let mut random = Random::new(7);
    let mut bytes = vec![0];
    for _ in 0..2000 {
        // Operation, one level, "+", key.
        let [operation, key] = [(); 2].map(|()| random.next_u64().to_le_bytes()[0]);
        bytes.extend([operation, 0, 4, key]);
    }
    exercise_index(&bytes);
}

fn matches(index: &mut Index<u32, ()>, topic_name: &str) -> Vec<u32> {
    let mut out = Vec::new();
    index.matches(topic_name, &mut out);
    out.into_iter().map(|(key, ())| key).collect()
}

#[test]
fn exact_filters_are_found_when_the_table_was_made_larger_and_smaller() {
    let mut index = Index::new(1);
    let filters = ["a", "a/b", "$SYS/c"];
    for (key, topic_filter) in (0u32..).zip(filters) {
        index.insert(topic_filter, FilterKind::Exact, key, ());
    }
    let resize: [fn(&mut Index<u32, ()>); 2] = [|index| index.reserve(1000), Index::shrink];
    for resize in resize {
        resize(&mut index);
        for (key, topic_name) in (0u32..).zip(filters) {
            assert_eq!(matches(&mut index, topic_name), [key]);
            assert!(index.get(topic_name, key).is_some());
        }
    }
}

#[test]
fn leading_wildcard_does_not_match_when_name_begins_with_dollar() {
    let mut index = Index::new(1);
    for (key, topic_filter) in ["#", "+/a", "+/#", "$SYS/#", "$SYS/+"]
        .into_iter()
        .enumerate()
    {
        index.insert(
            topic_filter,
            FilterKind::Wildcard,
            u32::try_from(key).unwrap(),
            (),
        );
    }
    // [MQTT-4.7.2-1]
    assert_eq!(matches(&mut index, "$SYS/a"), [3, 4]);
    assert_eq!(matches(&mut index, "$SYS"), [3]);
    assert_eq!(matches(&mut index, "x/a"), [0, 2, 1]);
}

#[test]
fn deepest_filter_of_all_is_inserted_matched_and_removed() {
    let topic_filter = format!("{}+", "/".repeat(65_534));
    let mut index = Index::new(1);
    let inserted = index.insert(&topic_filter, FilterKind::Wildcard, 1, ());
    let mut text = String::new();
    index.filter_text(inserted.filter, &mut text);
    assert_eq!(text, topic_filter);
    assert_eq!(matches(&mut index, &"/".repeat(65_534)), [1]);
    assert!(
        index
            .remove_by_id(inserted.filter, 1)
            .is_some_and(|removed| removed.last)
    );
    index.assert_invariants();
}

/// All 2^12 filters of `a` and `+` lie in the trie; a name that leaves them at its last level must
/// not visit a node twice, however many ways of wildcards there are.
#[test]
fn match_visits_each_node_once_when_wildcards_are_stacked() {
    let mut trie = Trie::new(1);
    for bits in 0..1_u32 << 12 {
        let levels = (0..12).map(|bit| if bits >> bit & 1 == 0 { "a" } else { "+" });
        trie.insert(&levels.collect::<Vec<_>>().join("/"), bits, ());
    }
    let mut found = Vec::new();
    trie.matches(["a"; 12].join("/").as_bytes(), &mut found);
    assert_eq!(found.len(), 1 << 12);
    found.clear();
    trie.matches(["a"; 13].join("/").as_bytes(), &mut found);
    assert_eq!(found, []);
}

/// 100 devices with 100 sensors each, beside 10,000 names that are none of their business.
fn house() -> RetainedTree<String> {
    let mut tree = RetainedTree::new(1);
    for device in 0..100 {
        for sensor in 0..100 {
            let topic_name = format!("device/{device}/{sensor}");
            tree.insert(&topic_name, topic_name.clone());
            tree.insert(&format!("other/{sensor}/{device}/x"), String::new());
        }
    }
    tree
}

#[test]
fn lookup_visits_only_what_can_match() {
    let tree = house();
    let check = |topic_filter: &str, expected_count: usize, visits_max: usize| {
        let mut found = Vec::new();
        let rest = tree.lookup(topic_filter, &Cursor::default(), visits_max, |topic_name| {
            found.push(topic_name.clone());
            ControlFlow::Continue(())
        });
        assert!(rest.is_none(), "{topic_filter}");
        assert_eq!(found.len(), expected_count, "{topic_filter}");
    };
    // Root, then one node per level of text; each node of a wildcard.
    check("device/7/8", 1, 1 + 3);
    check("device/+/8", 100, 1 + 1 + 200);
    check("device/7/#", 100, 1 + 2 + 100);
    check("device/7/8/#", 1, 1 + 3);
    check("device/7/nothing", 0, 0);
    // "other" has the level 7, too, but not 8 below it.
    check("+/7/8", 1, 1 + 2 + 2 + 2);
    check("+/+/99/x", 100, 1 + (1 + 200) + (1 + 300));
    check("device/#", 10_000, 1 + 1 + 100 + 10_000);
}

/// Names of `a` that end otherwise, and names beside `a` that end in the same way, do not slow down
/// a filter that finds ten.
#[test]
fn lookup_costs_by_its_matches_and_not_by_what_is_stored() {
    let visits_of = |stored: u32| {
        let mut tree = RetainedTree::new(1);
        for number in 0..stored / 2 {
            tree.insert(&format!("a/{number}/c"), ());
            tree.insert(&format!("z{number}/{number}/b"), ());
        }
        for number in 0..10 {
            tree.insert(&format!("a/{}/b", number * 40), ());
        }
        tree.assert_invariants();
        let (mut visits, mut found) = (0, 0);
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            visits += 1;
            cursor = tree.lookup("a/+/b", &from, 1, |()| {
                found += 1;
                ControlFlow::Continue(())
            });
        }
        (visits, found)
    };
    let few = visits_of(1000);
    assert_eq!(few, (1 + 1 + 2 * 10, 10));
    assert_eq!(visits_of(200_000), few);
}

#[test]
fn lookup_comes_back_to_the_value_that_found_no_room() {
    let tree = house();
    let mut cursor = Some(Cursor::default());
    let mut found = Vec::new();
    while let Some(from) = cursor {
        let mut room = 7;
        cursor = tree.lookup("device/+/5", &from, usize::MAX, |topic_name| {
            if room == 0 {
                return ControlFlow::Break(());
            }
            room -= 1;
            found.push(topic_name.clone());
            ControlFlow::Continue(())
        });
    }
    assert_eq!(found.len(), 100);
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 100, "each once");
}

#[test]
fn filter_and_the_same_one_with_hash_come_and_go_at_one_node() {
    let filters = [(0, "+/a"), (1, "+/a/#")];
    for (first, second) in [(filters[0], filters[1]), (filters[1], filters[0])] {
        let mut index = Index::new(1);
        for (key, topic_filter) in [first, second] {
            let inserted = index.insert(topic_filter, FilterKind::Wildcard, key, ());
            assert!(inserted.first);
            index.assert_invariants();
        }
        for (key, topic_filter) in filters {
            let (filter, ()) = index.get(topic_filter, key).unwrap();
            let mut text = String::new();
            index.filter_text(filter, &mut text);
            assert_eq!(text, topic_filter);
        }
        assert_eq!(matches(&mut index, "x/a"), [0, 1]);
        assert_eq!(matches(&mut index, "x/a/b"), [1]);
        assert!(index.remove(first.1, first.0).is_some_and(|it| it.last));
        index.assert_invariants();
        assert_eq!(matches(&mut index, "x/a"), [second.0]);
        assert!(index.remove(second.1, second.0).is_some_and(|it| it.last));
        index.assert_invariants();
        assert_eq!(index.filter_count(), 0);
    }
}
