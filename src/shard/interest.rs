//! Which other shards want what, and what this shard has told them that it wants.
//!
//! Exact filters are known by a 64-bit keyed hash: 16 bytes and the set instead of the text. Two
//! filters with the same hash cost a useless forward and nothing else; they are counted per hash,
//! so that the end of one does not withdraw the other.

use crate::base::ids::{ShardId, ShardSet};
use crate::base::map::{Map, map};
use crate::topic::trie::Trie;

/// What the other shards want.
#[derive(Debug)]
pub(super) struct Interest {
    exact: Map<u64, ShardSet>,
    wildcard: Trie<ShardId, ()>,
}

impl Interest {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            exact: map(seed),
            wildcard: Trie::new(seed),
        }
    }

    pub(super) fn set_exact(&mut self, shard: ShardId, hash: u64, wanted: bool) {
        if wanted {
            self.exact.entry(hash).or_default().insert(shard);
        } else if let Some(shards) = self.exact.get_mut(&hash) {
            shards.remove(shard);
            if shards.is_empty() {
                self.exact.remove(&hash);
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

    /// The shards that want a topic name with the given hash.
    pub(super) fn shards(&mut self, topic_name: &str, hash: u64) -> ShardSet {
        let mut shards = self.exact.get(&hash).copied().unwrap_or_default();
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
    exact: Map<u64, u32>,
}

impl Announced {
    pub(super) fn new(seed: u64) -> Self {
        Self { exact: map(seed) }
    }

    /// A local exact filter got its first subscriber. True: the peers must be told.
    pub(super) fn add(&mut self, hash: u64) -> bool {
        let count = self.exact.entry(hash).or_insert(0);
        *count += 1;
        *count == 1
    }

    /// A local exact filter lost its last subscriber. True: the peers must be told.
    pub(super) fn remove(&mut self, hash: u64) -> bool {
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
