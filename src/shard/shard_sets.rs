//! Sets of shards, each different one once: millions of filters have the same few.

use crate::base::ids::{ShardId, ShardSet};
use crate::base::map::hasher;
use crate::base::table::Table;
use ahash::RandomState;

/// Names a set: that of a single shard by the shard's number, others by a place in [`ShardSets`],
/// where they count as used once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SetId(u32);

impl SetId {
    const FIRST_PLACE: u32 = ShardId::COUNT_MAX as u32;

    pub(super) const fn single(shard: ShardId) -> Self {
        Self(shard.0 as u32)
    }
}

/// Sets of two and more. Bounded by their uses: there are no more than filters that several shards
/// want, and with few shards far fewer.
#[derive(Debug)]
pub(super) struct ShardSets {
    hasher: RandomState,
    places: Vec<Place>,
    free: Vec<u32>,
    by_set: Table<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    shards: ShardSet,
    use_count: u32,
}

impl ShardSets {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            hasher: hasher(seed),
            places: Vec::new(),
            free: Vec::new(),
            by_set: Table::new(),
        }
    }

    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.by_set.len()
    }

    pub(super) fn get(&self, id: SetId) -> ShardSet {
        match id.0.checked_sub(SetId::FIRST_PLACE) {
            Some(place) => self.places[place as usize].shards,
            None => ShardSet::from_bits(1 << id.0),
        }
    }

    /// Gives `id` another set, which is not empty.
    pub(super) fn replace(&mut self, id: &mut SetId, shards: ShardSet) {
        let next = self.acquire(shards);
        self.release(std::mem::replace(id, next));
    }

    fn acquire(&mut self, shards: ShardSet) -> SetId {
        let bits = shards.bits();
        if bits.is_power_of_two() {
            return SetId(bits.trailing_zeros());
        }
        let hash = self.hasher.hash_one(bits);
        let is_it = |&place: &u32| self.places[place as usize].shards == shards;
        let place = match self.by_set.find(hash, is_it) {
            Some(&place) => place,
            None => self.add(shards, hash),
        };
        self.places[place as usize].use_count += 1;
        SetId(SetId::FIRST_PLACE + place)
    }

    fn add(&mut self, shards: ShardSet, hash: u64) -> u32 {
        let added = Place {
            shards,
            use_count: 0,
        };
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(added);
            #[allow(clippy::cast_possible_truncation, reason = "one per filter at most")]
            let last = (self.places.len() - 1) as u32;
            last
        });
        self.places[place as usize] = added;
        let hash_of = |&place: &u32| {
            self.hasher
                .hash_one(self.places[place as usize].shards.bits())
        };
        self.by_set.insert_unique(hash, place, hash_of);
        place
    }

    fn release(&mut self, id: SetId) {
        let Some(place) = id.0.checked_sub(SetId::FIRST_PLACE) else {
            return;
        };
        let Place { shards, use_count } = &mut self.places[place as usize];
        *use_count -= 1;
        if *use_count == 0 {
            let hash = self.hasher.hash_one(shards.bits());
            self.by_set.remove(hash, |&other| other == place);
            self.free.push(place);
        }
    }
}
