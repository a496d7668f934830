//! What a crash of the broker takes from its promises, and what it must not.
//!
//! QoS 0 messages were never promised. A session's end that nobody acknowledged may not have
//! happened. Everything else is judged as if the crash had been nothing but lost connections.
//! While the disk is full, what is refused was not accepted.

use super::Auditor;
use super::history::History;
use ringway::base::time::Instant;

impl Auditor {
    /// The process has ended; all its connections are reported ended before.
    pub(crate) fn on_crash(&mut self, now: Instant) {
        self.crashes.push(now);
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
        if self.undoes {
            self.go_back(now);
        }
        self.undo_weak();
    }

    pub(crate) fn crashes(&self) -> u32 {
        self.crashes.len() as u32
    }

    pub(super) fn crashes_since(&self, time: Instant) -> u32 {
        let since = self.crashes.iter().rev().take_while(|at| **at >= time);
        since.count() as u32
    }
}

/// Full disks.
impl Auditor {
    pub(crate) fn on_disk_full(&mut self, now: Instant) {
        if !self.is_disk_full() {
            self.full.push((now, None));
        }
    }

    /// All shards know that there is space again.
    pub(crate) fn on_disk_has_space(&mut self, now: Instant) {
        if let Some((_, end @ None)) = self.full.last_mut() {
            *end = Some(now);
        }
    }

    /// Some shard may refuse messages now.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.full.last().is_some_and(|(_, end)| end.is_none())
    }

    /// Some shard may have refused a message that was sent at `time` or later.
    pub(crate) fn was_disk_full_since(&self, time: Instant) -> bool {
        let last = self.full.last();
        last.is_some_and(|(_, end)| end.is_none_or(|end| end >= time))
    }
}

impl Auditor {
    /// The broker that knew what happened at `time` is gone; the news may come later.
    pub(super) fn crashed_since(&self, time: Instant) -> bool {
        self.crashes.last().is_some_and(|crash| time <= *crash)
    }
}

impl History {
    /// The process ended at `time` or later: what was not acknowledged then may be undone.
    pub(super) fn has_crashed_since(&self, time: Instant) -> bool {
        self.crashes.last().is_some_and(|crash| *crash >= time)
    }
}
