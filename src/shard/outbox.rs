//! The link to one other shard: what waits for it, what it has accepted, who waits for that.
//!
//! Bounds: `link_bytes_max` and `link_messages_max` of what is on its way; past them
//! [`Link::has_room`] is false and the connections that feed the link are paused, listed in
//! `paused`. At most [`BATCHES_UNDER_WAY_MAX`] batches travel at a time; what comes meanwhile
//! gathers in the next one.

use super::forward::SharedWay;
use super::peer_batch::{PeerBatch, ShardMessage};
use crate::base::ids::ConnectionId;
use crate::codec::MessageParts;
use crate::topic::index::TopicHash;
use bytes::Bytes;
use std::collections::VecDeque;

/// Batches that have left and are not yet back. The driver's rings must hold as many.
pub const BATCHES_UNDER_WAY_MAX: usize = 8;

/// An acknowledgement that waits for the peer's acceptance of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    /// The message's number on this link, from 1.
    pub(super) number: u64,
    pub(super) connection: ConnectionId,
    /// Number of the acknowledgement in the connection's `pending_acks`.
    pub(super) ack_number: u32,
}

#[derive(Debug, Default)]
pub(super) struct Link {
    current: Box<PeerBatch>,
    #[allow(clippy::vec_box, reason = "the boxes travel; the list only parks them")]
    free: Vec<Box<PeerBatch>>,
    under_way: usize,
    under_way_bytes: usize,
    under_way_messages: usize,
    /// Messages put on the link so far; the number of the latest one.
    sent: u64,
    /// Of these, how many the peer has accepted.
    accepted: u64,
    /// Messages of the peer that have come.
    arrived: u64,
    /// Messages accepted from the peer, and how many of them it knows of.
    received: u64,
    reported: u64,
    /// The peer waits for some acceptance.
    report_due: bool,
    /// Number of the latest message that some acknowledgement waits or waited for.
    wanted: u64,
    /// In the order of the numbers.
    waiters: VecDeque<Waiter>,
    /// Connections that found the link full, in the order of coming.
    pub(super) paused: VecDeque<ConnectionId>,
    /// Batches of the peer whose acceptance waits for the journal.
    pub(super) held_acceptances: u64,
    /// Too much waits for the peer's disk.
    pub(super) peer_is_pressed: bool,
    /// What the peer was told of ours.
    told_pressed: bool,
    /// Number of the last retained update put on this link.
    pub(super) last_retained_update: u64,
    /// Number of our last barrier that the peer has seen.
    pub(super) barrier_seen: u64,
}

impl Link {
    pub(super) fn has_room(&self, bytes_max: u32, messages_max: u32) -> bool {
        self.under_way_bytes + self.current.bytes() < bytes_max as usize
            && self.under_way_messages + self.current.len() < messages_max as usize
    }

    /// Puts a message on the link; returns its number.
    pub(super) fn push(&mut self, message: ShardMessage) -> u64 {
        self.current.push(message);
        self.sent += 1;
        self.sent
    }

    /// `forward`: its number among the messages that arrive exactly once, or 0.
    #[inline]
    pub(super) fn push_publish(
        &mut self,
        message: &MessageParts<'_>,
        hash: TopicHash,
        forward: u64,
        shared: &mut Option<Bytes>,
    ) -> u64 {
        self.current.push_publish(message, hash, forward, shared);
        self.sent += 1;
        self.sent
    }

    pub(super) fn push_retained_update(
        &mut self,
        message: &MessageParts<'_>,
        forward: u64,
        shared: &mut Option<Bytes>,
    ) -> u64 {
        let record = self.current.put_message(message, forward, shared);
        self.last_retained_update = self.push(ShardMessage::RetainedUpdate(record));
        self.current.wants_acceptance = true;
        self.last_retained_update
    }

    pub(super) fn push_shared_publish(
        &mut self,
        message: &MessageParts<'_>,
        forward: u64,
        shared: &mut Option<Bytes>,
        group: u64,
        way: SharedWay,
    ) -> u64 {
        let record = self.current.put_message(message, forward, shared);
        self.push(ShardMessage::SharedPublish {
            group,
            member: way.member,
            hops: way.hops,
            record,
        })
    }

    pub(super) fn push_shared_interest(&mut self, text: &str, online: u32, all: u32) {
        let text = self.current.put_text(text);
        self.push(ShardMessage::SharedInterest { text, online, all });
    }

    /// Number of the latest message put on the link.
    pub(super) const fn latest(&self) -> u64 {
        self.sent
    }

    pub(super) fn push_wildcard_interest(&mut self, filter: &str, wanted: bool) {
        let filter = self.current.put_text(filter);
        self.push(ShardMessage::WildcardInterest { filter, wanted });
    }

    pub(super) fn push_retained_answer(&mut self, lookup: u64, message: &MessageParts<'_>) {
        let record = self.current.put_message(message, 0, &mut None);
        self.push(ShardMessage::RetainedAnswer { lookup, record });
    }

    /// The acceptance of this message is waited for.
    pub(super) fn want_acceptance(&mut self, number: u64) {
        self.current.wants_acceptance = true;
        self.wanted = number;
    }

    /// The acknowledgement leaves when the peer has accepted the message with this number.
    pub(super) fn wait(&mut self, waiter: Waiter) {
        self.want_acceptance(waiter.number);
        self.waiters.push_back(waiter);
    }

    /// The latest message that was waited for and is not accepted. Its batch asked for acceptance,
    /// so to wait for it again needs no more.
    pub(super) fn unaccepted(&self) -> Option<u64> {
        (!self.has_accepted(self.wanted)).then_some(self.wanted)
    }

    /// The peer learns with the next batch whether too much waits for our disk.
    pub(super) const fn tell_pressed(&mut self, is_pressed: bool) {
        self.report_due |= self.told_pressed != is_pressed;
        self.told_pressed = is_pressed;
    }

    /// The next batch to hand to the driver, if there is something to say and a batch may leave.
    pub(super) fn poll_batch(
        &mut self,
        bytes_max: u32,
        messages_max: u32,
    ) -> Option<Box<PeerBatch>> {
        let nothing_new = self.current.len() == 0 && !self.report_due;
        if nothing_new || self.under_way >= BATCHES_UNDER_WAY_MAX {
            return None;
        }
        let next = self.free.pop().unwrap_or_default();
        let mut batch = std::mem::replace(&mut self.current, next);
        batch.accepted = self.received;
        batch.is_pressed = self.told_pressed;
        batch.sent_bytes = batch.bytes();
        batch.sent_messages = batch.len();
        self.reported = self.received;
        self.report_due = false;
        self.under_way += 1;
        self.under_way_bytes += batch.sent_bytes;
        self.under_way_messages += batch.sent_messages;
        let few_left = self.under_way * 2 >= BATCHES_UNDER_WAY_MAX;
        batch.wants_return = few_left || !self.has_room(bytes_max, messages_max);
        Some(batch)
    }

    /// An emptied batch came home.
    pub(super) fn on_returned(&mut self, batch: Box<PeerBatch>) {
        self.under_way -= 1;
        self.under_way_bytes -= batch.sent_bytes;
        self.under_way_messages -= batch.sent_messages;
        self.free.push(batch);
    }

    /// `count` messages of the peer are here; the number of the latest one before them.
    pub(super) const fn on_arrived(&mut self, count: u64) -> u64 {
        let before = self.arrived;
        self.arrived += count;
        before
    }

    /// The peer's message with this number did not reach everybody. Said before its acceptance,
    /// which follows when the batch with the message is over.
    pub(super) fn refuse(&mut self, number: u64) {
        self.current.push_refused(number);
    }

    /// Who waits for the peer's acceptance of exactly this message.
    pub(super) fn waiters_of(&self, number: u64) -> impl Iterator<Item = &Waiter> {
        let start = self
            .waiters
            .partition_point(|waiter| waiter.number < number);
        let rest = self.waiters.range(start..);
        rest.take_while(move |waiter| waiter.number == number)
    }

    /// `count` messages of the peer have taken effect here.
    pub(super) const fn accept(&mut self, count: u64, wants_acceptance: bool) {
        self.received += count;
        self.report_due |= wants_acceptance && self.received > self.reported;
    }

    /// The peer has accepted our messages up to `accepted`.
    pub(super) fn on_accepted(&mut self, accepted: u64) {
        assert!(accepted >= self.accepted && accepted <= self.sent);
        self.accepted = accepted;
    }

    /// Has the peer accepted the message with this number?
    pub(super) const fn has_accepted(&self, number: u64) -> bool {
        self.accepted >= number
    }

    /// The next waiter whose message is accepted.
    pub(super) fn pop_accepted_waiter(&mut self) -> Option<Waiter> {
        let first = self.waiters.front()?;
        (first.number <= self.accepted)
            .then(|| self.waiters.pop_front())
            .flatten()
    }

    /// Nothing is on its way and nobody waits.
    pub(super) fn is_settled(&self) -> bool {
        self.current.len() == 0 && self.under_way == 0 && self.waiters.is_empty()
    }
}
