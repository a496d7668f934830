//! Damaged blocks that lost nothing but messages.
//!
//! A block's check sum covers everything in it, and each body has one of its own. So the sum that
//! the block would have with its bodies as they were written can be put together from the bytes
//! outside the damaged bodies and the sums of these. If it is the one in the block's header, then
//! nothing else of the block is damaged: neither a record of the state nor the lengths by which
//! the records follow each other.

use super::error::{Damage, JournalError};
use super::layout::BlockHeader;
use super::place::Place;
use super::record::{BODY_CRC_BYTES, RECORD_HEADER_BYTES, RecordKind, body_crc};
use super::scan::{Records, SegmentBlocks};
use crate::base::ids::ShardId;
use std::collections::{BTreeMap, BTreeSet};

/// Blocks of which only messages are damaged, and that had been reported durable. For
/// [`super::Recovery::sparing`].
#[derive(Clone, Debug, Default)]
pub struct SparedBlocks(BTreeSet<(u32, u32)>);

impl SparedBlocks {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The segments in which they stand, ascending; one with several comes several times.
    pub fn segments(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|(segment, _)| *segment)
    }

    pub(super) fn contains(&self, segment: u32, offset: u32) -> bool {
        self.0.contains(&(segment, offset))
    }
}

/// Reads one shard's segments, in any order, and finds such blocks.
#[derive(Debug)]
pub struct Survey {
    shard: ShardId,
    found: Vec<Found>,
    /// By epoch: the last block that a whole one knew to be durable.
    durable: BTreeMap<u32, u64>,
}

#[derive(Debug)]
struct Found {
    epoch: u32,
    number: u64,
    segment: u32,
    offset: u32,
}

impl Survey {
    #[must_use]
    pub const fn new(shard: ShardId) -> Self {
        Self {
            shard,
            found: Vec::new(),
            durable: BTreeMap::new(),
        }
    }

    /// # Errors
    /// As [`super::Recovery::read`].
    pub fn read(&mut self, segment: u32, bytes: &[u8]) -> Result<(), JournalError> {
        let mut blocks = match SegmentBlocks::new(self.shard, segment, bytes) {
            Ok(Some(blocks)) => blocks,
            Ok(None) => return Ok(()),
            Err(error) if error.damage == Damage::HeaderLost => return Ok(()),
            Err(error) => return Err(error),
        };
        let epoch = blocks.header.epoch;
        let found = &mut self.found;
        while let Some(block) = blocks.next_or(|block| {
            let is_spared = lost_only_bodies(segment, block.offset, &block.header, block.payload);
            if is_spared {
                found.push(Found {
                    epoch,
                    number: block.header.number,
                    segment,
                    offset: block.offset,
                });
            }
            is_spared
        }) {
            let durable = self.durable.entry(epoch).or_default();
            *durable = (*durable).max(block.header.durable_up_to);
        }
        Ok(())
    }

    /// A block that nobody knew to be durable may be the torn end: it stays what it is.
    #[must_use]
    pub fn finish(self) -> SparedBlocks {
        let Self { found, durable, .. } = self;
        let was_durable = |it: &Found| durable.get(&it.epoch).is_some_and(|up| *up >= it.number);
        let spared = found.into_iter().filter(was_durable);
        SparedBlocks(spared.map(|it| (it.segment, it.offset)).collect())
    }
}

/// Whether the payload differs from what was written only inside bodies, behind their check sums.
fn lost_only_bodies(segment: u32, offset: u32, header: &BlockHeader, payload: &[u8]) -> bool {
    let mut crc = 0;
    let mut rest = payload;
    for (place, record) in Records::new(segment, offset, payload).undecoded() {
        let Some((kind, content)) = record else {
            return false;
        };
        let (record, behind) = rest.split_at(RECORD_HEADER_BYTES + content.len());
        rest = behind;
        crc = if kind == RecordKind::Body as u8 {
            append_body(crc, place, record, content)
        } else {
            crc32c::crc32c_append(crc, record)
        };
    }
    header.is_of_crc(crc)
}

/// The check sum behind a body as it was written.
fn append_body(crc: u32, place: Place, record: &[u8], content: &[u8]) -> u32 {
    let Some((stored, summed)) = content.split_first_chunk::<BODY_CRC_BYTES>() else {
        return crc32c::crc32c_append(crc, record);
    };
    let stored = u32::from_le_bytes(*stored);
    if stored == body_crc(place, summed) {
        return crc32c::crc32c_append(crc, record);
    }
    let in_front = crc32c::crc32c_append(crc, &record[..record.len() - summed.len()]);
    // The body's own sum begins with its place: taking that out leaves the sum of the bytes alone.
    let of_place = crc32c::crc32c(&place.as_u64().to_le_bytes());
    let of_bytes = stored ^ crc32c::crc32c_combine(of_place, 0, summed.len());
    crc32c::crc32c_combine(in_front, of_bytes, summed.len())
}
