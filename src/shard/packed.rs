//! How most application messages lie in a batch: packed, one behind the other.
//!
//! Between two cores each byte has to change its cache, which costs more than what is done with
//! it. So a small message without expiry is a head of 16 bytes with its body right behind it, and
//! a run of such messages is one entry of the batch, whatever their number.

use crate::base::prefetch::prefetch;
use crate::codec::{ForwardableRuns, MessageParts, QosLevel};
use crate::topic::index::TopicHash;

/// Hash of the topic name, then 16 bits each for the lengths of payload, properties and topic name,
/// and 8 each for QoS and RETAIN.
const HEAD_BYTES: usize = 16;
const PROPERTIES_SHIFT: u32 = 16;
const TOPIC_SHIFT: u32 = 32;
const QOS_SHIFT: u32 = 48;
const RETAIN_SHIFT: u32 = 56;
/// So that each length fits two bytes. Larger bodies are shared between links anyway.
pub(super) const PACKED_BODY_BYTES_MAX: usize = 16 << 10;
/// How far ahead of the reader memory is asked for: what is read in the time that it takes to come
/// from another core's cache, several times over.
const AHEAD_BYTES: usize = 1024;
const CACHE_LINE_BYTES: usize = 64;

/// Appends a message whose body has at most [`PACKED_BODY_BYTES_MAX`] bytes and that does not
/// expire.
#[inline]
pub(super) fn pack(message: &MessageParts<'_>, hash: TopicHash, out: &mut Vec<u8>) {
    let properties_bytes = message.properties.bytes();
    let (topic_bytes, payload_bytes) = (message.topic_name.len(), message.payload.len());
    out.reserve(HEAD_BYTES + topic_bytes + properties_bytes + payload_bytes);
    let rest = payload_bytes as u64
        | (properties_bytes as u64) << PROPERTIES_SHIFT
        | (topic_bytes as u64) << TOPIC_SHIFT
        | u64::from(message.qos as u8) << QOS_SHIFT
        | u64::from(message.retain) << RETAIN_SHIFT;
    let head = u128::from(hash.as_u64()) | u128::from(rest) << 64;
    out.extend_from_slice(&head.to_le_bytes());
    put_body(message, out);
}

/// Appends topic name, properties and payload.
#[inline]
pub(super) fn put_body(message: &MessageParts<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(message.topic_name);
    if !message.properties.is_empty() {
        for run in message.properties.clone() {
            out.extend_from_slice(run);
        }
    }
    out.extend_from_slice(message.payload);
}

/// A head taken apart.
struct Head {
    hash: TopicHash,
    payload: usize,
    properties: usize,
    topic_name: usize,
    qos: u8,
    retain: bool,
}

impl Head {
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "bits taken out on purpose")]
    const fn of(head: u128) -> Self {
        let rest = (head >> 64) as u64;
        Self {
            hash: TopicHash::from_u64(head as u64),
            payload: rest as u16 as usize,
            properties: (rest >> PROPERTIES_SHIFT) as u16 as usize,
            topic_name: (rest >> TOPIC_SHIFT) as u16 as usize,
            qos: (rest >> QOS_SHIFT) as u8,
            retain: rest >> RETAIN_SHIFT != 0,
        }
    }
}

/// Packed messages, front to back.
#[derive(Clone, Debug)]
pub(super) struct PackedRun<'a> {
    bytes: &'a [u8],
    position: usize,
    left: u32,
}

impl<'a> PackedRun<'a> {
    /// `count` messages from `start` on.
    pub(super) fn new(bytes: &'a [u8], start: usize, count: u32) -> Self {
        for ahead in (0..AHEAD_BYTES).step_by(CACHE_LINE_BYTES) {
            prefetch(bytes, start + ahead);
        }
        Self {
            bytes,
            position: start,
            left: count,
        }
    }

    #[inline]
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.position..)?.get(..bytes)?;
        self.position += bytes;
        Some(taken)
    }

    #[inline]
    fn prefetch_from(&self, start: usize) {
        for line in (start..self.position).step_by(CACHE_LINE_BYTES) {
            prefetch(self.bytes, line + AHEAD_BYTES);
        }
    }
}

impl<'a> Iterator for PackedRun<'a> {
    type Item = (TopicHash, MessageParts<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let start = self.position;
        let head = u128::from_le_bytes(*self.take(HEAD_BYTES)?.first_chunk()?);
        let Head {
            hash,
            payload,
            properties,
            topic_name,
            qos,
            retain,
        } = Head::of(head);
        let body = self.take(topic_name + properties + payload)?;
        self.prefetch_from(start);
        let (topic_name, rest) = body.split_at_checked(topic_name)?;
        let (properties, payload) = rest.split_at_checked(properties)?;
        let parts = MessageParts {
            topic_name,
            properties: ForwardableRuns::of_forwardable(properties),
            payload,
            qos: QosLevel::try_from(qos).unwrap_or_default(),
            retain,
            expires_at: None,
        };
        Some((hash, parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    #[test]
    fn messages_come_out_as_they_went_in() {
        let mut random = Random::new(1);
        let bytes: Vec<u8> = (0..20_000_u32).map(|byte| byte.to_le_bytes()[0]).collect();
        let some = |random: &mut Random, most: usize| {
            let count = usize::try_from(random.below(most as u64 + 1)).unwrap();
            &bytes[..count]
        };
        let mut arena = b"something before".to_vec();
        let start = arena.len();
        let mut expected = Vec::new();
        for number in 0..2000_u64 {
            let most = if number % 50 == 0 { 5000 } else { 60 };
            let parts = MessageParts {
                topic_name: some(&mut random, most),
                properties: ForwardableRuns::of_forwardable(some(&mut random, most)),
                payload: some(&mut random, most),
                qos: QosLevel::try_from(u8::try_from(random.below(3)).unwrap()).unwrap(),
                retain: random.chance(1, 2),
                expires_at: None,
            };
            pack(&parts, TopicHash::from_u64(number << 50), &mut arena);
            expected.push((number << 50, parts));
        }
        let run = PackedRun::new(&arena, start, 2000);
        assert_eq!(run.clone().count(), expected.len());
        for ((hash, found), (number, parts)) in run.zip(expected) {
            assert_eq!(hash.as_u64(), number);
            assert_eq!(found.topic_name, parts.topic_name);
            assert!(found.properties.eq(parts.properties));
            assert_eq!(found.payload, parts.payload);
            assert_eq!((found.qos, found.retain), (parts.qos, parts.retain));
        }
    }

    #[test]
    fn largest_body_fits() {
        let payload = vec![7; PACKED_BODY_BYTES_MAX - 1];
        let parts = MessageParts {
            topic_name: b"t",
            properties: ForwardableRuns::default(),
            payload: &payload,
            qos: QosLevel::AtMostOnce,
            retain: false,
            expires_at: None,
        };
        let mut arena = Vec::new();
        pack(&parts, TopicHash::default(), &mut arena);
        let (_, found) = PackedRun::new(&arena, 0, 1).next().unwrap();
        assert_eq!((found.topic_name, found.payload), (&b"t"[..], &*payload));
    }
}
