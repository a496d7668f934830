//! What a crash of the broker takes from its promises, and what it must not.
//!
//! QoS 0 messages were never promised. A session's end that nobody acknowledged may not have
//! happened. Everything else is judged as if the crash had been nothing but lost connections.

use super::Auditor;
use super::history::History;
use ringway::base::time::Instant;

impl Auditor {
    /// The process has ended; all its connections are reported ended before.
    pub(crate) fn on_crash(&mut self, now: Instant) {
        self.crashes += 1;
        self.crashed_at = Some(now);
        for message in &mut self.messages {
            message.processed = false;
        }
        for receiver in &mut self.receivers {
            receiver.history.crashes.push(now);
            // What nobody acknowledged may be undone in the store of retained messages.
            receiver.newest_retained.clear();
            if receiver.history.may_be_over(now) {
                // It may come back without what it missed while it was over.
                receiver.coverage.clear();
            }
        }
    }
}

impl Auditor {
    /// The broker that knew what happened at `time` is gone; the news may come later.
    pub(super) fn may_be_undone(&self, time: Instant) -> bool {
        self.crashed_at.is_some_and(|crash| time <= crash)
    }
}

impl History {
    /// The process ended at `time` or later: what was not acknowledged then may be undone.
    pub(super) fn has_crashed_since(&self, time: Instant) -> bool {
        self.crashes.last().is_some_and(|crash| *crash >= time)
    }
}
