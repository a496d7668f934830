//! What happened in worlds with disks, in numbers.

/// Declares [`Tally`] and the list of its counts.
macro_rules! tally {
    ($($(#[$meaning:meta])* $name:ident,)*) => {
        /// What happened in a world with disks.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Tally {
            $($(#[$meaning])* pub(crate) $name: u64,)*
        }

        impl Tally {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

tally! {
    crashes,
    /// Those that may have undone what was acknowledged.
    undoing,
    /// Deliveries that had to be there in spite of these.
    required_undoing,
    /// Messages that clients of a listener with `durability_ack = none` believed to be accepted
    /// before a crash.
    weak,
    /// Messages that had to come to a member of a shared subscription in spite of a crash.
    shared,
    /// Crashes before the start was over.
    in_start,
    in_snapshot,
    moves,
    /// Segments whose files had been used before.
    recycled,
    /// Messages read back from the disk.
    reads,
    /// Sessions found by all starts.
    sessions,
    /// Times that the disk filled.
    filled,
    /// Segments that were not to be had when they were wanted.
    withheld,
    /// Messages that publishers were refused meanwhile.
    refused,
    /// Starts before which bits flipped.
    flips,
    /// Those that found what they would have found without.
    unharmed,
    /// Those that found an earlier end of the journal.
    shortened,
    /// Starts that were refused for damage, those of them that came when only messages were given
    /// up, and those that cuts could not mend.
    refusals,
    dropped,
    unmended,
    /// Worlds in which a running broker missed a damaged message and said so.
    missed,
}
