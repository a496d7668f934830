//! Segments and blocks, byte by byte. All numbers are little endian.
//!
//! A segment is a file of fixed size, written from front to back in pages of 4096 bytes. Its first
//! page is the header, the rest are blocks; a block begins on a page and takes whole pages, so that
//! a torn write never damages an earlier block. What a recycled file held before stays behind the
//! last block and is told apart by the check sums.
//!
//! Segment header (the rest of its page is 0):
//!
//! | offset | bytes | |
//! | --- | --- | --- |
//! | 0 | 8 | magic, `RINGWAYJ` |
//! | 8 | 2 | format version, 3; 2 knows no forwards to groups, 1 no expiry of queued messages |
//! | 10 | 2 | shard |
//! | 12 | 4 | segment number, from 1, never used again |
//! | 16 | 4 | epoch: counts the starts of the process, from 1 |
//! | 20 | 4 | the epoch before, 0: none |
//! | 24 | 8 | salt of the epoch: random, so that no client can send what looks like a block |
//! | 32 | 8 | number of the segment's first block; blocks of an epoch count from 1 |
//! | 40 | 8 | number of the last block that was recovered of the epoch before |
//! | 48 | 4 | CRC32C of bytes 0 to 47 |
//!
//! Block header, followed by the payload (records, see `record`) and zeros up to the next page:
//!
//! | offset | bytes | |
//! | --- | --- | --- |
//! | 0 | 4 | magic, `RWJB` |
//! | 4 | 4 | bytes of the payload |
//! | 8 | 8 | number of the block |
//! | 16 | 8 | number of the last block known to be durable when this one was written |
//! | 24 | 4 | where in the payload a group begins that goes on in the next block; 2^32-1: nowhere |
//! | 28 | 4 | 0 |
//! | 32 | 4 | CRC32C of the payload |
//! | 36 | 4 | CRC32C of salt, epoch, segment, offset of the block, and bytes 0 to 35 |

use crate::base::ids::ShardId;

/// The version that is written, and the newest that is read.
pub const FORMAT_VERSION: u16 = 3;
/// Offsets and sizes of blocks are multiples of this: what disks write in one piece, and what
/// direct I/O asks for.
pub const PAGE_BYTES: u32 = 4096;
/// Smaller segments would be all headers.
pub const SEGMENT_BYTES_MIN: u32 = 1 << 20;

const SEGMENT_MAGIC: [u8; 8] = *b"RINGWAYJ";
const SEGMENT_HEADER_BYTES: usize = 52;
const BLOCK_MAGIC: [u8; 4] = *b"RWJB";
pub(super) const BLOCK_HEADER_BYTES: u32 = 40;
const NO_OPEN_GROUP: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    pub(super) shard: ShardId,
    pub(super) segment: u32,
    pub(super) epoch: u32,
    pub(super) previous_epoch: u32,
    pub(super) salt: u64,
    pub(super) first_block: u64,
    pub(super) previous_last_block: u64,
}

/// What the first page of a segment turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SegmentPage {
    Header(SegmentHeader),
    /// Never written, or torn.
    Nothing,
    /// No header, but a block behind it: the medium has changed what was there. A torn write cannot
    /// look like that, as the header is in one sector: it leaves zeros, or an earlier header.
    Garbled,
    Newer {
        version: u16,
    },
}

impl SegmentHeader {
    /// Appends the header's page.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend(SEGMENT_MAGIC);
        out.extend(FORMAT_VERSION.to_le_bytes());
        out.extend(self.shard.0.to_le_bytes());
        out.extend(self.segment.to_le_bytes());
        out.extend(self.epoch.to_le_bytes());
        out.extend(self.previous_epoch.to_le_bytes());
        out.extend(self.salt.to_le_bytes());
        out.extend(self.first_block.to_le_bytes());
        out.extend(self.previous_last_block.to_le_bytes());
        let crc = crc32c::crc32c(&out[start..]);
        out.extend(crc.to_le_bytes());
        out.resize(start + PAGE_BYTES as usize, 0);
    }

    pub(super) fn decode(bytes: &[u8]) -> SegmentPage {
        let Some((page, blocks)) = bytes.split_at_checked(PAGE_BYTES as usize) else {
            return SegmentPage::Nothing;
        };
        if page[..8] != SEGMENT_MAGIC {
            return Self::none(page, blocks);
        }
        let version = u16_at(bytes, 8);
        if version > FORMAT_VERSION {
            return SegmentPage::Newer { version };
        }
        let crc_at = SEGMENT_HEADER_BYTES - 4;
        if crc32c::crc32c(&bytes[..crc_at]) != u32_at(bytes, crc_at) {
            return Self::none(page, blocks);
        }
        SegmentPage::Header(Self {
            shard: ShardId(u16_at(bytes, 10)),
            segment: u32_at(bytes, 12),
            epoch: u32_at(bytes, 16),
            previous_epoch: u32_at(bytes, 20),
            salt: u64_at(bytes, 24),
            first_block: u64_at(bytes, 32),
            previous_last_block: u64_at(bytes, 40),
        })
    }

    /// What a page without a header is.
    fn none(page: &[u8], blocks: &[u8]) -> SegmentPage {
        if blocks.starts_with(&BLOCK_MAGIC) && page.iter().any(|byte| *byte != 0) {
            SegmentPage::Garbled
        } else {
            SegmentPage::Nothing
        }
    }
}

/// What makes a block of one place differ from the same bytes anywhere else.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockSalt {
    pub(super) salt: u64,
    pub(super) epoch: u32,
    pub(super) segment: u32,
}

impl BlockSalt {
    pub(super) const fn of(header: &SegmentHeader) -> Self {
        Self {
            salt: header.salt,
            epoch: header.epoch,
            segment: header.segment,
        }
    }

    fn crc(self, offset: u32, bytes: &[u8]) -> u32 {
        let mut salted = [0; 20];
        salted[..8].copy_from_slice(&self.salt.to_le_bytes());
        salted[8..12].copy_from_slice(&self.epoch.to_le_bytes());
        salted[12..16].copy_from_slice(&self.segment.to_le_bytes());
        salted[16..].copy_from_slice(&offset.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(&salted), bytes)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BlockHeader {
    pub(super) payload_bytes: u32,
    pub(super) number: u64,
    pub(super) durable_up_to: u64,
    /// Where in the payload a group begins that is not complete at its end.
    pub(super) open_group: Option<u32>,
    payload_crc: u32,
}

impl BlockHeader {
    /// Fills in the header of a finished block, which is `block`: room for the header, payload,
    /// padding.
    pub(super) fn seal(
        block: &mut [u8],
        payload_bytes: u32,
        number: u64,
        durable_up_to: u64,
        open_group: Option<u32>,
        salt: BlockSalt,
        offset: u32,
    ) {
        let (header, payload) = block.split_at_mut(BLOCK_HEADER_BYTES as usize);
        let payload_crc = crc32c::crc32c(&payload[..payload_bytes as usize]);
        header[..4].copy_from_slice(&BLOCK_MAGIC);
        header[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
        header[8..16].copy_from_slice(&number.to_le_bytes());
        header[16..24].copy_from_slice(&durable_up_to.to_le_bytes());
        header[24..28].copy_from_slice(&open_group.unwrap_or(NO_OPEN_GROUP).to_le_bytes());
        header[28..32].fill(0);
        header[32..36].copy_from_slice(&payload_crc.to_le_bytes());
        let crc = salt.crc(offset, &header[..36]);
        header[36..40].copy_from_slice(&crc.to_le_bytes());
    }

    /// The header at the beginning of `bytes`, which stand at `offset` of the segment.
    pub(super) fn decode(bytes: &[u8], salt: BlockSalt, offset: u32) -> Option<Self> {
        if bytes.len() < BLOCK_HEADER_BYTES as usize || bytes[..4] != BLOCK_MAGIC {
            return None;
        }
        if salt.crc(offset, &bytes[..36]) != u32_at(bytes, 36) {
            return None;
        }
        let open_group = u32_at(bytes, 24);
        Some(Self {
            payload_bytes: u32_at(bytes, 4),
            number: u64_at(bytes, 8),
            durable_up_to: u64_at(bytes, 16),
            open_group: (open_group != NO_OPEN_GROUP).then_some(open_group),
            payload_crc: u32_at(bytes, 32),
        })
    }

    /// The payload behind the header at the beginning of `bytes`, whole or not.
    pub(super) fn payload<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let start = BLOCK_HEADER_BYTES as usize;
        let end = start.checked_add(self.payload_bytes as usize)?;
        bytes.get(start..end)
    }

    /// Whether these bytes, or bytes with this check sum, are the payload that was written.
    pub(super) fn is_of(&self, payload: &[u8]) -> bool {
        self.is_of_crc(crc32c::crc32c(payload))
    }

    pub(super) const fn is_of_crc(&self, payload_crc: u32) -> bool {
        self.payload_crc == payload_crc
    }
}

/// Bytes of a block with this payload, padding included.
pub(super) const fn block_bytes(payload_bytes: u32) -> u64 {
    let bytes = BLOCK_HEADER_BYTES as u64 + payload_bytes as u64;
    bytes.next_multiple_of(PAGE_BYTES as u64)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}
