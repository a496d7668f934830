//! All segments of a shard -> its state, or the place where the journal is broken.
//!
//! What ends a journal and what breaks it: a block that is missing or damaged is the torn end of a
//! run if no later block of its epoch was written in the knowledge that it was durable, and is
//! damage if one was. Damage before the begin of a complete snapshot harms nobody: only bodies are
//! read from there, and each is checked when it is.

use super::error::{Damage, JournalError};
use super::layout::{BLOCK_HEADER_BYTES, SegmentHeader};
use super::place::Place;
use super::record::Record;
use super::recovered::Recovered;
use super::scan::{Block, Records, SegmentBlocks};
use super::spare::SparedBlocks;
use super::state::State;
use crate::base::ids::ShardId;

/// Reads one shard's segments in ascending order. Holds the state, a second one while a snapshot
/// is open, and the records of a group that is not complete.
#[derive(Debug)]
pub struct Recovery {
    shard: ShardId,
    base: Version,
    /// From the begin marker of a snapshot that has no end yet.
    candidate: Option<Version>,
    epoch: Option<Epoch>,
    held: Vec<Held>,
    segments: Vec<u32>,
    /// Nothing was written to the last of them.
    last_is_unwritten: bool,
    /// Of all payloads.
    bytes: u64,
    spared: SparedBlocks,
}

/// The state under one assumption on where the journal begins.
#[derive(Debug, Default)]
struct Version {
    state: State,
    damage: Option<JournalError>,
    began_at_bytes: u64,
}

/// The run of the process whose blocks are being read.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    number: u32,
    /// Of the last block that took effect.
    last_block: u64,
    /// A block is missing, from here on nothing takes effect.
    cut_at: Option<(u32, u32)>,
}

/// Part of a group that goes on in the next block.
#[derive(Debug)]
struct Held {
    segment: u32,
    offset: u32,
    bytes: Vec<u8>,
}

impl Recovery {
    #[must_use]
    pub fn new(shard: ShardId) -> Self {
        Self::sparing(shard, SparedBlocks::default())
    }

    /// For a repair: blocks of which only messages are damaged count as whole.
    #[must_use]
    pub fn sparing(shard: ShardId, spared: SparedBlocks) -> Self {
        Self {
            shard,
            spared,
            base: Version::default(),
            candidate: None,
            epoch: None,
            held: Vec::new(),
            segments: Vec::new(),
            last_is_unwritten: false,
            bytes: 0,
        }
    }

    /// Takes the next segment; their numbers ascend. A file that was prepared and never written
    /// is a segment, too.
    ///
    /// # Errors
    /// The segment was written by a newer version or by another shard: nothing of the journal can
    /// be trusted. Damage is reported by [`Self::finish`], as what follows may make up for it.
    ///
    /// # Panics
    /// When the numbers do not ascend.
    pub fn read(&mut self, segment: u32, bytes: &[u8]) -> Result<(), JournalError> {
        assert!(self.segments.last().is_none_or(|last| *last < segment));
        let follows = self
            .segments
            .last()
            .is_some_and(|last| *last + 1 == segment);
        self.segments.push(segment);
        let mut blocks = match SegmentBlocks::new(self.shard, segment, bytes) {
            Ok(Some(blocks)) => blocks,
            Ok(None) => {
                self.last_is_unwritten = true;
                return Ok(());
            }
            Err(error) if error.damage == Damage::HeaderLost => {
                self.damage(segment, 0, error.damage);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.enter(&blocks.header, follows);
        self.last_is_unwritten = false;
        loop {
            let spared = &self.spared;
            let Some(block) = blocks.next_or(|block| spared.contains(segment, block.offset)) else {
                return Ok(());
            };
            self.take_block(segment, &block);
        }
    }

    /// Does the segment continue what was read? `follows`: the one before it was read, too. When
    /// whole segments are missing they were freed, so that is no torn end.
    fn enter(&mut self, header: &SegmentHeader, follows: bool) {
        let is_same = self.epoch.is_some_and(|it| it.number == header.epoch);
        if is_same && follows {
            return;
        }
        self.held.clear();
        let last = self.epoch.map_or((0, 0), |it| (it.number, it.last_block));
        let expected = if is_same {
            (header.epoch, header.first_block.saturating_sub(1))
        } else {
            (header.previous_epoch, header.previous_last_block)
        };
        // The segments with which the epoch begins may be there and torn away as a whole. Whether
        // anything in them was durable is known to the blocks that follow.
        let is_torn = !is_same && follows && self.last_is_unwritten;
        let begins_epoch = is_same || header.first_block == 1 || is_torn;
        if last != expected || !begins_epoch {
            self.damage(header.segment, 0, Damage::SegmentsMissing);
        }
        self.epoch = Some(Epoch {
            number: header.epoch,
            last_block: if is_torn {
                0
            } else {
                header.first_block.saturating_sub(1)
            },
            cut_at: None,
        });
    }

    fn take_block(&mut self, segment: u32, block: &Block<'_>) {
        let Some(epoch) = &mut self.epoch else { return };
        let header = &block.header;
        let gap = epoch.last_block.saturating_add(1);
        if header.number != gap || epoch.cut_at.is_some() {
            let (gap_segment, gap_offset) =
                *epoch.cut_at.get_or_insert((segment, block.searched_from));
            if header.durable_up_to < gap {
                return;
            }
            epoch.cut_at = None;
            self.held.clear();
            self.damage(gap_segment, gap_offset, Damage::BlockLost);
        }
        if let Some(epoch) = &mut self.epoch {
            epoch.last_block = header.number;
        }
        self.bytes += block.payload.len() as u64;
        self.take_payload(segment, block);
    }

    /// Complete groups take effect, a group that goes on is held.
    fn take_payload(&mut self, segment: u32, block: &Block<'_>) {
        let group = block.header.open_group.map_or(block.payload.len(), |at| {
            usize::try_from(at)
                .unwrap_or(usize::MAX)
                .min(block.payload.len())
        });
        let (complete, open) = block.payload.split_at(group);
        if !complete.is_empty() || open.is_empty() {
            for held in std::mem::take(&mut self.held) {
                self.apply_all(Records::at(held.segment, held.offset, &held.bytes));
            }
        }
        self.apply_all(Records::new(segment, block.offset, complete));
        if !open.is_empty() {
            let offset = u32::try_from(group).unwrap_or(u32::MAX);
            self.held.push(Held {
                segment,
                offset: block
                    .offset
                    .saturating_add(BLOCK_HEADER_BYTES)
                    .saturating_add(offset),
                bytes: open.to_vec(),
            });
        }
    }

    fn apply_all(&mut self, mut records: Records<'_>) {
        while let Some((place, record)) = records.next_change() {
            match record {
                Some(record) => self.apply(place, &record),
                None => self.damage(place.segment(), place.offset(), Damage::MalformedRecord),
            }
        }
    }

    fn apply(&mut self, place: Place, record: &Record<'_>) {
        match record {
            Record::SnapshotBegin { .. } => {
                self.candidate = Some(Version {
                    began_at_bytes: self.bytes,
                    ..Version::default()
                });
            }
            Record::SnapshotEnd => {
                if let Some(complete) = self.candidate.take() {
                    self.base = complete;
                }
            }
            _ => {}
        }
        let shard = self.shard;
        for version in std::iter::once(&mut self.base).chain(&mut self.candidate) {
            if version.state.apply(record).is_err() && version.damage.is_none() {
                version.damage = Some(JournalError {
                    shard,
                    segment: place.segment(),
                    offset: place.offset(),
                    damage: Damage::InconsistentRecord,
                });
            }
        }
    }

    fn damage(&mut self, segment: u32, offset: u32, damage: Damage) {
        let error = JournalError {
            shard: self.shard,
            segment,
            offset,
            damage,
        };
        for version in std::iter::once(&mut self.base).chain(&mut self.candidate) {
            version.damage.get_or_insert(error);
        }
    }

    /// The state at the end of the journal.
    ///
    /// # Errors
    /// The first damage behind the begin of the last complete snapshot.
    pub fn finish(self) -> Result<Recovered, JournalError> {
        let Self {
            shard,
            base,
            epoch,
            segments,
            bytes,
            ..
        } = self;
        if let Some(damage) = base.damage {
            return Err(damage);
        }
        Ok(Recovered::new(
            shard,
            base.state,
            epoch.map_or((0, 0), |it| (it.number, it.last_block)),
            segments,
            bytes - base.began_at_bytes,
        ))
    }
}
