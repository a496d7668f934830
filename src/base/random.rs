//! A small seeded generator (SplitMix64). Not for secrets; those come from the kernel in `runtime`.

/// Deterministic generator; the same seed gives the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// A number in `0..bound`. `bound` must not be 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0);
        // The high half of a 64x64 product: unbiased enough for scheduling and test data.
        ((self.next_u64() as u128 * bound as u128) >> 64) as u64
    }

    /// True `numerator` times out of `denominator`.
    pub const fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }
}
