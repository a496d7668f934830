//! Shared subscriptions: joining and leaving, and the way of a message to one member of a group.
//!
//! The publisher's shard chooses a shard for each matching group, by the number of members; that
//! shard chooses the member. If it has none any more it passes the message on. Messages that a
//! member leaves behind at the end of its session go to another one.

use super::Shard;
use super::client_key::ClientKey;
use super::delivery::WhenSlow;
use super::forward::SharedWay;
use super::outbox::Link;
use super::outgoing::Offer;
use super::peer_batch::{PeerBatch, PublishRecord, ShardMessage};
use super::route::{Publisher, await_acceptance};
use super::shared_groups::{Choice, Group, GroupId};
use super::subscription::Subscription;
use crate::base::ids::{ConnectionId, ShardId, ShardSet};
use crate::base::slab::Slab;
use crate::base::time::Instant;
use crate::codec::{QosLevel, ReasonCode, SharedMessage, SubscribeFilter};
use crate::config::limits::{Limits, SharedStrategy};
use crate::connection::Connection;
use crate::session::Session;
use crate::session::delivery::Delivery;
use crate::topic::index::FilterId;
use crate::topic::names::split_shared;
use bytes::Bytes;
use std::iter;

/// Shards that a message visits in search of a member, while members change; then the last one
/// queues it, or drops it if it has no member, counted as `shared_unmatched`.
const HOPS_MAX: u8 = 8;
/// Shards that it visits in search of a member with room, when all are connected: only the
/// publisher's shard sends it elsewhere for that. What came from another shard is as good as
/// acknowledged, and safer in a member's queue than on the way.
const HOPS_FOR_ROOM_MAX: u8 = 1;
/// Memberships of one session: all of them are looked at when its client comes or goes.
const MEMBERSHIPS_MAX: usize = 4096;
/// Members that are asked for room before the first choice gets the message all the same.
const PROBES_MAX: usize = 8;

/// Who would get a message here.
#[derive(Clone, Copy)]
struct Chosen {
    session: u32,
    subscription: Subscription,
    state: MemberState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MemberState {
    Ready,
    /// Connected; its window or its socket is full.
    Full,
    Away,
}

/// Membership.
impl Shard {
    /// One valid filter of the form `$share/NAME/FILTER`; Ok: the granted QoS.
    pub(super) fn subscribe_shared(
        &mut self,
        session_index: u32,
        filter: &SubscribeFilter<'_>,
        identifier: Option<u32>,
    ) -> Result<QosLevel, ReasonCode> {
        if !self.limits.shared_available {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        let hash = self.home_key.hash(filter.topic_filter.as_bytes());
        let known = self.shared.is_member(hash, session_index);
        let Some(session) = self.sessions.get_mut(session_index) else {
            return Err(ReasonCode::UnspecifiedError);
        };
        let subscriptions_max = self.limits.subscriptions_per_session_max as usize;
        let memberships = session.shared.as_ref().map_or(0, |shared| shared.len());
        let is_full =
            memberships >= MEMBERSHIPS_MAX || session.subscription_count() >= subscriptions_max;
        if !known && is_full {
            self.counters.limits_reached += 1;
            return Err(ReasonCode::QuotaExceeded);
        }
        let subscription = Subscription::new(&filter.options, identifier, 0);
        let joined = self
            .shared
            .join(filter.topic_filter, hash, session_index, subscription);
        let Some((group, is_new)) = joined else {
            return Err(ReasonCode::UnspecifiedError);
        };
        if is_new {
            session.shared.get_or_insert_default().insert(group);
        }
        self.log_subscription(session_index, filter.topic_filter, subscription);
        Ok(filter.options.qos)
    }

    pub(super) fn unsubscribe_shared(&mut self, session: u32, text: &str) -> Option<()> {
        let hash = self.home_key.hash(text.as_bytes());
        let group = self.shared.find(hash)?;
        let left = self.shared.leave(group, session);
        let state = self.sessions.get_mut(session)?;
        let groups = state.shared.as_mut()?;
        groups.remove(group);
        if groups.is_empty() {
            state.shared = None;
        }
        left.then(|| self.log_unsubscription(session, text))
    }

    /// A membership of an earlier process; its client is not connected.
    pub(super) fn load_shared(&mut self, index: u32, text: &str, subscription: Subscription) {
        let hash = self.home_key.hash(text.as_bytes());
        let joined = self.shared.join(text, hash, index, subscription);
        if let Some((group, _)) = joined
            && let Some(session) = self.sessions.get_mut(index)
        {
            session.shared.get_or_insert_default().insert(group);
            self.shared.set_online(group, index, false);
        }
    }

    /// The client of a session has come or gone.
    pub(super) fn set_shared_online(&mut self, session_index: u32, is_online: bool) {
        let Self {
            sessions, shared, ..
        } = self;
        let groups = sessions
            .get(session_index)
            .and_then(|session| session.shared.as_ref());
        for group in groups.into_iter().flat_map(|groups| groups.iter()) {
            shared.set_online(group, session_index, is_online);
        }
    }

    /// Tells the other shards how many members the groups have here that changed in this turn.
    /// Before the turn's barrier, so that a SUBACK leaves when they know.
    pub(super) fn announce_groups(&mut self) {
        let own = self.id.index();
        let Self { shared, links, .. } = self;
        let mut tell = |text: &str, online: u32, all: u32| {
            for (_, link) in links.iter_mut().enumerate().filter(|(at, _)| *at != own) {
                link.push_shared_interest(text, online, all);
            }
        };
        while shared.poll_stale(&mut tell) {}
    }

    pub(super) fn on_shared_interest(
        &mut self,
        source: ShardId,
        text: &str,
        online: u32,
        all: u32,
    ) {
        let hash = self.home_key.hash(text.as_bytes());
        self.shared.set_peer(text, hash, source, online, all);
    }
}

/// Messages.
impl Shard {
    /// Chooses a shard for each group that matches; `publisher`: the publishing session.
    #[inline]
    pub(super) fn choose_shared(&mut self, topic_name: &str, publisher: Option<u32>) {
        if self.shared.has_groups() {
            self.choose_shared_shards(topic_name, publisher);
        } else {
            self.shared.clear_choices();
        }
    }

    fn choose_shared_shards(&mut self, topic_name: &str, publisher: Option<u32>) {
        let strategy = self.limits.shared_strategy;
        let basis = match strategy {
            SharedStrategy::HashTopic => self.home_key.hash(topic_name.as_bytes()),
            SharedStrategy::HashClient => publisher
                .and_then(|index| self.sessions.get(index))
                .map_or(0, |it| self.home_key.hash(it.client_id.as_bytes())),
            _ => 0,
        };
        let Self { shared, random, .. } = self;
        shared.choose(topic_name, self.id, strategy, basis, random);
    }

    /// The other shards that were chosen.
    pub(super) fn shared_shards(&self) -> ShardSet {
        let mut shards = ShardSet::EMPTY;
        for choice in self.shared.choices() {
            if choice.shard != self.id {
                shards.insert(choice.shard);
            }
        }
        shards
    }

    /// Brings a message to the members that were chosen; `exactly_once`: over a crash, too, for a
    /// message of this client.
    #[inline]
    pub(super) fn route_shared(
        &mut self,
        now: Instant,
        message: &SharedMessage,
        publisher: Option<Publisher>,
        exactly_once: Option<ClientKey>,
    ) -> SharedRoute {
        // Most messages go to no group.
        if self.shared.choices().is_empty() {
            return SharedRoute::default();
        }
        self.route_choices(now, message, publisher, exactly_once)
    }

    fn route_choices(
        &mut self,
        now: Instant,
        message: &SharedMessage,
        publisher: Option<Publisher>,
        exactly_once: Option<ClientKey>,
    ) -> SharedRoute {
        let groups = self.shared.choices().len();
        let drops = self.counters.drops_queue_full;
        let mut away = Away {
            durable_for: exactly_once,
            publisher,
            ..Away::default()
        };
        for index in 0..groups {
            let choice = self.shared.choices()[index];
            self.route_choice(now, choice, message, 0, &mut away);
        }
        self.shared.clear_choices();
        let mut open = away.open;
        for shard in away.shards.iter() {
            let link: &mut Link = &mut self.links[shard.index()];
            let number = link.latest();
            open += await_acceptance(link, number, publisher);
        }
        SharedRoute {
            groups,
            open,
            refused: self.is_refused(drops),
        }
    }

    /// To the chosen shard; `away` says how, and learns what is under way to another one.
    fn route_choice(
        &mut self,
        now: Instant,
        mut choice: Choice,
        message: &SharedMessage,
        mut hops: u8,
        away: &mut Away,
    ) {
        if choice.shard == self.id {
            let chosen = self.choose_member(choice, message.qos());
            choice = match (self.better_choice(choice, chosen, message, hops), chosen) {
                (Some(better), _) => better,
                (None, Some(chosen)) => {
                    self.deliver_shared(now, choice.group, chosen, message);
                    return;
                }
                (None, None) => {
                    self.counters.shared_unmatched += 1;
                    return;
                }
            };
            hops += 1;
        }
        let Some(hash) = self.shared.get(choice.group).map(Group::hash) else {
            return;
        };
        let (shard, member) = (choice.shard, choice.member);
        let way = SharedWay { member, hops };
        if let Some(client) = away.durable_for {
            let publisher = away.publisher;
            away.open += self.forward_to_group(message, shard, hash, way, client, publisher);
            return;
        }
        self.counters.messages_forwarded += 1;
        let link = &mut self.links[shard.index()];
        link.push_shared_publish(&message.parts(), 0, &mut away.body, hash, way);
        away.shards.insert(shard);
    }

    /// For a message that nobody waits for any more: its publisher's acknowledgement has left, or
    /// leaves with this shard's acceptance. So it must not be lost on the way to the next shard.
    fn away_for_good(&self, message: &SharedMessage) -> Away {
        let is_kept = self.journal.is_on() && message.qos() > QosLevel::AtMostOnce;
        Away {
            durable_for: is_kept.then_some(ClientKey::NONE),
            ..Away::default()
        }
    }

    /// Another shard, when nobody is a member here, or nobody is connected here but somewhere else,
    /// or nobody has room here and somebody else may have.
    fn better_choice(
        &mut self,
        choice: Choice,
        chosen: Option<Chosen>,
        message: &SharedMessage,
        hops: u8,
    ) -> Option<Choice> {
        let hops_max = match chosen.map(|it| it.state) {
            Some(MemberState::Ready) => return None,
            Some(MemberState::Full) => HOPS_FOR_ROOM_MAX,
            Some(MemberState::Away) | None => HOPS_MAX,
        };
        if hops >= hops_max {
            return None;
        }
        let basis = self.basis_of(message);
        let group = self.shared.get(choice.group)?;
        let (shard, member) = group.choose_elsewhere(basis, chosen.is_none())?;
        // A member's queue is a better place to wait than a link.
        let may_go = chosen.is_none() || self.has_room(shard.index());
        may_go.then_some(Choice {
            shard,
            member,
            ..choice
        })
    }

    /// What a message that is passed on is divided by: its publisher is not known any more.
    fn basis_of(&mut self, message: &SharedMessage) -> u64 {
        match self.limits.shared_strategy {
            SharedStrategy::HashTopic => self.home_key.hash(message.topic_name_bytes()),
            _ => self.random.next_u64(),
        }
    }

    fn deliver_shared(
        &mut self,
        now: Instant,
        group: GroupId,
        chosen: Chosen,
        message: &SharedMessage,
    ) {
        let subscription = chosen.subscription;
        let identifier = subscription.identifier();
        let offer = Offer {
            message,
            qos: subscription.qos().min(message.qos()),
            retain: subscription.retain_as_published() && message.retain(),
            subscription_identifiers: identifier.as_slice(),
            group: Some(group),
        };
        self.offer(now, chosen.session, &offer, WhenSlow::Drop);
    }

    /// The first in the order of the strategy that can take the message now; if none of the first
    /// few can, the first of all.
    fn choose_member(&mut self, choice: Choice, qos: QosLevel) -> Option<Chosen> {
        let strategy = self.limits.shared_strategy;
        let Self {
            shared,
            random,
            sessions,
            connections,
            limits,
            ..
        } = self;
        let group = shared.get_mut(choice.group)?;
        let candidates = group.candidates(strategy, choice.member, random);
        let mut all = candidates
            .take(PROBES_MAX)
            .map(|(session, subscription)| Chosen {
                session,
                subscription,
                state: state_of(
                    sessions.get(session),
                    connections,
                    limits,
                    subscription.qos().min(qos),
                ),
            });
        let first = all.next()?;
        if strategy.keeps_member() {
            return Some(first);
        }
        let mut ready = iter::once(first)
            .chain(all)
            .filter(|it| it.state == MemberState::Ready);
        let chosen = match strategy {
            // Of two that are ready: who has less to do. Two are enough to even a group out.
            SharedStrategy::LeastInflight => ready
                .take(2)
                .min_by_key(|it| unacknowledged(sessions.get(it.session))),
            _ => ready.next(),
        };
        Some(chosen.unwrap_or(first))
    }

    /// A member is to be chosen here for another shard. True: its queue was full, and the publisher
    /// is to know.
    pub(super) fn on_shared_publish(
        &mut self,
        now: Instant,
        batch: &PeerBatch,
        hash: u64,
        member: u32,
        hops: u8,
        record: &PublishRecord,
    ) -> bool {
        let drops = self.counters.drops_queue_full;
        self.counters.messages_from_peers += 1;
        let message = batch.message(record, &mut self.messages);
        if let Some(group) = self.shared.find(hash) {
            let choice = Choice {
                group,
                shard: self.id,
                member,
            };
            let mut away = self.away_for_good(&message);
            self.route_choice(now, choice, &message, hops.max(1), &mut away);
        } else {
            self.counters.shared_unmatched += 1;
        }
        self.messages.release(message);
        self.is_refused(drops)
    }

    /// Another member, wherever it is. No publisher waits for it: the message was accepted.
    fn route_again(&mut self, now: Instant, group: GroupId, message: &SharedMessage) {
        let strategy = self.limits.shared_strategy;
        let basis = self.basis_of(message);
        let Self { shared, random, .. } = self;
        match shared.choose_again(group, self.id, strategy, basis, random) {
            Some(choice) => {
                let mut away = self.away_for_good(message);
                self.route_choice(now, choice, message, 0, &mut away);
            }
            None => self.counters.shared_unmatched += 1,
        }
    }

    /// A message that an earlier process, with another number of shards, did not bring to a member.
    pub(super) fn route_overdue_to_group(
        &mut self,
        now: Instant,
        message: &SharedMessage,
        hash: u64,
    ) {
        let Some(group) = self.shared.find(hash) else {
            return;
        };
        let choice = Choice {
            group,
            shard: self.id,
            member: 0,
        };
        if let Some(chosen) = self.choose_member(choice, message.qos()) {
            self.deliver_shared(now, group, chosen, message);
        }
    }

    /// A member's session has ended: what it had not acknowledged goes to another one. A QoS 2
    /// message that was sent must not [MQTT-4.8.2-5].
    pub(super) fn redeliver_shared(&mut self, now: Instant, left: Vec<Left>) {
        for Left { delivery, was_sent } in left {
            let message = &delivery.message;
            let again = !was_sent || delivery.qos == QosLevel::AtLeastOnce;
            if let Some(group) = delivery.group
                && again
                && !delivery.is_expired(now)
            {
                self.route_again(now, group, message);
            }
            self.messages.release(delivery.message);
        }
    }
}

/// Can the client take a message now?
fn state_of(
    session: Option<&Session<ConnectionId, FilterId>>,
    connections: &Slab<Connection>,
    limits: &Limits,
    qos: QosLevel,
) -> MemberState {
    let connection = session
        .and_then(|session| session.connection)
        .and_then(|id| connections.get_named(id.index, id.generation));
    let (Some(session), Some(connection)) = (session, connection) else {
        return MemberState::Away;
    };
    let has_room = connection.send_bytes() < limits.send_queue_bytes_max as usize
        && (qos == QosLevel::AtMostOnce || session.outbound.can_send(connection.window));
    if has_room || limits.shared_strategy.keeps_member() {
        MemberState::Ready
    } else {
        MemberState::Full
    }
}

fn unacknowledged(session: Option<&Session<ConnectionId, FilterId>>) -> usize {
    session.map_or(0, |it| {
        usize::from(it.outbound.sent_count()) + it.outbound.queued_count()
    })
}

/// How messages go to other shards, and which are under way.
#[derive(Default)]
struct Away {
    /// They are journalled before they travel, so that they arrive over a crash, too; see
    /// [`Shard::forward_to_group`].
    durable_for: Option<ClientKey>,
    publisher: Option<Publisher>,
    body: Option<Bytes>,
    /// Those whose acceptance is to be waited for.
    shards: ShardSet,
    /// Acceptances that the publisher waits for besides.
    open: u16,
}

/// What became of a message's groups.
#[derive(Default)]
pub(super) struct SharedRoute {
    /// How many there were.
    pub(super) groups: usize,
    /// Acceptances that the publisher has to wait for: one per link, as they are cumulative.
    pub(super) open: u16,
    /// A queue was full, and the publisher is to know.
    pub(super) refused: bool,
}

/// A delivery that a session leaves behind.
pub(super) struct Left {
    pub(super) delivery: Delivery,
    pub(super) was_sent: bool,
}

/// Is it the filter of a shared subscription, valid or not?
pub(super) fn is_shared(topic_filter: &str) -> bool {
    !matches!(split_shared(topic_filter), Ok(None))
}

// One message of a batch stays within a cache line.
const _: () = assert!(size_of::<ShardMessage>() <= 64);
