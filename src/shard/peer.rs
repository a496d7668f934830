//! What the other shards say.

use super::Shard;
use super::journal::Waiter as JournalWaiter;
use super::outbox::Waiter;
use super::packed::PackedRun;
use super::peer_batch::{PeerBatch, ShardMessage};
use crate::base::ids::ShardId;
use crate::base::time::Instant;
use crate::codec::{MessageParts, ProtocolVersion, ReasonCode};
use smallvec::SmallVec;

impl Shard {
    /// Steps 14 to 18 of a PUBLISH's journey, and everything else that travels between shards.
    /// A batch is bounded by the sender's link limits, and nothing in it can wait: the emptied
    /// batch goes home at once, whatever the local sessions make of its messages.
    pub(super) fn receive_batch(&mut self, now: Instant, source: ShardId, batch: &mut PeerBatch) {
        self.journal.begin_group(now);
        for number in batch.take_refused() {
            self.on_refused(source, number);
        }
        self.on_acceptance(source, batch.accepted);
        self.on_pressure(source, batch.is_pressed);
        let before = self.journal.sequence();
        let count = batch.len() as u64;
        let mut messages = batch.take_messages();
        let mut number = self.links[source.index()].on_arrived(count);
        self.barriers.read(Some(source));
        for message in messages.drain(..) {
            let first = number + 1;
            number += message.count();
            self.on_peer_message(now, source, batch, message, first);
        }
        self.barriers.read(None);
        self.accept_messages(source, before, count, batch.wants_acceptance);
        batch.clear(messages);
    }

    fn on_pressure(&mut self, source: ShardId, is_pressed: bool) {
        let link = &mut self.links[source.index()];
        let was_pressed = std::mem::replace(&mut link.peer_is_pressed, is_pressed);
        if was_pressed && !is_pressed {
            self.resume_link(source);
        }
    }

    /// A message has taken effect when it is routed and what it left in the journal is durable.
    /// Acceptance is cumulative: what comes behind a message that waits, waits as well.
    fn accept_messages(
        &mut self,
        source: ShardId,
        before: u64,
        count: u64,
        wants_acceptance: bool,
    ) {
        let link = &mut self.links[source.index()];
        let wrote = self.journal.sequence() > before;
        let must_wait = (wrote && !self.journal.all_is_durable()) || link.held_acceptances > 0;
        if !must_wait {
            link.accept(count, wants_acceptance);
            return;
        }
        link.held_acceptances += 1;
        self.journal.wait(JournalWaiter::Accept {
            source,
            count,
            wants_acceptance,
        });
    }

    fn on_publish_run(&mut self, now: Instant, source: ShardId, run: PackedRun<'_>, first: u64) {
        let mut last = None;
        for (number, (hash, parts)) in (first..).zip(run) {
            self.journal.begin_group(now);
            // A publisher's messages often have one topic name: what matches is known then, as
            // long as the index is the same.
            let key = (hash, parts.topic_name, self.index.generation());
            let filters = match last {
                Some((known, filters)) if known == key => filters,
                _ => self.match_local(parts.topic_name, hash),
            };
            last = Some((key, filters));
            if self.on_peer_publish(now, filters, &parts) {
                self.links[source.index()].refuse(number);
            }
        }
    }

    /// `number`: that of the message, of the first one in a run.
    fn on_peer_message(
        &mut self,
        now: Instant,
        source: ShardId,
        batch: &PeerBatch,
        message: ShardMessage,
        number: u64,
    ) {
        self.journal.begin_group(now);
        match message {
            ShardMessage::PublishRun { start, count } => {
                self.on_publish_run(now, source, batch.run(start, count), number);
            }
            ShardMessage::Publish { hash, record } => {
                self.once(source, record.forward, |shard| {
                    let parts = batch.parts(&record);
                    let filters = shard.match_local(parts.topic_name, hash);
                    if shard.on_peer_publish(now, filters, &parts) {
                        shard.links[source.index()].refuse(number);
                    }
                });
            }
            ShardMessage::SharedPublish {
                group,
                member,
                hops,
                record,
            } => self.once(source, record.forward, |shard| {
                if shard.on_shared_publish(now, batch, group, member, hops, &record) {
                    shard.links[source.index()].refuse(number);
                }
            }),
            ShardMessage::SharedInterest { text, online, all } => {
                self.on_shared_interest(source, batch.text(text), online, all);
            }
            ShardMessage::RetainedUpdate(record) => self.once(source, record.forward, |shard| {
                let message = batch.message(&record, &mut shard.messages);
                shard.keep_retained(now, &message);
                shard.messages.release(message);
            }),
            ShardMessage::ExactInterest { hash, wanted } => {
                self.interest.set_exact(source, hash, wanted);
            }
            ShardMessage::WildcardInterest { filter, wanted } => {
                self.interest
                    .set_wildcard(source, batch.text(filter), wanted);
            }
            ShardMessage::Barrier { number } => self.on_barrier(source, number),
            ShardMessage::Recovered => {
                self.awaited_peers = self.awaited_peers.saturating_sub(1);
            }
            ShardMessage::BarrierSeen { number } => self.on_barrier_seen(source, number),
            ShardMessage::BarrierReached { number } => {
                self.on_barrier_reached(now, source, number);
            }
            ShardMessage::ReportQuery => self.on_report_query(source),
            ShardMessage::Report(report) => self.on_report(now, source, *report),
            ShardMessage::RetainedQuery(query) => self.on_retained_query(source, query),
            ShardMessage::RetainedAnswer { lookup, record } => {
                let message = batch.message(&record, &mut self.messages);
                self.on_retained_answer(now, lookup, message);
            }
            ShardMessage::RetainedSliceEnd { lookup, cursor } => {
                self.on_slice_end(lookup, cursor.map(|cursor| *cursor));
            }
        }
    }

    /// Does what a message asks for, unless it has come before; a message without a number has not.
    fn once(&mut self, source: ShardId, forward: u64, act: impl FnOnce(&mut Self)) {
        if forward == 0 {
            act(self);
        } else if self.forwards.on_arrived(source, forward) {
            let before = self.journal.sequence();
            act(self);
            if self.journal.sequence() > before {
                self.log_arrived(source, forward);
            }
        }
    }

    /// Matched against the local index only (so many `filters`, see `match_local`) and never
    /// forwarded again: no loops, no second hop. True: its publisher is to be told that it did not
    /// reach everybody.
    #[inline]
    fn on_peer_publish(&mut self, now: Instant, filters: usize, parts: &MessageParts<'_>) -> bool {
        self.counters.messages_from_peers += 1;
        if filters == 0 {
            self.counters.forwards_unmatched += 1;
            return false;
        }
        let message = self.messages.make(parts);
        let (_, refused) = self.deliver_matched_or_refuse(now, filters, &message, None);
        self.messages.release(message);
        refused
    }

    /// A session of the peer could not take our message: its acknowledgement, which still waits
    /// for the peer's acceptance, will say so.
    fn on_refused(&mut self, source: ShardId, number: u64) {
        let waiters: SmallVec<[Waiter; 2]> = self.links[source.index()]
            .waiters_of(number)
            .copied()
            .collect();
        for waiter in waiters {
            if let Some(connection) = self.connection_mut(waiter.connection)
                && connection.version == ProtocolVersion::V5
            {
                let reason_code = ReasonCode::QuotaExceeded;
                connection
                    .pending_acks
                    .refuse(waiter.ack_number, reason_code);
            }
        }
    }

    /// The peer has accepted our messages up to this number: acknowledgements may leave.
    fn on_acceptance(&mut self, source: ShardId, accepted: u64) {
        let link = source.index();
        self.links[link].on_accepted(accepted);
        while let Some(waiter) = self.links[link].pop_accepted_waiter() {
            if let Some(connection) = self.connection_mut(waiter.connection) {
                connection.pending_acks.close_condition(waiter.ack_number);
                self.send_ready_acks(waiter.connection);
            }
        }
        self.finish_forwards();
        self.answer_barriers();
    }

    /// A link has room again: the connections that waited for it are tried, first come first.
    pub(super) fn resume_link(&mut self, peer: ShardId) {
        while self.has_room(peer.index())
            && !self.links[peer.index()].peer_is_pressed
            && let Some(id) = self.links[peer.index()].paused.pop_front()
        {
            if let Some(connection) = self.connection_mut(id) {
                connection.waits_for_link = false;
                self.resume_later(id);
            }
        }
    }
}
