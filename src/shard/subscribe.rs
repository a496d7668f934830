//! SUBSCRIBE and UNSUBSCRIBE: the local index, the news to the other shards, and the barrier
//! behind which a SUBACK leaves.

use super::Shard;
use super::input::Flow;
use super::journal::Waiter;
use super::mount::mounted_filter;
use super::peer_batch::ShardMessage;
use super::shared::is_shared;
use super::subscription::Subscription;
use super::sys::SYS_PREFIX;
use crate::base::ids::{ConnectionId, ShardId};
use crate::base::time::Instant;
use crate::codec::{
    PacketId, ProtocolError, ProtocolVersion, QosLevel, ReasonCode, RetainHandling, Subscribe,
    SubscribeFilter, SubscriptionOptions, Unsubscribe,
};
use crate::connection::open_lookups::NoteNumber;
use crate::journal::Record;
use crate::topic::names::{FilterKind, split_shared, validate_topic_filter};
use smallvec::SmallVec;
use std::collections::VecDeque;

/// Retained lookups that one connection may have open; a filter beyond them is refused with Quota
/// exceeded.
const LOOKUPS_PER_CONNECTION_MAX: usize = 100_000;

/// A SUBSCRIBE that waits for the other shards.
#[derive(Debug)]
pub(super) struct PendingSubscribe {
    connection: ConnectionId,
    /// `None`: it has left, only the lookups wait.
    sub_ack: Option<PendingSubAck>,
    /// The journal has its subscriptions up to this record.
    sequence: u64,
    lookups: Vec<WantedLookup>,
    /// Of topics that are made for the subscriber instead of looked up.
    sys: Vec<WantedLookup>,
    /// The last live message noted for the connection's lookups when the wait began.
    waits_since: NoteNumber,
}

#[derive(Debug)]
struct PendingSubAck {
    packet_id: PacketId,
    codes: SmallVec<[u8; 8]>,
}

/// SUBACK or UNSUBACK of a session whose subscriptions must be durable first.
#[derive(Debug)]
pub(super) enum Answer {
    Subscribe(PendingSubscribe),
    Unsubscribe {
        connection: ConnectionId,
        packet_id: PacketId,
        codes: SmallVec<[u8; 8]>,
    },
}

/// A filter whose retained messages are wanted once the SUBACK is out.
#[derive(Clone, Debug)]
pub(super) struct WantedLookup {
    pub(super) filter: Box<str>,
    pub(super) kind: FilterKind,
    pub(super) subscription: Subscription,
}

/// The SUBSCRIBE packets of this turn, and of earlier turns that wait for an answer. One barrier
/// per turn and link, however many packets; bounded by the connections, each of which has at most
/// as many SUBSCRIBE packets waiting as links have room.
#[derive(Debug, Default)]
pub(super) struct Barriers {
    collecting: Vec<PendingSubscribe>,
    waiting: VecDeque<Barrier>,
    /// Number of the first one in `waiting`.
    first_number: u64,
    /// Barriers of other shards that wait until our retained updates are with their owners.
    held: VecDeque<HeldBarrier>,
}

#[derive(Debug)]
struct Barrier {
    /// Shards that have not answered.
    open: usize,
    subscribes: Vec<PendingSubscribe>,
}

#[derive(Debug)]
struct HeldBarrier {
    source: ShardId,
    number: u64,
    /// The retained update that must have arrived at its owner, of those that arrive exactly once.
    forward: u64,
    /// Link and number of the retained update that must be accepted there.
    waits: SmallVec<[(ShardId, u64); 4]>,
}

impl Barriers {
    pub(super) fn is_settled(&self) -> bool {
        self.collecting.is_empty() && self.waiting.is_empty() && self.held.is_empty()
    }
}

/// From clients.
impl Shard {
    pub(super) fn on_subscribe(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session: u32,
        subscribe: &Subscribe<'_>,
    ) -> Flow {
        if let Err(error) = self.subscribe_allowed(id, subscribe) {
            return self.fail(now, id, error);
        }
        let full = self.peers().find(|link| !self.has_room(*link));
        if let Some(full) = full {
            self.wait_for_link(id, full);
            return Flow::Pause;
        }
        if self.journal_number(session) != 0 && self.journal.is_pressed() {
            self.wait_for_journal(id);
            return Flow::Pause;
        }
        let mut codes = SmallVec::new();
        let mut lookups = Vec::new();
        let mount_point = self.mount_point(id);
        for (position, filter) in subscribe.filters().enumerate() {
            let identifier = subscribe.subscription_identifier;
            let code = if position >= LOOKUPS_PER_CONNECTION_MAX {
                Err(ReasonCode::QuotaExceeded)
            } else {
                let topic_filter = mounted_filter(mount_point.as_deref(), filter.topic_filter);
                let filter = SubscribeFilter {
                    topic_filter: &topic_filter,
                    options: self.as_granted(id, filter.options),
                };
                self.subscribe(session, &filter, identifier, &mut lookups)
            };
            codes.push(self.sub_ack_code(id, filter.options.qos, code));
        }
        // The state of bridges is stored, the rest of this tree is made for the subscriber.
        let sys = lookups
            .iter()
            .filter(|wanted| wanted.filter.starts_with(SYS_PREFIX))
            .cloned()
            .collect();
        let sub_ack = PendingSubAck {
            packet_id: subscribe.packet_id,
            codes,
        };
        let pending = PendingSubscribe {
            connection: id,
            sub_ack: Some(sub_ack),
            sequence: self.sequence_of(session),
            waits_since: self.expect_lookups(id, lookups.len()),
            lookups,
            sys,
        };
        if self.shard_count == 1 {
            return self.finish_subscribe(now, pending);
        }
        self.barriers.collecting.push(pending);
        Flow::Done
    }

    /// What was announced as not available is a Protocol Error (sections 3.2.2.3.11 and
    /// 3.2.2.3.12); 3.x has no announcement, and refuses in the SUBACK.
    fn subscribe_allowed(
        &self,
        id: ConnectionId,
        subscribe: &Subscribe<'_>,
    ) -> Result<(), ProtocolError> {
        let limits = &self.limits;
        if !limits.subscription_identifiers_available && subscribe.subscription_identifier.is_some()
        {
            return Err(ProtocolError {
                reason_code: ReasonCode::SubscriptionIdentifiersNotSupported,
                context: "subscription identifiers are not available",
            });
        }
        let has_wildcard = |filter: SubscribeFilter<'_>| filter.topic_filter.contains(['+', '#']);
        if !limits.wildcard_available && self.speaks_v5(id) && subscribe.filters().any(has_wildcard)
        {
            return Err(ProtocolError {
                reason_code: ReasonCode::WildcardSubscriptionsNotSupported,
                context: "wildcard subscriptions are not available",
            });
        }
        let has_share = |filter: SubscribeFilter<'_>| is_shared(filter.topic_filter);
        if !limits.shared_available && self.speaks_v5(id) && subscribe.filters().any(has_share) {
            return Err(ProtocolError {
                reason_code: ReasonCode::SharedSubscriptionsNotSupported,
                context: "shared subscriptions are not available",
            });
        }
        // [MQTT-3.8.3-4]
        if subscribe
            .filters()
            .any(|filter| filter.options.no_local && is_shared(filter.topic_filter))
        {
            return Err(Self::protocol_error("no local on a shared subscription"));
        }
        Ok(())
    }

    /// The options that a subscription gets: not more QoS than the connection has, and what a
    /// Mosquitto bridge of 3.x cannot say itself.
    fn as_granted(
        &self,
        id: ConnectionId,
        mut options: SubscriptionOptions,
    ) -> SubscriptionOptions {
        if let Some(connection) = self.connection(id) {
            options.qos = options.qos.min(connection.qos_max);
            options.no_local |= connection.is_bridge;
            options.retain_as_published |= connection.is_bridge;
        }
        options
    }

    /// One filter into the index; Ok: the granted QoS.
    fn subscribe(
        &mut self,
        session_index: u32,
        filter: &SubscribeFilter<'_>,
        identifier: Option<u32>,
        lookups: &mut Vec<WantedLookup>,
    ) -> Result<QosLevel, ReasonCode> {
        let kind = self.check_filter(filter.topic_filter)?;
        if is_shared(filter.topic_filter) {
            return self.subscribe_shared(session_index, filter, identifier);
        }
        let options = &filter.options;
        let Some(session) = self.sessions.get(session_index) else {
            return Err(ReasonCode::UnspecifiedError);
        };
        let open = session.retained_lookups as usize + lookups.len();
        let full = open >= LOOKUPS_PER_CONNECTION_MAX;
        let previous = self.index.get(filter.topic_filter, session_index);
        let known = previous.is_some();
        let subscriptions_max = self.limits.subscriptions_per_session_max as usize;
        if full || (!known && session.subscription_count() >= subscriptions_max) {
            self.counters.limits_reached += 1;
            return Err(ReasonCode::QuotaExceeded);
        }
        let generation = match previous {
            Some((_, previous)) => previous.generation(),
            None => self.next_subscription_generation(),
        };
        let subscription = Subscription::new(options, identifier, generation);
        let inserted = self
            .index
            .insert(filter.topic_filter, kind, session_index, subscription);
        if !known && let Some(session) = self.sessions.get_mut(session_index) {
            session.subscriptions.insert(inserted.filter);
            self.sys.count_subscription(filter.topic_filter, true);
        }
        if inserted.first {
            self.announce(filter.topic_filter, kind, true);
        }
        self.log_subscription(session_index, filter.topic_filter, subscription);
        let wants_retained = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !known,
            RetainHandling::DoNotSend => false,
        };
        if wants_retained {
            lookups.push(WantedLookup {
                filter: filter.topic_filter.into(),
                kind,
                subscription,
            });
        }
        Ok(options.qos)
    }

    pub(super) fn log_subscription(
        &mut self,
        session: u32,
        filter: &str,
        subscription: Subscription,
    ) {
        let session = self.journal_number(session);
        let record = Record::Subscribe {
            session,
            subscription: subscription.fields(),
            filter,
        };
        self.journal.about(session, &record);
    }

    /// What an answer to a session has to wait for; 0: nothing.
    fn sequence_of(&self, session: u32) -> u64 {
        match self.journal_number(session) {
            0 => 0,
            _ => self.journal.sequence(),
        }
    }

    pub(super) const fn next_subscription_generation(&mut self) -> u32 {
        self.last_subscription_generation = self.last_subscription_generation.wrapping_add(1);
        self.last_subscription_generation
    }

    fn check_filter(&self, topic_filter: &str) -> Result<FilterKind, ReasonCode> {
        let invalid = ReasonCode::TopicFilterInvalid;
        let shared = split_shared(topic_filter).map_err(|_| invalid)?;
        let topic_filter = shared.map_or(topic_filter, |(_, filter)| filter);
        let kind = validate_topic_filter(topic_filter, self.limits.topic_levels_max)
            .map_err(|_| invalid)?;
        if kind == FilterKind::Wildcard && !self.limits.wildcard_available {
            return Err(ReasonCode::WildcardSubscriptionsNotSupported);
        }
        Ok(kind)
    }

    /// 3.1.1 knows only the granted QoS and one failure code. 3.1 has no word for a refusal: it
    /// wants a positive answer, and the client is not told.
    fn sub_ack_code(
        &self,
        id: ConnectionId,
        asked: QosLevel,
        granted: Result<QosLevel, ReasonCode>,
    ) -> u8 {
        match (granted, self.connection(id).map(|it| it.version)) {
            (Ok(qos), _) => qos as u8,
            (Err(reason_code), Some(ProtocolVersion::V5)) => reason_code as u8,
            (Err(_), Some(ProtocolVersion::V31)) => asked as u8,
            (Err(_), _) => ReasonCode::UnspecifiedError as u8,
        }
    }

    /// SUBACK, then the retained messages.
    fn finish_subscribe(&mut self, now: Instant, mut pending: PendingSubscribe) -> Flow {
        let id = pending.connection;
        if self.connection(id).is_none() {
            return Flow::Closed;
        }
        if !self.journal.is_durable(pending.sequence) {
            let answer = Box::new(Answer::Subscribe(pending));
            self.journal.wait(Waiter::Answer(answer));
            return Flow::Done;
        }
        if let Some(PendingSubAck { packet_id, codes }) = pending.sub_ack.take() {
            if self.answer_subscribe(now, id, packet_id, &codes) == Flow::Closed {
                return Flow::Closed;
            }
            self.begin_sys(now, id, std::mem::take(&mut pending.sys));
            if self.is_outdated(&pending) {
                self.barriers.collecting.push(pending);
                return Flow::Done;
            }
        }
        for wanted in pending.lookups {
            self.begin_lookup(id, wanted);
        }
        self.advance_lookup(id);
        Flow::Done
    }

    /// A live message took a retained one's place while the SUBSCRIBE waited. Its owner may not
    /// know it yet, and a still newer one may not have been forwarded here, so the live message
    /// can't be trusted to be the last word: the lookups wait for one more barrier, behind which
    /// the owner is as new as what was delivered, and everything newer is forwarded. A single shard
    /// is its own owner, and as new as can be.
    fn is_outdated(&self, pending: &PendingSubscribe) -> bool {
        if self.shard_count == 1 {
            return false;
        }
        let lookups = self
            .connection(pending.connection)
            .and_then(|connection| connection.lookups.as_ref());
        let latest = lookups.map(|lookups| lookups.latest_note());
        !pending.lookups.is_empty() && latest.is_some_and(|note| note > pending.waits_since)
    }

    pub(super) fn on_unsubscribe(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session_index: u32,
        unsubscribe: &Unsubscribe<'_>,
    ) -> Flow {
        let mut codes: SmallVec<[u8; 8]> = SmallVec::new();
        let mount_point = self.mount_point(id);
        for topic_filter in unsubscribe.filters() {
            let topic_filter = mounted_filter(mount_point.as_deref(), topic_filter);
            let code = match self.unsubscribe(session_index, &topic_filter) {
                Some(()) => ReasonCode::Success,
                None => ReasonCode::NoSubscriptionExisted,
            };
            codes.push(code as u8);
        }
        let packet_id = unsubscribe.packet_id;
        if self.journal.is_durable(self.sequence_of(session_index)) {
            return self.answer_unsubscribe(now, id, packet_id, &codes);
        }
        self.journal
            .wait(Waiter::Answer(Box::new(Answer::Unsubscribe {
                connection: id,
                packet_id,
                codes,
            })));
        Flow::Done
    }

    /// What a SUBSCRIBE or UNSUBSCRIBE changed is durable.
    pub(super) fn on_answer_durable(&mut self, now: Instant, answer: Answer) {
        match answer {
            Answer::Subscribe(pending) => {
                self.finish_subscribe(now, pending);
            }
            Answer::Unsubscribe {
                connection,
                packet_id,
                codes,
            } => {
                self.answer_unsubscribe(now, connection, packet_id, &codes);
            }
        }
    }

    fn unsubscribe(&mut self, session_index: u32, topic_filter: &str) -> Option<()> {
        if is_shared(topic_filter) {
            return self.unsubscribe_shared(session_index, topic_filter);
        }
        let (filter, _) = self.index.get(topic_filter, session_index)?;
        self.remove_subscription(session_index, filter);
        self.log_unsubscription(session_index, topic_filter);
        let session = self.sessions.get_mut(session_index)?;
        session.subscriptions.remove(filter).then_some(())
    }

    pub(super) fn log_unsubscription(&mut self, session: u32, filter: &str) {
        let session = self.journal_number(session);
        let record = Record::Unsubscribe { session, filter };
        self.journal.about(session, &record);
    }

    /// Tells the other shards that this one has its first, or lost its last, subscription with
    /// the filter.
    pub(super) fn announce(&mut self, filter: &str, kind: FilterKind, wanted: bool) {
        if self.shard_count == 1 {
            return;
        }
        let hash = self.home_key.hash(filter.as_bytes());
        let is_news = match kind {
            FilterKind::Wildcard => true,
            FilterKind::Exact if wanted => self.announced.add(hash),
            FilterKind::Exact => self.announced.remove(hash),
        };
        if !is_news {
            return;
        }
        for link in self.peers() {
            match kind {
                FilterKind::Wildcard => self.links[link].push_wildcard_interest(filter, wanted),
                FilterKind::Exact => {
                    self.links[link].push(ShardMessage::ExactInterest { hash, wanted });
                }
            }
        }
    }
}

/// Between shards.
impl Shard {
    /// At the end of a turn: one barrier for all SUBSCRIBE packets of the turn.
    pub(super) fn send_barrier(&mut self) {
        if self.barriers.collecting.is_empty() {
            return;
        }
        let subscribes = std::mem::take(&mut self.barriers.collecting);
        let number = self.barriers.first_number + self.barriers.waiting.len() as u64;
        let open = usize::from(self.shard_count) - 1;
        self.barriers
            .waiting
            .push_back(Barrier { open, subscribes });
        for link in self.peers() {
            self.links[link].push(ShardMessage::Barrier { number });
        }
    }

    /// Another shard's barrier: all interest before it is in the table already. The answer must
    /// also wait for retained updates that this shard sent before: a lookup at the owner that
    /// follows the answer must find them, as they were not forwarded to the new subscriber.
    pub(super) fn on_barrier(&mut self, source: ShardId, number: u64) {
        let mut waits = SmallVec::new();
        for link in self.peers() {
            let update = self.links[link].last_retained_update;
            if !self.links[link].has_accepted(update) {
                #[allow(clippy::cast_possible_truncation, reason = "below shard_count, a u16")]
                waits.push((ShardId(link as u16), update));
            }
        }
        self.barriers.held.push_back(HeldBarrier {
            source,
            number,
            forward: self.forwards.last_retained_update(),
            waits,
        });
        self.answer_barriers();
    }

    /// Answers the barriers that wait for nothing any more, in the order of their coming.
    pub(super) fn answer_barriers(&mut self) {
        let Self {
            barriers,
            links,
            forwards,
            ..
        } = self;
        while let Some(held) = barriers.held.front() {
            let accepted =
                |(shard, number): &(ShardId, u64)| links[shard.index()].has_accepted(*number);
            if !held.waits.iter().all(accepted) || !forwards.is_done(held.forward) {
                return;
            }
            let number = held.number;
            links[held.source.index()].push(ShardMessage::BarrierReached { number });
            barriers.held.pop_front();
        }
    }

    /// A shard has answered: SUBACKs leave when all have.
    pub(super) fn on_barrier_reached(&mut self, now: Instant, number: u64) {
        let Some(position) = number.checked_sub(self.barriers.first_number) else {
            return;
        };
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        let Some(barrier) = self.barriers.waiting.get_mut(position) else {
            return;
        };
        barrier.open -= 1;
        while self
            .barriers
            .waiting
            .front()
            .is_some_and(|first| first.open == 0)
        {
            let Some(done) = self.barriers.waiting.pop_front() else {
                return;
            };
            self.barriers.first_number += 1;
            for pending in done.subscribes {
                self.finish_subscribe(now, pending);
            }
        }
    }
}
