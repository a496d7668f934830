//! Memory that will be read soon, asked for in time.

/// Asks the processor for the cache line of `bytes[position]`, which need not exist, and does not
/// wait for it. A hint: without it all is the same but slower. Elsewhere than on `x86_64` it does
/// nothing.
#[inline]
pub fn prefetch(bytes: &[u8], position: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = bytes.as_ptr().wrapping_add(position);
        // SAFETY: a prefetch reads nothing and never faults, wherever the pointer points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, position);
}
