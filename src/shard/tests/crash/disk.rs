//! One shard's disk: what is on it, and the batch that is being written.

use crate::base::ids::ShardId;
use crate::base::random::Random;
use crate::base::time::Instant;
use crate::journal::{
    JournalBatch, JournalError, Place, QueueMemory, Recovered, Recovery, SegmentEvent,
};
use crate::shard::Shard;
use crate::shard::interface::{ReadError, ReadRequest};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Disk {
    pub(super) segments: BTreeMap<u32, Vec<u8>>,
    free: Vec<Vec<u8>>,
    under_way: Option<Box<JournalBatch>>,
    /// Writes that nothing syncs may be lost as a whole; 0 bytes of them are on the disk.
    unsynced: Vec<(u32, u32, Vec<u8>)>,
    /// Asked for and not answered.
    reads: Vec<ReadRequest>,
    /// By token, those that were answered with too little.
    failed: BTreeSet<u32>,
}

impl Disk {
    /// Takes the next batch; it is not written before [`Self::complete`].
    pub(super) fn begin(&mut self, shard: &mut Shard, segment_bytes: u32) -> bool {
        while let Some(event) = shard.poll_segment() {
            match event {
                SegmentEvent::Wanted(number) => {
                    let blank = || vec![0; segment_bytes as usize];
                    let bytes = self.free.pop().unwrap_or_else(blank);
                    self.segments.insert(number, bytes);
                    shard.on_segment_ready(Instant::ZERO, number);
                }
                SegmentEvent::Free(number) => self.free.extend(self.segments.remove(&number)),
            }
        }
        if self.under_way.is_none() {
            self.under_way = shard.poll_journal();
            return self.under_way.is_some();
        }
        false
    }

    /// The batch under way is as durable as it asked.
    pub(super) fn complete(&mut self) -> Option<Box<JournalBatch>> {
        let batch = self.under_way.take()?;
        for write in batch.writes() {
            let bytes = write.bytes.to_vec();
            self.unsynced.push((write.segment, write.offset, bytes));
        }
        if batch.needs_sync() {
            for (segment, offset, bytes) in std::mem::take(&mut self.unsynced) {
                self.put(segment, offset, &bytes);
            }
        }
        Some(batch)
    }

    /// Answers one of the reads that the shard has asked for, if there is one; some fail at first.
    /// What was lost for ever.
    pub(super) fn read(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        random: &mut Random,
    ) -> Option<Option<Place>> {
        while let Some(request) = shard.poll_journal_read(now) {
            self.reads.push(request);
        }
        let index = random.below(self.reads.len().max(1) as u64);
        let index = usize::try_from(index).unwrap();
        self.reads.get(index)?;
        let request = self.reads.swap_remove(index);
        // A segment that was freed meanwhile: what it held stands elsewhere or is not needed.
        let Some(bytes) = self.readable(&request) else {
            return Some(shard.on_journal_read(now, request.token, Err(ReadError::Damaged)));
        };
        let result = match random.below(20) {
            0 => Err(ReadError::NotNow),
            // Not twice in a row: that would be a damaged disk.
            1 if self.failed.insert(request.token) => Ok(&bytes[..bytes.len() / 2]),
            _ => Ok(&bytes[..]),
        };
        let lost = shard.on_journal_read(now, request.token, result);
        if result.is_ok_and(|it| it.len() == bytes.len()) {
            self.failed.remove(&request.token);
        }
        Some(lost)
    }

    /// What is written can be read, synced or not.
    fn readable(&self, request: &ReadRequest) -> Option<Vec<u8>> {
        let mut segment = self.segments.get(&request.segment)?.clone();
        for (number, offset, bytes) in &self.unsynced {
            if *number == request.segment {
                segment[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
            }
        }
        Some(segment[request.offset as usize..][..request.bytes as usize].to_vec())
    }

    fn put(&mut self, segment: u32, offset: u32, bytes: &[u8]) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
    }

    /// The process ends (`with_power`: and nothing else does). The batch under way is torn: its
    /// writes came in their order, the last one with some of its sectors.
    pub(super) fn crash(&mut self, random: &mut Random, with_power: bool) {
        self.reads.clear();
        self.failed.clear();
        for (segment, offset, bytes) in std::mem::take(&mut self.unsynced) {
            if with_power || random.chance(1, 2) {
                self.put(segment, offset, &bytes);
            }
        }
        let Some(batch) = self.under_way.take() else {
            return;
        };
        for write in batch.writes() {
            if random.chance(1, 2) {
                self.put(write.segment, write.offset, write.bytes);
                continue;
            }
            let mut offset = write.offset;
            for sector in write.bytes.chunks(512) {
                if random.chance(1, 2) {
                    self.put(write.segment, offset, sector);
                }
                offset += 512;
            }
            return;
        }
    }

    pub(super) fn recover(
        &self,
        shard: u16,
        queue_memory: Option<QueueMemory>,
    ) -> Result<Recovered, JournalError> {
        let mut recovery = Recovery::new(ShardId(shard));
        for (number, bytes) in &self.segments {
            recovery.read(*number, bytes)?;
        }
        let mut recovered = recovery.finish()?;
        if let Some(memory) = queue_memory {
            recovered.leave_queues(memory);
        }
        let wanted: Vec<u32> = recovered.wanted_segments().collect();
        for number in wanted {
            recovered.load(number, self.segments.get(&number).map_or(&[], |it| it))?;
        }
        Ok(recovered)
    }
}
