//! Ends of journalled sessions that are not on the disk yet.
//!
//! A client that asked for a clean start and lost its connection before the CONNACK may ask again:
//! it must not hear that its earlier session is gone as long as a crash could bring that back.

use super::client_key::ClientKey;
use super::journal::Journal;
use crate::base::map::{Map, map};
use std::collections::VecDeque;

/// Room that stays when nothing is open; a burst's memory is given back.
const ENDS_KEPT: usize = 256;

#[derive(Debug)]
pub(super) struct SessionEnds {
    /// By client, the sequence of its last session's end. Bounded by what waits for the disk.
    open: Map<ClientKey, u64>,
    /// The same in the order of the sequences, with ends that are not a client's last.
    order: VecDeque<(u64, ClientKey)>,
}

impl SessionEnds {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            open: map(seed),
            order: VecDeque::new(),
        }
    }

    /// The end of this client's session was the last thing journalled.
    pub(super) fn push(&mut self, client: ClientKey, journal: &Journal) {
        self.forget_durable(journal);
        let sequence = journal.sequence();
        if !journal.is_durable(sequence) {
            self.open.insert(client, sequence);
            self.order.push_back((sequence, client));
        }
    }

    pub(super) fn is_open(
        &mut self,
        client: impl FnOnce() -> ClientKey,
        journal: &Journal,
    ) -> bool {
        self.forget_durable(journal);
        !self.open.is_empty() && self.open.contains_key(&client())
    }

    /// Those that are remembered, for tests.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.order.len().max(self.open.len())
    }

    fn forget_durable(&mut self, journal: &Journal) {
        while let Some((sequence, client)) = self.order.front().copied()
            && journal.is_durable(sequence)
        {
            self.order.pop_front();
            if self.open.get(&client) == Some(&sequence) {
                self.open.remove(&client);
            }
        }
        if self.order.is_empty() {
            self.open.shrink_to(ENDS_KEPT);
            self.order.shrink_to(ENDS_KEPT);
        }
    }
}
