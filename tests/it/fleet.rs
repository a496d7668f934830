//! Many connections at once: memory per idle connection, and the limits on their number.

use crate::raw::{Raw, connect_v5, publish_v5, subscribe_v5};
use crate::support::{Broker, wait_until};
use std::time::Duration;

/// What the process may grow by per idle connection with one subscription: the budget of the
/// design, 1 KiB, which `tests/allocation.rs` checks to the byte, and as much again for what the
/// allocator keeps of the bursts in which they came.
const IDLE_BYTES_MAX: u64 = 2048;

#[test]
fn ten_thousand_connections_are_served_in_little_memory() {
    const COUNT: usize = 10_000;
    const FIRST: usize = 2_000;
    let mut broker = Broker::start(2, &[]);
    let connect = |number: usize| {
        let mut raw = Raw::open(&broker);
        raw.send(&connect_v5(&format!("sensor-{number:05}")));
        raw.send(&subscribe_v5(&format!("fleet/{number:05}/command"), 1));
        raw
    };
    let settle = |raw: &mut Raw| {
        assert_eq!(raw.packet()[0], 0x20);
        assert_eq!(raw.packet()[0], 0x90);
    };
    let mut fleet: Vec<Raw> = Vec::new();
    let mut before = 0;
    while fleet.len() < COUNT {
        // The first ones pay for what exists once.
        if fleet.len() == FIRST {
            before = broker.status_kib("RssAnon");
        }
        let first = fleet.len();
        fleet.extend((first..first + 100).map(connect));
        fleet[first..].iter_mut().for_each(settle);
    }
    let after = broker.status_kib("RssAnon");
    let bytes = after.saturating_sub(before) * 1024 / (COUNT - FIRST) as u64;
    assert!(
        bytes <= IDLE_BYTES_MAX,
        "{bytes} bytes of user memory per idle connection"
    );

    // Every one of them is alive: a message to each arrives there and nowhere else.
    let mut publisher = Raw::connected(&broker, "publisher");
    for number in (0..COUNT).step_by(97) {
        let topic = format!("fleet/{number:05}/command");
        publisher.send(&publish_v5(&topic, 0, 0, topic.as_bytes()));
        assert!(fleet[number].packet().ends_with(topic.as_bytes()));
    }
    assert!(broker.stop().success());
}

/// Past the listener's limit nobody is served until somebody leaves; those inside notice nothing,
/// the broker does not spin, and every place is there whichever core it falls to.
#[test]
fn connections_past_the_limit_are_turned_away() {
    let config = crate::support::scratch_dir("limit").join("ringway.toml");
    std::fs::write(
        &config,
        "[[listener]]\nbind = \"tcp://127.0.0.1:0\"\nmax_connections = 10\n",
    )
    .unwrap();
    let broker = Broker::start_with(2, &["--config", config.to_str().unwrap()]);
    let mut inside: Vec<Raw> = (0..10)
        .map(|number| Raw::connected(&broker, &format!("inside-{number}")))
        .collect();
    let mut outside = Raw::open(&broker);
    outside.send(&connect_v5("outside"));
    let ticks = broker.cpu_ticks();
    std::thread::sleep(Duration::from_secs(1));
    assert!(broker.cpu_ticks() - ticks < 20, "the broker spins");
    for raw in &mut inside {
        raw.send(&[0xc0, 0]);
        assert_eq!(raw.packet(), [0xd0, 0]);
    }
    drop(inside.pop());
    // The place is taken by the one that waits, or by a new try of it.
    wait_until("the waiting client gets the free place", || {
        let packet = outside.try_packet();
        if packet.is_none() {
            outside = Raw::open(&broker);
            outside.send(&connect_v5("outside"));
        }
        packet.filter(|packet| packet[..2] == [0x20, packet[1]] && packet[3] == 0)
    });
}

/// All tables of descriptors are full, 16 of 180 entries each: no spinning, those inside notice
/// nothing, the log says what to do, and a place that becomes free is used.
#[test]
fn full_descriptor_table_stops_accepting_and_hurts_nobody() {
    let listener = ["--listen", "tcp://127.0.0.1:0"];
    let mut broker = Broker::start_with_descriptors(180, 1, &listener);
    let said = broker.start_log.join("\n");
    assert!(said.contains("limit of open files"), "{said}");
    let open = |number: usize| {
        let mut raw = Raw::open(&broker);
        raw.send(&connect_v5(&format!("many-{number}")));
        raw
    };
    let mut clients: Vec<Raw> = (0..2_500).map(open).collect();
    assert_eq!(clients[0].packet()[0], 0x20);
    assert_eq!(clients[2_000].packet()[0], 0x20);
    let ticks = broker.cpu_ticks();
    std::thread::sleep(Duration::from_secs(1));
    assert!(broker.cpu_ticks() - ticks < 20, "the broker spins");
    for client in [0, 2_000] {
        clients[client].send(&[0xc0, 0]);
        assert_eq!(clients[client].packet(), [0xd0, 0]);
    }
    // Those behind are served when those before them leave.
    let last = clients.split_off(2_450);
    drop(clients);
    for mut client in last {
        assert_eq!(client.packet()[0], 0x20);
    }
    let said = broker.log_lines().join("\n");
    assert!(said.contains("accepting stands still"), "{said}");
    assert!(broker.stop().success());
}
