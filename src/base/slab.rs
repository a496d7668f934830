//! Slots with generations: stable small indexes, O(1) insert and remove, no dangling names.

/// Slots of `T`. A slot's generation grows each time it is emptied, so `(index, generation)` names
/// one value for ever. Bounded by `capacity_max`; freed slots are used again, last freed first.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
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
            slots: Vec::new(),
            free: Vec::new(),
            capacity_max,
        }
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= self.capacity_max as usize
    }

    /// Puts `value` into a free slot and returns `(index, generation)`; gives it back when full.
    pub fn insert(&mut self, value: T) -> Result<(u32, u32), T> {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return Ok((index, slot.generation));
        }
        if self.slots.len() >= self.capacity_max as usize {
            return Err(value);
        }
        #[allow(clippy::cast_possible_truncation, reason = "below capacity_max, a u32")]
        let index = self.slots.len() as u32;
        self.slots.push(Slot {
            generation: 0,
            value: Some(value),
        });
        Ok((index, 0))
    }

    pub fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    #[must_use]
    pub fn get(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)?.value.as_ref()
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.value.as_mut()
    }

    /// The value only if the slot still holds the one that `generation` names.
    #[must_use]
    pub fn get_named(&self, index: u32, generation: u32) -> Option<&T> {
        let slot = self.slots.get(index as usize)?;
        (slot.generation == generation)
            .then_some(slot.value.as_ref())
            .flatten()
    }

    pub fn get_named_mut(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        let slot = self.slots.get_mut(index as usize)?;
        (slot.generation == generation)
            .then_some(slot.value.as_mut())
            .flatten()
    }

    /// The generation under which the slot's present or next value is named.
    #[must_use]
    pub fn generation(&self, index: u32) -> Option<u32> {
        self.slots.get(index as usize).map(|slot| slot.generation)
    }

    /// All values in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0u32..)
            .zip(&self.slots)
            .filter_map(|(index, slot)| Some((index, slot.value.as_ref()?)))
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
    fn value_comes_back_when_full() {
        let mut slab = Slab::new(1);
        slab.insert(1).unwrap();
        assert!(slab.is_full());
        assert_eq!(slab.insert(2), Err(2));
        assert_eq!(slab.len(), 1);
    }
}
