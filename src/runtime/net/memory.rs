//! Memory that the kernel writes to at times that only it knows.
//!
//! Taken from the system directly and reached by pointers only: no reference to it may exist
//! while the kernel owns it. It must live until the ring has no operation left.

use std::io;
use std::ptr::NonNull;

/// A private mapping of zeroed pages.
#[derive(Debug)]
pub(crate) struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

impl Pages {
    /// The system reserves the pages now and provides each at its first use.
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
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

    /// The address `offset` bytes behind the start.
    pub(crate) fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.bytes);
        // SAFETY: inside the mapping, as asserted.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// Gives the memory of a part back; its bytes are zero at their next use. The caller knows that
    /// nobody needs them. A part that does not consist of whole pages, or a refusal, costs nothing
    /// but the memory.
    pub(crate) fn give_back(&self, offset: usize, bytes: usize) {
        assert!(offset < self.bytes && bytes <= self.bytes - offset);
        // SAFETY: inside the mapping, as asserted, which stays mapped.
        unsafe { libc::madvise(self.at(offset).cast(), bytes, libc::MADV_DONTNEED) };
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes
    }

    /// The first `bytes`.
    ///
    /// # Safety
    /// Nothing writes to them while the reference lives: the kernel is done with the mapping.
    pub(crate) unsafe fn slice(&self, bytes: usize) -> &[u8] {
        assert!(bytes <= self.bytes);
        // SAFETY: inside the mapping, as asserted; the system has filled it with zeros at first.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), bytes) }
    }

    /// All of it, for whoever shares it with nobody: the kernel was never given an address.
    pub(crate) const fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: the whole mapping, filled with zeros at first, and borrowed for ourselves alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// Copies `bytes` to the place `offset` behind the start. The caller knows that the kernel
    /// does not use that part now.
    pub(crate) fn fill(&self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.bytes && bytes.len() <= self.bytes - offset);
        if bytes.is_empty() {
            return;
        }
        let target = self.at(offset);
        // SAFETY: inside the mapping, as asserted; no reference into it exists.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; nobody holds a pointer into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
