//! What the `$SYS` topics cost.

use super::cluster::{Cluster, subscribe, unsubscribe};
use crate::base::time::Instant;
use crate::config::limits::Limits;
use std::time::Duration;

#[test]
fn without_subscribers_nothing_is_timed_or_sent() {
    let mut cluster = Cluster::new(2);
    let client = cluster.connect(0, "client");
    cluster.feed(client, &subscribe("#", 0));
    cluster.settle();
    assert!(cluster.shards.iter().all(|it| it.poll_timeout().is_none()));

    cluster.feed(client, &subscribe("$SYS/broker/uptime", 0));
    cluster.settle();
    let received = cluster.received(client);
    assert!(received.ends_with(b"$SYS/broker/uptime0 seconds"));
    assert!(cluster.shards[0].poll_timeout().is_some());
    assert!(cluster.shards[1].poll_timeout().is_none());

    cluster.feed(client, &unsubscribe("$SYS/broker/uptime"));
    cluster.settle();
    let later = Instant::ZERO + Duration::from_secs(60);
    cluster.shards[0].on_timeout(later);
    assert!(cluster.hold(0).is_empty());
    assert!(cluster.shards[0].poll_timeout().is_none());
}

/// One collection at a time, however many ask.
#[test]
fn subscribers_in_one_turn_share_a_collection() {
    let mut cluster = Cluster::new(2);
    let client = cluster.connect(0, "client");
    for _ in 0..100 {
        cluster.feed(client, &subscribe("$SYS/broker/uptime", 0));
    }
    let mut held = cluster.hold(0);
    cluster.deliver(&mut held, 1);
    let mut held = cluster.hold(1);
    cluster.deliver(&mut held, 0);
    // All SUBACKs have left, and one question for all of them.
    assert_eq!(cluster.hold(0).len(), 1);
    assert_eq!(cluster.shards[0].counters().packets_sent, 1, "the CONNACK");
    assert_eq!(cluster.received(client).len(), 100 * 5);
}

/// A client that subscribes thousands of times to all of it neither stalls the core nor fills more
/// than its send queue.
#[test]
fn many_subscriptions_are_served_in_slices_within_the_send_queue() {
    let mut cluster = Cluster::new(2);
    let client = cluster.connect(0, "client");
    for number in 0..2000 {
        let filter = ["$SYS/#", "$SYS/broker/#"][number % 2];
        cluster.feed(client, &subscribe(filter, 0));
    }
    // The barrier and its answer, the question for reports and its answer.
    for from in [0, 1, 0] {
        let mut held = cluster.hold(from);
        cluster.deliver(&mut held, 1 - from);
    }
    let mut held = cluster.hold(1);
    let handled = |cluster: &Cluster| {
        let counters = cluster.shards[0].counters();
        counters.messages_sent + counters.drops_slow_consumer
    };
    assert_eq!(handled(&cluster), 0);
    cluster.deliver(&mut held, 0);
    let (mut before, mut turns) = (handled(&cluster), 1);
    assert!(before > 0);
    while cluster.run_slices(0) {
        let now = handled(&cluster);
        turns += u32::from(now > before);
        assert!(now - before < 20_000, "{before} {now}");
        before = now;
    }
    assert!(turns > 5, "{turns}");
    let limit = Limits::default().send_queue_bytes_max as usize;
    assert!(cluster.received(client).len() < limit + 1000);
}
