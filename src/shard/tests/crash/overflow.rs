//! Queues that wait on the disk.

use super::world::{World, limits};
use crate::config::limits::DurabilityAck;
use crate::journal::Place;
use crate::shard::Shard;

const MESSAGES: usize = 1500;

/// Client 0 is away, and client 1 has published for both.
fn world_with_queue(seed: u64) -> World {
    let mut limits = limits(DurabilityAck::Disk);
    limits.queues_memory_bytes_max = 1 << 20;
    let mut world = World::new(seed, 1, 2, limits);
    world.payload_bytes_max = 2000;
    world.subscribe_all();
    world.cut(0);
    publish(&mut world, MESSAGES);
    world
}

fn publish(world: &mut World, count: usize) {
    for _ in 0..count {
        world.publish(1);
        while world.turn() {}
    }
}

/// Of all messages that the shard has in memory, retained ones too.
fn message_bytes(shard: &Shard) -> u64 {
    shard.messages.live_bytes()
}

/// The newest message of a queue on the disk.
fn last_stored(shard: &Shard) -> Place {
    let sessions = shard.sessions.iter();
    let mut stored = sessions.filter_map(|(_, session)| session.outbound.stored());
    let last = stored.next().unwrap().iter().last().unwrap();
    Place::from_u64(last.place.get()).unwrap()
}

#[test]
fn long_queue_takes_little_memory_and_comes_back_in_order_also_after_crashes() {
    let mut world = world_with_queue(600);
    let before = message_bytes(&world.shards[0]);
    assert!(before < 8 << 10, "{before}");
    assert!(world.shards[0].counters().messages_stored > 1000);
    world.crash();
    let after = message_bytes(&world.shards[0]);
    assert!(after <= before + (4 << 10), "{after} after {before}");
    world.connect(0);
    // The way back is interrupted, too.
    for _ in 0..20 {
        world.turn();
    }
    assert!(world.shards[0].counters().messages_read_back > 0);
    assert!(message_bytes(&world.shards[0]) < 16 << 10);
    world.crash();
    world.settle();
    world.audit().unwrap();
    assert_eq!(world.shards[0].journal.overflow.memory_bytes, 0);
    world.shards[0].assert_no_message_is_lost();
}

/// A queue grows slowly while much else comes and goes: few messages in each segment. Snapshots
/// carry them forward, so that the disk is not kept by them, and they survive that.
#[test]
fn scattered_messages_of_a_long_queue_are_carried_forward() {
    let mut world = world_with_queue(601);
    let received = world.clients[1].received.len();
    let mut segments = 0;
    for _ in 0..12 {
        publish(&mut world, 30);
        // Bodies that nobody needs for long: retained messages, one after the other.
        for number in 0..80 {
            let payload = format!("1 r/1 {} {}", 1_000_000 + number, "y".repeat(40_000));
            let bytes = world.clients[1].publish("r/1", &payload, 0x35 & 0xf);
            world.feed(1, &bytes);
            while world.turn() {}
        }
        segments = segments.max(world.disks[0].segments.len());
    }
    assert!(world.clients[1].received.len() > received);
    for _ in 0..3 {
        world.shards[0].begin_snapshot();
        while world.turn() {}
    }
    assert!(!world.shards[0].is_snapshot_open());
    let carried = world.shards[0].counters().journal_carried;
    assert!(carried > 100, "{carried}");
    // 38 MB were written, in files of 2 MiB.
    let left = world.disks[0].segments.len();
    assert!(
        segments <= 9 && left <= 6,
        "{segments}, then {left} segments"
    );
    world.shards[0].assert_invariants();
    world.crash();
    world.settle();
    world.audit().unwrap();
    world.shards[0].assert_no_message_is_lost();
}

/// A message that the disk has lost costs only itself.
#[test]
fn damaged_message_is_dropped_and_counted() {
    let mut world = world_with_queue(602);
    let place = last_stored(&world.shards[0]);
    let segment = world.disks[0].segments.get_mut(&place.segment()).unwrap();
    segment[place.offset() as usize + 30] ^= 1;
    let received = world.clients[0].received.len();
    world.is_disk_damaged = true;
    world.settle();
    let came = world.clients[0].received.len() - received;
    let owed = world.clients[0].received.iter();
    let owed = owed.filter(|(_, payload)| payload.starts_with('1')).count();
    assert!(came > 1000 && owed > 1000);
    assert_eq!(world.shards[0].counters().drops_damaged, 1);
    let error = world.audit().unwrap_err();
    assert!(error.contains("never got"), "{error}");
    publish(&mut world, 10);
    world.settle();
    world.shards[0].assert_no_message_is_lost();
}

/// Places are small, but no less bounded: a queue without memory for them is full.
#[test]
fn places_of_stored_messages_are_bounded() {
    let mut world = world_with_queue(603);
    let max = 60_000;
    for shard in &mut world.shards {
        shard.limits.queues_memory_bytes_max = max;
    }
    assert!(world.shards[0].journal.overflow.memory_bytes > max);
    publish(&mut world, 100);
    assert!(world.shards[0].counters().drops_queue_full > 0);
}
