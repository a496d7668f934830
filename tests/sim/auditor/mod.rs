//! The judge: holds what every client published, subscribed and received, and says what the
//! specification or the broker's own promises forbid.
//!
//! Safety is judged at every delivery (`delivery`), completeness when the world has come to rest
//! (`settled`, `retained`). Knows nothing of the broker's inside.

mod crash;
pub(crate) mod delivery;
mod groups;
pub(crate) mod history;
pub(crate) mod retained;
pub(crate) mod settled;
#[cfg(test)]
mod tests;
mod undone;
mod weak;

use crate::model::{Coverage, Fate, Message, Subscription};
use crate::wire::{Filter, Publish};
use history::{Attempt, History, WillFacts};
use ringway::base::time::Instant;
use ringway::shard::interface::CloseCause;
use std::collections::{BTreeMap, BTreeSet};

/// What one client's session received of one message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    /// Copies that were not repetitions of a QoS 1 message (DUP).
    pub(crate) fresh: u32,
    /// Copies with QoS 2.
    exact: u32,
    /// When the last copy came.
    pub(crate) last: Instant,
}

/// A SUBSCRIBE that asked for retained messages and is not judged yet.
#[derive(Debug)]
pub(crate) struct Asked {
    connection: usize,
    filter: String,
    sent: Instant,
}

/// A delivered topic's order: publisher, topic, published QoS, delivered QoS.
type OrderKey = (usize, String, u8, u8);

/// What one client's present session knows.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    pub(crate) subscriptions: Vec<Subscription>,
    /// Of earlier sessions, where a crash may bring these back.
    former: Vec<Subscription>,
    pub(crate) coverage: BTreeMap<String, Coverage>,
    pub(crate) received: BTreeMap<u32, Received>,
    newest: BTreeMap<OrderKey, u32>,
    newest_retained: BTreeMap<OrderKey, u32>,
    asked: Vec<Asked>,
    pub(crate) history: History,
    /// Shared subscriptions of the present session, also those that it has left.
    joined: BTreeSet<String>,
    /// Largest packet that the client accepts.
    pub(crate) packet_bytes_max: Option<u32>,
}

impl Receiver {
    /// The session is over: nothing of it may come any more.
    fn forget_session(&mut self) {
        self.subscriptions.clear();
        self.coverage.clear();
        self.received.clear();
        self.newest.clear();
        self.newest_retained.clear();
        self.asked.clear();
    }
}

/// Facts about the connection on which something was delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeliveredOn {
    pub(crate) session_present: bool,
    pub(crate) connect_sent: Instant,
    pub(crate) connack_at: Instant,
    pub(crate) v5: bool,
}

#[derive(Debug)]
pub(crate) struct Auditor {
    messages: Vec<Message>,
    pub(crate) receivers: Vec<Receiver>,
    /// Messages to groups that some member got: copies that were not repetitions (DUP).
    taken: BTreeMap<u32, u32>,
    /// Shared subscriptions -> when it was heard of that a session of a member had ended.
    ended_member: BTreeMap<String, Instant>,
    lossless: bool,
    /// When the broker crashed.
    crashes: Vec<Instant>,
    /// A crash may undo what was acknowledged.
    pub(crate) undoes: bool,
    /// Clients that are told too early that their messages are accepted.
    pub(crate) weak: BTreeSet<usize>,
    /// The world was at rest.
    rested: Instant,
    /// Messages of these clients that were accepted and are not demanded any more.
    pub(crate) weak_undone: u64,
    /// From when to when some shard may have refused messages as its disk was full.
    full: Vec<(Instant, Option<Instant>)>,
    /// QoS 2 waits for the disk between shards, so that a publisher's QoS 0 and 1 overtake it.
    pub(crate) has_disks: bool,
    pub(crate) deliveries: u64,
    /// Messages that some session had no room for, as their publishers were told.
    pub(crate) refusals: u64,
    /// Deliveries with QoS 1 or more so far; every so manyth is overlooked on purpose.
    reliable: u64,
    pub(crate) overlooked: Option<u64>,
}

impl Auditor {
    /// `lossless`: no queue's limit can be reached.
    pub(crate) fn new(client_count: usize, lossless: bool) -> Self {
        let receivers = (0..client_count).map(|_| Receiver::default()).collect();
        Self {
            messages: Vec::new(),
            taken: BTreeMap::new(),
            ended_member: BTreeMap::new(),
            receivers,
            lossless,
            crashes: Vec::new(),
            undoes: false,
            weak: BTreeSet::new(),
            rested: Instant::ZERO,
            weak_undone: 0,
            full: Vec::new(),
            has_disks: false,
            deliveries: 0,
            refusals: 0,
            reliable: 0,
            overlooked: None,
        }
    }

    pub(crate) fn message(&self, id: u32) -> Option<&Message> {
        self.messages.get((id as usize).checked_sub(1)?)
    }

    pub(crate) fn message_mut(&mut self, id: u32) -> Option<&mut Message> {
        self.messages.get_mut((id as usize).checked_sub(1)?)
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = (u32, &Message)> {
        (1..).zip(&self.messages)
    }

    /// The identifier of the next message.
    pub(crate) fn next_message(&self) -> u32 {
        self.messages.len() as u32 + 1
    }

    pub(crate) fn add_message(&mut self, mut message: Message) -> u32 {
        message.is_weak = self.weak.contains(&message.publisher);
        self.messages.push(message);
        self.messages.len() as u32
    }
}

/// What clients do.
impl Auditor {
    pub(crate) fn on_connect_sent(&mut self, client: usize, attempt: Attempt) {
        let receiver = &mut self.receivers[client];
        if attempt.clean_start {
            // From now on the session may be gone.
            for subscription in &mut receiver.subscriptions {
                subscription.leaving.get_or_insert(attempt.sent);
            }
            receiver.coverage.clear();
        }
        receiver.history.attempts.push(attempt);
    }

    pub(crate) fn on_connack(
        &mut self,
        client: usize,
        connection: usize,
        now: Instant,
        session_present: bool,
    ) -> Result<(), String> {
        let receiver = &mut self.receivers[client];
        receiver
            .history
            .check_session_present(connection, now, session_present)?;
        if let Some(attempt) = receiver.history.of(connection) {
            attempt.confirmed = Some(now);
        }
        if !session_present && !receiver.history.is_last_undone() {
            if self.undoes {
                receiver.former.append(&mut receiver.subscriptions);
            }
            receiver.forget_session();
            let joined = std::mem::take(&mut receiver.joined).into_iter();
            self.ended_member.extend(joined.map(|filter| (filter, now)));
        }
        Ok(())
    }

    pub(crate) fn on_disconnect_sent(
        &mut self,
        client: usize,
        connection: usize,
        code: u8,
        expiry_s: Option<u32>,
    ) {
        if let Some(attempt) = self.receivers[client].history.of(connection) {
            attempt.disconnect = Some((code, expiry_s));
        }
    }

    /// The broker's end of a connection was closed.
    pub(crate) fn on_ended(
        &mut self,
        client: usize,
        connection: usize,
        now: Instant,
        cause: CloseCause,
    ) {
        let Some(attempt) = self.receivers[client].history.of(connection) else {
            return;
        };
        attempt.ended = Some((now, cause));
        if let Some(WillFacts { message, .. }) = attempt.will
            && let Some(message) = self.message_mut(message)
        {
            message.first_sent = now;
            message.will = Some(Fate::Waiting);
        }
    }

    pub(crate) fn on_subscribe_sent(
        &mut self,
        client: usize,
        now: Instant,
        filter: &Filter,
        identifier: Option<u32>,
    ) {
        let receiver = &mut self.receivers[client];
        if filter.filter.starts_with("$share/") {
            receiver.joined.insert(filter.filter.clone());
        }
        for older in &mut receiver.subscriptions {
            if older.filter == filter.filter && older.left.is_none() {
                older.leaving.get_or_insert(now);
            }
        }
        receiver.subscriptions.push(Subscription {
            filter: filter.filter.clone(),
            qos: filter.qos,
            no_local: filter.no_local,
            retain_as_published: filter.retain_as_published,
            retain_handling: filter.retain_handling,
            identifier,
            acked: None,
            leaving: None,
            left: None,
            replaced: false,
        });
        if filter.retain_handling == 0
            && let Some(attempt) = receiver.history.attempts.last()
        {
            receiver.asked.push(Asked {
                connection: attempt.connection,
                filter: filter.filter.clone(),
                sent: now,
            });
        }
        let fresh = Coverage {
            since: None,
            qos_min: filter.qos,
            no_local: filter.no_local,
        };
        let coverage = receiver
            .coverage
            .entry(filter.filter.clone())
            .or_insert(fresh);
        coverage.qos_min = coverage.qos_min.min(filter.qos);
        coverage.no_local |= filter.no_local;
    }

    pub(crate) fn on_suback(&mut self, client: usize, now: Instant, filter: &str) {
        let receiver = &mut self.receivers[client];
        if receiver.history.is_last_undone() {
            return;
        }
        let mut newest = true;
        for subscription in receiver.subscriptions.iter_mut().rev() {
            if subscription.filter != filter {
                continue;
            }
            if std::mem::take(&mut newest) {
                subscription.acked.get_or_insert(now);
            } else if subscription.left.is_none() {
                subscription.left = Some(now);
                subscription.replaced = true;
            }
        }
        if let Some(coverage) = receiver.coverage.get_mut(filter) {
            coverage.since.get_or_insert(now);
        }
    }

    pub(crate) fn on_unsubscribe_sent(&mut self, client: usize, now: Instant, filter: &str) {
        let receiver = &mut self.receivers[client];
        for subscription in &mut receiver.subscriptions {
            if subscription.filter == filter {
                subscription.leaving.get_or_insert(now);
            }
        }
        receiver.coverage.remove(filter);
        receiver.asked.retain(|asked| asked.filter != filter);
    }

    pub(crate) fn on_unsuback(&mut self, client: usize, now: Instant, filter: &str) {
        let receiver = &mut self.receivers[client];
        if receiver.history.is_last_undone() {
            return;
        }
        for subscription in &mut receiver.subscriptions {
            if subscription.filter == filter {
                subscription.left.get_or_insert(now);
            }
        }
    }

    /// PUBACK or PUBREC for a message, on a connection that began at `since`.
    pub(crate) fn on_accepted(&mut self, message: u32, since: Instant, now: Instant) {
        let is_former = self.crashed_since(since);
        let undoes = self.undoes;
        let Some(message) = self.message_mut(message) else {
            return;
        };
        message.accept(now, is_former && (undoes || message.is_weak));
    }

    /// PUBACK or PUBREC said that not every session had room for it; the others have it.
    pub(crate) fn on_refused(&mut self, message: u32) {
        self.refusals += 1;
        if let Some(message) = self.message_mut(message) {
            message.refused = true;
        }
    }

    /// Does the publisher know that the broker has all that there is of the message? A second copy
    /// at QoS 1 is a message of its own: its acknowledgement says nothing about the first. After a
    /// crash a shard passes on again what it does not know to have arrived, for the other to tell.
    pub(crate) fn is_over(&self, message: u32) -> bool {
        let is_over = |it: &Message| {
            it.accepted.is_some()
                && !it.is_weak
                && !self.crashed_since(it.first_sent)
                && (it.qos == 2 || it.transmissions == 1)
        };
        self.message(message).is_some_and(is_over)
    }

    /// The broker answered something that was sent after this QoS 0 message.
    pub(crate) fn on_processed(&mut self, message: u32) {
        let sent = self.message(message).map(|it| it.first_sent);
        if sent.is_some_and(|sent| self.crashed_since(sent)) {
            return;
        }
        if let Some(message) = self.message_mut(message) {
            message.processed = true;
        }
    }

    /// A PUBLISH was handed to the client's application.
    pub(crate) fn on_delivered(
        &mut self,
        client: usize,
        now: Instant,
        topic: &str,
        publish: &Publish,
        on: &DeliveredOn,
    ) -> Result<(), String> {
        self.deliveries += 1;
        self.reliable += u64::from(publish.qos > 0);
        let every = self.overlooked.filter(|_| publish.qos > 0);
        if every.is_some_and(|every| self.reliable.is_multiple_of(every)) {
            return Ok(());
        }
        self.check_delivery(client, now, topic, publish, on)
            .map_err(|fault| format!("client {client}: {fault}: {topic} {publish}"))
    }
}
