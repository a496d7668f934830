//! Bad clients of a `tls://` listener: each costs itself its connection, is told why where TLS has
//! a way to say it, and nobody else notices.

use crate::certificates::Authority;
use crate::raw::{Raw, connect_v5, dial, publish_v5};
use crate::support::counter;
use crate::tls_stream::{
    End, Tls, VERSIONS, assert_will, config, connect_with_will, healthy, start,
};
use ringway::base::random::Random;
use rustls::AlertDescription;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// Everything up to the end of a connection, also of one that was reset.
fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = socket.read(&mut part) {
        bytes.extend(&part[..count]);
    }
    bytes
}

/// One record with a fatal alert in clear, and nothing else.
fn is_fatal_alert(bytes: &[u8]) -> bool {
    matches!(bytes, [21, 3, _, 0, 2, 2, _])
}

#[test]
fn what_is_no_tls_is_answered_with_an_alert() {
    let authority = Authority::new();
    let mut broker = start(&authority, &[]);
    let mut healthy = healthy(&broker, &authority);
    let mut faults = 0;
    let plain: [&[u8]; 3] = [
        &connect_v5("not TLS"),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        // SSL 2.0.
        &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80],
    ];
    for bytes in plain {
        let mut socket = dial(broker.address);
        socket.write_all(bytes).unwrap();
        let answer = rest(&mut socket);
        assert!(is_fatal_alert(&answer), "{answer:02x?} to {bytes:02x?}");
        faults += 1;
        healthy.check();
    }
    let mut random = Random::new(11);
    for round in 0..300 {
        let length = 1 + random.below(600);
        let noise: Vec<u8> = (0..length)
            .map(|_| random.next_u64().to_le_bytes()[0])
            .collect();
        let mut socket = dial(broker.address);
        // The broker may have closed before all of it is written.
        let _ = socket.write_all(&noise);
        let _ = socket.shutdown(Shutdown::Write);
        let answer = rest(&mut socket);
        // Less than the head of a record need not be a fault yet.
        let is_told = is_fatal_alert(&answer);
        assert!(
            is_told || length < 5 && answer.is_empty(),
            "{answer:02x?} to {noise:02x?}"
        );
        faults += u64::from(is_told);
        if round % 30 == 0 {
            healthy.check();
        }
    }
    healthy.check();
    let log = broker.stop_for_log();
    assert_eq!(counter(&log, "tls_faults"), faults);
    assert_eq!(counter(&log, "tls_handshakes"), 1);
}

/// A record of the handshake with a client's hello of 60,000 bytes, as many as fit.
fn endless_hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..20 {
        bytes.extend([22, 3, 1, 0x10, 0]);
        if number == 0 {
            bytes.extend([1, 0, 0xea, 0x60]);
        }
        bytes.resize((number + 1) * (5 + 0x1000), 7);
    }
    bytes
}

#[test]
fn handshakes_that_are_too_long_or_torn_end() {
    let authority = Authority::new();
    let mut broker = start(&authority, &[]);
    let mut healthy = healthy(&broker, &authority);
    let mut endless = dial(broker.address);
    let _ = endless.write_all(&endless_hello());
    rest(&mut endless);
    healthy.check();
    for version in VERSIONS {
        let config = config(&authority, version, None);
        // In the middle of its hello, before its last flight, and in the middle of that.
        for part in 0..3 {
            let mut torn = Tls::dial(broker.address, &config);
            let mut bytes = torn.records();
            if part > 0 {
                torn.socket.write_all(&bytes).unwrap();
                torn.connection.read_tls(&mut torn.socket).unwrap();
                torn.connection.process_new_packets().unwrap();
                bytes = torn.records();
            }
            let cut = if part == 1 { 0 } else { bytes.len() / 2 };
            torn.socket.write_all(&bytes[..cut]).unwrap();
            torn.socket.shutdown(Shutdown::Write).unwrap();
            rest(&mut torn.socket);
            healthy.check();
        }
    }
    let log = broker.stop_for_log();
    assert_eq!(counter(&log, "tls_handshakes"), 1);
    assert_eq!(counter(&log, "tls_faults"), 1, "the endless one");
}

#[test]
fn changed_record_ends_its_connection_and_its_will_is_published() {
    let authority = Authority::new();
    let mut broker = start(&authority, &[]);
    let mut healthy = healthy(&broker, &authority);
    let mut faults = 0;
    for version in VERSIONS {
        let config = config(&authority, version, None);
        for number in 0..6 {
            let name = format!("changed-{number}");
            let mut raw = Raw::secure(&broker, &config);
            raw.send(&connect_with_will(&name));
            assert_eq!(raw.packet()[0], 0x20);
            let good = raw.stream.seal(&publish_v5("healthy/good", 0, 0, b"good"));
            let mut record = raw.stream.seal(&publish_v5("healthy/bad", 0, 0, b"bad"));
            let at = 5 + (record.len() - 6) * number / 5;
            record[at] ^= 1;
            // What came before in the same write counts.
            let both = [good, record].concat();
            raw.stream.socket.write_all(&both).unwrap();
            faults += 1;
            assert!(healthy.message().ends_with(b"good"));
            assert_will(&mut healthy, &name);
            let alert = End::Alert(AlertDescription::BadRecordMac);
            assert_eq!(raw.until_end(), (Vec::new(), alert));
            healthy.check();
        }
    }
    let log = broker.stop_for_log();
    assert_eq!(counter(&log, "tls_faults"), faults);
    assert_eq!(counter(&log, "tls_handshakes"), 1 + faults);
}

/// The CONNECT timeout begins at the accept: it holds for the handshake, too.
#[test]
fn silence_is_cut_off_by_deadline() {
    let authority = Authority::new();
    let mut broker = start(&authority, &["--set", "mqtt.connect_timeout_s=1"]);
    let mut healthy = healthy(&broker, &authority);
    let mut nothing = dial(broker.address);
    let mut stopped = Vec::new();
    let mut silent = Vec::new();
    for version in VERSIONS {
        let config = config(&authority, version, None);
        let mut half_hello = Tls::dial(broker.address, &config);
        let bytes = half_hello.records();
        half_hello
            .socket
            .write_all(&bytes[..bytes.len() / 2])
            .unwrap();
        let mut hello = Tls::dial(broker.address, &config);
        hello.flush().unwrap();
        stopped.extend([half_hello, hello]);
        let mut shaken = Raw::secure(&broker, &config);
        shaken.stream.handshake();
        let mut half_connect = Raw::secure(&broker, &config);
        half_connect.send(&connect_v5("half")[..7]);
        half_connect.stream.handshake();
        silent.extend([shaken, half_connect]);
    }
    assert!(rest(&mut nothing).is_empty());
    for mut tls in stopped {
        rest(&mut tls.socket);
    }
    for mut raw in silent {
        assert_eq!(raw.until_end(), (Vec::new(), End::Notified));
    }
    healthy.check();
    let log = broker.stop_for_log();
    assert_eq!(counter(&log, "tls_faults"), 0);
}

/// Nothing that can be said in clear changes anything once the handshake is over.
#[test]
fn plain_records_after_the_handshake_are_faults() {
    let authority = Authority::new();
    let broker = start(&authority, &[]);
    let mut healthy = healthy(&broker, &authority);
    for version in VERSIONS {
        let config = config(&authority, version, None);
        let alert = [21, 3, 3, 0, 2, 1, 0];
        let hello = Tls::dial(broker.address, &config).records();
        let data = [23, 3, 3, 0, 3, 0xc0, 0, 0];
        let oversized = [23, 3, 3, 0xff, 0xff];
        let cases: [&[u8]; 4] = [&alert, &hello, &data, &oversized];
        for (number, bytes) in cases.into_iter().enumerate() {
            let name = format!("clear-{number}");
            let mut raw = Raw::secure(&broker, &config);
            raw.send(&connect_with_will(&name));
            assert_eq!(raw.packet()[0], 0x20);
            raw.stream.socket.write_all(bytes).unwrap();
            assert_will(&mut healthy, &name);
            let (packets, end) = raw.until_end();
            assert!(packets.is_empty(), "{packets:02x?}");
            assert!(matches!(end, End::Alert(_)), "{number}: {end:?}");
        }
        healthy.check();
    }
}
