//! Every scenario of the load generator against the real broker, with tiny numbers.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes wait, and may fail loudly"
)]

mod support;

use std::path::Path;

use bench_harness::broker::{self, Place};
use bench_harness::certificate::Certificate;
use bench_harness::compare::recipe::{Persistence, Recipe};
use bench_harness::compare::result::Metric;
use bench_harness::compare::suite::Row;
use bench_harness::compare::{self, Plan};
use bench_harness::control::{self, Setup, new_run_id};
use bench_harness::mqtt::Version;
use bench_harness::result::{RunResult, TlsUse};
use bench_harness::scenario::{FAMILIES, Options};
use bench_harness::target::Target;
use bench_harness::transport::TlsOptions;
use support::{Broker, scratch_dir};

/// One name of each family that runs over plain TCP.
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
    run_with(name, target, TlsOptions::default(), (version, qos))
}

fn run_with(
    name: &str,
    target: Target,
    tls: TlsOptions,
    (version, qos): (Option<Version>, u8),
) -> RunResult {
    let setup = Setup {
        tls,
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
    // The family that is about TLS has a test of its own.
    assert_eq!(families + 1, FAMILIES.len());
}

fn ringway() -> Recipe {
    format!("ringway={}", env!("CARGO_BIN_EXE_ringway"))
        .parse()
        .unwrap()
}

fn handshakes(result: &RunResult) -> (u64, u64) {
    let tls = result.tls.as_ref().unwrap();
    (tls.full_handshakes, tls.resumed_handshakes)
}

#[test]
fn scenarios_run_over_tls() {
    let folder = scratch_dir("bench-tls");
    let certificate = Certificate::make(&folder).unwrap();
    let place = Place {
        port: broker::free_port().unwrap(),
        folder: folder.join("broker"),
        version: Version::V311,
        tls: Some(certificate.files.clone()),
        cpus: Vec::new(),
    };
    let launch = ringway().launch(&place, Persistence::Unused);
    let broker = broker::Broker::start(&launch, &place).unwrap();
    let run = |name, resume| {
        let tls = TlsOptions {
            ca: Some(certificate.files.cert.clone()),
            resume,
            ..TlsOptions::default()
        };
        let result = run_with(name, broker.target().clone(), tls, (None, 1));
        assert_eq!(result.failures, [""; 0], "{name}: {:?}", result.counts);
        assert_eq!(
            result.counts.connect_failures, 0,
            "{name}: {:?}",
            result.void
        );
        result
    };
    let connected = run("tls-conn-20-50", false);
    assert_eq!(connected.connect_latency_us.as_ref().unwrap().count, 20);
    assert_eq!(handshakes(&connected), (20, 0));
    assert_eq!(connected.tls.unwrap().negotiated[0].version, "1.3");

    let pairs = run("pairs-4-200", false);
    assert_eq!((pairs.counts.lost, handshakes(&pairs)), (0, (8, 0)));

    assert_eq!(handshakes(&run("reconnect-storm-10", true)), (10, 30));
}

/// Beside Mosquitto where it is installed.
#[test]
fn brokers_are_compared_over_tls() {
    let mut brokers = vec![ringway()];
    if Path::new("/usr/sbin/mosquitto").is_file() {
        brokers.push("mosquitto".parse().unwrap());
    }
    let folder = scratch_dir("compare-tls");
    let row = |scenario: &str, metrics: &[Metric]| Row {
        label: scenario.to_owned(),
        scenario: scenario.to_owned(),
        qos: 1,
        payload_bytes: None,
        version: None,
        pace: None,
        is_at_half_knee: false,
        persistence: Persistence::Unused,
        metrics: metrics.to_vec(),
        goal: None,
    };
    let plan = Plan {
        title: "Test".to_owned(),
        brokers,
        rows: vec![
            row("tls-conn-10-50", &[Metric::ConnectP50Us]),
            row("pairs-2-400", &[Metric::P50Us, Metric::DeliveredPerS]),
        ],
        rounds: 2,
        duration_s: 0.1,
        warm_up_s: 0.0,
        broker_cpus: Vec::new(),
        generator_cpus: Vec::new(),
        folder: folder.clone(),
        threads: 1,
        lag_max_us: 60_000_000,
        drain_s: 20.0,
        tls: Some(TlsOptions::default()),
        command: Vec::new(),
    };
    let comparison = compare::run(&plan, &mut |_| {}).unwrap();
    for (index, broker) in comparison.brokers.iter().enumerate() {
        let name = comparison.name(index);
        for row in &comparison.rows {
            let cell = &row.cells[index];
            assert_eq!(
                (cell.runs.len(), cell.broken()),
                (2, 0),
                "{name}: {:?}",
                cell.errors
            );
            for metric in &row.metrics {
                assert!(cell.figure(*metric).is_some(), "{name}: {metric:?}");
            }
        }
        let tls: &TlsUse = broker.tls.as_ref().unwrap();
        let handshakes = (tls.full_handshakes, tls.resumed_handshakes);
        assert_eq!(handshakes, (2 * 10 + 2 * 4, 0), "{name}");
        assert_eq!(tls.negotiated.len(), 1, "{name}: {tls}");
    }
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
    assert!(left.is_empty(), "nothing is left behind: {left:?}");
    std::fs::remove_dir(&folder).unwrap();
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
