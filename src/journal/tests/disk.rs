//! A disk in memory and a writer that always gets what it asks for.

use crate::base::ids::ShardId;
use crate::journal::{
    JournalError, Losses, Recovered, Recovery, SEGMENT_BYTES_MIN, SegmentEvent, Survey, Writer,
    WriterSettings,
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const SHARD: ShardId = ShardId(5);

pub(super) fn settings() -> WriterSettings {
    WriterSettings {
        shard: SHARD,
        epoch: 1,
        previous_epoch: 0,
        previous_last_block: 0,
        salt: 77,
        first_segment: 1,
        segment_bytes: SEGMENT_BYTES_MIN,
        sync: true,
    }
}

/// Segments by number. A freed one is recycled with its old contents.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) segments: BTreeMap<u32, Vec<u8>>,
    free: Vec<Vec<u8>>,
}

impl Disk {
    /// Does what the writer asks for; returns the places of the blocks written, with their ends.
    pub(super) fn serve(&mut self, writer: &mut Writer) -> Vec<(u32, usize, usize)> {
        self.serve_segments(writer);
        let mut written = Vec::new();
        while let Some(batch) = writer.poll() {
            for write in batch.writes() {
                let start = write.offset as usize;
                let end = start + write.bytes.len();
                let segment = self.segments.get_mut(&write.segment).unwrap();
                segment[start..end].copy_from_slice(write.bytes);
                written.push((write.segment, start, end));
            }
            writer.on_durable(batch);
            self.serve_segments(writer);
        }
        written
    }

    fn serve_segments(&mut self, writer: &mut Writer) {
        while let Some(event) = writer.poll_segment() {
            match event {
                SegmentEvent::Wanted(number) => {
                    let blank = || vec![0; SEGMENT_BYTES_MIN as usize];
                    let bytes = self.free.pop().unwrap_or_else(blank);
                    self.segments.insert(number, bytes);
                    writer.on_segment_ready(number);
                }
                SegmentEvent::Free(number) => {
                    self.free.extend(self.segments.remove(&number));
                }
            }
        }
    }

    pub(super) fn recover(&self) -> Result<Recovered, JournalError> {
        let mut recovery = Recovery::new(SHARD);
        for (number, bytes) in &self.segments {
            recovery.read(*number, bytes)?;
        }
        let mut recovered = recovery.finish()?;
        let wanted: Vec<u32> = recovered.wanted_segments().collect();
        for number in wanted {
            recovered.load(number, self.segments.get(&number).map_or(&[], |it| it))?;
        }
        Ok(recovered)
    }

    /// Drops the messages that are lost, if nothing else is: what a repair does.
    pub(super) fn mend(&mut self) -> Result<Losses, JournalError> {
        let mut survey = Survey::new(SHARD);
        for (number, bytes) in &self.segments {
            survey.read(*number, bytes)?;
        }
        let mut recovery = Recovery::sparing(SHARD, survey.finish());
        for (number, bytes) in &self.segments {
            recovery.read(*number, bytes)?;
        }
        let mut recovered = recovery.finish()?;
        let mut lost = BTreeSet::new();
        for number in recovered.wanted_segments() {
            let bytes = self.segments.get(&number).map_or(&[][..], |it| it);
            lost.extend(recovered.lost(number, bytes));
        }
        let losses = recovered.give_up(&lost);
        let salt = 99;
        let settings = WriterSettings { salt, ..settings() };
        let mut writer = Writer::new(recovered.writer_settings(settings));
        let flushed = recovered.write_snapshot(&mut writer, |writer| {
            writer.write_all();
            self.serve(writer);
            Ok::<_, JournalError>(())
        });
        flushed.map(|()| {
            self.serve(&mut writer);
            losses
        })
    }
}
