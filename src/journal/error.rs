//! What can be wrong with a journal, and where.

use super::layout::PAGE_BYTES;
use crate::base::ids::ShardId;
use std::fmt;

/// A journal that cannot be recovered: what is wrong and where it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalError {
    pub shard: ShardId,
    pub segment: u32,
    /// Bytes from the beginning of the segment.
    pub offset: u32,
    pub damage: Damage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// Written by a newer version of this program.
    NewerFormat { version: u16 },
    /// The segment belongs to another shard.
    OtherShard { found: u16 },
    /// The segment's header is damaged: whatever it holds cannot be told from older blocks.
    HeaderLost,
    /// The block here is damaged or missing although it had been reported durable.
    BlockLost,
    /// Segments before this one are missing, and no complete snapshot follows.
    SegmentsMissing,
    /// The block is whole, but what it contains is not a record.
    MalformedRecord,
    /// The record does not fit what stands before it.
    InconsistentRecord,
    /// A message that is still needed is not where it should be.
    MessageLost,
}

impl JournalError {
    /// Where a repair cuts the segment: the beginning of the page with the damage.
    #[must_use]
    pub const fn cut_offset(&self) -> u32 {
        self.offset / PAGE_BYTES * PAGE_BYTES
    }
}

impl Damage {
    /// Whether a journal that is cut in front of the damage can be recovered: not, if what is
    /// missing is another program or other segments.
    #[must_use]
    pub const fn is_healed_by_cut(self) -> bool {
        match self {
            Self::NewerFormat { .. } | Self::OtherShard { .. } | Self::SegmentsMissing => false,
            Self::HeaderLost
            | Self::BlockLost
            | Self::MalformedRecord
            | Self::InconsistentRecord
            | Self::MessageLost => true,
        }
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            shard,
            segment,
            offset,
            damage,
        } = self;
        write!(
            formatter,
            "journal of shard {}, segment {segment}, offset {offset}: ",
            shard.0
        )?;
        match damage {
            Damage::NewerFormat { version } => write!(
                formatter,
                "format version {version} is newer than this program reads ({})",
                super::FORMAT_VERSION
            ),
            Damage::OtherShard { found } => {
                write!(formatter, "the segment was written by shard {found}")
            }
            Damage::HeaderLost => formatter.write_str("the segment's header is damaged"),
            Damage::BlockLost => {
                formatter.write_str("a block is damaged or missing that had been reported durable")
            }
            Damage::SegmentsMissing => {
                formatter.write_str("segments before this one are missing, and no snapshot follows")
            }
            Damage::MalformedRecord => formatter.write_str("a block contains what is no record"),
            Damage::InconsistentRecord => {
                formatter.write_str("a record contradicts those before it")
            }
            Damage::MessageLost => {
                formatter.write_str("a message that is still needed is damaged or missing")
            }
        }
    }
}

impl std::error::Error for JournalError {}
