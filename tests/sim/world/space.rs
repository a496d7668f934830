//! A disk that fills: its watermark, which the shards hear of one after the other, and the segments
//! for which there is no space at all, until it returns.

use super::World;
use super::crash::Storage;
use crate::schedule::Event;
use std::time::Duration;

/// The longest time without space is two to this power, in microseconds.
const LONGEST: u64 = 23;

/// The disk is full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shortage {
    /// Even for segments that the journal waits for.
    withholds: bool,
}

impl Storage {
    /// Segments can be made.
    pub(super) fn has_space(&self) -> bool {
        !self.shortage.is_some_and(|it| it.withholds)
    }
}

impl World {
    /// Fills the disk now and then, by the seed's choice.
    pub(super) fn maybe_fill_disk(&mut self) {
        let Some(storage) = &mut self.storage else {
            return;
        };
        let every = storage.plan.full_every;
        if every == 0 || storage.shortage.is_some() || !storage.rare.chance(1, every) {
            return;
        }
        let withholds = storage.plan.withholds && storage.rare.chance(1, 2);
        storage.shortage = Some(Shortage { withholds });
        storage.tally.filled += 1;
        let lasts = Duration::from_micros(1 << storage.rare.below(LONGEST + 1));
        let now = self.schedule.now();
        self.trace.note(
            now,
            format_args!("FULL for {lasts:?}, withholds {withholds}"),
        );
        self.auditor.on_disk_full(now);
        self.schedule.after(lasts, Event::SpaceReturns);
        self.plan_space_reports();
    }

    pub(super) fn return_space(&mut self) {
        if let Some(storage) = &mut self.storage
            && storage.shortage.take().is_some()
        {
            self.plan_space_reports();
        }
    }

    /// Each shard hears of it in its own time.
    pub(super) fn plan_space_reports(&mut self) {
        let Some(storage) = &mut self.storage else {
            return;
        };
        if storage.plan.full_every == 0 {
            return;
        }
        for shard in 0..self.nodes.len() {
            let delay = Duration::from_micros(storage.rare.below(2_000));
            self.schedule.after(delay, Event::SpaceReport { shard });
        }
    }

    pub(super) fn report_space(&mut self, shard: usize) {
        let now = self.schedule.now();
        let is_full = self
            .storage
            .as_ref()
            .is_some_and(|it| it.shortage.is_some());
        let node = &mut self.nodes[shard];
        if std::mem::replace(&mut node.knows_full, is_full) != is_full {
            // As the real driver does: what is not needed any more becomes free.
            if is_full {
                node.shard.begin_snapshot();
            }
            node.shard.on_disk_full(now, is_full);
            self.plan_turn(shard);
        }
        if !is_full && self.nodes.iter().all(|node| !node.knows_full) {
            self.auditor.on_disk_has_space(now);
        }
    }
}
