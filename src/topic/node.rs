//! One node of the trie in 20 bytes: there are several for each filter.

use super::arena::Slot;
use super::levels::LevelId;
use std::num::NonZeroU32;

#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) parent: Slot,
    /// What leads here from the parent; [`LevelId::ANY`] for `+`.
    pub(super) level: LevelId,
    /// Children by text.
    pub(super) child_count: u32,
    /// The child by `+`.
    pub(super) any: Option<Slot>,
    pub(super) ends: Ends,
}

const _: () = assert!(
    size_of::<Option<Node>>() == 20,
    "memory of a filter's level"
);

impl Node {
    pub(super) const fn new(parent: Slot, level: LevelId) -> Self {
        Self {
            parent,
            level,
            child_count: 0,
            any: None,
            ends: Ends::NONE,
        }
    }

    pub(super) const fn is_bare(&self) -> bool {
        self.child_count == 0 && self.any.is_none() && self.ends.is_none()
    }
}

/// Which filters end at a node: one of exactly its levels, one that goes on with `#` and so matches
/// there and everything below, or both. There is room for the slot of one; of both the other one
/// stands beside the trie, as few nodes have two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ends(u32);

impl Ends {
    pub(super) const NONE: Self = Self(0);
    const EXACT: u32 = 1;
    const REST: u32 = 2;

    /// `exact` comes first if there are both.
    pub(super) const fn new(exact: Option<Slot>, rest: Option<Slot>) -> Self {
        match (exact, rest) {
            (None, None) => Self::NONE,
            (Some(slot), None) => Self(slot.number().get() << 2 | Self::EXACT),
            (None, Some(slot)) => Self(slot.number().get() << 2 | Self::REST),
            (Some(slot), Some(_)) => Self(slot.number().get() << 2 | Self::EXACT | Self::REST),
        }
    }

    pub(super) const fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn has_rest(self) -> bool {
        self.0 & Self::REST != 0
    }

    pub(super) const fn has_both(self) -> bool {
        self.0 & (Self::EXACT | Self::REST) == Self::EXACT | Self::REST
    }

    pub(super) fn exact(self) -> Option<Slot> {
        let slot = if self.0 & Self::EXACT == 0 {
            0
        } else {
            self.0 >> 2
        };
        NonZeroU32::new(slot).map(Slot::from_number)
    }

    /// Unless there are both.
    pub(super) fn only_rest(self) -> Option<Slot> {
        let is_it = self.has_rest() && !self.has_both();
        let slot = if is_it { self.0 >> 2 } else { 0 };
        NonZeroU32::new(slot).map(Slot::from_number)
    }
}

/// Where a filter ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(NonZeroU32);

impl Place {
    /// `is_rest`: with `#` behind the node.
    pub(super) const fn new(node: Slot, is_rest: bool) -> Self {
        Self(node.with_flag(is_rest))
    }

    pub(super) const fn node(self) -> Slot {
        Slot::without_flag(self.0)
    }

    pub(super) const fn is_rest(self) -> bool {
        self.0.get() & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_keep_a_slot_and_what_it_is() {
        let slot = |number| Slot::from_number(NonZeroU32::new(number).unwrap());
        for number in [1, 2, 3, (1 << 30) - 1] {
            let at = Some(slot(number));
            let check = |ends: Ends, exact, only_rest, has_rest| {
                assert_eq!(ends.exact(), exact);
                assert_eq!(ends.only_rest(), only_rest);
                assert_eq!(ends.has_rest(), has_rest);
                assert_eq!(ends.has_both(), has_rest && exact.is_some());
                assert!(!ends.is_none());
            };
            check(Ends::new(at, None), at, None, false);
            check(Ends::new(None, at), None, at, true);
            check(Ends::new(at, Some(slot(9))), at, None, true);
            for is_rest in [false, true] {
                let place = Place::new(slot(number), is_rest);
                assert_eq!((place.node(), place.is_rest()), (slot(number), is_rest));
            }
        }
        assert!(Ends::new(None, None).is_none());
        assert_eq!(Ends::NONE.exact(), None);
    }
}
