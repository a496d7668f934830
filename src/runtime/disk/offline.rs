//! Looking at the journals of a broker that does not run, and cutting a damaged one.
//!
//! The caller holds the data directory's lock. Nothing is changed but by [`repair`], and that keeps
//! a copy of everything that it takes away.

use super::error::DiskError;
use super::recover::{Bodies, read_journal, read_whole, unix_ms};
use super::rehome::refuse_during_rehoming;
use super::segment;
use crate::base::ids::ShardId;
use crate::journal::{JournalError, RecordKind, SegmentBlocks};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How often each kind of record is there.
pub type RecordCounts = BTreeMap<RecordKind, u64>;

/// What one shard's journal holds.
#[derive(Clone, Debug)]
pub struct ShardContents {
    pub shard: u16,
    /// Files, and their bytes.
    pub segments: u64,
    pub bytes: u64,
    /// In all valid blocks, needed or not.
    pub records: RecordCounts,
    pub state: Result<StoredCounts, JournalError>,
}

/// What a broker that starts on it would have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredCounts {
    pub sessions: u64,
    pub queued_messages: u64,
    pub retained: u64,
}

/// What a repair took away.
#[derive(Clone, Debug)]
pub struct Cut {
    pub at: JournalError,
    /// Where the journal's end is kept as it was.
    pub copy: PathBuf,
    /// What was readable of it.
    pub records: RecordCounts,
}

/// Reads all journals of a data directory, as a start would.
///
/// # Errors
/// The system refuses. A damaged journal is no error here.
pub fn inspect(data_dir: &Path) -> Result<Vec<ShardContents>, DiskError> {
    refuse_during_rehoming(data_dir)?;
    let shards =
        segment::shards(data_dir).map_err(|error| DiskError::system("read", data_dir, error))?;
    let shards = shards.into_iter();
    shards.map(|shard| inspect_shard(data_dir, shard)).collect()
}

fn inspect_shard(data_dir: &Path, shard: u16) -> Result<ShardContents, DiskError> {
    let directory = segment::shard_directory(data_dir, shard);
    let state = match read_journal(&directory, ShardId(shard), Bodies::Checked) {
        Ok(recovered) => {
            let counts = recovered.counts();
            Ok(StoredCounts {
                sessions: counts.sessions,
                queued_messages: counts.messages,
                retained: counts.retained,
            })
        }
        Err(DiskError::Journal(error)) => Err(error),
        Err(error) => return Err(error),
    };
    let mut contents = ShardContents {
        shard,
        segments: 0,
        bytes: 0,
        records: RecordCounts::new(),
        state,
    };
    let mut buffer = Vec::new();
    for number in numbers(&directory)? {
        let path = segment::segment_path(&directory, number);
        read_whole(&path, &mut buffer).map_err(|error| DiskError::system("read", &path, error))?;
        contents.segments += 1;
        contents.bytes += buffer.len() as u64;
        count_records(ShardId(shard), number, &buffer, 0, &mut contents.records);
    }
    Ok(contents)
}

fn numbers(directory: &Path) -> Result<Vec<u32>, DiskError> {
    segment::list(directory).map_err(|error| DiskError::system("read", directory, error))
}

/// Counts what is readable of a segment from `offset` on.
fn count_records(
    shard: ShardId,
    number: u32,
    bytes: &[u8],
    offset: u32,
    counts: &mut RecordCounts,
) {
    let Ok(Some(blocks)) = SegmentBlocks::new(shard, number, bytes) else {
        return;
    };
    for (place, record) in blocks.records() {
        if place.offset() >= offset
            && let Some(record) = record
        {
            *counts.entry(record.kind()).or_default() += 1;
        }
    }
}

/// Cuts a journal at the place of `error`, after its end was copied. What stood behind is lost to
/// the broker. Another place may be damaged after it: the caller looks again.
///
/// # Errors
/// The damage is none that a cut would heal, or the system refuses.
pub fn repair(data_dir: &Path, error: JournalError) -> Result<Cut, DiskError> {
    if !error.damage.is_healed_by_cut() {
        return Err(DiskError::Journal(error));
    }
    let shard = error.shard;
    let directory = segment::shard_directory(data_dir, shard.0);
    let root = data_dir.join(format!("cut-{}", unix_ms()));
    let copy = segment::shard_directory(&root, shard.0);
    let system = |error: io::Error| DiskError::system("repair", &directory, error);
    segment::prepare_directory(&root)
        .and_then(|()| segment::prepare_directory(&copy))
        .map_err(|error| DiskError::system("make", &copy, error))?;
    let mut records = RecordCounts::new();
    let mut buffer = Vec::new();
    for number in numbers(&directory)? {
        if number < error.segment {
            continue;
        }
        let path = segment::segment_path(&directory, number);
        let copied = segment::segment_path(&copy, number);
        read_whole(&path, &mut buffer).map_err(system)?;
        if number > error.segment {
            count_records(shard, number, &buffer, 0, &mut records);
            fs::rename(&path, &copied).map_err(system)?;
        } else {
            count_records(shard, number, &buffer, error.offset, &mut records);
            segment::write_whole(&copied, &buffer, 0o640).map_err(system)?;
            cut_segment(&path, error.cut_offset(), buffer.len()).map_err(system)?;
        }
    }
    segment::sync_directory(&copy)
        .and_then(|()| segment::sync_directory(&directory))
        .map_err(system)?;
    Ok(Cut {
        at: error,
        copy: root,
        records,
    })
}

/// Fills a segment with zeros from `start` on: no block validates there any more.
fn cut_segment(path: &Path, start: u32, length: usize) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let zeros = vec![0; length.saturating_sub(start as usize)];
    file.write_all_at(&zeros, start.into())?;
    file.sync_all()
}
