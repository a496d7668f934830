//! Slots with generations: stable small indexes, O(1) insert and remove, no dangling names.

/// Slots of one page. Pages are never moved: growing to a million slots copies nothing and leaves
/// no hole of the old size behind.
const PAGE_SLOTS: usize = 256;

/// Slots of `T`. A slot's generation grows each time it is emptied, so `(index, generation)` names
/// one value for ever. Bounded by `capacity_max`; freed slots are used again, last freed first.
#[derive(Debug)]
pub struct Slab<T> {
    /// All but the last one are full.
    pages: Vec<Vec<Slot<T>>>,
    slot_count: u32,
    free: Vec<u32>,
    /// Slots that are neither used nor free.
    retired_count: usize,
    capacity_max: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    #[must_use]
    pub const fn new(capacity_max: u32) -> Self {
        Self {
            pages: Vec::new(),
            slot_count: 0,
            free: Vec::new(),
            retired_count: 0,
            capacity_max,
        }
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.slot_count as usize - self.free.len() - self.retired_count
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.free.is_empty() && self.slot_count >= self.capacity_max
    }

    /// Puts `value` into a free slot and returns `(index, generation)`; gives it back when full.
    pub fn insert(&mut self, value: T) -> Result<(u32, u32), T> {
        if let Some(index) = self.free.pop() {
            let Some(slot) = self.slot_mut(index) else {
                return Err(value);
            };
            slot.value = Some(value);
            return Ok((index, slot.generation));
        }
        if self.slot_count >= self.capacity_max {
            return Err(value);
        }
        let index = self.slot_count;
        self.slot_count += 1;
        let page = index as usize / PAGE_SLOTS;
        if page == self.pages.len() {
            self.pages.push(Vec::with_capacity(PAGE_SLOTS));
        }
        self.pages[page].push(Slot {
            generation: 0,
            value: Some(value),
        });
        Ok((index, 0))
    }

    pub fn remove(&mut self, index: u32) -> Option<T> {
        let value = self.retire(index)?;
        self.release(index);
        Some(value)
    }

    /// As [`Self::remove`], but the slot is not used again before [`Self::release`]: its index is
    /// still noted somewhere.
    pub fn retire(&mut self, index: u32) -> Option<T> {
        let slot = self.slot_mut(index)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.retired_count += 1;
        Some(value)
    }

    /// A retired slot may be used again. Once for each [`Self::retire`].
    pub fn release(&mut self, index: u32) {
        self.retired_count -= 1;
        self.free.push(index);
    }

    #[must_use]
    pub fn get(&self, index: u32) -> Option<&T> {
        self.slot(index)?.value.as_ref()
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slot_mut(index)?.value.as_mut()
    }

    /// The value only if the slot still holds the one that `generation` names.
    #[must_use]
    pub fn get_named(&self, index: u32, generation: u32) -> Option<&T> {
        let slot = self.slot(index)?;
        (slot.generation == generation)
            .then_some(slot.value.as_ref())
            .flatten()
    }

    pub fn get_named_mut(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        let slot = self.slot_mut(index)?;
        (slot.generation == generation)
            .then_some(slot.value.as_mut())
            .flatten()
    }

    /// The generation under which the slot's present or next value is named.
    #[must_use]
    pub fn generation(&self, index: u32) -> Option<u32> {
        self.slot(index).map(|slot| slot.generation)
    }

    /// Slots that were ever used: indexes are smaller.
    #[must_use]
    pub const fn slot_count(&self) -> u32 {
        self.slot_count
    }

    /// All values in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0u32..)
            .zip(self.pages.iter().flatten())
            .filter_map(|(index, slot)| Some((index, slot.value.as_ref()?)))
    }

    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        let index = index as usize;
        self.pages.get(index / PAGE_SLOTS)?.get(index % PAGE_SLOTS)
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        let index = index as usize;
        self.pages
            .get_mut(index / PAGE_SLOTS)?
            .get_mut(index % PAGE_SLOTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_name_finds_nothing_when_slot_is_used_again() {
        let mut slab = Slab::new(2);
        let (index, generation) = slab.insert('a').unwrap();
        assert_eq!(slab.remove(index), Some('a'));
        let (again, newer) = slab.insert('b').unwrap();
        assert_eq!(index, again);
        assert_eq!(slab.get_named(index, generation), None);
        assert_eq!(slab.get_named(index, newer), Some(&'b'));
    }

    #[test]
    fn many_values_keep_their_places() {
        let mut slab = Slab::new(u32::MAX);
        for value in 0..1000u32 {
            assert_eq!(slab.insert(value), Ok((value, 0)));
        }
        assert_eq!(slab.remove(700), Some(700));
        assert_eq!(slab.iter().count(), 999);
        assert!(slab.iter().all(|(index, value)| index == *value));
        assert_eq!(slab.insert(7), Ok((700, 1)));
        assert_eq!((slab.get(1000), slab.len()), (None, 1000));
    }

    #[test]
    fn retired_slot_is_not_used_before_its_release() {
        let mut slab = Slab::new(2);
        let (index, _) = slab.insert('a').unwrap();
        assert_eq!(slab.retire(index), Some('a'));
        assert_eq!((slab.retire(index), slab.len()), (None, 0));
        assert_ne!(slab.insert('b').unwrap().0, index);
        assert!(slab.is_full());
        slab.release(index);
        assert_eq!(slab.insert('c'), Ok((index, 1)));
        assert_eq!(slab.len(), 2);
    }

    #[test]
    fn value_comes_back_when_full() {
        let mut slab = Slab::new(1);
        slab.insert(1).unwrap();
        assert!(slab.is_full());
        assert_eq!(slab.insert(2), Err(2));
        assert_eq!(slab.len(), 1);
    }
}
