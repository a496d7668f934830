//! What must not overtake what waits for the disk.

use super::cluster::{Client, Cluster, publish, publish_as, subscribe};
use crate::config::limits::{DurabilityAck, Limits};
use crate::shard::interface::ReadVerdict;

const fn wait_for_disk(limits: &mut Limits) {
    limits.durability.ack = DurabilityAck::Disk;
}

/// Two shards with journals; a persistent publisher on the first, and a topic whose retained
/// message the second owns.
fn pair() -> (Cluster, Client, String) {
    let mut cluster = Cluster::with_limits(2, &wait_for_disk);
    cluster.start_journals();
    let publisher = cluster.open(0, "publisher", 4, false);
    cluster.settle_with_disks();
    let topic_name = cluster.text_at(1, "topic");
    (cluster, publisher, topic_name)
}

/// A QoS 2 message travels when it is durable; what its client sends next follows it.
/// [MQTT-4.6.0-6]
#[test]
fn later_message_does_not_overtake_one_that_waits_for_the_disk() {
    let (mut cluster, publisher, topic_name) = pair();
    cluster.feed(publisher, &publish_as(1, 0x05, &topic_name, "old"));
    let new = publish_as(2, 0x03, &topic_name, "new");
    assert_eq!(cluster.feed_any(publisher, &new), ReadVerdict::Pause);
    cluster.settle_with_disks();
    cluster.feed(publisher, &[]);
    cluster.settle_with_disks();
    let reader = cluster.connect_clean(1, "reader");
    cluster.feed(reader, &subscribe(&topic_name, 0));
    cluster.settle();
    let retained = publish(1, &topic_name, "new");
    assert!(cluster.received(reader).ends_with(&retained));
}

/// The publisher's own shard delivers a message before it travels to the owner of the retained
/// one: a lookup that begins meanwhile must not find the one before.
#[test]
fn lookup_does_not_overtake_a_retained_update_that_waits_for_the_disk() {
    let (mut cluster, publisher, topic_name) = pair();
    cluster.feed(publisher, &publish_as(1, 0x05, &topic_name, "old"));
    cluster.settle_with_disks();
    cluster.feed(publisher, &publish_as(2, 0x05, &topic_name, "new"));
    let reader = cluster.connect_clean(0, "reader");
    cluster.feed(reader, &subscribe(&topic_name, 0));
    cluster.settle();
    let sub_ack = [0x90, 3, 0, 1, 0];
    assert_eq!(cluster.received(reader), sub_ack);
    cluster.write_journal(0);
    cluster.settle();
    let retained = publish(1, &topic_name, "new");
    let sent = cluster.sent(0);
    let of_reader = sent.iter().filter(|(to, _)| *to == reader);
    let bytes: Vec<u8> = of_reader.flat_map(|(_, bytes)| bytes.clone()).collect();
    assert_eq!(bytes, retained, "{}", bytes.escape_ascii());
}

/// A session's end that was asked for on a connection which did not live to hear of it.
/// [MQTT-3.2.2-2]
#[test]
fn session_present_0_waits_for_the_end_of_an_earlier_session() {
    let (mut cluster, publisher, _) = pair();
    cluster.cut(publisher);
    cluster.settle_with_disks();
    let first = cluster.open(0, "publisher", 4, true);
    assert_eq!(cluster.sent(0), []);
    cluster.cut(first);
    let second = cluster.open(0, "publisher", 4, true);
    assert_eq!(cluster.sent(0), []);
    cluster.write_journal(0);
    let conn_ack = vec![0x20, 2, 0, 0];
    assert_eq!(cluster.sent(0), [(second, conn_ack)]);
}

/// Ends without pause leave nothing behind of those that are durable.
#[test]
fn ends_of_sessions_are_forgotten_while_others_come() {
    let mut cluster = Cluster::with_limits(1, &wait_for_disk);
    cluster.start_journals();
    cluster.write_journal(0);
    let mut under_way = None;
    for number in 0..100 {
        let name = format!("client{number}-");
        for is_clean in [false, true] {
            let client = cluster.open(0, &name, 4, is_clean);
            cluster.cut(client);
        }
        let shard = &mut cluster.shards[0];
        if let Some(batch) = under_way.take() {
            shard.on_durable(cluster.now, batch);
        }
        under_way = shard.poll_journal();
    }
    let open = cluster.shards[0].session_ends.count();
    assert!((1..=3).contains(&open), "{open}");
}

/// A disk that is too slow holds back only who needs it, whoever published before.
#[test]
fn message_for_nobody_with_a_journal_needs_no_disk() {
    let mut cluster = Cluster::with_limits(1, &wait_for_disk);
    cluster.start_journals();
    let subscriber = cluster.open(0, "subscriber", 4, false);
    cluster.write_journal(0);
    cluster.feed(subscriber, &subscribe("kept", 1));
    cluster.settle_with_disks();
    cluster.feed(subscriber, &publish(2, "kept", "x"));
    let shard = &mut cluster.shards[0];
    assert!(!shard.has_journalled_receiver(b"other"));
    assert!(shard.has_journalled_receiver(b"kept"));
}
