//! Names of the things that exist once per process or once per core.

use std::fmt;

/// One core's broker, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The most shards one process may have: a [`ShardSet`] holds one bit for each.
    pub const COUNT_MAX: u16 = 128;

    /// Position of this shard in tables with one entry per shard.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of shards; 16 bytes, no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ShardSet(u128);

impl ShardSet {
    pub const EMPTY: Self = Self(0);

    /// One bit per shard, from the lowest.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }

    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    pub const fn insert(&mut self, shard: ShardId) {
        self.0 |= 1 << shard.0;
    }

    pub const fn insert_all(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub const fn remove(&mut self, shard: ShardId) {
        self.0 &= !(1 << shard.0);
    }

    #[must_use]
    pub const fn contains(self, shard: ShardId) -> bool {
        self.0 & (1 << shard.0) != 0
    }

    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The shards of the set in ascending order.
    pub fn iter(self) -> impl Iterator<Item = ShardId> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            #[allow(clippy::cast_possible_truncation, reason = "at most 127")]
            let shard = ShardId(rest.trailing_zeros() as u16);
            rest &= rest - 1;
            Some(shard)
        })
    }
}

/// A network connection of one shard: a slot and the generation of its use, so that an event for
/// a connection that is gone cannot be taken for its successor in the same slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    pub index: u32,
    pub generation: u32,
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "c{}.{}", self.index, self.generation)
    }
}
