//! Crashes that undo: `durability.ack` promises less than they take. Each shard is then back in an
//! earlier state of its own, for the disks to say which (`world::crash` compares it with what was
//! written). What a client may see of that, and nothing else, is allowed here:
//!
//! - Messages accepted before the crash need not arrive, and retained ones need not be there: each
//!   counts as if it had never been acknowledged. One that comes must still have been published, be
//!   whole, and match. A QoS 1 message counts again when it was sent again and acknowledged since;
//!   a QoS 2 one does not, as the shard that acknowledges a repetition need not be one that has
//!   gone back.
//! - QoS 2 messages sent before the crash may come again, as often as QoS 1.
//! - Subscriptions may be any that the client ever had, also of earlier sessions: the end of a
//!   subscription and of a session is undone like their begin. So nothing is due to a client until
//!   it has subscribed anew, which clients do (`renew_subscriptions`). What it has replaced or
//!   ended since then is over, and so is everything when the broker says that it has no session.
//! - Orders begin anew: what was delivered before may follow what came after it.
//! - What a connection brings that began before the crash is the former broker's word: deliveries
//!   are judged, acknowledgements say nothing.
//!
//! What is sent after the crash is judged in full, until the next one.

use super::Auditor;
use super::history::{Attempt, History};
use crate::model::Message;
use ringway::base::time::Instant;

impl Auditor {
    /// The broker is back in an earlier state.
    pub(super) fn go_back(&mut self, now: Instant) {
        for message in &mut self.messages {
            message.undone = true;
        }
        for receiver in &mut self.receivers {
            receiver.coverage.clear();
            receiver.newest.clear();
            receiver.history.undone_at = Some(now);
            receiver.subscriptions.append(&mut receiver.former);
            for subscription in &mut receiver.subscriptions {
                subscription.acked = None;
                subscription.leaving = Some(now);
                subscription.left = None;
                subscription.replaced = false;
            }
        }
    }

    /// What happened at `time` may be undone.
    pub(crate) fn is_undone(&self, time: Instant) -> bool {
        self.undoes && self.crashed_since(time)
    }
}

impl Message {
    /// `is_undone`: by a broker that has crashed since.
    pub(super) fn accept(&mut self, now: Instant, is_undone: bool) {
        if self.undone && self.qos == 1 && !is_undone {
            self.undone = false;
            self.accepted = Some(now);
        }
        self.accepted.get_or_insert(now);
    }
}

impl History {
    /// The broker that was asked for this connection has gone.
    pub(super) fn is_undone(&self, attempt: &Attempt) -> bool {
        self.undone_at.is_some_and(|crash| attempt.sent <= crash)
    }

    /// The same of the last connection.
    pub(super) fn is_last_undone(&self) -> bool {
        self.attempts.last().is_some_and(|it| self.is_undone(it))
    }
}
