//! The sockets of one core, by their slot in the ring's table of direct descriptors.
//!
//! The kernel chooses the slot at accept and at a hand-over. A slot's generation grows with each
//! use, so that a late completion cannot be taken for the next socket's. The shard's own names
//! ([`ConnectionId`]) lead to slots as long as the shard knows the connection.

use super::operation::GENERATION_MASK;
use crate::base::ids::{ConnectionId, ShardId};
use crate::runtime::bell::Arrivals;
use crate::runtime::tls::TlsStream;
use crate::shard::interface::{CloseCause, ConnectionOrigin, HandOver, Transmit};

/// One use of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SocketName {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// What becomes of the socket.
#[derive(Debug)]
pub(super) enum State {
    /// The slot is free.
    Free,
    /// Just arrived; the shard is being asked.
    New,
    /// The shard knows it.
    Open(ConnectionId),
    /// The shard has ended it in this turn; `poll_close` will say how. Nothing is fed any more.
    Ended(ConnectionId),
    /// The last bytes are on their way; the shard has forgotten it.
    Closing(Box<Closing>),
    /// On its way to its home core.
    Moving(Box<Moving>),
}

#[derive(Debug)]
pub(super) struct Closing {
    pub(super) cause: CloseCause,
    pub(super) last: Option<Box<Transmit>>,
    pub(super) shut_down: ShutDown,
    /// To be closed as soon as the shutdown allows it.
    pub(super) is_due: bool,
}

impl Closing {
    pub(super) fn new(cause: CloseCause, last: Option<Box<Transmit>>) -> Box<Self> {
        Box::new(Self {
            cause,
            last,
            shut_down: ShutDown::Before,
            is_due: false,
        })
    }
}

/// How far the peer was told that nothing more comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ShutDown {
    Before,
    UnderWay,
    Done,
}

#[derive(Debug)]
pub(super) struct Moving {
    pub(super) target: ShardId,
    pub(super) hand_over: HandOver,
    /// The descriptor is on its way to this ring.
    pub(super) sent_to: Option<Arrivals>,
}

/// One socket. An idle one costs this and nothing else in user memory.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) state: State,
    /// What is being sent, or waits for the socket to become writable.
    pub(super) transmit: Option<Box<Transmit>>,
    /// Stands between the socket's bytes and the shard's.
    pub(super) tls: Option<Box<TlsStream>>,
    pub(super) origin: ConnectionOrigin,
    generation: u32,
    /// The kernel's answer to the send under way; `None`: it took everything.
    pub(super) send_result: Option<i32>,
    /// Bytes from the peer are wanted.
    pub(super) receive_wanted: bool,
    /// A multishot receive is with the kernel.
    pub(super) receive_armed: bool,
    /// And was asked to end.
    pub(super) receive_cancelled: bool,
    /// A poll for writability is with the kernel: there is no point in sending before.
    pub(super) writable_armed: bool,
    /// The peer has said that nothing more comes.
    pub(super) peer_ended: bool,
    /// The present transmit was taken in parts: its end must wake the core.
    pub(super) was_blocked: bool,
}

// An idle connection's share of the runtime in the budget of 1 KiB.
const _: () = assert!(size_of::<Socket>() <= 96);

impl Socket {
    const fn free() -> Self {
        Self {
            state: State::Free,
            transmit: None,
            tls: None,
            origin: ConnectionOrigin {
                peer: None,
                listener: 0,
            },
            generation: 0,
            send_result: None,
            receive_wanted: false,
            receive_armed: false,
            receive_cancelled: false,
            writable_armed: false,
            peer_ended: false,
            was_blocked: false,
        }
    }

    /// Whether bytes wait for the socket.
    pub(super) fn has_unsent(&self) -> bool {
        let transmit = self.transmit.as_ref();
        let tls = self.tls.as_ref();
        transmit.is_some_and(|transmit| !transmit.is_empty())
            || tls.is_some_and(|tls| !tls.unsent().is_empty())
    }

    /// The shard's name for it, while the shard knows it and takes input.
    pub(super) const fn open_connection(&self) -> Option<ConnectionId> {
        match self.state {
            State::Open(connection) => Some(connection),
            _ => None,
        }
    }
}

/// All sockets of a core. Grows with the highest slot in use, at most to the rings' tables.
#[derive(Debug)]
pub(super) struct Sockets {
    slots: Vec<Socket>,
    /// By [`ConnectionId::index`]: its generation and slot.
    by_connection: Vec<Option<(u32, u32)>>,
    slots_per_ring: u32,
    /// Sockets in use, by ring.
    counts: Vec<u32>,
}

impl Sockets {
    /// For rings with tables of `slots_per_ring` entries and `slots_max` in all. The memory is
    /// reserved and not touched, so that growing copies nothing.
    pub(super) fn new(slots_per_ring: u32, slots_max: usize) -> Self {
        Self {
            slots: Vec::with_capacity(slots_max),
            by_connection: Vec::with_capacity(slots_max),
            slots_per_ring,
            counts: Vec::new(),
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.counts.iter().sum()
    }

    /// Sockets in the table of one ring.
    pub(super) fn count_in(&self, ring: usize) -> u32 {
        self.counts.get(ring).copied().unwrap_or(0)
    }

    fn count_mut(&mut self, slot: u32) -> &mut u32 {
        let ring = (slot / self.slots_per_ring) as usize;
        if ring >= self.counts.len() {
            self.counts.resize(ring + 1, 0);
        }
        &mut self.counts[ring]
    }

    /// The kernel has put a socket into `slot`.
    pub(super) fn occupy(&mut self, slot: u32, origin: ConnectionOrigin) -> SocketName {
        let index = slot as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Socket::free);
        }
        let socket = &mut self.slots[index];
        assert!(
            matches!(socket.state, State::Free),
            "the kernel gave a slot that is in use"
        );
        let generation = (socket.generation + 1) & GENERATION_MASK;
        *socket = Socket::free();
        socket.generation = generation;
        socket.origin = origin;
        socket.state = State::New;
        *self.count_mut(slot) += 1;
        SocketName { slot, generation }
    }

    /// The shard knows the socket by this name now.
    pub(super) fn open(&mut self, name: SocketName, connection: ConnectionId) {
        let index = connection.index as usize;
        if index >= self.by_connection.len() {
            self.by_connection.resize(index + 1, None);
        }
        self.by_connection[index] = Some((connection.generation, name.slot));
        if let Some(socket) = self.named_mut(name) {
            socket.state = State::Open(connection);
        }
    }

    /// The shard has forgotten this name.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        if let Some(entry) = self.by_connection.get_mut(connection.index as usize)
            && entry.is_some_and(|(generation, _)| generation == connection.generation)
        {
            *entry = None;
        }
    }

    /// Empties the slot and returns what was in it. The caller closes the descriptor.
    pub(super) fn remove(&mut self, name: SocketName) -> Option<Socket> {
        let generation = self.named(name)?.generation;
        let mut free = Socket::free();
        free.generation = generation;
        let socket = std::mem::replace(&mut self.slots[name.slot as usize], free);
        if let State::Open(connection) | State::Ended(connection) = socket.state {
            self.forget(connection);
        }
        *self.count_mut(name.slot) -= 1;
        Some(socket)
    }

    pub(super) fn named(&self, name: SocketName) -> Option<&Socket> {
        let socket = self.slots.get(name.slot as usize)?;
        let used = !matches!(socket.state, State::Free);
        (used && socket.generation == name.generation).then_some(socket)
    }

    pub(super) fn named_mut(&mut self, name: SocketName) -> Option<&mut Socket> {
        let socket = self.slots.get_mut(name.slot as usize)?;
        let used = !matches!(socket.state, State::Free);
        (used && socket.generation == name.generation).then_some(socket)
    }

    /// The socket of a connection that the shard names.
    pub(super) fn of(&self, connection: ConnectionId) -> Option<SocketName> {
        let (generation, slot) = (*self.by_connection.get(connection.index as usize)?)?;
        (generation == connection.generation).then(|| SocketName {
            slot,
            generation: self.slots[slot as usize].generation,
        })
    }

    /// All sockets in use.
    pub(super) fn names(&self) -> impl Iterator<Item = SocketName> {
        (0u32..)
            .zip(&self.slots)
            .filter(|(_, socket)| !matches!(socket.state, State::Free))
            .map(|(slot, socket)| SocketName {
                slot,
                generation: socket.generation,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: ConnectionOrigin = ConnectionOrigin {
        peer: None,
        listener: 3,
    };

    fn connection(index: u32, generation: u32) -> ConnectionId {
        ConnectionId { index, generation }
    }

    #[test]
    fn old_name_finds_nothing_when_slot_is_used_again() {
        let mut sockets = Sockets::new(64, 64);
        let first = sockets.occupy(7, ORIGIN);
        sockets.open(first, connection(0, 0));
        assert_eq!(sockets.of(connection(0, 0)), Some(first));
        assert_eq!(sockets.remove(first).unwrap().origin, ORIGIN);
        assert!(sockets.of(connection(0, 0)).is_none());
        let second = sockets.occupy(7, ORIGIN);
        assert!(sockets.named(first).is_none());
        assert!(sockets.named(second).is_some());
        assert_eq!(sockets.count(), 1);
    }

    #[test]
    fn successor_of_a_connection_keeps_its_name_when_the_old_one_goes() {
        let mut sockets = Sockets::new(64, 64);
        let old = sockets.occupy(1, ORIGIN);
        sockets.open(old, connection(5, 0));
        sockets.forget(connection(5, 0));
        let new = sockets.occupy(2, ORIGIN);
        sockets.open(new, connection(5, 1));
        sockets.remove(old);
        assert_eq!(sockets.of(connection(5, 1)), Some(new));
        assert!(sockets.of(connection(5, 0)).is_none());
        assert_eq!(sockets.names().collect::<Vec<_>>(), [new]);
    }
}
