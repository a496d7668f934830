//! One core's broker: a synchronous, deterministic state machine without input or output.
//!
//! It is told what happened and what time it is (`on_*`), changes its state to the end, and keeps
//! what must go out until the driver asks for it (`poll_*`). It never waits, reads no clock and
//! allocates nothing on the warm path. Driven by the runtime, the simulator and tests, always by
//! one thread.
//!
//! This file holds the fields and the entry points. The rest in the order of a PUBLISH's journey:
//! `input` (bytes to packets), `publish` (routing), `delivery` and
//! `outgoing` (to local sessions), `outbox` and
//! `peer` (to and from the other shards), `acknowledge`; then `connect`, `subscribe`, `interest`,
//! `retained`, `lookup`, `ending`, `timeout`; and what survives the process: `journal`, `overflow`,
//! `snapshot`, `recover`.
#![forbid(unsafe_code)]

mod acknowledge;
mod answer;
mod authenticate;
mod barrier;
mod carry;
mod client_key;
mod connect;
mod copies;
mod delivery;
mod directory;
mod ending;
mod filter_work;
mod forward;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod input;
mod interest;
pub mod interface;
mod invariants;
mod journal;
mod lookup;
mod mount;
pub mod outbox;
mod outgoing;
mod overflow;
mod packed;
mod peer;
pub mod peer_batch;
mod publish;
mod recover;
mod retained;
mod route;
mod session_ends;
mod shard_sets;
mod shared;
mod shared_groups;
mod shared_members;
mod snapshot;
mod subscribe;
mod subscription;
mod sys;
#[cfg(test)]
mod tests;
mod timeout;
mod wanted;
mod wire;

use crate::auth::method::Methods;
use crate::base::hash::HomeKey;
use crate::base::ids::{ConnectionId, ShardId};
use crate::base::random::Random;
use crate::base::slab::Slab;
use crate::base::time::Instant;
use crate::base::wheel::Wheel;
use crate::codec::MessagePool;
use crate::config::limits::Limits;
use crate::connection::Connection;
use crate::connection::transmit::Transmit;
use crate::metrics::Counters;
use crate::session::Session;
use crate::topic::index::{FilterId, Index};
use authenticate::Authentications;
use barrier::Barriers;
use delivery::Target;
use directory::Directory;
use filter_work::FilterWork;
use forward::Forwards;
use interest::Interest;
use interface::{CloseCause, Closing, ConnectionOrigin, HandOver, ReadVerdict, ShardSettings};
use journal::Journal;
use lookup::Lookups;
use outbox::Link;
use peer_batch::PeerBatch;
use retained::Retained;
use session_ends::SessionEnds;
use shared_groups::SharedGroups;
use std::collections::VecDeque;
use std::rc::Rc;
use subscription::Subscription;
use sys::Sys;
use timeout::TimerKey;
use wire::Wire;

/// Under this name the indexes' common seed is derived from the installation's key.
const TOPIC_SEED_NAME: &[u8] = b"topic names";
/// Messages whose memory is kept for the next ones: at most 16 MiB.
const POOL_MESSAGES_MAX: usize = 4096;

/// One core's broker.
///
/// Owns its connections, its sessions (those whose client identifier hashes here), the index of
/// their subscriptions, its part of the retained messages, and its ends of the links. Every table
/// has a bound from [`Limits`].
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    shard_count: u16,
    limits: Limits,
    home_key: HomeKey,
    random: Random,

    connections: Slab<Connection>,
    sessions: Slab<Session<ConnectionId, FilterId>>,
    /// Client identifier -> session.
    directory: Directory,
    /// Filter -> local sessions.
    index: Index<u32, Subscription>,
    /// What the other shards want, and what they know that this one wants.
    interest: Interest,
    last_subscription_generation: u32,
    /// Groups of shared subscriptions, here and elsewhere.
    shared: SharedGroups,
    barriers: Barriers,
    retained: Retained,
    lookups: Lookups,
    filter_work: FilterWork,
    authentications: Authentications,
    sys: Sys,
    mount_points: Box<[Option<Rc<str>>]>,
    /// Connections past their CONNACK.
    clients_connected: u32,
    /// One per shard; the own entry is never used.
    links: Vec<Link>,
    journal: Journal,
    forwards: Forwards,
    session_ends: SessionEnds,
    /// Shards whose recovered subscriptions are not known here yet.
    awaited_peers: u16,

    wheel: Wheel<TimerKey>,
    wire: Wire,
    messages: MessagePool,
    /// Empty buffers for incomplete packets, and the bytes in those that are in use.
    partials: Vec<Vec<u8>>,
    partial_bytes: u64,

    /// For the driver: connections ended, and connections to read again.
    closing: VecDeque<Closing>,
    resumed: VecDeque<ConnectionId>,
    /// Paused connections whose hindrance may be gone; tried again before the entry point returns.
    to_resume: VecDeque<ConnectionId>,

    /// Scratch of one route.
    matched: Vec<(u32, Subscription)>,
    targets: Vec<Target>,
    route_number: u64,

    counters: Counters,
}

impl Shard {
    #[must_use]
    pub fn new(settings: ShardSettings) -> Self {
        let ShardSettings {
            id,
            shard_count,
            limits,
            home_key,
            seed,
        } = settings;
        assert!((1..=ShardId::COUNT_MAX).contains(&shard_count) && id.0 < shard_count);
        Self {
            id,
            shard_count,
            home_key,
            random: Random::new(seed),
            connections: Slab::new(limits.connections_max),
            sessions: Slab::new(limits.sessions_max),
            directory: Directory::new(seed),
            index: Index::new(home_key.hash(TOPIC_SEED_NAME)),
            interest: Interest::new(seed),
            last_subscription_generation: 0,
            shared: SharedGroups::new(seed),
            barriers: Barriers::default(),
            retained: Retained::new(seed),
            lookups: Lookups::new(seed),
            filter_work: FilterWork::new(seed),
            authentications: Authentications::new(seed),
            sys: Sys::default(),
            mount_points: mount::mount_points(&limits),
            clients_connected: 0,
            links: (0..shard_count).map(|_| Link::default()).collect(),
            journal: Journal::new(),
            forwards: Forwards::new(shard_count, seed),
            session_ends: SessionEnds::new(seed),
            awaited_peers: 0,
            wheel: Wheel::new(Instant::ZERO),
            wire: Wire::default(),
            messages: MessagePool::new(POOL_MESSAGES_MAX),
            partials: Vec::new(),
            partial_bytes: 0,
            closing: VecDeque::new(),
            resumed: VecDeque::new(),
            to_resume: VecDeque::new(),
            matched: Vec::new(),
            targets: Vec::new(),
            route_number: 0,
            counters: Counters::default(),
            limits,
        }
    }

    /// Offers methods of enhanced authentication. Before the first connection.
    pub fn set_authentication_methods(&mut self, methods: Methods) {
        self.authentications.methods = methods;
    }

    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Connections and sessions that exist now.
    #[must_use]
    pub const fn population(&self) -> (usize, usize) {
        (self.connections.len(), self.sessions.len())
    }

    /// The client identifier behind a connection, for the log.
    #[must_use]
    pub fn client_id(&self, connection: ConnectionId) -> Option<&str> {
        let session = self.connection(connection)?.session()?;
        self.sessions
            .get(session)
            .map(|session| &*session.client_id)
    }

    fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get_named(id.index, id.generation)
    }

    fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_named_mut(id.index, id.generation)
    }

    fn peers(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.id.index();
        (0..usize::from(self.shard_count)).filter(move |index| *index != own)
    }
}

/// Things that happened. Each runs to its end; none can wait; none can fail as a whole.
impl Shard {
    /// A socket was accepted here. `None`: the shard is full, close the socket.
    pub fn on_connection_opened(
        &mut self,
        now: Instant,
        origin: ConnectionOrigin,
    ) -> Option<ConnectionId> {
        let connection = Connection::new(now, origin);
        let Ok((index, generation)) = self.connections.insert(connection) else {
            self.counters.limits_reached += 1;
            return None;
        };
        self.counters.connections_opened += 1;
        let id = ConnectionId { index, generation };
        self.rearm_connection(id);
        Some(id)
    }

    /// A connection arrives from the shard that accepted it; what was received there is fed here.
    /// `None`: the shard is full, close the socket. What follows comes through the polls.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "what is handed over belongs to this shard"
    )]
    pub fn on_hand_over(&mut self, now: Instant, hand_over: HandOver) -> Option<ConnectionId> {
        let id = self.on_connection_opened(now, hand_over.origin)?;
        let _verdict = self.on_bytes(now, id, &hand_over.received);
        Some(id)
    }

    /// Ends the connection here after [`ReadVerdict::HandOver`].
    pub fn take_hand_over(&mut self, id: ConnectionId) -> Option<HandOver> {
        let received = self.take_partial(id);
        let connection = self.forget_connection(id)?;
        self.counters.connections_handed_over += 1;
        Some(HandOver {
            origin: connection.origin,
            received,
        })
    }

    /// Bytes arrived from a client.
    pub fn on_bytes(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) -> ReadVerdict {
        let verdict = self.receive(now, id, bytes);
        self.run_resumes(now);
        verdict
    }

    /// The socket took all of it (`transmit` may have been advanced on the way).
    pub fn on_transmitted(&mut self, now: Instant, id: ConnectionId, transmit: Box<Transmit>) {
        self.journal.begin_group(now);
        self.recycle(transmit);
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        let more = connection.end_transmit();
        let session = connection.session();
        let lookups = connection.lookups.is_some();
        if connection.paused {
            self.resume_later(id);
        }
        if more {
            self.mark_dirty(id);
        }
        if let Some(session) = session {
            self.pump(now, session);
        }
        if lookups {
            self.advance_lookup(id);
        }
        self.run_resumes(now);
    }

    /// The socket did not take all: a deadline for progress starts. Said again at each progress.
    pub fn on_transmit_blocked(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        connection.blocked_since = Some(now);
        self.rearm_connection(id);
    }

    /// The driver found the connection gone; `cause` is `NetworkClosed`. Not called for connections
    /// that the shard ended itself.
    pub fn on_connection_closed(&mut self, now: Instant, id: ConnectionId, cause: CloseCause) {
        self.journal.begin_group(now);
        self.end_connection(now, id, cause);
        self.run_resumes(now);
    }

    /// Gives the buffers of an unfinished transmit back.
    pub fn recycle(&mut self, transmit: Box<Transmit>) {
        let Self { wire, messages, .. } = self;
        wire.pool.put(transmit, |message| messages.release(message));
    }

    /// A batch from another shard; the driver then gives the emptied batch back to its sender.
    pub fn on_peer_batch(&mut self, now: Instant, source: ShardId, batch: &mut PeerBatch) {
        self.receive_batch(now, source, batch);
        self.run_resumes(now);
    }

    /// An emptied batch of ours came home.
    pub fn on_peer_batch_returned(&mut self, now: Instant, peer: ShardId, batch: Box<PeerBatch>) {
        self.links[peer.index()].on_returned(batch);
        self.lookups.on_room();
        self.filter_work.on_room();
        self.resume_link(peer);
        self.run_resumes(now);
    }

    /// Deadlines at or before `now`, and work that was cut into slices.
    pub fn on_timeout(&mut self, now: Instant) {
        self.journal.on_timeout(now);
        self.expire_timers(now);
        self.run_lookups(now);
        self.run_sys(now);
        self.run_filter_work(now);
        self.run_resumes(now);
    }

    /// Says goodbye to all clients; sockets end through `poll_close`.
    pub fn on_stop(&mut self, now: Instant) {
        self.stop(now);
    }
}

/// Things to be done. The driver asks until it gets `None`, once per turn.
impl Shard {
    /// Next bytes for a socket. A connection is not named again before `on_transmitted`.
    pub fn poll_transmit(&mut self) -> Option<(ConnectionId, Box<Transmit>)> {
        self.counters.packets_sent = self.wire.packets;
        self.counters.bytes_sent = self.wire.bytes;
        while let Some(id) = self.wire.dirty.pop_front() {
            let Some(connection) = self.connection_mut(id) else {
                continue;
            };
            connection.dirty = false;
            if let Some(transmit) = connection.begin_transmit() {
                return Some((id, transmit));
            }
        }
        None
    }

    /// Connections that the shard has ended.
    pub fn poll_close(&mut self) -> Option<Closing> {
        self.closing.pop_front()
    }

    /// Reading of this connection may go on.
    pub fn poll_resume(&mut self) -> Option<ConnectionId> {
        self.resumed.pop_front()
    }

    /// The next batch for another shard. Called after all input of the turn, so that a turn makes
    /// one batch per link.
    pub fn poll_peer_batch(&mut self) -> Option<(ShardId, Box<PeerBatch>)> {
        self.announce_groups();
        self.send_barrier();
        let is_pressed = self.journal.is_pressed();
        for index in self.peers() {
            let Self { links, limits, .. } = self;
            links[index].tell_pressed(is_pressed);
            let (bytes, messages) = (limits.link_bytes_max, limits.link_messages_max);
            if let Some(batch) = links[index].poll_batch(bytes, messages) {
                #[allow(clippy::cast_possible_truncation, reason = "below shard_count, a u16")]
                return Some((ShardId(index as u16), batch));
            }
        }
        None
    }

    /// When `on_timeout` wants to be called, at the latest. A time in the past: at once.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.lookups.has_work() || self.sys.has_work() || self.filter_work.has_work() {
            return Some(Instant::ZERO);
        }
        let journal = &self.journal;
        let deadlines = [
            self.wheel.next_deadline(),
            journal.deadline(),
            journal.overflow.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }
}
