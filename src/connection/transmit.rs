//! Bytes on their way from a connection to its socket: owned, so that the driver may keep them
//! while the shard goes on, and given back to the shard's pool when they are sent.

use std::collections::VecDeque;

/// A list of owned pieces that together are the next bytes for one socket.
#[derive(Debug, Default)]
pub struct Transmit {
    segments: VecDeque<Vec<u8>>,
    /// Bytes of the first segment that are sent already.
    sent: usize,
    bytes: usize,
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
            .iter()
            .map(move |segment| &segment[std::mem::take(&mut skip)..])
    }

    /// The socket has taken `count` bytes, at most [`Self::bytes`].
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.bytes);
        self.bytes -= count;
        let mut left = count;
        while left > 0 {
            let first = self.segments[0].len() - self.sent;
            if left < first {
                self.sent += left;
                return;
            }
            left -= first;
            self.sent = 0;
            self.segments.pop_front();
        }
    }
}
