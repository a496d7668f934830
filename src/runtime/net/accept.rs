//! Accepting: several one-shot accepts per listener, each with room for the peer's address, into
//! direct descriptors.
//!
//! Accepting stops when slots, descriptors or memory are short and goes on when a slot becomes
//! free or after a pause; clients wait in the kernel's backlog meanwhile, existing ones notice
//! nothing.

use super::Net;
use super::memory::Pages;
use super::operation::{Completion, Operation, UserData};
use crate::base::time::Instant;
use crate::runtime::listen::AddressStorage;
use crate::runtime::log::LogInterval;
use crate::shard::Shard;
use crate::shard::interface::ConnectionOrigin;
use io_uring::{opcode, squeue, types};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tracing::{debug, info, warn};

/// Accepts in flight per listening socket: a burst of connections is taken in one turn up to this
/// many.
const ACCEPTS_PER_LISTENER: usize = 16;
/// Pause after an accept that failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);
/// Slots that accepting leaves free, for connections that arrive from other cores.
pub(crate) const SLOTS_RESERVED: u32 = 32;

/// One listening socket of this core.
#[derive(Debug)]
pub(crate) struct ListenSocket {
    pub(crate) socket: OwnedFd,
    /// Position of the listener in the configuration.
    pub(crate) listener: u16,
}

/// What all cores share of one configured listener. Changed at accept and close only, never by
/// traffic.
#[derive(Debug)]
pub(crate) struct ListenerLoad {
    connections: AtomicU32,
    connections_max: u32,
}

impl ListenerLoad {
    pub(crate) const fn new(connections_max: u32) -> Self {
        Self {
            connections: AtomicU32::new(0),
            connections_max,
        }
    }

    /// Counts one more connection unless the listener is full.
    fn enter(&self) -> bool {
        let admitted = self.connections.fetch_add(1, Ordering::Relaxed) < self.connections_max;
        if !admitted {
            self.leave();
        }
        admitted
    }

    fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

/// The accepts of one core.
#[derive(Debug)]
pub(super) struct Accepts {
    sockets: Vec<ListenSocket>,
    loads: Vec<Arc<ListenerLoad>>,
    /// One [`AddressStorage`] per accept, written by the kernel while that one is in flight.
    addresses: Pages,
    /// The ring on which each accept is in flight.
    armed: Vec<Option<usize>>,
    /// Accepting stands still until then because of a failure.
    paused_until: Option<Instant>,
    /// Accepting stands still; said once when it begins.
    stopped: bool,
    /// The broker stops: never again.
    closed: bool,
    /// Nothing is accepted before [`Net::open_listeners`].
    open: bool,
    warning: LogInterval,
}

impl Accepts {
    pub(super) fn new(
        sockets: Vec<ListenSocket>,
        loads: Vec<Arc<ListenerLoad>>,
    ) -> io::Result<Self> {
        let count = sockets.len() * ACCEPTS_PER_LISTENER;
        Ok(Self {
            sockets,
            loads,
            addresses: Pages::new(count.max(1) * size_of::<AddressStorage>())?,
            armed: vec![None; count],
            paused_until: None,
            stopped: false,
            closed: false,
            open: false,
            warning: LogInterval::new(Duration::from_secs(1)),
        })
    }

    fn storage(&self, accept: usize) -> *mut AddressStorage {
        self.addresses
            .at(accept * size_of::<AddressStorage>())
            .cast()
    }

    /// The address that the kernel wrote for an accept that is over.
    fn peer(&self, accept: usize) -> Option<SocketAddr> {
        // SAFETY: inside the pages and aligned; the accept is over, so the kernel is done.
        let storage = unsafe { self.storage(accept).read() };
        storage.decode()
    }

    /// Accepts in flight on a ring: slots that may be taken.
    pub(super) fn in_flight(&self, ring: usize) -> u32 {
        let on_ring = self.armed.iter().filter(|armed| **armed == Some(ring));
        u32::try_from(on_ring.count()).unwrap_or(u32::MAX)
    }

    /// When accepting goes on by itself.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.paused_until
    }

    /// The broker stops.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    fn leave(&self, listener: u16) {
        if let Some(load) = self.loads.get(usize::from(listener)) {
            load.leave();
        }
    }
}

impl Net {
    /// Arms the accepts that are not in flight, as many as there are slots for. Called at the end
    /// of each turn.
    pub(super) fn arm_accepts(&mut self, now: Instant) {
        let accepts = &self.accepts;
        if accepts.closed || !accepts.open || !accepts.armed.contains(&None) {
            return;
        }
        if accepts.paused_until.is_some_and(|until| now < until) {
            return;
        }
        self.accepts.paused_until = None;
        let ring = self.filling.ring();
        let mut room = self.accepts_room(ring);
        if room == 0 {
            self.stop_accepting(now, "the table of direct descriptors is full");
            return;
        }
        self.accepts.stopped = false;
        for accept in 0..self.accepts.armed.len() {
            if room > 0 && self.accepts.armed[accept].is_none() {
                self.arm_accept(accept, ring);
                room -= 1;
            }
        }
    }

    /// From the next [`Net::drain`] on clients are accepted.
    pub(crate) const fn open_listeners(&mut self) {
        self.accepts.open = true;
    }

    /// Slots of a ring that accepts may still fill.
    pub(super) fn accepts_room(&self, ring: usize) -> u32 {
        let taken = self.sockets.count_in(ring) + self.accepts.in_flight(ring);
        let slots = self.rings.slots_per_ring();
        slots.saturating_sub(taken + SLOTS_RESERVED)
    }

    fn arm_accept(&mut self, accept: usize, ring: usize) {
        let storage = self.accepts.storage(accept);
        // SAFETY: inside the pages and aligned; this accept is not in flight, so the memory is
        // ours.
        unsafe { storage.write(AddressStorage::empty()) };
        // SAFETY: a field of the storage just written.
        let address = unsafe { &raw mut (*storage).address };
        // SAFETY: a field of the storage just written.
        let length = unsafe { &raw mut (*storage).length };
        let socket = &self.accepts.sockets[accept / ACCEPTS_PER_LISTENER].socket;
        let entry = opcode::Accept::new(types::Fd(socket.as_raw_fd()), address.cast(), length)
            .file_index(Some(types::DestinationSlot::auto_target()))
            .build();
        #[allow(
            clippy::cast_possible_truncation,
            reason = "listeners times a small constant"
        )]
        let user_data = UserData::new(Operation::Accept, accept as u32, 0);
        // The address storage lives as long as `Net`, which ends all operations before it goes.
        self.rings.push_to(ring, entry, user_data);
        self.accepts.armed[accept] = Some(ring);
    }

    pub(super) fn on_accept(&mut self, shard: &mut Shard, now: Instant, completion: Completion) {
        let accept = completion.user_data.index() as usize;
        let ring = self.accepts.armed[accept].take().unwrap_or_default();
        match u32::try_from(completion.result) {
            Ok(fixed) => {
                let slot = self.rings.slot(ring, fixed);
                self.on_accepted(shard, now, accept, slot);
            }
            Err(_) => self.on_accept_failed(now, -completion.result),
        }
    }

    fn on_accepted(&mut self, shard: &mut Shard, now: Instant, accept: usize, slot: u32) {
        let listener = self.accepts.sockets[accept / ACCEPTS_PER_LISTENER].listener;
        let origin = ConnectionOrigin {
            peer: self.accepts.peer(accept),
            listener,
        };
        self.counters.accepts += 1;
        let name = self.occupy(slot, origin);
        let load = &self.accepts.loads[usize::from(listener)];
        let full = self.accepts.closed || !load.enter();
        if full {
            self.refuse(now, slot, origin, "the listener's connections");
            self.release(shard, name);
            return;
        }
        let opened = match self.secure(name, listener) {
            true => shard.on_connection_opened(now, origin),
            false => None,
        };
        match opened {
            Some(connection) => {
                debug!(?connection, slot, peer = ?origin.peer, listener, "accepted");
                self.sockets.open(name, connection);
                self.want_receive(name);
            }
            None => {
                self.refuse(now, slot, origin, "the core's connections");
                self.accepts.leave(listener);
                self.release(shard, name);
            }
        }
    }

    fn refuse(&mut self, now: Instant, slot: u32, origin: ConnectionOrigin, limit: &'static str) {
        self.counters.accepts_refused += 1;
        if let Some(suppressed) = self.log.take(now) {
            let peer = origin.peer;
            info!(
                ?peer,
                slot, limit, suppressed, "connection refused: a limit is reached"
            );
        }
    }

    fn on_accept_failed(&mut self, now: Instant, error: i32) {
        match error {
            // The connection went away before it was accepted, or a signal came: just again.
            libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO | libc::EPERM => {}
            _ if self.accepts.closed => {}
            _ => {
                let error = io::Error::from_raw_os_error(error);
                self.pause_accepting(now, &error.to_string());
            }
        }
    }

    pub(super) fn pause_accepting(&mut self, now: Instant, reason: &str) {
        self.accepts.paused_until = Some(now + PAUSE);
        self.stop_accepting(now, reason);
    }

    fn stop_accepting(&mut self, now: Instant, reason: &str) {
        if !self.accepts.stopped {
            self.accepts.stopped = true;
            self.counters.accept_stops += 1;
        }
        if self.accepts.warning.take(now) {
            let connections = self.sockets.count();
            warn!(
                connections,
                slots = self.rings.slots_max(),
                reason,
                "accepting stands still until a connection ends"
            );
        }
    }

    /// A connection of this listener is gone.
    pub(super) fn leave_listener(&mut self, listener: u16) {
        self.accepts.leave(listener);
    }

    /// Stops listening for good; connections that nobody has accepted are refused.
    pub(crate) fn close_listeners(&mut self) {
        self.accepts.closed = true;
        for socket in &self.accepts.sockets {
            let descriptor = types::Fd(socket.socket.as_raw_fd());
            let entry = opcode::Shutdown::new(descriptor, libc::SHUT_RDWR)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS);
            self.rings.push(entry, UserData::plain(Operation::Ignored));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_admits_no_more_than_its_maximum() {
        let load = ListenerLoad::new(2);
        assert!(load.enter() && load.enter());
        assert!(!load.enter());
        load.leave();
        assert!(load.enter());
        assert_eq!(load.connections(), 2);
    }
}
