//! Slots for the nodes of this module.
//!
//! Not `base::slab`, because nobody outside keeps the name of a slot: without generations a value
//! whose type has a niche takes no more than its own bytes, and there are millions of them.

use std::num::NonZeroU32;

/// Names one value of an [`Arena`] while it is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Slot(NonZeroU32);

impl Slot {
    /// Numbers stay below 2^31, so that a number and a flag fit in 32 bits.
    const COUNT_MAX: usize = (1 << 31) - 1;
    pub(super) const MIN: Self = Self(NonZeroU32::MIN);
    /// Greater than each slot of an arena, so it can mean something else.
    pub(super) const MAX: Self = Self(NonZeroU32::MAX);

    pub(super) const fn number(self) -> NonZeroU32 {
        self.0
    }

    pub(super) const fn from_number(number: NonZeroU32) -> Self {
        Self(number)
    }

    const fn index(self) -> usize {
        (self.0.get() - 1) as usize
    }
}

/// Slots of `T`, last freed first used again. Its bound is that of its owner's callers: at most one
/// slot per level of an admitted subscription or retained topic name.
#[derive(Debug)]
pub(super) struct Arena<T> {
    values: Vec<Option<T>>,
    free: Vec<Slot>,
}

impl<T> Arena<T> {
    pub(super) const fn new() -> Self {
        Self {
            values: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, value: T) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.values[slot.index()] = Some(value);
            return slot;
        }
        // Limits on subscriptions and on retained messages stop far below.
        assert!(self.values.len() < Slot::COUNT_MAX);
        #[allow(clippy::cast_possible_truncation, reason = "asserted above")]
        let slot = Slot(NonZeroU32::MIN.saturating_add(self.values.len() as u32));
        self.values.push(Some(value));
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<T> {
        let value = self.values.get_mut(slot.index())?.take()?;
        self.free.push(slot);
        Some(value)
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        self.values.get(slot.index())?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.values.get_mut(slot.index())?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter().flatten()
    }
}
