//! Buffers that the kernel fills when bytes arrive: they belong to the ring, not to connections,
//! so an idle connection costs none.
//!
//! The kernel takes a buffer when it receives, tells its number in the completion, and gets it
//! back when the bytes have been fed to the shard, within the same turn. A burst makes the buffers
//! more; a while after the last one their memory is given back.

use super::memory::Pages;
use super::ring::Ring;
use crate::runtime::error::ServeError;
use io_uring::types::BufRingEntry;
use std::sync::atomic::{AtomicU16, Ordering};

/// Enough for a burst of 2048 connections in one turn: 8 MiB at most.
const BUFFERS: u16 = 2048;
/// What the kernel gets at first; twice as many after each turn in which it ran out, so that the
/// memory follows the bursts. The kernel goes round: each buffer that it has will be touched. Much
/// fewer would make it run out in every turn, and each receive would be armed twice.
const BUFFERS_FIRST: u16 = 256;
/// Holds some dozen small packets; a large one takes several completions.
const BUFFER_BYTES: usize = 4096;
/// The only group of buffers of a ring.
pub(super) const BUFFER_GROUP: u16 = 0;

/// The list of free buffers, shared with the kernel, and the buffers.
#[derive(Debug)]
pub(super) struct BufferRing {
    entries: Pages,
    buffers: Pages,
    /// Buffers given to the kernel so far, wrapping.
    tail: u16,
    /// Buffers in use; the kernel has never had the others.
    count: u16,
    /// The kernel ran out in this turn.
    exhausted: bool,
    /// The burst is over: what comes back of the buffers behind the first ones is withheld.
    shrinks: bool,
    withheld: Vec<u16>,
}

impl BufferRing {
    /// Reserves all buffers and gives the first ones to the kernel.
    pub(super) fn new(ring: &Ring) -> Result<Self, ServeError> {
        let failed = |error| ServeError::from_ring("provided buffers", error);
        let count = usize::from(BUFFERS);
        let entries = Pages::new(count * size_of::<BufRingEntry>()).map_err(failed)?;
        let buffers = Pages::new(count * BUFFER_BYTES).map_err(failed)?;
        let address = entries.at(0).addr() as u64;
        // SAFETY: the list is as large as told, page aligned, and outlives the ring's operations.
        unsafe {
            ring.inner()
                .submitter()
                .register_buf_ring_with_flags(address, BUFFERS, BUFFER_GROUP, 0)
        }
        .map_err(failed)?;
        let mut this = Self {
            entries,
            buffers,
            tail: 0,
            count: 0,
            exhausted: false,
            shrinks: false,
            withheld: Vec::new(),
        };
        this.grow_to(BUFFERS_FIRST);
        this.publish();
        Ok(this)
    }

    fn grow_to(&mut self, count: u16) {
        for buffer in self.count..count {
            self.give(buffer);
        }
        self.count = count;
    }

    /// The kernel has had enough buffers for a while: the memory of those behind the first ones is
    /// given back, and so are they themselves as they come.
    ///
    /// No received bytes may wait in any buffer: all completions of the ring are known and done.
    pub(super) fn shrink(&mut self) {
        if self.count > BUFFERS_FIRST {
            self.shrinks = true;
            self.give_memory_back();
        }
    }

    fn give_memory_back(&self) {
        let first = usize::from(BUFFERS_FIRST) * BUFFER_BYTES;
        let end = usize::from(self.count) * BUFFER_BYTES;
        self.buffers.give_back(first, end - first);
    }

    fn withhold(&mut self, buffer: u16) {
        self.withheld.push(buffer);
        if self.withheld.len() == usize::from(self.count - BUFFERS_FIRST) {
            self.give_memory_back();
            self.withheld = Vec::new();
            self.shrinks = false;
            self.count = BUFFERS_FIRST;
        }
    }

    /// The kernel ran out: it gets what was withheld, or as many again.
    fn grow(&mut self) {
        if std::mem::take(&mut self.shrinks) {
            for buffer in std::mem::take(&mut self.withheld) {
                self.give(buffer);
            }
        } else {
            self.grow_to(self.count.saturating_mul(2).min(BUFFERS));
        }
    }

    /// The kernel found no buffer.
    pub(super) fn on_exhausted(&mut self) {
        self.exhausted = true;
    }

    /// What the kernel has put into a buffer that it has handed to us.
    pub(super) fn bytes(&self, buffer: u16, length: usize) -> &[u8] {
        assert!(buffer < BUFFERS && length <= BUFFER_BYTES);
        let start = self.buffers.at(usize::from(buffer) * BUFFER_BYTES);
        // SAFETY: inside the mapping, as asserted; the kernel does not write to a buffer between
        // its completion and `put_back`, which needs this borrow to have ended.
        unsafe { std::slice::from_raw_parts(start, length) }
    }

    /// As [`BufferRing::bytes`], to be changed in place.
    pub(super) fn bytes_mut(&mut self, buffer: u16, length: usize) -> &mut [u8] {
        assert!(buffer < BUFFERS && length <= BUFFER_BYTES);
        let start = self.buffers.at(usize::from(buffer) * BUFFER_BYTES);
        // SAFETY: inside the mapping, as asserted; the buffer is ours until `put_back`, and the
        // exclusive borrow lets nobody else see it.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }

    /// Gives a buffer back; the kernel sees it after [`BufferRing::publish`].
    pub(super) fn put_back(&mut self, buffer: u16) {
        if self.shrinks && buffer >= BUFFERS_FIRST {
            self.withhold(buffer);
        } else {
            self.give(buffer);
        }
    }

    fn give(&mut self, buffer: u16) {
        assert!(buffer < BUFFERS);
        let position = usize::from(self.tail & (BUFFERS - 1));
        let entry: *mut BufRingEntry = self.entries.at(position * size_of::<BufRingEntry>()).cast();
        let address = self.buffers.at(usize::from(buffer) * BUFFER_BYTES);
        // SAFETY: inside the list; the kernel reads this entry only after `publish`.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address.addr() as u64);
        #[allow(clippy::cast_possible_truncation, reason = "a constant of 4096")]
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel the buffers that were given back, and more of them if it ran out. Once per
    /// turn.
    pub(super) fn publish(&mut self) {
        if std::mem::take(&mut self.exhausted) {
            self.grow();
        }
        let first: *const BufRingEntry = self.entries.at(0).cast();
        // SAFETY: the first entry of a registered list; its spare field is the list's tail.
        let tail = unsafe { BufRingEntry::tail(first) };
        // SAFETY: aligned, inside the mapping, and only ever reached atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::super::operation::{Completion, Operation, UserData};
    use super::super::ring::{Notice, Role, Wait};
    use super::*;
    use io_uring::{opcode, types};
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    struct Receiver {
        ring: Ring,
        buffers: BufferRing,
        client: UnixStream,
        server: UnixStream,
    }

    fn receiver() -> Receiver {
        let ring = Ring::new(16, Role::Lead, Notice::None).unwrap();
        let buffers = BufferRing::new(&ring).unwrap();
        let (client, server) = UnixStream::pair().unwrap();
        Receiver {
            ring,
            buffers,
            client,
            server,
        }
    }

    impl Receiver {
        fn arm(&mut self) {
            let socket = types::Fd(self.server.as_raw_fd());
            let entry = opcode::RecvMulti::new(socket, BUFFER_GROUP).build();
            self.ring.push(entry, UserData::plain(Operation::Receive));
        }

        fn turn(&mut self) -> Vec<Completion> {
            let mut completions = Vec::new();
            let wait = Wait::AtMost(Duration::from_millis(50));
            self.ring.enter(wait, &mut completions).unwrap();
            completions
        }
    }

    #[test]
    fn bytes_arrive_in_provided_buffers_and_all_buffers_come_back() {
        let mut receiver = receiver();
        receiver.arm();
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        // Three times around the list of buffers.
        for round in 0..u32::from(BUFFERS) * 3 {
            let piece = round.to_be_bytes();
            receiver.client.write_all(&piece).unwrap();
            sent.extend_from_slice(&piece);
            for completion in receiver.turn() {
                let length = usize::try_from(completion.result).unwrap();
                let buffer = completion.buffer().unwrap();
                received.extend_from_slice(receiver.buffers.bytes(buffer, length));
                receiver.buffers.put_back(buffer);
                assert!(completion.has_more());
            }
            receiver.buffers.publish();
        }
        assert_eq!(sent, received);
    }

    #[test]
    fn receive_ends_with_enobufs_when_no_buffer_comes_back_and_can_be_armed_again() {
        let mut receiver = receiver();
        receiver.client.set_nonblocking(true).unwrap();
        receiver.arm();
        let mut held = Vec::new();
        let mut ended = false;
        while !ended {
            let _ = receiver.client.write(&[7; BUFFER_BYTES]);
            for completion in receiver.turn() {
                held.extend(completion.buffer());
                ended |= completion.result == -libc::ENOBUFS;
                assert_eq!(completion.has_more(), completion.result > 0);
            }
        }
        assert_eq!(held.len(), usize::from(BUFFERS_FIRST));
        for buffer in held.drain(..) {
            receiver.buffers.put_back(buffer);
        }
        receiver.buffers.publish();
        let _ = receiver.client.write(&[7; 10]);
        receiver.arm();
        assert!(receiver.turn().iter().any(|c| c.result > 0));
    }

    #[test]
    fn buffers_become_more_when_the_kernel_runs_out_up_to_the_maximum() {
        let mut receiver = receiver();
        for expected in [512, 1024, 2048, 2048] {
            receiver.buffers.on_exhausted();
            receiver.buffers.publish();
            receiver.buffers.publish();
            assert_eq!(receiver.buffers.count, expected);
        }
    }

    /// Bytes of the buffers that the system has provided memory for.
    fn resident(buffers: &BufferRing) -> usize {
        let pages = usize::from(BUFFERS);
        let mut states = vec![0u8; pages];
        let start = buffers.buffers.at(0).cast();
        // SAFETY: the whole mapping, and a byte for each of its pages.
        let done = unsafe { libc::mincore(start, pages * BUFFER_BYTES, states.as_mut_ptr()) };
        assert_eq!(done, 0);
        states.iter().filter(|state| *state & 1 > 0).count() * BUFFER_BYTES
    }

    #[test]
    fn memory_of_a_burst_is_given_back_and_the_buffers_are_used_again() {
        let mut receiver = receiver();
        receiver.arm();
        let use_all = |receiver: &mut Receiver, count: u16| {
            for _ in 0..count {
                receiver.client.write_all(&[7]).unwrap();
                for completion in receiver.turn() {
                    let buffer = completion.buffer().unwrap();
                    assert_eq!(receiver.buffers.bytes(buffer, 1), [7]);
                    receiver.buffers.put_back(buffer);
                }
                receiver.buffers.publish();
            }
        };
        for _ in 0..2 {
            receiver.buffers.on_exhausted();
            receiver.buffers.publish();
            use_all(&mut receiver, BUFFERS_FIRST * 2);
            let burst = usize::from(BUFFERS_FIRST) * 2 * BUFFER_BYTES;
            assert_eq!(resident(&receiver.buffers), burst);
            receiver.buffers.shrink();
            assert_eq!(resident(&receiver.buffers), burst / 2);
            use_all(&mut receiver, BUFFERS_FIRST * 2);
            assert_eq!(resident(&receiver.buffers), burst / 2);
            assert_eq!(receiver.buffers.count, BUFFERS_FIRST);
        }
    }

    #[test]
    fn withheld_buffers_go_back_to_the_kernel_when_it_runs_out_again() {
        let mut receiver = receiver();
        receiver.arm();
        receiver.buffers.on_exhausted();
        receiver.buffers.publish();
        receiver.buffers.shrink();
        receiver.buffers.withhold(BUFFERS_FIRST);
        receiver.buffers.on_exhausted();
        receiver.buffers.publish();
        assert!(receiver.buffers.withheld.is_empty() && !receiver.buffers.shrinks);
        assert_eq!(receiver.buffers.count, BUFFERS_FIRST * 2);
    }
}
