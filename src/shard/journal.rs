//! The shard's end of its journal: what is written when, and who waits for it.
//!
//! Without [`Shard::start_journal`] there is no journal: nothing is written and nobody waits.
//! Sessions with an expiry are journalled from their begin to their end, the others never, so that
//! a session's number says whether its changes are written.

use super::Shard;
use super::acknowledge::OwedAck;
use super::overflow::Overflow;
use super::snapshot::Snapshot;
use super::subscribe::Answer;
use crate::base::ids::{ConnectionId, ShardId};
use crate::base::time::Instant;
use crate::codec::{Message, PacketId};
use crate::config::limits::DurabilityAck;
use crate::journal::{BodyView, JournalBatch, Place, Queued, Record, SegmentEvent, Writer};
use crate::session::delivery::{Delivery, QueuedMessage};
use crate::session::stored::StoredMessage;
use std::collections::VecDeque;
use std::time::Duration;

/// Records that nobody waits for are written after this time at the latest.
const LAZY_DELAY: Duration = Duration::from_millis(20);

/// Something that happens when the journal is durable up to a certain record.
#[derive(Debug)]
pub(super) enum Waiter {
    /// One condition of an owed PUBACK or PUBREC is met.
    Publish {
        connection: ConnectionId,
        ack_number: u32,
    },
    /// PUBREL or PUBCOMP leaves.
    Ack(OwedAck),
    /// CONNACK leaves, and the session goes on.
    ConnAck {
        connection: ConnectionId,
        packet: Box<[u8]>,
    },
    /// SUBACK or UNSUBACK leaves.
    Answer(Box<Answer>),
    /// A QoS 2 message leaves for the first time.
    Send {
        session: u32,
        connection: ConnectionId,
        packet_id: PacketId,
    },
    /// A message that arrives exactly once travels.
    Forward { number: u64 },
    /// Messages of another shard are accepted.
    Accept {
        source: ShardId,
        count: u64,
        wants_acceptance: bool,
    },
}

#[derive(Debug)]
struct Waiting {
    sequence: u64,
    waiter: Waiter,
}

/// Bound: what waits is bounded by what may be unacknowledged on connections and links.
#[derive(Debug)]
pub(super) struct Journal {
    active: Option<Box<Active>>,
    pub(super) next_session: u64,
    /// Past its watermark.
    pub(super) disk_is_full: bool,
    /// Connections that found too much waiting, in the order of coming.
    pub(super) paused: VecDeque<ConnectionId>,
    pub(super) snapshot: Snapshot,
    pub(super) overflow: Overflow,
}

#[derive(Debug)]
struct Active {
    writer: Writer,
    /// Does anybody wait at all?
    waits: bool,
    /// In the order of the sequence numbers.
    waiting: VecDeque<Waiting>,
    /// When the oldest record that nobody waits for was written.
    lazy_since: Instant,
    buffer_bytes_max: usize,
    clock: WallClock,
}

/// Instants as times of day: the journal outlives the process that counts them.
#[derive(Clone, Copy, Debug)]
pub(super) struct WallClock {
    instant: Instant,
    unix_ms: u64,
}

impl WallClock {
    pub(super) const fn new(instant: Instant, unix_ms: u64) -> Self {
        Self { instant, unix_ms }
    }

    /// Milliseconds since 1970, never 0; instants before the start of the clock count as it.
    pub(super) fn unix_ms(&self, at: Instant) -> u64 {
        let since = at.saturating_since(self.instant).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.unix_ms.saturating_add(since).max(1)
    }

    /// The instant of a time; what was before the start of the clock is at its start.
    pub(super) fn instant(&self, unix_ms: u64) -> Instant {
        self.instant + Duration::from_millis(unix_ms.saturating_sub(self.unix_ms))
    }
}

impl Journal {
    pub(super) fn new() -> Self {
        Self {
            active: None,
            next_session: 1,
            disk_is_full: false,
            paused: VecDeque::new(),
            snapshot: Snapshot::default(),
            overflow: Overflow::default(),
        }
    }

    pub(super) fn start(
        &mut self,
        writer: Writer,
        ack: DurabilityAck,
        buffer_bytes_max: u32,
        clock: WallClock,
    ) {
        assert!(self.active.is_none());
        self.active = Some(Box::new(Active {
            writer,
            waits: ack != DurabilityAck::None,
            waiting: VecDeque::new(),
            lazy_since: Instant::ZERO,
            buffer_bytes_max: buffer_bytes_max as usize,
            clock,
        }));
    }

    pub(super) const fn is_on(&self) -> bool {
        self.active.is_some()
    }

    pub(super) fn writer(&mut self) -> Option<&mut Writer> {
        self.active.as_mut().map(|active| &mut active.writer)
    }

    /// Something happens: its records take effect together.
    pub(super) fn begin_group(&mut self, now: Instant) {
        let Some(active) = &mut self.active else {
            return;
        };
        active.writer.begin_group();
        if active.writer.gathered_bytes() == 0 {
            active.lazy_since = now;
        }
    }

    pub(super) fn append(&mut self, record: &Record<'_>) {
        if let Some(active) = &mut self.active {
            active.writer.append(record);
        }
    }

    /// Number of the last record.
    pub(super) fn sequence(&self) -> u64 {
        self.active
            .as_ref()
            .map_or(0, |active| active.writer.appended())
    }

    /// Is there nothing to wait for? With `durability.ack = "none"` there never is.
    pub(super) fn is_durable(&self, sequence: u64) -> bool {
        self.active
            .as_ref()
            .is_none_or(|active| !active.waits || active.writer.durable() >= sequence)
    }

    pub(super) fn all_is_durable(&self) -> bool {
        self.is_durable(self.sequence())
    }

    /// `waiter`'s turn comes when everything appended so far is durable. Only when something is
    /// not: see [`Self::is_durable`].
    pub(super) fn wait(&mut self, waiter: Waiter) {
        let Some(active) = &mut self.active else {
            return;
        };
        active.writer.want_all();
        let sequence = active.writer.appended();
        active.waiting.push_back(Waiting { sequence, waiter });
    }

    fn pop_due(&mut self) -> Option<Waiter> {
        let active = self.active.as_mut()?;
        let first = active.waiting.front()?;
        if first.sequence > active.writer.durable() {
            return None;
        }
        active.waiting.pop_front().map(|waiting| waiting.waiter)
    }

    /// Too much waits for the disk.
    pub(super) fn is_pressed(&self) -> bool {
        self.active
            .as_ref()
            .is_some_and(|active| active.writer.gathered_bytes() >= active.buffer_bytes_max)
    }

    /// When records that nobody waits for have waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let active = self.active.as_ref()?;
        let waits = active.writer.has_lazy() && !active.writer.is_under_way();
        waits.then(|| active.lazy_since + LAZY_DELAY)
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now)
            && let Some(active) = &mut self.active
        {
            active.writer.write_all();
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.active
            .as_ref()
            .is_none_or(|active| active.writer.is_settled() && active.waiting.is_empty())
    }

    pub(super) fn clock(&self) -> Option<WallClock> {
        self.active.as_ref().map(|active| active.clock)
    }

    /// The time of an instant, if anybody asks.
    pub(super) fn unix_ms(&self, at: Instant) -> u64 {
        self.clock().map_or(1, |clock| clock.unix_ms(at))
    }
}

/// Messages.
impl Journal {
    /// A session's queue (or the retained store) holds the message from now on. Returns where its
    /// body stands; it is written by the first holder.
    pub(super) fn hold(&mut self, message: &Message) -> Option<(Place, u32)> {
        let active = self.active.as_mut()?;
        let bytes = body_bytes(message);
        let stored = message.stored();
        let holders = stored.holders.get();
        stored.holders.set(holders + 1);
        let known = Place::from_u64(stored.place.get());
        let place = match known {
            Some(place) if holders > 0 || active.writer.add_live(place, bytes) => place,
            _ => active.write_body(message),
        };
        Some((place, bytes))
    }

    /// A queue that holds the message keeps only its place from now on, and needs its body for
    /// itself. The place stays known to the message, for the next sessions of its route.
    pub(super) fn leave_on_disk(&mut self, message: &Message) -> Option<Place> {
        let active = self.active.as_mut()?;
        let stored = message.stored();
        let place = Place::from_u64(stored.place.get())?;
        let holders = stored.holders.get();
        assert!(holders > 0, "a message that nobody holds");
        stored.holders.set(holders - 1);
        if holders > 1 {
            active.writer.add_live(place, body_bytes(message));
        }
        Some(place)
    }

    /// A message was read back for the queue that had only its place, and takes over its need.
    pub(super) fn read_back(message: &Message, place: Place) {
        let stored = message.stored();
        stored.holders.set(1);
        stored.place.set(place.as_u64());
    }

    /// A queue does not need a body any more of which it had only the place.
    pub(super) fn forget_stored(&mut self, message: &StoredMessage) {
        if let Some(place) = Place::from_u64(message.place.get())
            && let Some(active) = &mut self.active
        {
            active.writer.remove_live(place, record_bytes(message));
        }
    }

    /// For a snapshot: the record that brings a stored message back.
    pub(super) fn stored_record(&self, message: &StoredMessage) -> Option<Queued> {
        Some(Queued {
            place: Place::from_u64(message.place.get())?,
            bytes: record_bytes(message),
            qos: message.qos,
            retain: message.retain,
            packet_id: None,
            expires_at_ms: message.expires_at().map_or(0, |at| self.unix_ms(at)),
            subscription_identifiers: message.subscription_identifiers(),
        })
    }

    /// A queue needs a body of which it has only the place.
    pub(super) fn restore_stored(&mut self, message: &StoredMessage) {
        if let Some(place) = Place::from_u64(message.place.get())
            && let Some(active) = &mut self.active
        {
            active.writer.add_live(place, record_bytes(message));
        }
    }

    /// One holder less. The last one's body is not needed any more.
    pub(super) fn let_go(&mut self, message: &Message) {
        let Some(active) = &mut self.active else {
            return;
        };
        let stored = message.stored();
        let holders = stored.holders.get();
        assert!(holders > 0, "a message that nobody holds");
        stored.holders.set(holders - 1);
        if holders > 1 {
            return;
        }
        if let Some(place) = Place::from_u64(stored.place.take()) {
            active.writer.remove_live(place, body_bytes(message));
        }
    }

    /// For a snapshot: where the body stands, written again if its segment is nearly empty or
    /// belongs to another journal. True: it was.
    pub(super) fn carry(&mut self, message: &Message) -> Option<(Place, u32, bool)> {
        let active = self.active.as_mut()?;
        let bytes = body_bytes(message);
        let place = Place::from_u64(message.stored().place.get());
        if let Some(place) = place {
            if !active.writer.is_sparse(place.segment()) {
                return Some((place, bytes, false));
            }
            active.writer.remove_live(place, bytes);
        }
        let place = active.write_body(message);
        Some((place, bytes, true))
    }

    /// A message that recovery found at `place`.
    pub(super) fn restore(&mut self, message: &Message, place: Option<Place>) {
        let stored = message.stored();
        let holders = stored.holders.get();
        stored.holders.set(holders + 1);
        stored.place.set(place.map_or(0, Place::as_u64));
        if let Some(place) = place.filter(|_| holders == 0)
            && let Some(active) = &mut self.active
        {
            active.writer.add_live(place, body_bytes(message));
        }
    }

    /// A message is in a session's queue, or in flight under `packet_id`.
    pub(super) fn queued(
        &mut self,
        session: u64,
        delivery: &Delivery,
        packet_id: Option<PacketId>,
    ) {
        if session == 0 {
            return;
        }
        if let Some((place, bytes)) = self.hold(&delivery.message) {
            let queued = self.queued_record(delivery, place, bytes, packet_id);
            self.append(&Record::Queued { session, queued });
        }
    }

    pub(super) fn queued_record(
        &self,
        delivery: &Delivery,
        place: Place,
        bytes: u32,
        packet_id: Option<PacketId>,
    ) -> Queued {
        let expires_at = delivery.message.expires_at();
        Queued {
            place,
            bytes,
            qos: delivery.qos,
            retain: delivery.retain,
            packet_id,
            expires_at_ms: expires_at.map_or(0, |at| self.unix_ms(at)),
            subscription_identifiers: delivery.subscription_identifiers.clone(),
        }
    }

    /// The message has left a session's queue and is not in flight any more.
    pub(super) fn unqueued(&mut self, session: u64, delivery: &Delivery) {
        if session != 0 {
            self.let_go(&delivery.message);
        }
    }

    /// The oldest message of a session's queue was dropped.
    pub(super) fn dropped(&mut self, session: u64, waiting: &QueuedMessage) {
        if session == 0 {
            return;
        }
        self.append(&Record::Dropped { session });
        match waiting {
            QueuedMessage::Held(delivery) => self.let_go(&delivery.message),
            QueuedMessage::Stored(message) => self.forget_stored(message),
        }
    }

    /// A record about a session, if it is journalled.
    pub(super) fn about(&mut self, session: u64, record: &Record<'_>) {
        if session != 0 {
            self.append(record);
        }
    }
}

impl Active {
    fn write_body(&mut self, message: &Message) -> Place {
        let expires_at = message.expires_at();
        let place = self.writer.append(&Record::Body(BodyView {
            expires_at_ms: expires_at.map_or(0, |at| self.clock.unix_ms(at)),
            qos: message.qos(),
            retain: message.retain(),
            topic_name: message.topic_name_bytes(),
            properties: message.properties(),
            payload: message.payload(),
        }));
        self.writer.add_live(place, body_bytes(message));
        message.stored().place.set(place.as_u64());
        place
    }
}

/// Bytes of the record that holds the message.
fn body_bytes(message: &Message) -> u32 {
    let bytes = BodyView::FIXED_BYTES + message.bytes();
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The same for a message that waits on the disk.
pub(super) fn record_bytes(message: &StoredMessage) -> u32 {
    u32::try_from(BodyView::FIXED_BYTES).unwrap_or(0) + message.bytes()
}

/// For the driver.
impl Shard {
    /// The next batch to write; the one before it has come back.
    pub fn poll_journal(&mut self) -> Option<Box<JournalBatch>> {
        self.advance_snapshot();
        let batch = self.journal.writer()?.poll()?;
        self.counters.journal_batches += 1;
        self.counters.journal_bytes += batch.bytes() as u64;
        Some(batch)
    }

    /// The batch is as durable as it asked.
    pub fn on_durable(&mut self, now: Instant, batch: Box<JournalBatch>) {
        let was_synced = batch.needs_sync();
        self.journal.begin_group(now);
        if let Some(writer) = self.journal.writer() {
            writer.on_durable(batch);
        }
        while let Some(waiter) = self.journal.pop_due() {
            self.on_waited(now, waiter);
        }
        // As in `on_barrier_reached`, for a SUBACK that waited.
        self.send_barrier();
        self.finish_snapshot(was_synced);
        self.resume_journal();
        self.run_resumes(now);
    }

    /// Segments to make ready or to use again.
    pub fn poll_segment(&mut self) -> Option<SegmentEvent> {
        self.journal.writer()?.poll_segment()
    }

    /// A segment that was wanted can be written.
    pub fn on_segment_ready(&mut self, _now: Instant, number: u32) {
        if let Some(writer) = self.journal.writer() {
            writer.on_segment_ready(number);
        }
    }

    /// The disk is past its watermark, or no longer: QoS 1 and 2 messages are refused meanwhile.
    pub fn on_disk_full(&mut self, _now: Instant, is_full: bool) {
        self.journal.disk_is_full = is_full;
    }

    /// Everything that has happened goes to the disk with the next batches.
    pub fn sync_journal(&mut self) {
        if let Some(writer) = self.journal.writer() {
            writer.sync_all();
        }
    }

    /// Bytes of the messages that the journal still has to keep.
    pub fn journal_live_bytes(&mut self) -> u64 {
        self.journal
            .writer()
            .map_or(0, |writer| writer.live_bytes())
    }

    /// Nothing waits for the disk, and nothing is on its way to it.
    #[must_use]
    pub fn is_journal_settled(&self) -> bool {
        self.journal.is_settled()
    }

    fn on_waited(&mut self, now: Instant, waiter: Waiter) {
        match waiter {
            Waiter::Publish {
                connection,
                ack_number,
            } => {
                if let Some(it) = self.connection_mut(connection) {
                    it.pending_acks.close_condition(ack_number);
                    self.send_ready_acks(connection);
                }
            }
            Waiter::Ack(owed) => self.send_owed_ack(&owed),
            Waiter::ConnAck { connection, packet } => {
                self.on_connect_durable(now, connection, &packet);
            }
            Waiter::Answer(answer) => self.on_answer_durable(now, *answer),
            Waiter::Send {
                session,
                connection,
                packet_id,
            } => self.send_held(now, session, connection, packet_id),
            Waiter::Forward { number } => {
                self.send_forward(number);
                self.run_lookups_behind_forwards();
            }
            Waiter::Accept {
                source,
                count,
                wants_acceptance,
            } => {
                let link = &mut self.links[source.index()];
                link.held_acceptances -= 1;
                link.accept(count, wants_acceptance);
            }
        }
    }

    /// The disk has caught up: the connections that waited for it are tried, first come first.
    fn resume_journal(&mut self) {
        while !self.journal.is_pressed()
            && let Some(id) = self.journal.paused.pop_front()
        {
            if let Some(connection) = self.connection_mut(id) {
                connection.waits_for_journal = false;
                self.resume_later(id);
            }
        }
    }

    /// The session's number in the journal; 0: it has none.
    pub(super) fn journal_number(&self, session: u32) -> u64 {
        self.sessions
            .get(session)
            .map_or(0, |session| session.journal_number)
    }

    /// Lists a connection that needs the disk while too much waits for it, once.
    pub(super) fn wait_for_journal(&mut self, id: ConnectionId) {
        self.counters.journal_pauses += 1;
        let Self {
            connections,
            journal,
            ..
        } = self;
        let Some(connection) = connections.get_named_mut(id.index, id.generation) else {
            return;
        };
        if !connection.waits_for_journal {
            connection.waits_for_journal = true;
            journal.paused.push_back(id);
        }
    }
}
