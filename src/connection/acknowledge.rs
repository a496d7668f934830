//! PUBACK and PUBREC that are owed to a publisher, in the order of its PUBLISH packets.
//!
//! An acknowledgement leaves when every condition of its message is met (each interested shard
//! has accepted it) and all before it have left [MQTT-4.6.0-2].

use crate::codec::{AckKind, PacketId, ReasonCode};
use std::collections::VecDeque;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PendingAck {
    /// PUBACK or PUBREC.
    pub kind: AckKind,
    pub packet_id: PacketId,
    pub reason_code: ReasonCode,
    /// Conditions not yet met.
    pub open: u16,
}

/// The acknowledgements owed, oldest first. Bounded by the receive maximum: the shard refuses or
/// pauses the publisher beyond it.
#[derive(Debug, Default)]
pub struct PendingAcks {
    pending: VecDeque<PendingAck>,
    /// Number of the oldest one; numbers are never used again on this connection.
    first_number: u32,
    /// How many of them are PUBACKs.
    pub_acks: u32,
}

impl PendingAcks {
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Of those owed, how many are PUBACKs: they count against the receive maximum.
    #[must_use]
    pub const fn pub_ack_count(&self) -> usize {
        self.pub_acks as usize
    }

    /// The number that the next [`Self::push`] gives out.
    #[must_use]
    pub fn next_number(&self) -> u32 {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "bounded by the receive maximum"
        )]
        self.first_number.wrapping_add(self.pending.len() as u32)
    }

    pub fn push(&mut self, ack: PendingAck) {
        self.pub_acks += u32::from(ack.kind == AckKind::PubAck);
        self.pending.push_back(ack);
    }

    /// One condition of the acknowledgement with this number is met.
    pub fn close_condition(&mut self, number: u32) {
        let position = number.wrapping_sub(self.first_number) as usize;
        if let Some(ack) = self.pending.get_mut(position) {
            ack.open = ack.open.saturating_sub(1);
        }
    }

    /// The acknowledgement with this number will say that something went wrong.
    pub fn refuse(&mut self, number: u32, reason_code: ReasonCode) {
        let position = number.wrapping_sub(self.first_number) as usize;
        if let Some(ack) = self.pending.get_mut(position) {
            ack.reason_code = reason_code;
        }
    }

    /// The next acknowledgement that may leave.
    pub fn pop_ready(&mut self) -> Option<PendingAck> {
        if self.pending.front()?.open > 0 {
            return None;
        }
        self.first_number = self.first_number.wrapping_add(1);
        let ack = self.pending.pop_front()?;
        self.pub_acks -= u32::from(ack.kind == AckKind::PubAck);
        Some(ack)
    }

    /// Gives memory back that a burst needed.
    pub fn shrink(&mut self) {
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
    }
}
