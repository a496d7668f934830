//! SUBSCRIBE and UNSUBSCRIBE: the local index, the news to the other shards, and the answer.

use super::Shard;
use super::filter_work::{Progress, Steps};
use super::input::Flow;
use super::journal::Waiter;
use super::mount::mounted_filter;
use super::peer_batch::ShardMessage;
use super::shared::is_shared;
use super::subscription::Subscription;
use super::wanted::{Wanted, WantedFilters};
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::codec::{
    PacketId, ProtocolError, ProtocolVersion, QosLevel, ReasonCode, RetainHandling, Subscribe,
    SubscribeFilter, SubscriptionOptions, Unsubscribe,
};
use crate::journal::Record;
use crate::topic::index::FilterId;
use crate::topic::names::{FilterKind, split_shared, validate_topic_filter};
use smallvec::SmallVec;

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
    lookups: WantedFilters,
    /// Of topics that are made for the subscriber instead of looked up.
    sys: WantedFilters,
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

/// From clients.
impl Shard {
    pub(super) fn on_subscribe(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session: u32,
        subscribe: &Subscribe<'_>,
    ) -> Flow {
        if !self.limits.subscription_identifiers_available
            && subscribe.subscription_identifier.is_some()
        {
            let error = ProtocolError {
                reason_code: ReasonCode::SubscriptionIdentifiersNotSupported,
                context: "subscription identifiers are not available",
            };
            return self.fail(now, id, error);
        }
        if !self.may_change_subscriptions(id, session) {
            return Flow::Pause;
        }
        let mut progress = self.filter_work.take(id);
        match self.subscribe_slice(id, session, subscribe, &mut progress) {
            Err(error) => return self.fail(now, id, error),
            Ok(false) => {
                self.filter_work.keep(id, progress);
                return Flow::Pause;
            }
            Ok(true) => {}
        }
        let sub_ack = PendingSubAck {
            packet_id: subscribe.packet_id,
            codes: progress.codes,
        };
        let pending = PendingSubscribe {
            connection: id,
            sub_ack: Some(sub_ack),
            sequence: self.sequence_of(session),
            lookups: progress.lookups,
            sys: progress.sys,
        };
        if self.shard_count == 1 {
            return self.finish_subscribe(now, pending);
        }
        self.barriers.push(pending);
        Flow::Done
    }

    /// Checks and subscribes as many of the filters as this turn has steps for; Ok(true): all are
    /// done.
    fn subscribe_slice(
        &mut self,
        id: ConnectionId,
        session: u32,
        subscribe: &Subscribe<'_>,
        progress: &mut Progress,
    ) -> Result<bool, ProtocolError> {
        let speaks_v5 = self.speaks_v5(id);
        let mut steps = self.filter_work.slice();
        let is_checked = progress.check(&mut steps, |offset| {
            let Some((filter, next)) = subscribe.filters.at(offset)? else {
                return Ok(None);
            };
            self.filter_allowed(speaks_v5, &filter)?;
            Ok(Some(next))
        })?;
        let mut is_done = false;
        if is_checked {
            is_done = self.subscribe_filters(id, session, subscribe, progress, &mut steps)?;
        }
        self.filter_work.spend(&steps);
        Ok(is_done)
    }

    fn subscribe_filters(
        &mut self,
        id: ConnectionId,
        session: u32,
        subscribe: &Subscribe<'_>,
        progress: &mut Progress,
        steps: &mut Steps,
    ) -> Result<bool, ProtocolError> {
        let mount_point = self.mount_point(id);
        let identifier = subscribe.subscription_identifier;
        while steps.are_left() {
            let Some((filter, next)) = subscribe.filters.at(progress.applied)? else {
                return Ok(true);
            };
            let code = if progress.codes.len() >= LOOKUPS_PER_CONNECTION_MAX {
                Err(ReasonCode::QuotaExceeded)
            } else {
                let topic_filter = mounted_filter(mount_point.as_deref(), filter.topic_filter);
                let filter = SubscribeFilter {
                    topic_filter: &topic_filter,
                    options: self.as_granted(id, filter.options),
                };
                self.subscribe(id, session, &filter, identifier, progress)
            };
            progress
                .codes
                .push(self.sub_ack_code(id, filter.options.qos, code));
            progress.applied = next;
            steps.take(filter.topic_filter.len());
        }
        Ok(subscribe.filters.at(progress.applied)?.is_none())
    }

    /// What was announced as not available is a Protocol Error (sections 3.2.2.3.11 and
    /// 3.2.2.3.12); 3.x has no announcement, and refuses in the SUBACK.
    fn filter_allowed(
        &self,
        speaks_v5: bool,
        filter: &SubscribeFilter<'_>,
    ) -> Result<(), ProtocolError> {
        let limits = &self.limits;
        let topic_filter = filter.topic_filter;
        if !limits.wildcard_available && speaks_v5 && topic_filter.contains(['+', '#']) {
            return Err(ProtocolError {
                reason_code: ReasonCode::WildcardSubscriptionsNotSupported,
                context: "wildcard subscriptions are not available",
            });
        }
        if !limits.shared_available && speaks_v5 && is_shared(topic_filter) {
            return Err(ProtocolError {
                reason_code: ReasonCode::SharedSubscriptionsNotSupported,
                context: "shared subscriptions are not available",
            });
        }
        // [MQTT-3.8.3-4]
        if filter.options.no_local && is_shared(topic_filter) {
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

    /// Is there room for the news on every link, and does the disk keep up? If not, the connection
    /// is listed to be tried again when it is so.
    fn may_change_subscriptions(&mut self, id: ConnectionId, session: u32) -> bool {
        let full = self.peers().find(|link| !self.has_room(*link));
        if let Some(full) = full {
            self.wait_for_link(id, full);
            return false;
        }
        let is_pressed = self.journal_number(session) != 0 && self.journal.is_pressed();
        if is_pressed {
            self.wait_for_journal(id);
        }
        !is_pressed
    }

    /// One filter into the index; Ok: the granted QoS.
    fn subscribe(
        &mut self,
        id: ConnectionId,
        session_index: u32,
        filter: &SubscribeFilter<'_>,
        identifier: Option<u32>,
        progress: &mut Progress,
    ) -> Result<QosLevel, ReasonCode> {
        let kind = self.check_filter(filter.topic_filter)?;
        if is_shared(filter.topic_filter) {
            return self.subscribe_shared(session_index, filter, identifier);
        }
        let options = &filter.options;
        let Some(session) = self.sessions.get(session_index) else {
            return Err(ReasonCode::UnspecifiedError);
        };
        let full = session.retained_lookups as usize >= LOOKUPS_PER_CONNECTION_MAX;
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
            self.announce(filter.topic_filter, inserted.filter, true);
        }
        self.log_subscription(session_index, filter.topic_filter, subscription);
        let wants_retained = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !known,
            RetainHandling::DoNotSend => false,
        };
        if wants_retained {
            self.expect_lookup(id);
            progress.want(Wanted {
                filter: filter.topic_filter,
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
    pub(super) fn finish_subscribe(&mut self, now: Instant, mut pending: PendingSubscribe) -> Flow {
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
            return self.await_lookups(now, pending);
        }
        self.begin_lookups(id, pending.lookups);
        self.advance_lookup(id);
        Flow::Done
    }

    /// Behind the first barrier everything newer is forwarded, and what was not is with its owner.
    /// The lookups wait for a second one: a live message from behind it is newer than all that was
    /// not forwarded, and of one from before it the owner knows. A single shard is its own owner.
    fn await_lookups(&mut self, now: Instant, pending: PendingSubscribe) -> Flow {
        if pending.lookups.is_empty() {
            return Flow::Done;
        }
        if self.shard_count == 1 {
            self.barriers.pass_alone();
            return self.finish_subscribe(now, pending);
        }
        self.barriers.push(pending);
        Flow::Done
    }

    pub(super) fn on_unsubscribe(
        &mut self,
        now: Instant,
        id: ConnectionId,
        session_index: u32,
        unsubscribe: &Unsubscribe<'_>,
    ) -> Flow {
        if !self.may_change_subscriptions(id, session_index) {
            return Flow::Pause;
        }
        let mut progress = self.filter_work.take(id);
        match self.unsubscribe_slice(id, session_index, unsubscribe, &mut progress) {
            Err(error) => return self.fail(now, id, error),
            Ok(false) => {
                self.filter_work.keep(id, progress);
                return Flow::Pause;
            }
            Ok(true) => {}
        }
        let codes = progress.codes;
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

    /// As [`Self::subscribe_slice`].
    fn unsubscribe_slice(
        &mut self,
        id: ConnectionId,
        session: u32,
        unsubscribe: &Unsubscribe<'_>,
        progress: &mut Progress,
    ) -> Result<bool, ProtocolError> {
        let filters = &unsubscribe.filters;
        let mount_point = self.mount_point(id);
        let mut steps = self.filter_work.slice();
        let next = |offset| Ok(filters.at(offset)?.map(|(_, next)| next));
        let is_checked = progress.check(&mut steps, next)?;
        let mut is_done = false;
        while is_checked && !is_done && steps.are_left() {
            let Some((topic_filter, next)) = filters.at(progress.applied)? else {
                is_done = true;
                continue;
            };
            let mounted = mounted_filter(mount_point.as_deref(), topic_filter);
            let code = match self.unsubscribe(session, &mounted) {
                Some(()) => ReasonCode::Success,
                None => ReasonCode::NoSubscriptionExisted,
            };
            progress.codes.push(code as u8);
            progress.applied = next;
            steps.take(topic_filter.len());
        }
        self.filter_work.spend(&steps);
        Ok(is_done)
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

    /// Tells the other shards that this one has just got its first, or lost its last, subscription
    /// with the filter.
    pub(super) fn announce(&mut self, text: &str, filter: FilterId, wanted: bool) {
        if self.shard_count == 1 {
            return;
        }
        if filter.kind() == FilterKind::Wildcard {
            for link in self.peers() {
                self.links[link].push_wildcard_interest(text, wanted);
            }
            return;
        }
        let hash = self.index.topic_hash(text.as_bytes());
        // The others know the hash alone, and so the last filter with it is what they must hear of.
        if self.index.another_has_hash(hash, filter) {
            return;
        }
        for link in self.peers() {
            self.links[link].push(ShardMessage::ExactInterest { hash, wanted });
        }
    }
}
