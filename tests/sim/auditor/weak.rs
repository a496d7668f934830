//! Clients of a listener with `durability_ack = none` beside others.
//!
//! They are told that a message is accepted when its publisher's shard has taken it. Other shards
//! may not have it then, so it is no measure for the order of what others publish; and a crash may
//! undo it, unless the world has been at rest since. Nothing else is weaker: their sessions,
//! subscriptions and what comes to them are judged as everybody's, and so is what they publish as
//! long as nothing crashes. A QoS 2 message of theirs comes once, too: the broker forgets its
//! identifier only together with what the message did.

use super::Auditor;
use ringway::base::time::Instant;

impl Auditor {
    /// Everything that was accepted is durable.
    pub(crate) fn on_rest(&mut self, now: Instant) {
        self.rested = now;
    }

    /// The broker has crashed.
    pub(super) fn undo_weak(&mut self) {
        let Self {
            messages,
            rested,
            weak_undone,
            ..
        } = self;
        let open = messages.iter_mut().filter(|it| it.is_weak && !it.undone);
        for message in open.filter(|it| it.first_sent > *rested) {
            message.undone = true;
            *weak_undone += u64::from(message.accepted.is_some());
        }
    }
}
