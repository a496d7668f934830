//! The move of what is stored to another number of shards, before the cores start.
//!
//! All journals are read, divided anew, and written as fresh ones into a directory of their own;
//! when they are complete, one rename makes them the valid ones. What comes after that only puts
//! them into their places and can be done again, so a crash at any moment leaves either the old
//! number of shards or the new one, whole.

use super::blocking::Files;
use super::error::DiskError;
use super::recover::{Bodies, read_journal, unix_ms};
use super::segment;
use crate::base::hash::HomeKey;
use crate::base::ids::ShardId;
use crate::base::time::Instant;
use crate::config::limits::Limits;
use crate::journal::Recovered;
use crate::shard::Shard;
use crate::shard::interface::{JournalStart, ShardSettings};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use tracing::info;

/// The new journals while they are written; what is left of it at a start is removed.
const NEW_DIRECTORY: &str = "rehomed.new";
/// The complete ones: `rehomed-4` holds those of four shards.
const READY_PREFIX: &str = "rehomed-";

/// From what to what.
#[derive(Clone, Debug)]
pub struct RehomeOptions<'a> {
    pub data_dir: &'a Path,
    /// Shards that what is stored was written by, and that it is to be of.
    pub stored: u16,
    pub wanted: u16,
    /// Of the whole process.
    pub limits: &'a Limits,
    pub home_key: HomeKey,
    /// Drawn for this start: no two runs may salt their journals alike.
    pub seed: u64,
}

/// Writes the journals of `wanted` shards from those of `stored` ones; [`pending_rehoming`] finds
/// them. Nothing is stored: nothing happens. It needs memory for all messages, and space on the
/// disk for another copy of what is needed.
///
/// # Errors
/// A journal is damaged, there is not enough space, or the system refuses; what is stored stays.
pub fn rehome(options: &RehomeOptions<'_>) -> Result<(), DiskError> {
    let RehomeOptions {
        data_dir,
        stored,
        wanted,
        ..
    } = *options;
    if stored == wanted || is_empty(data_dir)? {
        return Ok(());
    }
    info!("moving what is stored from {stored} cores to {wanted}");
    let new = data_dir.join(NEW_DIRECTORY);
    remove_directory(&new)?;
    let former = read_all(data_dir, stored)?;
    let parts = Recovered::rehome(&former, &options.home_key, wanted);
    drop(former);
    in_parallel(parts, |part| write_part(&new, options, part))?;
    let ready = data_dir.join(format!("{READY_PREFIX}{wanted}"));
    segment::sync_directory(&new)
        .and_then(|()| fs::rename(&new, &ready))
        .and_then(|()| segment::sync_directory(data_dir))
        .map_err(|error| DiskError::system("make", ready, error))
}

/// Of how many shards the complete journals are that a move has left to be put into their places.
///
/// # Errors
/// The system refuses.
pub fn pending_rehoming(data_dir: &Path) -> Result<Option<u16>, DiskError> {
    let system = |error| DiskError::system("read", data_dir, error);
    for entry in fs::read_dir(data_dir).map_err(system)? {
        let name = entry.map_err(system)?.file_name();
        let count = name.to_str().and_then(|it| it.strip_prefix(READY_PREFIX));
        if let Some(count) = count.and_then(|digits| digits.parse().ok()) {
            return Ok(Some(count));
        }
    }
    Ok(None)
}

/// While a move is to be carried out, the directories are of two numbers of shards.
pub(super) fn refuse_during_rehoming(data_dir: &Path) -> Result<(), DiskError> {
    match pending_rehoming(data_dir)? {
        None => Ok(()),
        Some(_) => Err(DiskError::Changing {
            path: data_dir.to_owned(),
        }),
    }
}

/// Puts the complete journals of `count` shards in the place of the old ones. Call
/// [`end_rehoming`] when the number is recorded.
///
/// # Errors
/// The system refuses; to be called again at the next start.
pub fn carry_out_rehoming(data_dir: &Path, count: u16) -> Result<(), DiskError> {
    let ready = data_dir.join(format!("{READY_PREFIX}{count}"));
    let system = |error| DiskError::system("read", data_dir, error);
    for shard in segment::shards(&ready).map_err(system)? {
        let target = segment::shard_directory(data_dir, shard);
        remove_directory(&target)?;
        fs::rename(segment::shard_directory(&ready, shard), &target)
            .map_err(|error| DiskError::system("make", &target, error))?;
    }
    for shard in segment::shards(data_dir).map_err(system)? {
        if shard >= count {
            remove_directory(&segment::shard_directory(data_dir, shard))?;
        }
    }
    segment::sync_directory(data_dir).map_err(system)
}

/// The move is over.
///
/// # Errors
/// The system refuses.
pub fn end_rehoming(data_dir: &Path, count: u16) -> Result<(), DiskError> {
    remove_directory(&data_dir.join(format!("{READY_PREFIX}{count}")))
}

/// No shard has a segment.
fn is_empty(data_dir: &Path) -> Result<bool, DiskError> {
    let system = |error| DiskError::system("read", data_dir, error);
    for shard in segment::shards(data_dir).map_err(system)? {
        let directory = segment::shard_directory(data_dir, shard);
        if !segment::list(&directory).map_err(system)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_all(data_dir: &Path, stored: u16) -> Result<Vec<Recovered>, DiskError> {
    in_parallel((0..stored).collect(), |shard| {
        let directory = segment::shard_directory(data_dir, shard);
        read_journal(&directory, ShardId(shard), Bodies::Loaded)
    })
}

/// Writes the journal of one new shard: a shard that never serves makes its first snapshot.
fn write_part(
    new: &Path,
    options: &RehomeOptions<'_>,
    recovered: Recovered,
) -> Result<(), DiskError> {
    let id = recovered.shard();
    let directory = segment::shard_directory(new, id.0);
    let system = |error| DiskError::system("write", &directory, error);
    segment::prepare_directory(&directory).map_err(system)?;
    let limits = options.limits.for_shard_count(options.wanted);
    let mut files = Files::new(&directory, u64::from(limits.durability.segment_bytes));
    let mut shard = Shard::new(ShardSettings {
        id,
        shard_count: options.wanted,
        limits,
        home_key: options.home_key,
        seed: options.seed.wrapping_add(u64::from(id.0)),
    });
    let start = JournalStart {
        unix_ms: unix_ms(),
        recovered: Some(recovered),
    };
    let now = Instant::ZERO;
    shard.start_journal(now, start).map_err(DiskError::Start)?;
    while shard.is_snapshot_open() {
        write_next(&mut files, &mut shard, now).map_err(system)?;
    }
    shard.sync_journal();
    while !shard.is_journal_settled() {
        write_next(&mut files, &mut shard, now).map_err(system)?;
    }
    segment::sync_directory(&directory).map_err(system)
}

/// Writes the shard's next batch, or makes the segments that it needs for that.
fn write_next(files: &mut Files<'_>, shard: &mut Shard, now: Instant) -> io::Result<()> {
    if let Some(batch) = shard.poll_journal() {
        files.write(&batch)?;
        shard.on_durable(now, batch);
        return Ok(());
    }
    let mut is_idle = true;
    while let Some(event) = shard.poll_segment() {
        is_idle = false;
        if let Some(number) = files.on_event(event)? {
            shard.on_segment_ready(now, number);
        }
    }
    if is_idle {
        return Err(io::Error::other("the new journal does not come to its end"));
    }
    Ok(())
}

/// Runs `work` on a thread for each item; the results in the order of the items.
fn in_parallel<T: Send, R: Send>(
    items: Vec<T>,
    work: impl Fn(T) -> Result<R, DiskError> + Sync,
) -> Result<Vec<R>, DiskError> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .into_iter()
            .map(|item| scope.spawn(move || work(item)))
            .collect();
        let ended = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ended.collect()
    })
}

fn remove_directory(path: &Path) -> Result<(), DiskError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(DiskError::system("remove", PathBuf::from(path), error))
        }
        _ => Ok(()),
    }
}
