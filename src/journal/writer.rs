//! Records -> blocks -> batches.
//!
//! What is appended gathers in one batch while another one is on its way to the disk (group
//! commit). A batch is one block, or one for each segment when a segment ends inside it. The place
//! of a record is known when it is appended.

use super::batch::{JournalBatch, Span};
use super::layout::{
    BLOCK_HEADER_BYTES, BlockHeader, BlockSalt, PAGE_BYTES, SEGMENT_BYTES_MIN, SegmentHeader,
    block_bytes,
};
use super::place::Place;
use super::record::Record;
use super::segments::{SegmentEvent, Segments};
use crate::base::ids::ShardId;

/// Records that nobody waits for are written when there are this many bytes of them.
const LAZY_BYTES: usize = 64 << 10;
/// Memory that an empty batch keeps.
const BATCH_BYTES_KEPT: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
pub struct WriterSettings {
    pub shard: ShardId,
    pub epoch: u32,
    /// The epoch before, 0: none, and the last block that was recovered of it.
    pub previous_epoch: u32,
    pub previous_last_block: u64,
    /// Unknown to everybody outside.
    pub salt: u64,
    pub first_segment: u32,
    /// A multiple of [`PAGE_BYTES`], and with room for the largest record.
    pub segment_bytes: u32,
    /// Whether batches have to be synced, not only written.
    pub sync: bool,
}

/// The end of one shard's journal, to which records are appended.
///
/// Bounds: the shard stops what needs the disk when [`Self::gathered_bytes`] passes its limit; two
/// batches exist, and each keeps at most 1 MiB while it is empty.
#[derive(Debug)]
pub struct Writer {
    settings: WriterSettings,
    segments: Segments,
    gathering: Box<JournalBatch>,
    spare: Option<Box<JournalBatch>>,
    is_under_way: bool,
    /// The block at the end of `gathering`.
    open: Option<OpenBlock>,
    /// The segment that is being filled, and where its next block begins; 0: it has no header.
    segment: u32,
    tail: u32,
    /// Where the batch under way ends, and the one before it: what stands there can be read.
    handed_out_end: u64,
    written_end: u64,
    next_block: u64,
    /// The group in progress began in a block that is sealed.
    group_is_split: bool,
    /// Number of the last record.
    appended: u64,
    /// Records up to this one have been handed out, and are as durable as is asked for.
    handed_out: u64,
    durable: u64,
    durable_block: u64,
    /// Somebody waits for this record.
    wanted: u64,
    /// What nobody waits for has waited long enough.
    is_due: bool,
    /// The next batch must be synced, whatever the settings say.
    sync_next: bool,
    bytes_written: u64,
}

#[derive(Clone, Copy, Debug)]
struct OpenBlock {
    /// Where its header is in the batch.
    header_at: usize,
    /// Where it is in the segment.
    offset: u32,
    /// Where in the batch the group in progress begins.
    group_at: usize,
}

impl Writer {
    /// # Panics
    /// When the settings make no sense: they come from validated configuration.
    #[must_use]
    pub fn new(settings: WriterSettings) -> Self {
        assert!(settings.segment_bytes >= SEGMENT_BYTES_MIN);
        assert!(settings.segment_bytes.is_multiple_of(PAGE_BYTES));
        assert!(settings.first_segment > 0 && settings.epoch > settings.previous_epoch);
        let mut segments = Segments::default();
        // Made while nobody waits for it yet.
        segments.order(settings.first_segment);
        Self {
            segments,
            gathering: Box::default(),
            spare: Some(Box::default()),
            is_under_way: false,
            open: None,
            segment: settings.first_segment,
            tail: 0,
            handed_out_end: 0,
            written_end: u64::from(settings.first_segment) << 32,
            next_block: 1,
            group_is_split: false,
            appended: 0,
            handed_out: 0,
            durable: 0,
            durable_block: 0,
            wanted: 0,
            is_due: false,
            sync_next: false,
            bytes_written: 0,
            settings,
        }
    }

    /// A segment of an earlier run, in ascending order; before anything is appended.
    pub fn add_recovered_segment(&mut self, number: u32) {
        assert!(number < self.settings.first_segment && self.appended == 0);
        self.segments.add_recovered(number);
    }

    /// Everything from here on is a new group: records of one group take effect together.
    pub fn begin_group(&mut self) {
        self.group_is_split = false;
        if let Some(open) = &mut self.open {
            open.group_at = self.gathering.bytes.len();
        }
    }

    /// Puts a record behind all others; returns its place.
    ///
    /// # Panics
    /// When the record is larger than a segment: the limits on packets do not allow it.
    pub fn append(&mut self, record: &Record<'_>) -> Place {
        self.make_room(record.bytes());
        let open = self.open_block();
        let in_block = self.gathering.bytes.len() - open.header_at;
        let offset = open.offset + u32::try_from(in_block).unwrap_or(u32::MAX);
        let Some(place) = Place::new(self.segment, offset) else {
            unreachable!("segments count from 1");
        };
        record.encode(place, &mut self.gathering.bytes);
        self.appended += 1;
        place
    }

    /// Seals the block, or leaves the segment, if the next record does not fit.
    fn make_room(&mut self, record_bytes: usize) {
        let payload_bytes = |in_block: usize| u32::try_from(in_block).unwrap_or(u32::MAX);
        let segment_bytes = u64::from(self.settings.segment_bytes);
        if let Some(open) = self.open {
            let header = BLOCK_HEADER_BYTES as usize;
            let payload = self.gathering.bytes.len() - open.header_at - header + record_bytes;
            let end = u64::from(open.offset) + block_bytes(payload_bytes(payload));
            if end <= segment_bytes {
                return;
            }
            self.seal(true);
        }
        let begin = u64::from(self.tail.max(PAGE_BYTES));
        let needed = block_bytes(payload_bytes(record_bytes));
        if begin + needed > segment_bytes {
            assert!(u64::from(PAGE_BYTES) + needed <= segment_bytes);
            self.segment += 1;
            self.tail = 0;
        }
    }

    fn open_block(&mut self) -> OpenBlock {
        if let Some(open) = self.open {
            return open;
        }
        let batch = &mut *self.gathering;
        batch.spans.push(Span {
            segment: self.segment,
            offset: self.tail,
            start: batch.bytes.len(),
        });
        if self.tail == 0 {
            self.segments.begin(self.segment);
            let settings = &self.settings;
            let header = SegmentHeader {
                shard: settings.shard,
                segment: self.segment,
                epoch: settings.epoch,
                previous_epoch: settings.previous_epoch,
                salt: settings.salt,
                first_block: self.next_block,
                previous_last_block: settings.previous_last_block,
            };
            header.encode(&mut batch.bytes);
            self.tail = PAGE_BYTES;
        }
        let header_at = batch.bytes.len();
        batch
            .bytes
            .resize(header_at + BLOCK_HEADER_BYTES as usize, 0);
        let open = OpenBlock {
            header_at,
            offset: self.tail,
            group_at: batch.bytes.len(),
        };
        self.open = Some(open);
        open
    }

    /// Ends the open block. `inside_group`: what was appended since the last
    /// [`Self::begin_group`] goes on in the next block.
    fn seal(&mut self, inside_group: bool) {
        let Some(open) = self.open.take() else { return };
        let settings = self.settings;
        let batch = &mut *self.gathering;
        let payload_at = open.header_at + BLOCK_HEADER_BYTES as usize;
        let payload_bytes = batch.bytes.len() - payload_at;
        let group_at = if self.group_is_split {
            payload_at
        } else {
            open.group_at
        };
        let group_at = (inside_group && (group_at < batch.bytes.len() || self.group_is_split))
            .then(|| u32::try_from(group_at - payload_at).unwrap_or(u32::MAX));
        self.group_is_split = group_at.is_some();
        let payload_bytes = u32::try_from(payload_bytes).unwrap_or(u32::MAX);
        let whole = usize::try_from(block_bytes(payload_bytes)).unwrap_or(usize::MAX);
        batch.bytes.resize(open.header_at + whole, 0);
        BlockHeader::seal(
            &mut batch.bytes[open.header_at..],
            payload_bytes,
            self.next_block,
            self.durable_block,
            group_at,
            BlockSalt {
                salt: settings.salt,
                epoch: settings.epoch,
                segment: self.segment,
            },
            open.offset,
        );
        batch.last_block = self.next_block;
        self.next_block += 1;
        self.tail = open.offset + u32::try_from(whole).unwrap_or(u32::MAX);
    }

    /// The next batch, if none is under way, somebody waits for one or enough has gathered, and
    /// its segments are ready.
    pub fn poll(&mut self) -> Option<Box<JournalBatch>> {
        if self.is_under_way || !self.wants_to_write() {
            return None;
        }
        let ready = |span: &Span| self.segments.is_ready(span.segment);
        if !self.gathering.spans.iter().all(ready) {
            return None;
        }
        self.begin_group();
        self.seal(false);
        let next = self.spare.take().unwrap_or_default();
        let mut batch = std::mem::replace(&mut self.gathering, next);
        batch.sequence = self.appended;
        batch.needs_sync = self.settings.sync || self.sync_next;
        self.sync_next = false;
        self.is_due = false;
        self.handed_out = self.appended;
        self.handed_out_end = u64::from(self.segment) << 32 | u64::from(self.tail);
        self.is_under_way = true;
        self.bytes_written += batch.bytes.len() as u64;
        Some(batch)
    }

    /// Whether a batch would leave if the disk were free and the segments ready.
    const fn wants_to_write(&self) -> bool {
        let gathered = self.gathering.bytes.len();
        gathered > 0
            && (self.wanted > self.handed_out
                || self.is_due
                || self.sync_next
                || gathered >= LAZY_BYTES)
    }

    /// The batch under way is as durable as it asked.
    ///
    /// # Panics
    /// When it is not the batch under way: the driver is broken.
    pub fn on_durable(&mut self, mut batch: Box<JournalBatch>) {
        assert!(self.is_under_way && batch.sequence == self.handed_out);
        self.is_under_way = false;
        self.durable = batch.sequence;
        self.written_end = self.handed_out_end;
        if batch.needs_sync {
            self.durable_block = batch.last_block;
        }
        batch.spans.clear();
        batch.bytes.clear();
        batch.bytes.shrink_to(BATCH_BYTES_KEPT);
        self.spare = Some(batch);
    }

    /// Whether the record at this place is in a file, synced or not.
    #[must_use]
    pub const fn is_written(&self, place: Place) -> bool {
        place.as_u64() < self.written_end
    }

    /// Somebody waits until everything appended so far is durable.
    pub const fn want_all(&mut self) {
        self.wanted = self.appended;
    }

    /// Everything appended so far goes out with the next batch, waited for or not.
    pub const fn write_all(&mut self) {
        self.is_due = true;
    }

    /// The same, and that batch is synced, and with it all before.
    pub const fn sync_all(&mut self) {
        self.sync_next = true;
    }

    /// Number of the last record.
    #[must_use]
    pub const fn appended(&self) -> u64 {
        self.appended
    }

    /// Records up to this one are as durable as is asked for.
    #[must_use]
    pub const fn durable(&self) -> u64 {
        self.durable
    }

    /// Bytes that wait for the batch under way to come back.
    #[must_use]
    pub const fn gathered_bytes(&self) -> usize {
        self.gathering.bytes.len()
    }

    /// A batch is with the driver.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// Nothing waits and nothing is under way.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        !self.is_under_way && self.gathering.bytes.is_empty()
    }

    /// Whether records wait that nobody asked for yet.
    #[must_use]
    pub const fn has_lazy(&self) -> bool {
        !self.gathering.bytes.is_empty() && !self.is_due
    }

    #[must_use]
    pub const fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    pub fn poll_segment(&mut self) -> Option<SegmentEvent> {
        self.segments.poll()
    }

    pub fn on_segment_ready(&mut self, number: u32) {
        self.segments.on_ready(number);
    }
}

/// What is needed of earlier segments.
impl Writer {
    /// A body at this place is needed from now on. False: nobody needed it for so long that it is
    /// gone.
    pub fn add_live(&mut self, place: Place, bytes: u32) -> bool {
        self.segments.add_live(place.segment(), bytes)
    }

    /// And from now on not any more.
    pub fn remove_live(&mut self, place: Place, bytes: u32) {
        self.segments.remove_live(place.segment(), bytes);
    }

    /// Appends the begin marker of a snapshot; returns its segment.
    pub fn begin_snapshot(&mut self, next_session: u64, next_forward: u64) -> u32 {
        self.begin_group();
        let place = self.append(&Record::SnapshotBegin {
            next_session,
            next_forward,
        });
        self.segments.on_snapshot_begin();
        place.segment()
    }

    /// Whether so little of a segment is needed that a snapshot carries it forward: less than a
    /// quarter. So all bodies together hold at most four times their bytes.
    #[must_use]
    pub fn is_sparse(&self, segment: u32) -> bool {
        segment < self.segment
            && self.segments.live_bytes(segment) * 4 < u64::from(self.settings.segment_bytes)
    }

    /// A snapshot that began in segment `began_in` is durable from begin to end.
    pub fn on_snapshot_durable(&mut self, began_in: u32) {
        self.segments.on_snapshot_durable(began_in);
    }

    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.segments.live_bytes_sum()
    }

    /// Segments that hold something.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.count()
    }
}
