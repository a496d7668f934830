//! Ends: of connections, of sessions, of the broker; and the wills that follow.

use super::Shard;
use super::client_key::ClientKey;
use super::input::Flow;
use super::interface::{CloseCause, Closing};
use super::shared::Left;
use super::timeout::TimerKey;
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::codec::{Disconnect, ForwardableRuns, MessageParts, QosLevel, ReasonCode};
use crate::connection::Connection;
use crate::connection::acknowledge::PendingAcks;
use crate::journal::Record;
use crate::session::will::Will;
use crate::topic::index::FilterId;
use std::time::Duration;

/// Connections.
impl Shard {
    /// DISCONNECT from the client (section 3.14).
    pub(super) fn on_disconnect(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session: u32,
        disconnect: &Disconnect<'_>,
    ) -> Flow {
        if let Some(expiry_s) = disconnect.session_expiry_interval_s {
            let had_none = self
                .connection(id)
                .is_some_and(|connection| !connection.connected_with_expiry);
            if had_none && expiry_s > 0 {
                // Section 3.14.2.2.2.
                let error = Self::protocol_error("DISCONNECT sets a session expiry");
                return self.fail(now, id, error);
            }
        }
        if let Some(session) = self.sessions.get_mut(session) {
            if let Some(expiry_s) = disconnect.session_expiry_interval_s {
                session.expiry_interval_s = expiry_s.min(self.limits.session_expiry_max_s);
            }
            // [MQTT-3.14.4-3]
            if disconnect.reason_code == ReasonCode::Success && session.will.take().is_some() {
                let session = session.journal_number;
                self.journal
                    .about(session, &Record::WillCleared { session });
            }
        }
        self.close_connection(now, id, CloseCause::ClientDisconnected);
        Flow::Closed
    }

    /// The shard ends a connection: what waits for the socket goes to the driver with the news.
    pub(super) fn close_connection(&mut self, now: Instant, id: ConnectionId, cause: CloseCause) {
        let Some(mut connection) = self.forget_connection(id) else {
            return;
        };
        let last = connection.take_unsent();
        self.closing.push_back(Closing {
            connection: id,
            cause,
            last,
        });
        self.leave_session(now, id, connection);
    }

    /// The driver found the connection gone.
    pub(super) fn end_connection(&mut self, now: Instant, id: ConnectionId, _cause: CloseCause) {
        let Some(mut connection) = self.forget_connection(id) else {
            return;
        };
        if let Some(unsent) = connection.take_unsent() {
            self.recycle(unsent);
        }
        self.leave_session(now, id, connection);
    }

    /// Frees the slot, the timer and the buffers.
    pub(super) fn forget_connection(&mut self, id: ConnectionId) -> Option<Connection> {
        self.connection(id)?;
        let kept = self.take_partial(id);
        self.recycle_partial(kept);
        self.authentications.forget(id);
        self.filter_work.forget(id);
        let mut connection = self.connections.remove(id.index)?;
        self.clients_connected -= u32::from(connection.session().is_some());
        if let Some(timer) = connection.timer.take() {
            self.wheel.cancel(timer);
        }
        Some(connection)
    }

    fn leave_session(&mut self, now: Instant, id: ConnectionId, connection: Connection) {
        let Some(session_index) = connection.session() else {
            return;
        };
        self.drop_lookups(session_index, connection.lookups);
        drop::<PendingAcks>(connection.pending_acks);
        let Some(session) = self.sessions.get_mut(session_index) else {
            return;
        };
        if session.connection != Some(id) {
            return;
        }
        session.on_disconnected(now);
        if session.journal_number != 0 {
            session.disconnected_at_ms = self.journal.unix_ms(now);
            self.journal.append(&Record::SessionDisconnected {
                session: session.journal_number,
                expiry_interval_s: session.expiry_interval_s,
                at_ms: session.disconnected_at_ms,
            });
        }
        session.outbound.shrink();
        session.inbound.shrink();
        self.set_shared_online(session_index, false);
        self.session_due(now, session_index);
    }
}

/// Sessions.
impl Shard {
    /// Does what is due of a session without connection: the will, the end; sets the timer for
    /// what is not due yet.
    pub(super) fn session_due(&mut self, now: Instant, session_index: u32) {
        let Some(session) = self.sessions.get_mut(session_index) else {
            return;
        };
        if session.ends_at.is_some_and(|at| at <= now) {
            if session.expiry_interval_s > 0 {
                self.counters.sessions_expired += 1;
            }
            self.end_session(now, session_index);
            return;
        }
        if session.will_due.is_some_and(|at| at <= now) {
            session.will_due = None;
            if let Some(will) = session.will.take() {
                let client = ClientKey::new(&self.home_key, &session.client_id);
                let session = session.journal_number;
                self.journal
                    .about(session, &Record::WillCleared { session });
                self.publish_will(now, &will, client, session);
            }
        }
        let Self {
            sessions, wheel, ..
        } = self;
        let Some(session) = sessions.get_mut(session_index) else {
            return;
        };
        if let Some(deadline) = session.next_deadline() {
            session.timer = Some(wheel.arm(deadline, TimerKey::Session(session_index)));
        }
    }

    /// The session's state is discarded; a will that still waits is published now
    /// [MQTT-3.1.2-8].
    pub(super) fn end_session(&mut self, now: Instant, session_index: u32) {
        let Some(mut session) = self.sessions.retire(session_index) else {
            return;
        };
        assert!(session.connection.is_none());
        self.directory.remove(session_index, &session.client_id);
        if let Some(timer) = session.timer.take() {
            self.wheel.cancel(timer);
        }
        let filters = session.subscriptions.drain();
        let number = session.journal_number;
        self.journal
            .about(number, &Record::SessionEnd { session: number });
        if number != 0 {
            let client = ClientKey::new(&self.home_key, &session.client_id);
            self.session_ends.push(client, &self.journal);
        }
        for group in session
            .shared
            .take()
            .map_or(Vec::new(), |mut it| it.drain())
        {
            self.shared.leave(group, session_index);
        }
        if number != 0 {
            self.journal.overflow.memory_bytes -= session.outbound.memory_bytes();
        }
        let stored = session.outbound.take_stored();
        for message in stored.iter().flat_map(|stored| stored.iter()) {
            self.journal.forget_stored(message);
        }
        let mut left = Vec::new();
        for (delivery, was_sent) in session.outbound.drain() {
            self.journal.unqueued(number, &delivery);
            left.push(Left { delivery, was_sent });
        }
        self.redeliver_shared(now, left);
        self.leave_index(session_index, filters);
        if let Some(will) = session.will.take() {
            let client = ClientKey::new(&self.home_key, &session.client_id);
            self.publish_will(now, &will, client, number);
        }
    }

    /// Takes one filter of a session out of the index; the peers learn of it if it was the last.
    pub(super) fn remove_subscription(&mut self, session_index: u32, filter: FilterId) {
        let mut text = String::new();
        self.index.filter_text(filter, &mut text);
        let removed = self.index.remove_by_id(filter, session_index);
        self.sys.count_subscription(&text, false);
        if removed.is_some_and(|removed| removed.last) {
            self.announce(&text, filter, false);
        }
    }

    /// A will has no connection that could be paused: it is routed even when a link is full. That
    /// adds at most one message per ended connection.
    fn publish_will(&mut self, now: Instant, will: &Will, client: ClientKey, journal_number: u64) {
        self.counters.wills_published += 1;
        let topic_name = will.topic_name.as_bytes();
        let hash = self.index.topic_hash(topic_name);
        let destinations = self.destinations(topic_name, hash, will.retain);
        let expiry_s = will.message_expiry_interval_s;
        let message = self.messages.make(&MessageParts {
            topic_name,
            properties: ForwardableRuns::of_forwardable(&will.properties),
            payload: &will.payload,
            qos: will.qos,
            retain: will.retain,
            expires_at: expiry_s.map(|s| now + Duration::from_secs(u64::from(s))),
        });
        self.choose_shared(&will.topic_name, None);
        self.route_local(now, &message, None);
        // The journalled will is gone with the record of its publication.
        let exactly_once = journal_number != 0 && will.qos != QosLevel::AtMostOnce;
        let exactly_once = exactly_once || self.forwards.holds_back(client);
        if exactly_once {
            self.forward(now, &message, &destinations, client, None);
        } else {
            self.route_away(now, &message, &destinations, None);
        }
        self.route_shared(now, &message, None, exactly_once.then_some(client));
        self.messages.release(message);
    }
}

/// The broker.
impl Shard {
    /// 5.0 clients hear Server shutting down; wills and expiry do not run any more, as nobody is
    /// left to receive them.
    pub(super) fn stop(&mut self, now: Instant) {
        self.journal.begin_group(now);
        let ids: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter_map(|(index, _)| {
                let generation = self.connections.generation(index)?;
                Some(ConnectionId { index, generation })
            })
            .collect();
        for id in ids {
            self.say_goodbye(id, ReasonCode::ServerShuttingDown, "");
            let Some(mut connection) = self.forget_connection(id) else {
                continue;
            };
            let last = connection.take_unsent();
            let cause = CloseCause::ServerStopping;
            self.closing.push_back(Closing {
                connection: id,
                cause,
                last,
            });
            let session = connection
                .session()
                .and_then(|index| self.sessions.get_mut(index));
            if let Some(session) = session {
                session.connection = None;
                if session.journal_number != 0 {
                    session.disconnected_at_ms = self.journal.unix_ms(now);
                    self.journal.append(&Record::SessionDisconnected {
                        session: session.journal_number,
                        expiry_interval_s: session.expiry_interval_s,
                        at_ms: session.disconnected_at_ms,
                    });
                }
            }
        }
    }
}
