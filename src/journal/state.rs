//! What a run of records amounts to: plain data, changed by one record at a time.
//!
//! Knows nothing of limits and policies: the broker that wrote the records has applied them.

use super::place::Place;
use super::record::{ForwardTarget, Queued, Record, SubscriptionFields, WillFields};
use crate::base::ids::ShardId;
use crate::base::map::{Map, map};
use crate::codec::{PacketId, QosLevel};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};

/// Sessions, retained messages, and messages on their way to other shards. Message bodies are
/// named by their place.
#[derive(Clone, PartialEq, Debug)]
pub struct State {
    /// By number. Boxed: a table that grows moves what it holds.
    pub sessions: Map<u64, Box<SessionState>>,
    /// Of all sessions: ordered, so that those of one session are a range.
    pub subscriptions: BTreeMap<(u64, Box<str>), SubscriptionFields>,
    pub retained: BTreeMap<Box<str>, RetainedState>,
    /// By number.
    pub forwards: BTreeMap<u64, ForwardState>,
    /// Per source shard the number of the last forward that arrived.
    pub arrived: BTreeMap<ShardId, u64>,
    pub next_session: u64,
    pub next_forward: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionState {
    pub client_id: Box<str>,
    pub expiry_interval_s: u32,
    /// 0: it had a connection.
    pub disconnected_at_ms: u64,
    pub will: Option<Box<WillState>>,
    /// QoS 2 messages taken and not released; ascending.
    pub inbound: Vec<u16>,
    /// In the order of sending.
    pub inflight: VecDeque<InflightState>,
    pub queue: VecDeque<QueuedState>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WillState {
    pub topic_name: Box<str>,
    pub properties: Box<[u8]>,
    pub payload: Box<[u8]>,
    pub qos: QosLevel,
    pub retain: bool,
    pub delay_interval_s: u32,
    pub message_expiry_interval_s: Option<u32>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InflightState {
    pub packet_id: PacketId,
    /// `None`: PUBREC came, PUBREL is due.
    pub queued: Option<QueuedState>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueuedState {
    pub place: Place,
    pub bytes: u32,
    pub qos: QosLevel,
    pub retain: bool,
    /// 0: never.
    pub expires_at_ms: u64,
    pub subscription_identifiers: SmallVec<[u32; 2]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetainedState {
    pub place: Place,
    pub bytes: u32,
    /// 0: never.
    pub ends_at_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ForwardState {
    pub place: Place,
    pub bytes: u32,
    /// Where it has to arrive, a bit each.
    pub shards: u128,
    pub target: ForwardTarget,
}

impl ForwardState {
    pub(super) const fn record(&self, number: u64) -> Record<'static> {
        Record::Forward {
            number,
            place: self.place,
            bytes: self.bytes,
            shards: self.shards,
            target: self.target,
        }
    }
}

/// The record does not fit the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Inconsistent;

type Applied = Result<(), Inconsistent>;

impl Default for State {
    fn default() -> Self {
        Self {
            // The numbers come from journals, not from clients: no seed is needed.
            sessions: map(0),
            subscriptions: BTreeMap::new(),
            retained: BTreeMap::new(),
            forwards: BTreeMap::new(),
            arrived: BTreeMap::new(),
            next_session: 1,
            next_forward: 1,
        }
    }
}

impl State {
    /// Filters and options of one session.
    pub fn subscriptions_of(
        &self,
        session: u64,
    ) -> impl Iterator<Item = (&str, SubscriptionFields)> {
        self.subscriptions
            .range((session, Box::from(""))..)
            .take_while(move |((owner, _), _)| *owner == session)
            .map(|((_, filter), subscription)| (&**filter, *subscription))
    }

    /// Places and lengths of all bodies that are needed, as often as they are.
    pub(super) fn bodies(&self) -> impl Iterator<Item = (Place, u32)> {
        let queued = self.sessions.values().flat_map(|session| &session.queue);
        let queued = queued.map(|queued| (queued.place, queued.bytes));
        self.bodies_beside_queues().chain(queued)
    }

    /// The same for what does not wait in a queue.
    pub(super) fn bodies_beside_queues(&self) -> impl Iterator<Item = (Place, u32)> {
        let of_sessions = self.sessions.values().flat_map(|session| {
            let inflight = session.inflight.iter().filter_map(|it| it.queued.as_ref());
            inflight.map(|queued| (queued.place, queued.bytes))
        });
        let retained = self.retained.values().map(|it| (it.place, it.bytes));
        let forwards = self.forwards.values().map(|it| (it.place, it.bytes));
        of_sessions.chain(retained).chain(forwards)
    }

    /// The next record takes effect. Records about a session that does not exist are ignored: see
    /// the module's paragraph on snapshots.
    pub(super) fn apply(&mut self, record: &Record<'_>) -> Applied {
        match record {
            Record::SessionBegin {
                session,
                expiry_interval_s,
                disconnected_at_ms,
                client_id,
            } => self.begin_session(*session, *expiry_interval_s, *disconnected_at_ms, client_id),
            Record::SessionEnd { session } => {
                self.end_session(*session);
                Ok(())
            }
            Record::Subscribe {
                session,
                subscription,
                filter,
            } => {
                if self.sessions.contains_key(session) {
                    let key = (*session, Box::from(*filter));
                    self.subscriptions.insert(key, *subscription);
                }
                Ok(())
            }
            Record::Unsubscribe { session, filter } => {
                let known = self.sessions.contains_key(session);
                let removed = self.subscriptions.remove(&(*session, Box::from(*filter)));
                check(!known || removed.is_some())
            }
            Record::SessionConnected { session, .. }
            | Record::SessionDisconnected { session, .. }
            | Record::Will { session, .. }
            | Record::WillCleared { session }
            | Record::Queued { session, .. }
            | Record::Sent { session, .. }
            | Record::Dropped { session }
            | Record::Acknowledged { session, .. }
            | Record::Received { session, .. }
            | Record::Inbound { session, .. }
            | Record::Released { session, .. } => match self.sessions.get_mut(session) {
                Some(state) => state.apply(record),
                None => Ok(()),
            },
            _ => self.apply_other(record),
        }
    }

    fn apply_other(&mut self, record: &Record<'_>) -> Applied {
        match record {
            Record::Retained {
                place,
                bytes,
                ends_at_ms,
                topic_name,
            } => {
                let retained = RetainedState {
                    place: *place,
                    bytes: *bytes,
                    ends_at_ms: *ends_at_ms,
                };
                self.retained.insert(Box::from(*topic_name), retained);
            }
            Record::RetainedCleared { topic_name } => {
                self.retained.remove(*topic_name);
            }
            Record::Forward {
                number,
                place,
                bytes,
                shards,
                target,
            } => {
                let forward = ForwardState {
                    place: *place,
                    bytes: *bytes,
                    shards: *shards,
                    target: *target,
                };
                self.forwards.insert(*number, forward);
                self.next_forward = self.next_forward.max(number.saturating_add(1));
            }
            Record::Forwarded { number } => {
                self.forwards = self.forwards.split_off(&number.saturating_add(1));
            }
            Record::Arrived { source, number } => {
                self.arrived.insert(*source, *number);
            }
            Record::SnapshotBegin {
                next_session,
                next_forward,
            } => {
                self.next_session = self.next_session.max(*next_session);
                self.next_forward = self.next_forward.max(*next_forward);
            }
            _ => {}
        }
        Ok(())
    }

    fn begin_session(
        &mut self,
        session: u64,
        expiry_interval_s: u32,
        disconnected_at_ms: u64,
        client_id: &str,
    ) -> Applied {
        if session < self.next_session {
            self.end_session(session);
        }
        self.next_session = self.next_session.max(session.saturating_add(1));
        let state = Box::new(SessionState {
            client_id: client_id.into(),
            expiry_interval_s,
            disconnected_at_ms,
            will: None,
            inbound: Vec::new(),
            inflight: VecDeque::new(),
            queue: VecDeque::new(),
        });
        self.sessions.insert(session, state);
        check(session != 0)
    }

    fn end_session(&mut self, session: u64) {
        if self.sessions.remove(&session).is_none() {
            return;
        }
        let first = (session, Box::from(""));
        while let Some(((owner, _), _)) = self.subscriptions.range(first.clone()..).next()
            && *owner == session
        {
            let key = self.subscriptions.range(first.clone()..).next();
            let Some(key) = key.map(|(key, _)| key.clone()) else {
                return;
            };
            self.subscriptions.remove(&key);
        }
    }
}

impl SessionState {
    pub fn inbound_ids(&self) -> impl Iterator<Item = PacketId> {
        self.inbound.iter().filter_map(|id| PacketId::new(*id))
    }

    fn apply(&mut self, record: &Record<'_>) -> Applied {
        match record {
            Record::SessionConnected {
                expiry_interval_s, ..
            } => {
                self.expiry_interval_s = *expiry_interval_s;
                self.disconnected_at_ms = 0;
            }
            Record::SessionDisconnected {
                expiry_interval_s,
                at_ms,
                ..
            } => {
                self.expiry_interval_s = *expiry_interval_s;
                self.disconnected_at_ms = *at_ms;
            }
            Record::Will { will, .. } => self.will = Some(Box::new(WillState::of(will))),
            Record::WillCleared { .. } => self.will = None,
            Record::Queued { queued, .. } => return self.enqueue(queued),
            Record::Sent { packet_id, .. } => {
                let queued = self.queue.pop_front().ok_or(Inconsistent)?;
                return self.send(*packet_id, queued);
            }
            Record::Dropped { .. } => return check(self.queue.pop_front().is_some()),
            Record::Acknowledged { packet_id, .. } => {
                let position = self.position(*packet_id).ok_or(Inconsistent)?;
                self.inflight.remove(position);
            }
            Record::Received { packet_id, .. } => self.receive(*packet_id),
            Record::Inbound { packet_id, .. } => {
                let position = self.inbound.binary_search(&packet_id.get());
                let Err(position) = position else {
                    return Err(Inconsistent);
                };
                self.inbound.insert(position, packet_id.get());
            }
            Record::Released { packet_id, .. } => {
                let position = self.inbound.binary_search(&packet_id.get());
                self.inbound.remove(position.map_err(|_| Inconsistent)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn enqueue(&mut self, queued: &Queued) -> Applied {
        let state = QueuedState {
            place: queued.place,
            bytes: queued.bytes,
            qos: queued.qos,
            retain: queued.retain,
            expires_at_ms: queued.expires_at_ms,
            subscription_identifiers: queued.subscription_identifiers.clone(),
        };
        match queued.packet_id {
            Some(packet_id) => self.send(packet_id, state),
            None => {
                if self.queue.capacity() == 0 {
                    // Many sessions have missed one message.
                    self.queue.reserve_exact(1);
                }
                self.queue.push_back(state);
                Ok(())
            }
        }
    }

    fn send(&mut self, packet_id: PacketId, queued: QueuedState) -> Applied {
        // The exchange of an identifier ends before it is used again, so the search is needed only
        // to tell a broken journal from a whole one: the last ones will do.
        let is_new = self
            .inflight
            .iter()
            .rev()
            .take(8)
            .all(|entry| entry.packet_id != packet_id);
        self.inflight.push_back(InflightState {
            packet_id,
            queued: Some(queued),
        });
        check(is_new)
    }

    /// PUBREC; without a message in flight it is the upsert of a snapshot.
    fn receive(&mut self, packet_id: PacketId) {
        match self.position(packet_id) {
            Some(position) => self.inflight[position].queued = None,
            None => self.inflight.push_back(InflightState {
                packet_id,
                queued: None,
            }),
        }
    }

    /// Mostly the first.
    fn position(&self, packet_id: PacketId) -> Option<usize> {
        self.inflight
            .iter()
            .position(|entry| entry.packet_id == packet_id)
    }
}

impl QueuedState {
    /// The record that brings it back.
    #[must_use]
    pub fn record(&self, packet_id: Option<PacketId>) -> Queued {
        Queued {
            place: self.place,
            bytes: self.bytes,
            qos: self.qos,
            retain: self.retain,
            packet_id,
            expires_at_ms: self.expires_at_ms,
            subscription_identifiers: self.subscription_identifiers.clone(),
        }
    }
}

impl WillState {
    #[must_use]
    pub fn fields(&self) -> WillFields<'_> {
        WillFields {
            topic_name: &self.topic_name,
            properties: &self.properties,
            payload: &self.payload,
            qos: self.qos,
            retain: self.retain,
            delay_interval_s: self.delay_interval_s,
            message_expiry_interval_s: self.message_expiry_interval_s,
        }
    }

    #[must_use]
    pub fn of(will: &WillFields<'_>) -> Self {
        Self {
            topic_name: will.topic_name.into(),
            properties: will.properties.into(),
            payload: will.payload.into(),
            qos: will.qos,
            retain: will.retain,
            delay_interval_s: will.delay_interval_s,
            message_expiry_interval_s: will.message_expiry_interval_s,
        }
    }
}

const fn check(fits: bool) -> Applied {
    if fits { Ok(()) } else { Err(Inconsistent) }
}
