//! The client against scripted brokers on loopback sockets.

use super::error::ClientError;
use super::format::Format;
use super::message::MessageProperties;
use super::options::{ConnectOptions, PublishOptions, SubscribeOptions, WillOptions};
use super::payload::PayloadSource;
use super::publish::publish;
use super::stop::StopFlag;
use super::subscribe::subscribe;
use crate::codec::{ProtocolVersion, QosLevel, ReasonCode, RetainHandling};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a scripted broker does next.
#[derive(Clone, Debug)]
enum Step {
    /// Exactly these bytes must come.
    Expect(&'static str),
    Send(&'static str),
    /// The same, one byte at a time.
    Drip(&'static str),
    /// The client must close its side.
    ExpectEnd,
    /// Nothing may come for this long.
    ExpectSilence(Duration),
}

use Step::{Drip, Expect, ExpectEnd, ExpectSilence, Send};

/// Hexadecimal bytes and `'text'`, separated by spaces.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in text.split_whitespace() {
        match part.strip_prefix('\'') {
            Some(text) => bytes.extend_from_slice(text.trim_end_matches('\'').as_bytes()),
            None => bytes.push(u8::from_str_radix(part, 16).unwrap()),
        }
    }
    bytes
}

/// A broker for one connection; joining it tells whether the script was followed.
fn broker(script: &[Step]) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = script.to_vec();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        for step in script {
            follow(&mut stream, &step);
        }
    });
    (port, thread)
}

fn follow(stream: &mut TcpStream, step: &Step) {
    let patience = Duration::from_secs(10);
    stream.set_read_timeout(Some(patience)).unwrap();
    match step {
        Expect(text) => {
            let expected = bytes(text);
            let mut received = vec![0; expected.len()];
            stream
                .read_exact(&mut received)
                .unwrap_or_else(|error| panic!("{error} at {text}"));
            assert_eq!(
                format!("{received:02x?}"),
                format!("{expected:02x?}"),
                "{text}"
            );
        }
        Send(text) => stream.write_all(&bytes(text)).unwrap(),
        Drip(text) => {
            for byte in bytes(text) {
                stream.write_all(&[byte]).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        ExpectEnd => {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty(), "{rest:02x?}");
        }
        ExpectSilence(time) => {
            stream.set_read_timeout(Some(*time)).unwrap();
            let mut byte = [0];
            let error = stream
                .read(&mut byte)
                .expect_err("bytes in place of silence");
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }
}

const CONNECT_V5: Step = Expect("10 0e 00 04 'MQTT' 05 02 00 3c 00 00 01 'c'");
const CONNECT_V311: Step = Expect("10 0d 00 04 'MQTT' 04 02 00 3c 00 01 'c'");
const CONNACK_V5: Step = Send("20 03 00 00 00");
const CONNACK_V311: Step = Send("20 02 00 00");
const DISCONNECT: Step = Expect("e0 00");

fn connect_options(port: u16) -> ConnectOptions {
    ConnectOptions {
        host: "127.0.0.1".to_owned(),
        port,
        version: ProtocolVersion::V5,
        client_id: "c".to_owned(),
        clean_start: true,
        session_expiry_interval_s: None,
        keep_alive_s: 60,
        username: None,
        password: None,
        will: None,
        debug: false,
    }
}

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

fn subscribe_options(count: u64) -> SubscribeOptions {
    SubscribeOptions {
        topic_filters: vec!["t/#".to_owned()],
        unsubscribe: Vec::new(),
        filter_out: Vec::new(),
        qos: QosLevel::ExactlyOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
        user_properties: Vec::new(),
        skip_stale: false,
        count: Some(count),
        timeout: Some(Duration::from_secs(20)),
        exit_after_subscribed: false,
        format: Format::plain(true, true),
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

/// The same for subscribing; also what was shown.
fn subscribed(
    script: &[Step],
    change: impl FnOnce(&mut ConnectOptions, &mut SubscribeOptions),
) -> (Result<(), ClientError>, String) {
    let (port, broker) = broker(script);
    let (mut connect, mut options) = (connect_options(port), subscribe_options(1));
    change(&mut connect, &mut options);
    let mut output = Vec::new();
    let result = subscribe(&connect, &options, &StopFlag::default(), &mut output);
    broker.join().unwrap();
    (result, String::from_utf8(output).unwrap())
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

const SUBSCRIBE: Step = Expect("82 09 00 01 00 00 03 't/#' 02");
const SUBACK: Step = Send("90 04 00 01 00 02");

#[test]
fn messages_of_every_qos_are_shown_and_acknowledged() {
    let script = [
        CONNECT_V5,
        CONNACK_V5,
        SUBSCRIBE,
        SUBACK,
        Drip("30 07 00 03 't/a' 00 'x'"),
        Send("32 09 00 03 't/b' 00 07 00 'y'"),
        Expect("40 02 00 07"),
        Send("34 09 00 03 't/c' 00 08 00 'z' 3c 09 00 03 't/c' 00 08 00 'z'"),
        Expect("50 02 00 08"),
        Expect("50 02 00 08"),
        Send("62 02 00 08"),
        Expect("70 02 00 08"),
        Send("31 06 00 03 't/d' 00"),
        DISCONNECT,
        ExpectEnd,
    ];
    let (result, shown) = subscribed(&script, |_, options| options.count = Some(4));
    result.unwrap();
    assert_eq!(shown, "t/a x\nt/b y\nt/c z\nt/d (null)\n");
}

#[test]
fn handshake_is_finished_after_the_last_message() {
    let script = [
        CONNECT_V5,
        CONNACK_V5,
        SUBSCRIBE,
        SUBACK,
        Send("34 09 00 03 't/c' 00 08 00 'z' 32 09 00 03 't/c' 00 09 00 'n'"),
        Expect("50 02 00 08"),
        ExpectSilence(Duration::from_millis(50)),
        Send("62 02 00 08"),
        Expect("70 02 00 08"),
        DISCONNECT,
        ExpectEnd,
    ];
    let (result, shown) = subscribed(&script, |_, _| {});
    result.unwrap();
    assert_eq!(shown, "t/c z\n");
}

#[test]
fn unwanted_messages_are_not_shown() {
    let script = [
        CONNECT_V5,
        CONNACK_V5,
        SUBSCRIBE,
        SUBACK,
        Send("31 07 00 03 't/a' 00 'x' 30 07 00 03 't/b' 00 'y' 30 07 00 03 't/c' 00 'z'"),
        DISCONNECT,
        ExpectEnd,
    ];
    let (result, shown) = subscribed(&script, |_, options| {
        options.skip_stale = true;
        options.filter_out = vec!["+/b".to_owned()];
    });
    result.unwrap();
    assert_eq!(shown, "t/c z\n");
}

#[test]
fn subscription_carries_its_options() {
    let script = [
        CONNECT_V5,
        CONNACK_V5,
        Expect("a2 08 00 02 00 00 03 'old'"),
        Expect("82 10 00 01 07 26 00 01 'k' 00 01 'v' 00 03 't/#' 2d"),
        Send("b0 04 00 02 00 00"),
        Send("90 04 00 01 00 01"),
        DISCONNECT,
        ExpectEnd,
    ];
    let (result, _) = subscribed(&script, |_, options| {
        options.qos = QosLevel::AtLeastOnce;
        options.no_local = true;
        options.retain_as_published = true;
        options.retain_handling = RetainHandling::DoNotSend;
        options.user_properties = vec![("k".to_owned(), "v".to_owned())];
        options.unsubscribe = vec!["old".to_owned()];
        options.exit_after_subscribed = true;
    });
    result.unwrap();
}

#[test]
fn refused_subscription_is_a_failure() {
    let script = [
        CONNECT_V5,
        CONNACK_V5,
        SUBSCRIBE,
        Send("90 04 00 01 00 87"),
        DISCONNECT,
    ];
    let (result, _) = subscribed(&script, |_, _| {});
    let error = result.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::SubscribeRefused(ReasonCode::NotAuthorized)
        ),
        "{error}"
    );
}

#[test]
fn silence_ends_by_the_timeout() {
    let script = [
        CONNECT_V5, CONNACK_V5, SUBSCRIBE, SUBACK, DISCONNECT, ExpectEnd,
    ];
    let (result, _) = subscribed(&script, |_, options| {
        options.timeout = Some(Duration::from_millis(100));
    });
    assert!(matches!(result, Err(ClientError::TimedOut)));
}

#[test]
fn keep_alive_of_the_broker_is_kept() {
    let script = [
        CONNECT_V5,
        // Server Keep Alive 1 s.
        Send("20 06 00 00 03 13 00 01"),
        SUBSCRIBE,
        SUBACK,
        Expect("c0 00"),
        Send("d0 00"),
        Expect("c0 00"),
        // Not answered.
        DISCONNECT,
    ];
    let (result, _) = subscribed(&script, |_, _| {});
    assert!(matches!(result, Err(ClientError::NoPingResponse)));
}

#[test]
fn wish_to_stop_ends_with_a_goodbye() {
    let (port, broker) = broker(&[CONNECT_V5, CONNACK_V5, SUBSCRIBE, SUBACK, DISCONNECT]);
    let stop = StopFlag::default();
    let wish = stop.clone();
    let waiting = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        wish.set();
    });
    let options = subscribe_options(1);
    subscribe(&connect_options(port), &options, &stop, &mut Vec::new()).unwrap();
    waiting.join().unwrap();
    broker.join().unwrap();
}

/// A reader that has gone away.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn gone_reader_is_a_quiet_end_and_nothing_is_acknowledged() {
    let message = Send("32 09 00 03 't/b' 00 07 00 'y'");
    let script = [
        CONNECT_V5, CONNACK_V5, SUBSCRIBE, SUBACK, message, DISCONNECT,
    ];
    let (port, broker) = broker(&script);
    let options = subscribe_options(2);
    subscribe(
        &connect_options(port),
        &options,
        &StopFlag::default(),
        &mut Gone,
    )
    .unwrap();
    broker.join().unwrap();
}
