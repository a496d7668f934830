//! What travels between two shards: opaque to the driver, which only moves it.
//!
//! A batch is made by the sender, emptied by the receiver and given back to be filled again, so
//! its memory stays with the shard that made it.

use super::packed::{PACKED_BODY_BYTES_MAX, PackedRun, pack, put_body};
use crate::base::time::Instant;
use crate::codec::{ForwardableRuns, MessageParts, MessagePool, QosLevel, SharedMessage};
use crate::metrics::sys::Report;
use crate::topic::index::TopicHash;
use crate::topic::retained::Cursor;
use bytes::Bytes;

/// A body of at least this size is copied once into counted memory that all links share; below
/// it a copy into each batch is cheaper than the count.
const SHARED_BODY_BYTES_MIN: usize = PACKED_BODY_BYTES_MAX + 1;
/// Capacity that an empty batch keeps; a burst's memory is given back.
const ARENA_BYTES_KEPT: usize = 256 << 10;
const MESSAGES_KEPT: usize = 8192;
/// Stands in a record for "the body is in the arena".
const NOT_SHARED: u32 = u32::MAX;

/// Messages of one turn for one other shard.
#[derive(Debug, Default)]
pub struct PeerBatch {
    messages: Vec<ShardMessage>,
    /// Of messages, with each one of a run.
    count: usize,
    arena: Vec<u8>,
    shared: Vec<Bytes>,
    shared_bytes: usize,
    /// How many messages of the opposite direction the sender has accepted so far.
    pub(super) accepted: u64,
    /// Numbers of messages of the opposite direction that some session's queue refused; they are
    /// accepted later than this is read.
    refused: Vec<u64>,
    /// Too much waits for the sender's disk: it wants no more messages that may need it.
    pub(super) is_pressed: bool,
    /// Some message in here is waited for.
    pub(super) wants_acceptance: bool,
    /// The sender may wait for the batch to come home; stays when the receiver empties the batch.
    pub(super) wants_return: bool,
    /// Size when it was sent; stays when the receiver empties the batch.
    pub(super) sent_bytes: usize,
    pub(super) sent_messages: usize,
}

/// Everything that shards say to each other. Closed: what is not here cannot be asked of another
/// core.
#[derive(Debug)]
pub(super) enum ShardMessage {
    /// Deliver these to your local subscribers; never forwarded again.
    PublishRun {
        start: u32,
        count: u32,
    },
    /// The same with one that is not packed.
    Publish {
        /// Of its topic name.
        hash: TopicHash,
        record: PublishRecord,
    },
    /// You own this topic: keep the message as the retained one, or clear it.
    RetainedUpdate(PublishRecord),
    /// Deliver to one of your members of the shared subscription with this hash, by strategy to
    /// the one at this position.
    SharedPublish {
        group: u64,
        member: u32,
        /// Shards that had no member.
        hops: u8,
        record: PublishRecord,
    },
    /// I have so many members of this shared subscription, and so many of them are connected.
    SharedInterest {
        text: Text,
        online: u32,
        all: u32,
    },
    /// I have (or have no longer) a subscription with this exact filter.
    ExactInterest {
        hash: TopicHash,
        wanted: bool,
    },
    /// The same for a wildcard filter.
    WildcardInterest {
        filter: Text,
        wanted: bool,
    },
    /// Say [`Self::BarrierReached`] when all before this has taken effect, and when the retained
    /// updates that you had sent by then are with their owners.
    Barrier {
        number: u64,
    },
    /// All that I recovered has been announced.
    Recovered,
    BarrierReached {
        number: u64,
    },
    /// Said at once when the answer has to wait.
    BarrierSeen {
        number: u64,
    },
    /// Say [`Self::Report`].
    ReportQuery,
    Report(Box<Report>),
    /// Look into your retained messages, one slice.
    RetainedQuery(Box<RetainedQuery>),
    RetainedAnswer {
        lookup: u64,
        record: PublishRecord,
    },
    /// The slice is over; where to go on, if there may be more.
    RetainedSliceEnd {
        lookup: u64,
        cursor: Option<Box<Cursor>>,
    },
}

impl ShardMessage {
    /// How many messages it counts for on its link.
    pub(super) const fn count(&self) -> u64 {
        match self {
            Self::PublishRun { count, .. } => *count as u64,
            _ => 1,
        }
    }
}

// Batches are read front to back: one message should not fill more than a cache line.
const _: () = assert!(size_of::<ShardMessage>() <= 64);

/// A piece of the batch's arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    start: u32,
    bytes: u32,
}

/// An application message in a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublishRecord {
    expires_at: Option<Instant>,
    /// Its number among those that arrive exactly once; 0: it is none of them.
    pub(super) forward: u64,
    /// Position in the arena, or in the shared list.
    start: u32,
    shared: u32,
    properties_bytes: u32,
    payload_bytes: u32,
    topic_bytes: u16,
    qos: QosLevel,
    retain: bool,
}

#[derive(Debug)]
pub(super) struct RetainedQuery {
    pub(super) lookup: u64,
    pub(super) filter: Box<str>,
    /// `None`: from the beginning.
    pub(super) cursor: Option<Cursor>,
}

impl PeerBatch {
    /// Whether the sender is to be woken when it gets this emptied batch back. If not, it finds
    /// the batch when it wakes for another reason: half of the doorbells are saved.
    #[must_use]
    pub const fn wants_return(&self) -> bool {
        self.wants_return
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// What counts against the link's byte limit.
    pub(super) fn bytes(&self) -> usize {
        self.arena.len() + self.shared_bytes + self.messages.len() * size_of::<ShardMessage>()
    }

    pub(super) fn push(&mut self, message: ShardMessage) {
        self.messages.push(message);
        self.count += 1;
    }

    /// Puts in a message for the receiver's local subscribers, see [`Self::put_message`].
    #[inline]
    pub(super) fn push_publish(
        &mut self,
        message: &MessageParts<'_>,
        hash: TopicHash,
        forward: u64,
        shared: &mut Option<Bytes>,
    ) {
        let body_bytes = body_bytes(message);
        let is_packed =
            body_bytes <= PACKED_BODY_BYTES_MAX && forward == 0 && message.expires_at.is_none();
        if !is_packed {
            let record = self.put_message(message, forward, shared);
            return self.push(ShardMessage::Publish { hash, record });
        }
        self.count += 1;
        if let Some(ShardMessage::PublishRun { count, .. }) = self.messages.last_mut() {
            // Whatever else uses the arena leaves a message of its own behind the run.
            *count += 1;
        } else {
            let start = offset(self.arena.len());
            self.messages
                .push(ShardMessage::PublishRun { start, count: 1 });
        }
        pack(message, hash, &mut self.arena);
    }

    pub(super) fn run(&self, start: u32, count: u32) -> PackedRun<'_> {
        PackedRun::new(&self.arena, start as usize, count)
    }

    pub(super) fn push_refused(&mut self, number: u64) {
        self.refused.push(number);
    }

    pub(super) fn take_refused(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.refused)
    }

    pub(super) fn take_messages(&mut self) -> Vec<ShardMessage> {
        std::mem::take(&mut self.messages)
    }

    /// Empties the batch for the way home; `messages` is the list taken from it before.
    pub(super) fn clear(&mut self, mut messages: Vec<ShardMessage>) {
        messages.clear();
        messages.shrink_to(MESSAGES_KEPT);
        self.messages = messages;
        self.count = 0;
        self.arena.clear();
        self.arena.shrink_to(ARENA_BYTES_KEPT);
        self.shared.clear();
        self.shared_bytes = 0;
        self.wants_acceptance = false;
    }

    pub(super) fn put_text(&mut self, text: &str) -> Text {
        let start = offset(self.arena.len());
        self.arena.extend_from_slice(text.as_bytes());
        Text {
            start,
            bytes: offset(text.len()),
        }
    }

    pub(super) fn text(&self, text: Text) -> &str {
        let bytes = &self.arena[text.start as usize..][..text.bytes as usize];
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Copies a message into the batch, or shares it: `shared` is made at the first large copy
    /// and used again for the other links.
    pub(super) fn put_message(
        &mut self,
        message: &MessageParts<'_>,
        forward: u64,
        shared: &mut Option<Bytes>,
    ) -> PublishRecord {
        let body_bytes = body_bytes(message);
        let (start, position) = if body_bytes < SHARED_BODY_BYTES_MIN {
            let start = offset(self.arena.len());
            put_body(message, &mut self.arena);
            (start, NOT_SHARED)
        } else {
            let position = offset(self.shared.len());
            let bytes = shared.get_or_insert_with(|| {
                let mut body = Vec::with_capacity(body_bytes);
                put_body(message, &mut body);
                body.into()
            });
            self.shared_bytes += bytes.len();
            self.shared.push(bytes.clone());
            (0, position)
        };
        PublishRecord {
            expires_at: message.expires_at,
            start,
            shared: position,
            properties_bytes: offset(message.properties.bytes()),
            payload_bytes: offset(message.payload.len()),
            topic_bytes: u16::try_from(message.topic_name.len()).unwrap_or(u16::MAX),
            qos: message.qos,
            retain: message.retain,
            forward,
        }
    }

    /// Payloads of the messages in here whose acceptance their publishers wait for. By them the
    /// simulator knows what is on its way.
    pub fn awaited_payloads(&self) -> impl Iterator<Item = &[u8]> {
        let packed = self.messages.iter().flat_map(|message| match message {
            ShardMessage::PublishRun { start, count } => self.run(*start, *count),
            _ => self.run(0, 0),
        });
        let others = self.messages.iter().filter_map(|message| match message {
            ShardMessage::Publish { record, .. } | ShardMessage::RetainedUpdate(record) => {
                Some(self.parts(record).payload)
            }
            _ => None,
        });
        packed.map(|(_, parts)| parts.payload).chain(others)
    }

    pub(super) fn parts(&self, record: &PublishRecord) -> MessageParts<'_> {
        let topic_bytes = usize::from(record.topic_bytes);
        let length = topic_bytes + record.properties_bytes as usize + record.payload_bytes as usize;
        let body = if record.shared == NOT_SHARED {
            &self.arena[record.start as usize..][..length]
        } else {
            &self.shared[record.shared as usize][..length]
        };
        let (topic_name, rest) = body.split_at(topic_bytes);
        let (properties, payload) = rest.split_at(record.properties_bytes as usize);
        MessageParts {
            topic_name,
            properties: ForwardableRuns::of_forwardable(properties),
            payload,
            qos: record.qos,
            retain: record.retain,
            expires_at: record.expires_at,
        }
    }

    /// Makes the message again in the receiver's own memory.
    pub(super) fn message(&self, record: &PublishRecord, pool: &mut MessagePool) -> SharedMessage {
        pool.make(&self.parts(record))
    }
}

fn body_bytes(message: &MessageParts<'_>) -> usize {
    message.topic_name.len() + message.properties.bytes() + message.payload.len()
}

/// Batches stay far below 4 GiB: the link's byte limit is a `u32` and one packet is at most
/// 256 MiB.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
