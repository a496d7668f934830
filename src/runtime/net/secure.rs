//! TLS between the sockets' bytes and the shard's.
//!
//! What arrives is opened in the ring's buffer and fed to the shard as plain bytes; what the shard
//! sends is sealed into the stream's own buffer, which the send reads. A handshake costs a core as
//! much as hundreds of messages, so received parts of handshakes wait in a list and each turn makes
//! one step: a storm of new clients delays the others by one step, not by all of them.

use super::Net;
use super::socket::{Closing, SocketName, State};
use crate::base::time::Instant;
use crate::runtime::tls::{Buffers, Gate, Received, TlsFault, TlsStream};
use crate::shard::Shard;
use crate::shard::interface::{CloseCause, Transmit};
use std::collections::VecDeque;
use std::sync::Arc;
use tracing::info;

/// Parts of handshakes that are no whole message yet, or whose connection has ended: looked at in
/// one turn at most.
const CHEAP_STEPS_MAX: usize = 64;

/// What the secure connections of a core share.
#[derive(Debug, Default)]
pub(super) struct Secure {
    /// By listener.
    gates: Vec<Option<Arc<Gate>>>,
    /// Connections with bytes for their handshake. A few may have ended since, or made their step
    /// already because they had to; that is found out when their turn comes.
    handshakes: VecDeque<SocketName>,
    /// Connections that can send nothing any more: closed in the next turn.
    pub(super) unsealed: Vec<SocketName>,
    pub(super) buffers: Buffers,
    /// What was opened last; keeps its memory.
    plain: Vec<u8>,
}

impl Secure {
    pub(super) fn new(gates: Vec<Option<Arc<Gate>>>) -> Self {
        Self {
            gates,
            ..Self::default()
        }
    }

    /// At once, as long as something waits for the next turn.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waits = !self.handshakes.is_empty() || !self.unsealed.is_empty();
        waits.then_some(Instant::ZERO)
    }
}

impl Net {
    /// Gives a new connection its TLS, if its listener speaks it. False: it cannot begin.
    pub(super) fn secure(&mut self, name: SocketName, listener: u16) -> bool {
        let gate = self.secure.gates.get(usize::from(listener));
        let Some(gate) = gate.and_then(Option::as_ref) else {
            return true;
        };
        let stream = TlsStream::new(gate.config());
        match (self.sockets.named_mut(name), stream) {
            (Some(socket), Ok(stream)) => {
                socket.tls = Some(Box::new(stream));
                true
            }
            _ => false,
        }
    }

    /// Bytes of a secure connection have arrived.
    pub(super) fn on_sealed_bytes(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        name: SocketName,
        buffer: u16,
        length: usize,
    ) {
        self.make_room(shard, now, name, length);
        let bytes = self.rings.bytes_mut(name.slot, buffer, length);
        let Some(socket) = self.sockets.named_mut(name) else {
            return;
        };
        let is_read = matches!(socket.state, State::Open(_) | State::Moving(_));
        let Some(tls) = socket.tls.as_mut().filter(|_| is_read) else {
            return;
        };
        let Secure {
            handshakes,
            buffers,
            plain,
            ..
        } = &mut self.secure;
        if tls.is_handshaking() {
            if !std::mem::replace(&mut tls.waits_for_step, true) {
                // Those that are half-way first: in a storm some are served soon, not all late.
                match tls.has_begun() {
                    true => handshakes.push_front(name),
                    false => handshakes.push_back(name),
                }
            }
            if let Err(fault) = tls.hold(bytes, buffers) {
                self.on_tls_fault(shard, now, name, &fault);
            }
            return;
        }
        let received = tls.open(bytes, plain, buffers);
        self.on_opened(shard, now, name, received);
    }

    /// Before `length` bytes are held. A client may send as much as it likes behind its last part
    /// of the handshake: then that part does not wait for its turn.
    fn make_room(&mut self, shard: &mut Shard, now: Instant, name: SocketName, length: usize) {
        let tls = self.sockets.named(name).and_then(|it| it.tls.as_ref());
        if tls.is_some_and(|tls| tls.is_handshaking() && !tls.can_hold(length)) {
            self.step_handshake_of(shard, now, name);
        }
    }

    /// Once per turn.
    pub(super) fn step_handshake(&mut self, shard: &mut Shard, now: Instant) {
        for _ in 0..CHEAP_STEPS_MAX {
            let Some(name) = self.secure.handshakes.pop_front() else {
                return;
            };
            if self.step_handshake_of(shard, now, name) {
                return;
            }
        }
    }

    /// False: it cost next to nothing. The connection has ended, or what came was no whole message,
    /// as from a client that sends byte by byte; nobody else is to wait for that.
    fn step_handshake_of(&mut self, shard: &mut Shard, now: Instant, name: SocketName) -> bool {
        let Some(socket) = self.sockets.named_mut(name) else {
            return false;
        };
        let is_open = matches!(socket.state, State::Open(_));
        let Some(tls) = socket.tls.as_mut().filter(|_| is_open) else {
            return false;
        };
        if !std::mem::take(&mut tls.waits_for_step) {
            return false;
        }
        let unsent_before = tls.unsent().len();
        let received = tls.step(&mut self.secure.plain, &mut self.secure.buffers);
        let is_over = !tls.is_handshaking();
        let is_dear = is_over || received.is_err() || tls.unsent().len() > unsent_before;
        self.counters.tls_handshake_steps += 1;
        self.counters.tls_handshakes += u64::from(is_over);
        self.on_opened(shard, now, name, received);
        is_dear
    }

    /// Before the peer's end is taken note of: what it sent before counts.
    pub(super) fn finish_handshake(&mut self, shard: &mut Shard, now: Instant, name: SocketName) {
        self.step_handshake_of(shard, now, name);
    }

    /// Feeds what was opened to the shard.
    fn on_opened(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        name: SocketName,
        received: Result<Received, TlsFault>,
    ) {
        let mut plain = std::mem::take(&mut self.secure.plain);
        let verdict = if plain.is_empty() {
            None
        } else {
            super::receive::feed(&mut self.sockets, shard, now, name, &plain)
        };
        plain.clear();
        self.secure.plain = plain;
        if let Some(verdict) = verdict {
            self.on_verdict(shard, name, verdict);
        }
        match received {
            Ok(Received::Open) => self.push_unsent(name),
            Ok(Received::Ended) => self.on_peer_end(shard, now, name),
            Err(fault) => self.on_tls_fault(shard, now, name, &fault),
        }
    }

    /// Sends what the stream has to say by itself.
    pub(super) fn push_unsent(&mut self, name: SocketName) {
        if self.sockets.named(name).is_some_and(|it| it.has_unsent()) {
            self.sends.push_ready(name);
        }
    }

    /// The connection cannot go on: the peer is told why, then it is closed.
    fn on_tls_fault(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        name: SocketName,
        fault: &TlsFault,
    ) {
        let Some(socket) = self.sockets.named_mut(name) else {
            return;
        };
        self.counters.tls_faults += 1;
        if let Some(suppressed) = self.log.take(now) {
            let peer = socket.origin.peer;
            info!(?peer, slot = name.slot, %fault, suppressed, "closed: TLS failed");
        }
        match socket.state {
            State::Open(connection) => {
                let cause = CloseCause::ProtocolError("TLS failed");
                socket.state = State::Closing(Closing::new(cause, None));
                // It could not be sealed any more, and would keep the alert waiting.
                let unsent = socket.transmit.take();
                self.sockets.forget(connection);
                if let Some(unsent) = unsent {
                    shard.recycle(unsent);
                }
                shard.on_connection_closed(now, connection, cause);
                self.push_unsent(name);
                self.await_close(shard, now, name);
            }
            State::Moving(_) => self.release_counted(shard, name),
            // The shard's last bytes cannot be sealed: nobody waits for them.
            State::Ended(_) | State::Closing(_) | State::New | State::Free => {}
        }
    }

    /// Says that nothing more comes. False: that is done.
    pub(super) fn say_end(&mut self, name: SocketName) -> bool {
        let Some(socket) = self.sockets.named_mut(name) else {
            return false;
        };
        let Some(tls) = &mut socket.tls else {
            return false;
        };
        let says = !socket.peer_ended && tls.end(&mut self.secure.buffers);
        if says {
            self.sends.push_ready(name);
        }
        says
    }
}

/// Seals the next part of `transmit`; false: the stream cannot.
pub(super) fn seal(tls: &mut TlsStream, transmit: &mut Transmit, buffers: &mut Buffers) -> bool {
    while !tls.is_full() {
        let Some(piece) = transmit.slices().next() else {
            return true;
        };
        match tls.seal(piece, buffers) {
            Ok(count) => transmit.advance(count),
            Err(_) => return false,
        }
    }
    true
}
