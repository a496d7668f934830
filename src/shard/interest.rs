//! Which other shards want what.
//!
//! Exact filters are known by the 64-bit hash that the indexes use, too: the set and 8 bytes
//! instead of the text, and a PUBLISH needs one hash for all tables of all shards. Two filters with
//! the same hash cost a useless forward and nothing else: a shard withdraws the hash with the last
//! of its filters that has it, see [`crate::topic::index::Index::another_has_hash`].

use super::shard_sets::{SetId, ShardSets};
use crate::base::ids::{ShardId, ShardSet};
use crate::base::table::Table;
use crate::topic::index::TopicHash;
use crate::topic::trie::Trie;

/// What the other shards want.
#[derive(Debug)]
pub(super) struct Interest {
    exact: Table<Wanted>,
    sets: ShardSets,
    wildcard: Trie<ShardId, ()>,
}

/// A hash and who wants it. There may be millions, so the hash stands in bytes: as a `u64` it would
/// have to be aligned.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    hash: [u8; 8],
    shards: SetId,
}

const _: () = assert!(size_of::<Wanted>() == 12, "memory of a foreign filter");

impl Wanted {
    const fn hash(&self) -> u64 {
        u64::from_ne_bytes(self.hash)
    }
}

impl Interest {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            exact: Table::new(),
            sets: ShardSets::new(seed),
            wildcard: Trie::new(seed),
        }
    }

    pub(super) fn set_exact(&mut self, shard: ShardId, hash: TopicHash, wanted: bool) {
        let hash = hash.as_u64();
        let is_it = |entry: &Wanted| entry.hash() == hash;
        let Some(entry) = self.exact.find_mut(hash, is_it) else {
            if wanted {
                let entry = Wanted {
                    hash: hash.to_ne_bytes(),
                    shards: SetId::single(shard),
                };
                self.exact.insert_unique(hash, entry, Wanted::hash);
            }
            return;
        };
        let mut shards = self.sets.get(entry.shards);
        if wanted {
            shards.insert(shard);
        } else {
            shards.remove(shard);
        }
        if shards.is_empty() {
            self.exact.remove(hash, is_it);
        } else {
            self.sets.replace(&mut entry.shards, shards);
        }
    }

    pub(super) fn set_wildcard(&mut self, shard: ShardId, filter: &str, wanted: bool) {
        if wanted {
            self.wildcard.insert(filter, shard, ());
        } else {
            self.wildcard.remove(filter, shard);
        }
    }

    /// The shards that want a valid topic name with this hash.
    pub(super) fn shards(&mut self, topic_name: &[u8], hash: TopicHash) -> ShardSet {
        let hash = hash.as_u64();
        let exact = self.exact.find(hash, |entry| entry.hash() == hash);
        let mut shards = exact.map_or(ShardSet::EMPTY, |entry| self.sets.get(entry.shards));
        self.wildcard.for_each_match(topic_name, |interested| {
            interested
                .iter()
                .for_each(|(shard, ())| shards.insert(*shard));
        });
        shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::topic::index::Index;

    #[test]
    fn exact_interest_equals_a_list_of_sets_while_shards_come_and_go() {
        let index: Index<u32, ()> = Index::new(1);
        let topics: Vec<String> = (0..40).map(|topic| format!("topic/{topic}")).collect();
        let mut model = vec![ShardSet::EMPTY; topics.len()];
        let mut interest = Interest::new(1);
        let mut random = Random::new(1);
        for step in 0..20_000 {
            let topic = usize::try_from(random.below(40)).unwrap();
            let shard = ShardId(u16::try_from(random.below(5)).unwrap());
            let wanted = random.chance(if step / 1_000 % 2 == 0 { 2 } else { 1 }, 3);
            let hash = index.topic_hash(topics[topic].as_bytes());
            // A shard withdraws only what it has announced.
            if wanted || model[topic].contains(shard) {
                interest.set_exact(shard, hash, wanted);
            }
            if wanted {
                model[topic].insert(shard);
            } else {
                model[topic].remove(shard);
            }
            assert_eq!(
                interest.shards(topics[topic].as_bytes(), hash),
                model[topic]
            );
        }
        for (topic, shards) in topics.iter().zip(&model) {
            let hash = index.topic_hash(topic.as_bytes());
            shards
                .iter()
                .for_each(|shard| interest.set_exact(shard, hash, false));
        }
        assert!(interest.exact.is_empty());
        assert_eq!(interest.sets.len(), 0);
    }
}
