//! Real clients against the real process: mosquitto_pub and mosquitto_sub, Mosquitto's bridge,
//! Eclipse Paho (Python),
//! MQTT.js and rumqttc, each at every QoS and protocol version it has, on one core and on two, and
//! over TLS 1.2 and 1.3 what can.
//!
//! `tests/run` installs the clients; a missing one fails the test with that advice.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes wait, and may fail loudly"
)]

mod bridge;
#[path = "../support/certificates.rs"]
mod certificates;
mod mosquitto;
mod rumqtt;
mod secure;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Broker, run};

const CORES: [usize; 2] = [1, 2];

/// Where `tests/run` puts what the package managers of Python and Node.js install.
fn installed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/interop")
        .join(path)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/interop")
        .join(name)
}

#[test]
fn paho_python_delivers_every_qos_and_version() {
    for cores in CORES {
        let broker = Broker::start(cores, &[]);
        for version in ["3", "4", "5"] {
            run(Command::new(installed("python/bin/python"))
                .arg(script("paho_client.py"))
                .args([&broker.port().to_string(), version]));
        }
    }
}

#[test]
fn paho_python_finds_everything_after_the_broker_was_killed() {
    for (cores, version) in [(1, "4"), (2, "5")] {
        let data_dir = support::scratch_dir("paho");
        for phase in ["before", "after"] {
            let mut broker = Broker::start_on(&data_dir, cores, &[]);
            run(Command::new(installed("python/bin/python"))
                .arg(script("paho_restart.py"))
                .args([&broker.port().to_string(), version, phase]));
            broker.kill();
        }
        std::fs::remove_dir_all(&data_dir).unwrap();
    }
}

#[test]
fn mqtt_js_delivers_every_qos_and_version() {
    for cores in CORES {
        let broker = Broker::start(cores, &[]);
        for version in ["3", "4", "5"] {
            run(Command::new("node")
                .arg(script("mqttjs_client.mjs"))
                .arg(installed("node/node_modules/mqtt/build/index.js"))
                .args([&broker.port().to_string(), version]));
        }
    }
}
