//! What `ringway pub` says to a broker, and what it makes of the answers.

use super::broker::Step::{Drip, Expect, ExpectEnd, ExpectSilence, Send};
use super::broker::{
    CONNACK_V5, CONNACK_V311, CONNECT_V5, CONNECT_V311, DISCONNECT, Step, broker, connect_options,
};
use crate::client::error::ClientError;
use crate::client::message::MessageProperties;
use crate::client::options::{ConnectOptions, PublishOptions, WillOptions};
use crate::client::payload::PayloadSource;
use crate::client::publish::publish;
use crate::client::stop::StopFlag;
use crate::codec::{ProtocolVersion, QosLevel};
use std::net::TcpListener;
use std::time::Duration;

fn publish_options(qos: QosLevel) -> PublishOptions {
    PublishOptions {
        topic_name: "t".to_owned(),
        payload: PayloadSource::One(b"m".to_vec()),
        qos,
        retain: false,
        properties: MessageProperties::default(),
        repeat: 1,
        repeat_delay: Duration::ZERO,
    }
}

/// Publishes against a script with options changed by `change`.
fn published(
    script: &[Step],
    qos: QosLevel,
    change: impl FnOnce(&mut ConnectOptions, &mut PublishOptions),
) -> Result<(), ClientError> {
    let (port, broker) = broker(script);
    let (mut connect, mut options) = (connect_options(port), publish_options(qos));
    change(&mut connect, &mut options);
    let result = publish(&connect, &options, &StopFlag::default());
    broker.join().unwrap();
    result
}

#[test]
fn qos_0_is_sent_and_nothing_is_waited_for() {
    let publish = Expect("30 05 00 01 't' 00 'm'");
    let script = [CONNECT_V5, CONNACK_V5, publish, DISCONNECT, ExpectEnd];
    published(&script, QosLevel::AtMostOnce, |_, _| {}).unwrap();

    let publish = Expect("31 04 00 01 't' 'm'");
    let script = [CONNECT_V311, CONNACK_V311, publish, DISCONNECT, ExpectEnd];
    published(&script, QosLevel::AtMostOnce, |connect, options| {
        connect.version = ProtocolVersion::V311;
        options.retain = true;
    })
    .unwrap();
}

#[test]
fn connect_carries_all_options() {
    let connect_v5 = Expect(
        "10 32 00 04 'MQTT' 05 ec 00 0a 05 11 00 00 00 09 00 01 'c' 05 18 00 00 00 07 \
         00 03 'w/t' 00 04 'gone' 00 04 'user' 00 06 'secret'",
    );
    let publish = Expect("30 05 00 01 't' 00 'm'");
    let script = [connect_v5, CONNACK_V5, publish, DISCONNECT, ExpectEnd];
    published(&script, QosLevel::AtMostOnce, |connect, _| {
        connect.clean_start = false;
        connect.session_expiry_interval_s = Some(9);
        connect.keep_alive_s = 10;
        connect.username = Some("user".to_owned());
        connect.password = Some(b"secret".to_vec());
        connect.will = Some(WillOptions {
            topic_name: "w/t".to_owned(),
            payload: b"gone".to_vec(),
            qos: QosLevel::AtLeastOnce,
            retain: true,
            delay_interval_s: Some(7),
        });
    })
    .unwrap();
}

#[test]
fn message_carries_its_properties() {
    let publish = Expect(
        "30 1d 00 01 't' 18 02 00 00 00 05 03 00 01 'j' 08 00 01 'r' 09 00 01 'd' \
         26 00 01 'k' 00 01 'v' 'm'",
    );
    let script = [CONNECT_V5, CONNACK_V5, publish, DISCONNECT, ExpectEnd];
    published(&script, QosLevel::AtMostOnce, |_, options| {
        options.properties = MessageProperties {
            message_expiry_interval_s: Some(5),
            content_type: Some("j".to_owned()),
            response_topic: Some("r".to_owned()),
            correlation_data: Some(b"d".to_vec()),
            user_properties: vec![("k".to_owned(), "v".to_owned())],
            ..MessageProperties::default()
        };
    })
    .unwrap();
}

#[test]
fn qos_1_waits_for_its_acknowledgement() {
    let publish = Expect("32 07 00 01 't' 00 01 00 'm'");
    let script = [
        CONNECT_V5,
        CONNACK_V5,
        publish,
        Drip("40 02 00 01"),
        DISCONNECT,
        ExpectEnd,
    ];
    published(&script, QosLevel::AtLeastOnce, |_, _| {}).unwrap();
}

#[test]
fn qos_2_goes_through_its_handshake() {
    let script = [
        CONNECT_V311,
        CONNACK_V311,
        Expect("34 06 00 01 't' 00 01 'm'"),
        Send("50 02 00 01"),
        Expect("62 02 00 01"),
        ExpectSilence(Duration::from_millis(50)),
        Send("70 02 00 01"),
        DISCONNECT,
        ExpectEnd,
    ];
    let result = published(&script, QosLevel::ExactlyOnce, |connect, _| {
        connect.version = ProtocolVersion::V311;
    });
    result.unwrap();
}

#[test]
fn refused_message_is_a_failure() {
    let publish = Expect("32 07 00 01 't' 00 01 00 'm'");
    let script = [
        CONNECT_V5,
        CONNACK_V5,
        publish,
        Send("40 03 00 01 97"),
        DISCONNECT,
        ExpectEnd,
    ];
    let error = published(&script, QosLevel::AtLeastOnce, |_, _| {}).unwrap_err();
    let expected = "the broker refused the message: Quota exceeded (0x97)";
    assert_eq!(error.to_string(), expected);

    let publish = Expect("34 07 00 01 't' 00 01 00 'm'");
    let pubrec = Send("50 08 00 01 87 04 1f 00 01 'x'");
    let script = [
        CONNECT_V5, CONNACK_V5, publish, pubrec, DISCONNECT, ExpectEnd,
    ];
    let error = published(&script, QosLevel::ExactlyOnce, |_, _| {}).unwrap_err();
    assert!(
        error.to_string().ends_with("Not authorized (0x87): x"),
        "{error}"
    );
}

#[test]
fn refused_connection_says_why() {
    let script = [CONNECT_V5, Send("20 03 00 87 00")];
    let error = published(&script, QosLevel::AtMostOnce, |_, _| {}).unwrap_err();
    let expected = "the broker refused the connection: Not authorized (0x87)";
    assert_eq!(error.to_string(), expected);

    let script = [CONNECT_V311, Send("20 02 00 05")];
    let error = published(&script, QosLevel::AtMostOnce, |connect, _| {
        connect.version = ProtocolVersion::V311;
    })
    .unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn receive_maximum_of_the_broker_is_kept() {
    let script = [
        CONNECT_V5,
        Send("20 06 00 00 03 21 00 01"),
        Expect("32 07 00 01 't' 00 01 00 'm'"),
        ExpectSilence(Duration::from_millis(50)),
        Send("40 02 00 01"),
        Expect("32 07 00 01 't' 00 02 00 'm'"),
        Send("40 02 00 02"),
        DISCONNECT,
        ExpectEnd,
    ];
    published(&script, QosLevel::AtLeastOnce, |_, options| {
        options.repeat = 2
    })
    .unwrap();
}

#[test]
fn limits_of_the_broker_are_said_before_they_are_passed() {
    let cases = [
        // Maximum Packet Size 7.
        (
            "20 08 00 00 05 27 00 00 00 07",
            "the packet has 8 bytes, the broker takes 7",
        ),
        ("20 05 00 00 02 24 00", "the broker takes QoS 0 at most"),
        (
            "20 05 00 00 02 25 00",
            "the broker does not retain messages",
        ),
        (
            "20 06 00 00 03 22 00 02",
            "the broker takes topic aliases up to 2",
        ),
    ];
    for (connack, expected) in cases {
        // In which way the client leaves then does not matter.
        let script = [CONNECT_V5, Send(connack)];
        let error = published(&script, QosLevel::AtLeastOnce, |_, options| {
            options.retain = expected.contains("retain");
            options.properties.topic_alias = expected.contains("alias").then_some(3);
            options.payload = PayloadSource::One(Vec::new());
        })
        .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn alias_takes_the_place_of_the_name() {
    let script = [
        CONNECT_V5,
        Send("20 06 00 00 03 22 00 02"),
        Expect("30 08 00 01 't' 03 23 00 02 'm'"),
        Expect("30 07 00 00 03 23 00 02 'm'"),
        DISCONNECT,
        ExpectEnd,
    ];
    published(&script, QosLevel::AtMostOnce, |_, options| {
        options.properties.topic_alias = Some(2);
        options.repeat = 2;
    })
    .unwrap();
}

#[test]
fn each_line_is_a_message() {
    let script = [
        CONNECT_V5,
        CONNACK_V5,
        Expect("30 05 00 01 't' 00 'a'"),
        Expect("30 06 00 01 't' 00 'bc'"),
        DISCONNECT,
        ExpectEnd,
    ];
    published(&script, QosLevel::AtMostOnce, |_, options| {
        options.payload = PayloadSource::lines(&b"a\nbc\n"[..]);
    })
    .unwrap();
}

#[test]
fn end_by_the_broker_is_a_failure() {
    let publish = Expect("32 07 00 01 't' 00 01 00 'm'");
    let script = [CONNECT_V5, CONNACK_V5, publish.clone()];
    let error = published(&script, QosLevel::AtLeastOnce, |_, _| {}).unwrap_err();
    assert!(matches!(error, ClientError::Closed), "{error}");

    let script = [CONNECT_V5, CONNACK_V5, publish, Send("e0 01 8e")];
    let error = published(&script, QosLevel::AtLeastOnce, |_, _| {}).unwrap_err();
    let expected = "the broker ended the connection: Session taken over (0x8E)";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn nonsense_from_the_broker_is_a_failure() {
    for answer in ["00 00", "'HTTP/1.1'", "20 03 00 00 01", "d0 00"] {
        let script = [CONNECT_V5, Send(answer)];
        let error = published(&script, QosLevel::AtMostOnce, |_, _| {}).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the broker broke the protocol"),
            "{error}"
        );
    }
    let publish = Expect("32 07 00 01 't' 00 01 00 'm'");
    for answer in [
        "40 02 00 02",
        "50 02 00 01",
        "62 02 00 01",
        "90 04 00 01 00 00",
    ] {
        let script = [CONNECT_V5, CONNACK_V5, publish.clone(), Send(answer)];
        let error = published(&script, QosLevel::AtLeastOnce, |_, _| {}).unwrap_err();
        assert!(
            error.to_string().contains("unexpected"),
            "{answer}: {error}"
        );
    }
}

#[test]
fn nobody_listening_is_said_with_the_way_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let options = publish_options(QosLevel::AtMostOnce);
    let error = publish(&connect_options(port), &options, &StopFlag::default()).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains(&format!("127.0.0.1:{port}: Connection refused")),
        "{message}"
    );
    assert!(message.contains("`ringway serve`"), "{message}");
}
