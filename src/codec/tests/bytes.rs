//! Packets against bytes written by hand, so that a mistake made in both directions shows.

use super::super::{
    Ack, AckKind, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet,
    PacketId, ProtocolVersion, Publish, PublishProperties, QosLevel, ReasonCode, RetainHandling,
    Sender, SubAck, Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionIdentifiers,
    SubscriptionOptions, TopicFilters, Unsubscribe, UserProperties, Will, WillProperties, encode,
    encode_ack, encode_auth, encode_conn_ack, encode_connect, encode_disconnect, encode_ping_req,
    encode_ping_resp, encode_publish, encode_sub_ack, encode_subscribe, encode_unsub_ack,
    encode_unsubscribe,
};
use super::{V5, V31, V311, decode_bytes};

fn id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

fn check(version: ProtocolVersion, sender: Sender, packet: &Packet<'_>, bytes: &[u8]) {
    let mut encoded = Vec::new();
    encode(packet, version, &mut encoded);
    assert_eq!(encoded, bytes, "encode {packet:?}");
    assert_eq!(decode_bytes(version, sender, bytes).as_ref(), Ok(packet));
}

const PLAIN_CONNECT: Connect<'static> = Connect {
    version: V311,
    is_bridge: false,
    clean_start: true,
    keep_alive_s: 60,
    client_id: "me",
    will: None,
    username: None,
    password: None,
    properties: ConnectProperties {
        session_expiry_interval_s: None,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: None,
        request_response_information: None,
        request_problem_information: None,
        authentication_method: None,
        authentication_data: None,
        user_properties: UserProperties::Pairs(&[]),
    },
};

#[test]
fn connect() {
    let client = Sender::Client;
    let v311 = Packet::Connect(PLAIN_CONNECT);
    check(
        V311,
        client,
        &v311,
        b"\x10\x0E\x00\x04MQTT\x04\x02\x00\x3C\x00\x02me",
    );

    let v31 = Connect {
        version: V31,
        username: Some("u"),
        password: Some(b"p"),
        will: Some(Will {
            topic: "t",
            payload: b"bye",
            qos: QosLevel::AtLeastOnce,
            retain: true,
            properties: WillProperties::default(),
        }),
        ..PLAIN_CONNECT
    };
    check(
        V31,
        client,
        &Packet::Connect(v31),
        b"\x10\x1E\x00\x06MQIsdp\x03\xEE\x00\x3C\x00\x02me\x00\x01t\x00\x03bye\x00\x01u\x00\x01p",
    );

    // [MQTT-3.1.3-1]: the order of the payload. A password needs no user name in 5.0.
    let v5 = Connect {
        version: V5,
        clean_start: false,
        password: Some(b"p"),
        will: Some(Will {
            topic: "t",
            payload: b"",
            qos: QosLevel::ExactlyOnce,
            retain: false,
            properties: WillProperties {
                will_delay_interval_s: Some(5),
                ..WillProperties::default()
            },
        }),
        properties: ConnectProperties {
            session_expiry_interval_s: Some(u32::MAX),
            receive_maximum: Some(20),
            request_problem_information: Some(false),
            user_properties: UserProperties::Pairs(&[("k", "v")]),
            ..ConnectProperties::default()
        },
        ..PLAIN_CONNECT
    };
    check(
        V5,
        client,
        &Packet::Connect(v5),
        b"\x10\x2E\x00\x04MQTT\x05\x54\x00\x3C\
          \x11\x11\xFF\xFF\xFF\xFF\x21\x00\x14\x17\x00\x26\x00\x01k\x00\x01v\
          \x00\x02me\x05\x18\x00\x00\x00\x05\x00\x01t\x00\x00\x00\x01p",
    );
}

#[test]
fn user_name_is_absent_when_3_1_ends_before_it() {
    let bytes = b"\x10\x10\x00\x06MQIsdp\x03\xC2\x00\x3C\x00\x02me";
    let Ok(Packet::Connect(connect)) = decode_bytes(V31, Sender::Client, bytes) else {
        panic!("refused");
    };
    assert_eq!((connect.username, connect.password), (None, None));
}

#[test]
fn conn_ack() {
    let server = Sender::Server;
    let accepted = Packet::ConnAck(ConnAck {
        session_present: true,
        reason_code: ReasonCode::Success,
        properties: ConnAckProperties::default(),
    });
    check(V311, server, &accepted, b"\x20\x02\x01\x00");
    check(V5, server, &accepted, b"\x20\x03\x01\x00\x00");

    let refused = Packet::ConnAck(ConnAck {
        session_present: false,
        reason_code: ReasonCode::NotAuthorized,
        properties: ConnAckProperties::default(),
    });
    check(V31, server, &refused, b"\x20\x02\x00\x05");
    check(V5, server, &refused, b"\x20\x03\x00\x87\x00");

    let limited = Packet::ConnAck(ConnAck {
        session_present: false,
        reason_code: ReasonCode::Success,
        properties: ConnAckProperties {
            maximum_qos: Some(QosLevel::AtLeastOnce),
            assigned_client_identifier: Some("x"),
            shared_subscription_available: Some(false),
            server_keep_alive_s: Some(256),
            ..ConnAckProperties::default()
        },
    });
    let bytes = b"\x20\x0E\x00\x00\x0B\x24\x01\x12\x00\x01x\x13\x01\x00\x2A\x00";
    check(V5, server, &limited, bytes);
}

#[test]
fn nothing_is_encoded_when_3_x_has_no_return_code() {
    let malformed = ConnAck {
        session_present: false,
        reason_code: ReasonCode::MalformedPacket,
        properties: ConnAckProperties::default(),
    };
    let mut bytes = Vec::new();
    encode_conn_ack(&malformed, V311, &mut bytes);
    assert!(bytes.is_empty());
    // 3.1 has no Session Present.
    let accepted = ConnAck {
        session_present: true,
        reason_code: ReasonCode::Success,
        ..malformed
    };
    encode_conn_ack(&accepted, V31, &mut bytes);
    assert_eq!(bytes, b"\x20\x02\x00\x00");
}

#[test]
fn publish() {
    let plain = Packet::Publish(Publish {
        topic_name: "a/b",
        payload: b"hi",
        ..Publish::default()
    });
    // [MQTT-2.2.1-2]: no packet identifier at QoS 0.
    check(V31, Sender::Client, &plain, b"\x30\x07\x00\x03a/bhi");
    check(V311, Sender::Server, &plain, b"\x30\x07\x00\x03a/bhi");
    // [MQTT-2.2.2-1]: no properties are a length of 0.
    check(V5, Sender::Client, &plain, b"\x30\x08\x00\x03a/b\x00hi");

    let full = Packet::Publish(Publish {
        dup: true,
        qos: QosLevel::ExactlyOnce,
        retain: true,
        topic_name: "",
        packet_id: Some(id(0x0102)),
        properties: PublishProperties {
            payload_format_indicator: Some(1),
            message_expiry_interval_s: Some(1),
            topic_alias: Some(3),
            content_type: Some("c"),
            response_topic: Some("r"),
            correlation_data: Some(b"\x00\xFF"),
            subscription_identifiers: SubscriptionIdentifiers::List(&[5, 200]),
            user_properties: UserProperties::Pairs(&[("k", "v"), ("k", "v")]),
            ..PublishProperties::default()
        },
        payload: b"",
    });
    // [MQTT-3.3.2-1] [MQTT-3.3.2-13] [MQTT-3.3.2-19]
    let bytes = b"\x3D\x2F\x00\x00\x01\x02\x2A\
        \x02\x00\x00\x00\x01\x23\x00\x03\x0B\x05\x0B\xC8\x01\x01\x01\x03\x00\x01c\x08\x00\x01r\
        \x09\x00\x02\x00\xFF\x26\x00\x01k\x00\x01v\x26\x00\x01k\x00\x01v";
    check(V5, Sender::Server, &full, bytes);
}

#[test]
fn acks_are_short_when_they_say_nothing() {
    for (kind, first_byte) in AckKind::ALL.into_iter().zip([0x40, 0x50, 0x62, 0x70]) {
        let mut bytes = Vec::new();
        let ack = Ack::new(id(0x0A0B), ReasonCode::Success);
        for version in ProtocolVersion::ALL {
            bytes.clear();
            encode_ack(kind, &ack, version, &mut bytes);
            assert_eq!(bytes, [first_byte, 2, 0x0A, 0x0B]);
        }
    }
    let both = [Sender::Client, Sender::Server];
    let failed = Packet::PubRec(Ack::new(id(1), ReasonCode::QuotaExceeded));
    let missing = Packet::PubComp(Ack::new(id(1), ReasonCode::PacketIdentifierNotFound));
    let explained = Packet::PubAck(Ack {
        reason_string: Some("why"),
        ..Ack::new(id(1), ReasonCode::Success)
    });
    for sender in both {
        check(V5, sender, &failed, b"\x50\x03\x00\x01\x97");
        check(V5, sender, &missing, b"\x70\x03\x00\x01\x92");
        check(
            V5,
            sender,
            &explained,
            b"\x40\x0A\x00\x01\x00\x06\x1F\x00\x03why",
        );
    }
    let mut bytes = Vec::new();
    encode(&failed, V311, &mut bytes);
    assert_eq!(bytes, b"\x50\x02\x00\x01");
}

#[test]
fn long_form_of_an_ack_means_the_same() {
    let expected = Packet::PubAck(Ack::new(id(1), ReasonCode::Success));
    for bytes in [&b"\x40\x03\x00\x01\x00"[..], b"\x40\x04\x00\x01\x00\x00"] {
        assert_eq!(decode_bytes(V5, Sender::Client, bytes), Ok(expected));
    }
}

#[test]
fn subscribe() {
    let plain = Packet::Subscribe(Subscribe {
        packet_id: id(10),
        subscription_identifier: None,
        user_properties: UserProperties::default(),
        filters: SubscribeFilters::List(&[SubscribeFilter {
            topic_filter: "#",
            options: SubscriptionOptions {
                qos: QosLevel::AtLeastOnce,
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::Send,
            },
        }]),
    });
    check(
        V311,
        Sender::Client,
        &plain,
        b"\x82\x06\x00\x0A\x00\x01#\x01",
    );
    check(
        V5,
        Sender::Client,
        &plain,
        b"\x82\x07\x00\x0A\x00\x00\x01#\x01",
    );

    let options = SubscriptionOptions {
        qos: QosLevel::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let filters = [SubscribeFilter {
        topic_filter: "a",
        options,
    }; 2];
    let full = Subscribe {
        packet_id: id(10),
        subscription_identifier: Some(128),
        user_properties: UserProperties::default(),
        filters: SubscribeFilters::List(&filters),
    };
    let bytes = b"\x82\x0E\x00\x0A\x03\x0B\x80\x01\x00\x01a\x2E\x00\x01a\x2E";
    check(V5, Sender::Client, &Packet::Subscribe(full), bytes);
    // 3.x has the QoS only.
    let mut bytes = Vec::new();
    encode_subscribe(&full, V311, &mut bytes);
    assert_eq!(bytes, b"\x82\x0A\x00\x0A\x00\x01a\x02\x00\x01a\x02");
}

#[test]
fn sub_ack_and_unsub_ack() {
    let server = Sender::Server;
    let granted = SubAck::new(id(10), &[0x02, 0x80]);
    check(
        V311,
        server,
        &Packet::SubAck(granted),
        b"\x90\x04\x00\x0A\x02\x80",
    );
    check(
        V5,
        server,
        &Packet::SubAck(granted),
        b"\x90\x05\x00\x0A\x00\x02\x80",
    );
    let removed = SubAck::new(id(10), &[0x00, 0x11]);
    check(
        V5,
        server,
        &Packet::UnsubAck(removed),
        b"\xB0\x05\x00\x0A\x00\x00\x11",
    );
    let silent = SubAck::new(id(10), &[]);
    check(V311, server, &Packet::UnsubAck(silent), b"\xB0\x02\x00\x0A");

    let mut bytes = Vec::new();
    // 3.x has one failure, and none for UNSUBSCRIBE.
    encode_sub_ack(&SubAck::new(id(10), &[0x01, 0x87]), V311, &mut bytes);
    encode_unsub_ack(&removed, V31, &mut bytes);
    assert_eq!(bytes, b"\x90\x04\x00\x0A\x01\x80\xB0\x02\x00\x0A");
}

#[test]
fn unsubscribe() {
    let unsubscribe = Packet::Unsubscribe(Unsubscribe {
        packet_id: id(10),
        user_properties: UserProperties::default(),
        filters: TopicFilters::List(&["a", "+/b"]),
    });
    let client = Sender::Client;
    check(
        V311,
        client,
        &unsubscribe,
        b"\xA2\x0A\x00\x0A\x00\x01a\x00\x03+/b",
    );
    check(
        V5,
        client,
        &unsubscribe,
        b"\xA2\x0B\x00\x0A\x00\x00\x01a\x00\x03+/b",
    );
}

#[test]
fn ping_disconnect_and_auth() {
    for version in ProtocolVersion::ALL {
        check(version, Sender::Client, &Packet::PingReq, b"\xC0\x00");
        check(version, Sender::Server, &Packet::PingResp, b"\xD0\x00");
        let normal = Packet::Disconnect(Disconnect::new(ReasonCode::Success));
        check(version, Sender::Client, &normal, b"\xE0\x00");
    }
    let taken_over = Packet::Disconnect(Disconnect::new(ReasonCode::SessionTakenOver));
    check(V5, Sender::Server, &taken_over, b"\xE0\x01\x8E");
    let keep = Packet::Disconnect(Disconnect {
        session_expiry_interval_s: Some(9),
        ..Disconnect::new(ReasonCode::DisconnectWithWill)
    });
    check(
        V5,
        Sender::Client,
        &keep,
        b"\xE0\x07\x04\x05\x11\x00\x00\x00\x09",
    );
    let step = Packet::Auth(Auth {
        authentication_method: Some("m"),
        authentication_data: Some(b"d"),
        ..Auth::new(ReasonCode::ContinueAuthentication)
    });
    check(
        V5,
        Sender::Client,
        &step,
        b"\xF0\x0A\x18\x08\x15\x00\x01m\x16\x00\x01d",
    );
    let done = Packet::Auth(Auth::new(ReasonCode::Success));
    check(V5, Sender::Server, &done, b"\xF0\x00");
}

#[test]
fn functions_of_single_packets_append() {
    let mut bytes = Vec::new();
    encode_connect(&PLAIN_CONNECT, &mut bytes);
    bytes.clear();
    encode_ping_req(&mut bytes);
    encode_ping_resp(&mut bytes);
    encode_disconnect(&Disconnect::new(ReasonCode::Success), V311, &mut bytes);
    encode_auth(&Auth::new(ReasonCode::Success), &mut bytes);
    let publish = Publish {
        topic_name: "t",
        ..Publish::default()
    };
    encode_publish(&publish, V311, &mut bytes);
    let unsubscribe = Unsubscribe {
        packet_id: id(1),
        user_properties: UserProperties::default(),
        filters: TopicFilters::List(&["t"]),
    };
    encode_unsubscribe(&unsubscribe, V311, &mut bytes);
    let expected = b"\xC0\x00\xD0\x00\xE0\x00\xF0\x00\x30\x03\x00\x01t\xA2\x05\x00\x01\x00\x01t";
    assert_eq!(bytes, expected);
}

#[test]
fn byte_order_mark_stays_in_strings() {
    // [MQTT-1.5.4-3]
    let bytes = b"\x30\x06\x00\x04\xEF\xBB\xBFa";
    let Ok(Packet::Publish(publish)) = decode_bytes(V311, Sender::Client, bytes) else {
        panic!("refused");
    };
    assert_eq!(publish.topic_name, "\u{FEFF}a");
}
