//! Closing: what is under way goes out, then the shard's last bytes, then the peer is told that
//! nothing more comes and gets a moment to end its side, then the descriptor is closed.
//!
//! The moment matters: closing a socket that holds unread bytes makes the kernel reset the
//! connection, and the peer may then never see the last bytes (a DISCONNECT with its reason).

use super::Net;
use super::operation::{Completion, Operation, UserData};
use super::socket::{Closing, ShutDown, SocketName, Sockets, State};
use crate::base::time::Instant;
use crate::shard::Shard;
use crate::shard::interface::{self, CloseCause};
use io_uring::{opcode, squeue};
use std::collections::VecDeque;
use std::time::Duration;
use tracing::{debug, info};

/// For everything that must still go out.
const FLUSH_TIME: Duration = Duration::from_secs(5);
/// For the peer to end its side after it was told.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// When closing sockets are closed by force. Each list has one fixed time, so it is in order; an
/// entry whose socket is gone is skipped. Bounded by the connections closed within that time.
#[derive(Debug, Default)]
pub(super) struct CloseDeadlines {
    flush: VecDeque<(Instant, SocketName)>,
    linger: VecDeque<(Instant, SocketName)>,
}

impl CloseDeadlines {
    /// The first one.
    pub(super) fn next(&self) -> Option<Instant> {
        let flush = self.flush.front().map(|(at, _)| *at);
        let linger = self.linger.front().map(|(at, _)| *at);
        flush.into_iter().chain(linger).min()
    }

    /// Forgets the first ones as long as their sockets are gone, so that nobody wakes for them.
    fn prune(&mut self, sockets: &Sockets) {
        for list in [&mut self.flush, &mut self.linger] {
            while list
                .front()
                .is_some_and(|(_, name)| sockets.named(*name).is_none())
            {
                list.pop_front();
            }
        }
    }

    fn pop_due(list: &mut VecDeque<(Instant, SocketName)>, now: Instant) -> Option<SocketName> {
        let (at, name) = *list.front()?;
        (at <= now).then(|| {
            list.pop_front();
            name
        })
    }
}

impl Net {
    /// The shard has ended a connection.
    pub(super) fn begin_close(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        closing: interface::Closing,
    ) {
        let interface::Closing {
            connection,
            cause,
            last,
        } = closing;
        let Some(name) = self.sockets.of(connection) else {
            // The network was quicker.
            if let Some(last) = last {
                shard.recycle(last);
            }
            return;
        };
        self.log_close(now, name, cause);
        self.sockets.forget(connection);
        if let Some(socket) = self.sockets.named_mut(name) {
            socket.state = State::Closing(Closing::new(cause, last));
            // To see the peer's end, and to leave nothing unread.
            if !socket.peer_ended {
                self.want_receive(name);
            }
        }
        self.await_close(shard, now, name);
    }

    /// Begins the close of a socket in [`State::Closing`]; its time is limited from here on.
    pub(super) fn await_close(&mut self, shard: &mut Shard, now: Instant, name: SocketName) {
        self.close_deadlines
            .flush
            .push_back((now + FLUSH_TIME, name));
        self.advance_close(shard, now, name);
    }

    fn log_close(&mut self, now: Instant, name: SocketName, cause: CloseCause) {
        let peer = self
            .sockets
            .named(name)
            .and_then(|socket| socket.origin.peer);
        let slot = name.slot;
        match cause {
            CloseCause::ProtocolError(what) => {
                if let Some(suppressed) = self.log.take(now) {
                    info!(?peer, slot, what, suppressed, "closed: protocol error");
                }
            }
            CloseCause::ConnectRefused(what) => {
                if let Some(suppressed) = self.log.take(now) {
                    info!(?peer, slot, what, suppressed, "closed: CONNECT refused");
                }
            }
            CloseCause::LimitReached(what) => {
                if let Some(suppressed) = self.log.take(now) {
                    info!(?peer, slot, what, suppressed, "closed: limit reached");
                }
            }
            CloseCause::SlowConsumer => {
                if let Some(suppressed) = self.log.take(now) {
                    info!(?peer, slot, suppressed, "closed: takes nothing");
                }
            }
            cause => debug!(?peer, slot, ?cause, "closed"),
        }
    }

    /// Does the next step of a close, if nothing stands in its way.
    pub(super) fn advance_close(&mut self, shard: &mut Shard, now: Instant, name: SocketName) {
        let Some(socket) = self.sockets.named_mut(name) else {
            return;
        };
        let has_unsent = socket.has_unsent();
        let State::Closing(closing) = &mut socket.state else {
            return;
        };
        if closing.cause == CloseCause::SlowConsumer {
            // It had its time to take something.
            self.release_counted(shard, name);
            return;
        }
        if socket.transmit.is_some() || has_unsent {
            return;
        }
        if let Some(last) = closing.last.take() {
            if !last.is_empty() {
                socket.transmit = Some(last);
                self.sends.push_ready(name);
                return;
            }
            shard.recycle(last);
        }
        if self.say_end(name) {
            return;
        }
        let Some(socket) = self.sockets.named_mut(name) else {
            return;
        };
        let State::Closing(closing) = &mut socket.state else {
            return;
        };
        // After its DISCONNECT a client sends nothing, so nothing unread can spoil the close.
        let done = socket.peer_ended || closing.cause == CloseCause::ClientDisconnected;
        if done {
            self.release_counted(shard, name);
        } else if closing.shut_down == ShutDown::Before {
            closing.shut_down = ShutDown::UnderWay;
            self.shut_down(now, name);
        }
    }

    /// Tells the peer that nothing more comes. The kernel does it on a thread of its own and looks
    /// only there which socket the slot holds: until it is done the slot must hold this one.
    fn shut_down(&mut self, now: Instant, name: SocketName) {
        let entry = opcode::Shutdown::new(self.rings.fixed(name.slot), libc::SHUT_WR).build();
        let user_data = UserData::new(Operation::ShutDown, name.slot, name.generation);
        self.rings.push_at(name.slot, entry, user_data);
        self.close_deadlines
            .linger
            .push_back((now + LINGER_TIME, name));
    }

    /// The kernel has told the peer, or could not.
    pub(super) fn on_shut_down(&mut self, shard: &mut Shard, now: Instant, completion: Completion) {
        let name = SocketName {
            slot: completion.user_data.index(),
            generation: completion.user_data.generation(),
        };
        let Some(socket) = self.sockets.named_mut(name) else {
            return;
        };
        let State::Closing(closing) = &mut socket.state else {
            return;
        };
        closing.shut_down = ShutDown::Done;
        if closing.is_due {
            self.release_counted(shard, name);
        } else {
            self.advance_close(shard, now, name);
        }
    }

    /// Closes what has had its time.
    pub(super) fn on_close_deadlines(&mut self, shard: &mut Shard, now: Instant) {
        while let Some(name) = CloseDeadlines::pop_due(&mut self.close_deadlines.linger, now) {
            self.force_close(shard, name);
        }
        while let Some(name) = CloseDeadlines::pop_due(&mut self.close_deadlines.flush, now) {
            self.force_close(shard, name);
        }
    }

    /// At the end of each turn.
    pub(super) fn prune_close_deadlines(&mut self) {
        self.close_deadlines.prune(&self.sockets);
    }

    fn force_close(&mut self, shard: &mut Shard, name: SocketName) {
        if self.sockets.named(name).is_some() {
            self.counters.closes_forced += 1;
            self.release_counted(shard, name);
        }
    }

    /// Closes a socket that was counted at its listener, now or when its shutdown is done.
    pub(super) fn release_counted(&mut self, shard: &mut Shard, name: SocketName) {
        let state = self.sockets.named_mut(name).map(|it| &mut it.state);
        if let Some(State::Closing(closing)) = state
            && closing.shut_down == ShutDown::UnderWay
        {
            closing.is_due = true;
            return;
        }
        self.release_at_once(shard, name);
    }

    /// The same whatever the kernel is at: no other socket may come into the slot.
    pub(super) fn release_at_once(&mut self, shard: &mut Shard, name: SocketName) {
        if let Some(socket) = self.sockets.named(name) {
            let listener = socket.origin.listener;
            self.leave_listener(listener);
            self.release(shard, name);
        }
    }

    /// Ends the operations on a socket, closes its descriptor and frees its slot.
    ///
    /// An operation in flight holds the socket open beyond the close of its slot, so each one that
    /// may be there is cancelled first. Their last completions come with an old generation.
    pub(super) fn release(&mut self, shard: &mut Shard, name: SocketName) {
        self.counters.closes += 1;
        self.close_slot(shard, name);
    }

    pub(super) fn close_slot(&mut self, shard: &mut Shard, name: SocketName) {
        let Some(socket) = self.sockets.remove(name) else {
            return;
        };
        self.filling.on_change();
        if socket.receive_armed {
            self.cancel(UserData::new(
                Operation::Receive,
                name.slot,
                name.generation,
            ));
        }
        if socket.writable_armed {
            self.cancel(UserData::new(
                Operation::Writable,
                name.slot,
                name.generation,
            ));
        }
        if let Some(transmit) = socket.transmit {
            shard.recycle(transmit);
        }
        if let State::Closing(closing) = socket.state
            && let Some(last) = closing.last
        {
            shard.recycle(last);
        }
        let entry = opcode::Close::new(self.rings.fixed(name.slot))
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        self.rings
            .push_at(name.slot, entry, UserData::plain(Operation::Ignored));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earliest_close_deadline_comes_first() {
        let name = |slot| SocketName {
            slot,
            generation: 1,
        };
        let at = Instant::from_micros;
        let mut deadlines = CloseDeadlines::default();
        assert_eq!(deadlines.next(), None);
        deadlines.flush.push_back((at(50), name(1)));
        deadlines.linger.push_back((at(30), name(2)));
        deadlines.linger.push_back((at(40), name(3)));
        assert_eq!(deadlines.next(), Some(at(30)));
        let due = CloseDeadlines::pop_due(&mut deadlines.linger, at(35));
        assert_eq!(due, Some(name(2)));
        assert_eq!(CloseDeadlines::pop_due(&mut deadlines.linger, at(35)), None);
        assert_eq!(deadlines.next(), Some(at(40)));
    }
}
