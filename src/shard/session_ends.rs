//! Ends of journalled sessions that are not on the disk yet.
//!
//! A client that asked for a clean start and lost its connection before the CONNACK may ask again:
//! it must not hear that its earlier session is gone as long as a crash could bring that back.

use super::forward::ClientKey;
use super::journal::Journal;
use crate::base::map::{Map, map};

#[derive(Debug)]
pub(super) struct SessionEnds {
    seed: u64,
    /// By client, the sequence of the record. Bounded by the sessions that ended since the disk
    /// last caught up.
    open: Map<ClientKey, u64>,
    last: u64,
}

impl SessionEnds {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            open: map(seed),
            last: 0,
        }
    }

    /// The end of this client's session was the last thing journalled.
    pub(super) fn push(&mut self, client: ClientKey, journal: &Journal) {
        self.forget_durable(journal);
        self.last = journal.sequence();
        if !journal.is_durable(self.last) {
            self.open.insert(client, self.last);
        }
    }

    pub(super) fn is_open(
        &mut self,
        client: impl FnOnce() -> ClientKey,
        journal: &Journal,
    ) -> bool {
        self.forget_durable(journal);
        if self.open.is_empty() {
            return false;
        }
        let sequence = self.open.get(&client());
        sequence.is_some_and(|sequence| !journal.is_durable(*sequence))
    }

    fn forget_durable(&mut self, journal: &Journal) {
        if !self.open.is_empty() && journal.is_durable(self.last) {
            self.open = map(self.seed);
        }
    }
}
