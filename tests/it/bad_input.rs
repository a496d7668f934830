//! Bad input costs the one who sent it, within its deadline, and nobody else.

use crate::healthy::Healthy;
use crate::raw::{
    Raw, connect, connect_v5, connect_v311, packet, publish_v5, string, subscribe_v5,
};
use crate::support::{Broker, wait_until};
use std::io::Write;
use std::time::Duration;

/// Bytes after a successful 5.0 CONNECT -> reason code of the DISCONNECT that must follow.
fn malformed_packets() -> Vec<(&'static str, Vec<u8>, u8)> {
    let topic_with_nul = [&[0, 3, b'a', 0, b'b'][..], &[0]].concat();
    vec![
        ("reserved packet type 0", vec![0x00, 0], 0x81),
        ("PUBLISH with QoS 3", vec![0x36, 5, 0, 1, b'a', 0, 0], 0x81),
        (
            "SUBSCRIBE with wrong flags",
            vec![0x80, 5, 0, 1, 0, 0, 0],
            0x81,
        ),
        (
            "remaining length of five bytes",
            vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01],
            0x81,
        ),
        ("PINGREQ with a body", vec![0xc0, 1, 0], 0x81),
        (
            "topic name with U+0000",
            packet(0x30, &topic_with_nul),
            0x81,
        ),
        (
            "topic name not UTF-8",
            packet(0x30, &[0, 2, 0xc3, 0x28, 0]),
            0x81,
        ),
        (
            "surrogate in the topic name",
            packet(0x30, &[0, 3, 0xed, 0xa0, 0x80, 0]),
            0x81,
        ),
        (
            "empty topic name without alias",
            packet(0x30, &[0, 0, 0]),
            0x82,
        ),
        (
            "wildcard in the topic name",
            publish_v5("a/#", 0, 0, b""),
            0x90,
        ),
        (
            "topic alias 0",
            packet(0x30, &[0, 1, b'a', 3, 0x23, 0, 0]),
            0x94,
        ),
        (
            "topic alias too large",
            packet(0x30, &[0, 1, b'a', 3, 0x23, 0xff, 0xff]),
            0x94,
        ),
        (
            "property twice",
            packet(0x30, &[0, 1, b'a', 4, 1, 1, 1, 1]),
            0x82,
        ),
        (
            "property of another packet",
            packet(0x30, &[0, 1, b'a', 3, 0x21, 0, 1]),
            0x81,
        ),
        (
            "packet identifier 0",
            packet(0x32, &[0, 1, b'a', 0, 0, 0]),
            0x82,
        ),
        ("SUBSCRIBE without filter", packet(0x82, &[0, 1, 0]), 0x82),
        (
            "SUBSCRIBE with reserved option",
            packet(0x82, &[0, 1, 0, 0, 1, b'a', 0xc0]),
            0x81,
        ),
        ("UNSUBSCRIBE without filter", packet(0xa2, &[0, 1, 0]), 0x82),
        ("second CONNECT", connect_v5("again"), 0x82),
        ("CONNACK from a client", vec![0x20, 3, 0, 0, 0], 0x82),
        ("AUTH without a method", vec![0xf0, 0], 0x82),
        (
            "larger than the maximum packet size",
            vec![0x30, 0xff, 0xff, 0xff, 0x7f],
            0x95,
        ),
        (
            "subscription identifier from a client",
            packet(0x30, &[0, 1, b'a', 2, 0x0b, 1]),
            0x82,
        ),
    ]
}

#[test]
fn malformed_packets_close_only_their_connection() {
    for cores in [1, 2] {
        let broker = Broker::start(cores, &[]);
        let mut healthy = Healthy::start(&broker);
        for (number, (what, bytes, reason_code)) in malformed_packets().into_iter().enumerate() {
            let mut bad = Raw::connected(&broker, &format!("bad-{number}"));
            bad.send(&bytes);
            let answer = bad.until_closed();
            assert_eq!(answer.len(), 1, "{what}: {answer:02x?}");
            assert_eq!(answer[0][0], 0xe0, "{what}: {answer:02x?}");
            assert_eq!(answer[0][2], reason_code, "{what}: {answer:02x?}");
            healthy.check();
        }
    }
}

#[test]
fn old_clients_are_closed_without_a_word() {
    let broker = Broker::start(2, &[]);
    let mut healthy = Healthy::start(&broker);
    for (what, bytes, _) in malformed_packets() {
        let mut bad = Raw::open(&broker);
        bad.send(&connect_v311("old"));
        assert_eq!(bad.packet(), [0x20, 2, 0, 0]);
        if what.contains("alias") || what.contains("property") || what.contains("identifier from") {
            continue;
        }
        bad.send(&bytes);
        let answer = bad.until_closed();
        assert!(answer.is_empty(), "{what}: {answer:02x?}");
        healthy.check();
    }
}

#[test]
fn first_packet_must_be_a_good_connect() {
    let broker = Broker::start(2, &[]);
    let mut healthy = Healthy::start(&broker);
    let bad_flags = connect(5, 0x03, 0, &[0], "x");
    let cases: [(&str, Vec<u8>, &[u8]); 7] = [
        ("PINGREQ first", vec![0xc0, 0], &[]),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), &[]),
        (
            "TLS hello",
            vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00],
            &[],
        ),
        ("reserved flag", bad_flags, &[0x20, 3, 0, 0x81, 0]),
        (
            "unknown level",
            connect(9, 0x02, 0, &[], "x"),
            &[0x20, 3, 0, 0x84, 0],
        ),
        (
            "no identifier, not clean",
            connect(4, 0x00, 0, &[], ""),
            &[0x20, 2, 0, 2],
        ),
        (
            "protocol name",
            packet(0x10, &[&string("MQXX")[..], &[4, 2, 0, 0, 0, 0]].concat()),
            &[],
        ),
    ];
    for (what, bytes, wanted) in cases {
        let mut bad = Raw::open(&broker);
        bad.send(&bytes);
        let answer = bad.until_closed().concat();
        if what == "protocol name" || what == "unknown level" {
            // A server may answer with a code or not; it must close.
            assert!(
                answer.is_empty() || answer[0] == 0x20,
                "{what}: {answer:02x?}"
            );
        } else {
            assert_eq!(answer, wanted, "{what}");
        }
        healthy.check();
    }
}

#[test]
fn silence_is_cut_off_by_deadline() {
    let broker = Broker::start(2, &["--set", "mqtt.connect_timeout_s=1"]);
    let mut healthy = Healthy::start(&broker);
    let mut nothing = Raw::open(&broker);
    let mut half_connect = Raw::open(&broker);
    half_connect.send(&connect_v5("half")[..7]);
    let mut half_packet = Raw::open(&broker);
    half_packet.send(&connect(5, 0x02, 1, &[0], "half-packet"));
    half_packet.packet();
    half_packet.send(&publish_v5("a", 0, 0, b"payload")[..6]);
    assert!(nothing.until_closed().is_empty());
    assert!(half_connect.until_closed().is_empty());
    // Keep alive timeout after one and a half seconds. [MQTT-3.1.2-22]
    assert_eq!(half_packet.until_closed(), [[0xe0, 1, 0x8d]]);
    healthy.check();
}

#[test]
fn random_bytes_hurt_nobody() {
    let broker = Broker::start(2, &[]);
    let mut healthy = Healthy::start(&broker);
    let mut random = ringway::base::random::Random::new(7);
    for round in 0..300 {
        let mut bad = match round % 3 {
            0 => Raw::open(&broker),
            _ => Raw::connected(&broker, &format!("noise-{round}")),
        };
        let length = 1 + random.below(600);
        let noise: Vec<u8> = (0..length)
            .map(|_| random.next_u64().to_le_bytes()[0])
            .collect();
        bad.send(&noise);
        bad.stream.shutdown(std::net::Shutdown::Write).ok();
        bad.until_closed();
        if round % 10 == 0 {
            healthy.check();
        }
    }
    healthy.check();
}

/// A client that never reads: QoS 0 to it is dropped past the send queue's limit, and its
/// connection is closed when its socket takes nothing for the send timeout.
#[test]
fn client_that_never_reads_is_closed() {
    let limits = [
        "--set",
        "limit.send_timeout_s=2",
        "--set",
        "limit.send_queue_bytes=65536",
    ];
    let mut broker = Broker::start(2, &limits);
    let mut healthy = Healthy::start(&broker);
    let mut deaf = Raw::connected(&broker, "deaf");
    deaf.send(&subscribe_v5("flood", 0));
    assert_eq!(deaf.packet(), [0x90, 4, 0, 1, 0, 0]);
    let rss_before = broker.status_kib("RssAnon");
    let mut publisher = Raw::connected(&broker, "flood-publisher");
    let message = publish_v5("flood", 0, 0, &[7; 60_000]);
    for round in 0..2000 {
        publisher.send(&message);
        if round % 100 == 0 {
            healthy.check();
        }
    }
    // The broker closes it; our own unread bytes do not keep the connection alive.
    wait_until("the deaf client is closed", || {
        std::thread::sleep(Duration::from_millis(100));
        deaf.stream.write_all(&[0xc0, 0]).err()
    });
    healthy.check();
    let grown_kib = broker.status_kib("RssAnon").saturating_sub(rss_before);
    assert!(grown_kib < 64 << 10, "grew by {grown_kib} KiB");
    assert!(broker.stop().success());
}

/// The kernel ends the sending side of a bad client's socket on a thread of its own, which may be
/// late: whoever gets the place of that socket must not be hit by it.
#[test]
fn bad_clients_that_leave_at_once_hurt_nobody_who_takes_their_place() {
    const ROUNDS: usize = 1500;
    let broker = Broker::start(1, &[]);
    for round in 0..ROUNDS {
        let bad: Vec<Raw> = (0..8)
            .map(|_| {
                let mut bad = Raw::open(&broker);
                bad.send(&[0xc0, 0]);
                bad.stream.shutdown(std::net::Shutdown::Both).unwrap();
                bad
            })
            .collect();
        let mut good: Vec<Raw> = (0..8).map(|_| Raw::open(&broker)).collect();
        for (number, raw) in good.iter_mut().enumerate() {
            raw.connect(&format!("good-{round}-{number}"));
        }
        drop(bad);
    }
}
