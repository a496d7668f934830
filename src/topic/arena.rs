//! Slots for the nodes of this module.
//!
//! Not `base::slab`, because nobody outside keeps the name of a slot: without generations a value
//! whose type has a niche takes no more than its own bytes, and there are millions of them.

use std::num::NonZeroU32;

/// Names one value of an [`Arena`] while it is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Slot(NonZeroU32);

impl Slot {
    /// Numbers stay below 2^30, so that a number and two flags fit in 32 bits.
    const COUNT_MAX: usize = (1 << 30) - 1;
    pub(super) const MIN: Self = Self(NonZeroU32::MIN);
    /// Greater than each slot of an arena, so it can mean something else.
    pub(super) const MAX: Self = Self(NonZeroU32::MAX);

    pub(super) const fn number(self) -> NonZeroU32 {
        self.0
    }

    pub(super) const fn from_number(number: NonZeroU32) -> Self {
        Self(number)
    }

    /// Slot and flag in 32 bits, the flag is the lowest. For slots of an arena.
    pub(super) const fn with_flag(self, flag: bool) -> NonZeroU32 {
        let doubled = self.0.saturating_mul(NonZeroU32::MIN.saturating_add(1));
        if flag {
            doubled.saturating_add(1)
        } else {
            doubled
        }
    }

    pub(super) const fn without_flag(with_flag: NonZeroU32) -> Self {
        match NonZeroU32::new(with_flag.get() >> 1) {
            Some(number) => Self(number),
            None => Self::MAX,
        }
    }

    const fn index(self) -> usize {
        (self.0.get() - 1) as usize
    }
}

/// Slots of one page. Pages are never moved: growing to millions of slots copies nothing, leaves no
/// hole of the old size behind, and half of the memory is never reserve. Small, because an index
/// with a single filter has one page of each kind.
const PAGE_SLOTS: usize = 256;

/// Slots of `T`, last freed first used again. Its bound is that of its owner's callers: at most one
/// slot per level of an admitted subscription or retained topic name.
#[derive(Debug)]
pub(super) struct Arena<T> {
    /// Of fixed size, so that the place in a page needs no check.
    pages: Vec<Box<[Option<T>; PAGE_SLOTS]>>,
    slot_count: usize,
    free: Vec<Slot>,
}

impl<T> Arena<T> {
    pub(super) const fn new() -> Self {
        Self {
            pages: Vec::new(),
            slot_count: 0,
            free: Vec::new(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.slot_count - self.free.len()
    }

    pub(super) fn insert(&mut self, value: T) -> Slot {
        if let Some(slot) = self.free.pop() {
            if let Some(place) = self.place(slot) {
                *place = Some(value);
            }
            return slot;
        }
        // Limits on subscriptions and on retained messages stop far below.
        assert!(self.slot_count < Slot::COUNT_MAX);
        if self.slot_count == self.pages.len() * PAGE_SLOTS {
            self.pages.push(Box::new([const { None }; PAGE_SLOTS]));
        }
        self.pages[self.slot_count / PAGE_SLOTS][self.slot_count % PAGE_SLOTS] = Some(value);
        #[allow(clippy::cast_possible_truncation, reason = "asserted above")]
        let slot = Slot(NonZeroU32::MIN.saturating_add(self.slot_count as u32));
        self.slot_count += 1;
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<T> {
        let value = self.place(slot)?.take()?;
        self.free.push(slot);
        Some(value)
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        let index = slot.index();
        self.pages.get(index / PAGE_SLOTS)?[index % PAGE_SLOTS].as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.place(slot)?.as_mut()
    }

    fn place(&mut self, slot: Slot) -> Option<&mut Option<T>> {
        let index = slot.index();
        let page = self.pages.get_mut(index / PAGE_SLOTS)?;
        Some(&mut page[index % PAGE_SLOTS])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| page.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_slots_over_many_pages() {
        let count = u32::try_from(3 * PAGE_SLOTS + 5).unwrap();
        let mut arena = Arena::new();
        let slots: Vec<Slot> = (0..count).map(|value| arena.insert(value)).collect();
        assert!(
            (0..)
                .zip(&slots)
                .all(|(value, &slot)| arena.get(slot) == Some(&value))
        );
        assert_eq!(
            (arena.len(), arena.iter().count()),
            (slots.len(), slots.len())
        );
        let freed = slots[2 * PAGE_SLOTS];
        assert_eq!(arena.remove(freed), Some(512));
        assert_eq!(arena.get(freed), None);
        assert_eq!(arena.remove(freed), None);
        assert_eq!(arena.insert(7), freed);
        assert_eq!(arena.get_mut(freed), Some(&mut 7));
        assert_eq!(arena.get(Slot::MAX), None);
        assert_eq!(arena.len(), slots.len());
    }
}
