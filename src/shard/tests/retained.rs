//! The retained store: its limits, and lookups that are cut into slices.

use super::cluster::{Cluster, publish, subscribe};
use crate::config::limits::Limits;

/// Retained messages that a cluster of one shard has, and how many it has refused.
fn stored(cluster: &Cluster) -> (usize, u64) {
    let shard = &cluster.shards[0];
    shard.assert_invariants();
    (shard.retained.len(), shard.counters().retained_refused)
}

#[test]
fn full_store_takes_replacements_and_refuses_new_topics() {
    let mut cluster = Cluster::with_limits(1, &|limits| limits.retained_messages_max = 2);
    let client = cluster.connect(0, "client");
    for topic_name in ["a/b", "a/c", "a/d"] {
        cluster.feed(client, &publish(1, topic_name, "old"));
    }
    assert_eq!(stored(&cluster), (2, 1));
    cluster.feed(client, &publish(1, "a/b", "new and longer"));
    assert_eq!(stored(&cluster), (2, 1));
    cluster.feed(client, &publish(1, "a/c", ""));
    cluster.feed(client, &publish(1, "a/d", "new"));
    assert_eq!(stored(&cluster), (2, 1));
    cluster.feed(client, &subscribe("#", 0));
    cluster.settle();
    let received = cluster.received(client);
    let retained = [
        publish(1, "a/b", "new and longer"),
        publish(1, "a/d", "new"),
    ];
    assert!(
        received.ends_with(&retained.concat()),
        "{}",
        received.escape_ascii()
    );
}

/// The tree counts, too: a deep topic name is more than its text.
#[test]
fn bytes_of_the_topic_tree_are_limited() {
    let deep = ["x"; 50].join("/");
    let check = |bytes_max: u64, expected: (usize, u64)| {
        let set = |limits: &mut Limits| limits.retained_bytes_max = bytes_max;
        let mut cluster = Cluster::with_limits(1, &set);
        let client = cluster.connect(0, "client");
        cluster.feed(client, &publish(1, &deep, "x"));
        assert_eq!(stored(&cluster), expected, "{bytes_max} bytes");
        // At the limit a replacement of the same size has room.
        cluster.feed(client, &publish(1, &deep, "y"));
        assert_eq!(stored(&cluster).0, expected.0, "{bytes_max} bytes");
    };
    check(4 << 10, (0, 1));
    check(16 << 10, (1, 0));
    let used = {
        let mut cluster = Cluster::new(1);
        let client = cluster.connect(0, "client");
        cluster.feed(client, &publish(1, &deep, "x"));
        cluster.shards[0].retained.bytes()
    };
    // A new name is counted as if its levels were all different.
    check(used + 50 * 81, (1, 0));
}

/// A replacement that is refused must not leave its predecessor in force.
#[test]
fn replacement_that_is_too_large_ends_the_message_before_it() {
    let mut cluster = Cluster::with_limits(1, &|limits| limits.retained_payload_bytes_max = 3);
    let client = cluster.connect(0, "client");
    cluster.feed(client, &publish(1, "t", "old"));
    assert_eq!(stored(&cluster), (1, 0));
    cluster.feed(client, &publish(1, "t", "newer"));
    assert_eq!(stored(&cluster), (0, 1));
}

/// Answers of one turn; 16 slices of 64.
const ANSWERS_PER_TURN_MAX: u64 = 1024;

#[test]
fn lookup_of_everything_leaves_each_turn_to_others() {
    const STORED: u64 = 5000;
    let mut cluster = Cluster::new(1);
    let publisher = cluster.connect(0, "publisher");
    for number in 0..STORED {
        cluster.feed(publisher, &publish(1, &format!("t/{number}"), "x"));
    }
    let other = cluster.connect(0, "other");
    cluster.feed(other, &subscribe("live", 0));
    cluster.received(other);
    let subscriber = cluster.connect(0, "subscriber");
    cluster.feed(subscriber, &subscribe("t/#", 0));
    let sent = |cluster: &Cluster| cluster.shards[0].counters().messages_sent;
    let (mut turns, mut answered) = (0, 0);
    loop {
        let before = sent(&cluster);
        if !cluster.run_slices(0) {
            break;
        }
        turns += 1;
        let answers = sent(&cluster) - before;
        assert!(answers <= ANSWERS_PER_TURN_MAX, "{answers}");
        answered += answers;
        cluster.feed(publisher, &publish(0, "live", "x"));
        assert_eq!(sent(&cluster), before + answers + 1, "at once");
    }
    assert_eq!(answered, STORED);
    assert!(turns > STORED / ANSWERS_PER_TURN_MAX);
}
