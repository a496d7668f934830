//! What several shards left -> what another number of shards begins with.

use super::place::Place;
use super::record::ForwardTarget;
use super::recovered::{Body, Recovered, Rehomed};
use super::state::{ForwardState, RetainedState, SessionState, State};
use crate::base::hash::HomeKey;
use crate::base::ids::{ShardId, ShardSet};
use crate::base::map::{Map, map};

/// A message that had not come to all shards of the former process: due to sessions that lived at
/// these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OverdueMessage {
    pub place: Place,
    pub former_shards: ShardSet,
    /// Due to one member of the shared subscription with this hash instead.
    pub group: Option<u64>,
}

impl Recovered {
    /// Divides what all shards of the former process left (their messages loaded, in the order of
    /// the shards) among `shard_count` new ones. Every session and retained message goes to its
    /// home; all messages will be written anew, so the new shards begin with empty journals.
    #[must_use]
    pub fn rehome(former: &[Self], home_key: &HomeKey, shard_count: u16) -> Vec<Self> {
        let homes = (0..shard_count).map(|id| Home::new(ShardId(id)));
        let mut rehoming = Rehoming {
            homes: homes.collect(),
            home_key: *home_key,
        };
        let overdue = overdue_forwards(former);
        let retained_before =
            |(_, _, forward): &(_, _, ForwardState)| forward.target == ForwardTarget::RetainedStore;
        let (updates, publishes): (Vec<_>, Vec<_>) = overdue.into_iter().partition(retained_before);
        for part in former {
            rehoming.take_sessions(part);
            rehoming.take_retained(part);
        }
        for (shard, _, forward) in updates {
            rehoming.update_retained(&former[shard.index()], &forward);
        }
        for (shard, former_shards, forward) in publishes {
            rehoming.take_overdue(&former[shard.index()], former_shards, &forward);
        }
        rehoming.homes.into_iter().map(Home::finish).collect()
    }
}

/// Forwards by their sender, with the shards that they have not reached, in their order.
fn overdue_forwards(former: &[Recovered]) -> Vec<(ShardId, ShardSet, ForwardState)> {
    let mut overdue = Vec::new();
    for sender in former {
        for (number, forward) in &sender.state.forwards {
            let mut missing = ShardSet::EMPTY;
            for shard in ShardSet::from_bits(forward.shards).iter() {
                let arrived = former.iter().find(|part| part.shard() == shard);
                let arrived = arrived.and_then(|part| part.state.arrived.get(&sender.shard()));
                if arrived.is_none_or(|arrived| arrived < number) {
                    missing.insert(shard);
                }
            }
            if !missing.is_empty() {
                overdue.push((sender.shard(), missing, *forward));
            }
        }
    }
    overdue
}

struct Rehoming {
    homes: Vec<Home>,
    home_key: HomeKey,
}

/// One new shard in the making.
struct Home {
    shard: ShardId,
    state: State,
    /// By their numbers.
    bodies: Vec<Option<Body>>,
    /// Former shard and place of a body -> its name here.
    names: Map<(ShardId, Place), Place>,
    former_shards: Map<u64, ShardId>,
    overdue: Vec<OverdueMessage>,
}

impl Rehoming {
    fn home(&mut self, name: &str) -> &mut Home {
        let count = u16::try_from(self.homes.len()).unwrap_or(u16::MAX);
        let home = self.home_key.home(name.as_bytes(), count);
        &mut self.homes[home.index()]
    }

    fn take_sessions(&mut self, part: &Recovered) {
        let mut numbers: Vec<u64> = part.state.sessions.keys().copied().collect();
        numbers.sort_unstable();
        for former_number in numbers {
            let Some(session) = part.state.sessions.get(&former_number) else {
                continue;
            };
            let home = self.home(&session.client_id);
            let number = home.take_session(part, (**session).clone());
            for (filter, fields) in part.state.subscriptions_of(former_number) {
                let key = (number, Box::from(filter));
                home.state.subscriptions.insert(key, fields);
            }
        }
    }

    fn take_retained(&mut self, part: &Recovered) {
        for (topic_name, retained) in &part.state.retained {
            let home = self.home(topic_name);
            let place = home.take_body(part, retained.place);
            let retained = RetainedState { place, ..*retained };
            home.state.retained.insert(topic_name.clone(), retained);
        }
    }

    /// A retained update that had not come to its owner.
    fn update_retained(&mut self, part: &Recovered, forward: &ForwardState) {
        let Some(body) = part.body(forward.place) else {
            return;
        };
        let Ok(topic_name) = std::str::from_utf8(body.topic_name) else {
            return;
        };
        let home = self.home(topic_name);
        if body.payload.is_empty() {
            home.state.retained.remove(topic_name);
            return;
        }
        let retained = RetainedState {
            place: home.take_body(part, forward.place),
            bytes: forward.bytes,
            ends_at_ms: body.expires_at_ms,
        };
        home.state.retained.insert(topic_name.into(), retained);
    }

    fn take_overdue(&mut self, part: &Recovered, former_shards: ShardSet, forward: &ForwardState) {
        if let ForwardTarget::Group(hash) = forward.target {
            self.take_overdue_of_group(part, former_shards, forward, hash);
            return;
        }
        for home in &mut self.homes {
            let place = home.take_body(part, forward.place);
            home.overdue.push(OverdueMessage {
                place,
                former_shards,
                group: None,
            });
        }
    }

    /// To a home of one of the members, if any is left.
    fn take_overdue_of_group(
        &mut self,
        part: &Recovered,
        former_shards: ShardSet,
        forward: &ForwardState,
        hash: u64,
    ) {
        let home_key = self.home_key;
        let is_group = |(_, filter): &(u64, Box<str>)| home_key.hash(filter.as_bytes()) == hash;
        let mut homes = self.homes.iter_mut();
        if let Some(home) = homes.find(|it| it.state.subscriptions.keys().any(is_group)) {
            let place = home.take_body(part, forward.place);
            home.overdue.push(OverdueMessage {
                place,
                former_shards,
                group: Some(hash),
            });
        }
    }
}

impl Home {
    fn new(shard: ShardId) -> Self {
        Self {
            shard,
            state: State::default(),
            bodies: Vec::new(),
            names: map(0),
            former_shards: map(0),
            overdue: Vec::new(),
        }
    }

    fn take_session(&mut self, part: &Recovered, mut session: SessionState) -> u64 {
        let number = self.state.next_session;
        self.state.next_session += 1;
        let inflight = session.inflight.iter_mut();
        let inflight = inflight.filter_map(|entry| entry.queued.as_mut());
        for queued in inflight.chain(&mut session.queue) {
            queued.place = self.take_body(part, queued.place);
        }
        self.state.sessions.insert(number, Box::new(session));
        self.former_shards.insert(number, part.shard());
        number
    }

    /// The name of a body here; any names will do.
    fn take_body(&mut self, part: &Recovered, former: Place) -> Place {
        let key = (part.shard(), former);
        if let Some(name) = self.names.get(&key) {
            return *name;
        }
        let name = Rehomed::name(self.bodies.len()).unwrap_or(former);
        self.names.insert(key, name);
        self.bodies.push(part.stored_body(former));
        name
    }

    fn finish(self) -> Recovered {
        let rehomed = Rehomed {
            bodies: self.bodies,
            former_shards: self.former_shards,
            overdue: self.overdue,
        };
        Recovered::rehomed(self.shard, self.state, rehomed)
    }
}
