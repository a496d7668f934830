//! Worlds from seeds.

use super::world::{World, limits};
use crate::config::limits::DurabilityAck;

struct Plan {
    shard_count: u16,
    ack: DurabilityAck,
    loses_power: bool,
    qos_max: u8,
}

const PLAN: Plan = Plan {
    shard_count: 1,
    ack: DurabilityAck::Disk,
    loses_power: true,
    qos_max: 2,
};

fn run(seed: u64, plan: &Plan) -> Result<World, String> {
    let mut world = World::new(seed, plan.shard_count, 5, limits(plan.ack));
    world.loses_power = plan.loses_power;
    world.qos_max = plan.qos_max;
    world.subscribe_all();
    for _ in 0..3000 {
        world.step();
        if world.random.chance(1, 400) {
            world.crash();
        }
    }
    world.settle();
    world.audit()?;
    world.audit_retained().map(|()| world)
}

#[test]
fn nothing_acknowledged_is_lost_on_one_core() {
    let mut crashes = 0;
    for seed in 0..8 {
        crashes += run(seed, &PLAN).unwrap().crashes;
    }
    assert!(crashes > 20);
}

#[test]
fn nothing_acknowledged_is_lost_between_cores() {
    let plan = Plan {
        shard_count: 3,
        ..PLAN
    };
    for seed in 100..108 {
        run(seed, &plan).unwrap();
    }
}

/// Another number of cores after each end.
#[test]
fn nothing_acknowledged_is_lost_when_the_number_of_cores_changes() {
    for seed in 400..406 {
        let mut world = World::new(seed, 2, 5, limits(DurabilityAck::Disk));
        world.subscribe_all();
        for shard_count in [3, 1, 4, 2, 5, 1] {
            (0..500).for_each(|_| world.step());
            world.change_shard_count(shard_count);
            world.crash();
        }
        world.settle();
        world.audit().unwrap();
        world.audit_retained().unwrap();
    }
}

/// What the operating system has survives the end of the process.
#[test]
fn nothing_acknowledged_is_lost_with_ack_os_when_the_process_is_killed() {
    let plan = Plan {
        ack: DurabilityAck::Os,
        loses_power: false,
        ..PLAN
    };
    for seed in 200..204 {
        run(seed, &plan).unwrap();
    }
}

/// The auditor sees what is lost when nobody waits for the disk.
#[test]
fn loss_is_noticed_when_acknowledgements_do_not_wait() {
    let plan = Plan {
        ack: DurabilityAck::None,
        ..PLAN
    };
    let lost = (300..304).filter(|seed| run(*seed, &plan).is_err());
    assert!(lost.count() > 0);
}

/// Members of a group are members after the crash; together they get everything, QoS 2 once.
#[test]
fn messages_to_a_group_survive_and_come_to_one_member() {
    for (seed, shard_count) in [(400, 1), (401, 3), (402, 3), (403, 3), (404, 2)] {
        let mut world = World::new(seed, shard_count, 4, limits(DurabilityAck::Disk));
        world.join_group(&[0, 1]);
        for _ in 0..3 {
            world.crash();
            world.settle();
            world.crash();
            for _ in 0..300 {
                world.step();
            }
        }
        world.settle();
        world.audit_group(&[0, 1]).unwrap();
    }
}

/// The same over other numbers of cores, with messages on their way between members.
#[test]
fn messages_to_a_group_survive_a_change_of_cores() {
    for seed in 500..506 {
        let mut world = World::new(seed, 3, 4, limits(DurabilityAck::Disk));
        world.join_group(&[0, 1]);
        for shard_count in [2, 4, 1, 3, 2] {
            (0..300).for_each(|_| world.step());
            world.change_shard_count(shard_count);
            (0..20).for_each(|_| world.step());
            world.crash();
        }
        world.settle();
        world.audit_group(&[0, 1]).unwrap();
    }
}

/// A snapshot that is larger than what it waits for is not followed by the next one at once.
#[test]
fn no_snapshots_are_written_while_nothing_happens() {
    let mut small = limits(DurabilityAck::Disk);
    small.durability.snapshot_after_bytes = 4 << 10;
    let mut world = World::new(700, 1, 2, small);
    world.payload_bytes_max = 2000;
    world.subscribe_all();
    world.cut(0);
    for _ in 0..200 {
        world.publish(1);
        while world.turn() {}
    }
    let snapshots = world.shards[0].counters().journal_snapshots;
    assert!(snapshots > 1);
    (0..50).for_each(|_| _ = world.turn());
    assert_eq!(world.shards[0].counters().journal_snapshots, snapshots);
}

/// A disk that does not come back: what needs it stops, and memory with it, whichever core the
/// publisher is on; then everything goes on.
#[test]
fn publishers_are_paused_when_the_disk_is_slow() {
    for shard_count in [1, 2] {
        let mut small = limits(DurabilityAck::Disk);
        small.durability.buffer_bytes_max = 8 << 10;
        let mut world = World::new(500, shard_count, 4, small);
        world.subscribe_all();
        world.disk_is_stuck = true;
        world.payload_bytes_max = 8000;
        (0..6000).for_each(|_| world.step());
        let pauses: u64 = world
            .shards
            .iter()
            .map(|shard| shard.counters().read_pauses)
            .sum();
        assert!(pauses > 0);
        world.disk_is_stuck = false;
        (0..3000).for_each(|_| world.step());
        world.settle();
        world.audit().unwrap();
    }
}
