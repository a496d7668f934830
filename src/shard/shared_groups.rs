//! The groups of shared subscriptions (section 4.8.2): who is in them here, how many elsewhere, and
//! whose turn it is.
//!
//! Every shard knows every group, its own members by name and those of the other shards by number,
//! so that a publisher's shard chooses without asking anybody. Nothing here costs by the number of
//! members. Bounded by the subscriptions of all sessions.

use super::shared_members::Members;
use super::subscription::Subscription;
use crate::base::ids::ShardId;
use crate::base::map::{Map, hasher, map};
use crate::base::random::Random;
use crate::config::limits::SharedStrategy;
use crate::topic::index::Index;
use crate::topic::names::FilterKind;
use ahash::RandomState;
use smallvec::SmallVec;

/// Names a group at one shard; never used again.
pub(super) type GroupId = u32;

/// Where one message of a group goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Choice {
    pub(super) group: GroupId,
    pub(super) shard: ShardId,
    /// For the strategies that choose shard and member at once: the member's position there.
    pub(super) member: u32,
}

/// What another shard has said of its members.
#[derive(Clone, Copy, Debug)]
struct PeerMembers {
    shard: ShardId,
    online: u32,
    all: u32,
}

#[derive(Debug)]
pub(super) struct Group {
    /// `$share/NAME/FILTER`.
    text: Box<str>,
    /// Its keyed hash: the name of the group between shards.
    hash: u64,
    online: Members,
    offline: Members,
    /// In the order of their shards.
    peers: SmallVec<[PeerMembers; 1]>,
    /// Round robin between shards, and between the members here.
    shard_cursor: u32,
    member_cursor: u32,
    /// The peers have not heard of the latest change.
    stale: bool,
}

impl Group {
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    fn is_empty(&self) -> bool {
        self.online.len() == 0 && self.offline.len() == 0 && self.peers.is_empty()
    }

    /// Members of a shard that may be chosen: those online as long as anybody is.
    fn eligible(&self, any_online: bool) -> u32 {
        if any_online {
            self.online.len()
        } else {
            self.offline.len()
        }
    }

    /// The shard that gets the next message, and the member's position there.
    fn choose(
        &mut self,
        own: ShardId,
        strategy: SharedStrategy,
        basis: u64,
        random: &mut Random,
    ) -> Option<(ShardId, u32)> {
        let online: u64 = self.peers.iter().map(|peer| u64::from(peer.online)).sum();
        let any_online = online + u64::from(self.online.len()) > 0;
        let here = self.eligible(any_online);
        let of_peer = |peer: &PeerMembers| if any_online { peer.online } else { peer.all };
        let elsewhere: u64 = self.peers.iter().map(|peer| u64::from(of_peer(peer))).sum();
        let total = elsewhere + u64::from(here);
        if total == 0 {
            return None;
        }
        let position = match strategy {
            SharedStrategy::RoundRobin | SharedStrategy::LeastInflight => {
                self.shard_cursor = self.shard_cursor.wrapping_add(1);
                u64::from(self.shard_cursor) % total
            }
            SharedStrategy::Random => random.below(total),
            SharedStrategy::Sticky => 0,
            SharedStrategy::HashClient | SharedStrategy::HashTopic => basis % total,
        };
        let before = self.peers.iter().filter(|peer| peer.shard < own);
        let behind = self.peers.iter().filter(|peer| peer.shard > own);
        let by_shard = before
            .map(|peer| (peer.shard, of_peer(peer)))
            .chain([(own, here)])
            .chain(behind.map(|peer| (peer.shard, of_peer(peer))));
        shard_at(by_shard, position)
    }

    /// Another shard, in proportion to its members: those connected or, when nobody is connected
    /// elsewhere and `or_away`, all.
    pub(super) fn choose_elsewhere(&self, basis: u64, or_away: bool) -> Option<(ShardId, u32)> {
        let any_online = self.peers.iter().any(|peer| peer.online > 0);
        if !any_online && !or_away {
            return None;
        }
        let count_of = |peer: &PeerMembers| if any_online { peer.online } else { peer.all };
        let total: u64 = self
            .peers
            .iter()
            .map(|peer| u64::from(count_of(peer)))
            .sum();
        let position = basis.checked_rem(total)?;
        let by_shard = self.peers.iter().map(|peer| (peer.shard, count_of(peer)));
        shard_at(by_shard, position)
    }

    /// The members here that may get a message, the first choice first.
    pub(super) fn candidates(
        &mut self,
        strategy: SharedStrategy,
        wanted: u32,
        random: &mut Random,
    ) -> impl Iterator<Item = (u32, Subscription)> {
        let any_online = self.online.len() > 0;
        let count = self.eligible(any_online) as usize;
        let first = match strategy {
            SharedStrategy::RoundRobin => {
                self.member_cursor = self.member_cursor.wrapping_add(1);
                self.member_cursor as usize
            }
            SharedStrategy::LeastInflight | SharedStrategy::Random => {
                usize::try_from(random.next_u64() >> 32).unwrap_or_default()
            }
            SharedStrategy::Sticky => 0,
            SharedStrategy::HashClient | SharedStrategy::HashTopic => wanted as usize,
        };
        let members = if any_online {
            &self.online
        } else {
            &self.offline
        };
        let members = members.as_slice();
        let (behind, from_first) = members[..count].split_at(first.checked_rem(count).unwrap_or(0));
        from_first.iter().chain(behind).copied()
    }
}

/// All groups that this shard knows.
#[derive(Debug)]
pub(super) struct SharedGroups {
    hasher: RandomState,
    /// Topic filter -> groups.
    index: Index<GroupId, ()>,
    groups: Map<GroupId, Group>,
    by_hash: Map<u64, GroupId>,
    last_id: GroupId,
    /// Groups of which the peers must hear, at the end of the turn.
    stale: Vec<GroupId>,
    /// Pairs of group and session here.
    member_count: usize,
    /// The groups that match `matched_topic`, as long as the index is at `matched_generation`: the
    /// messages of a batch often have one topic.
    matched: Vec<(GroupId, ())>,
    matched_topic: String,
    matched_generation: u64,
    /// What was chosen for the message that is being routed.
    choices: Vec<Choice>,
}

impl SharedGroups {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            hasher: hasher(seed),
            index: Index::new(seed),
            groups: map(seed),
            by_hash: map(seed),
            last_id: 0,
            stale: Vec::new(),
            member_count: 0,
            matched: Vec::new(),
            matched_topic: String::new(),
            matched_generation: 0,
            choices: Vec::new(),
        }
    }

    pub(super) const fn member_count(&self) -> usize {
        self.member_count
    }

    pub(super) fn is_settled(&self) -> bool {
        self.stale.is_empty()
    }

    pub(super) fn get(&self, group: GroupId) -> Option<&Group> {
        self.groups.get(&group)
    }

    pub(super) fn get_mut(&mut self, group: GroupId) -> Option<&mut Group> {
        self.groups.get_mut(&group)
    }

    /// The group under this name, if it is known.
    pub(super) fn find(&self, hash: u64) -> Option<GroupId> {
        self.by_hash.get(&hash).copied()
    }

    /// The group, made if it does not exist. `None`: another one has the same hash, which happens
    /// by chance once in 2^64 pairs.
    fn find_or_make(&mut self, text: &str, hash: u64) -> Option<GroupId> {
        if let Some(id) = self.find(hash) {
            let group = self.groups.get(&id)?;
            return (&*group.text == text).then_some(id);
        }
        self.last_id = self.last_id.wrapping_add(1);
        let id = self.last_id;
        let (filter, kind) = filter_of(text);
        self.index.insert(filter, kind, id, ());
        self.by_hash.insert(hash, id);
        let group = Group {
            text: text.into(),
            hash,
            online: Members::default(),
            offline: Members::default(),
            peers: SmallVec::new(),
            shard_cursor: 0,
            member_cursor: 0,
            stale: false,
        };
        self.groups.insert(id, group);
        Some(id)
    }

    /// A session subscribes, or changes its subscription. The group, and whether it is new there.
    pub(super) fn join(
        &mut self,
        text: &str,
        hash: u64,
        session: u32,
        subscription: Subscription,
    ) -> Option<(GroupId, bool)> {
        let id = self.find_or_make(text, hash)?;
        let group = self.groups.get_mut(&id)?;
        let is_new = group.online.get(session, &self.hasher).is_none();
        group.online.insert(session, subscription, &self.hasher);
        if is_new {
            self.member_count += 1;
            self.mark_stale(id);
        }
        Some((id, is_new))
    }

    /// Is the session a member?
    pub(super) fn is_member(&self, hash: u64, session: u32) -> bool {
        let group = self.find(hash).and_then(|id| self.groups.get(&id));
        group.is_some_and(|group| {
            group.online.get(session, &self.hasher).is_some()
                || group.offline.get(session, &self.hasher).is_some()
        })
    }

    /// Text of the group and the session's subscription, if it is a member.
    pub(super) fn membership(&self, id: GroupId, session: u32) -> Option<(&str, Subscription)> {
        let group = self.groups.get(&id)?;
        let online = group.online.get(session, &self.hasher);
        let subscription = online.or_else(|| group.offline.get(session, &self.hasher))?;
        Some((&group.text, subscription))
    }

    /// A session unsubscribes or ends.
    pub(super) fn leave(&mut self, id: GroupId, session: u32) -> bool {
        let Some(group) = self.groups.get_mut(&id) else {
            return false;
        };
        let online = group.online.remove(session, &self.hasher);
        if online
            .or_else(|| group.offline.remove(session, &self.hasher))
            .is_none()
        {
            return false;
        }
        self.member_count -= 1;
        self.mark_stale(id);
        true
    }

    /// A member's client has connected, or is gone.
    pub(super) fn set_online(&mut self, id: GroupId, session: u32, is_online: bool) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let (from, to) = if is_online {
            (&mut group.offline, &mut group.online)
        } else {
            (&mut group.online, &mut group.offline)
        };
        if let Some(subscription) = from.remove(session, &self.hasher) {
            to.insert(session, subscription, &self.hasher);
            self.mark_stale(id);
        }
    }

    /// What another shard says of its members.
    pub(super) fn set_peer(
        &mut self,
        text: &str,
        hash: u64,
        shard: ShardId,
        online: u32,
        all: u32,
    ) {
        let known = self.find(hash);
        if known.is_none() && all == 0 {
            return;
        }
        let Some(id) = self.find_or_make(text, hash) else {
            return;
        };
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let position = group.peers.iter().position(|peer| peer.shard >= shard);
        let position = position.unwrap_or(group.peers.len());
        let is_known = group
            .peers
            .get(position)
            .is_some_and(|it| it.shard == shard);
        let peer = PeerMembers { shard, online, all };
        match (is_known, all > 0) {
            (true, true) => group.peers[position] = peer,
            (false, true) => group.peers.insert(position, peer),
            (true, false) => {
                group.peers.remove(position);
            }
            (false, false) => {}
        }
        self.forget_if_empty(id);
    }

    fn mark_stale(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(&id)
            && !std::mem::replace(&mut group.stale, true)
        {
            self.stale.push(id);
        }
    }

    /// The next group of which the peers must hear: its text and numbers. The group goes when
    /// nobody is left in it.
    pub(super) fn poll_stale(&mut self, mut tell: impl FnMut(&str, u32, u32)) -> bool {
        let Some(id) = self.stale.pop() else {
            return false;
        };
        if let Some(group) = self.groups.get_mut(&id) {
            group.stale = false;
            let online = group.online.len();
            tell(&group.text, online, online + group.offline.len());
        }
        self.forget_if_empty(id);
        true
    }

    fn forget_if_empty(&mut self, id: GroupId) {
        let gone = self
            .groups
            .get(&id)
            .is_some_and(|group| group.is_empty() && !group.stale);
        if gone && let Some(group) = self.groups.remove(&id) {
            self.by_hash.remove(&group.hash);
            self.index.remove(filter_of(&group.text).0, id);
        }
    }

    /// Chooses a shard for each group that matches; `basis`: what the hash strategies go by.
    pub(super) fn choose(
        &mut self,
        topic_name: &str,
        own: ShardId,
        strategy: SharedStrategy,
        basis: u64,
        random: &mut Random,
    ) {
        self.choices.clear();
        self.find_groups(topic_name);
        for (id, ()) in &self.matched {
            if let Some(group) = self.groups.get_mut(id)
                && let Some((shard, member)) = group.choose(own, strategy, basis, random)
            {
                self.choices.push(Choice {
                    group: *id,
                    shard,
                    member,
                });
            }
        }
    }

    fn find_groups(&mut self, topic_name: &str) {
        let generation = self.index.generation();
        if self.matched_generation == generation && self.matched_topic == topic_name {
            return;
        }
        self.matched.clear();
        self.index.matches(topic_name, &mut self.matched);
        self.matched_generation = generation;
        self.matched_topic.clear();
        self.matched_topic.push_str(topic_name);
    }

    /// Chooses again for one group: the shard that was chosen first has no member any more, or
    /// the member that had the message has gone.
    pub(super) fn choose_again(
        &mut self,
        id: GroupId,
        own: ShardId,
        strategy: SharedStrategy,
        basis: u64,
        random: &mut Random,
    ) -> Option<Choice> {
        let group = self.groups.get_mut(&id)?;
        let (shard, member) = group.choose(own, strategy, basis, random)?;
        Some(Choice {
            group: id,
            shard,
            member,
        })
    }

    pub(super) fn has_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    pub(super) fn choices(&self) -> &[Choice] {
        &self.choices
    }

    pub(super) fn clear_choices(&mut self) {
        self.choices.clear();
    }
}

/// The shard of the member at this position over all shards, and its position there.
fn shard_at(
    by_shard: impl Iterator<Item = (ShardId, u32)>,
    mut position: u64,
) -> Option<(ShardId, u32)> {
    for (shard, count) in by_shard {
        if position < u64::from(count) {
            return Some((shard, u32::try_from(position).unwrap_or_default()));
        }
        position -= u64::from(count);
    }
    None
}

/// Topic filter and kind of a valid `$share/NAME/FILTER`.
fn filter_of(text: &str) -> (&str, FilterKind) {
    let filter = text.splitn(3, '/').nth(2).unwrap_or_default();
    let kind = if filter.contains(['+', '#']) {
        FilterKind::Wildcard
    } else {
        FilterKind::Exact
    };
    (filter, kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{QosLevel, RetainHandling, SubscriptionOptions};

    const TEXT: &str = "$share/g/t/+";

    fn subscription() -> Subscription {
        let options = SubscriptionOptions {
            qos: QosLevel::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::DoNotSend,
        };
        Subscription::new(&options, None, 1)
    }

    fn shares(groups: &mut SharedGroups, strategy: SharedStrategy, basis: u64) -> [u32; 4] {
        let mut random = Random::new(4);
        let mut shares = [0; 4];
        for round in 0..1000 {
            groups.choose("t/1", ShardId(1), strategy, basis + round, &mut random);
            assert!(groups.choices().len() <= 1);
            for choice in groups.choices() {
                shares[choice.shard.index()] += 1;
            }
        }
        shares
    }

    #[test]
    fn shards_are_chosen_by_their_online_members_and_by_all_when_nobody_is_online() {
        let mut groups = SharedGroups::new(1);
        for session in 0..2 {
            groups.join(TEXT, 9, session, subscription()).unwrap();
        }
        groups.set_peer(TEXT, 9, ShardId(0), 1, 5);
        groups.set_peer(TEXT, 9, ShardId(3), 7, 7);
        let strategy = SharedStrategy::RoundRobin;
        assert_eq!(shares(&mut groups, strategy, 0), [100, 200, 0, 700]);
        let hashed = shares(&mut groups, SharedStrategy::HashTopic, 0);
        assert_eq!(hashed, [100, 200, 0, 700]);
        let random = shares(&mut groups, SharedStrategy::Random, 0);
        assert!((600..800).contains(&random[3]), "{random:?}");
        assert_eq!(shares(&mut groups, SharedStrategy::Sticky, 0)[0], 1000);
        // Nobody online: five of seven members are at shard 0.
        groups.set_online(1, 0, false);
        groups.set_online(1, 1, false);
        groups.set_peer(TEXT, 9, ShardId(0), 0, 5);
        groups.set_peer(TEXT, 9, ShardId(3), 0, 0);
        let offline = shares(&mut groups, strategy, 0);
        assert!(offline[0] > 700 && offline[1] > 250, "{offline:?}");
    }

    #[test]
    fn group_goes_with_its_last_member_and_leaves_nothing_behind() {
        let mut groups = SharedGroups::new(1);
        let (id, is_new) = groups.join(TEXT, 9, 4, subscription()).unwrap();
        assert!(is_new && !groups.join(TEXT, 9, 4, subscription()).unwrap().1);
        assert!(groups.is_member(9, 4) && !groups.is_member(9, 5));
        groups.set_peer(TEXT, 9, ShardId(0), 1, 1);
        assert!(groups.leave(id, 4) && !groups.leave(id, 4));
        let mut told = Vec::new();
        while groups.poll_stale(|text, online, all| told.push((text.to_owned(), online, all))) {}
        assert_eq!(told, [(TEXT.to_owned(), 0, 0)]);
        assert!(groups.has_groups(), "shard 0 has a member");
        groups.set_peer(TEXT, 9, ShardId(0), 0, 0);
        assert!(!groups.has_groups());
        assert_eq!(groups.index.filter_count(), 0);
        assert!(groups.by_hash.is_empty() && groups.member_count() == 0);
    }

    #[test]
    fn candidates_take_turns_and_prefer_those_online() {
        let mut groups = SharedGroups::new(1);
        for session in 0..3 {
            groups.join(TEXT, 9, session, subscription()).unwrap();
        }
        groups.set_online(1, 2, false);
        let mut random = Random::new(1);
        let group = groups.get_mut(1).unwrap();
        let mut first = || {
            let mut candidates = group.candidates(SharedStrategy::RoundRobin, 0, &mut random);
            candidates.next().map(|(session, _)| session)
        };
        let turns: Vec<_> = (0..4).filter_map(|_| first()).collect();
        assert_eq!(turns, [1, 0, 1, 0]);
    }
}
