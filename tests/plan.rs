//! The capacity planner against the real broker, with tiny numbers: from a measurement to an answer
//! and to a check of its predictions.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes wait, and may fail loudly"
)]

use std::path::{Path, PathBuf};

use bench_harness::control::Status;
use bench_harness::plan::answer::{self, Question};
use bench_harness::plan::data::PlanData;
use bench_harness::plan::measure::{Lengths, Order, Witness, measure};
use bench_harness::plan::model::Model;
use bench_harness::plan::scaling::Basis;
use bench_harness::plan::{check, text};

/// Long enough for each run to see messages, far too short for figures.
const TINY: Lengths = Lengths {
    warm_up_s: 0.02,
    window_s: 0.1,
    disk_s: 0.0,
    fleet_connections: 400,
    fleet_s: 0.8,
};

struct Notes(Vec<String>);

impl Witness for Notes {
    fn show(&mut self, _: Status<'_>) {}

    fn tell(&mut self, line: &str) {
        self.0.push(line.to_owned());
    }
}

fn order(program: &Path, folder: &Path) -> Order {
    Order {
        program: program.to_owned(),
        cores: vec![1, 2],
        folder: folder.to_owned(),
        is_quick: true,
        lengths: TINY,
        command: Vec::new(),
    }
}

#[test]
fn a_host_is_measured_asked_and_checked() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_ringway"));
    let folder = std::env::temp_dir().join(format!("ringway-plan-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut notes = Notes(Vec::new());
    let data = measure(&order(&program, &folder), &mut notes).unwrap();
    // A saturated test machine may cost some points.
    assert!(data.traffic.len() > 25, "{:?}", notes.0);
    assert_eq!(data.fleets.len(), 4, "{:?}", data.skipped);
    assert!(data.fleets.iter().all(|fleet| fleet.steps.len() >= 3));
    assert!(data.traffic.iter().any(|point| point.is_durable));
    assert!(data.traffic.iter().any(|point| point.is_tls));
    let handshakes = data.handshakes.as_ref().unwrap();
    assert!(handshakes.cpu_s > handshakes.plain_cpu_s, "{handshakes:?}");
    assert!(data.broker_version.starts_with("ringway "));

    let file = folder.join("plan.json");
    data.save(&file).unwrap();
    let model = Model::fit(&PlanData::load(&file).unwrap()).unwrap();
    assert_eq!(model.scaling.basis, Basis::CrosstalkAssumed);
    let question = Question {
        connections: 1_000,
        messages_per_s: 5_000.0,
        fan_out: 2.0,
        qos: 1,
        payload_bytes: 100,
        topic_bytes: 20,
        is_v5: true,
        keep_alive_s: 60,
        is_durable: true,
        is_tls: false,
        busy_max: 0.6,
        offline_share: None,
    };
    let answer = answer::answer(&model, &question).unwrap();
    assert!(answer.cores.cpu.estimate > 0.0 && answer.disk.is_some());
    assert!(text::answer(&answer).contains("cores"));
    let secure = Question {
        is_tls: true,
        ..question
    };
    let secure = answer::answer(&model, &secure).unwrap();
    assert!(secure.handshakes.is_some_and(|it| it.us_each > 0.0));
    assert!(!secure.not_measured.iter().any(|it| it.contains("TLS")));

    let check_order = check::Order {
        program,
        folder: folder.clone(),
        seconds: 0.2,
    };
    let found = check::check(&data, &check_order, &mut notes).unwrap();
    let is_cpu = |found: &&check::Comparison| found.unit == "us a message";
    assert_eq!(found.iter().filter(is_cpu).count(), 6, "{:?}", notes.0);
    assert!(
        found
            .iter()
            .all(|found| found.measured > 0.0 || !is_cpu(&found))
    );
    // Data directories of brokers are gone.
    std::fs::remove_file(&file).unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    std::fs::remove_dir(&folder).unwrap();
}

#[test]
fn a_broker_that_is_not_there_is_said() {
    let folder = std::env::temp_dir();
    let missing = order(Path::new("no-such-broker"), &folder);
    let error = measure(&missing, &mut Notes(Vec::new())).unwrap_err();
    assert!(
        error.contains("no-such-broker") && error.contains("--broker"),
        "{error}"
    );
    // A program that is no broker.
    let other = order(Path::new("sh"), &folder);
    let error = measure(&other, &mut Notes(Vec::new())).unwrap_err();
    assert!(error.contains("version"), "{error}");
}
