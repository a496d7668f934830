//! Round trips: what is encoded is decoded again, whole or in pieces.

use proptest::prelude::*;

use super::*;

fn one(bytes: &[u8], version: Version) -> Packet<'_> {
    let (packet, length) = decode(bytes, version).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    for cut in 0..bytes.len() {
        assert_eq!(decode(&bytes[..cut], version), Ok(None), "cut at {cut}");
    }
    packet
}

fn versions() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V311), Just(Version::V50)]
}

proptest! {
    #[test]
    fn publish_survives_the_round_trip(
        version in versions(), qos in 0u8..3, retain: bool, is_dup: bool,
        topic in "[a-z/]{1,200}", id in 1u16..,
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let packet_id = if qos > 0 { id } else { 0 };
        let topic = topic.as_bytes();
        let publish = Publish { qos, retain, is_dup, topic, packet_id, payload: &payload };
        let mut bytes = Vec::new();
        encode_publish(version, &publish, &mut bytes);
        let expected = PublishView { is_dup, qos, retain, topic, packet_id, payload: &payload };
        prop_assert_eq!(one(&bytes, version), Packet::Publish(expected));
    }

    #[test]
    fn template_writes_what_publish_writes(
        version in versions(), qos in 0u8..3, topic in "[a-z/]{1,200}", id in 1u16..,
        head: [u8; 16], padding in 0usize..200,
    ) {
        let mut payload = vec![FILLING; 16 + padding];
        let topic = topic.as_bytes();
        let (retain, is_dup) = (false, false);
        let blank = Publish { qos, retain, is_dup, topic, packet_id: 1, payload: &payload };
        let template = PacketTemplate::new(version, &blank);
        let mut bytes = vec![1, 2, 3];
        template.append(id, &head, &mut bytes);

        payload[..16].copy_from_slice(&head);
        let packet_id = if qos > 0 { id } else { 0 };
        let expected = PublishView { is_dup, qos, retain, topic, packet_id, payload: &payload };
        prop_assert_eq!(one(&bytes[3..], version), Packet::Publish(expected));
        prop_assert_eq!(template.byte_count(), bytes.len() - 3);
    }

    #[test]
    fn acks_survive_the_round_trip(version in versions(), packet_id in 1u16.., reason: u8) {
        use AckKind::{Puback, Pubcomp, Pubrec, Pubrel};
        for kind in [Puback, Pubrec, Pubrel, Pubcomp] {
            let mut bytes = Vec::new();
            encode_ack(kind, packet_id, reason, &mut bytes);
            prop_assert_eq!(one(&bytes, version), Packet::Ack { kind, packet_id, reason });
        }
    }

    #[test]
    fn subscribe_survives_the_round_trip(
        version in versions(), packet_id in 1u16.., qos in 0u8..3,
        texts in prop::collection::vec("[a-z+#/]{1,50}", 1..20),
    ) {
        let filters: Vec<_> = texts.iter().map(|text| (text.as_str(), qos)).collect();
        let mut bytes = Vec::new();
        encode_subscribe(version, packet_id, &filters, &mut bytes);
        let Packet::Subscribe { packet_id: id, filters: decoded } = one(&bytes, version) else {
            panic!("not a SUBSCRIBE");
        };
        prop_assert_eq!(id, packet_id);
        let decoded: Vec<_> = decoded.map(|filter| filter.unwrap()).collect();
        let expected: Vec<_> = filters.iter().map(|(text, qos)| (text.as_bytes(), *qos)).collect();
        prop_assert_eq!(decoded, expected);
    }

    #[test]
    fn connect_survives_the_round_trip(
        version in versions(), client_id in "[a-z0-9]{0,60}", clean: bool, keep_alive_s: u16,
        session_expiry_s: u32, receive_maximum in 1u16.., with_password: bool,
    ) {
        let username = with_password.then_some("user");
        let password = with_password.then_some("secret");
        let connect = Connect {
            version, client_id: &client_id, keep_alive_s, clean, session_expiry_s,
            receive_maximum, username, password,
        };
        let mut bytes = Vec::new();
        encode_connect(&connect, &mut bytes);
        let client_id = client_id.as_bytes();
        let expected = ConnectView { version, clean, keep_alive_s, client_id };
        prop_assert_eq!(one(&bytes, version), Packet::Connect(expected));
    }

    #[test]
    fn any_bytes_decode_without_panic(version in versions(), bytes: Vec<u8>) {
        if let Ok(Some((Packet::Subscribe { filters, .. }, length))) = decode(&bytes, version) {
            prop_assert!(length <= bytes.len());
            filters.take_while(Result::is_ok).for_each(drop);
        }
    }
}

#[test]
fn small_packets_survive_the_round_trip() {
    let mut bytes = Vec::new();
    for version in [Version::V311, Version::V50] {
        bytes.clear();
        encode_connack(version, true, 3, &mut bytes);
        let expected = Packet::Connack {
            session_present: true,
            code: 3,
            receive_maximum: u16::MAX,
        };
        assert_eq!(one(&bytes, version), expected);

        bytes.clear();
        encode_suback(version, 9, &[1, 0x80], &mut bytes);
        let codes = &[1, 0x80];
        let packet_id = 9;
        let expected = Packet::Suback { packet_id, codes };
        assert_eq!(one(&bytes, version), expected);

        bytes.clear();
        encode_unsuback(version, 9, 2, &mut bytes);
        assert_eq!(one(&bytes, version), Packet::Unsuback { packet_id });
    }
    type Case = (fn(&mut Vec<u8>), Packet<'static>);
    let cases: [Case; 3] = [
        (encode_pingreq, Packet::Pingreq),
        (encode_pingresp, Packet::Pingresp),
        (encode_disconnect, Packet::Disconnect { reason: 0 }),
    ];
    for (encode, expected) in cases {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        assert_eq!(one(&bytes, Version::V311), expected);
    }
}

#[test]
fn receive_maximum_is_found_behind_other_properties() {
    let properties = [
        0x11, 0, 0, 0, 1, 0x24, 1, 0x26, 0, 1, b'a', 0, 0, 0x21, 0, 20,
    ];
    let mut bytes = vec![0x20, 3 + properties.len() as u8, 0, 0];
    bytes.push(properties.len() as u8);
    bytes.extend_from_slice(&properties);
    let Packet::Connack {
        receive_maximum, ..
    } = one(&bytes, Version::V50)
    else {
        panic!("not a CONNACK");
    };
    assert_eq!(receive_maximum, 20);
}

#[test]
fn broken_bytes_are_refused() {
    let cases: [&[u8]; 4] = [
        &[0x30, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x36, 4, 0, 1, b'a', 0],
        &[0x30, 1, 0],
        &[0xF0, 0],
    ];
    for bytes in cases {
        assert!(decode(bytes, Version::V311).is_err(), "{bytes:?}");
    }
}
