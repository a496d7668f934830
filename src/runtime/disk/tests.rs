//! Journals as files: written, read back, damaged, cut.

use super::blocking::Files;
use super::offline::{inspect, repair};
use super::segment;
use crate::base::ids::ShardId;
use crate::journal::{Damage, Record, RecordKind, Writer, WriterSettings};
use std::path::{Path, PathBuf};

const SEGMENT_BYTES: u32 = 1 << 20;

/// An empty place of its own for the test `name`, not there yet.
pub(super) fn place(name: &str) -> PathBuf {
    let directory = format!("ringway-disk-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(directory);
    let _ = std::fs::remove_dir_all(&path);
    path
}

/// Writes sessions into a journal of shard 0, one batch each, over several segments.
fn write_sessions(data_dir: &Path, count: u64) {
    let directory = segment::shard_directory(data_dir, 0);
    segment::prepare_directory(&directory).unwrap();
    let mut files = Files::new(&directory, u64::from(SEGMENT_BYTES));
    let mut writer = Writer::new(WriterSettings {
        shard: ShardId(0),
        epoch: 1,
        previous_epoch: 0,
        previous_last_block: 0,
        salt: 0x5A17,
        first_segment: 1,
        segment_bytes: SEGMENT_BYTES,
        sync: true,
    });
    for session in 1..=count {
        writer.begin_group();
        writer.append(&Record::SessionBegin {
            session,
            expiry_interval_s: 3600,
            disconnected_at_ms: 0,
            client_id: &format!("{session}-{}", "long".repeat(1000)),
        });
        writer.want_all();
        while let Some(event) = writer.poll_segment() {
            if let Some(ready) = files.on_event(event).unwrap() {
                writer.on_segment_ready(ready);
            }
        }
        let batch = writer.poll().expect("somebody waits");
        files.write(&batch).unwrap();
        writer.on_durable(batch);
    }
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[offset] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn journal_on_files_is_read_back_over_segments() {
    let data_dir = place("read-back");
    write_sessions(&data_dir, 300);
    let contents = inspect(&data_dir).unwrap();
    assert_eq!(contents.len(), 1);
    let shard = &contents[0];
    assert_eq!(shard.state.unwrap().sessions, 300);
    assert_eq!(shard.records[&RecordKind::SessionBegin], 300);
    assert!(shard.segments >= 3, "{}", shard.segments);
    assert_eq!(shard.bytes, shard.segments * u64::from(SEGMENT_BYTES));
    std::fs::remove_dir_all(data_dir).unwrap();
}

#[test]
fn torn_end_is_no_damage() {
    let data_dir = place("torn");
    // One page each, behind the header: the last one is page 10.
    write_sessions(&data_dir, 10);
    let path = segment::segment_path(&segment::shard_directory(&data_dir, 0), 1);
    flip(&path, 10 * 4096 + 200);
    let shard = &inspect(&data_dir).unwrap()[0];
    assert_eq!(shard.state.unwrap().sessions, 9);
    std::fs::remove_dir_all(data_dir).unwrap();
}

#[test]
fn damaged_journal_is_cut_and_its_end_kept() {
    let data_dir = place("cut");
    write_sessions(&data_dir, 300);
    let directory = segment::shard_directory(&data_dir, 0);
    let path = segment::segment_path(&directory, 2);
    let before = std::fs::read(&path).unwrap();
    flip(&path, 21 * 4096 + 200);
    let error = inspect(&data_dir).unwrap()[0].state.unwrap_err();
    assert_eq!((error.segment, error.offset), (2, 21 * 4096));
    assert_eq!(error.damage, Damage::BlockLost);

    let cut = repair(&data_dir, error).unwrap();
    let shard = &inspect(&data_dir).unwrap()[0];
    let left = shard.state.unwrap().sessions;
    // One was unreadable, the others are counted.
    assert_eq!(left + 1 + cut.records[&RecordKind::SessionBegin], 300);
    assert_eq!(segment::list(&directory).unwrap(), [1, 2]);
    let kept = segment::shard_directory(&cut.copy, 0);
    let mut kept_bytes = std::fs::read(segment::segment_path(&kept, 2)).unwrap();
    kept_bytes[21 * 4096 + 200] ^= 1;
    assert!(kept_bytes == before, "the copy is the segment as it was");
    assert!(segment::list(&kept).unwrap().len() >= 2);
    std::fs::remove_dir_all(data_dir).unwrap();
}

#[test]
fn newer_format_is_refused_and_not_cut() {
    let data_dir = place("newer");
    write_sessions(&data_dir, 3);
    let path = segment::segment_path(&segment::shard_directory(&data_dir, 0), 1);
    flip(&path, 9);
    let error = inspect(&data_dir).unwrap()[0].state.unwrap_err();
    assert!(matches!(error.damage, Damage::NewerFormat { .. }));
    assert!(repair(&data_dir, error).is_err());
    std::fs::remove_dir_all(data_dir).unwrap();
}
