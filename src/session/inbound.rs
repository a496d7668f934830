//! QoS 2 messages received and not yet released: the receive set of method A (section 4.3.3).

use crate::codec::PacketId;
use std::collections::VecDeque;

/// Packet identifiers between PUBLISH and PUBREL, ascending. Bounded by the identifier's range
/// (65,535 entries of two bytes); for 5.0 clients by the receive maximum, which the shard checks.
#[derive(Debug, Default)]
pub struct Inbound {
    /// Ascending. Identifiers mostly grow and are released in order: both ends are cheap.
    unreleased: VecDeque<u16>,
}

impl Inbound {
    #[must_use]
    pub fn len(&self) -> usize {
        self.unreleased.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unreleased.is_empty()
    }

    /// Was a message with this identifier accepted and not released yet?
    #[must_use]
    pub fn contains(&self, packet_id: PacketId) -> bool {
        self.unreleased.binary_search(&packet_id.get()).is_ok()
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = PacketId> {
        self.unreleased.iter().filter_map(|id| PacketId::new(*id))
    }

    /// Remembers an accepted message; false when it was there already.
    pub fn insert(&mut self, packet_id: PacketId) -> bool {
        let Err(position) = self.unreleased.binary_search(&packet_id.get()) else {
            return false;
        };
        self.unreleased.insert(position, packet_id.get());
        true
    }

    /// PUBREL: forgets the identifier; false when it was not there.
    pub fn release(&mut self, packet_id: PacketId) -> bool {
        let Ok(position) = self.unreleased.binary_search(&packet_id.get()) else {
            return false;
        };
        self.unreleased.remove(position);
        true
    }

    /// Gives memory back that a burst needed.
    pub fn shrink(&mut self) {
        if self.unreleased.is_empty() {
            self.unreleased = VecDeque::new();
        }
    }

    pub(super) fn assert_invariants(&self) {
        let mut pairs = self.unreleased.iter().zip(self.unreleased.iter().skip(1));
        assert!(pairs.all(|(left, right)| left < right));
    }
}
