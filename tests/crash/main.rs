//! Real kills: the real process under load is ended with SIGKILL at random moments and started
//! again on the same data directory, round after round. Nothing that was acknowledged may be
//! missing, nothing of QoS 2 may come twice, subscriptions and retained messages are those that
//! were acknowledged.
//!
//! `CRASH_ROUNDS=30` makes it as many rounds, `CRASH_SEED=N` repeats the choices of a run (the
//! moments themselves are the machine's).
#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests of real processes wait, and may fail loudly"
)]

mod client;
mod full;
mod kept;
mod model;
mod publisher;
mod subscriber;
#[path = "../support/mod.rs"]
mod support;
#[allow(
    dead_code,
    clippy::enum_variant_names,
    reason = "these clients use a part of it; the names are the specification's"
)]
#[path = "../sim/wire/mod.rs"]
mod wire;

use kept::{Retainer, Toggler};
use model::Random;
use publisher::Publisher;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;
use subscriber::Subscriber;
use support::{Broker, PATIENCE, scratch_dir};
use wire::Version;

/// Everything that runs against the broker, on this one thread.
struct Fleet {
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    retainer: Retainer,
    toggler: Toggler,
}

impl Fleet {
    fn new() -> Self {
        Self {
            publishers: vec![
                Publisher::new(0, 1, Version::V311, 20),
                Publisher::new(1, 2, Version::V5, 100),
                Publisher::new(2, 1, Version::V5, 3000),
                Publisher::new(3, 2, Version::V311, 0),
            ],
            subscribers: vec![
                Subscriber::new("always-2", Version::V5, "load/#", 2),
                Subscriber::new("always-1", Version::V311, "load/+", 1),
                Subscriber::new("coming-and-going", Version::V311, "load/#", 2),
                Subscriber::new("only-one", Version::V5, "load/3", 2),
            ],
            retainer: Retainer::new(),
            toggler: Toggler::new(),
        }
    }

    fn cut_all(&mut self) {
        self.publishers.iter_mut().for_each(Publisher::cut);
        self.subscribers.iter_mut().for_each(Subscriber::cut);
        self.retainer.cut();
        self.toggler.cut();
    }

    fn subscribe(&mut self, address: SocketAddr) {
        until("all subscribed", || {
            self.subscribers.iter_mut().for_each(|it| it.tick(address));
            self.subscribers.iter().all(|it| it.subscribed)
        });
    }

    /// One step of everybody, with some bad luck.
    fn tick(&mut self, address: SocketAddr, random: &mut Random) {
        for publisher in &mut self.publishers {
            if random.one_in(2000) {
                publisher.cut();
            }
            publisher.tick(address);
        }
        for (index, subscriber) in self.subscribers.iter_mut().enumerate() {
            // One is away most of the time.
            let away = index == 2 && !random.one_in(50);
            if away && random.one_in(20) {
                subscriber.cut();
            } else if !away {
                subscriber.tick(address);
            }
        }
        self.retainer.tick(address, random);
        self.toggler.tick(address, random);
    }

    fn acknowledged(&self) -> u64 {
        self.publishers.iter().map(|it| it.acknowledged_count).sum()
    }

    fn check_kept(&mut self, address: SocketAddr) {
        self.retainer.check(address);
        self.toggler.check(address);
    }

    /// Everything that is owed has come.
    fn settle(&mut self, address: SocketAddr) {
        let mut missing = String::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for publisher in &mut self.publishers {
                publisher.budget = 0;
                publisher.tick(address);
            }
            self.subscribers.iter_mut().for_each(|it| it.tick(address));
            missing = self.missing();
            if missing.is_empty() && self.publishers.iter().all(Publisher::is_done) {
                return;
            }
            std::thread::yield_now();
        }
        panic!("acknowledged, but missing: {missing}");
    }

    fn missing(&self) -> String {
        let mut text = String::new();
        for (at, subscriber) in self.subscribers.iter().enumerate() {
            for (index, publisher) in (0u32..).zip(&self.publishers) {
                if at == 3 && index != 3 {
                    continue;
                }
                let missing = subscriber.missing(index, &publisher.acknowledged);
                if !missing.is_empty() {
                    text += &format!("\nsubscriber {at}, publisher {index}: {missing:?}");
                }
            }
        }
        text
    }
}

/// Polls without sleeping: the clients are the load.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One life of the broker: check what it recovered, load, kill at a random moment.
fn round(fleet: &mut Fleet, data_dir: &Path, cores: usize, random: &mut Random) {
    // Small segments and snapshots, so that each life goes through several of them.
    let broker = &mut Broker::start_on(data_dir, cores, SMALL_FILES);
    let address = broker.address;
    fleet.subscribe(address);
    fleet.check_kept(address);
    let goal = fleet.acknowledged() + 20 + random.below(1500);
    for publisher in &mut fleet.publishers {
        publisher.budget = 2000;
    }
    until("the round's messages", || {
        fleet.tick(address, random);
        fleet.acknowledged() >= goal
    });
    for _ in 0..random.below(200) {
        fleet.tick(address, random);
    }
    broker.kill();
    fleet.cut_all();
}

const SMALL_FILES: &[&str] = &[
    "--set",
    "durability.segment_bytes=2MiB",
    "--set",
    "durability.snapshot_after_bytes=4MiB",
    "--set",
    "durability.min_free_bytes=0",
    // So that queues overflow.
    "--set",
    "durability.queue_memory_bytes=8KiB",
];

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    let rounds = number_from_environment("CRASH_ROUNDS").unwrap_or(30);
    let seed =
        number_from_environment("CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("CRASH_SEED={seed} CRASH_ROUNDS={rounds}");
    let mut random = Random(seed);
    let data_dir = scratch_dir("crash");
    let mut fleet = Fleet::new();
    for number in 0..rounds {
        println!("round {number}");
        round(&mut fleet, &data_dir, 1, &mut random);
    }
    let mut broker = Broker::start_on(&data_dir, 1, SMALL_FILES);
    fleet.check_kept(broker.address);
    fleet.settle(broker.address);
    assert!(fleet.retainer.done > 0 && fleet.toggler.done > 0);
    assert_eq!(broker.stop().code(), Some(0));
    std::fs::remove_dir_all(&data_dir).unwrap();
}
