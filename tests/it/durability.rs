//! What survives the process: restarts, another number of cores, backups, damage.

use crate::raw::{Raw, connect, packet, publish_v5, string, subscribe_v5};
use crate::support::{Broker, run, scratch_dir};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SMALL_FILES: &[&str] = &["--set", "durability.segment_bytes=2MiB"];
const CLIENTS: u8 = 8;

/// Connects a session that stays for an hour; whether the broker knew it.
fn persistent(broker: &Broker, client_id: &str) -> (Raw, bool) {
    let mut raw = Raw::open(broker);
    let expiry = [5, 0x11, 0, 0, 0x0e, 0x10];
    raw.send(&connect(5, 0, 0, &expiry, client_id));
    let connack = raw.packet();
    assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
    (raw, connack[2] == 1)
}

fn client_id(number: u8) -> String {
    format!("sleeper-{number}")
}

/// PUBLISH of 5.0 with the retain flag.
fn retained(topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = publish_v5(topic, 1, packet_id, payload);
    bytes[0] |= 1;
    bytes
}

/// Sleeping sessions that each missed `per_session` messages, and retained messages.
fn fill(broker: &Broker, per_session: u16) {
    for number in 0..CLIENTS {
        let (mut raw, _) = persistent(broker, &client_id(number));
        raw.send(&subscribe_v5(&format!("to/{number}"), 1));
        assert_eq!(raw.packet()[0], 0x90);
    }
    let mut publisher = Raw::connected(broker, "filler");
    for number in 0..CLIENTS {
        for message in 1..=per_session {
            let topic = format!("to/{number}");
            publisher.send(&publish_v5(&topic, 1, message, &message.to_be_bytes()));
            assert_eq!(publisher.packet()[0], 0x40);
        }
        publisher.send(&retained(&format!("kept/{number}"), 1, &[number]));
        assert_eq!(publisher.packet()[0], 0x40);
    }
}

/// Takes everything that [`fill`] has left, without acknowledging it.
fn check(broker: &Broker, per_session: u16) {
    for number in 0..CLIENTS {
        let (mut raw, present) = persistent(broker, &client_id(number));
        assert!(present, "session {number} is gone");
        for message in 1..=per_session {
            let publish = raw.packet();
            assert_eq!(publish[0] & 0xf6, 0x32, "{publish:02x?}");
            assert!(
                publish.ends_with(&message.to_be_bytes()),
                "{message} of session {number}: {publish:02x?}"
            );
        }
    }
    let mut reader = Raw::connected(broker, "reader");
    reader.send(&subscribe_v5("kept/+", 0));
    let mut kept: Vec<u8> = (0..=CLIENTS)
        .map(|_| reader.packet())
        .filter(|packet| packet[0] & 0xf0 == 0x30)
        .map(|publish| publish[publish.len() - 1])
        .collect();
    kept.sort_unstable();
    assert_eq!(kept, (0..CLIENTS).collect::<Vec<_>>());
}

fn recovered_line(broker: &Broker) -> String {
    let line = broker
        .start_log
        .iter()
        .find(|line| line.contains("recovered "));
    line.expect("the start says what it recovered").clone()
}

fn journal(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway"))
        .arg("journal")
        .args(arguments)
        .output()
        .unwrap()
}

/// What a start says that must fail.
fn refused_start(data_dir: &Path, cores: usize) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["serve", "--listen", "tcp://127.0.0.1:0", "--cores"])
        .arg(cores.to_string())
        .arg("--data-dir")
        .arg(data_dir)
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The segment of a shard that holds the most.
fn fullest_segment(data_dir: &Path) -> PathBuf {
    let files = ["shard-00", "shard-01"]
        .into_iter()
        .filter_map(|shard| fs::read_dir(data_dir.join(shard)).ok())
        .flatten()
        .map(|entry| entry.unwrap().path());
    let filled = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        bytes.iter().filter(|byte| **byte != 0).count()
    };
    files.max_by_key(filled).expect("there are segments")
}

/// Who comes first must not wait while a file is filled with zeros.
#[test]
fn first_segment_of_each_core_is_made_before_ready() {
    let broker = Broker::start(2, &[]);
    for shard in ["shard-00", "shard-01"] {
        let first = broker.data_dir.join(shard).join("00000001.segment");
        assert!(first.exists(), "{} is not there", first.display());
    }
}

#[test]
fn everything_is_there_after_a_stop_and_after_a_kill() {
    let data_dir = scratch_dir("restart");
    let mut broker = Broker::start_on(&data_dir, 2, SMALL_FILES);
    fill(&broker, 20);
    assert_eq!(broker.stop().code(), Some(0));
    for _ in 0..2 {
        let mut broker = Broker::start_on(&data_dir, 2, SMALL_FILES);
        let line = recovered_line(&broker);
        assert!(
            line.contains("recovered 8 sessions, 160 queued messages, 8 retained in "),
            "{line}"
        );
        check(&broker, 20);
        broker.kill();
    }
    fs::remove_dir_all(&data_dir).unwrap();
}

#[test]
fn what_is_stored_moves_to_another_number_of_cores() {
    let data_dir = scratch_dir("cores");
    let mut broker = Broker::start_on(&data_dir, 1, SMALL_FILES);
    fill(&broker, 20);
    broker.kill();
    for cores in [2, 1, 2] {
        let mut broker = Broker::start_on(&data_dir, cores, SMALL_FILES);
        let line = recovered_line(&broker);
        assert!(
            line.contains("recovered 8 sessions, 160 queued messages, 8 retained in "),
            "{line}"
        );
        check(&broker, 20);
        broker.kill();
    }
    assert!(
        fs::read_dir(&data_dir).unwrap().all(|entry| {
            let name = entry.unwrap().file_name();
            !name.to_string_lossy().starts_with("rehomed")
        }),
        "nothing of the moves is left"
    );
    fs::remove_dir_all(&data_dir).unwrap();
}

/// A start that cannot have its cores leaves what is stored as it is.
#[test]
fn too_many_cores_are_refused_before_anything_moves() {
    let data_dir = scratch_dir("too-many");
    let mut broker = Broker::start_on(&data_dir, 1, SMALL_FILES);
    fill(&broker, 1);
    assert_eq!(broker.stop().code(), Some(0));
    let shards = || data_dir.join("shard-01").exists();
    assert!(!shards());
    let said = refused_start(&data_dir, 128);
    assert!(said.contains("128 cores were asked for"), "{said}");
    assert!(!said.contains("moving") && !shards(), "{said}");
    fs::remove_dir_all(&data_dir).unwrap();
}

#[test]
fn newer_format_is_refused() {
    let data_dir = scratch_dir("newer");
    let mut broker = Broker::start_on(&data_dir, 1, SMALL_FILES);
    fill(&broker, 1);
    assert_eq!(broker.stop().code(), Some(0));
    let path = fullest_segment(&data_dir);
    let mut bytes = fs::read(&path).unwrap();
    // The format version stands behind the magic.
    bytes[8] = 99;
    fs::write(&path, &bytes).unwrap();
    let said = refused_start(&data_dir, 1);
    assert!(said.contains("format version 99 is newer"), "{said}");
    fs::remove_dir_all(&data_dir).unwrap();
}

#[test]
fn damage_is_found_named_and_cut() {
    let data_dir = scratch_dir("damage");
    let directory = data_dir.to_str().unwrap();
    let mut broker = Broker::start_on(&data_dir, 1, SMALL_FILES);
    let running = journal(&["verify", directory]);
    assert_eq!(running.status.code(), Some(1));
    assert!(text(&running.stderr).contains("in use by process"));
    fill(&broker, 20);
    assert_eq!(broker.stop().code(), Some(0));

    let well = journal(&["verify", directory]);
    assert_eq!(well.status.code(), Some(0), "{}", text(&well.stdout));
    assert!(text(&well.stdout).contains("8 sessions, 160 queued messages, 8 retained"));
    let inspected = text(&journal(&["inspect", directory, "--json"]).stdout);
    assert!(inspected.contains("\"queued_messages\":160"), "{inspected}");
    assert!(inspected.contains("\"damage\":null"), "{inspected}");

    // In the middle of what is written: later blocks know that this one was durable.
    let path = fullest_segment(&data_dir);
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let middle = end / 2 / 4096 * 4096;
    for byte in &mut bytes[middle..middle + 4096] {
        *byte ^= 0x55;
    }
    fs::write(&path, &bytes).unwrap();
    let damaged = journal(&["verify", directory]);
    assert_eq!(damaged.status.code(), Some(1));
    let said = text(&damaged.stdout);
    assert!(said.contains("journal of shard 0, segment "), "{said}");
    assert!(said.contains(&format!("offset {middle}")), "{said}");
    assert!(
        said.contains("--repair would cut the journal there"),
        "{said}"
    );

    let repaired = journal(&["verify", "--repair", directory]);
    let said = text(&repaired.stdout);
    assert_eq!(repaired.status.code(), Some(0), "{said}");
    assert!(said.contains("cut there; lost: "), "{said}");
    assert!(said.contains(" queued"), "{said}");
    assert_eq!(journal(&["verify", directory]).status.code(), Some(0));
    let kept = fs::read_dir(&data_dir).unwrap().any(|entry| {
        entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("cut-")
    });
    assert!(kept, "the end of the journal is kept");
    let mut broker = Broker::start_on(&data_dir, 1, SMALL_FILES);
    assert_eq!(broker.stop().code(), Some(0));
    fs::remove_dir_all(&data_dir).unwrap();
}

/// Changes a byte in the only place of the journal where this stands.
fn damage_text(data_dir: &Path, text: &[u8]) {
    let path = fullest_segment(data_dir);
    let mut bytes = fs::read(&path).unwrap();
    let mut places = bytes.windows(text.len()).enumerate();
    let place = places.find(|(_, window)| *window == text).unwrap().0;
    bytes[place] ^= 0x20;
    fs::write(&path, &bytes).unwrap();
}

#[test]
fn damaged_messages_are_dropped_and_everything_else_stays() {
    let data_dir = scratch_dir("damaged-messages");
    let directory = data_dir.to_str().unwrap();
    let mut broker = Broker::start_on(&data_dir, 1, SMALL_FILES);
    fill(&broker, 5);
    let mut publisher = Raw::connected(&broker, "publisher");
    let lost = [
        publish_v5("to/3", 1, 1, b"message to be damaged"),
        retained("lost/topic", 2, b"retained one to be damaged"),
        publish_v5("to/3", 1, 3, b"after"),
        retained("found/topic", 4, b"whole"),
    ];
    for publish in lost {
        publisher.send(&publish);
        assert_eq!(publisher.packet()[0], 0x40);
    }
    assert_eq!(broker.stop().code(), Some(0));
    damage_text(&data_dir, b"message to be damaged");
    damage_text(&data_dir, b"retained one to be damaged");

    let looked = journal(&["verify", directory]);
    let said = text(&looked.stdout);
    assert_eq!(looked.status.code(), Some(1), "{said}");
    let losses = "1 message of 1 client, 1 retained message";
    let announced = format!("--repair would drop only {losses}\n");
    assert!(said.contains(&announced), "{said}");
    let repaired = journal(&["verify", "--repair", directory]);
    let said = text(&repaired.stdout);
    assert_eq!(repaired.status.code(), Some(0), "{said}");
    assert!(said.contains(&format!("dropped: {losses}; ")), "{said}");
    assert!(said.contains("  1 message of \"sleeper-3\"\n"), "{said}");
    assert!(said.contains("  retained \"lost/topic\"\n"), "{said}");
    assert!(
        said.contains("8 sessions, 41 queued messages, 9 retained"),
        "{said}"
    );
    assert_eq!(journal(&["verify", directory]).status.code(), Some(0));
    let mut entries = fs::read_dir(&data_dir).unwrap();
    let is_copy = |name: &str| name.starts_with("damaged-");
    assert!(entries.any(|entry| is_copy(&entry.unwrap().file_name().to_string_lossy())));

    let broker = Broker::start_on(&data_dir, 1, SMALL_FILES);
    let (mut sleeper, _) = persistent(&broker, "sleeper-3");
    for _ in 0..5 {
        sleeper.packet();
    }
    assert!(sleeper.packet().ends_with(b"after"));
    drop(sleeper);
    check(&broker, 5);
    drop(broker);
    fs::remove_dir_all(&data_dir).unwrap();
}

#[test]
fn backup_of_a_running_broker_is_what_was_acknowledged() {
    let data_dir = scratch_dir("backed-up");
    let broker = Broker::start_on(&data_dir, 2, SMALL_FILES);
    fill(&broker, 20);
    // Load that goes on during the backup, through several segments.
    let (mut sleeper, _) = persistent(&broker, "noise");
    sleeper.send(&subscribe_v5("noise", 1));
    assert_eq!(sleeper.packet()[0], 0x90);
    drop(sleeper);
    let mut noise = Raw::connected(&broker, "noisy");
    let sender = std::thread::spawn(move || {
        for number in 0..3000u16 {
            noise.send(&publish_v5("noise", 1, 1 + number % 1000, &[7; 1000]));
            if number >= 500 {
                assert_eq!(noise.packet()[0], 0x40);
            }
        }
    });
    let copy = scratch_dir("copy").join("data");
    run(Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["journal", "backup"])
        .args([&data_dir, &copy]));
    sender.join().unwrap();
    drop(broker);
    let restored = Broker::start_on(&copy, 2, SMALL_FILES);
    check(&restored, 20);
    drop(restored);
    fs::remove_dir_all(&data_dir).unwrap();
    fs::remove_dir_all(copy.parent().unwrap()).unwrap();
}

#[test]
fn message_of_a_session_without_expiry_touches_no_disk() {
    let data_dir = scratch_dir("untouched");
    let mut broker = Broker::start_on(&data_dir, 1, SMALL_FILES);
    let mut subscriber = Raw::connected(&broker, "passing");
    subscriber.send(&subscribe_v5("through", 1));
    assert_eq!(subscriber.packet()[0], 0x90);
    let mut publisher = Raw::connected(&broker, "publisher");
    publisher.send(&publish_v5("through", 1, 1, b"x"));
    assert_eq!(publisher.packet()[0], 0x40);
    let body = [string("through"), vec![0, 1, 0, b'x']].concat();
    assert_eq!(subscriber.packet(), packet(0x32, &body));
    assert_eq!(broker.stop().code(), Some(0));
    let contents = text(&journal(&["inspect", data_dir.to_str().unwrap(), "--json"]).stdout);
    assert!(!contents.contains("\"body\""), "{contents}");
    fs::remove_dir_all(&data_dir).unwrap();
}
