//! Messages to other shards that must arrive exactly once, also over a crash: QoS 2 from journalled
//! sessions, the wills of these, and what is passed on from one member of a shared subscription to
//! another one or from a shard that has none.
//!
//! Such a message and where it goes is journalled together with what it did here, and travels when
//! that is durable. The receiver journals the number of the last one that arrived together with
//! what it did there. After a crash the sender sends what was not accepted again, and the receiver
//! knows what it has: numbers of a link ascend, whatever happens.
//!
//! While such a message waits for the disk, what its publisher sends next must not overtake it on
//! the way to other shards [MQTT-4.6.0-6]: an older retained message would replace a newer one.
//! See `holds_back`.

use super::Shard;
use super::client_key::ClientKey;
use super::journal::Waiter;
use super::route::{Destinations, Publisher};
use crate::base::ids::{ShardId, ShardSet};
use crate::base::map::{Map, map};
use crate::base::time::Instant;
use crate::codec::SharedMessage;
use crate::journal::{ForwardTarget, Record};
use smallvec::SmallVec;
use std::collections::VecDeque;

/// Numbers of a process begin with its start in milliseconds since 1970, shifted by this: they are
/// above all earlier ones even when power failed without a sync, and more than a process can use
/// per millisecond.
const START_SHIFT: u32 = 20;

/// Messages that are not accepted everywhere, in the order of their numbers. Bounded by what
/// publishers may have unacknowledged.
#[derive(Debug)]
pub(super) struct Forwards {
    open: VecDeque<Forward>,
    next: u64,
    /// This one and all before it travel, or have.
    sent: u64,
    /// This one and all before it have arrived everywhere.
    done: u64,
    /// The last retained update among them.
    last_retained_update: u64,
    /// By shard: the last number that arrived from there.
    arrived: Vec<u64>,
    /// The last message of a client that waits for the disk.
    unsent: Map<ClientKey, u64>,
}

#[derive(Debug)]
struct Forward {
    number: u64,
    message: SharedMessage,
    shards: ShardSet,
    target: ForwardTarget,
    /// For a shared subscription.
    shared: SharedWay,
    client: ClientKey,
    publisher: Option<Publisher>,
    is_sent: bool,
    /// Links that have not accepted it, and its number there.
    waits: SmallVec<[(ShardId, u64); 2]>,
}

/// Of a message to a shared subscription: the position of the member that was chosen, and the
/// shards that had none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SharedWay {
    pub(super) member: u32,
    pub(super) hops: u8,
}

impl Forwards {
    pub(super) fn new(shard_count: u16, hash_seed: u64) -> Self {
        Self {
            open: VecDeque::new(),
            next: 1,
            sent: 0,
            done: 0,
            last_retained_update: 0,
            arrived: vec![0; usize::from(shard_count)],
            unsent: map(hash_seed),
        }
    }

    /// A process starts, behind what was recovered.
    pub(super) fn start(&mut self, next: u64, unix_ms: u64) {
        self.next = next.max(unix_ms << START_SHIFT);
    }

    /// The number that no forward has or had.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// The last retained update on its way: what a barrier waits for.
    pub(super) const fn last_retained_update(&self) -> u64 {
        self.last_retained_update
    }

    pub(super) const fn is_sent(&self, number: u64) -> bool {
        self.sent >= number
    }

    pub(super) const fn is_done(&self, number: u64) -> bool {
        self.done >= number
    }

    pub(super) fn is_nobody_held_back(&self) -> bool {
        self.unsent.is_empty()
    }

    /// An earlier message of this client waits for the disk before it travels.
    pub(super) fn holds_back(&self, client: ClientKey) -> bool {
        self.unsent.contains_key(&client)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// A message of another shard has come; false: it had come before.
    pub(super) fn on_arrived(&mut self, source: ShardId, number: u64) -> bool {
        let arrived = &mut self.arrived[source.index()];
        let is_new = number > *arrived;
        *arrived = number.max(*arrived);
        is_new
    }

    /// All messages held, for the check that none is lost.
    pub(super) fn messages(&self) -> impl Iterator<Item = &SharedMessage> {
        self.open.iter().map(|forward| &forward.message)
    }
}

impl Shard {
    /// As `route_away`, for a message of a client that must arrive exactly once. The number of
    /// acceptances that `publisher` waits for.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        message: &SharedMessage,
        destinations: &Destinations,
        client: ClientKey,
        publisher: Option<Publisher>,
    ) -> u16 {
        let interested = destinations.interested;
        let mut open = 0;
        if !interested.is_empty() {
            let target = ForwardTarget::Subscribers;
            let way = SharedWay::default();
            open += self.put_forward(message, interested, target, way, client, publisher);
        }
        let Some(owner) = destinations.owner else {
            return open;
        };
        if owner == self.id {
            self.keep_retained(now, message);
            return open;
        }
        let mut shards = ShardSet::EMPTY;
        shards.insert(owner);
        let target = ForwardTarget::RetainedStore;
        open + self.put_forward(
            message,
            shards,
            target,
            SharedWay::default(),
            client,
            publisher,
        )
    }

    /// To one member of a shared subscription at another shard; [`ClientKey::NONE`]: nobody's next
    /// message waits for it.
    pub(super) fn forward_to_group(
        &mut self,
        message: &SharedMessage,
        shard: ShardId,
        group: u64,
        way: SharedWay,
        client: ClientKey,
        publisher: Option<Publisher>,
    ) -> u16 {
        let mut shards = ShardSet::EMPTY;
        shards.insert(shard);
        let target = ForwardTarget::Group(group);
        self.put_forward(message, shards, target, way, client, publisher)
    }

    fn put_forward(
        &mut self,
        message: &SharedMessage,
        shards: ShardSet,
        target: ForwardTarget,
        shared: SharedWay,
        client: ClientKey,
        publisher: Option<Publisher>,
    ) -> u16 {
        let number = self.forwards.next;
        self.forwards.next += 1;
        if target == ForwardTarget::RetainedStore {
            self.forwards.last_retained_update = number;
        }
        if let Some((place, bytes)) = self.journal.hold(message) {
            self.journal.append(&Record::Forward {
                number,
                place,
                bytes,
                shards: shards.bits(),
                target,
            });
        }
        self.forwards.open.push_back(Forward {
            number,
            message: message.clone(),
            shards,
            target,
            shared,
            client,
            publisher,
            is_sent: false,
            waits: SmallVec::new(),
        });
        if self.journal.all_is_durable() {
            self.send_forward(number);
        } else {
            if client != ClientKey::NONE {
                self.forwards.unsent.insert(client, number);
            }
            self.journal.wait(Waiter::Forward { number });
        }
        let conditions = publisher.map_or(0, |_| shards.iter().count());
        u16::try_from(conditions).unwrap_or(u16::MAX)
    }

    /// The message's record is durable: it travels.
    pub(super) fn send_forward(&mut self, number: u64) {
        let Self {
            forwards,
            index,
            links,
            counters,
            ..
        } = self;
        let open = &mut forwards.open;
        let position = open.partition_point(|forward| forward.number < number);
        let Some(forward) = open.get_mut(position).filter(|it| it.number == number) else {
            return;
        };
        forward.is_sent = true;
        forwards.sent = number;
        if forwards.unsent.get(&forward.client) == Some(&number) {
            forwards.unsent.remove(&forward.client);
        }
        let message = forward.message.parts();
        let hash = index.topic_hash(message.topic_name);
        let mut shared = None;
        for shard in forward.shards.iter() {
            let link = &mut links[shard.index()];
            let on_link = match forward.target {
                ForwardTarget::RetainedStore => {
                    link.push_retained_update(&message, number, &mut shared)
                }
                ForwardTarget::Subscribers => {
                    counters.messages_forwarded += 1;
                    link.push_publish(&message, hash, number, &mut shared)
                }
                ForwardTarget::Group(group) => {
                    counters.messages_forwarded += 1;
                    let way = forward.shared;
                    link.push_shared_publish(&message, number, &mut shared, group, way)
                }
            };
            link.want_acceptance(on_link);
            if let Some(publisher) = forward.publisher {
                link.wait(publisher.waiter(on_link));
            }
            forward.waits.push((shard, on_link));
        }
    }

    /// Other shards have accepted messages: what has arrived everywhere is forgotten, oldest first.
    pub(super) fn finish_forwards(&mut self) {
        let before = self.forwards.done;
        while let Some(first) = self.forwards.open.front_mut() {
            let links = &self.links;
            first
                .waits
                .retain(|(shard, number)| !links[shard.index()].has_accepted(*number));
            if !first.is_sent || !first.waits.is_empty() {
                break;
            }
            let Some(done) = self.forwards.open.pop_front() else {
                break;
            };
            self.forwards.done = done.number;
            self.journal.let_go(&done.message);
            self.messages.release(done.message);
        }
        let number = self.forwards.done;
        if number > before {
            self.journal.append(&Record::Forwarded { number });
        }
    }

    /// A message with this number came from another shard and did something that is journalled:
    /// so is its number, with it.
    pub(super) fn log_arrived(&mut self, source: ShardId, number: u64) {
        self.journal.append(&Record::Arrived { source, number });
    }

    /// For a snapshot: what is on its way, and what has come.
    pub(super) fn write_forwards(&mut self) {
        let Self {
            forwards, journal, ..
        } = self;
        for forward in &forwards.open {
            if let Some((place, bytes, _)) = journal.carry(&forward.message) {
                journal.append(&Record::Forward {
                    number: forward.number,
                    place,
                    bytes,
                    shards: forward.shards.bits(),
                    target: forward.target,
                });
            }
        }
        for (source, number) in (0u16..).zip(&forwards.arrived) {
            if *number > 0 {
                let (source, number) = (ShardId(source), *number);
                journal.append(&Record::Arrived { source, number });
            }
        }
    }

    /// A message that an earlier process had not brought to the other shards.
    pub(super) fn load_forward(
        &mut self,
        number: u64,
        message: SharedMessage,
        shards: ShardSet,
        target: ForwardTarget,
    ) {
        if target == ForwardTarget::RetainedStore {
            self.forwards.last_retained_update = number;
        }
        self.forwards.open.push_back(Forward {
            number,
            message,
            shards,
            target,
            // Whoever was chosen, any member does.
            shared: SharedWay { member: 0, hops: 1 },
            client: ClientKey::NONE,
            publisher: None,
            is_sent: false,
            waits: SmallVec::new(),
        });
        self.send_forward(number);
    }
}
