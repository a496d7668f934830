//! The bodies of the fuzz targets `codec_decode` and `codec_split`: plain functions that panic when
//! a property of the codec is violated. Normal tests call them with seeded input.

use super::{
    Frame, Message, MessageParts, MessagePool, Packet, PacketType, ProtocolError, ProtocolVersion,
    Publish, PublishHead, PublishProperties, RawPacket, Sender, SubscriptionIdentifiers,
    TopicAliasUse, decode, decode_ack, decode_connect, decode_publish, encode, encode_publish_head,
    encoded_bytes, frame, peek_version, publish_bytes, publish_tail,
};

/// Larger packets are refused; a fuzzer's input is smaller anyway.
const PACKET_BYTES_MAX: u32 = 1 << 20;

const SENDERS: [Sender; 2] = [Sender::Client, Sender::Server];

/// Decodes the stream `bytes` in every version and from both sides. Whatever decodes is encoded
/// again, and must decode to the same packet and encode to the same bytes from then on.
pub fn exercise_decode(bytes: &[u8]) {
    let (packets, _) = frames(bytes);
    for raw in packets {
        for version in ProtocolVersion::ALL {
            for sender in SENDERS {
                exercise_packet(version, sender, raw);
            }
        }
    }
}

/// Frames the stream `bytes` in pieces of the lengths `cuts`, over and over (one byte at a time
/// when there are none), and in one piece: both must give the same packets and the same error.
pub fn exercise_split(bytes: &[u8], cuts: &[usize]) {
    let (whole, whole_error) = frames(bytes);
    let (split, split_error) = frames_of_pieces(bytes, cuts);
    assert_eq!(whole, split);
    assert_eq!(whole_error, split_error);
}

type Frames<'a> = (Vec<RawPacket<'a>>, Option<ProtocolError>);

fn frames(bytes: &[u8]) -> Frames<'_> {
    let mut packets = Vec::new();
    let mut rest = bytes;
    loop {
        match frame(rest, PACKET_BYTES_MAX) {
            Ok(Frame::Complete(raw)) => {
                packets.push(raw);
                rest = &rest[raw.length..];
            }
            Ok(Frame::Incomplete { bytes_needed }) => {
                assert!(bytes_needed > rest.len());
                return (packets, None);
            }
            Err(error) => return (packets, Some(error)),
        }
    }
}

fn frames_of_pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Frames<'a> {
    let mut packets = Vec::new();
    let (mut start, mut end, mut bytes_needed_min) = (0, 0, 0);
    let mut pieces = cuts.iter().map(|cut| (*cut).max(1)).cycle();
    loop {
        match frame(&bytes[start..end], PACKET_BYTES_MAX) {
            Ok(Frame::Complete(raw)) => {
                assert!(raw.length >= bytes_needed_min);
                packets.push(raw);
                start += raw.length;
                bytes_needed_min = 0;
            }
            Ok(Frame::Incomplete { bytes_needed }) => {
                assert!(bytes_needed > end - start);
                assert!(bytes_needed >= bytes_needed_min);
                bytes_needed_min = bytes_needed;
                if end == bytes.len() {
                    return (packets, None);
                }
                end = bytes
                    .len()
                    .min(end.saturating_add(pieces.next().unwrap_or(1)));
            }
            Err(error) => return (packets, Some(error)),
        }
    }
}

fn exercise_packet(version: ProtocolVersion, sender: Sender, raw: RawPacket<'_>) {
    let decoded = decode(version, sender, raw);
    check_shortcuts(version, sender, raw, &decoded);
    let Ok(packet) = decoded else {
        return;
    };
    let encoded = check_round_trip(&packet, version, sender);
    assert!(encoded.len() <= raw.length, "encoding is not the shortest");
    if let Packet::Publish(publish) = packet {
        check_layout(&publish, version);
    }
}

/// The entrances for one packet agree with the one for all.
fn check_shortcuts(
    version: ProtocolVersion,
    sender: Sender,
    raw: RawPacket<'_>,
    decoded: &Result<Packet<'_>, ProtocolError>,
) {
    match raw.packet_type() {
        Some(PacketType::Connect) => {
            let connect = decode_connect(raw);
            if let Ok(connect) = connect {
                assert_eq!(peek_version(raw), Some(connect.version));
            }
            if sender == Sender::Client {
                assert_eq!(connect.map(Packet::Connect), *decoded);
            }
        }
        Some(PacketType::Publish) => {
            let publish = decode_publish(version, sender, raw);
            assert_eq!(publish.map(Packet::Publish), *decoded);
        }
        Some(PacketType::PubAck) => {
            let ack = decode_ack(version, raw);
            assert_eq!(ack.map(|(_, ack)| Packet::PubAck(ack)), *decoded);
        }
        _ => {}
    }
}

/// `packet` encodes to bytes that decode to it again, and only to them. The bytes are the result.
pub fn check_round_trip(packet: &Packet<'_>, version: ProtocolVersion, sender: Sender) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(packet, version, &mut bytes);
    assert_eq!(encoded_bytes(packet, version), bytes.len());
    let again = decode_whole(&bytes, version, sender);
    assert_eq!(again.as_ref(), Ok(packet));
    let mut bytes_again = Vec::new();
    if let Ok(again) = &again {
        encode(again, version, &mut bytes_again);
    }
    assert_eq!(bytes, bytes_again);
    bytes
}

fn decode_whole(
    bytes: &[u8],
    version: ProtocolVersion,
    sender: Sender,
) -> Result<Packet<'_>, ProtocolError> {
    match frame(bytes, u32::MAX)? {
        Frame::Complete(raw) => {
            assert_eq!(raw.length, bytes.len());
            decode(version, sender, raw)
        }
        Frame::Incomplete { .. } => Err(ProtocolError::malformed("incomplete")),
    }
}

/// What a server sends on of `publish` says the same to every receiver.
fn check_layout(publish: &Publish<'_>, version: ProtocolVersion) {
    let properties = publish.properties.forwardable();
    assert_eq!(properties.bytes(), publish.properties.forwardable_bytes());
    let message = MessagePool::new(0).make(&MessageParts {
        topic_name: publish.topic_name.as_bytes(),
        properties,
        payload: publish.payload,
        qos: publish.qos,
        retain: publish.retain,
        expires_at: None,
    });
    for send_name in [!publish.topic_name.is_empty(), false] {
        let head = PublishHead {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            packet_id: publish.packet_id,
            topic_alias: Some(TopicAliasUse {
                alias: 9,
                send_name,
            }),
            subscription_identifiers: &[7, 300],
            message_expiry_interval_s: publish.properties.message_expiry_interval_s,
            mount_bytes: 0,
        };
        check_receiver(publish, &message, &head, version);
    }
}

/// `head` and the tail of `message` are a PUBLISH that says what `publish` said.
fn check_receiver(
    publish: &Publish<'_>,
    message: &Message,
    head: &PublishHead<'_>,
    version: ProtocolVersion,
) {
    let is_v5 = version.is_v5();
    if publish.topic_name.is_empty() && !is_v5 {
        return;
    }
    let mut bytes = Vec::new();
    encode_publish_head(message, head, version, &mut bytes);
    bytes.extend_from_slice(publish_tail(message, version));
    assert_eq!(publish_bytes(message, head, version), bytes.len());
    let sends_name = head.topic_alias.is_none_or(|alias| alias.send_name) || !is_v5;
    let mut properties = PublishProperties::default();
    if is_v5 {
        properties = publish.properties;
        properties.topic_alias = head.topic_alias.map(|alias| alias.alias);
        properties.subscription_identifiers =
            SubscriptionIdentifiers::List(head.subscription_identifiers);
    }
    let expected = Publish {
        topic_name: if sends_name { publish.topic_name } else { "" },
        properties,
        ..*publish
    };
    let decoded = decode_whole(&bytes, version, Sender::Server);
    assert_eq!(decoded, Ok(Packet::Publish(expected)));
}
