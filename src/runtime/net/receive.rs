//! Receiving: one multishot receive per connection, fed to the shard from the ring's buffers.
//!
//! The kernel ends a multishot receive when it finds no buffer, at the peer's end, at an error and
//! when asked to; the last completion says so (no MORE flag). Whether another one is armed then
//! depends on `receive_wanted` alone.

use super::Net;
use super::buffer_ring::BUFFER_GROUP;
use super::operation::{Completion, Operation, UserData};
use super::socket::{SocketName, Sockets, State};
use crate::base::ids::{ConnectionId, ShardId};
use crate::base::time::Instant;
use crate::shard::Shard;
use crate::shard::interface::{CloseCause, ReadVerdict};
use io_uring::{opcode, squeue};
use tracing::debug;

/// What a completion of a receive means.
enum Received {
    Bytes(usize),
    /// The peer sends nothing more.
    End,
    /// No buffer was free, or the receive was asked to end.
    Nothing,
    Error(i32),
}

impl Received {
    fn from_result(result: i32) -> Self {
        match result {
            0 => Self::End,
            1.. => Self::Bytes(usize::try_from(result).unwrap_or_default()),
            _ => match -result {
                libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN => Self::Nothing,
                error => Self::Error(error),
            },
        }
    }
}

impl Net {
    /// Bytes of this socket are wanted from now on.
    pub(super) fn want_receive(&mut self, name: SocketName) {
        let Some(socket) = self.sockets.named_mut(name) else {
            return;
        };
        socket.receive_wanted = true;
        // One that was asked to end is armed again at its last completion.
        if socket.receive_armed {
            return;
        }
        socket.receive_armed = true;
        let entry = opcode::RecvMulti::new(self.rings.fixed(name.slot), BUFFER_GROUP).build();
        let user_data = UserData::new(Operation::Receive, name.slot, name.generation);
        self.rings.push_at(name.slot, entry, user_data);
    }

    /// No bytes of this socket are wanted; those that are on their way may still come.
    pub(super) fn unwant_receive(&mut self, name: SocketName) {
        let Some(socket) = self.sockets.named_mut(name) else {
            return;
        };
        socket.receive_wanted = false;
        if socket.receive_armed && !socket.receive_cancelled {
            socket.receive_cancelled = true;
            self.cancel(UserData::new(
                Operation::Receive,
                name.slot,
                name.generation,
            ));
        }
    }

    /// Asks the kernel to end the operation with this user data, which names a slot. Fails silently
    /// when it is over.
    pub(super) fn cancel(&mut self, target: UserData) {
        let entry = opcode::AsyncCancel::new(target.0)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        let ignored = UserData::plain(Operation::Ignored);
        self.rings.push_at(target.index(), entry, ignored);
    }

    pub(super) fn on_receive(&mut self, shard: &mut Shard, now: Instant, completion: Completion) {
        let name = SocketName {
            slot: completion.user_data.index(),
            generation: completion.user_data.generation(),
        };
        let received = Received::from_result(completion.result);
        if completion.result == -libc::ENOBUFS {
            self.counters.buffers_exhausted += 1;
            self.rings.on_buffers_exhausted(name.slot, now);
        }
        if let Some(socket) = self.sockets.named_mut(name) {
            if !completion.has_more() {
                socket.receive_armed = false;
                socket.receive_cancelled = false;
            }
            match (received, completion.buffer()) {
                (Received::Bytes(length), Some(buffer)) => {
                    let is_secure = socket.tls.is_some();
                    self.counters.receives += 1;
                    self.counters.received_bytes += length as u64;
                    match is_secure {
                        false => self.on_bytes(shard, now, name, buffer, length),
                        true => self.on_sealed_bytes(shard, now, name, buffer, length),
                    }
                }
                (Received::End, _) => self.on_peer_end(shard, now, name),
                (Received::Error(error), _) => self.on_receive_error(shard, now, name, error),
                (Received::Nothing | Received::Bytes(_), _) => {}
            }
            self.after_receive(shard, name);
        }
        if let Some(buffer) = completion.buffer() {
            self.rings.put_back(name.slot, buffer);
        }
    }

    /// Arms the next receive, or goes on with what waited for the last one to end.
    fn after_receive(&mut self, shard: &mut Shard, name: SocketName) {
        let Some(socket) = self.sockets.named(name) else {
            return;
        };
        if socket.receive_armed {
            return;
        }
        if socket.receive_wanted {
            self.want_receive(name);
        } else if matches!(socket.state, State::Moving(_)) {
            self.try_move(shard, name);
        }
    }

    fn on_bytes(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        name: SocketName,
        buffer: u16,
        length: usize,
    ) {
        let bytes = self.rings.bytes(name.slot, buffer, length);
        if let Some(verdict) = feed(&mut self.sockets, shard, now, name, bytes) {
            self.on_verdict(shard, name, verdict);
        }
    }

    /// What the shard says to bytes of a connection that it knows.
    pub(super) fn on_verdict(&mut self, shard: &mut Shard, name: SocketName, verdict: ReadVerdict) {
        match verdict {
            ReadVerdict::Continue => {}
            ReadVerdict::Pause => self.unwant_receive(name),
            ReadVerdict::Close => self.on_ended(name),
            ReadVerdict::HandOver(target) => self.on_verdict_hand_over(shard, name, target),
        }
    }

    /// The shard has ended the connection; `poll_close` names it in this turn.
    fn on_ended(&mut self, name: SocketName) {
        if let Some(socket) = self.sockets.named_mut(name)
            && let State::Open(connection) = socket.state
        {
            socket.state = State::Ended(connection);
        }
    }

    fn on_verdict_hand_over(&mut self, shard: &mut Shard, name: SocketName, target: ShardId) {
        let connection = self
            .sockets
            .named(name)
            .and_then(|socket| socket.open_connection());
        match connection.and_then(|connection| shard.take_hand_over(connection)) {
            Some(hand_over) => self.begin_move(shard, name, target, hand_over),
            None => self.release_counted(shard, name),
        }
    }

    /// The peer sends nothing more.
    pub(super) fn on_peer_end(&mut self, shard: &mut Shard, now: Instant, name: SocketName) {
        self.finish_handshake(shard, now, name);
        let Some(socket) = self.sockets.named_mut(name) else {
            return;
        };
        socket.receive_wanted = false;
        socket.peer_ended = true;
        match socket.state {
            State::Open(connection) => {
                debug!(?connection, slot = name.slot, "closed by the peer");
                self.on_network_closed(shard, now, name, connection);
            }
            State::Closing(_) => self.advance_close(shard, now, name),
            // The home core will see the end itself.
            State::Moving(_) => {}
            // The shard's last bytes may still find a reader: `poll_close` decides.
            State::Ended(_) | State::New | State::Free => {}
        }
    }

    fn on_receive_error(&mut self, shard: &mut Shard, now: Instant, name: SocketName, error: i32) {
        let Some(socket) = self.sockets.named(name) else {
            return;
        };
        let connection = socket.open_connection();
        debug!(slot = name.slot, ?connection, error, "receive failed");
        match connection {
            Some(connection) => self.on_network_closed(shard, now, name, connection),
            None => self.release_counted(shard, name),
        }
    }

    /// The connection is gone without the shard's doing: tells the shard and closes the socket.
    pub(super) fn on_network_closed(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        name: SocketName,
        connection: ConnectionId,
    ) {
        self.release_counted(shard, name);
        shard.on_connection_closed(now, connection, CloseCause::NetworkClosed);
    }
}

/// Gives MQTT's bytes to the shard, or to the connection that is on its way; what the shard says.
pub(super) fn feed(
    sockets: &mut Sockets,
    shard: &mut Shard,
    now: Instant,
    name: SocketName,
    bytes: &[u8],
) -> Option<ReadVerdict> {
    match &mut sockets.named_mut(name)?.state {
        State::Open(connection) => Some(shard.on_bytes(now, *connection, bytes)),
        State::Moving(moving) => {
            moving.hand_over.received.extend_from_slice(bytes);
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_receives_are_told_apart() {
        let kind = |result| match Received::from_result(result) {
            Received::Bytes(length) => format!("bytes {length}"),
            Received::End => "end".to_owned(),
            Received::Nothing => "nothing".to_owned(),
            Received::Error(error) => format!("error {error}"),
        };
        assert_eq!(kind(4096), "bytes 4096");
        assert_eq!(kind(0), "end");
        assert_eq!(kind(-libc::ENOBUFS), "nothing");
        assert_eq!(kind(-libc::ECANCELED), "nothing");
        assert_eq!(
            kind(-libc::ECONNRESET),
            format!("error {}", libc::ECONNRESET)
        );
    }
}
