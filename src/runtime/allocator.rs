//! The allocator's spare memory.

use mimalloc as _;

unsafe extern "C" {
    /// Of the process's allocator, declared in `mimalloc.h`: takes no memory and gives none.
    safe fn mi_collect(force: bool);
}

/// Gives memory that this thread has freed back to the system, all of it and at once: a start
/// needs more than what it leaves behind. Takes milliseconds, so not while clients are served.
pub(super) fn give_back() {
    mi_collect(true);
}
