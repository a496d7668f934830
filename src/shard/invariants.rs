//! What must hold between any two events; for tests and the simulator.

use super::Shard;
use crate::connection::Phase;
use std::collections::BTreeSet;
use std::rc::Rc;

impl Shard {
    /// Panics when the shard's tables disagree. Costs as much as the shard holds.
    ///
    /// # Panics
    /// When an invariant is broken: that is its purpose.
    pub fn assert_invariants(&self) {
        assert_eq!(self.directory.len(), self.sessions.len());
        self.assert_sessions();
        self.assert_connections();
        self.retained.assert_invariants();
        let connected = self.connections.iter();
        let connected = connected.filter(|(_, connection)| connection.session().is_some());
        assert_eq!(connected.count(), self.clients_connected as usize);
    }

    /// Every message that was made is held by somebody, and so the counts of stored messages are
    /// right. Only while the driver holds no [`super::interface::Transmit`].
    ///
    /// # Panics
    /// When one was dropped without being released.
    pub fn assert_no_message_is_lost(&self) {
        let sessions = self.sessions.iter();
        let queued = sessions.flat_map(|(_, session)| session.outbound.messages());
        let connections = self.connections.iter();
        let unsent = connections.flat_map(|(_, connection)| connection.unsent_messages());
        let closing = self
            .closing
            .iter()
            .filter_map(|closing| closing.last.as_ref());
        let last = closing.flat_map(|transmit| transmit.messages());
        let held = queued
            .chain(unsent)
            .chain(last)
            .chain(self.retained.messages())
            .chain(self.forwards.messages());
        let mut bytes = 0;
        let mut seen = BTreeSet::new();
        for message in held {
            if seen.insert(Rc::as_ptr(message)) {
                bytes += message.bytes() as u64;
            }
        }
        assert_eq!(seen.len() as u64, self.messages.live_count());
        assert_eq!(bytes, self.messages.live_bytes());
    }

    fn assert_sessions(&self) {
        let (mut subscriptions, mut members) = (0, 0);
        let mut queue_memory = 0;
        for (index, session) in self.sessions.iter() {
            session.assert_invariants();
            if session.journal_number != 0 {
                queue_memory += session.outbound.memory_bytes();
            }
            assert_eq!(
                self.directory.find(&self.sessions, &session.client_id),
                Some(index)
            );
            subscriptions += session.subscriptions.len();
            members += session.shared.as_ref().map_or(0, |shared| shared.len());
            assert!(session.outbound.queued_bytes() <= self.limits.queued_bytes_max);
            let queued = session.outbound.queued_count();
            assert!(queued <= self.limits.queued_messages_max as usize);
            let home = self
                .home_key
                .home(session.client_id.as_bytes(), self.shard_count);
            assert_eq!(home, self.id);
            let Some(id) = session.connection else {
                continue;
            };
            let connection = self.connection(id).expect("a session's connection exists");
            assert_eq!(connection.phase, Phase::Connected { session: index });
            assert!(session.outbound.sent_count() <= connection.window);
        }
        assert_eq!(queue_memory, self.journal.overflow.memory_bytes);
        subscriptions += self.filter_work.leaving_count();
        assert_eq!(subscriptions, self.index.subscription_count());
        assert_eq!(members, self.shared.member_count());
    }

    fn assert_connections(&self) {
        let mut partial_bytes = 0;
        for (index, connection) in self.connections.iter() {
            partial_bytes += connection.partial.len() as u64;
            let Some(session) = connection.session() else {
                continue;
            };
            let session = self
                .sessions
                .get(session)
                .expect("a connection's session exists");
            assert_eq!(session.connection.map(|id| id.index), Some(index));
            let lookups = connection.lookups.as_ref().map_or(0, |it| it.len());
            assert_eq!(session.retained_lookups as usize, lookups);
        }
        assert_eq!(partial_bytes, self.partial_bytes);
    }

    /// Nothing is on its way inside the broker: all links are empty and everything asked of other
    /// shards is answered.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.peers().all(|link| self.links[link].is_settled())
            && self.barriers.is_settled()
            && self.forwards.is_settled()
            && self.journal.overflow.is_settled()
            && self.lookups.is_settled()
            && self.filter_work.is_settled()
            && self.sys.is_settled()
            && self.shared.is_settled()
            && self.to_resume.is_empty()
    }
}
