//! Retained messages to a new subscription, in slices.
//!
//! A lookup visits the owner of an exact filter, or all shards for a wildcard, one after the
//! other, a slice at a time, and only while its connection has room: a `#` over a million
//! messages stalls nobody and fills no queue. The shard that is asked keeps nothing between
//! slices. A connection has one lookup under way; further ones wait in `Connection::lookups`. The
//! filters of one SUBSCRIBE are one lookup, and are visited one after the other.

use super::Shard;
use super::delivery::WhenSlow;
use super::outgoing::Offer;
use super::peer_batch::{RetainedQuery, ShardMessage};
use super::wanted::{Wanted, WantedFilters};
use crate::base::ids::{ConnectionId, ShardId};
use crate::base::map::{Map, map};
use crate::base::time::Instant;
use crate::codec::SharedMessage;
use crate::connection::open_lookups::OpenLookups;
use crate::topic::names::FilterKind;
use crate::topic::retained::Cursor;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Tree nodes visited and messages answered in one slice: some tens of microseconds.
const SLICE_VISITS_MAX: usize = 256;
const SLICE_ANSWERS_MAX: usize = 64;
/// A slice ends behind the message that reaches this sum: so much may come on top of a full send
/// queue, as answers to a lookup are not dropped.
const SLICE_BYTES_MAX: usize = 256 << 10;
/// Slices of one turn.
const SLICES_PER_TURN_MAX: usize = 16;
/// Filters passed over, and lookups of ended connections forgotten, without looking at the clock.
const SKIPS_MAX: usize = 64;
/// QoS 1 and 2 answers may wait in the session's queue up to this many.
const QUEUED_MAX: usize = 64;

/// All lookups of this shard's connections, and the slices that it owes.
#[derive(Debug)]
pub(super) struct Lookups {
    seed: u64,
    last_number: u64,
    active: Map<u64, Lookup>,
    /// Slices to be done here, for own and for other shards' lookups. Each lookup has at most one
    /// slice under way, so this is bounded by the connections of all shards.
    slices: VecDeque<Slice>,
    /// All slices wait for links without room: no work until a batch comes home.
    stalled: bool,
    /// Connections whose lookup is behind a retained update that waits for the disk before it
    /// travels, with that update's number; ascending. Bounded by the lookups.
    behind_forwards: VecDeque<(u64, ConnectionId)>,
    /// Lookups of connections that are gone.
    orphans: VecDeque<VecDeque<u64>>,
}

#[derive(Debug)]
struct Lookup {
    connection: ConnectionId,
    session: u32,
    /// The first filter is being looked up, the others wait.
    wanted: WantedFilters,
    /// Shards to ask for the first filter; the first one is being asked.
    sources: VecDeque<ShardId>,
    cursor: Option<Cursor>,
    /// A slice was asked for and is not over.
    asked: bool,
    /// The last retained update of this shard that came live before: the question must not
    /// overtake it.
    behind_forward: u64,
    /// The barrier that it waited for. Retained messages of topics that a live message from behind
    /// it renewed are not sent.
    barrier: u64,
}

#[derive(Debug)]
enum Slice {
    Query {
        asker: ShardId,
        query: Box<RetainedQuery>,
    },
    /// A connection of this shard has filters to pass over.
    Advance(ConnectionId),
}

impl Lookups {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            last_number: 0,
            active: map(seed),
            slices: VecDeque::new(),
            stalled: false,
            behind_forwards: VecDeque::new(),
            orphans: VecDeque::new(),
        }
    }

    pub(super) fn has_work(&self) -> bool {
        (!self.stalled && !self.slices.is_empty()) || !self.orphans.is_empty()
    }

    fn push_slice(&mut self, slice: Slice) {
        self.stalled = false;
        self.slices.push_back(slice);
    }

    fn forget_orphans(&mut self) {
        for _ in 0..SKIPS_MAX {
            let Some(first) = self.orphans.front_mut() else {
                return;
            };
            if let Some(number) = first.pop_front() {
                self.active.remove(&number);
            } else {
                self.orphans.pop_front();
            }
        }
    }

    /// A link has room again.
    pub(super) const fn on_room(&mut self) {
        self.stalled = false;
    }

    pub(super) fn is_settled(&self) -> bool {
        self.active.is_empty() && self.slices.is_empty()
    }
}

/// At the subscriber's shard.
impl Shard {
    /// A SUBSCRIBE asks for the lookup of a filter, which begins behind its barrier: from now on
    /// live messages are noted for it.
    pub(super) fn expect_lookup(&mut self, id: ConnectionId) {
        let seed = self.lookups.seed;
        let Self {
            connections,
            sessions,
            ..
        } = self;
        let connection = connections.get_named_mut(id.index, id.generation);
        let Some(connection) = connection else {
            return;
        };
        if let Some(session) = connection.session().and_then(|it| sessions.get_mut(it)) {
            session.retained_lookups += 1;
        }
        let open = connection
            .lookups
            .get_or_insert_with(|| Box::new(OpenLookups::new(seed)));
        open.filter_count += 1;
    }

    /// Puts what a SUBSCRIBE expects at the end of its connection's list.
    pub(super) fn begin_lookups(&mut self, id: ConnectionId, wanted: WantedFilters) {
        let Some(first) = wanted.first() else { return };
        let sources = self.lookup_sources(first);
        let behind_forward = self.forwards.last_retained_update();
        let barrier = self.barriers.passed();
        let number = self.lookups.last_number + 1;
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        let (Some(session), Some(open)) = (connection.session(), &mut connection.lookups) else {
            return;
        };
        open.begun.push_back(number);
        let lookup = Lookup {
            connection: id,
            session,
            wanted,
            sources,
            cursor: None,
            asked: false,
            behind_forward,
            barrier,
        };
        self.lookups.last_number = number;
        self.lookups.active.insert(number, lookup);
        if !self.forwards.is_sent(behind_forward) {
            let behind_forwards = &mut self.lookups.behind_forwards;
            behind_forwards.push_back((behind_forward, id));
        }
    }

    fn lookup_sources(&self, wanted: Wanted<'_>) -> VecDeque<ShardId> {
        let (own, count) = (self.id, self.shard_count);
        match wanted.kind {
            FilterKind::Exact => {
                VecDeque::from([self.home_key.home(wanted.filter.as_bytes(), count)])
            }
            FilterKind::Wildcard => (0..count)
                .map(|offset| ShardId((own.0 + offset) % count))
                .collect(),
        }
    }

    /// Asks for the next slice of the connection's first lookup, if the connection has room.
    /// Filters that are done, or whose subscription has gone meanwhile, make way for the next.
    pub(super) fn advance_lookup(&mut self, id: ConnectionId) {
        for _ in 0..SKIPS_MAX {
            let Some(number) = self.first_lookup_with_room(id) else {
                return;
            };
            let Some(lookup) = self.lookups.active.get(&number) else {
                return;
            };
            if lookup.asked || !self.forwards.is_sent(lookup.behind_forward) {
                return;
            }
            match lookup.sources.front().copied() {
                Some(source) if self.is_wanted(lookup) => {
                    self.ask(number, source);
                    return;
                }
                _ => self.finish_filter(id, number),
            }
        }
        if let Some(connection) = self.connection_mut(id)
            && let Some(open) = &mut connection.lookups
        {
            open.is_listed = true;
            self.lookups.push_slice(Slice::Advance(id));
        }
    }

    /// Retained updates have begun to travel: on a link nothing overtakes.
    pub(super) fn run_lookups_behind_forwards(&mut self) {
        while let Some((number, id)) = self.lookups.behind_forwards.front().copied()
            && self.forwards.is_sent(number)
        {
            self.lookups.behind_forwards.pop_front();
            self.advance_lookup(id);
        }
    }

    fn advance_listed(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connection_mut(id)
            && let Some(open) = &mut connection.lookups
        {
            open.is_listed = false;
            self.advance_lookup(id);
        }
    }

    /// The lookup under way, if its connection can take answers.
    fn first_lookup_with_room(&self, id: ConnectionId) -> Option<u64> {
        let connection = self.connection(id)?;
        let open = connection.lookups.as_ref().filter(|it| !it.is_listed)?;
        let number = *open.begun.front()?;
        let session = self.sessions.get(connection.session()?)?;
        let has_room = connection.send_bytes() < self.limits.send_queue_bytes_max as usize
            && session.outbound.queued_count() < QUEUED_MAX;
        has_room.then_some(number)
    }

    /// The subscription still exists [MQTT-3.10.4-2], and is not a later one with this filter.
    fn is_wanted(&self, lookup: &Lookup) -> bool {
        let Some(first) = lookup.wanted.first() else {
            return false;
        };
        let current = self.index.get(first.filter, lookup.session);
        current.is_some_and(|(_, it)| it.generation() == first.subscription.generation())
    }

    /// A live message from behind the lookup's barrier took the place of the retained one.
    fn is_renewed(&self, lookup: &Lookup, message: &SharedMessage) -> bool {
        let open = self
            .connection(lookup.connection)
            .and_then(|connection| connection.lookups.as_ref());
        let hash = self.home_key.hash(message.topic_name_bytes());
        open.is_some_and(|open| open.is_renewed_behind(hash, lookup.barrier))
    }

    fn ask(&mut self, number: u64, source: ShardId) {
        let Some(lookup) = self.lookups.active.get_mut(&number) else {
            return;
        };
        let Some(first) = lookup.wanted.first() else {
            return;
        };
        lookup.asked = true;
        let query = Box::new(RetainedQuery {
            lookup: number,
            filter: first.filter.into(),
            cursor: lookup.cursor.take(),
        });
        if source == self.id {
            let asker = source;
            self.lookups.push_slice(Slice::Query { asker, query });
        } else {
            self.links[source.index()].push(ShardMessage::RetainedQuery(query));
        }
    }

    /// One retained message for a lookup.
    pub(super) fn on_retained_answer(&mut self, now: Instant, number: u64, message: SharedMessage) {
        let Some(lookup) = self.lookups.active.get(&number) else {
            self.messages.release(message);
            return;
        };
        // The session may have another connection meanwhile, which did not ask.
        let is_wanted = self.connection(lookup.connection).is_some() && self.is_wanted(lookup);
        let first = lookup.wanted.first().filter(|_| is_wanted);
        let Some(first) = first else {
            self.messages.release(message);
            return;
        };
        if self.is_renewed(lookup, &message) {
            self.counters.retained_overtaken += 1;
            self.messages.release(message);
            return;
        }
        let session = lookup.session;
        let identifier = first.subscription.identifier();
        let offer = Offer {
            message: &message,
            qos: first.subscription.qos().min(message.qos()),
            // [MQTT-3.3.1-9]: the RETAIN flag says that it was stored.
            retain: true,
            subscription_identifiers: identifier.as_slice(),
            group: None,
        };
        self.offer(now, session, &offer, WhenSlow::Keep);
        self.messages.release(message);
    }

    /// The slice is over: the same shard goes on, or the next one, or the lookup is done.
    pub(super) fn on_slice_end(&mut self, number: u64, cursor: Option<Cursor>) {
        let Some(lookup) = self.lookups.active.get_mut(&number) else {
            return;
        };
        lookup.asked = false;
        if cursor.is_none() {
            lookup.sources.pop_front();
        }
        lookup.cursor = cursor;
        let id = lookup.connection;
        self.advance_lookup(id);
    }

    /// The first filter of a lookup is done: the next one, or the next lookup.
    fn finish_filter(&mut self, id: ConnectionId, number: u64) {
        let Some(lookup) = self.lookups.active.get_mut(&number) else {
            return;
        };
        let session = lookup.session;
        lookup.wanted.pop_first();
        lookup.cursor = None;
        let is_over = lookup.wanted.is_empty();
        if is_over {
            self.lookups.active.remove(&number);
        } else {
            self.begin_filter(number);
        }
        if let Some(session) = self.sessions.get_mut(session) {
            session.retained_lookups -= 1;
        }
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        let Some(open) = &mut connection.lookups else {
            return;
        };
        open.filter_count -= 1;
        if is_over {
            open.begun.pop_front();
        }
        if open.is_empty() {
            connection.lookups = None;
        }
    }

    fn begin_filter(&mut self, number: u64) {
        let lookup = self.lookups.active.get(&number);
        let sources = lookup
            .and_then(|lookup| lookup.wanted.first())
            .map(|first| self.lookup_sources(first));
        if let Some(lookup) = self.lookups.active.get_mut(&number) {
            lookup.sources = sources.unwrap_or_default();
        }
    }

    /// The connection is gone, and with it its lookups.
    pub(super) fn drop_lookups(&mut self, session: u32, open: Option<Box<OpenLookups>>) {
        let Some(open) = open else { return };
        self.lookups.orphans.push_back(open.begun);
        self.lookups.forget_orphans();
        if let Some(session) = self.sessions.get_mut(session) {
            session.retained_lookups = 0;
        }
    }

    /// A live message that takes the place of the retained one of its topic goes to a session that
    /// has asked for lookups: the older one must not follow it. A live message without RETAIN does
    /// not count: it leaves the retained one in force, which is still due [MQTT-3.3.1-9].
    pub(super) fn note_for_lookups(&mut self, session: u32, message: &SharedMessage) {
        let hash = self.home_key.hash(message.topic_name_bytes());
        let barrier = self.barrier_before_message();
        let Self {
            sessions,
            connections,
            counters,
            ..
        } = self;
        let Some(id) = sessions.get(session).and_then(|session| session.connection) else {
            return;
        };
        let connection = connections.get_named_mut(id.index, id.generation);
        let Some(open) = connection.and_then(|connection| connection.lookups.as_mut()) else {
            return;
        };
        if !open.note(hash, barrier) {
            counters.retained_untracked += 1;
        }
    }
}

/// At the shard that is asked.
impl Shard {
    pub(super) fn on_retained_query(&mut self, asker: ShardId, query: Box<RetainedQuery>) {
        self.lookups.push_slice(Slice::Query { asker, query });
    }

    /// Some slices of the lookups that wait here, each lookup in its turn.
    pub(super) fn run_lookups(&mut self, now: Instant) {
        self.lookups.forget_orphans();
        let (mut run, mut blocked) = (0, 0);
        while run < SLICES_PER_TURN_MAX && blocked < self.lookups.slices.len() {
            let Some(slice) = self.lookups.slices.pop_front() else {
                return;
            };
            let (asker, query) = match slice {
                Slice::Query { asker, query } => (asker, query),
                Slice::Advance(id) => {
                    run += 1;
                    self.advance_listed(id);
                    continue;
                }
            };
            if asker != self.id && !self.has_room(asker.index()) {
                // The link is busy: later. Room comes with the batches that return.
                self.lookups.slices.push_back(Slice::Query { asker, query });
                blocked += 1;
                continue;
            }
            run += 1;
            self.run_slice(now, asker, *query);
        }
        self.lookups.stalled = blocked > 0 && blocked == self.lookups.slices.len();
    }

    fn run_slice(&mut self, now: Instant, asker: ShardId, query: RetainedQuery) {
        let mut found: Vec<SharedMessage> = Vec::new();
        let mut found_bytes = 0;
        let retained = &self.retained;
        let cursor = retained.tree.lookup(
            &query.filter,
            &query.cursor.unwrap_or_default(),
            SLICE_VISITS_MAX,
            |slot| {
                if found.len() >= SLICE_ANSWERS_MAX || found_bytes >= SLICE_BYTES_MAX {
                    return ControlFlow::Break(());
                }
                let message = retained.message(*slot);
                found_bytes += message.map_or(0, |message| message.bytes());
                found.extend(message.cloned());
                ControlFlow::Continue(())
            },
        );
        found.retain(|message| message.expires_at().is_none_or(|at| at > now));
        for message in found {
            if asker == self.id {
                self.on_retained_answer(now, query.lookup, message);
            } else {
                self.links[asker.index()].push_retained_answer(query.lookup, &message.parts());
                self.messages.release(message);
            }
        }
        if asker == self.id {
            self.on_slice_end(query.lookup, cursor);
        } else {
            let (lookup, cursor) = (query.lookup, cursor.map(Box::new));
            self.links[asker.index()].push(ShardMessage::RetainedSliceEnd { lookup, cursor });
        }
    }
}
