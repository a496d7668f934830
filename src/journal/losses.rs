//! Messages that a damaged journal has lost, and the state without them.

use super::place::Place;
use super::recovered::Recovered;
use super::state::SessionState;
use crate::codec::QosLevel;
use std::collections::{BTreeMap, BTreeSet};

/// What was taken out of a state because its message is gone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Losses {
    /// Client identifier -> messages that waited for it or were in flight.
    pub sessions: BTreeMap<Box<str>, u64>,
    /// Topic names of retained messages.
    pub retained: Vec<Box<str>>,
    /// QoS 2 messages on their way to other shards.
    pub forwards: u64,
}

impl Losses {
    /// Messages of all sessions.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.sessions.values().sum()
    }
}

impl Recovered {
    /// The needed messages of one segment that cannot be read.
    #[must_use]
    pub fn lost(&self, segment: u32, bytes: &[u8]) -> Vec<Place> {
        let unreadable = self.wanted_of(segment);
        let unreadable = unreadable.filter(|index| self.wanted_record(*index, bytes).is_err());
        unreadable.map(|index| self.wanted_place(index)).collect()
    }

    /// Goes on without these messages, whoever holds them. Before anything is loaded.
    pub fn give_up(&mut self, lost: &BTreeSet<Place>) -> Losses {
        let mut losses = Losses::default();
        for session in self.state.sessions.values_mut() {
            let count = session.give_up(lost);
            if count > 0 {
                *losses
                    .sessions
                    .entry(session.client_id.clone())
                    .or_default() += count;
            }
        }
        self.state.retained.retain(|topic_name, retained| {
            let is_lost = lost.contains(&retained.place);
            losses.retained.extend(is_lost.then(|| topic_name.clone()));
            !is_lost
        });
        let forwards = self.state.forwards.len();
        self.state
            .forwards
            .retain(|_, forward| !lost.contains(&forward.place));
        losses.forwards = (forwards - self.state.forwards.len()) as u64;
        self.forget_wanted(lost);
        losses
    }
}

impl SessionState {
    /// The number of messages that it has no longer.
    fn give_up(&mut self, lost: &BTreeSet<Place>) -> u64 {
        let before = self.queue.len();
        self.queue.retain(|queued| !lost.contains(&queued.place));
        let mut count = before - self.queue.len();
        self.inflight.retain_mut(|entry| {
            let queued = entry.queued.as_ref();
            let Some(queued) = queued.filter(|queued| lost.contains(&queued.place)) else {
                return true;
            };
            count += 1;
            // The client may have it, and would take another message under this identifier for a
            // repetition: PUBREL ends the exchange.
            let is_exchange = queued.qos == QosLevel::ExactlyOnce;
            entry.queued = None;
            is_exchange
        });
        count as u64
    }
}
