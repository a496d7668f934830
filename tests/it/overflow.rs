//! Queues of persistent sessions that are longer than the memory for them.
//!
//! `OVERFLOW_SESSIONS=200 OVERFLOW_MESSAGES=5000` makes it a gigabyte, and prints figures.

use crate::raw::{Raw, connect, packet, publish_v5, subscribe_v5};
use crate::support::{Broker, scratch_dir};
use std::fs;

const QUEUES_MEMORY: u64 = 4 << 20;
const PAYLOAD_BYTES: usize = 1024;
/// PUBLISH packets on the way to the broker, below its receive maximum.
const WINDOW: usize = 500;

struct Size {
    sessions: usize,
    messages: usize,
    /// Memory for queues; more when the test is larger.
    queues_memory: u64,
}

impl Size {
    fn of_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|it| it.parse().unwrap());
        let sessions = number("OVERFLOW_SESSIONS").unwrap_or(20);
        let messages = number("OVERFLOW_MESSAGES").unwrap_or(500);
        let places = (sessions * messages) as u64 * 64;
        Self {
            sessions,
            messages,
            queues_memory: QUEUES_MEMORY.max(places * 2),
        }
    }

    fn bytes(&self) -> u64 {
        (self.sessions * self.messages * PAYLOAD_BYTES) as u64
    }
}

fn persistent(broker: &Broker, session: usize) -> Raw {
    let mut raw = Raw::open(broker);
    let expiry = [5, 0x11, 0, 0, 0x0e, 0x10];
    raw.send(&connect(5, 0, 0, &expiry, &format!("away-{session}")));
    assert_eq!(raw.packet()[0], 0x20);
    raw
}

fn payload(session: usize, message: usize) -> Vec<u8> {
    let mut payload = format!("{session} {message} ").into_bytes();
    payload.resize(PAYLOAD_BYTES, b'x');
    payload
}

/// Each session gets its messages one by one, as all others do.
fn fill(broker: &Broker, size: &Size) {
    for session in 0..size.sessions {
        let mut raw = persistent(broker, session);
        raw.send(&subscribe_v5(&format!("to/{session}"), 1));
        assert_eq!(raw.packet()[0], 0x90);
    }
    let mut publisher = Raw::connected(broker, "filler");
    let total = size.sessions * size.messages;
    for number in 0..total + WINDOW {
        if number < total {
            let (message, session) = (number / size.sessions, number % size.sessions);
            let packet_id = u16::try_from(number % WINDOW + 1).unwrap();
            let topic = format!("to/{session}");
            let payload = payload(session, message);
            publisher.send(&publish_v5(&topic, 1, packet_id, &payload));
        }
        if number >= WINDOW {
            assert_eq!(publisher.packet()[0], 0x40);
        }
    }
}

/// Takes and acknowledges everything that waits for a session.
fn empty(broker: &Broker, size: &Size, session: usize) {
    let mut raw = persistent(broker, session);
    for message in 0..size.messages {
        let publish = raw.packet();
        let expected = payload(session, message);
        assert_eq!(publish[0] & 0xf6, 0x32, "{publish:02x?}");
        assert!(publish.ends_with(&expected), "{message} of {session}");
        let at = publish.len() - expected.len() - 3;
        raw.send(&packet(0x40, &publish[at..at + 2]));
    }
}

/// Resident memory of the process that no file is behind, in bytes.
fn memory(broker: &Broker) -> u64 {
    broker.status_kib("RssAnon") << 10
}

#[test]
fn long_queues_wait_on_the_disk_and_come_back_after_a_kill() {
    let size = Size::of_environment();
    let data_dir = scratch_dir("overflow");
    let queues_memory = format!("durability.queues_memory_bytes={}", size.queues_memory);
    let arguments = [
        "--set",
        "durability.segment_bytes=17MiB",
        "--set",
        &queues_memory,
    ];
    let mut broker = Broker::start_on(&data_dir, 1, &arguments);
    let empty_bytes = memory(&broker);
    fill(&broker, &size);
    let filled = memory(&broker);
    broker.kill();
    let mut broker = Broker::start_on(&data_dir, 1, &arguments);
    let recovered = memory(&broker);
    println!(
        "{} messages, {} MiB; memory: {} KiB empty, {} KiB filled, {} KiB after a kill",
        size.sessions * size.messages,
        size.bytes() >> 20,
        empty_bytes >> 10,
        filled >> 10,
        recovered >> 10
    );
    // Beside the queues: batches under way, sessions, the allocator's spare room.
    let allowed = empty_bytes + size.queues_memory * 5 / 4 + (8 << 20);
    assert!(filled < allowed, "{filled} of {allowed}");
    assert!(
        recovered < filled + filled / 10,
        "{recovered} after {filled}"
    );
    for session in 0..size.sessions {
        empty(&broker, &size, session);
    }
    assert_eq!(broker.stop().code(), Some(0));
    fs::remove_dir_all(&data_dir).unwrap();
}
