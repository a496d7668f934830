//! What a seed makes of its disks and of the ends of its process.

use crate::swarm::{Swarm, one_of};
use ringway::base::random::Random;
use ringway::config::limits::{DurabilityAck, DurabilityLimits, ListenerLimits};
use std::ops::Range;

/// Short worlds for what is rare elsewhere: in these bits flip before every second start.
pub(crate) const FLIPPING: Range<u64> = 1 << 40..(1 << 40) + 1_000;
/// And in these there is hardly ever space.
pub(crate) const FILLING: Range<u64> = 1 << 41..(1 << 41) + 1_000;

/// Crashes and disks of one world. Weights are in 10,000 of the occasions.
#[derive(Clone, Debug)]
pub(crate) struct StoragePlan {
    /// The end of the process is a loss of power, too: what was not synced may be lost.
    pub(crate) loses_power: bool,
    /// A crash may undo what was acknowledged: `durability.ack` promises less than the crash takes.
    pub(crate) undoes: bool,
    /// One of so many events is a crash; sooner while a snapshot is open, or the start not over.
    pub(crate) crash_every: u64,
    pub(crate) crashes_max: u64,
    /// A start may be with another number of shards.
    pub(crate) moves: bool,
    /// Mean time of a write, and of a sync.
    pub(crate) write_us: u64,
    pub(crate) sync_us: u64,
    /// Steps of the disk that take a hundred times as long.
    pub(crate) slow: u64,
    /// Syncs that fail.
    pub(crate) failed_sync: u64,
    /// At one of so many events the disk fills; 0: never.
    pub(crate) full_every: u64,
    /// Then there may be no space even for the segments that the journal waits for.
    pub(crate) withholds: bool,
    /// Before one of so many starts bits of what is on the disk flip; 0: never.
    pub(crate) flip_every: u64,
}

impl StoragePlan {
    /// Also takes from the world what the auditor cannot judge over a crash: wills, as nobody
    /// knows whether one left before, and queues with a limit.
    pub(crate) fn draw(seed: u64, swarm: &mut Swarm) -> Self {
        let mut random = Random::new(seed ^ 0x0064_6973_6B73);
        let mut one = |choices: &[u64]| *one_of(choices, &mut random);
        let mut rare = Random::new(seed ^ 0x0072_6172_656C_7921);
        let mut seldom = |choices: &[u64]| *one_of(choices, &mut rare);
        swarm.features.wills = false;
        swarm.features.qos_max = swarm.features.qos_max.max(1);
        swarm.limits.queued_messages_max = 1_000_000;
        swarm.limits.durability = DurabilityLimits {
            ack: DurabilityAck::Disk,
            segment_bytes: 1 << 20,
            snapshot_after_bytes: one(&[16 << 10, 64 << 10, 256 << 10, 1 << 20]),
            buffer_bytes_max: one(&[64 << 10, 256 << 10, 1 << 20]) as u32,
        };
        swarm.limits.queue_memory_bytes_max = one(&[0, 2 << 10, 256 << 10]);
        let is_killed_only = one(&[0, 0, 0, 1]) == 1;
        if is_killed_only && one(&[0, 1]) == 1 {
            swarm.limits.durability.ack = DurabilityAck::Os;
        }
        // From numbers of its own: the other worlds stay what they are.
        let mut modes = Random::new(seed ^ 0x006D_6F64_6573);
        let undoes = modes.chance(1, 3);
        if undoes {
            let weak = [DurabilityAck::None, DurabilityAck::Os];
            let choices = if is_killed_only { &weak[..1] } else { &weak };
            swarm.limits.durability.ack = *one_of(choices, &mut modes);
        }
        if !undoes && modes.chance(1, 2) {
            swarm.limits.listeners = listeners(&mut modes);
        }
        if !undoes && modes.chance(1, 3) {
            swarm.share(&mut modes);
            // What an ended session leaves behind is not demanded: here they stay, mostly.
            swarm.forgetfulness = *one_of(&[0, 0, 1, 10], &mut modes);
            swarm.features.qos_max = 2;
        }
        let mut plan = Self {
            loses_power: !is_killed_only,
            undoes,
            crash_every: one(&[200, 1_000, 5_000, 20_000]),
            crashes_max: one(&[1, 5, 30]),
            moves: one(&[0, 0, 1]) == 1,
            write_us: one(&[1, 50, 1_000]),
            sync_us: one(&[1, 200, 5_000]),
            slow: one(&[0, 100, 1_000]),
            failed_sync: one(&[0, 0, 20]),
            full_every: seldom(&[0, 0, 0, 300, 2_000, 10_000]),
            withholds: seldom(&[0, 1]) == 1,
            flip_every: seldom(&[0, 0, 0, 2, 5, 20]),
        };
        if FLIPPING.contains(&seed) {
            (plan.crash_every, plan.flip_every) = (1_000, 2);
        }
        if FILLING.contains(&seed) {
            (plan.full_every, plan.withholds) = (300, true);
        }
        if FLIPPING.contains(&seed) || FILLING.contains(&seed) {
            (swarm.rounds, swarm.actions) = (1, swarm.actions.min(100));
        }
        plan
    }
}

/// Clients of the first one wait for what the broker's key says, those of the second for nothing;
/// those of the third for `os` or `disk`, which beside another `disk` is `disk`.
fn listeners(random: &mut Random) -> Vec<ListenerLimits> {
    let third = *one_of(&[DurabilityAck::Os, DurabilityAck::Disk], random);
    let of = |durability_ack| ListenerLimits {
        durability_ack,
        ..ListenerLimits::DEFAULT
    };
    vec![of(None), of(Some(DurabilityAck::None)), of(Some(third))]
}
