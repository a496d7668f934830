//! A segment's bytes -> blocks, and blocks -> records.

use super::decode::split_record;
use super::error::{Damage, JournalError};
use super::layout::{
    BLOCK_HEADER_BYTES, BlockHeader, BlockSalt, PAGE_BYTES, SegmentHeader, SegmentPage, block_bytes,
};
use super::place::Place;
use super::record::{RECORD_HEADER_BYTES, Record, RecordKind};
use crate::base::ids::ShardId;

/// A valid block, wherever it was found: what could not be read before it was skipped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    pub(super) header: BlockHeader,
    pub(super) offset: u32,
    pub(super) payload: &'a [u8],
    /// Where the search for it began: a block that should stand there is missing if this is not
    /// `offset`.
    pub(super) searched_from: u32,
}

/// The valid blocks of one segment, in order.
#[derive(Debug)]
pub struct SegmentBlocks<'a> {
    bytes: &'a [u8],
    pub(super) header: SegmentHeader,
    salt: BlockSalt,
    offset: u32,
}

impl<'a> SegmentBlocks<'a> {
    /// `None`: nothing of this journal was written to the segment.
    ///
    /// # Errors
    /// The segment was written by a newer version or by another shard, or its header is damaged.
    pub fn new(
        shard: ShardId,
        segment: u32,
        bytes: &'a [u8],
    ) -> Result<Option<Self>, JournalError> {
        let error = |damage| JournalError {
            shard,
            segment,
            offset: 0,
            damage,
        };
        let header = match SegmentHeader::decode(bytes) {
            SegmentPage::Newer { version } => return Err(error(Damage::NewerFormat { version })),
            SegmentPage::Nothing => return Ok(None),
            SegmentPage::Garbled => return Err(error(Damage::HeaderLost)),
            SegmentPage::Header(header) => header,
        };
        if header.segment != segment {
            return Ok(None);
        }
        if header.shard != shard {
            let found = header.shard.0;
            return Err(error(Damage::OtherShard { found }));
        }
        Ok(Some(Self {
            bytes,
            header,
            salt: BlockSalt::of(&header),
            offset: PAGE_BYTES,
        }))
    }

    /// The next valid block. Looks at every page behind a gap: a false one would have to know the
    /// epoch's salt.
    pub(super) fn next(&mut self) -> Option<Block<'a>> {
        self.next_or(|_| false)
    }

    /// The same; `is_spared` says whether a block counts whose header is whole and whose payload
    /// is not.
    pub(super) fn next_or(
        &mut self,
        mut is_spared: impl FnMut(&Block<'a>) -> bool,
    ) -> Option<Block<'a>> {
        let searched_from = self.offset;
        loop {
            let offset = self.offset;
            let rest = self.bytes.get(offset as usize..)?;
            if rest.len() < BLOCK_HEADER_BYTES as usize {
                return None;
            }
            if let Some(header) = BlockHeader::decode(rest, self.salt, offset)
                && let Some(payload) = header.payload(rest)
            {
                let block = Block {
                    header,
                    offset,
                    payload,
                    searched_from,
                };
                if header.is_of(payload) || is_spared(&block) {
                    let bytes = block_bytes(header.payload_bytes);
                    self.offset = offset.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
                    return Some(block);
                }
            }
            self.offset = offset.checked_add(PAGE_BYTES)?;
        }
    }

    /// The records of all valid blocks with their places, for inspection: gaps and groups are not
    /// looked at.
    pub fn records(mut self) -> impl Iterator<Item = (Place, Option<Record<'a>>)> {
        let segment = self.header.segment;
        let mut current: Option<Records<'a>> = None;
        std::iter::from_fn(move || {
            loop {
                if let Some(record) = current.as_mut().and_then(Iterator::next) {
                    return Some(record);
                }
                let block = self.next()?;
                current = Some(Records::new(segment, block.offset, block.payload));
            }
        })
    }
}

/// A record's kind and content, if it is complete.
pub(super) type Undecoded<'a> = Option<(u8, &'a [u8])>;

/// The records of one payload with their places; `None` for the first that is malformed, which is
/// the last item.
#[derive(Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    segment: u32,
    offset: u32,
}

impl<'a> Records<'a> {
    /// `payload` of the block at `block_offset`.
    pub(super) const fn new(segment: u32, block_offset: u32, payload: &'a [u8]) -> Self {
        Self::at(
            segment,
            block_offset.saturating_add(BLOCK_HEADER_BYTES),
            payload,
        )
    }

    /// Records that stand at `offset` of the segment.
    pub(super) const fn at(segment: u32, offset: u32, rest: &'a [u8]) -> Self {
        Self {
            rest,
            segment,
            offset,
        }
    }
}

impl<'a> Records<'a> {
    /// The next record that changes the state: bodies are passed over, and not looked at.
    pub(super) fn next_change(&mut self) -> Option<(Place, Option<Record<'a>>)> {
        loop {
            let (place, record) = self.next_undecoded()?;
            match record {
                Some((kind, _)) if kind == RecordKind::Body as u8 => {}
                Some((kind, content)) => return Some((place, self.decode(place, kind, content))),
                None => return Some((place, None)),
            }
        }
    }

    /// All records, whatever they contain.
    pub(super) fn undecoded(mut self) -> impl Iterator<Item = (Place, Undecoded<'a>)> {
        std::iter::from_fn(move || self.next_undecoded())
    }

    /// The next record, whatever it contains.
    fn next_undecoded(&mut self) -> Option<(Place, Undecoded<'a>)> {
        if self.rest.is_empty() {
            return None;
        }
        let place = Place::new(self.segment, self.offset)?;
        let Some((kind, content)) = split_record(self.rest) else {
            self.rest = &[];
            return Some((place, None));
        };
        let bytes = RECORD_HEADER_BYTES + content.len();
        self.rest = &self.rest[bytes..];
        self.offset = self
            .offset
            .saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        Some((place, Some((kind, content))))
    }

    fn decode(&mut self, place: Place, kind: u8, content: &'a [u8]) -> Option<Record<'a>> {
        let record = Record::decode(place, kind, content);
        if record.is_none() {
            self.rest = &[];
        }
        record
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (Place, Option<Record<'a>>);

    fn next(&mut self) -> Option<Self::Item> {
        let (place, record) = self.next_undecoded()?;
        let record = record.and_then(|(kind, content)| self.decode(place, kind, content));
        Some((place, record))
    }
}
