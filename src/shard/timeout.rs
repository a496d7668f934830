//! Deadlines: one timer per connection and one per session without connection, both lazy: a timer
//! that finds nothing due arms itself for what is next.

use super::Shard;
use super::interface::CloseCause;
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::codec::ReasonCode;
use crate::connection::Phase;

/// What a timer belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TimerKey {
    Connection(ConnectionId),
    Session(u32),
    /// A retained message, by its slot.
    Retained(u32),
    /// The next values of the `$SYS` topics.
    Sys,
}

/// Timers handled in one call: more are left for the next turn, so that a million sessions that
/// expire together do not stall the core.
const TIMERS_PER_TURN_MAX: usize = 4096;

impl Shard {
    pub(super) fn expire_timers(&mut self, now: Instant) {
        for _ in 0..TIMERS_PER_TURN_MAX {
            let Some(key) = self.wheel.expire(now) else {
                return;
            };
            self.journal.begin_group(now);
            match key {
                TimerKey::Connection(id) => self.connection_due(now, id),
                TimerKey::Session(session) => {
                    if let Some(session) = self.sessions.get_mut(session) {
                        session.timer = None;
                    }
                    self.session_due(now, session);
                }
                TimerKey::Retained(slot) => self.retained_due(slot),
                TimerKey::Sys => self.sys_due(now),
            }
        }
    }

    /// Arms the connection's timer for its next deadline, if it has one.
    pub(super) fn rearm_connection(&mut self, id: ConnectionId) {
        let Self {
            connections,
            wheel,
            limits,
            ..
        } = self;
        let Some(connection) = connections.get_named_mut(id.index, id.generation) else {
            return;
        };
        if let Some(timer) = connection.timer.take() {
            wheel.cancel(timer);
        }
        let deadline = connection.next_deadline(limits.connect_timeout, limits.send_timeout);
        connection.timer = deadline.map(|deadline| wheel.arm(deadline, TimerKey::Connection(id)));
    }

    fn connection_due(&mut self, now: Instant, id: ConnectionId) {
        let send_timeout = self.limits.send_timeout;
        let connect_timeout = self.limits.connect_timeout;
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        connection.timer = None;
        connection.shrink();
        if connection.paused {
            // It is not read by our own decision, so its silence says nothing.
            connection.last_packet = now;
        }
        if connection
            .blocked_since
            .is_some_and(|since| since + send_timeout <= now)
        {
            self.counters.slow_consumers_closed += 1;
            self.close_connection(now, id, CloseCause::SlowConsumer);
            return;
        }
        match connection.phase {
            Phase::AwaitingConnect | Phase::Authenticating
                if connection.last_packet + connect_timeout <= now =>
            {
                self.counters.connect_timeouts += 1;
                self.close_connection(now, id, CloseCause::ConnectTimeout);
            }
            Phase::Connected { .. }
                if connection.keep_alive_deadline().is_some_and(|at| at <= now) =>
            {
                self.counters.keep_alive_timeouts += 1;
                self.say_goodbye(id, ReasonCode::KeepAliveTimeout, "");
                self.close_connection(now, id, CloseCause::KeepAliveTimeout);
            }
            _ => self.rearm_connection(id),
        }
    }
}
