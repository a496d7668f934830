//! Signals while the broker starts: it ends at once, and what is stored stays whole.

use crate::raw::{Raw, publish_v5, subscribe_v5};
use crate::support::{Broker, scratch_dir, wait_until};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// So many that a start of a debug build takes about a second.
const RETAINED: usize = 20_000;
/// PUBLISH packets on the way to the broker, below its receive maximum.
const WINDOW: usize = 500;

/// A broker that is not ready yet.
struct Starting(Child);

impl Starting {
    /// Returns when signals are waited for.
    fn spawn(data_dir: &Path, cores: usize, segment_bytes: &str) -> Self {
        let segment_bytes = format!("durability.segment_bytes={segment_bytes}");
        let child = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["serve", "--listen", "tcp://127.0.0.1:0", "--cores"])
            .arg(cores.to_string())
            .args(["--set", &segment_bytes, "--data-dir"])
            .arg(data_dir)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let status_file = format!("/proc/{}/status", child.id());
        wait_until("signals are waited for", || {
            let text = fs::read_to_string(&status_file).ok()?;
            let line = text.lines().find_map(|it| it.strip_prefix("SigCgt:"))?;
            let caught = u64::from_str_radix(line.trim(), 16).ok()?;
            (caught & 1 << (libc::SIGINT - 1) != 0).then_some(())
        });
        Self(child)
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.0.id()).unwrap();
        // SAFETY: only sends a signal to the child that this value owns and has not reaped.
        unsafe { libc::kill(pid, signal) };
    }

    /// Waits for its end, which must be that of a requested stop. True: it had become ready.
    fn was_ready(mut self) -> bool {
        let status = wait_until("the broker ends", || self.0.try_wait().unwrap());
        let mut log = String::new();
        let mut stderr = self.0.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        assert_eq!(status.code(), Some(0), "{log}");
        let was_ready = log.lines().any(|line| line.starts_with("ready "));
        assert_ne!(was_ready, log.contains("stopped before"), "{log}");
        was_ready
    }
}

fn topic(number: usize) -> String {
    format!("room/{number}")
}

fn fill(broker: &Broker) {
    let mut publisher = Raw::connected(broker, "filler");
    for number in 0..RETAINED + WINDOW {
        if number < RETAINED {
            let packet_id = u16::try_from(number % WINDOW + 1).unwrap();
            let payload = number.to_string();
            let mut publish = publish_v5(&topic(number), 1, packet_id, payload.as_bytes());
            publish[0] |= 1;
            publisher.send(&publish);
        }
        if number >= WINDOW {
            assert_eq!(publisher.packet()[0], 0x40);
        }
    }
}

fn expect_all(broker: &Broker) {
    let found = format!(" {},000 retained", RETAINED / 1000);
    let log = &broker.start_log;
    assert!(log.iter().any(|line| line.contains(&found)), "{log:#?}");
    for number in (0..RETAINED).step_by(RETAINED / 7) {
        let mut reader = Raw::connected(broker, "reader");
        reader.send(&subscribe_v5(&topic(number), 0));
        assert_eq!(reader.packet()[0], 0x90);
        assert!(reader.packet().ends_with(number.to_string().as_bytes()));
    }
}

/// Stops starts after longer and longer times, until one has become ready before.
fn stop_starts(data_dir: &Path, cores: usize) {
    let mut interrupted = 0;
    for step in 0..100 {
        let start = Starting::spawn(data_dir, cores, "17MiB");
        std::thread::sleep(Duration::from_millis(60) * step);
        start.signal(libc::SIGTERM);
        if step % 2 == 1 {
            start.signal(libc::SIGINT);
        }
        if start.was_ready() {
            break;
        }
        interrupted += 1;
    }
    println!("{interrupted} starts stopped before they were ready");
    assert!(interrupted > 0, "all were ready before they were stopped");
}

#[test]
fn stop_during_recovery_and_during_a_move_leaves_everything_in_place() {
    let data_dir = scratch_dir("stopped");
    let mut broker = Broker::start_on(&data_dir, 1, &[]);
    fill(&broker);
    broker.kill();
    stop_starts(&data_dir, 1);
    let mut broker = Broker::start_on(&data_dir, 1, &[]);
    expect_all(&broker);
    broker.kill();
    stop_starts(&data_dir, 2);
    let mut broker = Broker::start_on(&data_dir, 2, &[]);
    expect_all(&broker);
    assert_eq!(broker.stop().code(), Some(0));
    fs::remove_dir_all(&data_dir).unwrap();
}

#[test]
fn stop_while_the_first_segments_are_made_leaves_no_half_ones() {
    let data_dir = scratch_dir("unmade");
    let start = Starting::spawn(&data_dir, 2, "1GiB");
    start.signal(libc::SIGTERM);
    assert!(!start.was_ready(), "two GiB were written in no time");
    let mut broker = Broker::start_on(&data_dir, 2, &[]);
    for shard in ["shard-00", "shard-01"] {
        for entry in fs::read_dir(data_dir.join(shard)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            assert!(name.ends_with(".segment"), "{name}");
            assert_eq!(entry.metadata().unwrap().len(), 17 << 20, "{name}");
        }
    }
    assert_eq!(broker.stop().code(), Some(0));
    fs::remove_dir_all(&data_dir).unwrap();
}
