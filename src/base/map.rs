//! Hash maps with a known seed: quick, safe from flooding, and the same order in every replay.
#![allow(
    clippy::disallowed_types,
    reason = "this is where the replacement is made"
)]

use ahash::RandomState;
use std::collections::{HashMap, HashSet};

pub type Map<K, V> = HashMap<K, V, RandomState>;
pub type Set<K> = HashSet<K, RandomState>;

/// The hasher of all maps of one shard: drawn per start by the runtime, fixed in the simulator.
#[must_use]
pub fn hasher(seed: u64) -> RandomState {
    RandomState::with_seeds(seed, !seed, seed.rotate_left(17), seed.rotate_right(23))
}

#[must_use]
pub fn map<K, V>(seed: u64) -> Map<K, V> {
    HashMap::with_hasher(hasher(seed))
}

#[must_use]
pub fn set<K>(seed: u64) -> Set<K> {
    HashSet::with_hasher(hasher(seed))
}
