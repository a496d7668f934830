//! A message sent as head and shared tail is the PUBLISH that encoding it whole would give.

use super::super::sample::Sampler;
use super::super::{
    ForwardableRuns, Frame, MessageParts, MessagePool, PacketId, ProtocolVersion, Publish,
    PublishCopy, PublishHead, PublishProperties, QosLevel, RawPacket, Sender, SharedMessage,
    SubscriptionIdentifiers, TopicAliasUse, decode_publish, encode_publish, encode_publish_head,
    frame, publish_bytes, publish_tail,
};
use super::{V5, V311, packet};
use crate::base::time::Instant;
use std::rc::Rc;

fn whole(bytes: &[u8]) -> RawPacket<'_> {
    match frame(bytes, u32::MAX) {
        Ok(Frame::Complete(raw)) => raw,
        other => panic!("{other:?}"),
    }
}

fn message_of(pool: &mut MessagePool, publish: &Publish<'_>) -> SharedMessage {
    pool.make(&MessageParts {
        topic_name: publish.topic_name.as_bytes(),
        properties: publish.properties.forwardable(),
        payload: publish.payload,
        qos: publish.qos,
        retain: publish.retain,
        expires_at: None,
    })
}

fn parts(payload: &[u8]) -> MessageParts<'_> {
    MessageParts {
        topic_name: b"t",
        properties: ForwardableRuns::default(),
        payload,
        qos: QosLevel::AtLeastOnce,
        retain: false,
        expires_at: Some(Instant::from_micros(7)),
    }
}

/// The receivers of one message: all combinations of what a head may say.
fn heads() -> Vec<PublishHead<'static>> {
    let mut heads = Vec::new();
    let aliases = [
        None,
        Some(TopicAliasUse {
            alias: 3,
            send_name: true,
        }),
        Some(TopicAliasUse {
            alias: 0xFFFF,
            send_name: false,
        }),
    ];
    for packet_id in [None, PacketId::new(0x1234)] {
        for topic_alias in aliases {
            for subscription_identifiers in [&[][..], &[1], &[128, 5, 268_435_455]] {
                for message_expiry_interval_s in [None, Some(59)] {
                    heads.push(PublishHead {
                        dup: packet_id.is_some() && topic_alias.is_some(),
                        qos: packet_id.map_or(QosLevel::AtMostOnce, |_| QosLevel::ExactlyOnce),
                        retain: topic_alias.is_none(),
                        packet_id,
                        topic_alias,
                        subscription_identifiers,
                        message_expiry_interval_s,
                        mount_bytes: 0,
                    });
                }
            }
        }
    }
    heads
}

/// `published` as `head` wants it sent.
fn straightforward<'a>(
    published: &Publish<'a>,
    head: &PublishHead<'a>,
    version: ProtocolVersion,
) -> Publish<'a> {
    let alias = head.topic_alias.filter(|_| version.is_v5());
    Publish {
        dup: head.dup,
        qos: head.qos,
        retain: head.retain,
        topic_name: if alias.is_some_and(|alias| !alias.send_name) {
            ""
        } else {
            published.topic_name
        },
        packet_id: head.packet_id,
        properties: PublishProperties {
            message_expiry_interval_s: head.message_expiry_interval_s,
            topic_alias: alias.map(|alias| alias.alias),
            subscription_identifiers: SubscriptionIdentifiers::List(head.subscription_identifiers),
            ..published.properties
        },
        payload: published.payload,
    }
}

#[test]
fn head_and_tail_equal_the_whole_encoding() {
    let mut sampler = Sampler::new(4);
    let mut pool = MessagePool::new(4);
    let heads = heads();
    for _ in 0..150 {
        let mut published = sampler.publish(V5, Sender::Client);
        published.topic_name = sampler.text();
        let mut received = Vec::new();
        encode_publish(&published, V5, &mut received);
        let received = decode_publish(V5, Sender::Client, whole(&received)).unwrap();
        let message = message_of(&mut pool, &received);
        for version in ProtocolVersion::ALL {
            for head in &heads {
                let mut sent = Vec::new();
                encode_publish_head(&message, head, version, &mut sent);
                sent.extend_from_slice(publish_tail(&message, version));
                let mut expected = Vec::new();
                let publish = straightforward(&published, head, version);
                encode_publish(&publish, version, &mut expected);
                assert_eq!(sent, expected, "{head:?} {version:?}");
                assert_eq!(publish_bytes(&message, head, version), sent.len());
                if !head.is_own() {
                    check_copy(&message, head, version, &sent);
                }
            }
        }
        pool.release(message);
    }
}

#[test]
fn head_is_own_when_it_says_more_than_a_packet_identifier() {
    let plain = PublishHead {
        qos: QosLevel::AtLeastOnce,
        retain: true,
        packet_id: PacketId::new(1),
        ..PublishHead::default()
    };
    assert!(!plain.is_own());
    let own = [
        PublishHead { dup: true, ..plain },
        PublishHead {
            topic_alias: Some(TopicAliasUse {
                alias: 1,
                send_name: true,
            }),
            ..plain
        },
        PublishHead {
            subscription_identifiers: &[1],
            ..plain
        },
        PublishHead {
            message_expiry_interval_s: Some(1),
            ..plain
        },
        PublishHead {
            mount_bytes: 1,
            ..plain
        },
    ];
    assert!(own.iter().all(PublishHead::is_own));
}

/// The packet that was encoded for another receiver is the one for this receiver.
fn check_copy(
    message: &SharedMessage,
    head: &PublishHead<'_>,
    version: ProtocolVersion,
    expected: &[u8],
) {
    let mut copy = PublishCopy::default();
    let other = PublishHead {
        packet_id: head.packet_id.map(|_| PacketId::MAX),
        ..*head
    };
    copy.encode(message, &other, version);
    let mut sent = b"before".to_vec();
    copy.append(head.packet_id, &mut sent);
    assert_eq!(sent, [b"before", expected].concat(), "{head:?} {version:?}");
}

/// Raw properties, one after the other.
type Properties<'a> = &'a [&'a [u8]];

#[test]
fn forwardable_runs_are_long_and_in_order() {
    // [MQTT-3.3.2-18]
    let expiry: &[u8] = b"\x02\x00\x00\x00\x05";
    let alias: &[u8] = b"\x23\x00\x01";
    let first: &[u8] = b"\x26\x00\x01k\x00\x011";
    let second: &[u8] = b"\x26\x00\x01k\x00\x012";
    let content_type: &[u8] = b"\x03\x00\x01c";
    let identifier: &[u8] = b"\x0B\x80\x01";
    let cases: [(Properties<'_>, &[Properties<'_>]); 7] = [
        (&[], &[]),
        (&[expiry, alias], &[]),
        (&[first, content_type], &[&[first, content_type]]),
        (
            &[expiry, first, content_type, alias],
            &[&[first, content_type]],
        ),
        (&[first, expiry, content_type], &[&[first], &[content_type]]),
        (&[first, alias, expiry, second], &[&[first], &[second]]),
        (
            &[identifier, second, identifier, first],
            &[&[second], &[first]],
        ),
    ];
    for (properties, expected) in cases {
        let section = packet(0, &properties.concat())[1..].to_vec();
        let bytes = packet(0x30, &[b"\x00\x01t", &section[..], b"payload"].concat());
        let publish = decode_publish(V5, Sender::Server, whole(&bytes)).unwrap();
        let runs: Vec<Vec<u8>> = publish
            .properties
            .forwardable()
            .map(<[u8]>::to_vec)
            .collect();
        let expected: Vec<Vec<u8>> = expected.iter().map(|run| run.concat()).collect();
        assert_eq!(runs, expected, "{properties:02x?}");
        assert_eq!(
            publish.properties.forwardable_bytes(),
            expected.concat().len()
        );
        let message = message_of(&mut MessagePool::new(0), &publish);
        assert_eq!(message.properties(), expected.concat());
    }
}

#[test]
fn message_gives_back_its_parts() {
    let mut pool = MessagePool::new(1);
    let properties: &[u8] = b"\x01\x01\x03\x00\x01c";
    let message = pool.make(&MessageParts {
        topic_name: "größe".as_bytes(),
        properties: ForwardableRuns::of_forwardable(properties),
        retain: true,
        ..parts(b"payload")
    });
    let copy = pool.make(&message.parts());
    for message in [message, copy] {
        assert_eq!(message.topic_name(), "größe");
        assert_eq!(message.properties(), properties);
        assert_eq!(message.payload(), b"payload");
        assert_eq!(message.bytes(), 7 + properties.len() + 7);
        assert_eq!(message.qos(), QosLevel::AtLeastOnce);
        assert!(message.retain());
        assert_eq!(message.expires_at(), Some(Instant::from_micros(7)));
        assert_eq!(publish_tail(&message, V311), b"payload");
    }
}

#[test]
fn pool_uses_released_memory_again() {
    let mut pool = MessagePool::new(2);
    let message = pool.make(&parts(b"first and long"));
    let address = Rc::as_ptr(&message);
    pool.release(message);
    assert_eq!(pool.free_count(), 1);
    let message = pool.make(&parts(b"second"));
    assert_eq!(Rc::as_ptr(&message), address);
    assert_eq!(message.payload(), b"second");
    assert_eq!(pool.free_count(), 0);
}

#[test]
fn pool_keeps_nothing_when_over_its_bounds() {
    let mut pool = MessagePool::new(1);
    let shared = pool.make(&parts(b"x"));
    pool.release(shared.clone());
    assert_eq!(pool.free_count(), 0, "somebody still reads it");
    assert_eq!(shared.payload(), b"x");
    let large = pool.make(&parts(&[0; MessagePool::BODY_BYTES_MAX + 1]));
    pool.release(large);
    assert_eq!(pool.free_count(), 0, "too large");
    let another = pool.make(&parts(b"y"));
    pool.release(shared);
    pool.release(another);
    assert_eq!(pool.free_count(), 1, "full");
}
