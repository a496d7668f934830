//! Many connections at once: memory per idle connection, and the limits on their number.

use crate::raw::{Raw, connect_v5, publish_v5, subscribe_v5};
use crate::support::{Broker, wait_until};
use std::time::Duration;

/// The budget of the design for the user memory of an idle connection with one subscription.
const IDLE_BYTES_MAX: u64 = 1024;

#[test]
fn ten_thousand_idle_connections_stay_within_the_memory_budget() {
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
/// and the broker does not spin.
#[test]
fn connections_past_the_limit_wait_for_a_free_place() {
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
