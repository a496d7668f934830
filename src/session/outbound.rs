//! Messages towards the client: those in flight and those that wait behind them.

use super::delivery::{Delivery, QueuedMessage};
use super::stored::{StoredMessage, StoredQueue};
use crate::base::time::Instant;
use crate::codec::{PacketId, QosLevel, SharedMessage};
use crate::config::limits::QueueFullPolicy;
use std::collections::VecDeque;

/// What a waiting message takes beside its bytes, and one that waits on the disk: with the spare
/// room of a growing queue.
const HELD_BYTES: u64 = 128;
const STORED_BYTES: u64 = 48;

/// Fewer entries than this are not worth compacting.
const COMPACT_FROM: usize = 64;

/// What the client must answer next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// QoS 1, PUBLISH sent.
    AwaitPubAck,
    /// QoS 2, PUBLISH sent.
    AwaitPubRec,
    /// QoS 2, PUBREL sent; the message itself is no longer needed.
    AwaitPubComp,
    /// Done, but something older is still in flight; the place is freed with it.
    Done,
}

/// One message in flight.
#[derive(Debug)]
pub struct Inflight {
    pub packet_id: PacketId,
    pub stage: Stage,
    /// Sent as PUBLISH on the present connection: takes a place in the client's window.
    counted: bool,
    /// Kept for a resend until the client has taken over.
    pub delivery: Option<Delivery>,
}

/// Bounds of one session's queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    pub messages_max: u32,
    pub bytes_max: u64,
    pub policy: QueueFullPolicy,
}

/// What became of an acknowledgement by the client.
#[derive(Debug)]
pub enum Acknowledged {
    /// The packet was expected; the message, if it is not needed any more.
    Expected(Option<Delivery>),
    /// No such packet identifier in that stage [MQTT-4.3.3-8].
    Unexpected,
}

/// Outbound QoS 1 and 2 state of one session.
///
/// Invariants: `inflight` is in the order of sending; identifiers in it are unique; its first
/// entry is not `Done`; the last `unsent` entries, of which the first one has a message, were not
/// sent as PUBLISH on the present connection;
/// `open_count` counts the entries that are not `Done`, `sent_count` those of them that are
/// `counted`.
#[derive(Debug, Default)]
pub struct Outbound {
    inflight: VecDeque<Inflight>,
    queue: VecDeque<Delivery>,
    /// Of `queue`.
    held_bytes: u64,
    /// Behind `queue`, on the disk; not there when it is empty.
    stored: Option<Box<StoredQueue>>,
    /// In flight on the present connection.
    sent_count: u16,
    open_count: u16,
    /// Entries at the end of `inflight` that wait to be sent again.
    unsent: u16,
    /// The identifier given out last.
    last_packet_id: u16,
    /// Identifiers in `inflight` do not ascend from the first: one entry stayed so long that the
    /// counter went round past it. Lookup is linear until `inflight` is empty.
    ids_unordered: bool,
}

impl Outbound {
    /// Messages in flight: what counts against the client's Receive Maximum [MQTT-4.9.0-2].
    #[must_use]
    pub const fn sent_count(&self) -> u16 {
        self.sent_count
    }

    /// Messages sent at least once and not done, on this or an earlier connection.
    #[must_use]
    pub const fn inflight_count(&self) -> usize {
        self.open_count as usize
    }

    /// Messages that wait, in memory and on the disk.
    #[must_use]
    pub fn queued_count(&self) -> usize {
        self.queue.len() + self.stored.as_ref().map_or(0, |stored| stored.len())
    }

    /// Their bytes.
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.held_bytes + self.stored.as_ref().map_or(0, |stored| stored.bytes())
    }

    /// Bytes of those in memory.
    #[must_use]
    pub const fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// What waits takes in memory, about.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let stored = self.stored.as_ref().map_or(0, |stored| stored.len());
        let held = self.queue.len() as u64 * HELD_BYTES;
        self.held_bytes + held + stored as u64 * STORED_BYTES
    }

    /// May a message be sent now, ahead of none that waits?
    #[must_use]
    pub fn can_send(&self, window: u16) -> bool {
        self.unsent == 0 && self.queue.is_empty() && !self.has_stored() && self.has_window(window)
    }

    fn has_window(&self, window: u16) -> bool {
        self.sent_count < window && self.inflight.len() < usize::from(u16::MAX)
    }

    /// The connection is gone: what is in flight waits to be sent again.
    pub fn on_disconnected(&mut self) {
        self.unsent = u16::try_from(self.inflight.len()).unwrap_or(u16::MAX);
        self.sent_count = 0;
        for entry in &mut self.inflight {
            entry.counted = false;
        }
        self.pass_released();
    }

    /// Entries without a message have no PUBLISH to send again.
    fn pass_released(&mut self) {
        while self.unsent > 0 {
            let first = self.inflight.len() - usize::from(self.unsent);
            if self.inflight[first].delivery.is_some() {
                return;
            }
            self.unsent -= 1;
        }
    }

    /// Exchanges whose PUBREL is due again when the client comes back, in the original order. They
    /// take no place in the new connection's window and do not wait for one [MQTT-3.3.4-10].
    pub fn releases(&self) -> impl Iterator<Item = PacketId> {
        let open = self.inflight.iter();
        let released = open.filter(|entry| entry.stage == Stage::AwaitPubComp);
        released.map(|entry| entry.packet_id)
    }

    /// The next message to send again to a client that came back, in the original order and within
    /// its window [MQTT-4.4.0-1], [MQTT-4.9.0-2].
    pub fn next_resend(&mut self, window: u16) -> Option<&Inflight> {
        if self.unsent == 0 || self.sent_count >= window {
            return None;
        }
        let position = self.inflight.len() - usize::from(self.unsent);
        self.unsent -= 1;
        self.pass_released();
        self.inflight[position].counted = true;
        self.sent_count += 1;
        Some(&self.inflight[position])
    }

    /// Puts a message in flight under a new packet identifier [MQTT-2.2.1-4].
    /// The caller has checked the window.
    pub fn send(&mut self, delivery: Delivery) -> PacketId {
        assert!(delivery.qos != QosLevel::AtMostOnce && self.unsent == 0);
        let packet_id = self.next_packet_id();
        let stage = match delivery.qos {
            QosLevel::ExactlyOnce => Stage::AwaitPubRec,
            _ => Stage::AwaitPubAck,
        };
        self.inflight.push_back(Inflight {
            packet_id,
            stage,
            counted: true,
            delivery: Some(delivery),
        });
        self.sent_count += 1;
        self.open_count += 1;
        packet_id
    }

    /// What was put in flight last.
    #[must_use]
    pub fn newest(&self) -> Option<&Inflight> {
        self.inflight.back()
    }

    /// Does anything wait for the window or the socket?
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.unsent > 0 || !self.queue.is_empty() || self.has_stored()
    }

    /// An unused identifier. There is one: fewer than 65,535 are in use.
    fn next_packet_id(&mut self) -> PacketId {
        loop {
            self.last_packet_id = self.last_packet_id.wrapping_add(1);
            let Some(packet_id) = PacketId::new(self.last_packet_id) else {
                continue;
            };
            match self.inflight.front() {
                // Ascending from the first: in use only if the counter has come round to it.
                Some(first) if !self.ids_unordered => {
                    if first.packet_id != packet_id {
                        return packet_id;
                    }
                    self.ids_unordered = true;
                }
                Some(_) => {
                    if self
                        .inflight
                        .iter()
                        .all(|entry| entry.packet_id != packet_id)
                    {
                        return packet_id;
                    }
                }
                None => return packet_id,
            }
        }
    }

    fn position(&self, packet_id: PacketId) -> Option<usize> {
        if self.ids_unordered {
            return self
                .inflight
                .iter()
                .position(|entry| entry.packet_id == packet_id);
        }
        let first = self.inflight.front()?.packet_id.get();
        let distance = |id: u16| id.wrapping_sub(first);
        // As long as none in between was left out, the distance is the position.
        let likely = usize::from(distance(packet_id.get()));
        if self
            .inflight
            .get(likely)
            .is_some_and(|entry| entry.packet_id == packet_id)
        {
            return Some(likely);
        }
        self.inflight
            .binary_search_by_key(&distance(packet_id.get()), |entry| {
                distance(entry.packet_id.get())
            })
            .ok()
    }

    /// PUBACK: the message is done.
    pub fn on_pub_ack(&mut self, packet_id: PacketId) -> Acknowledged {
        self.finish(packet_id, Stage::AwaitPubAck)
    }

    /// PUBREC with an error: the message is done, no PUBREL follows [MQTT-4.3.3-4].
    pub fn on_pub_rec_error(&mut self, packet_id: PacketId) -> Acknowledged {
        self.finish(packet_id, Stage::AwaitPubRec)
    }

    /// Gives a message up that cannot be sent again, as if it had been acknowledged.
    pub fn discard(&mut self, packet_id: PacketId) -> Option<Delivery> {
        let position = self.position(packet_id)?;
        let stage = self.inflight[position].stage;
        match self.finish(packet_id, stage) {
            Acknowledged::Expected(delivery) => delivery,
            Acknowledged::Unexpected => None,
        }
    }

    /// PUBREC: the client owns the message; PUBREL is due. A repeated PUBREC gets it again.
    pub fn on_pub_rec(&mut self, packet_id: PacketId) -> Acknowledged {
        let Some(position) = self.position(packet_id) else {
            return Acknowledged::Unexpected;
        };
        let entry = &mut self.inflight[position];
        match entry.stage {
            Stage::AwaitPubRec => {
                entry.stage = Stage::AwaitPubComp;
                let delivery = entry.delivery.take();
                self.pass_released();
                Acknowledged::Expected(delivery)
            }
            Stage::AwaitPubComp => Acknowledged::Expected(None),
            Stage::AwaitPubAck | Stage::Done => Acknowledged::Unexpected,
        }
    }

    /// PUBCOMP: the exchange is done.
    pub fn on_pub_comp(&mut self, packet_id: PacketId) -> Acknowledged {
        self.finish(packet_id, Stage::AwaitPubComp)
    }

    fn finish(&mut self, packet_id: PacketId, expected: Stage) -> Acknowledged {
        let Some(position) = self.position(packet_id) else {
            return Acknowledged::Unexpected;
        };
        let entry = &mut self.inflight[position];
        if entry.stage != expected {
            return Acknowledged::Unexpected;
        }
        entry.stage = Stage::Done;
        let delivery = entry.delivery.take();
        self.sent_count -= u16::from(std::mem::take(&mut entry.counted));
        self.open_count -= 1;
        while self
            .inflight
            .front()
            .is_some_and(|first| first.stage == Stage::Done)
        {
            self.inflight.pop_front();
            if self.inflight.len() < usize::from(self.unsent) {
                self.unsent -= 1;
            }
        }
        self.pass_released();
        if self.inflight.is_empty() {
            self.ids_unordered = false;
        }
        self.compact();
        Acknowledged::Expected(delivery)
    }

    /// Frees the places of messages that are done behind one that stays, when they are the most:
    /// otherwise a single slow message would in the end stop all others.
    fn compact(&mut self) {
        let open = usize::from(self.open_count);
        if self.unsent == 0 && self.inflight.len() > COMPACT_FROM.max(2 * open) {
            self.inflight.retain(|entry| entry.stage != Stage::Done);
        }
    }

    /// Puts a message behind those that wait. What the policy pushes out for it, the oldest ones,
    /// goes to `dropped`; the caller counts and releases it.
    ///
    /// # Errors
    /// The message itself, when the limits have no room for it.
    pub fn enqueue(
        &mut self,
        delivery: Delivery,
        limits: &QueueLimits,
        mut dropped: impl FnMut(QueuedMessage),
    ) -> Result<(), Delivery> {
        let bytes = delivery.bytes();
        let can_ever_fit = limits.messages_max > 0 && bytes <= limits.bytes_max;
        if limits.policy == QueueFullPolicy::DropOldest && can_ever_fit {
            while !self.has_room(bytes, limits)
                && let Some(oldest) = self.pop_front()
            {
                dropped(oldest);
            }
        }
        if !self.has_room(bytes, limits) {
            return Err(delivery);
        }
        self.push_held(delivery);
        Ok(())
    }

    fn push_held(&mut self, delivery: Delivery) {
        if self.queue.capacity() == 0 {
            // Most clients that are away miss little: no room for more before there is more.
            self.queue.reserve_exact(1);
        }
        self.held_bytes += delivery.bytes();
        self.queue.push_back(delivery);
    }

    fn has_room(&self, bytes: u64, limits: &QueueLimits) -> bool {
        self.queued_count() < limits.messages_max as usize
            && self.queued_bytes().saturating_add(bytes) <= limits.bytes_max
    }

    /// The next waiting message, if the window allows one more and it is in memory; expired and
    /// lost ones go to `dead`.
    pub fn dequeue(
        &mut self,
        now: Instant,
        window: u16,
        mut dead: impl FnMut(QueuedMessage),
    ) -> Option<Delivery> {
        if self.unsent > 0 || !self.has_window(window) {
            return None;
        }
        while let Some(delivery) = self.pop_held() {
            if !delivery.is_expired(now) {
                return Some(delivery);
            }
            dead(QueuedMessage::Held(delivery));
        }
        while let Some(message) = self.stored.as_mut().and_then(|it| it.pop_dead(now)) {
            dead(QueuedMessage::Stored(message));
        }
        self.drop_empty();
        None
    }

    fn pop_held(&mut self) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        self.held_bytes -= delivery.bytes();
        Some(delivery)
    }

    fn pop_front(&mut self) -> Option<QueuedMessage> {
        if let Some(delivery) = self.pop_held() {
            return Some(QueuedMessage::Held(delivery));
        }
        let message = self.stored.as_mut()?.pop();
        self.drop_empty();
        message.map(QueuedMessage::Stored)
    }

    /// An empty stored queue goes, unless an answer to its read has still to come.
    fn drop_empty(&mut self) {
        let is_over = |it: &StoredQueue| it.is_empty() && !it.is_being_read;
        if self.stored.as_ref().is_some_and(|it| is_over(it)) {
            self.stored = None;
        }
    }

    /// All messages in memory.
    pub fn messages(&self) -> impl Iterator<Item = &SharedMessage> {
        let in_flight = self
            .inflight
            .iter()
            .filter_map(|entry| entry.delivery.as_ref());
        let all = in_flight.chain(&self.queue);
        all.map(|delivery| &delivery.message)
    }

    /// What is in flight, in the order of sending.
    pub fn resends(&self) -> impl Iterator<Item = &Inflight> {
        self.inflight
            .iter()
            .filter(|entry| entry.stage != Stage::Done)
    }

    /// What waits behind those in flight in memory, oldest first.
    pub fn queued(&self) -> impl Iterator<Item = &Delivery> {
        self.queue.iter()
    }

    /// What was put into the queue last and is in memory.
    #[must_use]
    pub fn newest_queued(&self) -> Option<&Delivery> {
        self.queue.back()
    }

    /// A QoS 2 message in flight whose PUBREC has not come.
    #[must_use]
    pub fn awaiting_pub_rec(&self, packet_id: PacketId) -> Option<&Delivery> {
        let entry = self.inflight.get(self.position(packet_id)?)?;
        (entry.stage == Stage::AwaitPubRec)
            .then_some(entry.delivery.as_ref())
            .flatten()
    }

    /// Brings an exchange of an earlier process back, in the order of sending; `None`: PUBREC has
    /// come. [`Self::on_disconnected`] follows when all are there.
    pub fn restore_inflight(&mut self, packet_id: PacketId, delivery: Option<Delivery>) {
        let stage = match delivery.as_ref().map(|delivery| delivery.qos) {
            None => Stage::AwaitPubComp,
            Some(QosLevel::ExactlyOnce) => Stage::AwaitPubRec,
            Some(_) => Stage::AwaitPubAck,
        };
        let first = self.inflight.front().map_or(packet_id, |it| it.packet_id);
        let distance = |id: PacketId| id.get().wrapping_sub(first.get());
        let last = self.inflight.back().map(|it| distance(it.packet_id));
        self.ids_unordered |= last.is_some_and(|last| last >= distance(packet_id));
        self.last_packet_id = packet_id.get();
        self.inflight.push_back(Inflight {
            packet_id,
            stage,
            counted: false,
            delivery,
        });
        self.open_count += 1;
    }

    /// Brings a waiting message of an earlier process back. Today's limits may be smaller than
    /// those it was taken under: they count again for what comes next.
    pub fn restore_queued(&mut self, delivery: Delivery) {
        assert!(!self.has_stored());
        self.push_held(delivery);
    }

    /// All messages still held, when the session ends, and whether they were sent.
    pub fn drain(&mut self) -> impl Iterator<Item = (Delivery, bool)> {
        self.sent_count = 0;
        self.open_count = 0;
        self.unsent = 0;
        self.held_bytes = 0;
        self.ids_unordered = false;
        let inflight = self.inflight.drain(..).filter_map(|entry| entry.delivery);
        let queue = self.queue.drain(..).map(|delivery| (delivery, false));
        inflight.map(|delivery| (delivery, true)).chain(queue)
    }

    /// Gives memory back that a burst needed.
    pub fn shrink(&mut self) {
        if self.inflight.is_empty() {
            self.inflight = VecDeque::new();
        }
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    pub(super) fn assert_invariants(&self) {
        let first_unsent = self.inflight.len() - usize::from(self.unsent);
        let unsent = self.inflight.get(first_unsent);
        assert!(unsent.is_none_or(|first| first.delivery.is_some()));
        assert_eq!(self.resends().count(), usize::from(self.open_count));
        let counted = self.resends().filter(|entry| entry.counted);
        assert_eq!(counted.count(), usize::from(self.sent_count));
        assert!(
            self.inflight
                .front()
                .is_none_or(|first| first.stage != Stage::Done)
        );
        let bytes: u64 = self.queue.iter().map(Delivery::bytes).sum();
        assert_eq!(bytes, self.held_bytes);
        if let Some(stored) = &self.stored {
            stored.assert_invariants();
        }
        for entry in &self.inflight {
            let needed = matches!(entry.stage, Stage::AwaitPubAck | Stage::AwaitPubRec);
            assert_eq!(entry.delivery.is_some(), needed);
        }
    }
}

/// The end of the queue that is on the disk.
impl Outbound {
    #[must_use]
    pub fn has_stored(&self) -> bool {
        self.stored
            .as_ref()
            .is_some_and(|stored| !stored.is_empty())
    }

    #[must_use]
    pub fn stored(&self) -> Option<&StoredQueue> {
        self.stored.as_deref()
    }

    pub fn stored_mut(&mut self) -> Option<&mut StoredQueue> {
        self.stored.as_deref_mut()
    }

    /// The newest message of the queue waits on the disk from now on; what held it is returned.
    pub fn store_newest(&mut self, stored: StoredMessage) -> Option<Delivery> {
        let delivery = self.queue.pop_back()?;
        self.held_bytes -= delivery.bytes();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        self.push_stored(stored);
        Some(delivery)
    }

    /// Puts a message that is only on the disk behind all others.
    pub fn push_stored(&mut self, stored: StoredMessage) {
        self.stored.get_or_insert_default().push(stored);
    }

    /// The first stored message has been read: it waits in memory again.
    pub fn bring_back(&mut self, message: SharedMessage) {
        let delivery = self.stored.as_mut().and_then(|it| it.bring_back(message));
        if let Some(delivery) = delivery {
            self.push_held(delivery);
        }
    }

    /// Nothing is being read any more.
    pub fn end_read(&mut self) {
        if let Some(stored) = &mut self.stored {
            stored.is_being_read = false;
        }
        self.drop_empty();
    }

    /// All that is stored, when the session ends.
    pub fn take_stored(&mut self) -> Option<Box<StoredQueue>> {
        self.stored.take()
    }
}
