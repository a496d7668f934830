//! Brokers in turn, by the program itself: the bare relay against itself, and brokers that fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use bench_harness::compare::result::{Comparison, Metric};
use bench_harness::engine::system;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ringway-bench");

/// A folder of one test's own.
fn folder(test: &str) -> PathBuf {
    let name = format!("ringway-bench-compare-{}-{test}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn compare(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg("compare")
        .args(arguments)
        .arg("--dir")
        .arg(folder);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_relay_compares_with_itself() {
    let folder = folder("itself");
    let (json, html) = (folder.join("c.json"), folder.join("c.html"));
    let output = compare(
        &folder,
        &[
            "pairs-2-400",
            "idle-20",
            "--broker",
            "floor",
            "--broker",
            "floor:again",
        ],
    )
    .args([
        "--rounds",
        "2",
        "--duration",
        "0.2",
        "--warm-up",
        "0",
        "--qos",
        "1",
    ])
    .args([
        "--lag-max-us",
        "10000000",
        "--drain",
        "10",
        "--markdown",
        "--json",
    ])
    .arg(&json)
    .arg("--html")
    .arg(&html)
    .output()
    .unwrap();
    let (told, errors) = (text(&output.stdout), text(&output.stderr));
    let comparison: Comparison =
        serde_json::from_str(&fs::read_to_string(&json).expect(&errors)).unwrap();
    assert!(fs::read_to_string(&html).unwrap().contains("pairs-2-400"));
    assert!(told.contains("| pairs-2-400, QoS 1 "), "{told}");
    let names: Vec<_> = (0..2).map(|index| comparison.name(index)).collect();
    assert_eq!(names, ["floor", "again"]);
    for row in &comparison.rows {
        for cell in &row.cells {
            assert_eq!((cell.runs.len(), cell.errors.len()), (2, 0), "{errors}");
            assert!(
                cell.runs.iter().all(|run| run.failures.is_empty()),
                "{errors}"
            );
            let metric = row.metrics[0];
            assert!(
                cell.runs.iter().all(|run| metric.of(run).is_some()),
                "{metric:?}"
            );
        }
    }
    let first = &comparison.rows[0].cells[0].runs[0];
    assert_eq!(first.counts.delivered_total, 80);
    assert!(Metric::CpuUsPerDelivered.of(first) > Some(0.0));
    fs::remove_file(&json).unwrap();
    fs::remove_file(&html).unwrap();
    let left: Vec<_> = fs::read_dir(&folder).unwrap().collect();
    assert!(left.is_empty(), "brokers' folders are removed: {left:?}");
    fs::remove_dir(&folder).unwrap();
}

fn fails(test: &str, broker: &str) -> (Option<i32>, String) {
    let folder = folder(test);
    let Output { status, stderr, .. } = compare(&folder, &["pairs-1-10", "--broker", broker])
        .output()
        .unwrap();
    // Only an empty folder can be removed like this: nothing is left behind.
    fs::remove_dir(&folder).unwrap();
    (status.code(), text(&stderr))
}

#[test]
fn a_broker_that_ends_is_an_error_with_its_last_words() {
    let (code, told) = fails("ends", "a=command: ls /no/such/{port}");
    assert_eq!(code, Some(1));
    assert!(
        told.contains("a: the broker ended") && told.contains("/no/such/"),
        "{told}"
    );
}

#[test]
fn wrong_usage_is_told_before_anything_runs() {
    let (code, told) = fails("missing", "mosquitto=/no/such/program");
    assert!(
        code == Some(1) && told.contains("apt-get install"),
        "{told}"
    );
    let (code, told) = fails("unknown", "nobody");
    assert!(
        code == Some(2) && told.contains("known are ringway"),
        "{told}"
    );
}

/// Mosquitto where it is installed; a machine without it has nothing to compare.
#[test]
fn brokers_are_compared_over_tls() {
    let mosquitto = Path::new("/usr/sbin/mosquitto");
    if !mosquitto.is_file() {
        return;
    }
    let folder = folder("tls");
    let json = folder.join("c.json");
    let output = compare(&folder, &["reconnect-storm-20", "tls-conn-10-50", "--tls"])
        .args(["--tls-resume", "--broker", "mosquitto", "--broker", "floor"])
        .args(["--rounds", "1", "--duration", "0.1", "--warm-up", "0"])
        .args(["--lag-max-us", "10000000", "--json"])
        .arg(&json)
        .output()
        .unwrap();
    let (told, errors) = (text(&output.stdout), text(&output.stderr));
    let read = fs::read_to_string(&json).expect(&errors);
    let comparison: Comparison = serde_json::from_str(&read).unwrap();
    for row in &comparison.rows {
        let run = row.cells[0].runs.first().expect(&errors);
        assert!(run.target.starts_with("tls://127.0.0.1:"), "{}", run.target);
        assert_eq!(run.failures, [""; 0], "{errors}");
        assert!(row.metrics.iter().all(|metric| metric.of(run).is_some()));
        let refusal = row.cells[1].refusal.as_deref();
        assert_eq!(refusal, Some("the floor speaks no TLS"));
    }
    let tls = comparison.brokers[0].tls.as_ref().expect(&errors);
    let handshakes = (tls.full_handshakes, tls.resumed_handshakes);
    assert_eq!(handshakes, (20 + 10, 60), "{told}");
    let version = &tls.negotiated[0].version;
    assert!(told.contains(&format!("; TLS {version} ")), "{told}");
    assert_eq!(comparison.brokers[1].tls, None);
    fs::remove_file(&json).unwrap();
    // The certificate's folder is gone, too.
    fs::remove_dir(&folder).unwrap();
}

#[test]
fn what_tls_does_not_fit_is_wrong_usage() {
    let cases = [
        (
            &["tls-conn-5-5", "--broker", "ringway"][..],
            "compare brokers in it with --tls",
        ),
        (
            &["--suite", "goals", "--tls", "--broker", "ringway"],
            "the goals refer to the floor, which speaks no TLS",
        ),
        (
            &["pairs-1-1", "--tls", "--broker", "a=command: b {port}"],
            "a: with --tls a command needs {cert} and {key}",
        ),
        (
            &["pairs-1-1", "--broker", "a=command: b {cert} {key}"],
            "a: there is no {cert} and no {key} without --tls",
        ),
        (&["pairs-1-1", "--broker", "floor", "--tls-resume"], "--tls"),
        (
            &["pairs-1-1", "--broker", "floor", "--tls-version", "1.3"],
            "--tls",
        ),
    ];
    for (arguments, wanted) in cases {
        let mut command = Command::new(PROGRAM);
        let output = command.arg("compare").args(arguments).output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(wanted), "{arguments:?}: {told}");
    }
}

/// A signal to the program ends its broker too, and removes its folder.
#[test]
fn an_interrupted_comparison_leaves_no_broker() {
    interrupted("signal", "sh {script} {dir}", &[]);
}

#[test]
fn an_interrupted_comparison_leaves_no_certificate() {
    interrupted("signal-tls", "sh {script} {cert} {key}", &["--tls"]);
}

fn interrupted(test: &str, broker: &str, more: &[&str]) {
    let folder = folder(test);
    let note = folder.join("pid");
    let script = folder.join("broker.sh");
    let line = format!(
        "echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000",
        note.display()
    );
    fs::write(&script, line).unwrap();
    let broker = broker.replace("{script}", &script.to_string_lossy());
    let broker = format!("a=command: {broker}");
    let mut child = compare(&folder, &["pairs-1-10", "--broker", &broker])
        .args(more)
        .spawn()
        .unwrap();
    let pid: u32 = loop {
        if let Ok(text) = fs::read_to_string(&note) {
            break text.trim().parse().unwrap();
        }
        assert!(child.try_wait().unwrap().is_none(), "ended early");
        thread::sleep(Duration::from_millis(5));
    };
    assert!(system::process_cpu_ns(pid).is_some());
    system::terminate(child.id());
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    assert!(!Path::new(&format!("/proc/{pid}")).exists() || is_zombie(pid));
    fs::remove_file(&note).unwrap();
    fs::remove_file(&script).unwrap();
    fs::remove_dir(&folder).unwrap();
}

/// Ended, and not yet taken over by its new parent.
fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains(") Z ") || stat.is_empty()
}
