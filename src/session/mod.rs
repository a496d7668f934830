//! What survives a network connection: the session of one client identifier.
//!
//! Knows windows, queues, packet identifiers, the will and its expiry; does not know connections,
//! sockets, routing or other sessions. Lives at the shard that owns the client identifier and is
//! called by that shard only.
#![forbid(unsafe_code)]

pub mod delivery;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod inbound;
pub mod outbound;
pub mod stored;
pub mod subscriptions;
#[cfg(test)]
mod tests;
pub mod will;

use crate::base::time::Instant;
use crate::base::wheel::TimerId;
use inbound::Inbound;
use outbound::Outbound;
use std::time::Duration;
use subscriptions::Subscriptions;
use will::Will;

/// A session ends this long after its connection; this value means never (section 3.1.2.11.2).
pub const EXPIRY_NEVER_S: u32 = u32::MAX;

/// The state of one client identifier. `C` names its connection, `F` its subscriptions' filters;
/// the session only keeps them.
#[derive(Debug)]
pub struct Session<C, F> {
    pub client_id: Box<str>,
    /// The connection that uses the session now.
    pub connection: Option<C>,
    /// Filters under which the index holds this session.
    pub subscriptions: Subscriptions<F>,
    /// Groups of shared subscriptions that it is a member of.
    pub shared: Option<Box<Subscriptions<u32>>>,
    pub outbound: Outbound,
    pub inbound: Inbound,
    pub will: Option<Box<Will>>,
    /// Session Expiry Interval in seconds, after the server's cap; [`EXPIRY_NEVER_S`]: no end.
    pub expiry_interval_s: u32,
    /// When the will is due; set while the connection is gone and a delayed will waits.
    pub will_due: Option<Instant>,
    /// When the session ends; set while the connection is gone.
    pub ends_at: Option<Instant>,
    /// Fires at the earlier of `will_due` and `ends_at`.
    pub timer: Option<TimerId>,
    /// The route that looked at this session last, and the position of its delivery in it:
    /// overlapping subscriptions are merged without a table.
    pub route_number: u64,
    pub route_position: u32,
    /// Its number in the journal; 0: it does not outlive the process. Stays as it is.
    pub journal_number: u64,
    /// When its connection ended, in milliseconds since 1970, if it is journalled; 0: it has one.
    pub disconnected_at_ms: u64,
    /// Retained lookups asked for; live messages are noted for them while it is not 0.
    pub retained_lookups: u32,
}

impl<C, F> Session<C, F> {
    #[must_use]
    pub fn new(client_id: &str, expiry_interval_s: u32) -> Self {
        Self {
            client_id: client_id.into(),
            connection: None,
            subscriptions: Subscriptions::default(),
            shared: None,
            outbound: Outbound::default(),
            inbound: Inbound::default(),
            will: None,
            expiry_interval_s,
            will_due: None,
            ends_at: None,
            timer: None,
            route_number: 0,
            route_position: 0,
            journal_number: 0,
            disconnected_at_ms: 0,
            retained_lookups: 0,
        }
    }

    /// Subscriptions of both kinds.
    #[must_use]
    pub fn subscription_count(&self) -> usize
    where
        F: Copy + Eq + std::hash::Hash,
    {
        self.subscriptions.len() + self.shared.as_ref().map_or(0, |shared| shared.len())
    }

    /// The connection is gone at `now`: sets the times at which the will is published and the
    /// session ends. A will delay longer than the session is cut to its end [MQTT-3.1.2-8].
    pub fn on_disconnected(&mut self, now: Instant) {
        self.connection = None;
        self.outbound.on_disconnected();
        let expiry = Duration::from_secs(u64::from(self.expiry_interval_s));
        self.ends_at = (self.expiry_interval_s != EXPIRY_NEVER_S).then(|| now + expiry);
        self.will_due = self.will.as_ref().map(|will| {
            let due = now + Duration::from_secs(u64::from(will.delay_interval_s));
            self.ends_at.map_or(due, |end| due.min(end))
        });
    }

    /// A connection uses the session again: nothing is due any more.
    pub fn on_connected(&mut self, connection: C) {
        self.connection = Some(connection);
        self.disconnected_at_ms = 0;
        self.will_due = None;
        self.ends_at = None;
    }

    /// The earlier of the two times set by [`Self::on_disconnected`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match (self.will_due, self.ends_at) {
            (Some(will), Some(end)) => Some(will.min(end)),
            (will, end) => will.or(end),
        }
    }

    /// Checks what must hold between any two events; for tests and the simulator.
    pub fn assert_invariants(&self) {
        self.outbound.assert_invariants();
        self.inbound.assert_invariants();
        assert!(self.connection.is_none() || (self.will_due.is_none() && self.ends_at.is_none()));
    }
}
