//! Random but consistent records, and the state that they amount to.

use super::disk::{Disk, settings};
use crate::base::random::Random;
use crate::codec::{PacketId, QosLevel};
use crate::journal::ForwardTarget;
use crate::journal::{
    BodyView, Place, Queued, Record, Recovered, SessionState, State, SubscriptionFields,
    WillFields, Writer, WriterSettings,
};
use std::collections::BTreeSet;

/// A writer, what it wrote, and the state that should come back.
pub(super) struct History {
    pub(super) random: Random,
    pub(super) writer: Writer,
    pub(super) disk: Disk,
    pub(super) state: State,
    payload_bytes_max: u64,
}

impl History {
    pub(super) fn new(seed: u64, payload_bytes_max: u64) -> Self {
        Self {
            random: Random::new(seed),
            writer: Writer::new(settings()),
            disk: Disk::default(),
            state: State::default(),
            payload_bytes_max,
        }
    }

    fn append(&mut self, record: &Record<'_>) -> Place {
        let place = self.writer.append(record);
        assert_eq!(self.state.apply(record), Ok(()));
        place
    }

    /// One group of records.
    pub(super) fn group(&mut self) {
        self.writer.begin_group();
        match self.random.below(10) {
            0 => self.begin_session(),
            1 => self.connect(),
            2 => self.subscribe(),
            3 | 4 => self.publish(),
            5 => self.retain(),
            6 => self.inbound(),
            7 => self.forward(),
            8 if self.random.chance(1, 4) => self.end_session(),
            _ => self.progress(),
        }
        self.writer.want_all();
    }

    pub(super) fn flush(&mut self) -> Vec<(u32, usize, usize)> {
        self.disk.serve(&mut self.writer)
    }

    fn pick(&mut self) -> Option<u64> {
        let mut sessions: Vec<u64> = self.state.sessions.keys().copied().collect();
        sessions.sort_unstable();
        let count = sessions.len() as u64;
        (count > 0).then(|| sessions[usize::try_from(self.random.below(count)).unwrap()])
    }

    fn begin_session(&mut self) {
        if self.state.sessions.len() > 8 {
            self.end_session();
        }
        let session = self.state.next_session;
        self.append(&Record::SessionBegin {
            session,
            expiry_interval_s: 60,
            disconnected_at_ms: 0,
            client_id: &format!("client-{session}"),
        });
    }

    fn connect(&mut self) {
        let Some(session) = self.pick() else { return };
        let expiry_interval_s = 7;
        if self.random.chance(1, 2) {
            let at_ms = 9;
            self.append(&Record::SessionDisconnected {
                session,
                expiry_interval_s,
                at_ms,
            });
            return;
        }
        self.append(&Record::SessionConnected {
            session,
            expiry_interval_s,
        });
        let will = WillFields {
            topic_name: "will",
            properties: &[1, 2],
            payload: b"gone",
            qos: QosLevel::AtLeastOnce,
            retain: true,
            delay_interval_s: 3,
            message_expiry_interval_s: Some(0),
        };
        self.append(&Record::Will { session, will });
    }

    fn subscribe(&mut self) {
        let Some(session) = self.pick() else { return };
        let filter = format!("a/{}", self.random.below(3));
        if self
            .state
            .subscriptions
            .contains_key(&(session, filter.as_str().into()))
        {
            let filter = &*filter;
            self.append(&Record::Unsubscribe { session, filter });
            return;
        }
        let subscription = SubscriptionFields {
            options: 2,
            identifier: self.random.chance(1, 2).then_some(8),
        };
        self.append(&Record::Subscribe {
            session,
            subscription,
            filter: &filter,
        });
    }

    fn body(&mut self) -> (Place, u32) {
        let length = self.random.below(self.payload_bytes_max);
        let byte = self.random.next_u64().to_le_bytes()[0];
        let payload = vec![byte; usize::try_from(length).unwrap()];
        let body = BodyView {
            expires_at_ms: 1,
            qos: QosLevel::ExactlyOnce,
            retain: false,
            topic_name: b"topic",
            properties: &[],
            payload: &payload,
        };
        let bytes = u32::try_from(body.record_bytes()).unwrap();
        (self.append(&Record::Body(body)), bytes)
    }

    fn publish(&mut self) {
        let (place, bytes) = self.body();
        for _ in 0..self.random.below(4) {
            let Some(session) = self.pick() else { return };
            if self.state.sessions[&session].queue.len() >= 3 {
                self.append(&Record::Dropped { session });
            }
            let packet_id = self.free_packet_id(session);
            let queued = Queued {
                place,
                bytes,
                qos: QosLevel::ExactlyOnce,
                retain: self.random.chance(1, 2),
                packet_id,
                expires_at_ms: self.random.below(3),
                subscription_identifiers: (0..self.random.below(3)).map(|_| 1).collect(),
            };
            self.append(&Record::Queued { session, queued });
        }
    }

    fn free_packet_id(&mut self, session: u64) -> Option<PacketId> {
        let state = &self.state.sessions[&session];
        let last = state.inflight.back().map_or(0, |it| it.packet_id.get());
        let may_send = state.queue.is_empty() && state.inflight.len() < 4;
        may_send.then(|| PacketId::new(last % 900 + 1)).flatten()
    }

    fn retain(&mut self) {
        let topic_name = format!("r/{}", self.random.below(4));
        if self.random.chance(1, 3) {
            let topic_name = &*topic_name;
            self.append(&Record::RetainedCleared { topic_name });
            return;
        }
        let (place, bytes) = self.body();
        self.append(&Record::Retained {
            place,
            bytes,
            ends_at_ms: 0,
            topic_name: &topic_name,
        });
    }

    fn inbound(&mut self) {
        let Some(session) = self.pick() else { return };
        let packet_id = PacketId::new(1 + u16::from(self.random.chance(1, 2))).unwrap();
        let known = self.state.sessions[&session]
            .inbound
            .contains(&packet_id.get());
        if known {
            self.append(&Record::Released { session, packet_id });
        } else {
            self.append(&Record::Inbound { session, packet_id });
        }
    }

    fn forward(&mut self) {
        let number = self.state.next_forward;
        let (place, bytes) = self.body();
        let target = match number % 3 {
            0 => ForwardTarget::Subscribers,
            1 => ForwardTarget::RetainedStore,
            _ => ForwardTarget::Group(number),
        };
        self.append(&Record::Forward {
            number,
            place,
            bytes,
            shards: 6,
            target,
        });
        let source = super::disk::SHARD;
        self.append(&Record::Arrived { source, number });
        if self.random.chance(1, 2) {
            self.append(&Record::Forwarded { number });
        }
    }

    fn end_session(&mut self) {
        let Some(session) = self.pick() else { return };
        self.append(&Record::SessionEnd { session });
    }

    fn progress(&mut self) {
        let Some(session) = self.pick() else { return };
        let SessionState {
            inflight, queue, ..
        } = &*self.state.sessions[&session];
        let first = inflight
            .front()
            .map(|it| (it.packet_id, it.queued.is_some()));
        let waiting = !queue.is_empty();
        match first {
            Some((packet_id, true)) if self.random.chance(1, 2) => {
                self.append(&Record::Received { session, packet_id });
            }
            Some((packet_id, _)) => {
                self.append(&Record::Acknowledged { session, packet_id });
            }
            None if waiting && self.random.chance(1, 3) => {
                self.append(&Record::Dropped { session });
            }
            None if waiting => {
                let packet_id = PacketId::new(1).unwrap();
                self.append(&Record::Sent { session, packet_id });
            }
            None => {}
        }
    }

    /// All of the state between the markers, some ordinary groups in between. Bodies keep their
    /// places.
    pub(super) fn snapshot(&mut self) {
        let (next_session, next_forward) = (self.state.next_session, self.state.next_forward);
        // What is needed now counts until the end; what comes meanwhile is in newer segments.
        let live: BTreeSet<(Place, u32)> = self.state.bodies().collect();
        for (place, bytes) in &live {
            self.writer.add_live(*place, *bytes);
        }
        let began_in = self.writer.begin_snapshot(next_session, next_forward);
        self.upsert_shared();
        let mut sessions: Vec<u64> = self.state.sessions.keys().copied().collect();
        sessions.sort_unstable();
        for session in sessions {
            self.group();
            self.writer.begin_group();
            self.upsert(session);
        }
        self.writer.append(&Record::SnapshotEnd);
        self.writer.want_all();
        self.flush();
        self.writer.on_snapshot_durable(began_in);
        for (place, bytes) in live {
            self.writer.remove_live(place, bytes);
        }
    }

    /// The next batch is under way when the process ends: some sectors of its first write are on
    /// the disk, not the first one.
    pub(super) fn tear(&mut self) {
        let Some(batch) = self.writer.poll() else {
            return;
        };
        let Some(write) = batch.writes().next() else {
            return;
        };
        let segment = self.disk.segments.get_mut(&write.segment).unwrap();
        let target = &mut segment[write.offset as usize..][..write.bytes.len()];
        for (old, new) in target.chunks_mut(512).zip(write.bytes.chunks(512)).skip(1) {
            if self.random.chance(1, 2) {
                old.copy_from_slice(new);
            }
        }
    }

    /// A new process goes on behind what was recovered.
    pub(super) fn restart(&mut self, recovered: &Recovered) {
        let salt = self.random.next_u64();
        let settings = WriterSettings {
            salt,
            ..recovered.writer_settings(settings())
        };
        self.writer = Writer::new(settings);
        for number in recovered.segments() {
            self.writer.add_recovered_segment(number);
        }
        self.state = recovered.state.clone();
    }

    /// One group of several large bodies.
    pub(super) fn wide_group(&mut self) {
        self.writer.begin_group();
        (0..4).for_each(|_| self.retain());
        self.writer.want_all();
    }

    fn upsert_shared(&mut self) {
        let state = self.state.clone();
        for (topic_name, it) in &state.retained {
            let (place, bytes, ends_at_ms) = (it.place, it.bytes, it.ends_at_ms);
            self.writer.append(&Record::Retained {
                place,
                bytes,
                ends_at_ms,
                topic_name,
            });
        }
        for (number, it) in &state.forwards {
            self.writer.append(&it.record(*number));
        }
        for (source, number) in &state.arrived {
            let (source, number) = (*source, *number);
            self.writer.append(&Record::Arrived { source, number });
        }
    }

    fn upsert(&mut self, session: u64) {
        let Some(state) = self.state.sessions.get(&session) else {
            return;
        };
        let writer = &mut self.writer;
        writer.append(&Record::SessionBegin {
            session,
            expiry_interval_s: state.expiry_interval_s,
            disconnected_at_ms: state.disconnected_at_ms,
            client_id: &state.client_id,
        });
        if let Some(will) = &state.will {
            let will = will.fields();
            writer.append(&Record::Will { session, will });
        }
        for (filter, subscription) in self.state.subscriptions_of(session) {
            writer.append(&Record::Subscribe {
                session,
                subscription,
                filter,
            });
        }
        for packet_id in state.inbound.iter().filter_map(|it| PacketId::new(*it)) {
            writer.append(&Record::Inbound { session, packet_id });
        }
        for entry in &state.inflight {
            let packet_id = entry.packet_id;
            match &entry.queued {
                Some(queued) => {
                    let queued = queued.record(Some(packet_id));
                    writer.append(&Record::Queued { session, queued });
                }
                None => {
                    writer.append(&Record::Received { session, packet_id });
                }
            }
        }
        for queued in &state.queue {
            let queued = queued.record(None);
            writer.append(&Record::Queued { session, queued });
        }
    }
}
