//! Page-aligned memory that the kernel writes to: receive buffers and the list of free ones.

use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

impl Pages {
    fn new(bytes: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses touches nothing existing.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, bytes })
    }

    fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.bytes);
        // SAFETY: inside the mapping, as asserted.
        unsafe { self.start.as_ptr().add(offset) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; its owner is going away.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// All receive buffers as one range of bytes; parts of it are named by their offsets.
///
/// A buffer is the kernel's from `give` to the completion that names it, ours in between.
pub(super) struct Pool {
    buffers: Pages,
    entries: Pages,
    count: u16,
    buffer_bytes: usize,
    tail: u16,
}

impl Pool {
    /// `count` must be a power of two.
    pub(super) fn new(count: u16, buffer_bytes: usize) -> io::Result<Self> {
        assert!(count.is_power_of_two());
        let count_bytes = usize::from(count) * size_of::<BufRingEntry>();
        Ok(Self {
            buffers: Pages::new(usize::from(count) * buffer_bytes)?,
            entries: Pages::new(count_bytes)?,
            count,
            buffer_bytes,
            tail: 0,
        })
    }

    /// Address and length of the list that the ring registers.
    pub(super) fn list(&self) -> (u64, u16) {
        (self.entries.at(0).addr() as u64, self.count)
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// Where the first `length` bytes of a buffer are.
    pub(super) fn range(&self, buffer: u16, length: usize) -> Range<usize> {
        assert!(buffer < self.count && length <= self.buffer_bytes);
        let start = usize::from(buffer) * self.buffer_bytes;
        start..start + length
    }

    /// What the kernel wrote, or what it is to read.
    pub(super) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        if range.is_empty() {
            return &[];
        }
        assert!(range.end <= self.buffers.bytes);
        let start = self.buffers.at(range.start);
        // SAFETY: inside the mapping, as asserted; the kernel writes only to buffers that were
        // given to it, and a range is used only until its buffer is given back.
        unsafe { std::slice::from_raw_parts(start, range.len()) }
    }

    /// Gives a buffer back; the kernel sees it after `publish`.
    pub(super) fn give(&mut self, buffer: u16) {
        assert!(buffer < self.count);
        let position = usize::from(self.tail & (self.count - 1));
        let address = self.buffers.at(usize::from(buffer) * self.buffer_bytes);
        let entry: *mut BufRingEntry = self.entries.at(position * size_of::<BufRingEntry>()).cast();
        // SAFETY: inside the list; the kernel reads this entry only after `publish`.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address.addr() as u64);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    pub(super) fn publish(&mut self) {
        let first: *const BufRingEntry = self.entries.at(0).cast();
        // SAFETY: the first entry of the list; its spare field is the list's tail.
        let tail = unsafe { BufRingEntry::tail(first) };
        // SAFETY: aligned, inside the mapping, and only ever reached atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    #[cfg(test)]
    pub(super) fn fill(&mut self, buffer: u16, bytes: &[u8]) -> Range<usize> {
        let range = self.range(buffer, bytes.len());
        // SAFETY: inside the mapping, as `range` asserts; no kernel knows of this pool.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.buffers.at(range.start), bytes.len())
        };
        range
    }
}
