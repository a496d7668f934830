//! What shards tell each other of their exact filters when topic names have the same hash.

use super::cluster::{Cluster, publish, subscribe, unsubscribe};
use crate::topic::index::Index;

const SUB_ACK_0: [u8; 5] = [0x90, 3, 0, 1, 0];
const UNSUB_ACK: [u8; 4] = [0xb0, 2, 0, 2];
const NOTHING: [u8; 0] = [];

#[test]
fn filters_with_the_same_hash_are_withdrawn_with_the_last_of_them() {
    let mut cluster = Cluster::new(2);
    for shard in &mut cluster.shards {
        shard.index = Index::with_equal_hashes(1);
    }
    let subscriber = cluster.connect(1, "subscriber");
    let publisher = cluster.connect(0, "publisher");
    for filter in ["a", "b", "c"] {
        cluster.feed(subscriber, &subscribe(filter, 0));
        cluster.settle();
        assert_eq!(cluster.received(subscriber), SUB_ACK_0);
    }
    for (ended, still) in [("b", "a"), ("a", "c")] {
        cluster.feed(subscriber, &unsubscribe(ended));
        cluster.settle();
        assert_eq!(cluster.received(subscriber), UNSUB_ACK);
        cluster.feed(publisher, &publish(0, ended, "x"));
        cluster.settle();
        assert_eq!(cluster.received(subscriber), NOTHING);
        cluster.feed(publisher, &publish(0, still, "x"));
        cluster.settle();
        assert_eq!(cluster.received(subscriber), publish(0, still, "x"));
    }

    cluster.feed(subscriber, &unsubscribe("c"));
    cluster.settle();
    let hash = cluster.shards[0].index.topic_hash(b"c");
    assert!(cluster.shards[0].interest.shards(b"c", hash).is_empty());
}
