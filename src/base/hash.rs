//! The keyed hash that decides homes: which shard owns a session or a retained message.
//!
//! SipHash-1-3, because the result must be the same after a restart and on every CPU (ahash
//! promises neither), and because nobody outside may be able to aim at one shard.

use super::ids::ShardId;
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// The secret of this installation, and what is derived from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HomeKey([u8; 16]);

impl HomeKey {
    #[must_use]
    pub const fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    #[must_use]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(bytes);
        hasher.finish()
    }

    /// The shard that owns what is named by `bytes` (a client identifier or a topic name).
    #[must_use]
    pub fn home(&self, bytes: &[u8], shard_count: u16) -> ShardId {
        Self::home_of_hash(self.hash(bytes), shard_count)
    }

    /// The same for a hash that was computed already.
    #[must_use]
    pub fn home_of_hash(hash: u64, shard_count: u16) -> ShardId {
        #[allow(clippy::cast_possible_truncation, reason = "smaller than shard_count")]
        ShardId((hash % u64::from(shard_count)) as u16)
    }
}

impl std::fmt::Debug for HomeKey {
    /// The secret stays out of logs.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("HomeKey(..)")
    }
}
