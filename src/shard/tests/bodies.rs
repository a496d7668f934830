//! Message bodies in the journal: in which segment one is needed, and when it is written again.

use super::cluster::{Cluster, publish, publish_as, subscribe};
use crate::codec::{ForwardableRuns, MessageParts, QosLevel};
use crate::config::limits::DurabilityAck;

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
    cluster.settle_with_disks();
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
        cluster.settle_with_disks();
    }
    for _ in 0..2 {
        cluster.shards[0].begin_snapshot();
        cluster.settle_with_disks();
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
