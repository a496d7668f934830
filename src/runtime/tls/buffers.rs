//! Memory that the streams of one core take turns with, so that an idle one holds none.

/// Buffers kept for the next use; more are given back to the allocator.
const SPARE_MAX: usize = 64;
/// A larger buffer is not kept: 64 times that is the most that waits here (8 MiB).
const SPARE_BYTES_MAX: usize = 128 << 10;

/// The buffers of one core.
#[derive(Debug, Default)]
pub struct Buffers {
    spare: Vec<Vec<u8>>,
}

impl Buffers {
    /// An empty buffer.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Empties `buffer` and keeps its memory for the next stream.
    pub(super) fn give(&mut self, buffer: &mut Vec<u8>) {
        let mut buffer = std::mem::take(buffer);
        let is_worth_it = (1..=SPARE_BYTES_MAX).contains(&buffer.capacity());
        if is_worth_it && self.spare.len() < SPARE_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}
