//! The subscribers of one filter: in place for one, a contiguous list for many.

use crate::base::table::Table;
use ahash::RandomState;
use std::hash::Hash;

/// Up to here keys are found by looking at all of them.
const SCANNED_MAX: usize = 16;
/// From here down the table of positions is given up again; below `SCANNED_MAX` so that a
/// subscriber that comes and goes does not make and drop it each time.
const SCANNED_AGAIN: usize = 8;

/// Subscribers with their values, each key once. Insert and remove are O(1) also for a filter that
/// everybody subscribes to; iteration is over one slice.
#[derive(Debug)]
pub enum Subscribers<K, V> {
    One((K, V)),
    /// Two or more, or what is left of them.
    Many(Box<Many<K, V>>),
}

const _: () = assert!(
    size_of::<Option<Subscribers<u32, [u32; 2]>>>() == 16,
    "one per filter: most filters have one subscriber"
);

#[derive(Debug)]
pub struct Many<K, V> {
    entries: Vec<(K, V)>,
    /// Positions in `entries` by key; none while there are few.
    positions: Option<Box<Table<u32>>>,
}

impl<K: Copy + Eq + Hash, V: Copy> Subscribers<K, V> {
    #[must_use]
    pub const fn new(key: K, value: V) -> Self {
        Self::One((key, value))
    }

    #[must_use]
    pub fn as_slice(&self) -> &[(K, V)] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(many) => &many.entries,
        }
    }

    #[must_use]
    pub fn get(&self, key: K, hasher: &RandomState) -> Option<V> {
        match self {
            Self::One((only, value)) => (*only == key).then_some(*value),
            Self::Many(many) => many.position(key, hasher).map(|at| many.entries[at].1),
        }
    }

    /// Adds or replaces; returns the value that was there.
    pub fn insert(&mut self, key: K, value: V, hasher: &RandomState) -> Option<V> {
        match self {
            Self::One((only, previous)) if *only == key => Some(std::mem::replace(previous, value)),
            Self::One(entry) => {
                *self = Self::Many(Box::new(Many {
                    entries: vec![*entry, (key, value)],
                    positions: None,
                }));
                None
            }
            Self::Many(many) => many.insert(key, value, hasher),
        }
    }

    /// Returns the value that was there and whether nobody is left; then drop `self`.
    pub fn remove(&mut self, key: K, hasher: &RandomState) -> Option<(V, bool)> {
        match self {
            Self::One((only, value)) => (*only == key).then_some((*value, true)),
            Self::Many(many) => {
                let value = many.remove(key, hasher)?;
                if let &[entry] = &*many.entries {
                    *self = Self::One(entry);
                }
                Some((value, false))
            }
        }
    }
}

impl<K: Copy + Eq + Hash, V: Copy> Many<K, V> {
    fn position(&self, key: K, hasher: &RandomState) -> Option<usize> {
        let Some(positions) = &self.positions else {
            return self.entries.iter().position(|&(other, _)| other == key);
        };
        let is_same = |&at: &u32| self.entries[at as usize].0 == key;
        let position = positions.find(hasher.hash_one(key), is_same);
        position.map(|&at| at as usize)
    }

    fn insert(&mut self, key: K, value: V, hasher: &RandomState) -> Option<V> {
        if let Some(at) = self.position(key, hasher) {
            return Some(std::mem::replace(&mut self.entries[at].1, value));
        }
        self.entries.push((key, value));
        if self.positions.is_some() {
            self.note_position(self.entries.len() - 1, hasher);
        } else if self.entries.len() > SCANNED_MAX {
            for at in 0..self.entries.len() {
                self.note_position(at, hasher);
            }
        }
        None
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "keys differ and sessions are below 2^32"
    )]
    fn note_position(&mut self, at: usize, hasher: &RandomState) {
        let Self { entries, positions } = self;
        let rehash = |&at: &u32| hasher.hash_one(entries[at as usize].0);
        let positions = positions.get_or_insert_default();
        positions.insert_unique(hasher.hash_one(entries[at].0), at as u32, rehash);
    }

    fn remove(&mut self, key: K, hasher: &RandomState) -> Option<V> {
        let at = self.position(key, hasher)?;
        self.forget_position(key, at, hasher);
        let (_, value) = self.entries.swap_remove(at);
        if self.entries.len() <= SCANNED_AGAIN && self.positions.is_some() {
            self.positions = None;
            self.entries.shrink_to(SCANNED_MAX);
        }
        Some(value)
    }

    /// The last entry will be moved to `at`.
    #[allow(clippy::cast_possible_truncation, reason = "positions are below 2^32")]
    fn forget_position(&mut self, key: K, at: usize, hasher: &RandomState) {
        let Some(positions) = &mut self.positions else {
            return;
        };
        positions.remove(hasher.hash_one(key), |&other| other == at as u32);
        let last = self.entries.len() - 1;
        let moved = hasher.hash_one(self.entries[last].0);
        if let Some(other) = positions.find_mut(moved, |&other| other == last as u32) {
            *other = at as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::map::hasher;
    use crate::base::random::Random;
    use std::collections::BTreeMap;

    #[test]
    fn equals_a_map_while_growing_and_shrinking() {
        let hasher = hasher(1);
        let mut random = Random::new(1);
        let mut model = BTreeMap::from([(0, 0)]);
        let mut subscribers = Subscribers::new(0, 0);
        for step in 0..20_000_u32 {
            let key = u32::try_from(random.below(60)).unwrap();
            let growing = step / 1000 % 2 == 0;
            if random.chance(if growing { 3 } else { 1 }, 4) {
                assert_eq!(
                    subscribers.insert(key, step, &hasher),
                    model.insert(key, step)
                );
            } else if model.len() > 1 || !model.contains_key(&key) {
                let expected = model.remove(&key).map(|value| (value, false));
                assert_eq!(subscribers.remove(key, &hasher), expected);
            }
            let found: BTreeMap<_, _> = subscribers.as_slice().iter().copied().collect();
            assert_eq!(found, model);
            assert_eq!(subscribers.as_slice().len(), model.len());
            assert_eq!(subscribers.get(key, &hasher), model.get(&key).copied());
        }
    }

    #[test]
    fn crowd_comes_and_goes_in_constant_time_each() {
        let hasher = hasher(1);
        let mut subscribers = Subscribers::new(0_u32, ());
        for key in 1..100_000 {
            assert_eq!(subscribers.insert(key, (), &hasher), None);
        }
        for key in 0..99_999 {
            assert_eq!(subscribers.remove(key, &hasher), Some(((), false)));
        }
        assert_eq!(subscribers.remove(99_999, &hasher), Some(((), true)));
    }
}
