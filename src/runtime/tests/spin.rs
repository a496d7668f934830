//! Cores that look for events before they sleep.

use super::client::{Client, payload, publish, subscribe};
use super::{Broker, ServeOptions, options};
use std::time::{Duration, Instant};

fn spinning(cores: u16, time: Duration) -> ServeOptions {
    ServeOptions {
        spin_time: time,
        ..options(cores)
    }
}

/// No message waits as long as the cores spin, so they never sleep but when the machine has other
/// things to do than this test; and they do not enter the kernel to look.
#[test]
fn what_comes_within_the_time_finds_the_core_awake() {
    const PINGS: u64 = 300;
    let broker = Broker::start(&spinning(1, Duration::from_secs(1)));
    let mut client = broker.client().connected("awake");
    for _ in 0..PINGS {
        client.ping();
    }
    drop(client);
    let (net, _) = broker.stop().sums();
    assert!(net.spins_useful >= PINGS, "{net:?}");
    assert!(net.spins_fruitless < PINGS / 10, "{net:?}");
    // Two for each ping (it comes in, its answer goes out), and some for the client's life.
    assert!(net.enters < 3 * PINGS, "{net:?}");
}

#[test]
fn idle_core_sleeps_when_the_time_is_over() {
    let broker = Broker::start(&spinning(2, Duration::from_millis(2)));
    let mut clients: Vec<Client> = (0..20)
        .map(|number| broker.client().connected(&format!("idle-{number}")))
        .collect();
    clients.iter_mut().for_each(Client::ping);
    std::thread::sleep(Duration::from_millis(500));
    drop(clients);
    let (net, _) = broker.stop().sums();
    // A dozen turns for each client's life, each with two entries and one for the sleep behind it;
    // without sleep the idle time would be 250 spins of each core.
    assert!(net.turns < 300, "{net:?}");
    assert!(net.enters < 3 * net.turns + 10, "{net:?}");
    assert!((2..200).contains(&net.spins_fruitless), "{net:?}");
}

#[test]
fn cores_that_spin_need_no_doorbell() {
    const ROUNDS: u64 = 200;
    let broker = Broker::start(&spinning(2, Duration::from_secs(1)));
    let mut clients: Vec<Client> = (0..8)
        .map(|number| {
            let mut client = broker.client().connected(&format!("beside-{number}"));
            client.send(&subscribe("beside/#"));
            assert_eq!(client.packet()[0], 0x90);
            client
        })
        .collect();
    for round in 0..ROUNDS {
        clients[0].send(&publish("beside/1", &round.to_be_bytes()));
        for client in &mut clients {
            assert_eq!(payload(&client.packet()), round.to_be_bytes());
        }
    }
    let (net, counters) = broker.stop().sums();
    assert_eq!(counters.messages_forwarded, ROUNDS);
    assert!(net.hand_overs_in > 0, "{net:?}");
    assert!(net.doorbells < ROUNDS / 10, "{net:?}");
}

/// The core spins far longer than its deadlines and its stop take.
#[test]
fn deadlines_and_the_stop_do_not_wait_for_the_spin() {
    let mut options = spinning(2, Duration::from_secs(3600));
    options.limits.connect_timeout = Duration::from_millis(100);
    let broker = Broker::start(&options);
    let start = Instant::now();
    let mut silent = broker.client();
    assert!(silent.packet().is_empty(), "closed without a CONNECT");
    assert!(start.elapsed() >= Duration::from_millis(100));
    let mut client = broker.client().connected("goodbye");
    let stopping = std::thread::spawn(move || broker.stop());
    assert_eq!(client.packet()[..3], [0xe0, 1, 0x8b]);
    drop((client, silent));
    let (net, _) = stopping.join().unwrap().sums();
    assert_eq!((net.spins_fruitless, net.closes), (0, 2), "{net:?}");
}
