//! Good clients of a `tls://` listener: what plain clients get, whatever way their bytes are cut.

use crate::certificates::Authority;
use crate::healthy::Healthy;
use crate::raw::{Raw, connect, connect_v5, packet, publish, publish_v5, subscribe, subscribe_v5};
use crate::support::{Broker, counter};
use crate::tls_stream::{Tls, VERSIONS, config};
use rustls::HandshakeKind;
use std::io::{Read, Write};

fn start(authority: &Authority, cores: usize) -> Broker {
    Broker::start_with(cores, &["--listen", &authority.listener("")])
}

/// CONNECT, SUBSCRIBE to `NAME/#` and a PUBLISH of each QoS to `NAME/x`.
fn opening(level: u8, name: &str) -> [Vec<u8>; 5] {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    let topic = format!("{name}/x");
    [
        connect(level, 0x02, 0, properties, name),
        subscribe(level, &format!("{name}/#"), 2),
        publish(level, &topic, 0, 0, b"0"),
        publish(level, &topic, 1, 11, b"1"),
        publish(level, &topic, 2, 12, b"2"),
    ]
}

/// Reads and answers all that an [`opening`] brings about, up to the last acknowledgement.
fn conclude<S: Read + Write>(raw: &mut Raw<S>) {
    let connack = raw.packet();
    assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
    let mut seen = Vec::new();
    while seen.len() < 7 {
        let packet_read = raw.packet();
        let id = [packet_read[2], packet_read[3]];
        seen.push(match packet_read[0] {
            0x90 => "SUBACK".to_owned(),
            0x40 => "PUBACK".to_owned(),
            0x50 => {
                raw.send(&packet(0x62, &id));
                continue;
            }
            0x70 => "PUBCOMP".to_owned(),
            0x62 => {
                raw.send(&packet(0x70, &id));
                "PUBREL".to_owned()
            }
            first => {
                assert_eq!(first & 0xf0, 0x30, "{packet_read:02x?}");
                let qos = (first >> 1) & 3;
                let topic_end = 4 + usize::from(id[1]);
                if qos > 0 {
                    let ack = if qos == 1 { 0x40 } else { 0x50 };
                    raw.send(&packet(ack, &packet_read[topic_end..topic_end + 2]));
                }
                let payload = char::from(packet_read[packet_read.len() - 1]);
                format!("{payload} at {qos}")
            }
        });
    }
    seen.sort();
    let wanted = [
        "0 at 0", "1 at 1", "2 at 2", "PUBACK", "PUBCOMP", "PUBREL", "SUBACK",
    ];
    assert_eq!(seen, wanted);
}

/// With two cores half of the clients move to the other one, with bytes on their way.
#[test]
fn every_qos_goes_round_whatever_way_the_bytes_are_cut() {
    const CLIENTS: usize = 8;
    let authority = Authority::new();
    for cores in [1, 2] {
        let mut broker = start(&authority, cores);
        let mut count = 0;
        for version in VERSIONS {
            let config = config(&authority, version, None);
            for level in [4, 5] {
                for piece_bytes in [usize::MAX, 90, 7] {
                    for number in 0..CLIENTS {
                        let name = format!("c-{count}");
                        count += 1;
                        let mut raw = Raw::secure(&broker, &config);
                        raw.stream.piece_bytes = piece_bytes;
                        let opening = opening(level, &name);
                        match number % 3 {
                            // With the last flight of the handshake, in one write.
                            0 => raw.send(&opening.concat()),
                            1 => {
                                raw.stream.handshake();
                                raw.send(&opening.concat());
                            }
                            _ => {
                                raw.stream.handshake();
                                opening.iter().for_each(|part| raw.send(part));
                            }
                        }
                        conclude(&mut raw);
                    }
                }
            }
        }
        let log = broker.stop_for_log();
        assert_eq!(counter(&log, "tls_handshakes"), count);
        assert_eq!(counter(&log, "tls_faults"), 0);
        assert_eq!(counter(&log, "hand_overs_failed"), 0);
        let moved = counter(&log, "hand_overs_in");
        assert_eq!(moved > 0, cores > 1, "{moved} of {count} moved");
    }
}

/// The client need not wait for the end of the handshake, whatever it has to say.
#[test]
fn much_may_come_with_the_last_flight_of_the_handshake() {
    let authority = Authority::new();
    for cores in [1, 2] {
        let broker = start(&authority, cores);
        for version in VERSIONS {
            let config = config(&authority, version, None);
            for number in 0..4 {
                let name = format!("eager-{number}");
                let mut raw = Raw::secure(&broker, &config);
                let payload = vec![b'x'; 300_000];
                let mut bytes = connect_v5(&name);
                bytes.extend(subscribe_v5(&name, 0));
                bytes.extend(publish_v5(&name, 0, 0, &payload));
                raw.send(&bytes);
                assert_eq!(raw.packet()[0], 0x20);
                let mut both = [raw.packet(), raw.packet()];
                both.sort();
                assert!(both[0].ends_with(&payload));
                assert_eq!(both[1][0], 0x90);
            }
        }
    }
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let authority = Authority::new();
    let broker = start(&authority, 1);
    for version in VERSIONS {
        let config = config(&authority, version, None);
        let mut healthy = Healthy::over(Raw::secure(&broker, &config));
        let mut raw = Raw::secure(&broker, &config);
        raw.stream.piece_bytes = 1;
        raw.send(&opening(5, "slow").concat());
        conclude(&mut raw);
        // A record in two parts: the broker has read the first when it has answered somebody else
        // twice.
        for cut in [1, 5, 6, 15] {
            let record = raw.stream.seal(&[0xc0, 0]);
            raw.stream.socket.write_all(&record[..cut]).unwrap();
            healthy.check();
            healthy.check();
            raw.stream.socket.write_all(&record[cut..]).unwrap();
            assert_eq!(raw.packet(), [0xd0, 0]);
        }
    }
}

#[test]
fn large_and_many_messages_pass_both_ways() {
    const LARGE: usize = 1 << 20;
    let authority = Authority::new();
    let broker = start(&authority, 2);
    for version in VERSIONS {
        let config = config(&authority, version, None);
        let mut subscriber = Raw::secure_connected(&broker, &config, "takes");
        subscriber.send(&subscribe_v5("large/#", 1));
        assert_eq!(subscriber.packet()[0], 0x90);
        let mut publisher = Raw::secure_connected(&broker, &config, "gives");
        let payload: Vec<u8> = (0..=250).cycle().take(LARGE).collect();
        publisher.send(&publish_v5("large/one", 1, 1, &payload));
        let publish = subscriber.packet();
        assert!(publish.ends_with(&payload), "{} bytes", publish.len());
        assert_eq!(publisher.packet()[..4], [0x40, 2, 0, 1]);

        let small = |number: u8| publish_v5("large/small", 0, 0, &[number]);
        publisher.send(&(0..200).flat_map(small).collect::<Vec<u8>>());
        for number in 0..200 {
            assert_eq!(subscriber.packet(), small(number));
        }
        // One record each, all in one write.
        let pings = (0..100).flat_map(|_| publisher.stream.seal(&[0xc0, 0]));
        let pings: Vec<u8> = pings.collect();
        assert!(pings.len() > 2_000, "{} bytes of records", pings.len());
        publisher.stream.socket.write_all(&pings).unwrap();
        for _ in 0..100 {
            assert_eq!(publisher.packet(), [0xd0, 0]);
        }
    }
}

/// TLS 1.3: the client takes new keys and asks the broker to do so, too (RFC 8446 section 4.6.3).
#[test]
fn keys_may_be_renewed() {
    let authority = Authority::new();
    let broker = start(&authority, 1);
    let config = config(&authority, VERSIONS[1], None);
    let mut raw = Raw::secure_connected(&broker, &config, "renews");
    raw.send(&subscribe_v5("renewed", 0));
    assert_eq!(raw.packet()[0], 0x90);
    for number in 0..100 {
        raw.stream.connection.refresh_traffic_keys().unwrap();
        let publish = publish_v5("renewed", 0, 0, &[number]);
        raw.send(&publish);
        assert_eq!(raw.packet(), publish);
    }
}

#[test]
fn storm_of_clients_is_let_in() {
    const CLIENTS: usize = 500;
    let authority = Authority::new();
    let mut broker = start(&authority, 2);
    for version in VERSIONS {
        let config = config(&authority, version, None);
        let mut storm: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut raw = Raw::secure(&broker, &config);
                raw.stream.flush().unwrap();
                raw
            })
            .collect();
        for (number, raw) in storm.iter_mut().enumerate() {
            raw.send(&connect_v5(&format!("storm-{number}")));
            raw.stream.handshake();
        }
        for raw in &mut storm {
            let connack = raw.packet();
            assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
        }
    }
    let log = broker.stop_for_log();
    let handshakes = counter(&log, "tls_handshakes");
    assert_eq!(handshakes, 2 * CLIENTS as u64);
    // The client's hello, and its last flight: whatever came beside costs no other a step.
    assert!(counter(&log, "tls_handshake_steps") >= 2 * handshakes);
}

#[test]
fn second_connection_resumes_the_session() {
    let authority = Authority::new();
    for cores in [1, 2] {
        let broker = start(&authority, cores);
        for version in VERSIONS {
            let config = config(&authority, version, None);
            let kinds: Vec<_> = (0..4)
                .map(|number| {
                    let name = format!("again-{number}");
                    let raw: Raw<Tls> = Raw::secure_connected(&broker, &config, &name);
                    raw.stream.connection.handshake_kind().unwrap()
                })
                .collect();
            let mut wanted = [HandshakeKind::Resumed; 4];
            wanted[0] = HandshakeKind::Full;
            assert_eq!(kinds, wanted, "{version:?}");
        }
    }
}
