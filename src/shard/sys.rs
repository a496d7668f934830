//! The `$SYS` topics: collected from all shards and delivered to this shard's subscribers, at an
//! interval and at once to a new subscriber. Without subscribers nothing is collected, sent or
//! timed.
//!
//! Every shard with subscribers of its own collects for them, so no message is forwarded. Values
//! are QoS 0 and not stored: a new subscriber gets them as retained messages all the same, made
//! for it.

use super::Shard;
use super::delivery::WhenSlow;
use super::outgoing::Offer;
use super::peer_batch::ShardMessage;
use super::subscription::Subscription;
use super::timeout::TimerKey;
use super::wanted::WantedFilters;
use crate::base::ids::{ConnectionId, ShardId};
use crate::base::time::Instant;
use crate::base::wheel::TimerId;
use crate::codec::{ForwardableRuns, MessageParts, QosLevel, SharedMessage};
use crate::metrics::sys::{Gauges, ProcessMemory, Report, SysTree};
use crate::topic::names::matches;
use std::collections::VecDeque;

/// The tree that only the broker writes.
pub(super) const SYS_PREFIX: &str = "$SYS/";

/// What a client may say below `$SYS/` all the same: whether a bridge of this name is there.
/// Mosquitto's bridges do, as a retained message and as their will, and do not connect where it is
/// refused.
const BRIDGE_STATE: (&str, &str) = ("$SYS/broker/connection/", "/state");

/// Whether a topic is the broker's own, so that clients do not publish to it.
pub(super) fn is_reserved(topic_name: &str) -> bool {
    // Almost no topic does, and this looks at five bytes.
    if !topic_name.starts_with(SYS_PREFIX) {
        return false;
    }
    let (before, after) = BRIDGE_STATE;
    let name = topic_name
        .strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(after));
    !name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Filters of new subscribers that wait for a collection; beyond them one gets the values with
/// the next interval only.
const WAITING_MAX: usize = 4096;

/// Topics looked at for new subscribers in one turn, about a millisecond; the rest in the next.
const VISITS_PER_TURN_MAX: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Sys {
    /// Subscriptions below `$SYS/` in this shard's index.
    subscriptions: usize,
    timer: Option<TimerId>,
    tree: Box<SysTree>,
    /// By shard; empty: no collection is under way.
    reports: Vec<Option<Report>>,
    /// The collection under way is for all subscribers, not only for the new ones.
    is_periodic: bool,
    waiting: VecDeque<Waiting>,
    /// How many of them, from the front, the present tree is for.
    deliverable: usize,
    memory: Option<ProcessMemory>,
    memory_wanted: bool,
    /// The most sessions of this shard so far.
    pub(super) clients_maximum: u64,
}

/// A new subscription that is owed the present values.
#[derive(Debug)]
struct Waiting {
    connection: ConnectionId,
    filter: Box<str>,
    subscription: Subscription,
}

impl Sys {
    /// A filter entered this shard's index, or left it.
    pub(super) fn count_subscription(&mut self, filter: &str, is_there: bool) {
        if !filter.starts_with(SYS_PREFIX) {
            return;
        }
        if is_there {
            self.subscriptions += 1;
        } else {
            self.subscriptions -= 1;
        }
    }

    pub(super) const fn has_work(&self) -> bool {
        self.deliverable > 0
    }

    pub(super) fn is_settled(&self) -> bool {
        self.reports.is_empty() && self.waiting.is_empty()
    }
}

impl Shard {
    /// Whether the driver should say how much memory the process has.
    #[must_use]
    pub const fn wants_memory(&self) -> bool {
        self.sys.memory_wanted
    }

    /// What [`Self::wants_memory`] asked for; `None`: it is not known.
    pub const fn on_memory(&mut self, memory: Option<ProcessMemory>) {
        self.sys.memory = memory;
        self.sys.memory_wanted = false;
    }

    /// The SUBACK is out: the client gets the present values of these filters, and from now on
    /// what changes.
    pub(super) fn begin_sys(&mut self, now: Instant, id: ConnectionId, mut wanted: WantedFilters) {
        if self.limits.sys_interval.is_zero() {
            return;
        }
        self.rearm_sys(now);
        while let Some(first) = wanted.first() {
            if self.sys.waiting.len() >= WAITING_MAX {
                self.counters.limits_reached += 1;
                return;
            }
            self.sys.waiting.push_back(Waiting {
                connection: id,
                filter: first.filter.into(),
                subscription: first.subscription,
            });
            wanted.pop_first();
        }
        if !self.sys.waiting.is_empty() {
            self.collect_reports(now);
        }
    }

    /// Starts the interval, if there are subscribers and it does not run.
    pub(super) fn rearm_sys(&mut self, now: Instant) {
        let is_on = !self.limits.sys_interval.is_zero();
        if is_on && self.sys.subscriptions > 0 && self.sys.timer.is_none() {
            self.arm_sys(now);
        }
    }

    fn arm_sys(&mut self, now: Instant) {
        let deadline = now + self.limits.sys_interval;
        self.sys.timer = Some(self.wheel.arm(deadline, TimerKey::Sys));
    }

    /// The interval is over.
    pub(super) fn sys_due(&mut self, now: Instant) {
        self.sys.timer = None;
        if self.sys.subscriptions > 0 {
            self.arm_sys(now);
            self.sys.is_periodic = true;
            self.collect_reports(now);
        }
    }

    /// Asks all shards, unless that has been done and is not over.
    fn collect_reports(&mut self, now: Instant) {
        if !self.sys.reports.is_empty() {
            return;
        }
        self.sys.memory_wanted = true;
        self.sys.reports = vec![None; usize::from(self.shard_count)];
        for link in self.peers() {
            self.links[link].push(ShardMessage::ReportQuery);
        }
        let own = self.report();
        self.on_report(now, self.id, own);
    }

    fn report(&self) -> Report {
        let sessions = self.sessions.len() as u64;
        let clients_connected = u64::from(self.clients_connected);
        Report {
            counters: self.counters.clone(),
            gauges: Gauges {
                clients_connected,
                clients_disconnected: sessions - clients_connected,
                clients_maximum: self.sys.clients_maximum,
                subscriptions: self.index.subscription_count() as u64,
                retained_messages: self.retained.len() as u64,
                stored_messages: self.messages.live_count(),
                stored_bytes: self.messages.live_bytes(),
                disk_full: u64::from(self.journal.disk_is_full),
            },
        }
    }

    pub(super) fn on_report_query(&mut self, asker: ShardId) {
        let report = Box::new(self.report());
        self.links[asker.index()].push(ShardMessage::Report(report));
    }

    /// The last report completes the collection.
    pub(super) fn on_report(&mut self, now: Instant, source: ShardId, report: Report) {
        if let Some(place) = self.sys.reports.get_mut(source.index()) {
            *place = Some(report);
        }
        if self.sys.reports.iter().any(Option::is_none) {
            return;
        }
        let reports: Vec<Report> = self.sys.reports.drain(..).flatten().collect();
        let mut tree = std::mem::take(&mut self.sys.tree);
        tree.update(now, &reports, self.sys.memory);
        self.sys.deliverable = self.sys.waiting.len();
        if self.sys.deliverable == self.sys.subscriptions {
            // Everybody knows the present values now.
            tree.publish(|_, _| {});
        }
        if std::mem::take(&mut self.sys.is_periodic) {
            tree.publish(|name, value| {
                let message = self.make_sys(name, value);
                self.route_local(now, &message, None);
                self.messages.release(message);
            });
        }
        self.sys.tree = tree;
        self.run_sys(now);
    }

    /// The present values to some new subscriptions, each in its turn.
    pub(super) fn run_sys(&mut self, now: Instant) {
        let mut visits = 0;
        while visits < VISITS_PER_TURN_MAX && self.sys.deliverable > 0 {
            self.sys.deliverable -= 1;
            let Some(waiting) = self.sys.waiting.pop_front() else {
                return;
            };
            let tree = std::mem::take(&mut self.sys.tree);
            visits += tree.len();
            self.deliver_sys(now, &waiting, &tree);
            self.sys.tree = tree;
        }
    }

    /// All present values to one new subscription, if it still exists.
    fn deliver_sys(&mut self, now: Instant, waiting: &Waiting, tree: &SysTree) {
        let Waiting {
            filter,
            subscription,
            ..
        } = waiting;
        let Some(session) = self
            .connection(waiting.connection)
            .and_then(|connection| connection.session())
        else {
            return;
        };
        let current = self.index.get(filter, session);
        if current.is_none_or(|(_, it)| it.generation() != subscription.generation()) {
            return;
        }
        for (name, value) in tree.values().filter(|(name, _)| matches(filter, name)) {
            let message = self.make_sys(name, value);
            let identifier = subscription.identifier();
            let offer = Offer {
                message: &message,
                qos: QosLevel::AtMostOnce,
                retain: true,
                subscription_identifiers: identifier.as_slice(),
                group: None,
            };
            self.offer(now, session, &offer, WhenSlow::Drop);
            self.messages.release(message);
        }
    }

    fn make_sys(&mut self, name: &str, value: &str) -> SharedMessage {
        self.messages.make(&MessageParts {
            topic_name: name.as_bytes(),
            properties: ForwardableRuns::of_forwardable(&[]),
            payload: value.as_bytes(),
            qos: QosLevel::AtMostOnce,
            retain: true,
            expires_at: None,
        })
    }
}
