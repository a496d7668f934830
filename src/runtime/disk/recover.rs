//! Reading a shard's journal at the start.

use super::error::DiskError;
use super::{JournalOptions, segment};
use crate::base::ids::ShardId;
use crate::journal::{QueueMemory, Recovered, Recovery};
use crate::runtime::allocator;
use crate::runtime::clock::Clock;
use crate::runtime::net::Pages;
use crate::shard::Shard;
use crate::shard::interface::JournalStart;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tracing::info;

/// How often a long recovery says how far it is.
const PROGRESS_TIME: Duration = Duration::from_secs(2);

/// What was found, of one shard or of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Found {
    pub(crate) sessions: u64,
    pub(crate) queued_messages: u64,
    pub(crate) retained: u64,
}

impl Found {
    pub(crate) const fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.queued_messages += other.queued_messages;
        self.retained += other.retained;
    }

    fn of(recovered: &Recovered) -> Self {
        let counts = recovered.counts();
        Self {
            sessions: counts.sessions,
            queued_messages: counts.messages,
            retained: counts.retained,
        }
    }

    /// The line about the start, for people.
    pub(crate) fn log(&self, time: Duration) {
        info!(
            "recovered {} sessions, {} queued messages, {} retained in {:.1} s",
            grouped(self.sessions),
            grouped(self.queued_messages),
            grouped(self.retained),
            time.as_secs_f64()
        );
    }
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Gives a new shard what its journal holds, on the shard's own thread.
///
/// # Errors
/// The journal is damaged, of a newer format, or cannot be read.
pub(crate) fn recover(
    options: &JournalOptions,
    id: ShardId,
    shard: &mut Shard,
    clock: Clock,
) -> Result<Found, DiskError> {
    let directory = segment::shard_directory(&options.data_dir, id.0);
    let recovered = read_journal(&directory, id, Bodies::Within(shard.queue_memory()))?;
    sync(&directory)?;
    let found = Found::of(&recovered);
    let start = JournalStart {
        unix_ms: unix_ms(),
        recovered: Some(recovered),
    };
    let started = shard.start_journal(clock.now(), start);
    allocator::give_back();
    match started {
        Ok(()) => Ok(found),
        Err(error) => Err(DiskError::Start(error)),
    }
}

/// Everything that was read is on the medium from now on. An earlier process may have written and
/// not synced it; what the next one writes names it as its beginning, and must not outlive it when
/// the power fails.
fn sync(directory: &Path) -> Result<(), DiskError> {
    let list = |error| DiskError::system("read", directory, error);
    for number in segment::list(directory).map_err(list)? {
        let path = segment::segment_path(directory, number);
        let file = File::open(&path).and_then(|file| file.sync_data());
        file.map_err(|error| DiskError::system("sync", &path, error))?;
    }
    Ok(())
}

/// The wall clock, in milliseconds since 1970.
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// What becomes of the messages in a journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bodies {
    /// All are loaded.
    Loaded,
    /// Queues beyond this stay on the disk.
    Within(QueueMemory),
    /// All are looked at, none is loaded.
    Checked,
}

/// Reads all segments of a shard, one in memory at a time.
pub(super) fn read_journal(
    directory: &Path,
    id: ShardId,
    bodies: Bodies,
) -> Result<Recovered, DiskError> {
    let numbers =
        segment::list(directory).map_err(|error| DiskError::system("read", directory, error))?;
    let mut reader = Reader::new(directory, id, numbers.len());
    let mut recovery = Recovery::new(id);
    for number in numbers {
        let bytes = reader.read(number)?;
        recovery.read(number, bytes).map_err(DiskError::Journal)?;
    }
    let mut recovered = recovery.finish().map_err(DiskError::Journal)?;
    if let Bodies::Within(memory) = bodies {
        recovered.leave_queues(memory);
    }
    let wanted: Vec<u32> = recovered.wanted_segments().collect();
    for number in wanted {
        let segment = reader.read(number)?;
        let done = match bodies {
            Bodies::Checked => recovered.check(number, segment),
            Bodies::Loaded | Bodies::Within(_) => recovered.load(number, segment),
        };
        done.map_err(DiskError::Journal)?;
    }
    Ok(recovered)
}

/// Reads segments into the same memory, and says how far it is when that takes long.
pub(super) struct Reader<'a> {
    directory: &'a Path,
    id: ShardId,
    segments: usize,
    reads: usize,
    /// Not of the allocator, which would keep it.
    pages: Option<Pages>,
    next_progress: Instant,
}

impl<'a> Reader<'a> {
    pub(super) fn new(directory: &'a Path, id: ShardId, segments: usize) -> Self {
        Self {
            directory,
            id,
            segments,
            reads: 0,
            pages: None,
            next_progress: Instant::now() + PROGRESS_TIME,
        }
    }

    pub(super) fn read(&mut self, number: u32) -> Result<&[u8], DiskError> {
        self.reads += 1;
        if Instant::now() >= self.next_progress {
            self.next_progress = Instant::now() + PROGRESS_TIME;
            info!(
                shard = self.id.0,
                "recovering: {} segments read, {} there are", self.reads, self.segments
            );
        }
        let path = segment::segment_path(self.directory, number);
        self.read_file(&path)
            .map_err(|error| DiskError::system("read", path, error))
    }

    fn read_file(&mut self, path: &Path) -> io::Result<&[u8]> {
        let file = File::open(path)?;
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(&[]);
        }
        let kept = self.pages.take().filter(|pages| pages.len() >= length);
        let pages = self
            .pages
            .insert(kept.map_or_else(|| Pages::new(length), Ok)?);
        let bytes = pages.as_mut_slice();
        file.read_exact_at(&mut bytes[..length], 0)?;
        Ok(&bytes[..length])
    }
}

pub(super) fn read_whole(path: &Path, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.clear();
    let mut file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    bytes.reserve(length);
    file.read_to_end(bytes)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_for_people() {
        let table = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (12_345, "12,345"),
            (1_000_000, "1,000,000"),
        ];
        for (number, text) in table {
            assert_eq!(grouped(number), text);
        }
    }
}
