//! Which other shards want what, and what this shard has told them that it wants.
//!
//! Exact filters are known by the 64-bit hash that the indexes use, too: the set and 8 bytes
//! instead of the text, and a PUBLISH needs one hash for all tables of all shards. Two filters with
//! the same hash cost a useless forward and nothing else; they are counted per hash, so that the
//! end of one does not withdraw the other.

use crate::base::ids::{ShardId, ShardSet};
use crate::base::map::{Map, map};
use crate::topic::index::TopicHash;
use crate::topic::trie::Trie;
use hashbrown::HashTable;

/// What the other shards want.
#[derive(Debug)]
pub(super) struct Interest {
    exact: HashTable<(TopicHash, ShardSet)>,
    wildcard: Trie<ShardId, ()>,
}

impl Interest {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            exact: HashTable::new(),
            wildcard: Trie::new(seed),
        }
    }

    pub(super) fn set_exact(&mut self, shard: ShardId, hash: TopicHash, wanted: bool) {
        let key = |(hash, _): &(TopicHash, ShardSet)| hash.as_u64();
        let is_same = |(other, _): &(TopicHash, ShardSet)| *other == hash;
        if wanted {
            let entry = self.exact.entry(hash.as_u64(), is_same, key);
            let mut entry = entry.or_insert((hash, ShardSet::EMPTY));
            entry.get_mut().1.insert(shard);
        } else if let Ok(mut entry) = self.exact.find_entry(hash.as_u64(), is_same) {
            let (_, shards) = entry.get_mut();
            shards.remove(shard);
            if shards.is_empty() {
                entry.remove();
            }
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
        let exact = self
            .exact
            .find(hash.as_u64(), |(other, _)| *other == hash)
            .map(|(_, shards)| *shards);
        let mut shards = exact.unwrap_or(ShardSet::EMPTY);
        self.wildcard.for_each_match(topic_name, |interested| {
            interested
                .iter()
                .for_each(|(shard, ())| shards.insert(*shard));
        });
        shards
    }
}

/// How often each exact hash occurs among the local filters.
#[derive(Debug)]
pub(super) struct Announced {
    exact: Map<TopicHash, u32>,
}

impl Announced {
    pub(super) fn new(seed: u64) -> Self {
        Self { exact: map(seed) }
    }

    /// A local exact filter got its first subscriber. True: the peers must be told.
    pub(super) fn add(&mut self, hash: TopicHash) -> bool {
        let count = self.exact.entry(hash).or_insert(0);
        *count += 1;
        *count == 1
    }

    /// A local exact filter lost its last subscriber. True: the peers must be told.
    pub(super) fn remove(&mut self, hash: TopicHash) -> bool {
        let Some(count) = self.exact.get_mut(&hash) else {
            return false;
        };
        *count -= 1;
        if *count > 0 {
            return false;
        }
        self.exact.remove(&hash);
        true
    }
}
