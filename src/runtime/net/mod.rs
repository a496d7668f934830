//! The sockets of one core on its own io_uring, and its file writes beside them.
//!
//! The only place that knows how connections are made of kernel objects: another way to do
//! sockets replaces this module. Its user, the core's turn, sees six calls: [`Net::enter`] (into
//! the kernel), [`Net::settle`] (what was sent), [`Net::complete`] (everything else that
//! happened), [`Net::on_deadlines`], [`Net::drain`] (what the shard wants done) and
//! [`Net::adopt`] (a connection from another core). Knows no MQTT.

mod accept;
mod buffer_ring;
mod close;
mod file;
mod filling;
mod hand_over;
mod memory;
mod operation;
mod receive;
mod ring;
mod rings;
mod secure;
mod socket;
mod transmit;

pub(crate) use accept::{ListenSocket, ListenerLoad, SLOTS_RESERVED};
pub(crate) use file::{FileDone, FileKind, FileOpen, FileRead, FileWrite};
pub(crate) use memory::Pages;
pub(crate) use ring::Wait;

use super::bell::Bell;
use super::counters::NetCounters;
use super::error::ServeError;
use super::link::Arrival;
use super::log::LogBudget;
use super::tls::Gate;
use crate::base::ids::ShardId;
use crate::base::time::Instant;
use crate::shard::Shard;
use accept::Accepts;
use close::CloseDeadlines;
use filling::Filling;
use io_uring::{opcode, squeue, types};
use operation::{Completion, Operation, UserData};
use ring::Notice;
use rings::Rings;
use secure::Secure;
use socket::Sockets;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use transmit::Sends;

/// What a core's sockets are made with.
#[derive(Debug)]
pub(crate) struct NetSettings {
    pub(crate) sockets: Vec<ListenSocket>,
    /// One per configured listener, shared by all cores.
    pub(crate) loads: Vec<Arc<ListenerLoad>>,
    /// By listener; `None`: it speaks no TLS.
    pub(crate) gates: Vec<Option<Arc<Gate>>>,
    /// Entries of each ring's table of direct descriptors; the same on all cores.
    pub(crate) slots: u32,
    /// Rings that a core may have.
    pub(crate) rings_max: usize,
    /// At what size of a connection's send queue the shard holds things back.
    pub(crate) send_queue_bytes_max: u32,
    /// Whether the core is to see events without entering the kernel: [`Net::has_events`].
    pub(crate) spins: bool,
}

/// What happened besides sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Woken {
    /// A thread without a ring woke the core.
    pub(crate) by_event: bool,
    /// One of the executor's rings has something; one bit each.
    pub(crate) by_reactor: u32,
}

/// All sockets of a core.
#[derive(Debug)]
pub(crate) struct Net {
    sockets: Sockets,
    accepts: Accepts,
    sends: Sends,
    secure: Secure,
    close_deadlines: CloseDeadlines,
    /// Connections that have left for another core; the core's turn takes them to the links.
    departures: Vec<(ShardId, Box<Arrival>)>,
    /// Operations on files that are over; the core's turn takes them to the disk.
    files_done: Vec<FileDone>,
    /// By shard; they say where the descriptors of its connections are sent.
    peers: Vec<Arc<Bell>>,
    /// The ring that takes new connections.
    filling: Filling,
    rings: Rings,
    completions: Vec<Completion>,
    woken: Woken,
    /// Of the present turn, for the log.
    now: Instant,
    counters: NetCounters,
    log: LogBudget,
}

impl Net {
    /// Makes the ring; accepting starts after [`Net::open_listeners`].
    ///
    /// # Errors
    /// Each with what to do, see [`ServeError`].
    pub(crate) fn new(settings: NetSettings) -> Result<Self, ServeError> {
        let NetSettings {
            sockets,
            loads,
            gates,
            slots,
            rings_max,
            send_queue_bytes_max,
            spins,
        } = settings;
        let notice = if spins { Notice::Flag } else { Notice::None };
        let rings = Rings::new(slots, rings_max, notice)?;
        let accepts = Accepts::new(sockets, loads)
            .map_err(|error| ServeError::from_ring("accept addresses", error))?;
        Ok(Self {
            sockets: Sockets::new(slots, rings.slots_max()),
            accepts,
            sends: Sends::new(send_queue_bytes_max),
            secure: Secure::new(gates),
            close_deadlines: CloseDeadlines::default(),
            departures: Vec::new(),
            files_done: Vec::new(),
            peers: Vec::new(),
            filling: Filling::default(),
            rings,
            completions: Vec::new(),
            woken: Woken::default(),
            now: Instant::ZERO,
            counters: NetCounters::default(),
            log: LogBudget::new(),
        })
    }

    /// The descriptor of the ring in which the core sleeps, for other cores' messages.
    pub(crate) fn ring_descriptor(&self) -> RawFd {
        self.rings.descriptor(0)
    }

    /// The bells of all cores, by shard.
    pub(crate) fn set_peers(&mut self, peers: Vec<Arc<Bell>>) {
        self.peers = peers;
    }

    /// Sockets that are open in any way.
    pub(crate) fn socket_count(&self) -> u32 {
        self.sockets.count()
    }

    pub(crate) fn counters(&self) -> NetCounters {
        let mut counters = self.counters;
        counters.enters = self.rings.enters();
        counters.rings = self.rings.count() as u64;
        counters
    }

    /// Counts that only the core's turn sees.
    pub(crate) const fn counters_mut(&mut self) -> &mut NetCounters {
        &mut self.counters
    }

    /// When [`Net::on_deadlines`] wants to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let close = self.close_deadlines.next();
        let accept = self.accepts.deadline();
        let burst = self.rings.deadline();
        let handshake = self.secure.deadline();
        let all = close.into_iter().chain(accept).chain(burst);
        all.chain(handshake).min()
    }

    /// Polls the descriptor that other threads wake this core with.
    pub(crate) fn watch_event(&mut self, event: RawFd) {
        self.watch(event, UserData::plain(Operation::Event));
    }

    /// Polls one of the executor's rings; `index` comes back in [`Woken::by_reactor`].
    pub(crate) fn watch_reactor(&mut self, index: u32, ring: RawFd) {
        self.watch(ring, UserData::new(Operation::Reactor, index, 0));
    }

    fn watch(&mut self, descriptor: RawFd, user_data: UserData) {
        #[allow(clippy::cast_sign_loss, reason = "a set of flags")]
        let events = libc::POLLIN as u32;
        let entry = opcode::PollAdd::new(types::Fd(descriptor), events).build();
        self.rings.push(entry, user_data);
    }

    /// Wakes a sleeping core, with the next entry into the kernel. A core that is gone cannot be
    /// woken and need not be.
    pub(crate) fn ring_doorbell(&mut self, ring: RawFd) {
        self.counters.doorbells += 1;
        let there = UserData::plain(Operation::Doorbell);
        let entry = opcode::MsgRingData::new(types::Fd(ring), 0, there.0, None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        self.rings.push(entry, UserData::plain(Operation::Ignored));
    }

    /// Gives the kernel everything that is queued, waits, and takes what has happened.
    ///
    /// # Errors
    /// The ring is unusable: the core ends.
    pub(crate) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.rings.enter(wait, &mut self.completions)
    }

    /// Whether [`Net::complete`] has something to do.
    pub(crate) const fn has_completions(&self) -> bool {
        !self.completions.is_empty()
    }

    /// Whether the kernel has something, or may have, which the next [`Net::enter`] brings. A few
    /// loads and no call; for a core that spins ([`NetSettings::spins`]).
    pub(crate) fn has_events(&mut self) -> bool {
        self.rings.has_events()
    }

    /// Tells the shard what was sent. First after [`Net::enter`]: whether a silent send is over
    /// is known only before anything new is queued.
    pub(crate) fn settle(&mut self, shard: &mut Shard, now: Instant) {
        self.now = now;
        for index in 0..self.completions.len() {
            let completion = self.completions[index];
            if completion.user_data.operation() == Operation::Send {
                self.note_send(completion);
            }
        }
        self.settle_sends(shard, now);
    }

    /// Feeds the shard everything else that has happened.
    pub(crate) fn complete(&mut self, shard: &mut Shard, now: Instant) {
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            self.on_completion(shard, now, completion);
        }
        self.completions = completions;
        self.step_handshake(shard, now);
    }

    fn on_completion(&mut self, shard: &mut Shard, now: Instant, completion: Completion) {
        match completion.user_data.operation() {
            Operation::Accept => self.on_accept(shard, now, completion),
            Operation::Receive => self.on_receive(shard, now, completion),
            Operation::Writable => self.on_writable(completion),
            Operation::ShutDown => self.on_shut_down(shard, now, completion),
            Operation::HandOver => self.on_hand_over_sent(shard, completion),
            Operation::File => self.on_file_done(completion),
            Operation::Event => self.woken.by_event = true,
            Operation::Reactor => self.woken.by_reactor |= 1 << completion.user_data.index(),
            Operation::Send | Operation::Doorbell | Operation::Ring | Operation::Ignored => {}
        }
    }

    /// What woke the core besides sockets, since the last call.
    pub(crate) fn take_woken(&mut self) -> Woken {
        std::mem::take(&mut self.woken)
    }

    pub(crate) fn on_deadlines(&mut self, shard: &mut Shard, now: Instant) {
        self.on_close_deadlines(shard, now);
        self.rings.on_deadline(now);
    }

    /// Does what the shard wants done with sockets.
    pub(crate) fn drain(&mut self, shard: &mut Shard, now: Instant) {
        while let Some(connection) = shard.poll_resume() {
            if let Some(name) = self.sockets.of(connection) {
                self.want_receive(name);
            }
        }
        while let Some((connection, transmit)) = shard.poll_transmit() {
            self.begin_transmit(shard, connection, transmit);
        }
        // After the transmits: the one under way goes out before the last bytes.
        while let Some(closing) = shard.poll_close() {
            self.begin_close(shard, now, closing);
        }
        self.queue_sends();
        self.prune_close_deadlines();
        self.choose_filling(now);
        self.arm_accepts(now);
    }

    /// The next connection that has left for another core.
    pub(crate) fn poll_departure(&mut self) -> Option<(ShardId, Box<Arrival>)> {
        self.departures.pop()
    }

    /// Closes everything at once, for the end of the core.
    pub(crate) fn release_all(&mut self, shard: &mut Shard) {
        let names: Vec<_> = self.sockets.names().collect();
        for name in names {
            self.release_at_once(shard, name);
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // The buffers and addresses that the kernel writes to are freed after this.
        if let Err(error) = self.rings.cancel_all() {
            tracing::warn!(%error, "operations of the ring could not be ended");
        }
    }
}
