//! The route of any application message: local sessions, one message per interested shard, the
//! owner of the retained message.

use super::Shard;
use super::outbox::{Link, Waiter};
use crate::base::ids::{ConnectionId, ShardId, ShardSet};
use crate::base::time::Instant;
use crate::codec::{MessageParts, SharedMessage};
use crate::topic::index::TopicHash;
use bytes::Bytes;

/// Where an application message goes beside the local sessions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Destinations {
    /// Of the topic name.
    pub(super) hash: TopicHash,
    pub(super) interested: ShardSet,
    /// Keeps the message as (or clears) the retained one of its topic; `None`: it has no RETAIN.
    pub(super) owner: Option<ShardId>,
}

impl Destinations {
    const fn are_none(&self) -> bool {
        self.owner.is_none() && self.interested.is_empty()
    }
}

/// Who waits until the other shards have accepted a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Publisher {
    pub(super) connection: ConnectionId,
    pub(super) ack_number: u32,
}

impl Publisher {
    /// For the acceptance of the message with this number on a link.
    pub(super) const fn waiter(self, number: u64) -> Waiter {
        Waiter {
            number,
            connection: self.connection,
            ack_number: self.ack_number,
        }
    }
}

/// What became of a client's message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Routed {
    /// Somebody has subscribed to it.
    pub(super) is_heard: bool,
    /// Some session's queue refused it, and the publisher is to know.
    pub(super) is_refused: bool,
    /// Acceptances of other shards that the publisher waits for.
    pub(super) open: u16,
}

impl Shard {
    #[inline]
    pub(super) fn destinations(
        &mut self,
        topic_name: &[u8],
        hash: TopicHash,
        retain: bool,
    ) -> Destinations {
        if self.shard_count == 1 {
            return Destinations {
                hash,
                interested: ShardSet::EMPTY,
                owner: retain.then_some(self.id),
            };
        }
        self.destinations_of_many(topic_name, hash, retain)
    }

    fn destinations_of_many(
        &mut self,
        topic_name: &[u8],
        hash: TopicHash,
        retain: bool,
    ) -> Destinations {
        Destinations {
            hash,
            interested: self.interest.shards(topic_name, hash),
            owner: retain.then(|| self.home_key.home(topic_name, self.shard_count)),
        }
    }

    /// Brings a client's message to everybody. `exactly_once`: over a crash, too.
    #[inline]
    pub(super) fn route(
        &mut self,
        now: Instant,
        session: u32,
        parts: &MessageParts<'_>,
        destinations: &Destinations,
        exactly_once: bool,
        publisher: Option<Publisher>,
    ) -> Routed {
        let is_wanted = !destinations.interested.is_empty();
        let filters = self.match_local(parts.topic_name, destinations.hash);
        let is_wanted_here = filters > 0 || !self.shared.choices().is_empty();
        if !is_wanted_here && !exactly_once && destinations.owner.is_none() {
            // Nobody on this shard needs a message.
            return Routed {
                is_heard: is_wanted,
                is_refused: false,
                open: self.send_to_interested(parts, destinations, publisher, &mut None),
            };
        }
        let message = self.messages.make(parts);
        let (matched, is_refused) =
            self.deliver_matched_or_refuse(now, filters, &message, Some(session));
        let client = exactly_once.then(|| self.publisher_key(session));
        let open = if let Some(client) = client {
            self.forward(now, &message, destinations, client, publisher)
        } else if destinations.are_none() {
            0
        } else {
            self.route_away(now, &message, destinations, publisher)
        };
        let shared = self.route_shared(now, &message, publisher, client);
        self.messages.release(message);
        Routed {
            is_heard: matched + shared.groups > 0 || is_wanted,
            is_refused: is_refused || shared.refused,
            open: open + shared.open,
        }
    }

    /// Is there room on every link that the message needs? If not, the connection is listed to be
    /// tried again when there is. A shard whose disk is too slow takes only what does not need it.
    #[inline]
    pub(super) fn have_room(
        &mut self,
        id: ConnectionId,
        destinations: &Destinations,
        may_need_disk: bool,
    ) -> bool {
        // Nearly all messages of a shard that has its subscribers itself.
        (destinations.are_none() && self.shared.choices().is_empty())
            || self.have_room_on_links(id, destinations, may_need_disk)
    }

    fn have_room_on_links(
        &mut self,
        id: ConnectionId,
        destinations: &Destinations,
        may_need_disk: bool,
    ) -> bool {
        let mut shards = destinations.interested;
        if !self.shared.choices().is_empty() {
            shards.insert_all(self.shared_shards());
        }
        if let Some(owner) = destinations.owner {
            shards.insert(owner);
            shards.remove(self.id);
        }
        for shard in shards.iter() {
            let is_pressed = may_need_disk && self.links[shard.index()].peer_is_pressed;
            if is_pressed || !self.has_room(shard.index()) {
                self.wait_for_link(id, shard.index());
                return false;
            }
        }
        true
    }

    pub(super) fn has_room(&self, link: usize) -> bool {
        let Self { links, limits, .. } = self;
        links[link].has_room(limits.link_bytes_max, limits.link_messages_max)
    }

    /// Lists a connection at a full link, once.
    pub(super) fn wait_for_link(&mut self, id: ConnectionId, link: usize) {
        let Self {
            connections, links, ..
        } = self;
        let Some(connection) = connections.get_named_mut(id.index, id.generation) else {
            return;
        };
        if !connection.waits_for_link {
            connection.waits_for_link = true;
            links[link].paused.push_back(id);
        }
    }

    /// One message per interested shard, and the retained update to its owner. Returns the number
    /// of acceptances that `publisher` has to wait for.
    pub(super) fn route_away(
        &mut self,
        now: Instant,
        message: &SharedMessage,
        destinations: &Destinations,
        publisher: Option<Publisher>,
    ) -> u16 {
        let parts = message.parts();
        let mut shared = None;
        let open = self.send_to_interested(&parts, destinations, publisher, &mut shared);
        let Some(owner) = destinations.owner else {
            return open;
        };
        if owner == self.id {
            self.keep_retained(now, message);
            return open;
        }
        let link = &mut self.links[owner.index()];
        let number = link.push_retained_update(&parts, 0, &mut shared);
        open + await_acceptance(link, number, publisher)
    }

    fn send_to_interested(
        &mut self,
        message: &MessageParts<'_>,
        destinations: &Destinations,
        publisher: Option<Publisher>,
        shared: &mut Option<Bytes>,
    ) -> u16 {
        let mut open = 0;
        for shard in destinations.interested.iter() {
            let link = &mut self.links[shard.index()];
            let number = link.push_publish(message, destinations.hash, 0, shared);
            self.counters.messages_forwarded += 1;
            open += await_acceptance(link, number, publisher);
        }
        open
    }
}

/// Lets the publisher wait for the link's acceptance of a message; the number of its conditions.
pub(super) fn await_acceptance(link: &mut Link, number: u64, publisher: Option<Publisher>) -> u16 {
    let Some(publisher) = publisher else { return 0 };
    link.wait(publisher.waiter(number));
    1
}
