//! Which retained message a topic must have, as far as the publishers' acknowledgements tell.

use super::history::SLACK;
use super::{Asked, Auditor};
use crate::model::{Fate, Message, matches};
use ringway::base::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a new subscriber may find on one topic.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    pub(crate) messages: BTreeSet<u32>,
    pub(crate) nothing: bool,
}

impl Auditor {
    /// The last writes of a topic that no other surely followed.
    pub(crate) fn retained_allowed(&self, now: Instant) -> BTreeMap<String, Allowed> {
        self.retained_writes()
            .into_iter()
            .map(|(topic, writes)| (topic, allowed(&writes, now)))
            .collect()
    }
}

/// New subscriptions.
impl Auditor {
    /// Everybody who asked for retained messages, and was left alone since, has got one of those
    /// that the store may have held, or a newer one instead. Only where nothing may be dropped.
    pub(crate) fn check_asked(&mut self, client: usize, connection: usize) -> Result<u64, String> {
        let receiver = &mut self.receivers[client];
        let asked = std::mem::take(&mut receiver.asked);
        let coverage = receiver.coverage.clone();
        // With QoS 0 a newer message may be dropped that has taken an older one's place.
        let reliable = |asked: &&Asked| {
            let coverage = coverage.get(&asked.filter);
            asked.connection == connection
                && coverage.is_some_and(|it| it.qos_min > 0 && !it.no_local)
        };
        let mut checked = 0;
        for asked in asked.iter().filter(reliable) {
            for (topic, writes) in self.retained_writes() {
                if !matches(&asked.filter, &topic) {
                    continue;
                }
                let stored = |write: &Message| {
                    let is_in_time = write.accepted.is_some_and(|accepted| accepted < asked.sent);
                    is_in_time && !write.undone && !write.is_weak
                };
                // What was there when it was asked for, and what is there now: the latter came
                // live if it was not found.
                for wanted in [
                    wanted(&writes, stored),
                    wanted(&writes, Message::is_certain),
                ] {
                    let Some(wanted) = wanted else { continue };
                    checked += 1;
                    self.check_answered(client, asked, &topic, &wanted)?;
                }
            }
        }
        Ok(checked)
    }

    fn retained_writes(&self) -> BTreeMap<String, Vec<(u32, &Message)>> {
        let mut topics: BTreeMap<String, Vec<(u32, &Message)>> = BTreeMap::new();
        for (id, message) in self.messages() {
            if message.retain && message.will != Some(Fate::MustNot) {
                topics
                    .entry(message.topic.clone())
                    .or_default()
                    .push((id, message));
            }
        }
        topics
    }

    fn check_answered(
        &self,
        client: usize,
        asked: &Asked,
        topic: &str,
        wanted: &[u32],
    ) -> Result<(), String> {
        let receiver = &self.receivers[client];
        let too_large = |id: &u32| self.message(*id).is_some_and(|it| !receiver.takes(it));
        let came = |id: &u32| {
            receiver
                .received
                .get(id)
                .is_some_and(|it| it.last >= asked.sent)
        };
        if wanted.iter().any(|id| came(id) || too_large(id)) {
            return Ok(());
        }
        Err(format!(
            "client {client}: nothing retained on {topic} for {asked:?}, of {wanted:?}"
        ))
    }
}

/// The writes of one topic of which the subscriber must have got one: those that none of the
/// `settled` ones surely followed. None when there may have been nothing to get.
fn wanted(writes: &[(u32, &Message)], settled: impl Fn(&Message) -> bool) -> Option<Vec<u32>> {
    if !writes.iter().any(|(_, write)| settled(write)) {
        return None;
    }
    let current = |(id, write): &&(u32, &Message)| {
        !writes
            .iter()
            .any(|(later_id, later)| settled(later) && supersedes(*later_id, later, *id, write))
    };
    let candidates: Vec<&(u32, &Message)> = writes.iter().filter(current).collect();
    let unclear = |write: &Message| write.is_clear() || write.qos == 0 || write.expiry_s.is_some();
    if candidates.iter().any(|(_, write)| unclear(write)) {
        return None;
    }
    Some(candidates.iter().map(|(id, _)| *id).collect())
}

fn allowed(writes: &[(u32, &Message)], now: Instant) -> Allowed {
    let mut allowed = Allowed {
        messages: BTreeSet::new(),
        nothing: !writes.iter().any(|(_, write)| write.is_certain()),
    };
    for (id, write) in writes {
        if writes
            .iter()
            .any(|(later_id, later)| supersedes(*later_id, later, *id, write))
        {
            continue;
        }
        if write.is_clear() || may_have_expired(write, now) {
            allowed.nothing = true;
        }
        if !write.is_clear() && !must_have_expired(write, now) {
            allowed.messages.insert(*id);
        }
    }
    allowed
}

/// Did `later` surely reach the store after `write`, and for the last time?
fn supersedes(later_id: u32, later: &Message, id: u32, write: &Message) -> bool {
    if later_id == id || !later.is_certain() {
        return false;
    }
    let known = write
        .accepted
        .is_some_and(|accepted| accepted < later.first_sent && !write.is_weak);
    let same_publisher = later.publisher == write.publisher
        && later_id > id
        && later.will.is_none()
        && write.will.is_none()
        && write.transmissions <= 1;
    known || same_publisher
}

fn may_have_expired(write: &Message, now: Instant) -> bool {
    write
        .expiry_s
        .is_some_and(|expiry_s| write.first_sent + Duration::from_secs(expiry_s.into()) <= now)
}

fn must_have_expired(write: &Message, now: Instant) -> bool {
    let expired = |expiry_s: u32| {
        let expiry = Duration::from_secs(expiry_s.into());
        write
            .accepted
            .is_some_and(|accepted| accepted + expiry + SLACK < now)
    };
    write.expiry_s.is_some_and(expired)
}
