//! Bytes on their way from a connection to its socket: owned, so that the driver may keep them
//! while the shard goes on, and given back to the shard's pool when they are sent.

use crate::codec::{ProtocolVersion, SharedMessage, publish_tail};
use std::collections::VecDeque;

/// Size of a pooled chunk: some dozen small packets; most turns need one per connection.
const CHUNK_BYTES: usize = 4096;
/// A tail of at least this size is sent from the message itself instead of being copied: below
/// it a copy is cheaper than one more piece for the kernel to gather.
const SHARED_TAIL_BYTES_MIN: usize = 2048;
/// A packet of at most this size is written into a chunk in one piece; the chunk before it may keep
/// as many bytes unused.
pub(crate) const CONTIGUOUS_BYTES_MAX: usize = 512;
/// Chunks kept for the next turn (4 MiB); more are given back to the allocator.
const POOL_CHUNKS_MAX: usize = 1024;
/// Empty lists kept for the next turn.
const POOL_LISTS_MAX: usize = 4096;

/// A list of owned pieces that together are the next bytes for one socket.
#[derive(Debug, Default)]
pub struct Transmit {
    segments: VecDeque<Segment>,
    /// Segments at the front that are sent; they stay until the pool takes them.
    sent_segments: usize,
    /// Bytes of the first segment behind them that are sent already.
    sent: usize,
    bytes: usize,
}

#[derive(Debug)]
enum Segment {
    Chunk(Vec<u8>),
    /// The shared tail of a large PUBLISH.
    Tail(SharedMessage, ProtocolVersion),
}

impl Segment {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Chunk(chunk) => chunk,
            Self::Tail(message, version) => publish_tail(message, *version),
        }
    }
}

impl Transmit {
    /// Bytes not yet sent.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The pieces in order, without what is sent already. None is empty.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.sent;
        self.segments
            .range(self.sent_segments..)
            .map(move |segment| &segment.bytes()[std::mem::take(&mut skip)..])
    }

    /// The socket has taken `count` bytes, at most [`Self::bytes`].
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.bytes);
        self.bytes -= count;
        let mut left = count;
        while left > 0 {
            let first = self.segments[self.sent_segments].bytes().len() - self.sent;
            if left < first {
                self.sent += left;
                return;
            }
            left -= first;
            self.sent = 0;
            self.sent_segments += 1;
        }
    }

    /// Lets `encode` write at most `bytes_max` bytes to the end, without a detour over another
    /// buffer; returns how many there were. `bytes_max` is at most [`CONTIGUOUS_BYTES_MAX`], so
    /// that little of a chunk stays unused.
    pub(crate) fn append_with(
        &mut self,
        bytes_max: usize,
        pool: &mut TransmitPool,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        debug_assert!(bytes_max <= CONTIGUOUS_BYTES_MAX);
        let has_room = match self.segments.back() {
            Some(Segment::Chunk(chunk)) => chunk.len() + bytes_max <= CHUNK_BYTES,
            _ => false,
        };
        if !has_room {
            self.segments.push_back(Segment::Chunk(pool.chunk()));
        }
        let Some(Segment::Chunk(chunk)) = self.segments.back_mut() else {
            return 0;
        };
        let before = chunk.len();
        encode(chunk);
        let bytes = chunk.len() - before;
        debug_assert!(bytes <= bytes_max);
        self.bytes += bytes;
        bytes
    }

    /// Copies `bytes` to the end.
    pub(crate) fn append(&mut self, mut bytes: &[u8], pool: &mut TransmitPool) {
        self.bytes += bytes.len();
        while !bytes.is_empty() {
            let room = match self.segments.back() {
                Some(Segment::Chunk(chunk)) => CHUNK_BYTES.saturating_sub(chunk.len()),
                _ => 0,
            };
            if room == 0 {
                self.segments.push_back(Segment::Chunk(pool.chunk()));
                continue;
            }
            let Some(Segment::Chunk(chunk)) = self.segments.back_mut() else {
                return;
            };
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            chunk.extend_from_slice(now);
            bytes = later;
        }
    }

    /// Adds the tail of a PUBLISH: copied when small, shared when large. Returns its bytes.
    pub(crate) fn append_tail(
        &mut self,
        message: &SharedMessage,
        version: ProtocolVersion,
        pool: &mut TransmitPool,
    ) -> usize {
        let tail = publish_tail(message, version);
        let bytes = tail.len();
        if bytes < SHARED_TAIL_BYTES_MIN {
            self.append(tail, pool);
        } else {
            self.bytes += tail.len();
            self.segments
                .push_back(Segment::Tail(message.clone(), version));
        }
        bytes
    }

    /// Messages that are held for their tails.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &SharedMessage> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Tail(message, _) => Some(message),
            Segment::Chunk(_) => None,
        })
    }
}

/// Memory of sent transmits, kept for the next ones of this shard.
#[derive(Debug, Default)]
pub(crate) struct TransmitPool {
    chunks: Vec<Vec<u8>>,
    #[allow(clippy::vec_box, reason = "the boxes travel; the list only parks them")]
    lists: Vec<Box<Transmit>>,
}

impl TransmitPool {
    fn chunk(&mut self) -> Vec<u8> {
        self.chunks
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES))
    }

    pub(crate) fn take(&mut self) -> Box<Transmit> {
        self.lists.pop().unwrap_or_default()
    }

    /// Takes a finished or abandoned transmit apart; its messages go to `release`.
    pub(crate) fn put(
        &mut self,
        mut transmit: Box<Transmit>,
        mut release: impl FnMut(SharedMessage),
    ) {
        for segment in transmit.segments.drain(..) {
            match segment {
                Segment::Chunk(mut chunk) if self.chunks.len() < POOL_CHUNKS_MAX => {
                    chunk.clear();
                    self.chunks.push(chunk);
                }
                Segment::Chunk(_) => {}
                Segment::Tail(message, _) => release(message),
            }
        }
        transmit.sent_segments = 0;
        transmit.sent = 0;
        transmit.bytes = 0;
        if self.lists.len() < POOL_LISTS_MAX {
            self.lists.push(transmit);
        }
    }
}
