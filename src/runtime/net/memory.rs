//! Memory that the kernel writes to at times that only it knows.
//!
//! Taken from the system directly and reached by pointers only: no reference to it may exist
//! while the kernel owns it. It must live until the ring has no operation left.

use std::io;
use std::ptr::NonNull;

/// A private mapping of zeroed pages.
#[derive(Debug)]
pub(super) struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

impl Pages {
    /// The system reserves the pages now and provides each at its first use.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
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
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.bytes);
        // SAFETY: inside the mapping, as asserted.
        unsafe { self.start.as_ptr().add(offset) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; nobody holds a pointer into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
