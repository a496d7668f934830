//! Start, idleness and end of the cores.

use super::client::Client;
use super::{Broker, options, start_error};
use crate::base::random::Random;
use crate::config::settings::CoreSelection;
use crate::runtime::ServeError;
use std::time::{Duration, Instant};

#[test]
fn idle_cores_do_not_wake_up() {
    let broker = Broker::start(&options(2));
    let mut clients: Vec<Client> = (0..20)
        .map(|number| broker.client().connected(&format!("idle-{number}")))
        .collect();
    clients.iter_mut().for_each(Client::ping);
    std::thread::sleep(Duration::from_millis(700));
    drop(clients);
    let summary = broker.stop();
    // Less than a dozen for each client's life; ticking at 10 ms would be 140 more.
    let (net, _) = summary.sums();
    assert!(net.turns < 220, "{net:?}");
    assert_eq!(net.reactor_turns, 0);
    assert_eq!(summary.cores.len(), 2);
}

#[test]
fn requested_stop_says_goodbye_to_every_client() {
    let broker = Broker::start(&options(2));
    let mut clients: Vec<Client> = (0..50)
        .map(|number| broker.client().connected(&format!("bye-{number}")))
        .collect();
    let address = broker.ready.addresses[0];
    let start = Instant::now();
    let stopping = std::thread::spawn(move || broker.stop());
    for client in &mut clients {
        // Server shutting down.
        assert_eq!(client.packet()[..3], [0xe0, 1, 0x8b]);
        assert!(client.packet().is_empty());
    }
    drop(clients);
    let (net, _) = stopping.join().unwrap().sums();
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!((net.accepts, net.closes, net.closes_forced), (50, 50, 0));
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn stop_is_bounded_when_clients_do_not_go() {
    let mut options = options(2);
    options.shutdown_timeout = Duration::from_millis(200);
    let broker = Broker::start(&options);
    let clients: Vec<Client> = (0..4)
        .map(|number| broker.client().connected(&format!("stay-{number}")))
        .collect();
    let start = Instant::now();
    broker.stop();
    assert!(start.elapsed() < Duration::from_secs(1));
    drop(clients);
}

#[test]
fn failed_start_leaves_nothing_behind() {
    let mut options = options(2);
    let first = Broker::start(&options);
    let taken = first.ready.addresses[0];
    let mut second = options.listeners[0].clone();
    second.address.port = taken.port();
    options.listeners.push(second);
    let error = start_error(&options);
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    first.stop();

    let mut options = super::options(1);
    options.cores = CoreSelection::List(vec![4000]);
    assert!(matches!(
        start_error(&options),
        ServeError::CpuNotAllowed { cpu: 4000, .. }
    ));
}

/// Every core serves every port, and messages reach subscribers on other cores.
#[test]
fn messages_cross_cores() {
    use super::client::{payload, publish, subscribe};
    const ROUNDS: u64 = 300;
    let broker = Broker::start(&options(2));
    let mut clients: Vec<Client> = (0..8)
        .map(|number| {
            let mut client = broker.client().connected(&format!("cross-{number}"));
            client.send(&subscribe("cross/#"));
            assert_eq!(client.packet()[0], 0x90);
            client
        })
        .collect();
    let mut random = Random::new(3);
    for round in 0..ROUNDS {
        let sender = usize::try_from(random.below(8)).unwrap();
        clients[sender].send(&publish("cross/1", &round.to_be_bytes()));
        for client in &mut clients {
            assert_eq!(payload(&client.packet()), round.to_be_bytes());
        }
    }
    let (net, counters) = broker.stop().sums();
    assert_eq!(counters.messages_forwarded, ROUNDS);
    assert!(net.doorbells > 0, "{net:?}");
}
