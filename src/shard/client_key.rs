//! A client by the hash of its identifier.

use crate::base::hash::HomeKey;

/// Keyed hash of a client identifier: it stays the same over connections and sessions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct ClientKey(u64);

impl ClientKey {
    /// Of nobody who may still send: what a former process left.
    pub(super) const NONE: Self = Self(0);

    pub(super) fn new(key: &HomeKey, client_id: &str) -> Self {
        Self(key.hash(client_id.as_bytes()))
    }
}
