//! The allocator that the broker stands on, with counters. For one thread.

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
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

unsafe extern "C" {
    /// Declared in `mimalloc.h`: takes no memory and gives none.
    safe fn mi_collect(force: bool);
}

/// Memory that was freed goes back to the system, as behind a start of the broker.
pub(crate) fn give_back() {
    mi_collect(true);
}

/// No huge pages from now on, as `ringway serve` has none.
pub(crate) fn decline_huge_pages() {
    // SAFETY: this option takes and gives no memory.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

fn note(grown_bytes: usize, shrunk_bytes: usize) {
    ALLOCATIONS.with(|count| count.set(count.get() + u64::from(grown_bytes > 0)));
    LIVE_BYTES.with(|live| {
        let bytes = live.get().wrapping_add(grown_bytes);
        live.set(bytes.wrapping_sub(shrunk_bytes));
    });
}

// SAFETY: every call is passed on unchanged to the other allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: same contract as ours.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: same contract as ours.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, layout.size());
        // SAFETY: same contract as ours.
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
