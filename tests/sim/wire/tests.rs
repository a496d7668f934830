//! The simulator's encoding against packets written out by hand.

use super::decode::Decoder;
use super::{AckKind, Connect, Filter, Packet, Publish, Version, Will, encode};

fn decode(version: Version, bytes: &[u8]) -> Result<Vec<Packet>, String> {
    let mut decoder = Decoder::default();
    let mut packets = Vec::new();
    // A byte at a time, so that every split is tried.
    for byte in bytes {
        decoder.feed(&[*byte]);
        while let Some((packet, _)) = decoder.next(version)? {
            packets.push(packet);
        }
    }
    assert_eq!(decoder.rest(), 0);
    Ok(packets)
}

#[test]
fn connect_is_as_in_the_specification() {
    let mut out = Vec::new();
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 10,
        client_id: "a".into(),
        session_expiry_s: 3,
        receive_maximum: Some(2),
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        will: Some(Will {
            topic: "w".into(),
            payload: vec![7],
            qos: 1,
            retain: true,
            delay_s: 5,
        }),
    };
    encode::connect(&connect, &mut out);
    let expected = b"\x10\x28\x00\x04MQTT\x05\x2e\x00\x0a\x08\x11\0\0\0\x03\x21\0\x02\0\x01a\
        \x05\x18\0\0\0\x05\0\x01w\0\x01\x07";
    assert_eq!(out.len(), expected.len());
    assert_eq!(out[2..], expected[2..]);
    assert_eq!(usize::from(out[1]), out.len() - 2);
}

#[test]
fn publish_comes_back_in_every_version() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let v5 = version == Version::V5;
        let publish = Publish {
            dup: true,
            qos: 2,
            retain: true,
            topic: "a/b".into(),
            packet_id: Some(9),
            alias: v5.then_some(3),
            expiry_s: v5.then_some(60),
            identifiers: if v5 { vec![1, 200_000] } else { vec![] },
            user_properties: if v5 {
                vec![("k".into(), "v".into())]
            } else {
                vec![]
            },
            payload: vec![1; 200],
        };
        let mut out = Vec::new();
        encode::publish(&publish, version, &mut out);
        assert_eq!(
            decode(version, &out).unwrap(),
            vec![Packet::Publish(publish)]
        );
    }
}

#[test]
fn server_packets_are_read() {
    let packets = decode(
        Version::V5,
        b"\x20\x03\x01\x00\x00\x40\x02\0\x07\x50\x03\0\x08\x10\x62\x02\0\x09\x90\x04\0\x01\0\x02\
          \xb0\x04\0\x02\0\x11\xd0\0\xe0\x01\x8e",
    )
    .unwrap();
    assert!(matches!(&packets[0], Packet::ConnAck(ack) if ack.session_present && ack.code == 0));
    let ack = |kind, packet_id, code| Packet::Ack {
        kind,
        packet_id,
        code,
    };
    assert_eq!(
        packets[1..],
        [
            ack(AckKind::PubAck, 7, 0),
            ack(AckKind::PubRec, 8, 0x10),
            ack(AckKind::PubRel, 9, 0),
            Packet::SubAck {
                packet_id: 1,
                codes: vec![2]
            },
            Packet::UnsubAck {
                packet_id: 2,
                codes: vec![0x11]
            },
            Packet::PingResp,
            Packet::Disconnect { code: 0x8E },
        ]
    );
}

#[test]
fn what_a_server_may_not_send_is_refused() {
    for (bytes, what) in [
        (&b"\x3e\x05\0\x01a\0\x01"[..], "QoS 3"),
        (b"\x38\x03\0\x01a", "DUP with QoS 0"),
        (b"\x32\x05\0\x01a\0\0", "packet identifier 0"),
        (b"\x30\x03\0\x01+", "wildcard"),
        (b"\x60\x02\0\x01", "flags of PUBREL"),
        (b"\x82\x02\0\x01", "SUBSCRIBE from a server"),
        (b"\xe0\0", "DISCONNECT before 5.0"),
        (b"\x40\x03\0\x01\0", "bytes behind the end"),
        (b"\x30\xff\xff\xff\xff\x01", "remaining length"),
    ] {
        assert!(decode(Version::V311, bytes).is_err(), "{what}");
    }
}

#[test]
fn subscribe_carries_its_options() {
    let filter = Filter {
        filter: "a".into(),
        qos: 1,
        no_local: true,
        retain_as_published: true,
        retain_handling: 2,
    };
    let mut out = Vec::new();
    encode::subscribe(5, Some(130), &[filter], Version::V5, &mut out);
    assert_eq!(out, b"\x82\x0a\0\x05\x03\x0b\x82\x01\0\x01a\x2d");
}
