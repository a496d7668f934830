//! One shard's disk as data: which bytes are synced, which are only written, what is on its way,
//! and what of all this is left after a crash.

use crate::swarm::one_of;
use ringway::base::ids::ShardId;
use ringway::base::random::Random;
use ringway::journal::{
    JournalBatch, JournalError, Losses, PAGE_BYTES, QueueMemory, Recovered, Recovery, SegmentEvent,
    Survey, Writer, WriterSettings,
};
use ringway::shard::interface::ReadRequest;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Bytes on their way to the medium.
#[derive(Clone, Debug)]
struct Written {
    segment: u32,
    offset: u32,
    bytes: Vec<u8>,
}

/// The next thing that happens to the batch under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// This of its writes comes to its end.
    Write(usize),
    /// The sync behind this write does.
    Sync(usize),
    /// The shard hears of it.
    Report,
}

#[derive(Debug)]
struct UnderWay {
    batch: Box<JournalBatch>,
    stage: Stage,
}

/// What became of the orders about segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carried {
    /// There was none.
    Nothing,
    /// This segment is ready.
    Ready(u32),
    /// A segment was given up.
    Freed,
    /// There is no space for what is wanted.
    Stuck,
}

/// What became of a step.
#[derive(Debug)]
pub(crate) enum Progress {
    GoesOn,
    Done(Box<JournalBatch>),
}

/// How a process ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessEnd {
    pub(crate) loses_power: bool,
    pub(crate) has_space: bool,
    pub(crate) segment_bytes: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Segment -> what survives a loss of power.
    synced: BTreeMap<u32, Vec<u8>>,
    /// In their order.
    unsynced: Vec<Written>,
    /// Files of given up segments, with what they held.
    recycled: Vec<Vec<u8>>,
    under_way: Option<UnderWay>,
    /// What the shard wants done to segments, in its order.
    orders: VecDeque<SegmentEvent>,
    /// What the shard wants to have back.
    reads: Vec<ReadRequest>,
    /// For the next start.
    remains: Option<Remains>,
    pub(crate) segments_recycled: u64,
}

/// What a crash did to the writes that were not synced.
#[derive(Debug)]
struct Remains {
    /// The segments that they went to, as they were without them.
    before: BTreeMap<u32, Vec<u8>>,
    writes: Vec<Written>,
    /// So many of the first came whole.
    whole: usize,
}

impl Disk {
    pub(crate) const fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.is_idle() && self.orders.is_empty() && self.reads.is_empty()
    }

    pub(crate) fn is_sync_next(&self) -> bool {
        let stage = self.under_way.as_ref().map(|it| it.stage);
        matches!(stage, Some(Stage::Sync(_)))
    }

    pub(crate) fn begin(&mut self, batch: Box<JournalBatch>) {
        assert!(self.is_idle());
        let stage = Stage::Write(0);
        self.under_way = Some(UnderWay { batch, stage });
    }

    /// The batch under way gets further. `lies`: its sync is reported and not done.
    pub(crate) fn step(&mut self, lies: bool) -> Option<Progress> {
        let UnderWay { batch, stage } = self.under_way.as_mut()?;
        let next = |index: usize| match batch.writes().nth(index + 1) {
            Some(_) => Stage::Write(index + 1),
            None => Stage::Report,
        };
        match *stage {
            Stage::Write(index) => {
                *stage = if batch.needs_sync() {
                    Stage::Sync(index)
                } else {
                    next(index)
                };
                self.unsynced.extend(written(batch, index));
            }
            Stage::Sync(index) => {
                *stage = next(index);
                if !lies {
                    self.sync();
                }
            }
            Stage::Report => return self.under_way.take().map(|it| Progress::Done(it.batch)),
        }
        Some(Progress::GoesOn)
    }

    fn sync(&mut self) {
        for written in std::mem::take(&mut self.unsynced) {
            self.put(written.segment, written.offset as usize, &written.bytes);
        }
    }

    fn put(&mut self, segment: u32, offset: usize, bytes: &[u8]) {
        if let Some(segment) = self.synced.get_mut(&segment) {
            segment[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }

    pub(crate) fn ask(&mut self, request: ReadRequest) {
        self.reads.push(request);
    }

    /// One of the requests, whichever comes first, with what stands there: written is enough.
    /// None: the segment was given up.
    pub(crate) fn answer(&mut self, random: &mut Random) -> Option<(ReadRequest, Option<Vec<u8>>)> {
        let index = random.below(self.reads.len().max(1) as u64) as usize;
        self.reads.get(index)?;
        let request = self.reads.swap_remove(index);
        Some((request, self.readable(&request)))
    }

    fn readable(&self, request: &ReadRequest) -> Option<Vec<u8>> {
        let start = request.offset as usize;
        let range = start..start + request.bytes as usize;
        let segment = self.synced.get(&request.segment)?;
        let mut bytes = segment.get(range.clone())?.to_vec();
        for written in &self.unsynced {
            let first = written.offset as usize;
            let both = range.start.max(first)..range.end.min(first + written.bytes.len());
            if written.segment == request.segment && !both.is_empty() {
                bytes[both.start - start..both.end - start]
                    .copy_from_slice(&written.bytes[both.start - first..both.end - first]);
            }
        }
        Some(bytes)
    }

    pub(crate) fn order(&mut self, order: SegmentEvent) {
        self.orders.push_back(order);
    }

    /// Carries out the oldest order that is possible: without space a new segment is made only of
    /// one that was given up.
    pub(crate) fn carry_out(&mut self, segment_bytes: u32, has_space: bool) -> Carried {
        let makes = has_space || !self.recycled.is_empty();
        let is_possible = |order: &SegmentEvent| makes || matches!(order, SegmentEvent::Free(_));
        let Some(index) = self.orders.iter().position(is_possible) else {
            return match self.orders.is_empty() {
                true => Carried::Nothing,
                false => Carried::Stuck,
            };
        };
        match self.orders.remove(index) {
            Some(SegmentEvent::Wanted(number)) => {
                let recycled = self.recycled.pop();
                self.segments_recycled += u64::from(recycled.is_some());
                let blank = || vec![0; segment_bytes as usize];
                let bytes = recycled.unwrap_or_else(blank);
                self.synced.insert(number, bytes);
                Carried::Ready(number)
            }
            Some(SegmentEvent::Free(number)) => {
                self.recycled.extend(self.synced.remove(&number));
                Carried::Freed
            }
            None => Carried::Nothing,
        }
    }

    /// The process ends, and with `loses_power` everything. What was on its way is torn. What was
    /// written counts as synced afterwards, as the next start does that to all that it reads.
    pub(crate) fn crash(&mut self, random: &mut Random, end: &ProcessEnd) {
        let mut writes = std::mem::take(&mut self.unsynced);
        let done = if end.loses_power { 0 } else { writes.len() };
        if let Some(UnderWay { batch, stage }) = self.under_way.take()
            && let Stage::Write(index) = stage
        {
            writes.extend(written(&batch, index));
        }
        let touched = writes.iter().filter_map(|it| {
            let segment = self.synced.get(&it.segment)?;
            Some((it.segment, segment.clone()))
        });
        let before = touched.collect();
        let mut whole = 0;
        for (index, written) in writes.iter().enumerate() {
            let is_whole = if index < done {
                self.put(written.segment, written.offset as usize, &written.bytes);
                true
            } else {
                self.tear(written, random)
            };
            whole += usize::from(is_whole && whole == index);
        }
        self.remains = Some(Remains {
            before,
            writes,
            whole,
        });
        while !self.orders.is_empty() && random.chance(1, 2) {
            self.carry_out(end.segment_bytes, end.has_space);
        }
        self.orders.clear();
        self.reads.clear();
    }

    /// Some of the sectors come to the medium; true: all.
    fn tear(&mut self, written: &Written, random: &mut Random) -> bool {
        let sectors = written.bytes.chunks(SECTOR_BYTES);
        let count = sectors.len() as u64;
        let end = match random.below(4) {
            0 => 0,
            1 | 2 => count,
            _ => random.below(count + 1),
        };
        let has_holes = random.chance(1, 3);
        let mut put = 0;
        for (index, sector) in (0..end).zip(sectors) {
            if !has_holes || random.chance(1, 2) {
                let offset = written.offset as usize + index as usize * SECTOR_BYTES;
                self.put(written.segment, offset, sector);
                put += 1;
            }
        }
        put == count
    }

    /// Some bits of one written page change.
    /// False: nothing is written.
    pub(crate) fn flip(&mut self, random: &mut Random) -> bool {
        let segment = random.below(self.synced.len().max(1) as u64) as usize;
        let Some((_, bytes)) = self.synced.iter_mut().nth(segment) else {
            return false;
        };
        let mut pages: Vec<&mut [u8]> = bytes.chunks_mut(PAGE_BYTES as usize).collect();
        pages.retain(|page| page.iter().any(|byte| *byte != 0));
        let page = random.below(pages.len().max(1) as u64) as usize;
        let Some(page) = pages.get_mut(page) else {
            return false;
        };
        // The front of a page is where headers are, and short blocks end early.
        let within = *one_of(&[64, 512, page.len() as u64], random);
        for _ in 0..=random.below(3) {
            page[random.below(within) as usize] ^= 1 << random.below(8);
        }
        true
    }

    /// What `ringway journal verify --repair` does where only messages are damaged; `salt` is of
    /// the snapshot without them.
    pub(crate) fn mend(&mut self, shard: u16, salt: u64) -> Result<Losses, JournalError> {
        let shard = ShardId(shard);
        let mut survey = Survey::new(shard);
        for (number, bytes) in &self.synced {
            survey.read(*number, bytes)?;
        }
        let mut recovery = Recovery::sparing(shard, survey.finish());
        for (number, bytes) in &self.synced {
            recovery.read(*number, bytes)?;
        }
        let mut recovered = recovery.finish()?;
        let mut lost = BTreeSet::new();
        for number in recovered.wanted_segments() {
            let bytes = self.synced.get(&number).map_or(&[][..], |it| it);
            lost.extend(recovered.lost(number, bytes));
        }
        let losses = recovered.give_up(&lost);
        let lengths = self.synced.values().map(Vec::len);
        let segment_bytes = u32::try_from(lengths.max().unwrap_or(0)).unwrap_or(u32::MAX);
        let mut writer = Writer::new(recovered.writer_settings(WriterSettings {
            shard,
            epoch: 1,
            previous_epoch: 0,
            previous_last_block: 0,
            salt,
            first_segment: 1,
            segment_bytes,
            sync: true,
        }));
        recovered.write_snapshot(&mut writer, |_| Ok::<_, JournalError>(()))?;
        self.write_all(&mut writer, segment_bytes);
        Ok(losses)
    }

    fn write_all(&mut self, writer: &mut Writer, segment_bytes: u32) {
        loop {
            while let Some(event) = writer.poll_segment() {
                if let SegmentEvent::Wanted(number) = event {
                    self.synced.insert(number, vec![0; segment_bytes as usize]);
                    writer.on_segment_ready(number);
                }
            }
            let Some(batch) = writer.poll() else { return };
            for write in batch.writes() {
                self.put(write.segment, write.offset as usize, write.bytes);
            }
            writer.on_durable(batch);
        }
    }

    /// And where more is damaged.
    pub(crate) fn cut(&mut self, error: &JournalError) {
        self.synced.split_off(&(error.segment + 1));
        if let Some(segment) = self.synced.get_mut(&error.segment) {
            segment[error.cut_offset() as usize..].fill(0);
        }
    }

    /// What a start finds. `memory`: longer queues stay on the disk.
    pub(crate) fn recover(
        &self,
        shard: u16,
        memory: Option<QueueMemory>,
    ) -> Result<Recovered, JournalError> {
        let mut recovery = Recovery::new(ShardId(shard));
        for (number, bytes) in &self.synced {
            recovery.read(*number, bytes)?;
        }
        let mut recovered = recovery.finish()?;
        if let Some(memory) = memory {
            recovered.leave_queues(memory);
        }
        let wanted: Vec<u32> = recovered.wanted_segments().collect();
        for number in wanted {
            recovered.load(number, self.synced.get(&number).map_or(&[], |it| it))?;
        }
        Ok(recovered)
    }

    /// Is what a start found a state that existed: what the journal amounts to when the last of
    /// its writes were never made, but none of those that came whole, one behind the other, is
    /// missing? Asked once after each crash.
    pub(crate) fn has_existed(
        &mut self,
        shard: u16,
        memory: Option<QueueMemory>,
        found: &Recovered,
    ) -> bool {
        let Some(remains) = self.remains.take() else {
            return true;
        };
        // A segment may begin that has no block yet: then only the names of the last ones differ.
        let found = format!("{:?}", found.state);
        let is_found = |disk: &Self| {
            let other = disk.recover(shard, memory);
            other.is_ok_and(|other| format!("{:?}", other.state) == found)
        };
        let mut disk = Self {
            synced: self.synced.clone(),
            ..Self::default()
        };
        for (number, bytes) in remains.before {
            // What was given up since then is not there.
            if let Some(segment) = disk.synced.get_mut(&number) {
                *segment = bytes;
            }
        }
        for (index, written) in remains.writes.iter().enumerate() {
            if index >= remains.whole && is_found(&disk) {
                return true;
            }
            disk.put(written.segment, written.offset as usize, &written.bytes);
        }
        is_found(&disk)
    }
}

fn written(batch: &JournalBatch, index: usize) -> Option<Written> {
    let write = batch.writes().nth(index)?;
    Some(Written {
        segment: write.segment,
        offset: write.offset,
        bytes: write.bytes.to_vec(),
    })
}
