//! Whose acknowledgements wait for the disk.

use super::cluster::{Client, Cluster, publish, subscribe};
use crate::config::limits::{DurabilityAck, ListenerLimits};

const OVERRIDES: [Option<DurabilityAck>; 3] =
    [None, Some(DurabilityAck::Disk), Some(DurabilityAck::None)];

/// A shard with a journal, one listener for each of [`OVERRIDES`] with a publisher each, and a
/// persistent subscriber.
fn cluster(ack: DurabilityAck) -> (Cluster, [Client; 3]) {
    let mut cluster = Cluster::with_limits(1, &|limits| {
        limits.durability.ack = ack;
        let listener = |durability_ack| ListenerLimits {
            durability_ack,
            ..ListenerLimits::DEFAULT
        };
        limits.listeners = OVERRIDES.map(listener).to_vec();
    });
    cluster.start_journals();
    let subscriber = cluster.open(0, "subscriber", 4, false);
    cluster.write_journal(0);
    cluster.feed(subscriber, &subscribe("t", 1));
    cluster.write_journal(0);
    let publishers = [0, 1, 2].map(|listener| {
        let name = format!("publisher{listener}-");
        cluster.open_at(listener, 0, &name, 4, true)
    });
    cluster.write_journal(0);
    cluster.sent(0);
    (cluster, publishers)
}

fn is_acknowledged(cluster: &mut Cluster, client: Client) -> bool {
    let sent = cluster.sent(0);
    sent.iter()
        .any(|(to, bytes)| *to == client && bytes[0] == 0x40)
}

/// By publisher: whether PUBACK waits for the disk.
fn waits(ack: DurabilityAck) -> [bool; 3] {
    let (mut cluster, publishers) = cluster(ack);
    publishers.map(|publisher| {
        cluster.feed(publisher, &publish(2, "t", "x"));
        let at_once = is_acknowledged(&mut cluster, publisher);
        let is_synced = cluster.write_journal(0) > 0;
        assert!(at_once || is_synced && is_acknowledged(&mut cluster, publisher));
        !at_once
    })
}

#[test]
fn a_listener_has_its_own_durability() {
    assert_eq!(waits(DurabilityAck::Disk), [true, true, false]);
    assert_eq!(waits(DurabilityAck::Os), [true, true, false]);
    assert_eq!(waits(DurabilityAck::None), [false, true, false]);
}
