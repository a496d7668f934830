//! A disk in memory.

use ringway::base::time::Instant;
use ringway::journal::{SegmentEvent, Write};
use ringway::shard::Shard;
use std::collections::BTreeMap;

/// Segments by number, each as far as it was written; or nothing, if they are not kept.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) segments: BTreeMap<u32, Vec<u8>>,
    keeps: bool,
}

impl Disk {
    /// One that keeps what is written.
    pub(crate) fn kept() -> Self {
        Self {
            keeps: true,
            ..Self::default()
        }
    }

    /// Does what the shard asks for. True: there was something.
    pub(crate) fn serve(&mut self, shard: &mut Shard, now: Instant) -> bool {
        while let Some(event) = shard.poll_segment() {
            if let SegmentEvent::Wanted(number) = event {
                shard.on_segment_ready(now, number);
            }
        }
        let Some(batch) = shard.poll_journal() else {
            return false;
        };
        if self.keeps {
            batch.writes().for_each(|write| self.write(&write));
        }
        shard.on_durable(now, batch);
        true
    }

    fn write(&mut self, write: &Write<'_>) {
        let segment = self.segments.entry(write.segment).or_default();
        let start = write.offset as usize;
        let end = start + write.bytes.len();
        if segment.len() < end {
            segment.resize(end, 0);
        }
        segment[start..end].copy_from_slice(write.bytes);
    }
}
