//! The program itself: worker processes, files, exit status.

use std::process::Command;

use bench_harness::result::RunResult;

use crate::fake::{Fake, Fault};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ringway-bench");

/// Runs the program with a limit of open files so low that 60 connections need several processes.
fn run_in_processes(fault: Fault, scenario: &str) -> (Option<i32>, RunResult, String) {
    let fake = Fake::start(fault);
    let folder =
        std::env::temp_dir().join(format!("ringway-bench-{}-{scenario}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (json, hlog) = (folder.join("result.json"), folder.join("result.hlog"));
    let script = format!(
        "ulimit -n 128; exec {PROGRAM} run {scenario} --target tcp://{} --duration 1 \
         --warm-up 0 --drain 0.4 --lag-max-us 10000000 --json {} --hlog {}",
        fake.address,
        json.display(),
        hlog.display()
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let text = std::fs::read_to_string(&json)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let log = std::fs::read_to_string(&hlog).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    (
        output.status.code(),
        serde_json::from_str(&text).unwrap(),
        log,
    )
}

#[test]
fn workers_share_a_run_and_their_results_are_merged() {
    let (code, result, log) = run_in_processes(Fault::None, "p2p-30-30-30-600");
    assert_eq!(code, Some(0), "{:?} {:?}", result.void, result.failures);
    assert_eq!(result.generator.processes, 3);
    assert_eq!(result.counts.connects, 60);
    assert_eq!(result.counts.delivered_total, 600);
    assert_eq!(result.latency_us.unwrap().count, 600);
    assert!(log.contains("Tag=latency,0.000,1.000,"), "{log}");
}

#[test]
fn a_broken_promise_is_the_exit_status() {
    let (code, result, _) = run_in_processes(Fault::Lose, "fanin-59-1-600");
    assert_eq!((code, result.counts.lost), (Some(3), 6));
}

#[test]
fn what_is_about_tls_is_wrong_usage_without_it() {
    let cases = [
        &["run", "tls-conn-5-5"][..],
        &["run", "pairs-1-1", "--tls-resume"],
        &["run", "pairs-1-1", "--tls-version", "1.3"],
        &["knee", "pairs-1-1", "--p99-us", "9", "--tls-resume"],
        &["knee", "tls-conn-5-5", "--p99-us", "9"],
    ];
    for arguments in cases {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        let is_clear = told.contains("a target with tls://") && told.contains("not tcp://");
        assert!(is_clear, "{arguments:?}: {told}");
    }
}
