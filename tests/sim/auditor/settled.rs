//! What must have happened once the world is at rest: everything acknowledged has reached every
//! session that was entitled to it.

use super::{Auditor, Receiver};
use crate::model::{Fate, Message, matches};
use ringway::base::time::Instant;

/// Room for everything of a PUBLISH that is not topic name or payload.
const HEAD_BYTES_MAX: usize = 64;

impl Auditor {
    /// Decides what should have become of the wills.
    pub(crate) fn settle_wills(&mut self, now: Instant) {
        let Self {
            messages,
            receivers,
            ..
        } = self;
        for (id, message) in (1..).zip(messages) {
            if message.will.is_some() {
                let history = &receivers[message.publisher].history;
                message.will = Some(history.will_fate(id, now));
            }
        }
    }

    /// Wills that had to be published, for the comparison with the broker's own count.
    pub(crate) fn wills_due(&self) -> (u64, u64) {
        let count = |wanted: &[Fate]| {
            let is = |message: &&Message| message.will.is_some_and(|fate| wanted.contains(&fate));
            self.messages.iter().filter(is).count() as u64
        };
        (count(&[Fate::Must]), count(&[Fate::Must, Fate::May]))
    }

    /// Every message that is missing at a client whose session exists.
    /// QoS 0 messages count when their identifier is at least `probes`. Returns how many
    /// deliveries were required.
    pub(crate) fn check_complete(&self, probes: u32, faults: &mut Vec<String>) -> u64 {
        let least_qos = |id: u32, _: &Message| Some(if id >= probes { 0 } else { 1 });
        self.check_required(least_qos, faults)
    }

    /// The same where queues may refuse: what is missing there is what a publisher was told of. A
    /// message that was sent again may have been refused without its publisher hearing it.
    pub(crate) fn check_complete_unless_refused(&self, faults: &mut Vec<String>) -> u64 {
        let is_promised = |it: &Message| it.hears_refusal && !it.refused && it.transmissions == 1;
        let least_qos = |_, message: &Message| is_promised(message).then_some(1);
        self.check_required(least_qos, faults)
    }

    /// `least_qos`: from which QoS on a message counts; `None`: it does not.
    fn check_required(
        &self,
        least_qos: impl Fn(u32, &Message) -> Option<u8>,
        faults: &mut Vec<String>,
    ) -> u64 {
        let mut required = 0;
        for (client, receiver) in self.receivers.iter().enumerate() {
            for (id, message) in self.messages() {
                let least = least_qos(id, message);
                if !least.is_some_and(|least| receiver.must_have(client, message, least)) {
                    continue;
                }
                required += 1;
                if !receiver.received.contains_key(&id) {
                    faults.push(format!(
                        "client {client}: message {id} is missing: {message:?}"
                    ));
                }
            }
        }
        required
    }
}

impl Receiver {
    /// The message is smaller than the client's Maximum Packet Size, whatever its head.
    pub(super) fn takes(&self, message: &Message) -> bool {
        let bytes = message.bytes + message.topic.len() + HEAD_BYTES_MAX;
        self.packet_bytes_max
            .is_none_or(|maximum| bytes <= maximum as usize)
    }

    fn must_have(&self, client: usize, message: &Message, least_qos: u8) -> bool {
        if message.is_clear() || message.expiry_s.is_some() || !message.is_certain() {
            return false;
        }
        if !self.takes(message) {
            return false;
        }
        let own = message.publisher == client;
        self.coverage.iter().any(|(filter, coverage)| {
            coverage
                .since
                .is_some_and(|since| since < message.first_sent)
                && message.qos.min(coverage.qos_min) >= least_qos
                && !(own && coverage.no_local)
                && matches(filter, &message.topic)
        })
    }
}
