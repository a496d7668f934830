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
    #[must_use]
    pub const fn iter(self) -> Shards {
        #[allow(clippy::cast_possible_truncation, reason = "the two halves")]
        Shards {
            rest: self.0 as u64,
            upper: (self.0 >> u64::BITS) as u64,
            offset: 0,
        }
    }
}

/// The shards of a [`ShardSet`]. By halves: nearly all sets have only a lower one, and a message
/// to another core asks for them more than once.
#[derive(Clone, Debug)]
pub struct Shards {
    rest: u64,
    upper: u64,
    offset: u16,
}

impl Iterator for Shards {
    type Item = ShardId;

    #[inline]
    fn next(&mut self) -> Option<ShardId> {
        if self.rest == 0 {
            self.rest = std::mem::take(&mut self.upper);
            self.offset = 64;
            if self.rest == 0 {
                return None;
            }
        }
        #[allow(clippy::cast_possible_truncation, reason = "at most 63")]
        let shard = ShardId(self.offset + self.rest.trailing_zeros() as u16);
        self.rest &= self.rest - 1;
        Some(shard)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_gives_its_shards_in_order_whichever_half_they_are_in() {
        let last = ShardId::COUNT_MAX - 1;
        for members in [
            &[][..],
            &[0],
            &[63, 64],
            &[64],
            &[last],
            &[1, 2, 62, 65, last],
        ] {
            let mut set = ShardSet::EMPTY;
            for member in members.iter().rev() {
                set.insert(ShardId(*member));
            }
            let found: Vec<u16> = set.iter().map(|shard| shard.0).collect();
            assert_eq!(found, members);
        }
    }
}
