//! A full disk: nothing acknowledged is lost, publishers are refused, and service resumes by
//! itself when what is stored has been taken.

use crate::publisher::Publisher;
use crate::subscriber::Subscriber;
use crate::support::{Broker, scratch_dir};
use crate::until;
use crate::wire::Version;
use std::process::Command;

/// What the broker says of itself.
fn sys_value(broker: &Broker, name: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["sub", "-C", "1", "-t", &format!("$SYS/broker/{name}")])
        .args(["-h", "127.0.0.1", "-p", &broker.address.port().to_string()])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn full_disk_refuses_and_resumes_and_loses_nothing() {
    const LIMIT: &[&str] = &[
        "--set",
        "durability.segment_bytes=2MiB",
        "--set",
        "durability.snapshot_after_bytes=2MiB",
        "--set",
        "durability.disk_max_bytes=16MiB",
        "--set",
        "durability.min_free_bytes=0",
    ];
    let data_dir = scratch_dir("full");
    let mut broker = Broker::start_on(&data_dir, 1, LIMIT);
    let mut publisher = Publisher::new(0, 1, Version::V5, 3000);
    let mut subscriber = Subscriber::new("away", Version::V5, "load/#", 1).unordered();
    until("subscribed", || {
        subscriber.tick(broker.address);
        subscriber.subscribed
    });
    subscriber.cut();
    publisher.budget = 9000;
    until("the disk is full", || {
        publisher.tick(broker.address);
        publisher.refused > 0
    });
    assert_eq!(sys_value(&broker, "disk/full"), "1");
    let stored = publisher.acknowledged_count;
    assert!(stored > 100, "{stored} messages stored");
    broker.kill();
    publisher.cut();

    let mut broker = Broker::start_on(&data_dir, 1, LIMIT);
    let refused = publisher.refused;
    until("still full after the restart", || {
        publisher.tick(broker.address);
        publisher.refused > refused
    });
    publisher.budget = 0;
    let goal = publisher.acknowledged_count + 32;
    until("what was refused is taken when there is space", || {
        publisher.tick(broker.address);
        subscriber.tick(broker.address);
        publisher.is_done() || publisher.acknowledged_count >= goal
    });
    until("all is delivered", || {
        publisher.tick(broker.address);
        subscriber.tick(broker.address);
        publisher.is_done() && subscriber.missing(0, &publisher.acknowledged).is_empty()
    });
    assert_eq!(sys_value(&broker, "disk/full"), "0");
    let log = [broker.start_log.clone(), broker.log_lines()].concat();
    let log = log.join("\n");
    assert!(log.contains("watermark is reached"), "{log}");
    assert!(log.contains("space on the disk again"), "{log}");
    assert_eq!(broker.stop().code(), Some(0));
    std::fs::remove_dir_all(&data_dir).unwrap();
}
