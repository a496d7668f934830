//! An allocator that counts. For one thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Allocations and reallocations so far.
pub(crate) fn count() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// Bytes allocated now.
pub(crate) fn live_bytes() -> usize {
    LIVE_BYTES.with(Cell::get)
}

fn note(grown_bytes: usize, shrunk_bytes: usize) {
    ALLOCATIONS.with(|count| count.set(count.get() + u64::from(grown_bytes > 0)));
    LIVE_BYTES.with(|live| {
        let bytes = live.get().wrapping_add(grown_bytes);
        live.set(bytes.wrapping_sub(shrunk_bytes));
    });
}

// SAFETY: every call is passed on unchanged to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: same contract as ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: same contract as ours.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, layout.size());
        // SAFETY: same contract as ours.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
