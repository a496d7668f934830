//! Whose acknowledgements wait for the disk.

use super::cluster::{Client, Cluster, publish, publish_as, subscribe};
use crate::codec::{ForwardableRuns, MessageParts, QosLevel};
use crate::config::limits::{DurabilityAck, Limits, ListenerLimits};
use crate::shard::interface::ReadVerdict;

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

/// Two shards with journals; a persistent publisher on the first, and a topic whose retained
/// message the second owns.
fn pair() -> (Cluster, Client, String) {
    let set = |limits: &mut Limits| limits.durability.ack = DurabilityAck::Disk;
    let mut cluster = Cluster::with_limits(2, &set);
    cluster.start_journals();
    let publisher = cluster.open(0, "publisher", 4, false);
    settle_with_disks(&mut cluster);
    let topic_name = cluster.text_at(1, "topic");
    (cluster, publisher, topic_name)
}

fn settle_with_disks(cluster: &mut Cluster) {
    for _ in 0..4 {
        cluster.settle();
        for shard in 0..cluster.shards.len() {
            cluster.write_journal(shard);
        }
    }
    (0..cluster.shards.len()).for_each(|shard| drop(cluster.sent(shard)));
}

/// A QoS 2 message travels when it is durable; what its client sends next follows it.
/// [MQTT-4.6.0-6]
#[test]
fn later_message_does_not_overtake_one_that_waits_for_the_disk() {
    let (mut cluster, publisher, topic_name) = pair();
    cluster.feed(publisher, &publish_as(1, 0x05, &topic_name, "old"));
    let new = publish_as(2, 0x03, &topic_name, "new");
    assert_eq!(cluster.feed_any(publisher, &new), ReadVerdict::Pause);
    settle_with_disks(&mut cluster);
    cluster.feed(publisher, &[]);
    settle_with_disks(&mut cluster);
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
    settle_with_disks(&mut cluster);
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

/// A queue had only its place, and has let it go; the message lives on where it needs no journal.
/// The next queue that is journalled must not refer to a segment that was given up meanwhile.
#[test]
fn body_is_written_again_when_its_segment_was_given_up() {
    let mut cluster = Cluster::with_limits(1, &|limits| {
        limits.durability.ack = DurabilityAck::Disk;
        limits.packet_bytes_max = 200 << 10;
        limits.durability.segment_bytes = 1 << 20;
    });
    cluster.start_journals();
    let publisher = cluster.open(0, "publisher", 4, false);
    settle_with_disks(&mut cluster);
    let shard = &mut cluster.shards[0];
    let message = shard.messages.make(&MessageParts {
        topic_name: b"t",
        properties: ForwardableRuns::default(),
        payload: b"x",
        qos: QosLevel::AtLeastOnce,
        retain: false,
        expires_at: None,
    });
    let (place, bytes) = shard.journal.hold(&message).unwrap();
    assert_eq!(shard.journal.leave_on_disk(&message), Some(place));
    shard.journal.writer().unwrap().remove_live(place, bytes);
    let payload = "x".repeat(100 << 10);
    for packet_id in 1..=50 {
        let packet = publish_as(packet_id, 0x03, "retained", &payload);
        cluster.feed(publisher, &packet);
        settle_with_disks(&mut cluster);
    }
    for _ in 0..2 {
        cluster.shards[0].begin_snapshot();
        settle_with_disks(&mut cluster);
    }
    let shard = &mut cluster.shards[0];
    let (again, _) = shard.journal.hold(&message).unwrap();
    assert!(again.segment() > place.segment(), "{again:?} {place:?}");
    shard.journal.let_go(&message);
    shard.messages.release(message);
}

/// A shard with a journal of small segments whose queues stay on the disk.
fn overflowing() -> Cluster {
    let mut cluster = Cluster::with_limits(1, &|limits| {
        limits.durability.ack = DurabilityAck::Disk;
        limits.packet_bytes_max = 64 << 10;
        limits.durability.segment_bytes = 2 << 20;
        limits.queue_memory_bytes_max = 0;
    });
    cluster.start_journals();
    cluster
}

/// The same by packets: a member of a group that is not journalled leaves a message to an heir that
/// is.
#[test]
fn heir_of_a_member_without_journal_gets_the_body_written_again() {
    let mut cluster = overflowing();
    let open = |cluster: &mut Cluster, name, is_clean, filter| {
        let client = cluster.open(0, name, 4, is_clean);
        cluster.write_journal(0);
        cluster.feed(client, &subscribe(filter, 1));
        cluster.write_journal(0);
        client
    };
    let member = open(&mut cluster, "member", true, "$share/group/t");
    let away = open(&mut cluster, "away", false, "t");
    cluster.cut(away);
    let publisher = open(&mut cluster, "publisher", true, "nothing");
    cluster.feed(publisher, &publish(2, "t", "x"));
    cluster.write_journal(0);
    assert!(cluster.shards[0].journal_live_bytes() > 0);
    cluster.open(0, "away", 4, true);
    let large = "x".repeat(50 << 10);
    for _ in 0..60 {
        cluster.feed(publisher, &publish(3, "large", &large));
        cluster.write_journal(0);
    }
    cluster.feed(publisher, &publish(3, "large", ""));
    cluster.shards[0].begin_snapshot();
    cluster.write_journal(0);
    assert_eq!(cluster.shards[0].journal_live_bytes(), 0);
    let heir = open(&mut cluster, "heir", false, "$share/group/t");
    cluster.cut(heir);
    cluster.cut(member);
    assert!(cluster.shards[0].journal_live_bytes() > 0);
}

/// A session's end that was asked for on a connection which did not live to hear of it.
/// [MQTT-3.2.2-2]
#[test]
fn session_present_0_waits_for_the_end_of_an_earlier_session() {
    let (mut cluster, publisher, _) = pair();
    cluster.cut(publisher);
    settle_with_disks(&mut cluster);
    let first = cluster.open(0, "publisher", 4, true);
    assert_eq!(cluster.sent(0), []);
    cluster.cut(first);
    let second = cluster.open(0, "publisher", 4, true);
    assert_eq!(cluster.sent(0), []);
    cluster.write_journal(0);
    let conn_ack = vec![0x20, 2, 0, 0];
    assert_eq!(cluster.sent(0), [(second, conn_ack)]);
}
