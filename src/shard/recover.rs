//! The start of a shard with a journal: what an earlier process left becomes sessions and retained
//! messages again.

use super::Shard;
use super::interface::{JournalStart, StartError};
use super::journal::WallClock;
use super::peer_batch::ShardMessage;
use super::shared::is_shared;
use super::subscription::Subscription;
use crate::base::ids::{ShardId, ShardSet};
use crate::base::map::{Map, map};
use crate::base::time::Instant;
use crate::codec::{ForwardableRuns, MessageParts, SharedMessage};
use crate::config::limits::DurabilityAck;
use crate::journal::{
    BodyView, PAGE_BYTES, Place, QueueMemory, QueuedState, Record, Recovered, RetainedState,
    SessionState, Writer, WriterSettings,
};
use crate::session::Session;
use crate::session::delivery::Delivery;
use crate::session::stored::StoredMessage;
use crate::session::will::Will;
use crate::topic::names::{FilterKind, validate_topic_filter};

/// What is being recovered, and the messages of it that exist already.
struct Loading {
    recovered: Recovered,
    /// By the numbers of their bodies.
    messages: Vec<Option<SharedMessage>>,
    clock: WallClock,
}

impl Shard {
    /// Everything from now on is journalled, behind what was recovered. Called once, before
    /// anything else; then [`Self::is_ready`] says when clients may come.
    ///
    /// # Errors
    /// What was recovered does not fit the limits, or its messages were not loaded.
    ///
    /// # Panics
    /// When the limits contradict each other: they were validated with the configuration.
    pub fn start_journal(&mut self, now: Instant, start: JournalStart) -> Result<(), StartError> {
        let JournalStart { unix_ms, recovered } = start;
        let clock = WallClock::new(now, unix_ms);
        let limits = self.limits.durability;
        let ack = self.limits.strongest_ack();
        assert!(u64::from(limits.segment_bytes) >= self.limits.segment_bytes_min());
        assert!(limits.segment_bytes.is_multiple_of(PAGE_BYTES));
        let recovered = recovered.unwrap_or_else(|| Recovered::nothing(self.id));
        let settings = recovered.writer_settings(WriterSettings {
            shard: self.id,
            epoch: 1,
            previous_epoch: 0,
            previous_last_block: 0,
            salt: self.random.next_u64(),
            first_segment: 1,
            segment_bytes: limits.segment_bytes,
            sync: ack == DurabilityAck::Disk,
        });
        let mut writer = Writer::new(settings);
        for number in recovered.segments() {
            writer.add_recovered_segment(number);
        }
        self.journal
            .start(writer, ack, limits.buffer_bytes_max, clock);
        self.journal
            .snapshot
            .on_recovered(recovered.bytes_since_snapshot(), recovered.is_rehomed());
        self.journal.begin_group(now);
        self.load(now, recovered, clock)?;
        self.announce_groups();
        for peer in self.peers() {
            self.links[peer].push(ShardMessage::Recovered);
        }
        self.awaited_peers = self.shard_count - 1;
        Ok(())
    }

    /// What of the recovered queues is to be in memory: give it to [`Recovered::leave_queues`].
    #[must_use]
    pub const fn queue_memory(&self) -> QueueMemory {
        QueueMemory {
            session_bytes: self.limits.queue_memory_bytes_max,
            bytes: self.limits.queues_memory_bytes_max / 2,
        }
    }

    /// Whether the other shards' interest is known here: before that, a message from a client could
    /// miss a subscription that was recovered there.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.awaited_peers == 0
    }

    fn load(
        &mut self,
        now: Instant,
        mut recovered: Recovered,
        clock: WallClock,
    ) -> Result<(), StartError> {
        let state = std::mem::take(&mut recovered.state);
        let found = state.sessions.len() as u64;
        let max = self.limits.sessions_max;
        if found > u64::from(max) {
            return Err(StartError::TooManySessions { found, max });
        }
        self.journal.next_session = state.next_session;
        self.forwards.start(state.next_forward, clock.unix_ms(now));
        for (source, number) in state.arrived {
            if source.0 < self.shard_count {
                self.forwards.on_arrived(source, number);
            }
        }
        let mut loading = Loading {
            messages: vec![None; recovered.body_count()],
            recovered,
            clock,
        };
        let mut sessions: Vec<_> = state.sessions.into_iter().collect();
        sessions.sort_unstable_by_key(|(number, _)| *number);
        self.directory.reserve(&self.sessions, sessions.len());
        self.index.reserve(state.subscriptions.len());
        // Both ascend, and what is behind a session's own are those of the next.
        let mut subscriptions = state.subscriptions.into_iter().peekable();
        let mut former_shards: Map<u32, ShardId> = map(0);
        for (number, session) in sessions {
            let index = self.load_session(now, number, *session, &mut loading)?;
            let is_due = |((owner, _), _): &((u64, _), _)| *owner <= number;
            while let Some(((owner, filter), fields)) = subscriptions.next_if(is_due) {
                if owner == number {
                    let generation = self.next_subscription_generation();
                    let subscription = Subscription::of_fields(fields, generation);
                    self.load_subscription(index, &filter, subscription);
                }
            }
            if let Some(shard) = loading.recovered.former_shard(number) {
                former_shards.insert(index, shard);
            }
        }
        self.index.shrink();
        self.sys.clients_maximum = self.sessions.len() as u64;
        self.rearm_sys(now);
        for (topic_name, retained) in state.retained {
            self.load_retained(&topic_name, retained, &mut loading)?;
        }
        // The others know where members are before a message for one comes.
        self.announce_groups();
        for (number, forward) in state.forwards {
            let message = self.load_message(forward.place, &mut loading)?;
            let shards = ShardSet::from_bits(forward.shards);
            self.load_forward(number, message, shards, forward.target);
        }
        for overdue in loading.recovered.overdue() {
            let message = self.load_message(overdue.place, &mut loading)?;
            if let Some(hash) = overdue.group {
                self.route_overdue_to_group(now, &message, hash);
            } else {
                self.route_overdue(now, &message, |session| {
                    let shard = former_shards.get(&session);
                    shard.is_some_and(|shard| overdue.former_shards.contains(*shard))
                });
            }
            self.journal.let_go(&message);
            self.messages.release(message);
        }
        for message in loading.messages.into_iter().flatten() {
            self.messages.release(message);
        }
        Ok(())
    }

    fn load_session(
        &mut self,
        now: Instant,
        number: u64,
        state: SessionState,
        loading: &mut Loading,
    ) -> Result<u32, StartError> {
        let mut session = Session::new(&state.client_id, state.expiry_interval_s);
        session.journal_number = number;
        session.disconnected_at_ms = state.disconnected_at_ms;
        for packet_id in state.inbound_ids() {
            session.inbound.insert(packet_id);
        }
        session.will = state.will.map(|will| {
            Box::new(Will {
                topic_name: will.topic_name,
                properties: will.properties,
                payload: will.payload,
                qos: will.qos,
                retain: will.retain,
                delay_interval_s: will.delay_interval_s,
                message_expiry_interval_s: will.message_expiry_interval_s,
            })
        });
        for entry in state.inflight {
            let queued = entry.queued.map(|it| self.load_queued(it, loading));
            let outbound = &mut session.outbound;
            outbound.restore_inflight(entry.packet_id, queued.transpose()?);
        }
        let held_count = loading.recovered.held_count(number);
        for (position, queued) in state.queue.into_iter().enumerate() {
            if position < held_count {
                let delivery = self.load_queued(queued, loading)?;
                session.outbound.restore_queued(delivery);
            } else {
                let stored = Self::load_stored(&queued, loading.clock);
                self.journal.restore_stored(&stored);
                session.outbound.push_stored(stored);
            }
        }
        let waiting_bytes = session.outbound.memory_bytes();
        self.journal.overflow.memory_bytes += waiting_bytes;
        session.on_disconnected(now);
        if session.disconnected_at_ms == 0 {
            // The end of its process was the end of its connection.
            let at_ms = loading.clock.unix_ms(now);
            session.disconnected_at_ms = at_ms;
            self.journal.append(&Record::SessionDisconnected {
                session: number,
                expiry_interval_s: session.expiry_interval_s,
                at_ms,
            });
        } else {
            let since = |seconds: u32| {
                let ms = u64::from(seconds) * 1000;
                loading.clock.instant(session.disconnected_at_ms + ms)
            };
            let ends_at = since(session.expiry_interval_s);
            session.ends_at = session.ends_at.map(|_| ends_at);
            let will_due = session.will.as_ref().map(|it| since(it.delay_interval_s));
            session.will_due = will_due.map(|due| session.ends_at.map_or(due, |end| due.min(end)));
        }
        let Ok((index, _)) = self.sessions.insert(session) else {
            let found = self.sessions.len() as u64 + 1;
            let max = self.limits.sessions_max;
            return Err(StartError::TooManySessions { found, max });
        };
        self.directory.insert(&self.sessions, index);
        self.rearm_session(index);
        Ok(index)
    }

    fn load_queued(
        &mut self,
        state: QueuedState,
        loading: &mut Loading,
    ) -> Result<Delivery, StartError> {
        Ok(Delivery {
            // What it leaves behind when its session ends goes to nobody else.
            group: None,
            message: self.load_message(state.place, loading)?,
            qos: state.qos,
            retain: state.retain,
            subscription_identifiers: state.subscription_identifiers,
        })
    }

    /// A message that stays where it is until its client comes.
    fn load_stored(state: &QueuedState, clock: WallClock) -> StoredMessage {
        let expires_at_ms = state.expires_at_ms;
        let fixed = u32::try_from(BodyView::FIXED_BYTES).unwrap_or(0);
        StoredMessage::new(
            state.place.into(),
            state.bytes.saturating_sub(fixed),
            state.qos,
            state.retain,
            (expires_at_ms != 0).then(|| clock.instant(expires_at_ms)),
            &state.subscription_identifiers,
        )
    }

    /// The message at a place, once for all that hold it.
    fn load_message(
        &mut self,
        place: Place,
        loading: &mut Loading,
    ) -> Result<SharedMessage, StartError> {
        let own_place = (!loading.recovered.is_rehomed()).then_some(place);
        let not_loaded = StartError::MessageNotLoaded { place };
        let number = loading.recovered.body_number(place);
        let number = number.ok_or(not_loaded)?;
        if let Some(message) = &loading.messages[number] {
            self.journal.restore(message, own_place);
            return Ok(message.clone());
        }
        let body = loading.recovered.body_numbered(number);
        let body = body.ok_or(not_loaded)?;
        let expires_at_ms = body.expires_at_ms;
        let message = self.messages.make(&MessageParts {
            topic_name: body.topic_name,
            properties: ForwardableRuns::of_forwardable(body.properties),
            payload: body.payload,
            qos: body.qos,
            retain: body.retain,
            expires_at: (expires_at_ms != 0).then(|| loading.clock.instant(expires_at_ms)),
        });
        self.journal.restore(&message, own_place);
        loading.messages[number] = Some(message.clone());
        Ok(message)
    }

    fn load_subscription(&mut self, index: u32, filter: &str, subscription: Subscription) {
        if is_shared(filter) {
            self.load_shared(index, filter, subscription);
            return;
        }
        // It was valid when it was made, under limits that may be smaller today.
        let kind = validate_topic_filter(filter, u16::MAX).unwrap_or(FilterKind::Wildcard);
        let inserted = self.index.insert(filter, kind, index, subscription);
        if let Some(session) = self.sessions.get_mut(index) {
            session.subscriptions.insert(inserted.filter);
        }
        self.sys.count_subscription(filter, true);
        if inserted.first {
            self.announce(filter, inserted.filter, true);
        }
    }

    fn load_retained(
        &mut self,
        topic_name: &str,
        state: RetainedState,
        loading: &mut Loading,
    ) -> Result<(), StartError> {
        let message = self.load_message(state.place, loading)?;
        let ends_at = (state.ends_at_ms != 0).then(|| loading.clock.instant(state.ends_at_ms));
        self.put_retained(topic_name, message, ends_at);
        Ok(())
    }

    /// Sets the timer of a session without connection.
    fn rearm_session(&mut self, index: u32) {
        let Self {
            sessions, wheel, ..
        } = self;
        if let Some(session) = sessions.get_mut(index)
            && let Some(deadline) = session.next_deadline()
        {
            let key = super::timeout::TimerKey::Session(index);
            session.timer = Some(wheel.arm(deadline, key));
        }
    }
}
