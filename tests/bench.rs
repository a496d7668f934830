//! Every scenario of the load generator against the real broker, with tiny numbers.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes wait, and may fail loudly"
)]

mod support;

use bench_harness::control::{self, Setup, new_run_id};
use bench_harness::mqtt::Version;
use bench_harness::result::RunResult;
use bench_harness::scenario::{FAMILIES, Options};
use support::Broker;

/// One name of each family.
const NAMES: &[&str] = &[
    "conn-tcp-1K-10K@0.05",
    "fanout-5-1000-5-250K@0.01",
    "p2p-1K-1K-1K-1K@0.1",
    "sharedsub-1K-50-1K-1K@0.1",
    "pairs-10-500",
    "pairs-saturated-2",
    "pairs-one-3",
    "fanin-20-2-200",
    "fanout-saturated-1-5",
    "sharedsub-saturated-1-4",
    "idle-100",
    "idle-persistent-100",
    "conn-storm-100",
    "reconnect-storm-100",
    "wild-1000",
    "retained-storm-50-4",
    "offline-5-20",
    "durable-p2p-10-10-10-200",
    "slow-4-1-400",
    "mixed-100-5-5-200",
];

fn run(broker: &Broker, name: &str, version: Option<Version>, qos: u8) -> RunResult {
    let target = format!("tcp://{}", broker.address).parse().unwrap();
    let setup = Setup {
        options: Options {
            version,
            qos: Some(qos),
            duration_s: 0.2,
            warm_up_s: 0.05,
            run_id: new_run_id(),
            ..Options::default()
        },
        // On a busy machine lag is not what this test is about.
        lag_max_us: 60_000_000,
        drain_s: 20.0,
        ..Setup::new(name, target)
    };
    control::run(&setup, None, &mut |_| {}).unwrap().result
}

#[test]
fn every_scenario_runs_against_the_broker() {
    let broker = Broker::start(2, &[]);
    let mut families = 0;
    for (name, qos) in NAMES.iter().zip((0..3).cycle()) {
        // Offline messages of QoS 0 are nobody's duty.
        let qos = if name.starts_with("offline") { 1 } else { qos };
        let result = run(&broker, name, None, qos);
        families += 1;
        let figures = &result.counts;
        // A saturated test machine is not the broker's fault; a broken guarantee is.
        let is_void = result.void.iter().any(|text| !text.contains("CPU"));
        assert!(!is_void, "{name}: {:?} {figures:?}", result.void);
        assert_eq!(result.failures, [""; 0], "{name}: {figures:?}");
        assert!(figures.connects > 0, "{name}: {figures:?}");
        let is_silent = figures.expected_total == 0;
        let is_connection = name.contains("conn") || name.starts_with("idle");
        assert_eq!(is_silent, is_connection, "{name}: {figures:?}");
    }
    assert_eq!(families, FAMILIES.len());
}

#[test]
fn both_versions_lose_nothing_at_any_qos() {
    let broker = Broker::start(2, &[]);
    for version in [Version::V311, Version::V50] {
        for qos in 0..3 {
            let result = run(&broker, "fanout-2-5-2-1000", Some(version), qos);
            let counts = &result.counts;
            assert_eq!(
                result.failures, [""; 0],
                "{version:?} QoS {qos}: {counts:?}"
            );
            assert_eq!(
                (counts.lost, counts.expected_total),
                (0, 250),
                "{version:?} QoS {qos}"
            );
        }
    }
}
