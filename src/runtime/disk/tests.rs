//! Journals as files: written, read back, damaged, cut.

use super::blocking::Files;
use super::offline::{inspect, repair};
use super::rehome::{RehomeOptions, carry_out_rehoming, end_rehoming, pending_rehoming, rehome};
use super::{DiskError, segment};
use crate::base::hash::HomeKey;
use crate::base::ids::ShardId;
use crate::config::limits::Limits;
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

fn rehome_to(data_dir: &Path, stored: u16, wanted: u16) {
    rehome(&RehomeOptions {
        data_dir,
        stored,
        wanted,
        limits: &Limits::default(),
        home_key: HomeKey::new([7; 16]),
        seed: 1,
    })
    .unwrap();
}

fn sessions(data_dir: &Path) -> Vec<u64> {
    let contents = inspect(data_dir).unwrap();
    let shards = contents.iter().map(|shard| shard.state.unwrap().sessions);
    shards.collect()
}

#[test]
fn move_to_more_and_to_fewer_shards_keeps_everything() {
    let data_dir = place("rehomed");
    write_sessions(&data_dir, 300);
    for (stored, wanted) in [(1, 3), (3, 2), (2, 2)] {
        rehome_to(&data_dir, stored, wanted);
        if let Some(count) = pending_rehoming(&data_dir).unwrap() {
            assert_eq!(count, wanted);
            assert!(matches!(
                inspect(&data_dir),
                Err(DiskError::Changing { .. })
            ));
            carry_out_rehoming(&data_dir, count).unwrap();
            end_rehoming(&data_dir, count).unwrap();
        }
        let sessions = sessions(&data_dir);
        assert_eq!(sessions.len(), usize::from(wanted));
        assert_eq!(sessions.iter().sum::<u64>(), 300);
        assert!(sessions.iter().all(|count| *count > 50), "{sessions:?}");
    }
    std::fs::remove_dir_all(data_dir).unwrap();
}

#[test]
fn interrupted_move_is_done_again_or_carried_out() {
    let data_dir = place("rehoming-cut");
    write_sessions(&data_dir, 300);
    // Cut while the new journals were written: they count for nothing.
    let half = data_dir.join("rehomed.new/shard-00");
    std::fs::create_dir_all(&half).unwrap();
    std::fs::write(half.join("00000001.segment"), b"half").unwrap();
    assert_eq!(pending_rehoming(&data_dir).unwrap(), None);
    rehome_to(&data_dir, 1, 3);
    assert!(!data_dir.join("rehomed.new").exists());
    // Cut when one of them was in its place, and the old one away.
    std::fs::remove_dir_all(data_dir.join("shard-00")).unwrap();
    std::fs::rename(
        data_dir.join("rehomed-3/shard-00"),
        data_dir.join("shard-00"),
    )
    .unwrap();
    for _ in 0..2 {
        let count = pending_rehoming(&data_dir).unwrap().unwrap();
        carry_out_rehoming(&data_dir, count).unwrap();
    }
    end_rehoming(&data_dir, 3).unwrap();
    assert_eq!(sessions(&data_dir).iter().sum::<u64>(), 300);
    std::fs::remove_dir_all(data_dir).unwrap();
}
