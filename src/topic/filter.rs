//! How the index and the trie name a filter, and what they say about a change.

use super::arena::Slot;
use super::names::FilterKind;
use std::num::NonZeroU32;

/// Names a filter as long as it has a subscriber; afterwards the name is used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FilterId(NonZeroU32);

const _: () = assert!(
    size_of::<Option<FilterId>>() == 4,
    "sessions keep one per subscription"
);

impl FilterId {
    /// Exact filters and the trie count their slots apart; the lowest bit says whose slot it is.
    pub(super) const fn new(kind: FilterKind, slot: Slot) -> Self {
        Self(slot.with_flag(matches!(kind, FilterKind::Wildcard)))
    }

    #[must_use]
    pub const fn kind(self) -> FilterKind {
        if self.0.get() & 1 == 0 {
            FilterKind::Exact
        } else {
            FilterKind::Wildcard
        }
    }

    pub(super) const fn slot(self) -> Slot {
        Slot::without_flag(self.0)
    }
}

/// What an insert did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inserted<V> {
    pub filter: FilterId,
    /// The value that the key had for this filter before.
    pub previous: Option<V>,
    /// Nobody had subscribed to this filter before.
    pub first: bool,
}

/// What a remove did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Removed<V> {
    /// No longer in use when `last`.
    pub filter: FilterId,
    pub value: V,
    /// Nobody subscribes to this filter any more.
    pub last: bool,
}
