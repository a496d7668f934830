//! A message to many clients: the packet is encoded once for all that get the same bytes.

use crate::codec::{Message, ProtocolVersion, PublishCopy, PublishHead, QosLevel};

/// The packets of the route under way, one per protocol class: receivers of one class mostly ask
/// for the same. Holds nothing between routes but memory, at most two small packets.
#[derive(Debug, Default)]
pub(super) struct Copies {
    is_open: bool,
    v3: Slot,
    v5: Slot,
}

#[derive(Debug, Default)]
struct Slot {
    /// What the packet says in its first byte; `None`: there is none.
    flags: Option<(QosLevel, bool)>,
    copy: PublishCopy,
}

impl Copies {
    /// A message goes to this many sessions; until [`Self::end`] nothing else is sent.
    pub(super) fn begin(&mut self, sessions: usize) {
        self.is_open = sessions > 1;
    }

    pub(super) fn end(&mut self) {
        self.is_open = false;
        self.v3.flags = None;
        self.v5.flags = None;
    }

    /// Is the message under way to several sessions?
    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Appends the packet. For the head see [`PublishCopy::encode`].
    pub(super) fn append(
        &mut self,
        message: &Message,
        head: &PublishHead<'_>,
        version: ProtocolVersion,
        out: &mut Vec<u8>,
    ) {
        let slot = if version.is_v5() {
            &mut self.v5
        } else {
            &mut self.v3
        };
        let flags = Some((head.qos, head.retain));
        if slot.flags != flags {
            slot.copy.encode(message, head, version);
            slot.flags = flags;
        }
        slot.copy.append(head.packet_id, out);
    }
}
