//! What is written to the disk in one go.

use smallvec::SmallVec;

/// Blocks of one shard, to be written in their order; the next batch comes after this one is back.
/// Its memory is used again.
#[derive(Debug, Default)]
pub struct JournalBatch {
    pub(super) bytes: Vec<u8>,
    pub(super) spans: SmallVec<[Span; 2]>,
    pub(super) sequence: u64,
    pub(super) last_block: u64,
    pub(super) needs_sync: bool,
}

/// The part of a batch's bytes that goes to one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) segment: u32,
    pub(super) offset: u32,
    /// Where its bytes begin in the batch; they end where the next span begins.
    pub(super) start: usize,
}

/// One write: whole pages of one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write<'a> {
    pub segment: u32,
    /// Bytes from the beginning of the segment, a multiple of [`super::PAGE_BYTES`].
    pub offset: u32,
    /// A multiple of [`super::PAGE_BYTES`] long.
    pub bytes: &'a [u8],
}

impl JournalBatch {
    /// The writes, to be made in this order, each after the former is as durable as
    /// [`Self::needs_sync`] asks. Several only when a segment ends inside the batch.
    pub fn writes(&self) -> impl Iterator<Item = Write<'_>> {
        let ends = self.spans.iter().skip(1).map(|next| next.start);
        let ends = ends.chain(std::iter::once(self.bytes.len()));
        self.spans.iter().zip(ends).map(|(span, end)| Write {
            segment: span.segment,
            offset: span.offset,
            bytes: &self.bytes[span.start..end],
        })
    }

    /// Number of the last record in the batch.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether the batch must be on the disk, not only written, before it comes back.
    #[must_use]
    pub const fn needs_sync(&self) -> bool {
        self.needs_sync
    }

    /// Bytes of all writes together.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }
}
