//! What `ringway sub` says to a broker, and what it shows.

use super::broker::Step::{Drip, Expect, ExpectEnd, ExpectSilence, Send};
use super::broker::{CONNACK_V5, CONNECT_V5, DISCONNECT, Step, broker, connect_options};
use crate::client::error::ClientError;
use crate::client::format::Format;
use crate::client::options::{ConnectOptions, SubscribeOptions};
use crate::client::stop::StopFlag;
use crate::client::subscribe::subscribe;
use crate::codec::{QosLevel, ReasonCode, RetainHandling};
use std::io::{self, Write};
use std::time::Duration;

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

/// Subscribes against a script with options changed by `change`; also what was shown.
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
