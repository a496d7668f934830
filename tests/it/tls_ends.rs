//! How connections of a `tls://` listener end, and what one that is not read from costs.

use crate::certificates::Authority;
use crate::raw::{Raw, connect_v5, packet, publish_v5, subscribe_v5};
use crate::support::{Broker, counter, wait_until};
use crate::tls_stream::{
    End, Tls, VERSIONS, assert_will, config, connect_with_will, healthy, start,
};
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

#[test]
fn ends_are_said_and_heard() {
    let authority = Authority::new();
    let mut broker = start(&authority, &[]);
    let mut healthy = healthy(&broker, &authority);
    let mut staying = Vec::new();
    for version in VERSIONS {
        let config = config(&authority, version, None);
        for number in 0..4 {
            let mut leaves = Raw::secure(&broker, &config);
            leaves.send(&connect_with_will(&format!("leaves-{number}")));
            assert_eq!(leaves.packet()[0], 0x20);
            // No will after it. [MQTT-3.14.4-3]
            leaves.send(&[0xe0, 0]);
            assert_eq!(leaves.until_end(), (Vec::new(), End::Notified));

            // A session error as on a plain connection: DISCONNECT, and an end that can be trusted.
            let mut wrong = Raw::secure_connected(&broker, &config, "wrong");
            wrong.send(&connect_v5("again"));
            let (packets, end) = wrong.until_end();
            assert_eq!((packets.len(), end), (1, End::Notified));
            assert_eq!((packets[0][0], packets[0][2]), (0xe0, 0x82));

            let name = format!("hangs-up-{number}");
            let mut hangs_up = Raw::secure(&broker, &config);
            hangs_up.send(&connect_with_will(&name));
            assert_eq!(hangs_up.packet()[0], 0x20);
            hangs_up.stream.notify();
            assert_will(&mut healthy, &name);
            hangs_up.until_end();

            // Everything in one write, before the broker has said anything.
            let name = format!("brief-{number}");
            let mut brief = Raw::secure(&broker, &config);
            brief.stream.handshake();
            let mut bytes = brief.stream.seal(&connect_with_will(&name));
            let last = publish_v5("healthy/last", 1, 1, name.as_bytes());
            bytes.extend(brief.stream.seal(&last));
            brief.stream.connection.send_close_notify();
            bytes.extend(brief.stream.records());
            brief.stream.socket.write_all(&bytes).unwrap();
            assert!(healthy.message().ends_with(name.as_bytes()));
            assert_will(&mut healthy, &name);
            brief.until_end();

            let name = format!("stays-{}", staying.len());
            staying.push(Raw::secure_connected(&broker, &config, &name));
        }
        healthy.check();
    }
    let log = broker.stop_for_log();
    assert_eq!(counter(&log, "tls_faults"), 0);
    for mut raw in staying {
        // Server shutting down.
        let goodbye = vec![0xe0, 1, 0x8b];
        assert_eq!(raw.until_end(), (vec![goodbye], End::Notified));
    }
}

/// Handshakes that are under way do not hold a stop up.
#[test]
fn stop_ends_handshakes() {
    let authority = Authority::new();
    let mut broker = start(&authority, &[]);
    let mut healthy = healthy(&broker, &authority);
    let mut under_way = Vec::new();
    for version in VERSIONS {
        let config = config(&authority, version, None);
        for _ in 0..20 {
            let mut tls = Tls::dial(broker.address, &config);
            let hello = tls.records();
            let cut = hello.len() / (1 + under_way.len() % 2);
            tls.socket.write_all(&hello[..cut]).unwrap();
            under_way.push(tls);
        }
    }
    healthy.check();
    let log = broker.stop_for_log();
    assert_eq!(counter(&log, "tls_faults"), 0);
    assert_eq!(counter(&log, "tls_handshakes"), 1);
}

/// Resident memory of the process that no file is behind, in bytes.
fn memory(broker: &Broker) -> u64 {
    broker.status_kib("RssAnon") << 10
}

/// A subscriber that reads nothing: what QoS 0 is for it is dropped past the limit of its send
/// queue, and it is closed when its socket takes nothing for the send timeout.
#[test]
fn client_that_never_reads_is_closed() {
    let limits = [
        "--set",
        "limit.send_timeout_s=2",
        "--set",
        "limit.send_queue_bytes=65536",
    ];
    let authority = Authority::new();
    let mut broker = start(&authority, &limits);
    let mut healthy = healthy(&broker, &authority);
    let config = config(&authority, VERSIONS[1], None);
    let mut deaf = Raw::secure_connected(&broker, &config, "deaf");
    deaf.send(&subscribe_v5("flood", 0));
    assert_eq!(deaf.packet(), [0x90, 4, 0, 1, 0, 0]);
    let before = memory(&broker);
    let mut publisher = Raw::secure_connected(&broker, &config, "floods");
    let message = publish_v5("flood", 0, 0, &[7; 60_000]);
    for round in 0..400 {
        publisher.send(&message);
        if round % 50 == 0 {
            healthy.check();
        }
    }
    wait_until("the deaf client is closed", || {
        healthy.check();
        let ping = deaf.stream.seal(&[0xc0, 0]);
        deaf.stream.socket.write_all(&ping).err()
    });
    let grown = memory(&broker).saturating_sub(before);
    assert!(grown < 32 << 20, "grew by {grown} bytes");
    assert!(broker.stop().success());
}

/// The kernel takes little for a client that does not read.
fn shrink_receive_buffer(socket: &TcpStream) {
    let bytes: libc::c_int = 128 << 10;
    // SAFETY: reads an int on this stack frame, whose size it is told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const bytes).cast(),
            size_of_val(&bytes).try_into().unwrap(),
        )
    };
    assert_eq!(result, 0);
}

/// A subscriber that reads late gets what is owed to it, in order; meanwhile it costs no more than
/// its queue.
#[test]
fn client_that_reads_late_gets_everything_in_order() {
    const MESSAGES: u16 = 1000;
    // More together than the sockets' buffers take.
    const PAYLOAD_BYTES: usize = 24 << 10;
    let authority = Authority::new();
    let mut broker = start(&authority, &["--set", "session.max_queued_bytes=64MiB"]);
    let mut healthy = healthy(&broker, &authority);
    for version in VERSIONS {
        let config = config(&authority, version, None);
        let mut late = Raw::secure_connected(&broker, &config, "late");
        late.send(&subscribe_v5("owed", 1));
        assert_eq!(late.packet(), [0x90, 4, 0, 1, 0, 1]);
        shrink_receive_buffer(&late.stream.socket);
        let before = memory(&broker);
        let mut publisher = Raw::secure_connected(&broker, &config, "owes");
        let payload = |number: u16| {
            let mut payload = vec![b'x'; PAYLOAD_BYTES];
            payload[..2].copy_from_slice(&number.to_be_bytes());
            payload
        };
        for number in 1..=MESSAGES {
            publisher.send(&publish_v5("owed", 1, number, &payload(number)));
            if number % 100 == 0 {
                healthy.check();
            }
        }
        for _ in 0..MESSAGES {
            assert_eq!(publisher.packet()[0], 0x40);
        }
        let grown = memory(&broker).saturating_sub(before);
        let owed = u64::from(MESSAGES) * PAYLOAD_BYTES as u64;
        assert!(grown < owed + (16 << 20), "grew by {grown} bytes");
        for number in 1..=MESSAGES {
            let publish = late.packet();
            assert_eq!(publish[0], 0x32, "{number}");
            assert!(publish.ends_with(&payload(number)), "{number}");
            let at = publish.len() - PAYLOAD_BYTES - 3;
            late.send(&packet(0x40, &publish[at..at + 2]));
        }
    }
    let log = broker.stop_for_log();
    assert!(counter(&log, "sends_partial") > 0, "nothing waited");
}
