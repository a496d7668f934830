//! Index and trie against the plain definition, and their cost.

use super::fuzz::exercise_index;
use super::index::Index;
use super::names::FilterKind;
use super::trie::Trie;
use crate::base::random::Random;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    // [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.2-1] [MQTT-4.7.3-4]
    #[test]
    fn index_equals_plain_matching_after_any_operations(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        exercise_index(&bytes);
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
    trie.matches(&["a"; 12].join("/"), &mut found);
    assert_eq!(found.len(), 1 << 12);
    found.clear();
    trie.matches(&["a"; 13].join("/"), &mut found);
    assert_eq!(found, []);
}
