//! Which retained message a topic must have, as far as the publishers' acknowledgements tell.

use super::Auditor;
use super::history::SLACK;
use crate::model::{Fate, Message};
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
        let mut topics: BTreeMap<String, Vec<(u32, &Message)>> = BTreeMap::new();
        for (id, message) in self.messages() {
            if message.retain && message.will != Some(Fate::MustNot) {
                topics.entry(message.topic.clone()).or_default().push((id, message));
            }
        }
        topics.into_iter().map(|(topic, writes)| (topic, allowed(&writes, now))).collect()
    }
}

fn allowed(writes: &[(u32, &Message)], now: Instant) -> Allowed {
    let mut allowed = Allowed {
        messages: BTreeSet::new(),
        nothing: !writes.iter().any(|(_, write)| write.is_certain()),
    };
    for (id, write) in writes {
        if writes.iter().any(|(later_id, later)| supersedes(*later_id, later, *id, write)) {
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
    let known = write.accepted.is_some_and(|accepted| accepted < later.first_sent);
    let same_publisher = later.publisher == write.publisher
        && later_id > id
        && later.will.is_none()
        && write.will.is_none()
        && write.transmissions <= 1;
    known || same_publisher
}

fn may_have_expired(write: &Message, now: Instant) -> bool {
    write.expiry_s.is_some_and(|expiry_s| write.first_sent + Duration::from_secs(expiry_s.into()) <= now)
}

fn must_have_expired(write: &Message, now: Instant) -> bool {
    let expired = |expiry_s: u32| {
        let expiry = Duration::from_secs(expiry_s.into());
        write.accepted.is_some_and(|accepted| accepted + expiry + SLACK < now)
    };
    write.expiry_s.is_some_and(expired)
}
