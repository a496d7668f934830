//! Sending: each connection that has something is sent to once per turn, all in one entry into
//! the kernel.
//!
//! Every send is `MSG_DONTWAIT | MSG_WAITALL`: the kernel takes what fits now and never retries by
//! itself. So when the entry has returned, it reads none of our memory any more, whatever becomes
//! of the connection; a closed connection frees its buffers at once. The rest of a partial send
//! waits here, as the same [`Transmit`], until a poll says that the socket is writable.
//!
//! A send of an open connection is silent (SKIP_SUCCESS): no completion means that everything was
//! taken. The shard learns of it with the next turn. That is soon enough only if the shard does
//! not wait for it: it does when the connection's send queue was full, so large sends are not
//! silent, nor are those that follow a partial one.

use super::Net;
use super::operation::{Completion, Operation, UserData};
use super::secure::seal;
use super::socket::{Socket, SocketName, State};
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::shard::Shard;
use crate::shard::interface::Transmit;
use io_uring::{opcode, squeue};
use tracing::debug;

/// Pieces of one send at most (IOV_MAX of the kernel); the rest follows at once.
const PIECES_MAX: usize = 1024;
const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
/// From this size on a send is not silent, if the limit of the send queue is not smaller.
const LOUD_BYTES: usize = 64 << 10;

/// The sends of one turn. The lists keep their memory.
#[derive(Debug)]
pub(super) struct Sends {
    /// Sockets with something to send.
    ready: Vec<SocketName>,
    /// Sends that the kernel has, or gets with the next entry.
    under_way: Vec<Sending>,
    /// Pieces and headers of the sends under way.
    pieces: Vec<libc::iovec>,
    headers: Vec<libc::msghdr>,
    loud_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Sending {
    name: SocketName,
    bytes: usize,
    first_piece: usize,
    piece_count: usize,
    loud: bool,
}

impl Sends {
    /// `send_queue_bytes_max`: at what size of a send queue the shard holds things back.
    pub(super) fn new(send_queue_bytes_max: u32) -> Self {
        Self {
            ready: Vec::new(),
            under_way: Vec::new(),
            pieces: Vec::new(),
            headers: Vec::new(),
            loud_bytes: LOUD_BYTES.min(send_queue_bytes_max as usize),
        }
    }

    pub(super) fn push_ready(&mut self, name: SocketName) {
        self.ready.push(name);
    }

    /// Lays the records of a secure connection out.
    fn plan_sealed(&mut self, name: SocketName, records: &[u8], loud: bool) {
        let first_piece = self.pieces.len();
        self.push_piece(records);
        self.under_way.push(Sending {
            name,
            bytes: records.len(),
            first_piece,
            piece_count: 1,
            loud: loud || records.len() >= self.loud_bytes,
        });
    }

    fn push_piece(&mut self, slice: &[u8]) {
        self.pieces.push(libc::iovec {
            iov_base: slice.as_ptr().cast_mut().cast(),
            iov_len: slice.len(),
        });
    }

    /// Lays the next pieces of `transmit` out.
    fn plan(&mut self, name: SocketName, transmit: &Transmit, loud: bool) {
        let first_piece = self.pieces.len();
        let mut bytes = 0;
        for slice in transmit.slices().take(PIECES_MAX) {
            bytes += slice.len();
            self.push_piece(slice);
        }
        let all = bytes == transmit.bytes();
        self.under_way.push(Sending {
            name,
            bytes,
            first_piece,
            piece_count: self.pieces.len() - first_piece,
            loud: loud || !all || bytes >= self.loud_bytes,
        });
    }
}

impl Net {
    /// The shard has bytes for a connection.
    pub(super) fn begin_transmit(
        &mut self,
        shard: &mut Shard,
        connection: ConnectionId,
        transmit: Box<Transmit>,
    ) {
        let name = self.sockets.of(connection);
        match name.and_then(|name| Some((name, self.sockets.named_mut(name)?))) {
            Some((name, socket)) if !transmit.is_empty() => {
                assert!(
                    socket.transmit.is_none(),
                    "a transmit for a connection that has one under way"
                );
                socket.transmit = Some(transmit);
                self.sends.push_ready(name);
            }
            _ => shard.recycle(transmit),
        }
    }

    /// Queues one send for each socket that has something, for the next entry.
    pub(super) fn queue_sends(&mut self) {
        debug_assert!(self.sends.under_way.is_empty());
        let mut ready = std::mem::take(&mut self.sends.ready);
        for name in ready.drain(..) {
            self.plan_send(name);
        }
        self.sends.ready = ready;
        // Only now the lists do not move any more.
        self.sends.headers.reserve(self.sends.under_way.len());
        for index in 0..self.sends.under_way.len() {
            self.queue_send(index);
        }
    }

    fn plan_send(&mut self, name: SocketName) {
        let Some(socket) = self.sockets.named_mut(name) else {
            return;
        };
        if socket.writable_armed {
            return;
        }
        let loud = socket.was_blocked || !matches!(socket.state, State::Open(_));
        let Some(tls) = &mut socket.tls else {
            if let Some(transmit) = &socket.transmit {
                self.sends.plan(name, transmit, loud);
            }
            return;
        };
        let is_leaving = matches!(socket.state, State::Moving(_)) && socket.transmit.is_none();
        // The shard and the stream itself may both have asked for a send in this turn.
        if tls.sending || is_leaving {
            return;
        }
        let transmit = socket.transmit.as_deref_mut();
        let is_sealed = transmit.is_none_or(|it| seal(tls, it, &mut self.secure.buffers));
        if !is_sealed {
            self.secure.unsealed.push(name);
        } else if !tls.unsent().is_empty() {
            tls.sending = true;
            // The shard waits for the end of a large transmit, however small its last part is.
            tls.in_parts |= socket.transmit.as_ref().is_some_and(|it| !it.is_empty());
            let loud = loud || tls.in_parts;
            self.sends.plan_sealed(name, tls.unsent(), loud);
        }
    }

    fn queue_send(&mut self, index: usize) {
        let Sending {
            name,
            first_piece,
            piece_count,
            loud,
            ..
        } = self.sends.under_way[index];
        let target = self.rings.fixed(name.slot);
        let pieces = &mut self.sends.pieces[first_piece..][..piece_count];
        let entry = if let [piece] = pieces {
            let length = u32::try_from(piece.iov_len).unwrap_or(u32::MAX);
            opcode::Send::new(target, piece.iov_base.cast_const().cast(), length)
                .flags(FLAGS)
                .build()
        } else {
            // SAFETY: all zeros is a valid msghdr.
            let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
            header.msg_iov = pieces.as_mut_ptr();
            header.msg_iovlen = piece_count;
            self.sends.headers.push(header);
            let header = &raw const self.sends.headers[self.sends.headers.len() - 1];
            #[allow(clippy::cast_sign_loss, reason = "a set of flags")]
            opcode::SendMsg::new(target, header)
                .flags(FLAGS as u32)
                .build()
        };
        let entry = if loud {
            entry
        } else {
            entry.flags(squeue::Flags::SKIP_SUCCESS)
        };
        self.counters.sends += 1;
        // Pieces, headers and the transmit stay until the entry has returned: `settle_sends`
        // clears them, and no socket is closed between here and there.
        let user_data = UserData::new(Operation::Send, name.slot, name.generation);
        self.rings.push_at(name.slot, entry, user_data);
    }

    /// Notes what the kernel said of a send; first of all completions of an entry.
    pub(super) fn note_send(&mut self, completion: Completion) {
        let name = SocketName {
            slot: completion.user_data.index(),
            generation: completion.user_data.generation(),
        };
        if let Some(socket) = self.sockets.named_mut(name) {
            socket.send_result = Some(completion.result);
        }
    }

    /// After an entry: all sends under way are over, one way or the other.
    pub(super) fn settle_sends(&mut self, shard: &mut Shard, now: Instant) {
        let mut under_way = std::mem::take(&mut self.sends.under_way);
        for sending in under_way.drain(..) {
            self.settle_send(shard, now, sending);
        }
        self.sends.under_way = under_way;
        self.sends.pieces.clear();
        self.sends.headers.clear();
        while let Some(name) = self.secure.unsealed.pop() {
            self.on_send_failed(shard, now, name, libc::EKEYEXPIRED);
        }
    }

    fn settle_send(&mut self, shard: &mut Shard, now: Instant, sending: Sending) {
        let Some(socket) = self.sockets.named_mut(sending.name) else {
            return;
        };
        if let Some(tls) = &mut socket.tls {
            tls.sending = false;
        }
        match sent_bytes(socket.send_result.take(), sending.bytes) {
            Ok(count) => self.on_sent(shard, now, sending, count),
            Err(error) => self.on_send_failed(shard, now, sending.name, error),
        }
    }

    fn on_sent(&mut self, shard: &mut Shard, now: Instant, sending: Sending, count: usize) {
        let Some(socket) = self.sockets.named_mut(sending.name) else {
            return;
        };
        match (&mut socket.tls, &mut socket.transmit) {
            (Some(tls), _) => tls.advance(count, &mut self.secure.buffers),
            (None, Some(transmit)) => transmit.advance(count),
            (None, None) => return,
        }
        if !socket.has_unsent() {
            self.on_transmitted(shard, now, sending.name);
        } else if count == sending.bytes {
            self.sends.push_ready(sending.name);
        } else {
            self.on_blocked(shard, now, sending.name, count);
        }
    }

    fn on_transmitted(&mut self, shard: &mut Shard, now: Instant, name: SocketName) {
        let Some(socket) = self.sockets.named_mut(name) else {
            return;
        };
        socket.was_blocked = false;
        if let Some(tls) = &mut socket.tls {
            tls.in_parts = false;
        }
        // Without one it was the TLS stream's own.
        let transmit = socket.transmit.take();
        if let State::Open(connection) = socket.state {
            if let Some(transmit) = transmit {
                shard.on_transmitted(now, connection, transmit);
            }
            return;
        }
        if let Some(transmit) = transmit {
            shard.recycle(transmit);
        }
        let socket = self.sockets.named(name);
        match socket.map(|socket| &socket.state) {
            Some(State::Closing(_)) => self.advance_close(shard, now, name),
            Some(State::Moving(_)) => self.try_move(shard, name),
            _ => {}
        }
    }

    /// The socket did not take everything: waits until it is writable.
    fn on_blocked(&mut self, shard: &mut Shard, now: Instant, name: SocketName, count: usize) {
        self.counters.sends_partial += 1;
        let Some(socket) = self.sockets.named_mut(name) else {
            return;
        };
        let progress = count > 0 || !socket.was_blocked;
        socket.was_blocked = true;
        socket.writable_armed = true;
        // The deadline for progress does not start again without progress.
        if progress
            && socket.transmit.is_some()
            && let State::Open(connection) = socket.state
        {
            shard.on_transmit_blocked(now, connection);
        }
        #[allow(clippy::cast_sign_loss, reason = "a set of flags")]
        let events = libc::POLLOUT as u32;
        let entry = opcode::PollAdd::new(self.rings.fixed(name.slot), events).build();
        let user_data = UserData::new(Operation::Writable, name.slot, name.generation);
        self.rings.push_at(name.slot, entry, user_data);
    }

    pub(super) fn on_writable(&mut self, completion: Completion) {
        let name = SocketName {
            slot: completion.user_data.index(),
            generation: completion.user_data.generation(),
        };
        if let Some(socket) = self.sockets.named_mut(name) {
            socket.writable_armed = false;
            self.sends.push_ready(name);
        }
    }

    fn on_send_failed(&mut self, shard: &mut Shard, now: Instant, name: SocketName, error: i32) {
        self.counters.sends_failed += 1;
        let connection = self.sockets.named(name).and_then(Socket::open_connection);
        debug!(slot = name.slot, ?connection, error, "send failed");
        match connection {
            Some(connection) => self.on_network_closed(shard, now, name, connection),
            None => self.release_counted(shard, name),
        }
    }
}

/// How many of `planned` bytes the socket took. No completion: all.
fn sent_bytes(result: Option<i32>, planned: usize) -> Result<usize, i32> {
    match result {
        None => Ok(planned),
        Some(count @ 0..) => Ok(usize::try_from(count).unwrap_or_default().min(planned)),
        Some(error) if [libc::EAGAIN, libc::EINTR].contains(&-error) => Ok(0),
        Some(error) => Err(-error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_means_everything_was_taken() {
        assert_eq!(sent_bytes(None, 10), Ok(10));
        assert_eq!(sent_bytes(Some(10), 10), Ok(10));
        assert_eq!(sent_bytes(Some(3), 10), Ok(3));
        assert_eq!(sent_bytes(Some(-libc::EAGAIN), 10), Ok(0));
        assert_eq!(sent_bytes(Some(-libc::EPIPE), 10), Err(libc::EPIPE));
    }
}
