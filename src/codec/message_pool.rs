//! The memory of finished messages, kept for the next ones.

use super::message::{Message, MessageParts, SharedMessage};
use std::rc::Rc;

/// Makes messages out of the memory of finished ones: the warm path allocates nothing. One per
/// shard.
///
/// Bound: `messages_max` messages of at most [`Self::BODY_BYTES_MAX`] each, so
/// `messages_max * 4 KiB`; what is over either bound goes back to the allocator. Messages that are
/// dropped instead of released are lost to the pool and stay in its counts.
#[derive(Debug)]
pub struct MessagePool {
    /// Nobody else holds any of these.
    free: Vec<SharedMessage>,
    messages_max: usize,
    /// Of the messages that were made and not released by their last holder.
    live_count: u64,
    live_bytes: u64,
}

impl MessagePool {
    /// Memory of a larger message is not kept.
    pub const BODY_BYTES_MAX: usize = 4096;

    #[must_use]
    pub const fn new(messages_max: usize) -> Self {
        Self {
            free: Vec::new(),
            messages_max,
            live_count: 0,
            live_bytes: 0,
        }
    }

    /// Panics when the parts do not fit one packet.
    #[must_use]
    pub fn make(&mut self, parts: &MessageParts<'_>) -> SharedMessage {
        if let Some(mut message) = self.free.pop()
            && let Some(unshared) = Rc::get_mut(&mut message)
        {
            unshared.fill(parts);
            self.count_made(&message);
            return message;
        }
        let message = Rc::new(Message::new(parts));
        self.count_made(&message);
        message
    }

    fn count_made(&mut self, message: &Message) {
        self.live_count += 1;
        self.live_bytes += message.bytes() as u64;
    }

    /// Messages that somebody holds, each once.
    #[must_use]
    pub const fn live_count(&self) -> u64 {
        self.live_count
    }

    /// Their topic names, properties and payloads.
    #[must_use]
    pub const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Gives a reference back. The last one returns the message's memory to the pool.
    pub fn release(&mut self, mut message: SharedMessage) {
        if Rc::get_mut(&mut message).is_none() {
            return;
        }
        self.live_count -= 1;
        self.live_bytes -= message.bytes() as u64;
        if self.free.len() < self.messages_max && message.body_capacity() <= Self::BODY_BYTES_MAX {
            self.free.push(message);
        }
    }

    /// Messages whose memory waits for use.
    #[must_use]
    pub const fn free_count(&self) -> usize {
        self.free.len()
    }
}
